# See _delivery.pxd for what this module is and is not.

from cpython.ref cimport Py_XDECREF
from libc.stdint cimport int64_t
from libc.stdlib cimport calloc, free, malloc, qsort

from flowmq._frame cimport FLOWMQ_CONTRACT, output_confirm
from flowmq._message cimport count_memory, message_release

from flowmq._frame import check_contract

check_contract(FLOWMQ_CONTRACT)

cdef enum:
    WINDOW_CAPACITY_MIN = 16
    LEDGER_CAPACITY_MIN = 64

cdef enum:
    PENDING = 0
    POSITIVE = 1
    NEGATIVE = 2
    TOLD = 3

cdef uint64_t NOWHERE = <uint64_t>-1


cdef void release_unacked(Unacked *entry) noexcept:
    message_release(entry.message)
    Py_XDECREF(entry.queue)
    Py_XDECREF(entry.consumer)


# ------------------------------------------------------------------------------------------ the unacked window

cdef class UnackedWindow:
    """Deliveries of one channel that await settlement, in order of delivery tag."""

    def __dealloc__(self):
        cdef Unacked entry
        while self.take_oldest(NOWHERE, &entry):
            release_unacked(&entry)
        self.replace(NULL, 0)

    def listed(self, uint64_t from_tag, Py_ssize_t limit) -> list:
        """Deliveries from that tag on, in order, at most `limit`; nothing changes by it."""
        cdef list found = []
        cdef uint64_t position
        cdef Unacked *entry
        for position in range(self.head, self.tail):
            entry = &self.ring[position & self.mask]
            if entry.message == NULL or entry.delivery_tag < from_tag:
                continue
            if len(found) >= limit:
                break
            found.append((
                entry.delivery_tag, <object>entry.queue, None if entry.consumer == NULL else <object>entry.consumer,
                entry.sequence, entry.delivery_count, entry.delivered_at_ms, entry.message.body_bytes,
            ))
        return found

    cdef Unacked *push(self) except NULL:
        cdef Unacked *slot
        if self.ring == NULL or self.tail - self.head > self.mask:
            self.resize(WINDOW_CAPACITY_MIN if self.ring == NULL else (self.mask + 1) * 2)
        slot = &self.ring[self.tail & self.mask]
        self.tail += 1
        self.count += 1
        return slot

    cdef uint64_t find(self, uint64_t delivery_tag) noexcept:
        cdef uint64_t low = self.head
        cdef uint64_t high = self.tail
        cdef uint64_t middle, tag
        if low == high:
            return NOWHERE
        tag = self.ring[low & self.mask].delivery_tag
        if delivery_tag < tag:
            return NOWHERE
        middle = low + (delivery_tag - tag)
        if middle < high and self.ring[middle & self.mask].delivery_tag == delivery_tag:
            return middle if self.ring[middle & self.mask].message != NULL else NOWHERE
        while low < high:
            middle = low + (high - low) // 2
            tag = self.ring[middle & self.mask].delivery_tag
            if tag == delivery_tag:
                return middle if self.ring[middle & self.mask].message != NULL else NOWHERE
            if tag < delivery_tag:
                low = middle + 1
            else:
                high = middle
        return NOWHERE

    cdef bint contains(self, uint64_t delivery_tag) noexcept:
        return self.find(delivery_tag) != NOWHERE

    cdef bint take(self, uint64_t delivery_tag, Unacked *settled) noexcept:
        cdef uint64_t position = self.find(delivery_tag)
        if position == NOWHERE:
            return False
        settled[0] = self.ring[position & self.mask]
        self.ring[position & self.mask].message = NULL
        self.count -= 1
        if position == self.head:
            self.skip_holes()
        elif self.tail - self.head > 4 * (self.count + WINDOW_CAPACITY_MIN):
            self.squeeze()
        return True

    cdef bint take_oldest(self, uint64_t up_to, Unacked *settled) noexcept:
        cdef Unacked *oldest
        if self.head == self.tail:
            return False
        oldest = &self.ring[self.head & self.mask]
        if oldest.delivery_tag > up_to:
            return False
        settled[0] = oldest[0]
        oldest.message = NULL
        self.count -= 1
        self.skip_holes()
        return True

    cdef bint has_up_to(self, uint64_t up_to) noexcept:
        return self.head != self.tail and self.ring[self.head & self.mask].delivery_tag <= up_to

    cdef void skip_holes(self) noexcept:
        while self.head != self.tail and self.ring[self.head & self.mask].message == NULL:
            self.head += 1
        if self.head == self.tail and self.mask >= 4096:
            # A burst is over: give its memory back.
            self.replace(NULL, 0)

    cdef void squeeze(self) noexcept:
        cdef uint64_t position
        cdef uint64_t kept = self.head
        for position in range(self.head, self.tail):
            if self.ring[position & self.mask].message != NULL:
                self.ring[kept & self.mask] = self.ring[position & self.mask]
                kept += 1
        self.tail = kept

    cdef int resize(self, uint64_t capacity) except -1:
        cdef Unacked *ring = <Unacked *>malloc(capacity * sizeof(Unacked))
        cdef uint64_t position
        if ring == NULL:
            raise MemoryError("unacknowledged deliveries")
        for position in range(self.head, self.tail):
            ring[position & (capacity - 1)] = self.ring[position & self.mask]
        self.replace(ring, capacity)
        return 0

    cdef void replace(self, Unacked *ring, uint64_t capacity) noexcept:
        if self.ring != NULL:
            count_memory(-<int64_t>((self.mask + 1) * sizeof(Unacked)))
        free(self.ring)
        self.ring = ring
        self.mask = capacity - 1 if capacity else 0
        count_memory(<int64_t>(capacity * sizeof(Unacked)))

    cdef int restore(self, Unacked *entries, Py_ssize_t count) except -1:
        cdef uint64_t capacity = WINDOW_CAPACITY_MIN if self.ring == NULL else self.mask + 1
        cdef uint64_t total
        cdef Unacked *merged
        cdef Py_ssize_t taken = 0
        cdef uint64_t position
        cdef uint64_t filled = 0
        self.squeeze()
        total = (self.tail - self.head) + count
        while capacity < total:
            capacity *= 2
        merged = <Unacked *>malloc(capacity * sizeof(Unacked))
        if merged == NULL:
            raise MemoryError("unacknowledged deliveries")
        qsort(entries, count, sizeof(Unacked), by_delivery_tag)
        for position in range(self.head, self.tail):
            while taken < count and entries[taken].delivery_tag < self.ring[position & self.mask].delivery_tag:
                merged[filled] = entries[taken]
                taken += 1
                filled += 1
            merged[filled] = self.ring[position & self.mask]
            filled += 1
        while taken < count:
            merged[filled] = entries[taken]
            taken += 1
            filled += 1
        self.replace(merged, capacity)
        self.head = 0
        self.tail = filled
        self.count += count
        return 0


cdef int by_delivery_tag(const void *left, const void *right) noexcept nogil:
    cdef uint64_t a = (<const Unacked *>left).delivery_tag
    cdef uint64_t b = (<const Unacked *>right).delivery_tag
    return (a > b) - (a < b)


# --------------------------------------------------------------------------------------------- publisher confirms

cdef class ConfirmLedger:
    """Outcomes of the publishes of one channel in confirm mode.

    Sequence numbers start at 1 and count every publish after confirm.select. An answer with multiple=true covers every
    publish not answered yet up to its number, so it is only given where all of those are positive.
    """

    def __dealloc__(self):
        free(self.outcomes)

    @property
    def unconfirmed(self) -> int:
        """Publishes that have not been answered."""
        return self.last_sequence - self.told

    cdef uint64_t publish(self) noexcept:
        self.last_sequence += 1
        return self.last_sequence

    cdef int resolve(self, uint64_t sequence, bint positive) except -1:
        if positive and sequence == self.settled + 1 and self.outcomes == NULL:
            self.settled = sequence
            return 0
        self.reserve(sequence)
        self.outcomes[sequence & self.mask] = POSITIVE if positive else NEGATIVE
        self.unsent += 1
        return 0

    cdef int reserve(self, uint64_t sequence) except -1:
        cdef uint64_t capacity = LEDGER_CAPACITY_MIN if self.outcomes == NULL else self.mask + 1
        cdef uint64_t old_mask = self.mask
        cdef uint64_t number
        cdef uint8_t *outcomes
        while capacity <= self.last_sequence - self.settled:
            capacity *= 2
        if self.outcomes != NULL and capacity == self.mask + 1:
            return 0
        outcomes = <uint8_t *>calloc(capacity, 1)
        if outcomes == NULL:
            raise MemoryError("publisher confirms")
        if self.outcomes != NULL:
            # The old ring reached as far as its capacity; publishes beyond it have no outcome yet.
            for number in range(self.settled + 1, min(self.settled + old_mask + 1, self.last_sequence) + 1):
                outcomes[number & (capacity - 1)] = self.outcomes[number & old_mask]
            free(self.outcomes)
        self.outcomes = outcomes
        self.mask = capacity - 1
        return 0

    cdef int tell(self, OutputBuffer *output, uint16_t channel) except -1:
        cdef uint64_t number
        cdef uint8_t outcome
        if self.unsent:
            self.advance(output, channel)
        if self.settled > self.told:
            output_confirm(output, channel, self.settled, self.settled - self.told > 1, True)
            self.told = self.settled
        if self.unsent:
            # Above a publish that still waits each outcome is said by itself.
            for number in range(self.settled + 1, self.last_sequence + 1):
                outcome = self.outcomes[number & self.mask]
                if outcome == POSITIVE or outcome == NEGATIVE:
                    output_confirm(output, channel, number, False, outcome == POSITIVE)
                    self.outcomes[number & self.mask] = TOLD
                    self.unsent -= 1
                    if self.unsent == 0:
                        break
        return 0

    cdef int advance(self, OutputBuffer *output, uint16_t channel) except -1:
        """Move `settled` over every publish from the oldest on that has an outcome; refusals are said at once."""
        cdef uint8_t outcome
        while self.settled < self.last_sequence:
            outcome = self.outcomes[(self.settled + 1) & self.mask]
            if outcome == PENDING:
                break
            if outcome != POSITIVE and self.settled > self.told:
                output_confirm(output, channel, self.settled, self.settled - self.told > 1, True)
                self.told = self.settled
            if outcome == NEGATIVE:
                output_confirm(output, channel, self.settled + 1, False, False)
            self.outcomes[(self.settled + 1) & self.mask] = PENDING
            self.settled += 1
            if outcome == POSITIVE:
                self.unsent -= 1
            else:
                self.told = self.settled
                if outcome == NEGATIVE:
                    self.unsent -= 1
        if self.settled == self.last_sequence:
            free(self.outcomes)
            self.outcomes = NULL
            self.mask = 0
        return 0
