# See _rules.pxd for what this module is and is not.

from flowmq._frame cimport FLOWMQ_CONTRACT
from flowmq._heaps cimport returns_of

from flowmq._frame import check_contract

check_contract(FLOWMQ_CONTRACT)

OVERFLOWS = {
    "drop-head": DROP_HEAD, "reject-publish": REJECT_PUBLISH, "reject-publish-dlx": REJECT_PUBLISH_AND_DEAD_LETTER,
}
RETRIES = {
    "disabled": RETRY_AT_ONCE, "all": RETRY_ALL_LATER, "failed": RETRY_FAILED_LATER, "returned": RETRY_RETURNED_LATER,
}


cdef class Undertaker:
    """Abstract: where messages go that leave a queue without having been consumed."""

    cdef int take(self, Order queue, Order lane, Entry *entry, Reason reason) except -1:
        raise NotImplementedError("Undertaker.take")

    cdef int finish(self) except -1:
        raise NotImplementedError("Undertaker.finish")


cdef class Deduplication:
    """Abstract: remembers which messages have been seen."""

    cdef bint is_duplicate(self, Message *message, uint64_t *commit) except -1:
        raise NotImplementedError("Deduplication.is_duplicate")


cdef bint timeouts_used = False


def use_timeouts():
    """From now on there may be a consumer that may hold messages for so long only."""
    global timeouts_used
    timeouts_used = True


def are_timeouts_used() -> bool:
    return timeouts_used


cdef uint64_t or_unlimited(object value) except? 0:
    return unlimited() if value is None else value


cdef class QueueRules:
    """All that a queue does beyond keeping order. None means: no such rule. Times are in milliseconds."""

    def __init__(self, *, ttl_ms=None, length_max=None, bytes_max=None, str overflow="drop-head", delivery_limit=None,
                 bint counts_deliveries=False, str retry="disabled", uint64_t retry_min_ms=0, retry_max_ms=None,
                 consumer_timeout_ms=None, bint delays=False, Undertaker undertaker=None,
                 Deduplication deduplication=None):
        self.ttl_ms = or_unlimited(ttl_ms)
        self.length_max = or_unlimited(length_max)
        self.bytes_max = or_unlimited(bytes_max)
        self.limited = length_max is not None or bytes_max is not None
        self.overflow = OVERFLOWS[overflow]
        self.delivery_limit = or_unlimited(delivery_limit)
        self.counts_deliveries = counts_deliveries
        self.retry = RETRIES[retry]
        self.retry_min_ms = retry_min_ms
        self.retry_max_ms = or_unlimited(retry_max_ms)
        self.consumer_timeout_ms = or_unlimited(consumer_timeout_ms)
        if consumer_timeout_ms is not None:
            use_timeouts()
        self.delays = delays
        self.undertaker = undertaker
        self.deduplication = deduplication

    cdef uint64_t retry_delay_ms(self, uint32_t delivery_count, bint failed) noexcept:
        if self.retry == RETRY_AT_ONCE or self.retry == (RETRY_RETURNED_LATER if failed else RETRY_FAILED_LATER):
            return 0
        # As RabbitMQ 4.3: the first time as long as the minimum says, then as much longer as it came back more often.
        return min(self.retry_min_ms * returns_of(delivery_count), self.retry_max_ms)
