# The tally: reads the counters of queues and exchanges, one by one or added up, without a dict for each.
#
# Counters are plain fields that the hot path adds to. Nothing here is called per message, and nothing changes a queue
# but what was last told of it. What goes adds what it has counted to a tally that stays, so that sums never fall.

from libc.stdint cimport uint64_t

from flowmq._queue cimport Queue
from flowmq._router cimport Exchange

cdef enum:
    QUEUE_FIELDS = 22
    QUEUE_GAUGES = 6            # the first of them say what is, not what was
    EXCHANGE_FIELDS = 7

cdef class QueueTally:
    cdef uint64_t sums[QUEUE_FIELDS]
    cdef readonly uint64_t queues

cdef class ExchangeTally:
    cdef uint64_t sums[EXCHANGE_FIELDS]
