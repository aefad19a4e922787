# See _ring.pxd for what this module is and is not.

from libc.stdint cimport int64_t
from libc.stdlib cimport free, malloc

from flowmq._frame cimport FLOWMQ_CONTRACT
from flowmq._message cimport count_memory

from flowmq._frame import check_contract

check_contract(FLOWMQ_CONTRACT)

cdef enum:
    CAPACITY_MIN = 16
    CAPACITY_KEPT = 4096        # an emptied ring larger than this is given back


cdef int ring_push(Ring *ring, const Entry *entry) except -1:
    if ring.items == NULL:
        resize(ring, CAPACITY_MIN)
    elif ring.tail - ring.head > ring.mask:
        if ring.holes * 2 > ring.mask:
            squeeze(ring)
        else:
            resize(ring, (ring.mask + 1) * 2)
    ring.items[ring.tail & ring.mask] = entry[0]
    ring.tail += 1
    ring.body_bytes += entry.message.body_bytes
    return 0


cdef int resize(Ring *ring, uint64_t capacity) except -1:
    cdef uint64_t position
    cdef Entry *items = <Entry *>malloc(capacity * sizeof(Entry))
    if items == NULL:
        raise MemoryError("queue")
    for position in range(ring.head, ring.tail):
        items[position & (capacity - 1)] = ring.items[position & ring.mask]
    ring_free(ring)
    ring.items = items
    ring.mask = capacity - 1
    count_memory(<int64_t>(capacity * sizeof(Entry)))
    return 0


cdef void squeeze(Ring *ring) noexcept nogil:
    cdef uint64_t position
    cdef uint64_t kept = ring.head
    for position in range(ring.head, ring.tail):
        if ring_at(ring, position).message != NULL:
            ring.items[kept & ring.mask] = ring.items[position & ring.mask]
            kept += 1
    ring.tail = kept
    ring.holes = 0


cdef void ring_pop(Ring *ring, Entry *entry) noexcept nogil:
    entry[0] = ring.items[ring.head & ring.mask]
    ring.head += 1
    ring.body_bytes -= entry.message.body_bytes
    if ring.holes or ring.head == ring.tail:
        trim(ring)


cdef void ring_take(Ring *ring, uint64_t position, Entry *entry) noexcept nogil:
    entry[0] = ring.items[position & ring.mask]
    ring_at(ring, position).message = NULL
    ring.holes += 1
    ring.body_bytes -= entry.message.body_bytes
    trim(ring)


cdef void trim(Ring *ring) noexcept nogil:
    """No holes at the ends; a large ring that is empty is given back."""
    while ring.head != ring.tail and ring_at(ring, ring.head).message == NULL:
        ring.head += 1
        ring.holes -= 1
    while ring.head != ring.tail and ring_at(ring, ring.tail - 1).message == NULL:
        ring.tail -= 1
        ring.holes -= 1
    if ring.head == ring.tail and ring.mask >= CAPACITY_KEPT:
        ring_free(ring)


cdef uint64_t ring_find_from(const Ring *ring, uint64_t sequence) noexcept nogil:
    cdef uint64_t low = ring.head
    cdef uint64_t high = ring.tail
    cdef uint64_t middle
    while low < high:
        middle = low + (high - low) // 2
        if ring_at(ring, middle).sequence < sequence:
            low = middle + 1
        else:
            high = middle
    return low


cdef uint64_t ring_find(const Ring *ring, uint64_t sequence) noexcept nogil:
    cdef uint64_t position = ring_find_from(ring, sequence)
    if position == ring.tail or ring_at(ring, position).sequence != sequence:
        return NOT_IN_RING
    return position if ring_at(ring, position).message != NULL else NOT_IN_RING


cdef void ring_free(Ring *ring) noexcept nogil:
    if ring.items != NULL:
        count_memory(-<int64_t>((ring.mask + 1) * sizeof(Entry)))
    free(ring.items)
    ring.items = NULL
    ring.mask = 0
