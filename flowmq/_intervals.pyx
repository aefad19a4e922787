# See _intervals.pxd for what this module is and is not.

from libc.stdint cimport int32_t, int64_t
from libc.stdlib cimport free, realloc
from libc.string cimport memcpy, memmove

from flowmq._frame cimport FLOWMQ_CONTRACT
from flowmq._message cimport count_memory

from flowmq._frame import check_contract

check_contract(FLOWMQ_CONTRACT)

cdef enum:
    CAPACITY_MIN = 4
    CHUNK_MAX = 256             # ranges; what moves for a new one is 4 KiB at most
    CHUNKS_MIN = 4


cdef inline bint lies_before(const Interval *interval, uint64_t number) noexcept nogil:
    """The interval ends before the number and does not touch it."""
    return interval.last < number and number - interval.last > 1


cdef inline bint lies_behind(const Interval *interval, uint64_t number) noexcept nogil:
    return interval.first > number and interval.first - number > 1


cdef inline uint64_t size_of(const Interval *interval) noexcept nogil:
    return interval.last - interval.first + 1


cdef bint resize(Chunk *chunk, int32_t capacity) noexcept:
    """False, and nothing changed, without memory."""
    cdef Interval *items = <Interval *>realloc(chunk.items, capacity * sizeof(Interval))
    if items == NULL:
        return False
    count_memory(<int64_t>(capacity - chunk.capacity) * <int64_t>sizeof(Interval))
    chunk.items = items
    chunk.capacity = capacity
    return True


cdef class IntervalSet:
    """Sequence numbers, as sorted ranges that do not touch."""

    def __dealloc__(self):
        self.clear()

    cdef bint add(self, uint64_t first, uint64_t last) except -1:
        cdef Py_ssize_t at
        cdef Py_ssize_t position
        if first > last:
            raise ValueError(f"a range from {first} to {last}")
        if self.count and self.extend(first, last):
            return True
        if not self.locate(first, &at, &position):
            at = max(self.chunks_count - 1, <Py_ssize_t>0)
            return self.insert(at, self.chunks[at].count if self.chunks_count else 0, first, last)
        if lies_behind(&self.chunks[at].items[position], last):
            return self.insert(at, position, first, last)
        return self.merge(at, position, first, last)

    cdef bint extend(self, uint64_t first, uint64_t last) noexcept:
        """What comes in order only makes the range last touched longer. False when it is not that simple."""
        cdef Chunk *chunk = &self.chunks[self.chunk]
        cdef Interval *touched = &chunk.items[self.position]
        if first <= touched.last or first - touched.last != 1:
            return False
        if self.position + 1 < chunk.count:
            if not lies_behind(&chunk.items[self.position + 1], last):
                return False
        elif self.chunk + 1 < self.chunks_count:
            return False
        touched.last = last
        self.total += last - first + 1
        return True

    cdef bint contains(self, uint64_t number) noexcept nogil:
        cdef Py_ssize_t at
        cdef Py_ssize_t position
        cdef const Interval *found
        if not self.locate(number, &at, &position):
            return False
        # Also after a miss: the next question is usually about a number near this one.
        self.chunk, self.position = at, position
        found = &self.chunks[at].items[position]
        return found.first <= number <= found.last

    cdef uint64_t covered_up_to(self, uint64_t number) noexcept nogil:
        return self.chunks[self.chunk].items[self.position].last if self.contains(number) else 0

    cdef void clear(self) noexcept:
        if self.chunks_count:
            self.drop_chunks(0, self.chunks_count)
        self.chunk = self.position = self.walked = self.walked_past = self.count = 0
        self.total = 0

    cdef const Interval *at(self, Py_ssize_t index) noexcept nogil:
        if index < self.walked_past:
            self.walked = self.walked_past = 0
        while index >= self.walked_past + self.chunks[self.walked].count:
            self.walked_past = self.walked_past + self.chunks[self.walked].count
            self.walked = self.walked + 1
        return &self.chunks[self.walked].items[index - self.walked_past]

    # ------------------------------------------------------------------------------------------------ finding

    cdef bint locate(self, uint64_t number, Py_ssize_t *chunk, Py_ssize_t *position) noexcept nogil:
        cdef const Interval *neighbour
        if self.count == 0:
            return False
        chunk[0], position[0] = self.chunk, self.position
        if not lies_before(&self.chunks[self.chunk].items[self.position], number):
            neighbour = self.before(self.chunk, self.position)
            return neighbour == NULL or lies_before(neighbour, number) or self.search(number, chunk, position)
        position[0] = position[0] + 1
        if position[0] == self.chunks[self.chunk].count:
            chunk[0] = chunk[0] + 1
            position[0] = 0
            if chunk[0] == self.chunks_count:
                return False
        neighbour = &self.chunks[chunk[0]].items[position[0]]
        return not lies_before(neighbour, number) or self.search(number, chunk, position)

    cdef const Interval *before(self, Py_ssize_t chunk, Py_ssize_t position) noexcept nogil:
        """NULL when that range is the lowest one."""
        if position:
            return &self.chunks[chunk].items[position - 1]
        return &self.chunks[chunk - 1].items[self.chunks[chunk - 1].count - 1] if chunk else NULL

    cdef bint search(self, uint64_t number, Py_ssize_t *chunk, Py_ssize_t *position) noexcept nogil:
        cdef Py_ssize_t low = 0
        cdef Py_ssize_t high = self.chunks_count
        cdef Py_ssize_t middle
        cdef Chunk *found
        while low < high:
            middle = low + (high - low) // 2
            found = &self.chunks[middle]
            if lies_before(&found.items[found.count - 1], number):
                low = middle + 1
            else:
                high = middle
        if low == self.chunks_count:
            return False
        chunk[0] = low
        found = &self.chunks[low]
        low, high = 0, found.count - 1
        while low < high:
            middle = low + (high - low) // 2
            if lies_before(&found.items[middle], number):
                low = middle + 1
            else:
                high = middle
        position[0] = low
        return True

    # ----------------------------------------------------------------------------------------------- changing

    cdef bint insert(self, Py_ssize_t at, Py_ssize_t position, uint64_t first, uint64_t last) except -1:
        """A new range at that place, which touches none."""
        cdef Chunk *chunk
        cdef Interval *interval
        if self.chunks_count == 0:
            self.add_chunk(0, CAPACITY_MIN)
        elif self.chunks[at].count == CHUNK_MAX and at == self.chunks_count - 1 and position == CHUNK_MAX:
            self.add_chunk(at + 1, CAPACITY_MIN)
            at, position = at + 1, 0
        elif self.chunks[at].count == CHUNK_MAX:
            self.split(at)
            if position > self.chunks[at].count:
                position -= self.chunks[at].count
                at += 1
        elif self.chunks[at].count == self.chunks[at].capacity:
            if not resize(&self.chunks[at], 2 * self.chunks[at].capacity):
                raise MemoryError()
        chunk = &self.chunks[at]
        interval = &chunk.items[position]
        memmove(interval + 1, interval, (chunk.count - position) * sizeof(Interval))
        chunk.count += 1
        self.count += 1
        interval.first = first
        interval.last = last
        self.total += size_of(interval)
        self.chunk, self.position = at, position
        self.walked = self.walked_past = 0
        return True

    cdef bint merge(self, Py_ssize_t at, Py_ssize_t position, uint64_t first, uint64_t last) noexcept:
        """Into the range at that place, which is the lowest one touched, and with all further ones touched."""
        cdef Interval *interval = &self.chunks[at].items[position]
        cdef Py_ssize_t count = self.count
        self.chunk, self.position = at, position
        if interval.first <= first and last <= interval.last:
            return False
        self.total -= size_of(interval)
        interval.first = min(interval.first, first)
        interval.last = max(interval.last, self.absorb(at, position + 1, last))
        self.total += size_of(interval)
        if self.count != count:
            self.walked = self.walked_past = 0
            if at + 1 < self.chunks_count:
                self.shrink(at + 1)
                self.join_next(at)
            if at:
                self.join_next(at - 1)
            self.shrink(self.chunk)
        return True

    cdef uint64_t absorb(self, Py_ssize_t at, Py_ssize_t position, uint64_t last) noexcept:
        """Removes the ranges from that place on that a range up to `last` covers or touches; the end of all of them."""
        cdef uint64_t end = last
        cdef Py_ssize_t emptied = at + 1
        cdef Py_ssize_t beyond
        cdef Chunk *chunk
        while at < self.chunks_count:
            chunk = &self.chunks[at]
            beyond = position
            while beyond < chunk.count and not lies_behind(&chunk.items[beyond], last):
                self.total -= size_of(&chunk.items[beyond])
                end = max(end, chunk.items[beyond].last)
                beyond += 1
            memmove(chunk.items + position, chunk.items + beyond, (chunk.count - beyond) * sizeof(Interval))
            self.count -= beyond - position
            chunk.count -= <int32_t>(beyond - position)
            if position < chunk.count:
                break
            at += 1
            position = 0
        if at > emptied:
            self.drop_chunks(emptied, at - emptied)
        return end

    # ------------------------------------------------------------------------------------------------- chunks

    cdef int add_chunk(self, Py_ssize_t at, int32_t capacity) except -1:
        """An empty one, for the caller to fill."""
        cdef Chunk added
        cdef Chunk *moved
        cdef Py_ssize_t chunks_capacity = max(2 * self.chunks_capacity, <Py_ssize_t>CHUNKS_MIN)
        added.items = NULL
        added.count = added.capacity = 0
        if not resize(&added, capacity):
            raise MemoryError()
        if self.chunks_count == 0:
            self.chunks = &self.only
            self.chunks_capacity = 1
        elif self.chunks_count == self.chunks_capacity:
            moved = NULL if self.chunks == &self.only else self.chunks
            moved = <Chunk *>realloc(moved, chunks_capacity * sizeof(Chunk))
            if moved == NULL:
                free(added.items)
                count_memory(-<int64_t>(capacity * sizeof(Interval)))
                raise MemoryError()
            if self.chunks == &self.only:
                moved[0] = self.only
                self.chunks_capacity = 0
            count_memory(<int64_t>((chunks_capacity - self.chunks_capacity) * sizeof(Chunk)))
            self.chunks = moved
            self.chunks_capacity = chunks_capacity
        memmove(self.chunks + at + 1, self.chunks + at, (self.chunks_count - at) * sizeof(Chunk))
        self.chunks[at] = added
        self.chunks_count += 1
        return 0

    cdef int split(self, Py_ssize_t at) except -1:
        """The upper half of a full chunk becomes one of its own."""
        cdef int32_t half = CHUNK_MAX // 2
        self.add_chunk(at + 1, CHUNK_MAX)
        memcpy(self.chunks[at + 1].items, self.chunks[at].items + half, half * sizeof(Interval))
        self.chunks[at].count = self.chunks[at + 1].count = half
        return 0

    cdef void drop_chunks(self, Py_ssize_t at, Py_ssize_t how_many) noexcept:
        cdef Py_ssize_t position
        cdef Chunk *moved
        for position in range(at, at + how_many):
            count_memory(-<int64_t>(self.chunks[position].capacity * sizeof(Interval)))
            free(self.chunks[position].items)
        self.chunks_count -= how_many
        memmove(self.chunks + at, self.chunks + at + how_many, (self.chunks_count - at) * sizeof(Chunk))
        if self.chunks == &self.only or self.chunks_count > self.chunks_capacity // 4:
            return
        count_memory(-<int64_t>(self.chunks_capacity * sizeof(Chunk)))
        if self.chunks_count <= 1:
            self.only = self.chunks[0]
            free(self.chunks)
            self.chunks = &self.only
            self.chunks_capacity = 1
            return
        moved = <Chunk *>realloc(self.chunks, 2 * self.chunks_count * sizeof(Chunk))
        if moved != NULL:
            # Without the memory for a smaller place the larger one stays in use.
            self.chunks = moved
            self.chunks_capacity = 2 * self.chunks_count
        count_memory(<int64_t>(self.chunks_capacity * sizeof(Chunk)))

    cdef void join_next(self, Py_ssize_t at) noexcept:
        """Chunks of which little is left become one, if there is memory for it."""
        cdef Chunk *chunk
        cdef Chunk *other
        cdef int32_t count
        if at + 1 >= self.chunks_count:
            return
        chunk = &self.chunks[at]
        other = chunk + 1
        count = chunk.count + other.count
        if count > CHUNK_MAX // 2:
            return
        if chunk.capacity < count and not resize(chunk, count):
            return
        memcpy(chunk.items + chunk.count, other.items, other.count * sizeof(Interval))
        if self.chunk == at + 1:
            self.chunk = at
            self.position += chunk.count
        elif self.chunk > at + 1:
            self.chunk -= 1
        chunk.count = count
        self.drop_chunks(at + 1, 1)

    cdef void shrink(self, Py_ssize_t at) noexcept:
        cdef Chunk *chunk = &self.chunks[at]
        if chunk.capacity > CAPACITY_MIN and chunk.count <= chunk.capacity // 3:
            resize(chunk, max(<int32_t>CAPACITY_MIN, 2 * chunk.count))

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
        cdef Py_ssize_t octets = 0
        for at in range(self.chunks_count):
            octets += self.chunks[at].capacity * sizeof(Interval)
        if self.chunks_count and self.chunks != &self.only:
            octets += self.chunks_capacity * sizeof(Chunk)
        return object.__sizeof__(self) + octets
