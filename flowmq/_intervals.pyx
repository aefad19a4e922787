# See _intervals.pxd for what this module is and is not.

from libc.stdint cimport int64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memmove

from flowmq._frame cimport FLOWMQ_CONTRACT
from flowmq._message cimport count_memory

from flowmq._frame import check_contract

check_contract(FLOWMQ_CONTRACT)

cdef enum:
    CAPACITY_MIN = 4            # leaves room on both sides of one range


cdef inline bint lies_before(const Interval *interval, uint64_t number) noexcept nogil:
    """The interval ends before the number and does not touch it."""
    return interval.last < number and number - interval.last > 1


cdef inline bint lies_behind(const Interval *interval, uint64_t number) noexcept nogil:
    return interval.first > number and interval.first - number > 1


cdef inline uint64_t size_of(const Interval *interval) noexcept nogil:
    return interval.last - interval.first + 1


cdef class IntervalSet:
    """Sequence numbers, as sorted ranges that do not touch."""

    def __dealloc__(self):
        self.clear()

    cdef bint add(self, uint64_t first, uint64_t last) except -1:
        cdef Py_ssize_t index
        if first > last:
            raise ValueError(f"a range from {first} to {last}")
        index = self.locate(first)
        if index == self.count or lies_behind(self.at(index), last):
            return self.insert(index, first, last)
        return self.merge(index, first, last)

    cdef bint contains(self, uint64_t number) noexcept nogil:
        cdef Py_ssize_t index = self.locate(number)
        if index == self.count:
            return False
        # Also after a miss: the next question is usually about a number near this one.
        self.touched = index
        return self.at(index).first <= number <= self.at(index).last

    cdef uint64_t covered_up_to(self, uint64_t number) noexcept nogil:
        return self.at(self.touched).last if self.contains(number) else 0

    cdef void clear(self) noexcept:
        count_memory(-<int64_t>(self.capacity * sizeof(Interval)))
        free(self.storage)
        self.storage = NULL
        self.capacity = self.head = self.touched = self.count = 0
        self.total = 0

    # ------------------------------------------------------------------------------------------------ finding

    cdef Py_ssize_t locate(self, uint64_t number) noexcept nogil:
        """The lowest range that contains the number, touches it or lies behind it; `count` if none does."""
        cdef Py_ssize_t touched = self.touched
        if self.count == 0:
            return 0
        if lies_before(self.at(touched), number):
            if touched + 1 == self.count or not lies_before(self.at(touched + 1), number):
                return touched + 1
            if lies_before(self.at(self.count - 1), number):
                return self.count
            return self.search(number, touched + 2, self.count - 1)
        if touched == 0 or lies_before(self.at(touched - 1), number):
            return touched
        if not lies_before(self.at(0), number):
            return 0
        return self.search(number, 1, touched - 1)

    cdef Py_ssize_t search(self, uint64_t number, Py_ssize_t low, Py_ssize_t high) noexcept nogil:
        """As `locate`, when the answer is known to be one of low to high."""
        cdef Py_ssize_t middle
        while low < high:
            middle = low + (high - low) // 2
            if lies_before(self.at(middle), number):
                low = middle + 1
            else:
                high = middle
        return low

    # ----------------------------------------------------------------------------------------------- changing

    cdef bint insert(self, Py_ssize_t index, uint64_t first, uint64_t last) except -1:
        """A new range at that place, which touches none."""
        cdef Interval *interval
        self.make_room(index)
        interval = &self.storage[self.head + index]
        interval.first = first
        interval.last = last
        self.touched = index
        self.total += size_of(interval)
        return True

    cdef bint merge(self, Py_ssize_t index, uint64_t first, uint64_t last) noexcept:
        """Into the range at that place, which is the lowest one touched, and with all further ones touched."""
        cdef Interval *interval = &self.storage[self.head + index]
        cdef Py_ssize_t beyond = index + 1
        self.touched = index
        if interval.first <= first and last <= interval.last:
            return False
        self.total -= size_of(interval)
        while beyond < self.count and not lies_behind(self.at(beyond), last):
            self.total -= size_of(self.at(beyond))
            beyond += 1
        interval.first = min(interval.first, first)
        interval.last = max(self.at(beyond - 1).last, last)
        self.total += size_of(interval)
        if beyond > index + 1:
            self.remove(index + 1, beyond - index - 1)
        return True

    # ------------------------------------------------------------------------------------------------ storage
    # Ranges come and go mostly at the ends. Hence the room on both sides: only the shorter part is ever moved.

    cdef int make_room(self, Py_ssize_t index) except -1:
        """Moves the ranges on the shorter side of that place one away; `count` includes the new one afterwards."""
        cdef Interval *lowest
        cdef bint downwards = index < self.count - index
        cdef Py_ssize_t room = self.head if downwards else self.capacity - self.head - self.count
        if room == 0 and not self.spread(max(<Py_ssize_t>CAPACITY_MIN, 2 * self.count, self.capacity)):
            raise MemoryError()
        lowest = &self.storage[self.head]
        if downwards:
            memmove(lowest - 1, lowest, index * sizeof(Interval))
            self.head -= 1
        else:
            memmove(lowest + index + 1, lowest + index, (self.count - index) * sizeof(Interval))
        self.count += 1
        return 0

    cdef void remove(self, Py_ssize_t index, Py_ssize_t how_many) noexcept:
        cdef Interval *lowest = &self.storage[self.head]
        cdef Py_ssize_t above = self.count - index - how_many
        if index < above:
            memmove(lowest + how_many, lowest, index * sizeof(Interval))
            self.head += how_many
        else:
            memmove(lowest + index, lowest + index + how_many, above * sizeof(Interval))
        self.count -= how_many
        if self.capacity > CAPACITY_MIN and self.count <= self.capacity // 4:
            # Without the memory for a smaller place the larger one stays in use.
            self.spread(max(<Py_ssize_t>CAPACITY_MIN, 2 * self.count))

    cdef bint spread(self, Py_ssize_t capacity) noexcept:
        """Moves the ranges to the middle of a storage of that capacity. False, and nothing moved, without memory."""
        cdef Py_ssize_t head = (capacity - self.count) // 2
        cdef Interval *storage = self.storage
        if capacity == self.capacity:
            memmove(storage + head, storage + self.head, self.count * sizeof(Interval))
        else:
            storage = <Interval *>malloc(capacity * sizeof(Interval))
            if storage == NULL:
                return False
            if self.count:
                memcpy(storage + head, self.storage + self.head, self.count * sizeof(Interval))
            free(self.storage)
            count_memory(<int64_t>((capacity - self.capacity) * sizeof(Interval)))
        self.storage = storage
        self.capacity = capacity
        self.head = head
        return True

    # --------------------------------------------------------------------------------------- Python's view of it

    def insert_range(self, uint64_t first, uint64_t last):
        return self.add(first, last)

    def __contains__(self, uint64_t number):
        return self.contains(number)

    def ranges(self):
        return [(self.at(index).first, self.at(index).last) for index in range(self.count)]

    def erase(self):
        self.clear()

    def __sizeof__(self):
        return object.__sizeof__(self) + self.capacity * sizeof(Interval)
