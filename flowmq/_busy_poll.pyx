# See _busy_poll.pxd for what this module is and is not.

from posix.time cimport CLOCK_MONOTONIC, clock_gettime, timespec

cdef enum:
    GAPS_AVERAGED = 8
    GAP_FACTOR_MAX = 20         # one long silence must not count for more than that, or nothing short would again
    LOOK_NS = 100000            # timers and whatever else the event loop has are kept waiting for so long

cdef uint64_t awake_ns = 0
cdef object call_soon = None
cdef object look = None
cdef bint loop_wanted = False
cdef bint is_awake = False
cdef uint64_t arrivals = 0
cdef uint64_t arrivals_seen = 0
cdef uint64_t last_ns = 0
cdef uint64_t average_gap_ns = 0


def set_busy_poll(schedule, uint64_t nanoseconds, look_for=None):
    """Silences that are usually shorter than this are not slept through; 0: all are. `schedule` is call_soon.

    `look_for(nanoseconds)` looks for something to read, as much shorter than that as it likes, and says whether that is
    worth being done again: see Sockets.look().
    """
    global average_gap_ns, awake_ns, call_soon, is_awake, look
    call_soon = schedule
    look = look_for
    awake_ns = nanoseconds
    average_gap_ns = GAP_FACTOR_MAX * nanoseconds
    is_awake = False


cdef int note_arrival() except -1:
    global arrivals, average_gap_ns, is_awake
    cdef uint64_t gap
    if awake_ns == 0:
        return 0
    gap = min(now_ns() - last_ns, GAP_FACTOR_MAX * awake_ns)
    average_gap_ns += gap // GAPS_AVERAGED
    average_gap_ns -= average_gap_ns // GAPS_AVERAGED
    arrivals += 1
    if not is_awake and average_gap_ns < awake_ns:
        is_awake = True
        call_soon(look_again)
    return 0


cdef void note_dealt_with() noexcept:
    global last_ns
    if awake_ns:
        last_ns = now_ns()


def look_again():
    global arrivals_seen, is_awake
    if arrivals != arrivals_seen:
        arrivals_seen = arrivals
    elif now_ns() - last_ns >= awake_ns:
        is_awake = False
        return
    try:
        if look is not None:
            is_awake = look(LOOK_NS)
    finally:
        if is_awake:
            call_soon(look_again)


cdef bint is_looking() noexcept:
    return is_awake and look is not None


def soon(loop, callback, *arguments):
    """loop.call_soon(), without waiting until nothing more is looked for."""
    want_loop()
    loop.call_soon(callback, *arguments)


cdef void want_loop() noexcept nogil:
    global loop_wanted
    loop_wanted = True


cdef void want_no_loop() noexcept nogil:
    global loop_wanted
    loop_wanted = False


cdef bint is_loop_wanted() noexcept nogil:
    return loop_wanted


cdef uint64_t now_ns() noexcept nogil:
    cdef timespec now
    clock_gettime(CLOCK_MONOTONIC, &now)
    return <uint64_t>now.tv_sec * 1000000000 + <uint64_t>now.tv_nsec
