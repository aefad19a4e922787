# What exchanges and queues remember by keeping it in a queue of their own that nobody consumes: messages seen before,
# and the latest ones. So it is bounded, expires and outlives a restart by the same means as any message.

from flowmq._message cimport Message
from flowmq._order cimport Order
from flowmq._queue cimport Queue
from flowmq._rules cimport Deduplication, Undertaker

cdef class SeenBefore(Deduplication):
    # Messages are the same when a header of theirs is.
    cdef readonly Queue memory              # each message's body is the header's type and value
    cdef readonly bytes header
    cdef readonly dict seen                 # header's type and value -> sequence number in the memory
    cdef int remember(self, bytes value) except -1

cdef class Forgetting(Undertaker):
    # What leaves the memory has not been seen before.
    cdef SeenBefore seen_before

cdef Message *message_of_octets(bytes body) except NULL
