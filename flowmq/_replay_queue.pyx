# See _replay_queue.pxd for what this module is and is not.
#
# Messages come nearly in order: those that do not (compaction wrote them once more) gather apart, and are merged in at
# the end.

from libc.stdlib cimport free, qsort, realloc
from libc.string cimport memset

from flowmq._frame cimport FLOWMQ_CONTRACT
from flowmq._replay_segment cimport STATE_FIXED_OCTETS, replay_u32, replay_u64

from typing import NamedTuple

from flowmq._frame import check_contract

check_contract(FLOWMQ_CONTRACT)

cdef uint64_t SEQUENCE_MAX = 0xFFFFFFFFFFFFFFFF


class MessageView(NamedTuple):
    sequence: int
    segment: int
    offset: int
    message_offset: int
    record_octets: int
    body_bytes: int
    delivery_count: int
    redelivered: bool
    expires_at_ms: int


cdef int by_sequence(const void *left, const void *right) noexcept nogil:
    # Of the same sequence the one read earlier comes first.
    cdef const LiveMessage *a = <const LiveMessage *>left
    cdef const LiveMessage *b = <const LiveMessage *>right
    if a.sequence != b.sequence:
        return 1 if a.sequence > b.sequence else -1
    if a.segment != b.segment:
        return 1 if a.segment > b.segment else -1
    return (a.offset > b.offset) - (a.offset < b.offset)


cdef int by_return(const void *left, const void *right) noexcept nogil:
    cdef const Return *a = <const Return *>left
    cdef const Return *b = <const Return *>right
    if a.sequence != b.sequence:
        return 1 if a.sequence > b.sequence else -1
    return (a.delivery_count > b.delivery_count) - (a.delivery_count < b.delivery_count)


cdef int reserve(void **items, Py_ssize_t capacity, size_t item_octets) except -1:
    cdef void *moved = realloc(items[0], capacity * item_octets)
    if moved == NULL:
        raise MemoryError
    items[0] = moved
    return 0


cdef void give_back(Found *found) noexcept:
    free(found.items)
    memset(found, 0, sizeof(Found))


cdef class QueueHistory:
    def __cinit__(self, uint32_t queue_id):
        self.queue_id = queue_id
        self.settled = IntervalSet()
        self.aside = {}
        self.next_sequence = 1

    def __dealloc__(self):
        self.forget()
        free(self.returns)

    cdef int add(self, const LiveMessage *message) except -1:
        cdef Found *found = &self.live
        self.note(message.sequence)
        if self.gone:
            return 0
        if found.count and found.items[found.count - 1].sequence >= message.sequence:
            found = &self.late
        if found.count == found.capacity:
            # Room by what has been settled meanwhile, before room by growing.
            self.drop_settled(found)
            if found.count >= found.capacity // 2:
                reserve(<void **>&found.items, max(16, found.capacity * 2), sizeof(LiveMessage))
                found.capacity = max(16, found.capacity * 2)
        found.items[found.count] = message[0]
        found.count += 1
        return 0

    cdef int add_return(self, uint64_t sequence, uint32_t delivery_count, uint64_t ready_at_ms) except -1:
        if ready_at_ms:
            self.aside[sequence] = ready_at_ms
        elif self.aside:
            self.aside.pop(sequence, None)
        if self.returns_count == self.returns_capacity:
            self.sort_returns()
            if self.returns_count >= self.returns_capacity // 2:
                reserve(<void **>&self.returns, max(16, self.returns_capacity * 2), sizeof(Return))
                self.returns_capacity = max(16, self.returns_capacity * 2)
        self.returns[self.returns_count] = Return(sequence, delivery_count)
        self.returns_count += 1
        self.note(sequence)
        return 0

    cdef void delivered(self, uint64_t sequence) noexcept:
        self.delivered_up_to = max(self.delivered_up_to, sequence)
        self.note(sequence)

    cdef int add_state(self, const uint8_t *payload) except -1:
        cdef const uint8_t *interval = payload + STATE_FIXED_OCTETS
        cdef uint32_t _range
        for _range in range(replay_u32(payload + 4)):
            self.settled.add(replay_u64(interval), replay_u64(interval + 8))
            self.note(replay_u64(interval + 8))
            interval += 16
        self.delivered(replay_u64(payload + 16))
        self.next_sequence = max(self.next_sequence, replay_u64(payload + 8))
        return 0

    cdef void note(self, uint64_t sequence) noexcept:
        if sequence >= self.next_sequence:
            self.next_sequence = sequence if sequence == SEQUENCE_MAX else sequence + 1

    cdef void drop_settled(self, Found *found) noexcept:
        cdef Py_ssize_t index, kept = 0
        if self.settled.count == 0:
            return
        for index in range(found.count):
            if not self.settled.contains(found.items[index].sequence):
                found.items[kept] = found.items[index]
                kept += 1
        found.count = kept

    cdef void sort_returns(self) noexcept:
        # Ascending, the highest count of each sequence only, and without the settled.
        cdef Py_ssize_t index, kept = 0
        cdef uint64_t sequence
        if self.returns_count:
            qsort(self.returns, self.returns_count, sizeof(Return), by_return)
        for index in range(self.returns_count):
            sequence = self.returns[index].sequence
            if index + 1 < self.returns_count and self.returns[index + 1].sequence == sequence:
                continue
            if not self.settled.contains(sequence):
                self.returns[kept] = self.returns[index]
                kept += 1
        self.returns_count = kept

    cdef void sort_late(self) noexcept:
        # Ascending, the last read of each sequence only.
        cdef Py_ssize_t index, kept = 0
        cdef Found *late = &self.late
        for index in range(1, late.count):
            if late.items[index - 1].sequence >= late.items[index].sequence:
                qsort(late.items, late.count, sizeof(LiveMessage), by_sequence)
                break
        for index in range(late.count):
            if index + 1 < late.count and late.items[index + 1].sequence == late.items[index].sequence:
                continue
            late.items[kept] = late.items[index]
            kept += 1
        late.count = kept

    cdef int merge_late(self) except -1:
        # From the back, into the room behind; where both have a sequence the late one was read later, and counts.
        cdef Py_ssize_t a = self.live.count - 1, b, to, total = self.live.count + self.late.count
        cdef LiveMessage *items
        if self.late.count == 0:
            return 0
        reserve(<void **>&self.live.items, total, sizeof(LiveMessage))
        self.live.capacity = total
        items = self.live.items
        b, to = self.late.count - 1, total
        while b >= 0:
            to -= 1
            if a >= 0 and items[a].sequence > self.late.items[b].sequence:
                items[to] = items[a]
                a -= 1
                continue
            if a >= 0 and items[a].sequence == self.late.items[b].sequence:
                a -= 1
            items[to] = self.late.items[b]
            b -= 1
        while to < total:
            a += 1
            items[a] = items[to]
            to += 1
        self.live.count = a + 1
        return 0

    cdef void mark(self) noexcept:
        # What came back, and what was handed out.
        cdef Py_ssize_t index, at = 0
        cdef LiveMessage *message
        for index in range(self.live.count):
            message = &self.live.items[index]
            while at < self.returns_count and self.returns[at].sequence < message.sequence:
                at += 1
            if at < self.returns_count and self.returns[at].sequence == message.sequence:
                message.delivery_count = max(message.delivery_count, self.returns[at].delivery_count)
            if message.sequence <= self.delivered_up_to or message.delivery_count:
                message.redelivered = True
            if message.redelivered and message.delivery_count == 0:
                message.delivery_count = 1

    cdef int finish(self) except -1:
        if self.gone:
            self.forget()
        self.drop_settled(&self.live)
        self.drop_settled(&self.late)
        self.sort_late()
        self.merge_late()
        give_back(&self.late)
        self.sort_returns()
        self.mark()
        self.aside = {sequence: at for sequence, at in self.aside.items() if not self.settled.contains(sequence)}
        free(self.returns)
        self.returns = NULL
        self.returns_count = self.returns_capacity = 0
        return 0

    cdef void forget(self) noexcept:
        give_back(&self.live)
        give_back(&self.late)

    @property
    def count(self):
        return self.live.count

    @property
    def body_bytes(self):
        cdef Py_ssize_t index
        cdef uint64_t total = 0
        for index in range(self.live.count):
            total += self.live.items[index].body_bytes
        return total

    def messages(self):
        return [view_of(&self.live.items[index]) for index in range(self.live.count)]


cdef object view_of(const LiveMessage *message):
    return MessageView(
        message.sequence, message.segment, message.offset, message.message_offset, message.record_octets,
        message.body_bytes, message.delivery_count, bool(message.redelivered), message.expires_at_ms,
    )
