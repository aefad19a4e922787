# The time that queues are told.
#
# Whoever lets them act tells them first: a message's life ends by the time of the turn, not by a call of its own.

cdef int tell_time() noexcept nogil
