# Whether the event loop sleeps at once when there is nothing to do.
#
# To sleep and be woken takes a core 20 microseconds and more, in a virtual machine 40: a client that asks one thing
# after another waits longer for that than for its answer. So while things come closer upon one another than a sleep is
# worth, the loop looks again instead; when nothing has come for so long it sleeps. What a message now and then costs
# stays as it is.

from libc.stdint cimport uint64_t

# Something was read.
cdef int note_arrival() except -1
# And what it asked for is done: the silence begins.
cdef void note_dealt_with() noexcept

# Something waits for the event loop itself: it is not to be kept from it for the sake of what may come.
cdef void want_loop() noexcept nogil
cdef void want_no_loop() noexcept nogil
cdef bint is_loop_wanted() noexcept nogil
# Will the loop look again without being asked to?
cdef bint is_looking() noexcept
cdef uint64_t now_ns() noexcept nogil
