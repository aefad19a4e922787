# See _queue_log.pxd for what this module is and is not.

from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memmove, memset

from flowmq._frame cimport FLOWMQ_CONTRACT
from flowmq._message_log cimport never_committed
from flowmq._records cimport (
    DELIVERED_RECORD, QUEUE_STATE_RECORD, RETURNED_RECORD, SETTLED_RECORD, QueueStateRecord, Range, RangeRecord,
    ReturnedRecord,
)

from flowmq._frame import check_contract

check_contract(FLOWMQ_CONTRACT)


cdef class RecordWriter:
    """Abstract: adds records to the journal. Implemented by Journal."""

    cdef uint64_t put(self, RecordType type, const void *payload, size_t payload_bytes) except 0:
        raise NotImplementedError("RecordWriter.put")

    cdef uint64_t write_message(self, Message *message, const Place *place) except 0:
        raise NotImplementedError("RecordWriter.write_message")


cdef class QueueLog(MessageLog):
    """What the journal knows of one durable queue."""

    def __cinit__(self, RecordWriter journal, Queue queue, uint32_t queue_id):
        self.journal = journal
        self.queue = queue
        self.queue_id = queue_id
        self.settled = IntervalSet()
        self.returned = {}
        self.next_sequence = 1

    def __dealloc__(self):
        free(self.runs)

    cdef uint64_t append(self, Message *message, uint64_t sequence, uint64_t expires_at_ms) except 0:
        cdef Place place
        cdef uint64_t commit
        self.next_sequence = sequence + 1
        memset(&place, 0, sizeof(Place))
        place.queue_id = self.queue_id
        place.sequence = sequence
        place.expires_at_ms = expires_at_ms
        commit = self.journal.write_message(message, &place)
        if commit != never_committed():
            self.note_run(sequence, self.journal.segment)
        return commit

    cdef int settle(self, uint64_t sequence, bint persistent) except -1:
        cdef Segment segment
        if self.gone:
            return 0
        self.settled.add(sequence, sequence)
        if not persistent:
            return 0
        segment = self.segment_of(sequence)
        if segment is not None:
            segment.live -= 1
        if self.returned:
            self.returned.pop(sequence, None)
        if self.pending and sequence == self.pending_last + 1:
            self.pending_last = sequence
            return 0
        if self.pending:
            self.write_settled()
        self.pending = True
        self.pending_first = self.pending_last = sequence
        return self.touch()

    cdef int hand_out(self, uint64_t sequence) except -1:
        if sequence <= self.delivered_up_to:
            return 0
        self.delivered_up_to = sequence
        self.delivered_pending = True
        if not self.touched:
            self.touch()
        return 0

    cdef int take_back(self, uint64_t sequence, uint32_t delivery_count) except -1:
        if self.gone:
            return 0
        self.returned[sequence] = delivery_count
        return self.write_returned(sequence, delivery_count)

    cdef int touch(self) except -1:
        if not self.touched:
            self.touched = True
            self.journal.touched.append(self)
        return 0

    cdef int write_pending(self) except -1:
        cdef RangeRecord record
        if self.gone:
            return 0
        if self.pending:
            self.write_settled()
        if self.delivered_pending:
            self.delivered_pending = False
            memset(&record, 0, sizeof(RangeRecord))
            record.queue_id = self.queue_id
            record.first = self.delivered_up_to
            self.journal.put(DELIVERED_RECORD, &record, sizeof(RangeRecord) - 8)
            self.journal.segment.states.add(self.queue_id)
        return 0

    cdef int write_settled(self) except -1:
        cdef RangeRecord record
        self.pending = False
        record.queue_id = self.queue_id
        record.zero = 0
        record.first = self.pending_first
        record.last = self.pending_last
        self.journal.put(SETTLED_RECORD, &record, sizeof(RangeRecord))
        self.journal.segment.states.add(self.queue_id)
        return 0

    cdef int write_returned(self, uint64_t sequence, uint32_t delivery_count) except -1:
        cdef ReturnedRecord record
        record.queue_id = self.queue_id
        record.delivery_count = delivery_count
        record.sequence = sequence
        self.journal.put(RETURNED_RECORD, &record, sizeof(ReturnedRecord))
        self.journal.segment.states.add(self.queue_id)
        return 0

    cdef int write_state(self) except -1:
        """Everything about this queue but its messages, so that what stands elsewhere is not needed any more."""
        cdef size_t payload_bytes = sizeof(QueueStateRecord) + self.settled.count * sizeof(Range)
        cdef QueueStateRecord *state = <QueueStateRecord *>malloc(payload_bytes)
        cdef Range *ranges = <Range *>(<char *>state + sizeof(QueueStateRecord))
        cdef Py_ssize_t at
        if state == NULL:
            raise MemoryError("state of a queue")
        self.pending = self.delivered_pending = False
        state.queue_id = self.queue_id
        state.range_count = <uint32_t>self.settled.count
        state.next_sequence = self.next_sequence
        state.delivered_up_to = self.delivered_up_to
        for at in range(self.settled.count):
            ranges[at].first = self.settled.at(at).first
            ranges[at].last = self.settled.at(at).last
        try:
            self.journal.put(QUEUE_STATE_RECORD, state, payload_bytes)
        finally:
            free(state)
        for segment in self.journal.segments.values():
            segment.discard_state(self.queue_id)
        self.journal.segment.states.add(self.queue_id)
        for sequence, delivery_count in self.returned.items():
            self.write_returned(sequence, delivery_count)
        return 0

    # ------------------------------------------------------------------------------- which segment a message is in

    cdef int note_run(self, uint64_t sequence, Segment segment) except -1:
        cdef Run *run
        if self.runs_count > self.runs_head:
            run = &self.runs[self.runs_count - 1]
            if run.segment_number == segment.number:
                run.last = sequence
                return 0
        self.forget_settled_runs()
        self.make_room_for_run()
        run = &self.runs[self.runs_count]
        run.first = run.last = sequence
        run.segment_number = segment.number
        self.runs_count += 1
        return 0

    cdef int make_room_for_run(self) except -1:
        cdef Py_ssize_t capacity
        cdef void *moved
        if self.runs_count < self.runs_capacity:
            return 0
        capacity = max(<Py_ssize_t>8, self.runs_capacity * 2)
        moved = realloc(self.runs, capacity * sizeof(Run))
        if moved == NULL:
            raise MemoryError("runs of a queue")
        self.runs = <Run *>moved
        self.runs_capacity = capacity
        return 0

    cdef int note_moved(self, uint64_t sequence, Segment segment) except -1:
        """Compaction, which goes through a segment in order, has written that message anew in another one."""
        cdef Py_ssize_t at = self.find_run(sequence)
        cdef Run *run = &self.runs[at]
        run.first = sequence + 1
        if at > self.runs_head and self.runs[at - 1].segment_number == segment.number:
            # Between the two is nothing that lives: it would have been moved too.
            self.runs[at - 1].last = sequence
        else:
            self.make_room_for_run()
            memmove(&self.runs[at + 1], &self.runs[at], (self.runs_count - at) * sizeof(Run))
            self.runs[at].first = self.runs[at].last = sequence
            self.runs[at].segment_number = segment.number
            self.runs_count += 1
            at += 1
        if self.runs[at].first > self.runs[at].last:
            memmove(&self.runs[at], &self.runs[at + 1], (self.runs_count - at - 1) * sizeof(Run))
            self.runs_count -= 1
        return 0

    cdef void forget_settled_runs(self) noexcept:
        """Runs that are settled from end to end, at the front: the usual way of a queue."""
        cdef uint64_t settled_up_to = 0
        if self.settled.count and self.settled.at(0).first <= 1:
            settled_up_to = self.settled.at(0).last
        while self.runs_head < self.runs_count and self.runs[self.runs_head].last <= settled_up_to:
            self.runs_head += 1
        if self.runs_head * 2 >= self.runs_count and self.runs_head:
            memmove(self.runs, self.runs + self.runs_head, (self.runs_count - self.runs_head) * sizeof(Run))
            self.runs_count -= self.runs_head
            self.runs_head = 0

    cdef Py_ssize_t find_run(self, uint64_t sequence) noexcept:
        """The first run that does not end before that message; runs_count when there is none."""
        cdef Py_ssize_t low = self.runs_head
        cdef Py_ssize_t high = self.runs_count
        cdef Py_ssize_t middle
        while low < high:
            middle = (low + high) // 2
            if self.runs[middle].last < sequence:
                low = middle + 1
            else:
                high = middle
        return low

    cdef Segment segment_of(self, uint64_t sequence):
        """The segment with the newest record of that message; None when there is none."""
        cdef Py_ssize_t at = self.find_run(sequence)
        if at == self.runs_count or self.runs[at].first > sequence:
            return None
        if self.last_segment is None or self.last_segment.number != self.runs[at].segment_number:
            self.last_segment = self.journal.segments.get(self.runs[at].segment_number)
        return self.last_segment

    cdef bint is_live(self, uint64_t sequence, Segment segment) except -1:
        return not self.settled.contains(sequence) and self.segment_of(sequence) is segment
