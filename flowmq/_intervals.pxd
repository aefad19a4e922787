# A set of sequence numbers kept as ranges: which messages of a queue are done with.
#
# Made for numbers that come nearly in order: memory and time follow the number of ranges, not of numbers. Only grows;
# holds no messages and knows no queues.
#
# The ranges are closed, sorted, and neither overlap nor touch: between any two there is a number that is missing.
# Numbers are anything below 2^64.

from libc.stdint cimport uint64_t

cdef struct Interval:
    uint64_t first
    uint64_t last               # belongs to it

cdef class IntervalSet:
    cdef Interval *storage      # or NULL
    cdef Py_ssize_t capacity
    cdef Py_ssize_t head        # storage[head] is the lowest range: there is room on both sides
    cdef Py_ssize_t touched     # the range last added to or found
    cdef readonly Py_ssize_t count          # ranges
    cdef readonly uint64_t total            # numbers covered, modulo 2^64

    # Covers first to last, both included. Returns False when they all were already. O(1) when this extends the range
    # last touched or the lowest one. Raises ValueError when first > last; a failed call changes nothing.
    cdef bint add(self, uint64_t first, uint64_t last) except -1
    cdef bint contains(self, uint64_t number) noexcept nogil
    # The end of the range with that number, which is not 0, in it; 0 when there is none.
    cdef uint64_t covered_up_to(self, uint64_t number) noexcept nogil
    cdef void clear(self) noexcept

    cdef inline const Interval *at(self, Py_ssize_t index) noexcept nogil:
        # Range `index` < count, in order from 0. The ranges lie one behind the other; add and clear move them.
        return &self.storage[self.head + index]

    cdef Py_ssize_t locate(self, uint64_t number) noexcept nogil
    cdef Py_ssize_t search(self, uint64_t number, Py_ssize_t low, Py_ssize_t high) noexcept nogil
    cdef bint insert(self, Py_ssize_t index, uint64_t first, uint64_t last) except -1
    cdef bint merge(self, Py_ssize_t index, uint64_t first, uint64_t last) noexcept
    cdef int make_room(self, Py_ssize_t index) except -1
    cdef void remove(self, Py_ssize_t index, Py_ssize_t how_many) noexcept
    cdef bint spread(self, Py_ssize_t capacity) noexcept
