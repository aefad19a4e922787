# What a queue does beyond keeping messages in order: limits, times to live, dead letters, retries. Decided when it is
# declared or a policy changes; a queue that does none of it has no rules, and does not ask.

from libc.stdint cimport uint32_t, uint64_t

from flowmq._heaps cimport Entry
from flowmq._message cimport Message
from flowmq._order cimport Order, Reason

cdef inline uint64_t unlimited() noexcept nogil:
    return <uint64_t>-1

cdef enum Overflow:
    DROP_HEAD = 0
    REJECT_PUBLISH = 1
    REJECT_PUBLISH_AND_DEAD_LETTER = 2

cdef enum Retry:
    # Which messages that come back wait before they are ready again.
    RETRY_AT_ONCE = 0
    RETRY_ALL_LATER = 1
    RETRY_FAILED_LATER = 2
    RETRY_RETURNED_LATER = 3

cdef class Undertaker:
    # Where messages go that leave a queue without having been consumed.
    # Takes over the reference. The message leaves the queue's log when it is where it goes, together with that.
    cdef int take(self, Order queue, Order lane, Entry *entry, Reason reason) except -1
    # Everything taken is where it goes.
    cdef int finish(self) except -1

cdef class Deduplication:
    # True when that message has been seen before, and not too long ago; otherwise it is remembered.
    # `commit` becomes what a duplicate has to wait for: the one before it may not be on disk yet.
    cdef bint is_duplicate(self, Message *message, uint64_t *commit) except -1

cdef class QueueRules:
    cdef readonly uint64_t ttl_ms           # unlimited(), here and below: no such rule
    cdef readonly uint64_t length_max       # ready messages
    cdef readonly uint64_t bytes_max        # their bodies
    cdef readonly uint64_t delivery_limit   # failed deliveries
    cdef readonly uint64_t consumer_timeout_ms
    cdef readonly bint limited
    cdef readonly bint delays               # messages wait as long as their header x-delay says; nobody consumes
    cdef readonly bint counts_deliveries    # says in a header how often a message came back
    cdef Overflow overflow
    cdef Retry retry
    cdef uint64_t retry_min_ms
    cdef uint64_t retry_max_ms
    cdef Undertaker undertaker              # None: what dies is dropped
    cdef Deduplication deduplication        # None: nothing is remembered

    # When a message that has come back is ready again: after so long; 0 at once.
    cdef uint64_t retry_delay_ms(self, uint32_t delivery_count, bint failed) noexcept
