# Heaps of a queue: messages out of the usual order, and the times at which something falls due.
#
# Binary heaps in one block each, smallest first. They own no messages: who pushes an entry gives its reference in, who
# pops it gets it back.

from libc.stdint cimport uint32_t, uint64_t

from flowmq._message cimport Message

cdef struct Entry:
    # A message in a queue.
    Message *message            # owned
    uint64_t sequence           # its place in the queue
    uint32_t delivery_count     # see count_return()
    uint64_t expires_at_ms      # on the clock of queue_clock(); 0 is never

cdef struct Keyed:
    uint64_t key
    Entry entry

cdef struct EntryHeap:
    # Messages by a key, those with the same by their sequence.
    Keyed *items
    Py_ssize_t count
    Py_ssize_t capacity

cdef struct Due:
    uint64_t due_ms
    uint64_t sequence

cdef struct DueHeap:
    # Which message of a queue falls due next. It may be gone by then.
    Due *items
    Py_ssize_t count
    Py_ssize_t capacity

cdef int entry_heap_push(EntryHeap *heap, uint64_t key, const Entry *entry) except -1
cdef void entry_heap_pop(EntryHeap *heap, Entry *entry) noexcept nogil
cdef int due_heap_push(DueHeap *heap, const Due *due) except -1
cdef void due_heap_pop(DueHeap *heap, Due *due) noexcept nogil
# Makes a heap of items that were changed or taken out in place.
cdef void due_heap_mend(DueHeap *heap) noexcept nogil
# Gives the memory back; whatever it holds is forgotten.
cdef void due_heap_clear(DueHeap *heap) noexcept nogil

cdef enum:
    RETURNS_MAX = 0xFFFF

# How often a message came back lies in the low 16 bits of its delivery_count, and how often it did because its consumer
# failed in the high ones; both stay at RETURNS_MAX once they are there.
cdef inline uint32_t count_return(uint32_t delivery_count, bint failed) noexcept nogil:
    if delivery_count & RETURNS_MAX != RETURNS_MAX:
        delivery_count += 1
    if failed and delivery_count >> 16 != RETURNS_MAX:
        delivery_count += 0x10000
    return delivery_count

cdef inline uint32_t returns_of(uint32_t delivery_count) noexcept nogil:
    return delivery_count & RETURNS_MAX

cdef inline uint32_t failures_of(uint32_t delivery_count) noexcept nogil:
    return delivery_count >> 16
