# Ring: a queue's messages in the order in which they came, with holes where one was taken out of the middle.
#
# Owns no messages: who pushes an entry gives its reference in, who takes it out gets it back. Entries ascend by their
# sequence number. Neither the first nor the last is ever a hole.

from libc.stdint cimport uint64_t

from flowmq._heaps cimport Entry

cdef struct Ring:
    Entry *items
    uint64_t mask               # capacity - 1, a power of two; 0 while there are no items
    uint64_t head               # positions only grow: entry n is items[n & mask]
    uint64_t tail
    uint64_t holes              # entries whose message is NULL
    uint64_t body_bytes         # of the messages in it

cdef enum:
    NOT_IN_RING = 0xFFFFFFFFFFFFFFFF

cdef int ring_push(Ring *ring, const Entry *entry) except -1
# The first one; there is one.
cdef void ring_pop(Ring *ring, Entry *entry) noexcept nogil
# The one at that position, which is no hole.
cdef void ring_take(Ring *ring, uint64_t position, Entry *entry) noexcept nogil
# Where that message stands, NOT_IN_RING when it does not; or the first that is not before it, or else `tail`.
cdef uint64_t ring_find(const Ring *ring, uint64_t sequence) noexcept nogil
cdef uint64_t ring_find_from(const Ring *ring, uint64_t sequence) noexcept nogil
cdef void ring_free(Ring *ring) noexcept nogil

cdef inline bint ring_is_empty(const Ring *ring) noexcept nogil:
    return ring.tail == ring.head

cdef inline Entry *ring_at(const Ring *ring, uint64_t position) noexcept nogil:
    return &ring.items[position & ring.mask]
