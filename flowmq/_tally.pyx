# See _tally.pxd for what this module is and is not.

from libc.stdint cimport uint8_t
from libc.string cimport memset

from flowmq._frame cimport FLOWMQ_CONTRACT, load_long_long
from flowmq._heaps cimport Entry
from flowmq._message cimport find_property
from flowmq._order cimport EXPIRED, OVER_DELIVERY_LIMIT, OVER_LIMIT, REJECTED, RELEASED, Order
from flowmq._ring cimport ring_at, ring_is_empty

from flowmq._frame import check_contract

check_contract(FLOWMQ_CONTRACT)

QUEUE_COUNTERS = (
    "ready", "ready_bytes", "unacked", "unacked_bytes", "aside", "consumers",
    "publish", "publish_bytes", "deliver", "deliver_no_ack", "get", "get_no_ack", "get_empty", "redeliver", "ack",
    "requeue", "rejected", "expired", "maxlen", "delivery_limit", "released", "refused",
)
EXCHANGE_COUNTERS = (
    "publish_in", "publish_in_bytes", "publish_out", "confirmable", "confirm", "return_unroutable", "drop_unroutable",
)

assert len(QUEUE_COUNTERS) == QUEUE_FIELDS and len(EXCHANGE_COUNTERS) == EXCHANGE_FIELDS


cdef void read_queue(Queue queue, uint64_t *into) noexcept:
    into[0] = queue.own_totals.ready
    into[1] = queue.own_totals.ready_bytes
    into[2] = queue.unacked_count
    into[3] = queue.unacked_bytes
    into[4] = queue.own_totals.aside
    into[5] = <uint64_t>len(queue.consumers_)
    into[6] = queue.published_count
    into[7] = queue.counts.published_bytes
    into[8] = queue.counts.delivered_manual
    into[9] = queue.delivered_count - queue.counts.got - queue.counts.delivered_manual
    into[10] = queue.counts.got_manual
    into[11] = queue.counts.got - queue.counts.got_manual
    into[12] = queue.counts.got_nothing
    into[13] = queue.counts.redelivered
    into[14] = queue.counts.acked
    into[15] = queue.counts.returned
    into[16] = queue.buried[<int>REJECTED]
    into[17] = queue.buried[<int>EXPIRED]
    into[18] = queue.buried[<int>OVER_LIMIT]
    into[19] = queue.buried[<int>OVER_DELIVERY_LIMIT]
    into[20] = queue.buried[<int>RELEASED]
    into[21] = queue.refused_count


cdef void read_exchange(Exchange exchange, uint64_t *into) noexcept:
    into[0] = exchange.published_count
    into[1] = exchange.published_bytes
    into[2] = exchange.routed_count
    into[3] = exchange.confirmable_count
    into[4] = exchange.confirmed_count
    into[5] = exchange.returned_count
    into[6] = exchange.dropped_count


cdef inline uint64_t activity(Queue queue) noexcept:
    """Moves whenever anything is counted."""
    return (queue.published_count + queue.delivered_count + queue.counts.acked + queue.counts.returned
            + queue.counts.got_nothing + queue.refused_count + queue.buried[0] + queue.buried[1] + queue.buried[2]
            + queue.buried[3] + queue.buried[4] + queue.next_sequence)


def queue_counts(Queue queue not None) -> tuple:
    """In the order of QUEUE_COUNTERS."""
    cdef uint64_t values[QUEUE_FIELDS]
    cdef int at
    read_queue(queue, values)
    return tuple([values[at] for at in range(QUEUE_FIELDS)])


def exchange_counts(Exchange exchange not None) -> tuple:
    """In the order of EXCHANGE_COUNTERS."""
    cdef uint64_t values[EXCHANGE_FIELDS]
    cdef int at
    read_exchange(exchange, values)
    return tuple([values[at] for at in range(EXCHANGE_FIELDS)])


def was_active(Queue queue not None) -> bool:
    """Has anything been counted since this was asked last?"""
    cdef uint64_t now = activity(queue)
    if queue.sampled == now:
        return False
    queue.sampled = now
    return True


def sequences(Queue queue not None) -> tuple:
    """The number of the oldest message that is ready, 0 for none, and the one that the next will get.

    Where there are priorities, each has numbers of its own, and these are 0.
    """
    if queue.lanes is not None:
        return 0, 0
    return oldest(queue), queue.next_sequence


def next_sequence(Order order not None) -> int:
    """The number that the next message of a queue, or of a priority of it, will get."""
    return order.next_sequence


cdef uint64_t oldest(Order order) noexcept:
    cdef uint64_t found = <uint64_t>-1
    if order.count == 0:
        return 0
    if order.returned.count:
        found = order.returned.items[0].entry.sequence
    if not ring_is_empty(&order.ring):
        found = min(found, ring_at(&order.ring, order.ring.head).sequence)
    elif order.paged_count:
        found = min(found, order.paged_from)
    return found


cdef enum:
    TIMESTAMP = 0x0040          # its flag in a content header


def head_timestamp(Queue queue not None) -> int | None:
    """The timestamp, as its publisher gave it, of the message that is next to be handed out. None: it has none, or is
    not in memory, since looking at a list of queues may not read their logs.
    """
    cdef const Entry *head = NULL
    cdef const uint8_t *octets
    cdef uint8_t count
    if queue.lanes is None:
        head = head_in_memory(queue)
    else:
        for lane in reversed(queue.lanes):
            if lane is not None and (<Order>lane).count:
                head = head_in_memory(lane)
                break
    if head == NULL or not find_property(head.message, TIMESTAMP, &octets, &count):
        return None
    return load_long_long(octets)


cdef const Entry *head_in_memory(Order order) noexcept:
    cdef const Entry *found = NULL
    cdef const Entry *first
    if order.returned.count:
        found = &order.returned.items[0].entry
    if not ring_is_empty(&order.ring):
        first = ring_at(&order.ring, order.ring.head)
        if found == NULL or first.sequence < found.sequence:
            found = first
    return found


cdef class QueueTally:
    """Sums over queues."""

    def __cinit__(self):
        memset(self.sums, 0, sizeof(self.sums))

    def add(self, Queue queue not None):
        cdef uint64_t values[QUEUE_FIELDS]
        cdef int at
        read_queue(queue, values)
        self.queues += 1
        for at in range(QUEUE_FIELDS):
            self.sums[at] += values[at]

    def keep(self, Queue queue not None):
        """It goes: what it has counted stays, what is in it does not."""
        cdef uint64_t values[QUEUE_FIELDS]
        cdef int at
        read_queue(queue, values)
        for at in range(QUEUE_GAUGES, QUEUE_FIELDS):
            self.sums[at] += values[at]

    def merge(self, QueueTally other not None):
        cdef int at
        self.queues += other.queues
        for at in range(QUEUE_FIELDS):
            self.sums[at] += other.sums[at]

    def values(self) -> dict:
        cdef int at
        return {QUEUE_COUNTERS[at]: self.sums[at] for at in range(QUEUE_FIELDS)}


cdef class ExchangeTally:
    """Sums over exchanges."""

    def __cinit__(self):
        memset(self.sums, 0, sizeof(self.sums))

    def add(self, Exchange exchange not None):
        cdef uint64_t values[EXCHANGE_FIELDS]
        cdef int at
        read_exchange(exchange, values)
        for at in range(EXCHANGE_FIELDS):
            self.sums[at] += values[at]

    def merge(self, ExchangeTally other not None):
        cdef int at
        for at in range(EXCHANGE_FIELDS):
            self.sums[at] += other.sums[at]

    def values(self) -> dict:
        cdef int at
        return {EXCHANGE_COUNTERS[at]: self.sums[at] for at in range(EXCHANGE_FIELDS)}
