# See _replay_queue.pxd for what this module is and is not.

from libc.stdlib cimport free, qsort, realloc
from libc.string cimport memset

from flowmq._frame cimport FLOWMQ_CONTRACT
from flowmq._summary cimport EXPIRES_UNEVENLY, IS_UNTIL_RESTART, Cursor, Described

from flowmq._frame import check_contract

check_contract(FLOWMQ_CONTRACT)

cdef uint64_t SEQUENCE_MAX = 0xFFFFFFFFFFFFFFFF


cdef int by_first(const void *left, const void *right) noexcept nogil:
    cdef const LiveRun *a = <const LiveRun *>left
    cdef const LiveRun *b = <const LiveRun *>right
    return (a.run.first > b.run.first) - (a.run.first < b.run.first)


cdef class QueueHistory:
    def __cinit__(self, uint32_t queue_id):
        self.queue_id = queue_id
        self.settled = IntervalSet()
        self.live = IntervalSet()
        self.returned = {}
        self.aside = {}
        self.next_sequence = 1

    def __dealloc__(self):
        free(self.runs)

    cdef int add_facts(self, Facts facts) except -1:
        cdef Py_ssize_t at
        self.gone = self.gone or facts.gone
        self.delivered_up_to = max(self.delivered_up_to, facts.delivered_up_to)
        self.next_sequence = max(self.next_sequence, facts.next_sequence)
        for at in range(facts.settled.count):
            self.settled.add(facts.settled.at(at).first, facts.settled.at(at).last)
        for sequence, delivery_count in facts.returned.items():
            self.returned[sequence] = max(delivery_count, self.returned.get(sequence, 0))
        for sequence, ready_at_ms in facts.aside.items():
            self.aside[sequence] = max(ready_at_ms, self.aside.get(sequence, 0))
        return 0

    cdef void note(self, uint64_t sequence) noexcept:
        if sequence >= self.next_sequence:
            self.next_sequence = sequence if sequence == SEQUENCE_MAX else sequence + 1

    cdef uint64_t add_part(self, Part part, uint64_t segment_number) except? 0xFFFFFFFF:
        cdef Cursor cursor
        cdef Described message
        cdef uint64_t known
        cdef uint64_t wanted = 1
        cdef uint64_t count = 0
        memset(&cursor, 0, sizeof(Cursor))
        if self.gone:
            return 0
        if part.kinds & EXPIRES_UNEVENLY or (
            self.expires_next_ms and (part.expires_last_ms == 0 or part.expires_last_ms > self.expires_next_ms)
        ):
            self.expires_unevenly = True
        self.expires_next_ms = earliest(self.expires_next_ms, part.expires_next_ms)
        while part.seek(&cursor, wanted):
            if cursor.group.kind & IS_UNTIL_RESTART:
                # It was on disk to be out of memory; its place in the order is taken.
                self.settled.add(cursor.sequence, cursor.sequence)
            known = self.settled.covered_up_to(cursor.sequence) or self.live.covered_up_to(cursor.sequence)
            if known:
                if known == SEQUENCE_MAX:
                    break
                wanted = known + 1
                continue
            part.describe(&cursor, &message)
            self.live.add(message.sequence, message.sequence)
            self.body_bytes += message.body_bytes
            self.extend_runs(message.sequence, message.record_bytes, part, segment_number)
            count += 1
            wanted = message.sequence + 1
        return count

    cdef int extend_runs(self, uint64_t sequence, uint64_t octets, Part part, uint64_t segment_number) except -1:
        cdef LiveRun *last = &self.runs[self.runs_count - 1] if self.runs_count else NULL
        cdef void *moved
        if last == NULL or last.run.segment_number != segment_number or not self.joins(last.run.last, sequence):
            if self.runs_count == self.runs_capacity:
                moved = realloc(self.runs, max(4, self.runs_capacity * 2) * sizeof(LiveRun))
                if moved == NULL:
                    raise MemoryError("runs of a queue")
                self.runs = <LiveRun *>moved
                self.runs_capacity = max(4, self.runs_capacity * 2)
            last = &self.runs[self.runs_count]
            self.runs_count += 1
            memset(last, 0, sizeof(LiveRun))
            last.run.first, last.run.segment_number = sequence, segment_number
            last.run.expires_next_ms = part.expires_next_ms
        last.run.last = sequence
        last.messages += 1
        last.octets += octets
        return 0

    cdef bint joins(self, uint64_t last, uint64_t sequence) noexcept:
        """Is nothing that lives between the two?"""
        if sequence <= last:
            return False
        return sequence == last + 1 or self.settled.covered_up_to(last + 1) >= sequence - 1

    cdef int finish(self) except -1:
        """Neighbours in one segment become one: sorted, they have nothing between them that lives elsewhere."""
        cdef Py_ssize_t at, kept = 0
        cdef LiveRun *last
        if self.runs_count == 0:
            return 0
        qsort(self.runs, self.runs_count, sizeof(LiveRun), by_first)
        for at in range(1, self.runs_count):
            last = &self.runs[kept]
            if last.run.segment_number == self.runs[at].run.segment_number:
                last.run.last = self.runs[at].run.last
                last.messages += self.runs[at].messages
                last.octets += self.runs[at].octets
                last.run.expires_next_ms = earliest(last.run.expires_next_ms, self.runs[at].run.expires_next_ms)
            else:
                kept += 1
                self.runs[kept] = self.runs[at]
        self.runs_count = kept + 1
        return 0

    cdef uint64_t segment_of(self, uint64_t sequence) noexcept:
        cdef Py_ssize_t low = 0
        cdef Py_ssize_t high = self.runs_count
        cdef Py_ssize_t middle
        if not self.live.contains(sequence):
            return 0
        while low < high:
            middle = (low + high) // 2
            if self.runs[middle].run.last < sequence:
                low = middle + 1
            else:
                high = middle
        return self.runs[low].run.segment_number

    @property
    def count(self):
        """Live messages."""
        return self.live.total


cdef uint64_t earliest(uint64_t left_ms, uint64_t right_ms) noexcept nogil:
    if left_ms == 0 or right_ms == 0:
        return left_ms or right_ms
    return min(left_ms, right_ms)
