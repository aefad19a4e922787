# See _held.pxd for what this module is and is not.

from cpython.object cimport PyObject
from cpython.ref cimport Py_DECREF, Py_INCREF
from libc.stdint cimport int64_t, uint64_t
from libc.stdlib cimport free, malloc

from flowmq._frame cimport FLOWMQ_CONTRACT
from flowmq._message cimport count_memory, message_release
from flowmq._peer cimport Peer
from flowmq._queue cimport publish_refused

from flowmq._frame import check_contract

check_contract(FLOWMQ_CONTRACT)

cdef enum:
    CAPACITY_MIN = 64

cdef struct Held:
    Message *message            # owned, as are the next three
    PyObject *channel
    PyObject *routes
    PyObject *exchange
    uint64_t sequence
    uint64_t expires_at_ms
    bint mandatory

# A ring; positions only grow.
cdef Held *ring = NULL
cdef uint64_t mask = 0
cdef uint64_t head = 0
cdef uint64_t tail = 0

cdef uint64_t bytes_held = 0
cdef uint64_t refused = 0
cdef uint64_t peer_bytes_max = 1048576
cdef bint refuses = False


def set_holding(uint64_t connection_bytes_max, bint refuse):
    """How many octets of messages one connection may have here, and whether more is refused with basic.nack."""
    global peer_bytes_max, refuses
    peer_bytes_max = connection_bytes_max
    refuses = refuse


def held_publishes() -> int:
    return tail - head


def held_bytes() -> int:
    return bytes_held


def refused_publishes() -> int:
    """Since the process began."""
    return refused


cdef uint64_t held_message_bytes() noexcept nogil:
    return bytes_held


cdef int hold_back_publish(Channel channel, Message *message, Exchange exchange, RouteSet routes,
                           uint64_t expires_at_ms, bint mandatory, uint64_t sequence) except -1:
    global refused, tail, bytes_held
    cdef Peer peer = channel.peer
    cdef Held *held
    if peer.held_bytes >= peer_bytes_max:
        if refuses and sequence:
            refused += 1
            message_release(message)
            return channel.confirm(exchange, sequence, publish_refused())
        peer.holds_too_much = True
    if ring == NULL or tail - head > mask:
        grow()
    held = &ring[tail & mask]
    held.message = message
    held.channel = <PyObject *>channel
    held.routes = <PyObject *>routes
    held.exchange = <PyObject *>exchange
    Py_INCREF(channel)
    Py_INCREF(routes)
    Py_INCREF(exchange)
    held.sequence = sequence
    held.expires_at_ms = expires_at_ms
    held.mandatory = mandatory
    tail += 1
    bytes_held += message.capacity_bytes
    peer.held_bytes += message.capacity_bytes
    return 0


cdef int grow() except -1:
    global ring, mask
    cdef uint64_t capacity = CAPACITY_MIN if ring == NULL else (mask + 1) * 2
    cdef Held *grown = <Held *>malloc(capacity * sizeof(Held))
    cdef uint64_t position
    if grown == NULL:
        raise MemoryError("publishes that are held back")
    for position in range(head, tail):
        grown[position & (capacity - 1)] = ring[position & mask]
    free(ring)
    count_memory(<int64_t>((capacity - (0 if ring == NULL else mask + 1)) * sizeof(Held)))
    ring = grown
    mask = capacity - 1
    return 0


def release_held(Py_ssize_t limit):
    """So many of the oldest go on to their queues. Are there more?"""
    global ring, mask, head
    cdef Held held
    while limit > 0 and head != tail:
        held = ring[head & mask]
        head += 1
        limit -= 1
        release(&held)
    if head == tail and ring != NULL:
        count_memory(-<int64_t>((mask + 1) * sizeof(Held)))
        free(ring)
        ring = NULL
        mask = 0
    return head != tail


cdef int release(Held *held) except -1:
    global bytes_held
    cdef Channel channel = <Channel>held.channel
    bytes_held -= held.message.capacity_bytes
    channel.peer.held_bytes -= held.message.capacity_bytes
    try:
        pass_on(channel, held)
    finally:
        message_release(held.message)
        Py_DECREF(channel)
        Py_DECREF(<RouteSet>held.routes)
        Py_DECREF(<Exchange>held.exchange)
    return 0


cdef int pass_on(Channel channel, Held *held) except -1:
    cdef Exchange exchange = <Exchange>held.exchange
    cdef RouteSet routes = <RouteSet>held.routes
    cdef uint64_t commit = 0
    cdef bint is_open = not channel.closing and not channel.peer.closing
    cdef bint routed = (exchange.deduplication is not None and routes.count
                        and exchange.deduplication.is_duplicate(held.message, &commit))
    if not routed:
        routed = channel.enqueue(held.message, routes, held.expires_at_ms, &commit)
    if not routed:
        channel.reached_nobody(held.message, exchange, held.mandatory and is_open)
    if held.sequence and is_open:
        channel.confirm(exchange, held.sequence, commit)
    return 0
