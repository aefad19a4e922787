# Settlement: one acknowledgement, rejection or return of many deliveries, a piece at a time.
#
# So that a hundred thousand of them keep nobody waiting. Each piece is the oldest of what is left. What comes back to a
# queue in more than one piece is not delivered before all of it is back (Queue.hold), or the first would be out of
# order. What is left counts as unacknowledged.
#
# Does not know when the next piece is due, nor which consumers of the channel can go on when all is settled: that is
# for the channel, which settles nothing else meanwhile.

from libc.stdint cimport uint64_t

from flowmq._delivery cimport Unacked, UnackedWindow
from flowmq._queue cimport Consumer, Queue
from flowmq._transaction cimport Outcome

cdef class Settlement:
    cdef UnackedWindow window
    cdef uint64_t up_to
    cdef Outcome outcome
    cdef dict touched           # the queues to which something has come back -> are they held? None: no queue
    cdef readonly bint is_going_on

    # Every delivery of that window up to that tag.
    cdef int begin(self, UnackedWindow window, uint64_t up_to, Outcome outcome) except -1
    # So many of them at most; are there more?
    cdef bint step(self, Py_ssize_t limit) except? True
    cdef int touch(self, Queue queue) except -1
    # All are settled: the queues that something has come back to deliver again.
    cdef int end(self) except -1

# One delivery, taken out of that window. Gives the entry up. Whether its queue and consumer go on is for the caller.
cdef int settle_delivery(UnackedWindow window, Unacked *entry, Outcome outcome) except -1

# Has the rest of what that channel settles done soon; False when there is nobody to do it.
cdef bint put_off_settlement(object channel) except? True
