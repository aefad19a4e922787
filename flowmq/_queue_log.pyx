# See _queue_log.pxd for what this module is and is not.

from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memmove, memset

from flowmq._frame cimport FLOWMQ_CONTRACT
from flowmq._heaps cimport Entry
from flowmq._message cimport Message, message_retain
from flowmq._message_log cimport never_committed
from flowmq._records cimport (
    ASIDE_RECORD, DELIVERED_RECORD, PENDING_RECORDS_BYTES, QUEUE_STATE_RECORD, RECORD_HEADER_BYTES, RETURNED_RECORD,
    SETTLED_RECORD, UNTIL_RESTART, WAS_DELIVERED, AsideRecord, QueueStateRecord, Range, RangeRecord, ReturnedRecord,
    TargetRecord, message_record_bytes,
)
from flowmq._summary cimport Summary

from flowmq._frame import check_contract

check_contract(FLOWMQ_CONTRACT)


cdef class RecordWriter(LogSource):
    """Abstract: adds records to the journal. Implemented by Journal."""

    cdef uint64_t put(self, RecordType type, const void *payload, size_t payload_bytes) except 0:
        raise NotImplementedError("RecordWriter.put")

    cdef uint64_t write_message(self, Message *message, const Place *place, QueueLog queue_log) except 0:
        raise NotImplementedError("RecordWriter.write_message")

    cdef int need_summary(self, Segment segment) except -1:
        raise NotImplementedError("RecordWriter.need_summary")

    cdef int begin_move(self, uint64_t record_bytes) except -1:
        raise NotImplementedError("RecordWriter.begin_move")

    cdef int end_move(self) except -1:
        raise NotImplementedError("RecordWriter.end_move")

    cdef uint64_t latest_commit(self) except? 0:
        raise NotImplementedError("RecordWriter.latest_commit")

    cdef int feed(self, QueueLog queue_log) except -1:
        raise NotImplementedError("RecordWriter.feed")

    cdef int note_damage(self, Segment segment, str what, str who) except -1:
        raise NotImplementedError("RecordWriter.note_damage")

    cdef int release(self, QueueLog queue_log) except -1:
        raise NotImplementedError("RecordWriter.release")


cdef class QueueLog(MessageLog):
    """What the journal knows of one durable queue."""

    def __cinit__(self, RecordWriter journal, Order order, uint32_t queue_id, bint until_restart=False):
        self.until_restart = until_restart
        self.journal = journal
        self.order = order
        self.queue_id = queue_id
        self.settled = IntervalSet()
        self.next_sequence = 1

    def __dealloc__(self):
        free(self.runs)

    cdef uint64_t append(self, Message *message, uint64_t sequence, uint64_t expires_at_ms) except 0:
        cdef Place place
        memset(&place, 0, sizeof(Place))
        place.sequence = sequence
        place.expires_at_ms = expires_at_ms
        return self.append_place(message, &place)

    cdef bint append_until_restart(self, Message *message, uint64_t sequence, uint64_t expires_at_ms) except -1:
        cdef Place place
        memset(&place, 0, sizeof(Place))
        place.sequence = sequence
        place.expires_at_ms = expires_at_ms
        place.flags = UNTIL_RESTART
        return self.append_place(message, &place) != never_committed()

    cdef uint64_t append_place(self, Message *message, Place *place) except 0:
        cdef uint64_t commit
        self.next_sequence = place.sequence + 1
        place.queue_id = self.queue_id
        commit = self.journal.write_message(message, place, self)
        if commit != never_committed():
            self.note_run(place.sequence, place.expires_at_ms, self.journal.segment)
        return commit

    cdef int skip(self, uint64_t sequence) except -1:
        # As good as settled: no record of it will ever be looked for.
        self.next_sequence = sequence + 1
        self.settled.add(sequence, sequence)
        return 0

    cdef int settle(self, uint64_t sequence, bint logged) except -1:
        cdef Segment segment
        if self.gone or not logged or not self.settled.add(sequence, sequence):
            return 0
        segment = self.segment_of(sequence)
        if segment is not None:
            segment.live -= 1
        if self.returned:
            self.returned.pop(sequence, None)
            self.aside.pop(sequence, None)
        if self.until_restart:
            return 0
        if self.pending and sequence == self.pending_last + 1:
            self.pending_last = sequence
            return 0
        if self.pending:
            self.write_settled()
        self.pending = True
        self.pending_first = self.pending_last = sequence
        return self.touch()

    cdef int settle_range(self, uint64_t first, uint64_t last) except -1:
        cdef Py_ssize_t at = self.find_run(first)
        cdef Segment segment
        if self.gone:
            return 0
        while at < self.runs_count and self.runs[at].first <= last:
            segment = self.journal.segments.get(self.runs[at].segment_number)
            if segment is None:
                # Freed: nothing in this run lives, though something before it does.
                at += 1
                continue
            segment.live -= self.unsettled_between(max(first, self.runs[at].first), min(last, self.runs[at].last))
            at += 1
        self.settled.add(first, last)
        if self.until_restart:
            return 0
        if self.pending:
            self.write_settled()
        self.pending = True
        self.pending_first, self.pending_last = first, last
        return self.touch()

    cdef uint64_t unsettled_between(self, uint64_t first, uint64_t last) noexcept:
        cdef uint64_t unsettled = last - first + 1
        cdef Py_ssize_t at
        for at in range(self.settled.count):
            if self.settled.at(at).first > last:
                break
            if self.settled.at(at).last >= first:
                unsettled -= min(last, self.settled.at(at).last) - max(first, self.settled.at(at).first) + 1
        return unsettled

    cdef int forget_all(self) except -1:
        """The queue is gone: nothing of it counts in any segment."""
        cdef Py_ssize_t at
        cdef Segment segment
        self.gone = True
        for at in range(self.runs_head, self.runs_count):
            segment = self.journal.segments.get(self.runs[at].segment_number)
            if segment is not None:
                segment.live -= self.unsettled_between(self.runs[at].first, self.runs[at].last)
        self.runs_head = self.runs_count = 0
        self.settled.clear()
        self.settled.add(0, <uint64_t>-1)
        # They refer to each other: without this, only the collector of cycles would free what was deleted.
        self.order = None
        return 0

    # ------------------------------------------------------------------------------------------------- reading back

    cdef bint load(self, uint64_t sequence, Entry *entry) except -1:
        if self.damaged:
            return False
        try:
            return self.load_from(sequence, entry)
        except OSError as error:
            # What is behind it would come out of order, and without a word: the operator decides.
            self.damaged = True
            name = self.order.title().decode("utf-8", "backslashreplace")
            self.journal.note_damage(None, error.strerror, f"queue {name!r} gives out nothing from there on")
            return False

    cdef bint load_from(self, uint64_t sequence, Entry *entry) except -1:
        cdef Py_ssize_t at = self.find_run(sequence)
        cdef Segment segment
        cdef uint64_t found, offset
        cdef Place place
        while at < self.runs_count:
            segment = self.journal.segments.get(self.runs[at].segment_number)
            if segment is None:
                at += 1
                continue
            found = self.find_in(segment, max(sequence, self.runs[at].first), self.runs[at].last, &offset)
            if found == 0:
                at += 1
                continue
            if offset >= segment.readable_end:
                return False
            entry.message = segment.read_message(offset, &place)
            message_retain(entry.message)
            if place.flags & UNTIL_RESTART:
                # It has a record, so its settlement needs one too, whatever its publisher said.
                entry.message.delivery_mode = 2
            entry.sequence = found
            entry.expires_at_ms = place.expires_at_ms
            entry.delivery_count = place.delivery_count
            if self.returned:
                entry.delivery_count = max(entry.delivery_count, <uint32_t>self.returned.get(found, 0))
            if place.flags & WAS_DELIVERED or found <= self.delivered_up_to:
                entry.delivery_count = max(entry.delivery_count, <uint32_t>1)
            return True
        return False

    cdef uint64_t find_in(self, Segment segment, uint64_t first, uint64_t last, uint64_t *offset) except? 0:
        cdef Part part
        cdef uint64_t found = 0
        cdef uint64_t wanted, settled
        if segment.summary is None:
            self.journal.need_summary(segment)
        for part in segment.summary.parts.get(self.queue_id, ()):
            wanted = first
            while wanted <= part.last and part.find(wanted) and part.reading.sequence <= last:
                settled = self.settled.covered_up_to(part.reading.sequence)
                if settled:
                    wanted = settled + 1
                    continue
                if found == 0 or part.reading.sequence < found:
                    found, offset[0] = part.reading.sequence, part.reading.offset
                break
        return found

    cdef int drop(self) except -1:
        self.forget_all()
        return self.journal.release(self)

    cdef int want(self) except -1:
        if not self.hungry and not self.gone and not self.damaged:
            self.hungry = True
            self.journal.feed(self)
        return 0

    cdef int hand_out(self, uint64_t sequence) except -1:
        if sequence <= self.delivered_up_to or self.until_restart:
            return 0
        self.delivered_up_to = sequence
        self.delivered_pending = True
        if not self.touched:
            self.touch()
        return 0

    cdef int take_back(self, uint64_t sequence, uint32_t delivery_count, uint64_t ready_at_ms) except -1:
        if self.gone:
            return 0
        if self.until_restart or self.settled.contains(sequence):
            return 0
        if self.returned is None:
            self.returned, self.aside = {}, {}
        self.returned[sequence] = delivery_count
        if ready_at_ms:
            self.aside[sequence] = ready_at_ms
        elif self.aside:
            self.aside.pop(sequence, None)
        return self.write_returned(sequence, delivery_count, ready_at_ms)

    cdef bint holds(self, uint64_t sequence) noexcept:
        return not self.settled.contains(sequence)

    cdef int begin_move(self, Message *message, Py_ssize_t queues) except -1:
        cdef uint64_t record_bytes = message_record_bytes(message)
        record_bytes += queues * (RECORD_HEADER_BYTES + sizeof(TargetRecord)) + RECORD_HEADER_BYTES
        # What the summary of the segment grows by counts too.
        return self.journal.begin_move(record_bytes + 3 * (queues + 1) * PENDING_RECORDS_BYTES)

    cdef int end_move(self) except -1:
        return self.journal.end_move()

    cdef uint64_t latest_commit(self) except? 0:
        return 0 if self.until_restart else self.journal.latest_commit()

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
            self.journal.segment.summary.delivered(self.facts_here(), self.delivered_up_to)
        return 0

    cdef int write_settled(self) except -1:
        cdef RangeRecord record
        self.pending = False
        record.queue_id = self.queue_id
        record.zero = 0
        record.first = self.pending_first
        record.last = self.pending_last
        self.journal.put(SETTLED_RECORD, &record, sizeof(RangeRecord))
        self.journal.segment.summary.settled(self.facts_here(), record.first, record.last)
        return 0

    cdef int write_returned(self, uint64_t sequence, uint32_t delivery_count, uint64_t ready_at_ms) except -1:
        cdef AsideRecord record
        record.returned.queue_id = self.queue_id
        record.returned.delivery_count = delivery_count
        record.returned.sequence = sequence
        record.ready_at_ms = ready_at_ms
        if ready_at_ms:
            self.journal.put(ASIDE_RECORD, &record, sizeof(AsideRecord))
        else:
            self.journal.put(RETURNED_RECORD, &record, sizeof(ReturnedRecord))
        self.journal.segment.summary.returned(self.facts_here(), sequence, delivery_count, ready_at_ms)
        return 0

    cdef int write_state(self) except -1:
        """Everything about this queue but its messages, so that what stands elsewhere is not needed any more."""
        cdef size_t payload_bytes = sizeof(QueueStateRecord) + self.settled.count * sizeof(Range)
        cdef QueueStateRecord *state = <QueueStateRecord *>malloc(payload_bytes)
        cdef Range *ranges = <Range *>(<char *>state + sizeof(QueueStateRecord))
        cdef Summary summary
        cdef Facts facts
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
        facts = self.facts_here()
        summary = self.journal.segment.summary
        for at in range(self.settled.count):
            summary.settled(facts, self.settled.at(at).first, self.settled.at(at).last)
        summary.delivered(facts, self.delivered_up_to)
        facts.next_sequence = max(facts.next_sequence, self.next_sequence)
        for sequence, delivery_count in (self.returned or {}).items():
            self.write_returned(sequence, delivery_count, self.aside.get(sequence, 0))
        return 0

    # ------------------------------------------------------------------------------- which segment a message is in

    cdef int note_run(self, uint64_t sequence, uint64_t expires_at_ms, Segment segment) except -1:
        cdef Run *run
        if self.runs_count > self.runs_head:
            run = &self.runs[self.runs_count - 1]
            if run.segment_number == segment.number:
                run.last = sequence
                note_expiry(run, expires_at_ms)
                return 0
        self.forget_settled_runs()
        self.make_room_for_run()
        run = &self.runs[self.runs_count]
        run.first = run.last = sequence
        run.segment_number = segment.number
        run.expires_next_ms = expires_at_ms
        self.runs_count += 1
        return 0

    cdef int restore_run(self, const Run *run, uint64_t messages, uint64_t octets) except -1:
        self.make_room_for_run()
        self.runs[self.runs_count] = run[0]
        self.runs_count += 1
        (<Segment>self.journal.segments[run.segment_number]).add_live(messages, octets)
        return 0

    cdef uint64_t expires_next_ms(self) noexcept:
        cdef Run earliest
        cdef Py_ssize_t at
        earliest.expires_next_ms = 0
        for at in range(self.runs_head, self.runs_count):
            note_expiry(&earliest, self.runs[at].expires_next_ms)
        return earliest.expires_next_ms

    cdef Part part_for(self, uint64_t sequence, Segment segment):
        """Where a message that is written there now belongs."""
        if self.part_of is not segment or sequence <= self.part.last:
            self.part = segment.summary.part_for(self.queue_id, sequence)
            self.part_of = segment
        return self.part

    cdef Facts facts_here(self):
        """What the segment that is written now says of this queue; so it must be looked at before it goes."""
        cdef Segment segment = self.journal.segment
        if self.facts_of is not segment:
            self.facts = segment.summary.facts_for(self.queue_id)
            self.facts_of = segment
            segment.states.add(self.queue_id)
        return self.facts

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
        cdef uint64_t expires_next_ms = self.runs[at].expires_next_ms
        self.runs[at].first = sequence + 1
        if at > self.runs_head and self.runs[at - 1].segment_number == segment.number:
            # Between the two is nothing that lives: it would have been moved too.
            self.runs[at - 1].last = sequence
            note_expiry(&self.runs[at - 1], expires_next_ms)
        else:
            self.make_room_for_run()
            memmove(&self.runs[at + 1], &self.runs[at], (self.runs_count - at) * sizeof(Run))
            self.runs[at].first = self.runs[at].last = sequence
            self.runs[at].segment_number = segment.number
            self.runs[at].expires_next_ms = expires_next_ms
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


cdef inline void note_expiry(Run *run, uint64_t expires_at_ms) noexcept nogil:
    if expires_at_ms and (run.expires_next_ms == 0 or expires_at_ms < run.expires_next_ms):
        run.expires_next_ms = expires_at_ms
