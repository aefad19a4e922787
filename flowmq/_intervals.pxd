# A set of sequence numbers kept as ranges: which messages of a queue are done with.
#
# Made for numbers that come nearly in order: memory and time follow the number of ranges, not of numbers. Those that
# come in any order cost little more: ranges lie in chunks, and none of the other chunks is moved. Only grows; holds
# no messages and knows no queues.
#
# The ranges are closed, sorted, and neither overlap nor touch: between any two there is a number that is missing.
# Numbers are anything below 2^64.

from libc.stdint cimport int32_t, uint64_t

cdef struct Interval:
    uint64_t first
    uint64_t last               # belongs to it

cdef struct Chunk:
    Interval *items             # owned
    int32_t count
    int32_t capacity

cdef class IntervalSet:
    cdef Chunk *chunks          # in order, none of them empty; `only` while one is enough
    cdef Chunk only
    cdef Py_ssize_t chunks_count
    cdef Py_ssize_t chunks_capacity
    cdef Py_ssize_t chunk       # the range last added to or found is in that chunk, ...
    cdef Py_ssize_t position    # ... and there at that place
    cdef Py_ssize_t walked          # the chunk that at() was in last, ...
    cdef Py_ssize_t walked_past     # ... and how many ranges are in those before
    cdef readonly Py_ssize_t count          # ranges
    cdef readonly uint64_t total            # numbers covered, modulo 2^64

    # Covers first to last, both included. Returns False when they all were already. O(1) when this extends the range
    # last touched. Raises ValueError when first > last; a failed call changes nothing.
    cdef bint add(self, uint64_t first, uint64_t last) except -1
    cdef bint contains(self, uint64_t number) noexcept nogil
    # The end of the range with that number, which is not 0, in it; 0 when there is none.
    cdef uint64_t covered_up_to(self, uint64_t number) noexcept nogil
    cdef void clear(self) noexcept
    # Range `index` < count, in order from 0, until something is added; quick when the indices grow.
    cdef const Interval *at(self, Py_ssize_t index) noexcept nogil

    # The lowest range that contains the number, touches it or lies behind it. False when none does.
    cdef bint locate(self, uint64_t number, Py_ssize_t *chunk, Py_ssize_t *position) noexcept nogil
    cdef bint search(self, uint64_t number, Py_ssize_t *chunk, Py_ssize_t *position) noexcept nogil
    cdef const Interval *before(self, Py_ssize_t chunk, Py_ssize_t position) noexcept nogil
    cdef bint extend(self, uint64_t first, uint64_t last) noexcept
    cdef bint insert(self, Py_ssize_t at, Py_ssize_t position, uint64_t first, uint64_t last) except -1
    cdef bint merge(self, Py_ssize_t at, Py_ssize_t position, uint64_t first, uint64_t last) noexcept
    cdef uint64_t absorb(self, Py_ssize_t at, Py_ssize_t position, uint64_t last) noexcept
    cdef int add_chunk(self, Py_ssize_t at, int32_t capacity) except -1
    cdef int split(self, Py_ssize_t at) except -1
    cdef void drop_chunks(self, Py_ssize_t at, Py_ssize_t how_many) noexcept
    cdef void join_next(self, Py_ssize_t at) noexcept
    cdef void shrink(self, Py_ssize_t at) noexcept
