# See _clock.pxd for what this module is and is not.

from libc.stdint cimport uint64_t
from posix.time cimport CLOCK_REALTIME, clock_gettime, timespec

from flowmq._order cimport queue_clock

# The time that a test says it is; 0: time goes on.
cdef uint64_t stopped_ms = 0


def set_clock():
    """Tell queues the time, for those that act outside of a read."""
    tell_time()


def stop_clock(uint64_t now_ms):
    """From now on it is that time, in milliseconds since 1970; 0 lets time go on. For tests."""
    global stopped_ms
    stopped_ms = now_ms
    tell_time()


cdef int tell_time() noexcept nogil:
    cdef timespec now
    if stopped_ms:
        queue_clock(stopped_ms)
        return 0
    clock_gettime(CLOCK_REALTIME, &now)
    queue_clock(<uint64_t>now.tv_sec * 1000 + <uint64_t>(now.tv_nsec // 1000000))
    return 0
