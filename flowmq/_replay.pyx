# See _replay.pxd for what this module is and is not; docs/format.md for the octets it reads.
#
# Each segment is read into one buffer and walked twice, batch by batch: first checked, then applied, so that a batch
# with a fault anywhere leaves no trace. Positions are offsets in the segment.

from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.memoryview cimport PyMemoryView_FromMemory
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcmp, memset

from flowmq._frame cimport FLOWMQ_CONTRACT
from flowmq._replay_queue cimport QueueHistory
from flowmq._replay_segment cimport (
    BATCH_HEAD_OCTETS, FLAG_UNTIL_RESTART, HEADER_OCTETS, RECORD_ASIDE, RECORD_DEFINITION, RECORD_DEFINITIONS,
    RECORD_DELIVERED, RECORD_GONE, RECORD_HEAD_OCTETS, RECORD_MESSAGE, RECORD_NOTHING, RECORD_RETURNED, RECORD_SETTLED,
    RECORD_STATE, RECORD_SUMMARY, RECORD_TARGET, STATE_FIXED_OCTETS, TARGET_OCTETS, Batch, Octets, Survey, check_batch,
    find_seed, has_torn_head, is_message, next_good, record_checks, replay_u32, replay_u64, survey, vouches,
)
from flowmq._summary cimport IS_TARGET, IS_UNTIL_RESTART, Cursor, Described, Facts, FileOrder, Part, Summary

from typing import NamedTuple

from flowmq._frame import check_contract
from flowmq._replay_segment import read_at, read_header, read_into
from flowmq.storage.layout import StorageError

check_contract(FLOWMQ_CONTRACT)

cdef uint64_t SEGMENT_OCTETS_MAX = 0xFFFFFFFF   # the journal keeps positions in 32 bits


class CorruptJournal(StorageError):
    """What was written cannot be read back, and nothing that may happen to a healthy disk explains it."""

    def __init__(self, path, offset, reason, octets):
        super().__init__(f"{path}: corrupt at offset {offset}: {reason}; {octets} octets are at stake")
        self.path, self.offset, self.reason, self.octets = path, offset, reason, octets


class Skipped(NamedTuple):
    """What skip_corrupt went over: a "segment", its "header", a "batch" (or several), a "record", or its "summary"."""

    what: str
    number: int
    offset: int
    octets: int
    reason: str
    batch_number: int       # of the last batch before it


class SegmentView(NamedTuple):
    number: int
    file_octets: int
    end: int
    batches: int
    records: int
    record_octets: int
    live_octets: int
    live_targets: int
    seed: int
    summary_at: int     # of the batch with the segment's summary, and its octets; 0 when there is none
    summary_octets: int
    trusted: bool       # nothing else of it was read


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


class Adoptable(NamedTuple):
    """A segment as the journal needs it to go on."""

    number: int
    seed: int
    file_octets: int
    end: int
    summary_at: int
    trusted: bool       # only its summary was read
    queue_ids: list     # that its records other than messages name
    has_definitions: bool
    summary: object     # of the last segment, which has none in its file


# ------------------------------------------------------------------------------------------------------ the journal

cdef class Replay:
    def __cinit__(self):
        self.abandoned, self.skipped, self.files, self.definitions_, self.summaries = [], [], [], [], []
        self.queues_ = {}

    def __dealloc__(self):
        free(self.segments_)
        free(self.buffer)

    def read(self, segments, *, bint skip_corrupt=False, bint trust=False):
        """Reads the segments, given as (number, path or descriptor). Once only."""
        cdef Py_ssize_t index = 0
        if self.files or self.end_segment:
            raise ValueError("a Replay reads once")
        self.skip_corrupt = skip_corrupt
        self.files = self.usable([read_header(number, file) for number, file in sorted(segments, key=first_of)])
        self.segments_count = len(self.files)
        self.segments_ = <SegmentHistory *>calloc(max(1, self.segments_count), sizeof(SegmentHistory))
        if self.segments_ == NULL:
            raise MemoryError
        self.summaries = [None] * self.segments_count
        try:
            if trust:
                self.choose_trusted()
            while index < self.segments_count:
                if self.segments_[index].trusted:
                    self.take_summary(index)
                else:
                    self.read_segment(index, sealed_at(self.files, index))
                index += 1
            self.find_live()
        finally:
            free(self.buffer)
            self.buffer, self.buffer_octets = NULL, 0

    # ---- which segments there are

    cdef list usable(self, list headers):
        # Those to be read. Raises, or skips, where one is damaged or missing.
        cdef list usable = []
        cdef Py_ssize_t index
        for index, header in enumerate(headers):
            if header.fault is None:
                usable.append(header)
                continue
            seed = self.salvage(headers, index)
            if seed >= 0:
                usable.append(header._replace(seed=seed))
            elif header.file in self.abandoned:
                break
        self.check_links(usable)
        return usable

    cdef int check_links(self, list headers) except -1:
        for before, header in zip(headers, headers[1:], strict=False):
            if header.number == before.number:
                raise StorageError(f"{header.file}: segment {header.number:016x} is there twice")
            if header.fault is None and header.previous != before.number:
                reason = f"segment {header.previous:016x}, which goes before this one, is missing"
                if not self.skip_corrupt:
                    raise CorruptJournal(header.file, 24, reason, header.file_octets)
                self.skipped.append(Skipped("header", header.number, 24, 0, reason, 0))
        return 0

    cdef int64_t salvage(self, list headers, Py_ssize_t index) except -2:
        # Of a segment whose header does not check: its seed, to read it nevertheless; -1 to leave it out.
        cdef Octets segment
        cdef Survey seen
        cdef uint64_t claimed_end
        header = headers[index]
        readable = self.survey_of(header, &segment, &seen)
        seed, claimed_end = segment.seed, seen.end
        if not self.vouched_for(header.number, HEADER_OCTETS, headers[index:]):
            # Nothing says that anything in here was on disk: its header need not have been either.
            self.abandon(headers[index:])
            return -1
        if not self.skip_corrupt:
            raise CorruptJournal(header.file, 0, header.fault, max(claimed_end, <uint64_t>HEADER_OCTETS))
        what, octets = ("header", HEADER_OCTETS) if readable else ("segment", header.file_octets)
        self.skipped.append(Skipped(what, header.number, 0, octets, header.fault, 0))
        return seed if readable else -1

    cdef bint survey_of(self, object header, Octets *segment, Survey *seen) except -1:
        # Loads it. False when nothing in it can be told from what an earlier segment left in the file.
        self.load(header, header.file_octets, segment)
        memset(seen, 0, sizeof(Survey))
        if header.fault is not None and not find_seed(segment, header.seed):
            return False
        seen[0] = survey(segment, HEADER_OCTETS, 0)
        self.batch_number_seen = max(self.batch_number_seen, seen.highest_number)
        return True

    cdef bint vouched_for(self, uint64_t number, uint64_t at, list headers) except -1:
        # Does a batch in one of these say that octets of that segment behind that place were on disk?
        cdef Octets segment
        cdef Survey seen
        for header in headers:
            self.survey_of(header, &segment, &seen)
            if vouches(&seen, number, at):
                return True
        return False

    cdef int abandon(self, list headers) except -1:
        # The journal ends before these.
        cdef Octets segment
        cdef Survey seen
        for header in headers:
            if self.survey_of(header, &segment, &seen) and seen.end > HEADER_OCTETS and header.fault is None:
                self.cut_octets += seen.end - HEADER_OCTETS
            self.abandoned.append(header.file)
        return 0

    cdef int load(self, object header, uint64_t octets, Octets *into) except -1:
        cdef uint64_t size = min(octets, <uint64_t>header.file_octets)
        if size > SEGMENT_OCTETS_MAX:
            raise StorageError(f"{header.file}: {size} octets are more than a segment can have")
        if size > self.buffer_octets:
            free(self.buffer)
            self.buffer_octets = 0
            self.buffer = <uint8_t *>malloc(size)
            if self.buffer == NULL:
                raise MemoryError
            self.buffer_octets = size
        into.start, into.number, into.seed = self.buffer, header.number, header.seed
        into.size = read_into(header.file, PyMemoryView_FromMemory(<char *>self.buffer, size, 0x200)) if size else 0
        return 0

    # ---- a segment by its summary

    cdef int choose_trusted(self) except -1:
        # Those of which a later batch says that they were on disk to their end, and whose summary checks.
        cdef Octets segment
        cdef Survey seen, more
        cdef Batch batch
        cdef Py_ssize_t index = self.segments_count - 1
        if index < 0:
            return 0
        self.survey_of(self.files[index], &segment, &seen)
        for index in range(self.segments_count - 2, -1, -1):
            end = sealed_at(self.files, index)
            if not end or not vouches(&seen, self.files[index].number, end - 1):
                self.survey_of(self.files[index], &segment, &more)
                if vouches(&more, seen.durable_segment, seen.durable_offset):
                    seen = more
            elif self.files[index].fault is None:
                summary = self.stored_summary(index, &batch, False)
                self.segments_[index].trusted = summary is not None
                self.summaries[index] = summary
        return 0

    cdef Summary stored_summary(self, Py_ssize_t index, Batch *batch, bint with_streams):
        # None when there is none that checks.
        cdef Octets octets
        cdef const uint8_t *record
        cdef bytes content
        cdef Summary summary
        header, end = self.files[index], sealed_at(self.files, index)
        at = self.files[index + 1].previous_summary if end else 0
        if not HEADER_OCTETS <= at < end <= header.file_octets:
            return None
        content = read_at(header.file, at, end - at)
        octets.start, octets.size = <const uint8_t *>content, len(content)
        octets.number, octets.seed = header.number, header.seed
        check_batch(&octets, 0, 0, batch)
        record = octets.start + BATCH_HEAD_OCTETS
        if batch.fault != NULL or batch.records != 1 or record[8] != RECORD_SUMMARY or batch.end != octets.size:
            return None
        summary = Summary()
        if not summary.decode(record + RECORD_HEAD_OCTETS, replay_u32(record), with_streams):
            return None
        summary.batches += 1
        summary.records += 1
        summary.record_octets += octets.size - BATCH_HEAD_OCTETS
        self.segments_[index].summary_at, self.segments_[index].summary_octets = at, octets.size
        return summary

    cdef int take_summary(self, Py_ssize_t index) except -1:
        cdef SegmentHistory *history = &self.segments_[index]
        cdef Batch batch
        cdef Summary summary = self.stored_summary(index, &batch, False)
        header = self.files[index]
        if summary is None:
            raise StorageError(f"{header.file}: changes while it is read")
        history.number, history.seed, history.file_octets = header.number, header.seed, header.file_octets
        history.end = sealed_at(self.files, index)
        self.batch_number = batch.number
        self.batch_number_seen = max(self.batch_number_seen, self.batch_number)
        self.end_segment, self.end_offset = history.number, history.end
        for offset in summary.definitions:
            self.take_definition(index, offset)
        return self.add_facts(summary)

    cdef int take_definition(self, Py_ssize_t index, uint64_t offset) except -1:
        cdef Octets octets
        cdef bytes content
        header = self.files[index]
        content = read_at(header.file, offset, RECORD_HEAD_OCTETS)
        if len(content) == RECORD_HEAD_OCTETS:
            content = read_at(header.file, offset, RECORD_HEAD_OCTETS + replay_u32(<const uint8_t *>content))
        octets.start, octets.size = <const uint8_t *>content, len(content)
        octets.number, octets.seed = header.number, header.seed
        kind = octets.start[8] if octets.size >= RECORD_HEAD_OCTETS else 0
        if not record_checks(&octets, 0, octets.size) or kind not in (RECORD_DEFINITION, RECORD_DEFINITIONS):
            reason = "the definition that stands here does not check"
            raise CorruptJournal(header.file, offset, reason, max(octets.size, <uint64_t>RECORD_HEAD_OCTETS))
        if kind == RECORD_DEFINITIONS:
            self.definitions_.clear()
        self.definitions_.append((kind, content[RECORD_HEAD_OCTETS:]))
        return 0

    cdef int add_facts(self, Summary summary) except -1:
        cdef Part part
        for queue_id, facts in summary.facts.items():
            self.history(queue_id).add_facts(<Facts>facts)
        for queue_id, parts in summary.parts.items():
            for part in parts:
                self.history(queue_id).note(part.last)
        return 0

    # ---- a segment read whole

    cdef int read_segment(self, Py_ssize_t index, uint64_t sealed_at) except -1:
        cdef SegmentHistory *history = &self.segments_[index]
        cdef Octets segment
        cdef Batch batch
        cdef uint64_t at = HEADER_OCTETS, next_at
        self.reading = self.files[index]
        self.summary = self.summaries[index] = Summary()
        self.load(self.reading, sealed_at or self.reading.file_octets, &segment)
        history.number, history.seed, history.file_octets = segment.number, segment.seed, self.reading.file_octets
        while not sealed_at or at < sealed_at:
            check_batch(&segment, at, self.batch_number, &batch)
            if batch.fault == NULL:
                self.apply(&segment, &batch, history)
                at = batch.end
                continue
            next_at = self.go_on(&segment, &batch, index, sealed_at)
            if next_at == 0:
                break
            at = next_at
        history.end = at
        if at == sealed_at and HEADER_OCTETS <= self.files[index + 1].previous_summary < sealed_at:
            history.summary_at = self.files[index + 1].previous_summary
            history.summary_octets = sealed_at - history.summary_at
        self.add_facts(self.summary)
        self.end_segment, self.end_offset = segment.number, at
        self.batch_number_seen = max(self.batch_number_seen, self.batch_number)
        return 0

    cdef uint64_t go_on(self, Octets *segment, Batch *batch, Py_ssize_t index, uint64_t sealed_at) except? 0:
        # Behind a batch that does not check: where to go on, 0 when the journal ends here; or raises.
        cdef Survey seen
        cdef uint64_t good
        # Without a follower's word on where this one ends, what stands in those that come later says nothing of it.
        cdef list later = self.files[index + 1:] if sealed_at else []
        if batch.written_so:
            return self.skip(batch, batch.end)
        seen = survey(segment, batch.at, self.batch_number)
        self.batch_number_seen = max(self.batch_number_seen, seen.highest_number)
        vouched = vouches(&seen, segment.number, batch.at)
        if later and not vouched:
            vouched = self.vouched_for(segment.number, batch.at, later)
            self.load(self.reading, segment.size, segment)
        if vouched:
            good = next_good(segment, batch.at + 1, self.batch_number + 1)
            return self.skip(batch, good or sealed_at or seen.durable_offset)
        if seen.end > batch.at:
            self.cut_octets += seen.end - batch.at
        elif has_torn_head(segment, batch.at, self.batch_number):
            # No one can tell how much was to follow.
            self.cut_octets += min(<uint64_t>BATCH_HEAD_OCTETS, segment.size - batch.at)
        if later:
            # A segment is begun before the one it follows is on disk: a cut in between leaves this.
            self.abandon(later)
            self.segments_count = index + 1
            del self.files[index + 1:]
        return 0

    cdef uint64_t skip(self, Batch *batch, uint64_t until) except? 0:
        reason = batch.fault.decode()
        if not self.skip_corrupt:
            raise CorruptJournal(self.reading.file, batch.fault_at, reason, until - batch.at)
        # The number after the last one is free: it is that of the first batch lost.
        self.batch_number += 1
        octets = until - batch.at
        self.skipped.append(Skipped("batch", self.reading.number, batch.at, octets, reason, self.batch_number))
        return until

    cdef int apply(self, Octets *segment, Batch *batch, SegmentHistory *history) except -1:
        cdef uint64_t at = batch.at + BATCH_HEAD_OCTETS
        self.batch_number = batch.number
        while at < batch.end:
            self.apply_record(segment, at)
            at += RECORD_HEAD_OCTETS + replay_u32(segment.start + at)
        self.summary.batches += 1
        self.summary.records += batch.records
        self.summary.record_octets += batch.end - batch.at - BATCH_HEAD_OCTETS
        return 0

    # ---- one record

    cdef int apply_record(self, Octets *segment, uint64_t at) except -1:
        cdef const uint8_t *payload = segment.start + at + RECORD_HEAD_OCTETS
        cdef int kind = segment.start[at + 8]
        cdef Facts facts
        if kind == RECORD_MESSAGE:
            return self.apply_message(segment, at, at)
        if kind == RECORD_TARGET:
            return self.apply_target(segment, at)
        if kind == RECORD_DEFINITION or kind == RECORD_DEFINITIONS:
            if kind == RECORD_DEFINITIONS:
                self.definitions_.clear()
            self.definitions_.append((kind, PyBytes_FromStringAndSize(<const char *>payload, replay_u32(payload - 12))))
            return self.summary.add_definition(at, kind == RECORD_DEFINITIONS)
        if kind == RECORD_NOTHING:
            return 0
        if kind == RECORD_SUMMARY:
            return self.check_summary(segment, at)
        if kind == RECORD_STATE:
            return self.apply_state(payload)
        if kind == RECORD_GONE:
            return self.summary.note_gone(replay_u32(payload))
        facts = self.summary.facts_for(replay_u32(payload))
        if kind == RECORD_SETTLED:
            self.summary.settled(facts, replay_u64(payload + 8), replay_u64(payload + 16))
        elif kind == RECORD_DELIVERED:
            self.summary.delivered(facts, replay_u64(payload + 8))
        elif kind == RECORD_RETURNED:
            self.summary.returned(facts, replay_u64(payload + 8), replay_u32(payload + 4), 0)
        elif kind == RECORD_ASIDE:
            self.summary.returned(facts, replay_u64(payload + 8), replay_u32(payload + 4), replay_u64(payload + 16))
        return 0

    cdef int apply_state(self, const uint8_t *payload) except -1:
        cdef Facts facts = self.summary.facts_for(replay_u32(payload))
        cdef const uint8_t *interval = payload + STATE_FIXED_OCTETS
        cdef uint32_t _range
        for _range in range(replay_u32(payload + 4)):
            self.summary.settled(facts, replay_u64(interval), replay_u64(interval + 8))
            interval += 16
        self.summary.delivered(facts, replay_u64(payload + 16))
        facts.next_sequence = max(facts.next_sequence, replay_u64(payload + 8))
        return 0

    cdef int check_summary(self, Octets *segment, uint64_t at) except -1:
        # It checks, so what it says was written; does it agree with the segment?
        cdef bytes expected = self.summary.encode()
        cdef size_t octets = replay_u32(segment.start + at)
        if any(gap.number == segment.number for gap in self.skipped):
            return 0
        if octets != <size_t>len(expected) or memcmp(<const char *>expected, segment.start + at + 12, octets) != 0:
            reason = "the summary does not say what stands in the segment"
            octets += BATCH_HEAD_OCTETS + RECORD_HEAD_OCTETS
            gap = Skipped("summary", segment.number, at - BATCH_HEAD_OCTETS, octets, reason, self.batch_number)
            self.skipped.append(gap)
        return 0

    cdef int apply_message(self, Octets *segment, uint64_t at, uint64_t message_at) except -1:
        # `at` is the message's record or a target's: they begin alike.
        cdef const uint8_t *payload = segment.start + at + RECORD_HEAD_OCTETS
        cdef const uint8_t *message_record = segment.start + message_at
        cdef Described message
        message.queue_id, message.sequence = replay_u32(payload), replay_u64(payload + 8)
        message.kind = IS_UNTIL_RESTART if payload[24] & FLAG_UNTIL_RESTART else 0
        if at != message_at:
            message.kind |= IS_TARGET
        message.offset, message.message_offset = at, message_at
        message.record_bytes = RECORD_HEAD_OCTETS + replay_u32(segment.start + at)
        message.body_bytes = replay_u64(message_record + RECORD_HEAD_OCTETS + 40)
        part = self.summary.part_for(message.queue_id, message.sequence)
        return self.summary.add(part, &message, replay_u64(payload + 16))

    cdef int apply_target(self, Octets *segment, uint64_t at) except -1:
        cdef uint64_t message_at = replay_u64(segment.start + at + RECORD_HEAD_OCTETS + 32)
        if is_message(segment, message_at, at) and not self.was_skipped(segment.number, message_at):
            return self.apply_message(segment, at, message_at)
        reason = f"there is no message at offset {message_at}, where a target says"
        if not self.skip_corrupt:
            raise CorruptJournal(self.reading.file, at, reason, RECORD_HEAD_OCTETS + TARGET_OCTETS)
        octets = RECORD_HEAD_OCTETS + TARGET_OCTETS
        self.skipped.append(Skipped("record", self.reading.number, at, octets, reason, self.batch_number))
        return 0

    cdef bint was_skipped(self, uint64_t number, uint64_t at) except -1:
        for gap in self.skipped:
            if gap.number == number and gap.what == "batch" and gap.offset <= at < gap.offset + gap.octets:
                return True
        return False

    cdef QueueHistory history(self, uint32_t queue_id):
        if self.latest is not None and self.latest.queue_id == queue_id:
            return self.latest
        self.latest = self.queues_.get(queue_id)
        if self.latest is None:
            self.latest = self.queues_[queue_id] = QueueHistory(queue_id)
        return self.latest

    # ---- what was found

    cdef QueueHistory queue(self, uint32_t queue_id):
        return self.queues_.get(queue_id)

    cdef Summary whole_summary(self, Py_ssize_t index):
        # With its messages, wherever they are told.
        cdef Batch batch
        cdef Summary summary = self.summaries[index]
        if self.segments_[index].trusted:
            summary = self.stored_summary(index, &batch, True)
            if summary is None:
                raise StorageError(f"{self.files[index].file}: changes while it is read, or its summary is wrong")
        return summary

    cdef int find_live(self) except -1:
        # Newest first: what is found already has been written anew.
        cdef Py_ssize_t index
        cdef Summary summary
        cdef QueueHistory history
        for index in range(self.segments_count - 1, -1, -1):
            summary = self.whole_summary(index)
            for queue_id, parts in summary.parts.items():
                history = self.history(queue_id)
                for part in reversed(parts):
                    self.segments_[index].live_targets += history.add_part(<Part>part, self.segments_[index].number)
        for history in self.queues_.values():
            history.finish()
        return 0

    cdef uint64_t live_octets(self, Py_ssize_t index) except? 0xFFFFFFFF:
        # Octets that live messages need, a message record that several need once.
        cdef FileOrder order = FileOrder(self.whole_summary(index))
        cdef uint64_t number = self.segments_[index].number
        cdef uint64_t octets = 0
        cdef Described message
        cdef dict sizes = {}
        cdef set counted = set()
        while order.next(&message):
            if not message.kind & IS_TARGET:
                sizes[message.offset] = message.record_bytes
            if self.history(message.queue_id).segment_of(message.sequence) != number:
                continue
            if message.kind & IS_TARGET:
                octets += message.record_bytes
            if message.message_offset not in counted:
                counted.add(message.message_offset)
                octets += <uint64_t>sizes[message.message_offset]
        return octets

    def queues(self):
        return dict(self.queues_)

    def definitions(self):
        """(record type, payload) in order: type 8 comes first if at all, and holds a list of what 7 holds one of."""
        return list(self.definitions_)

    def messages(self, uint32_t queue_id):
        """The live messages of a queue; reads a little of each."""
        cdef QueueHistory history = self.queues_.get(queue_id)
        cdef Described message
        cdef Cursor cursor
        cdef Py_ssize_t index
        cdef Part part
        found = {}
        for index in range(self.segments_count - 1, -1, -1) if history is not None else ():
            for part in reversed(self.whole_summary(index).parts.get(queue_id, ())):
                memset(&cursor, 0, sizeof(Cursor))
                while part.advance(&cursor):
                    part.describe(&cursor, &message)
                    if message.sequence not in found and history.live.contains(message.sequence):
                        found[message.sequence] = view_of(history, self.files[index], message)
        return [view for _, view in sorted(found.items())]

    def segments(self):
        cdef Py_ssize_t index
        return [
            SegmentView(
                number=self.segments_[index].number, file_octets=self.segments_[index].file_octets,
                end=self.segments_[index].end, batches=self.summaries[index].batches,
                records=self.summaries[index].records, record_octets=self.summaries[index].record_octets,
                live_octets=self.live_octets(index), live_targets=self.segments_[index].live_targets,
                seed=self.segments_[index].seed, summary_at=self.segments_[index].summary_at,
                summary_octets=self.segments_[index].summary_octets,
                trusted=bool(self.segments_[index].trusted),
            )
            for index in range(self.segments_count)
        ]

    def adoptable(self):
        """Each segment as a journal needs it that goes on."""
        cdef Py_ssize_t index
        cdef Summary summary
        found = []
        for index in range(self.segments_count):
            summary = self.summaries[index]
            found.append(Adoptable(
                self.segments_[index].number, self.segments_[index].seed, self.segments_[index].file_octets,
                self.segments_[index].end, self.segments_[index].summary_at, bool(self.segments_[index].trusted),
                list(summary.facts), bool(summary.definitions), summary if index == self.segments_count - 1 else None,
            ))
        return found


cdef object view_of(QueueHistory history, object header, Described message):
    cdef bytes octets = read_at(header.file, message.offset, RECORD_HEAD_OCTETS + TARGET_OCTETS)
    cdef bytes head = octets
    cdef const uint8_t *place = <const uint8_t *>octets + RECORD_HEAD_OCTETS
    if message.message_offset != message.offset:
        head = read_at(header.file, message.message_offset, RECORD_HEAD_OCTETS)
    if len(octets) < RECORD_HEAD_OCTETS + TARGET_OCTETS or len(head) < RECORD_HEAD_OCTETS:
        raise StorageError(f"{header.file}: changes while it is read")
    count = max(replay_u32(place + 4), <uint32_t>history.returned.get(message.sequence, 0))
    redelivered = bool(place[24] & 1) or count > 0 or message.sequence <= history.delivered_up_to
    return MessageView(
        message.sequence, header.number, message.offset, message.message_offset,
        RECORD_HEAD_OCTETS + replay_u32(<const uint8_t *>head), message.body_bytes,
        max(count, <uint32_t>redelivered), redelivered, replay_u64(place + 16),
    )


def first_of(pair):
    return pair[0]


def sealed_at(headers, index):
    """Where the next segment says that this one ends; 0 when none says so."""
    follower = headers[index + 1] if index + 1 < len(headers) else None
    if follower is None or follower.fault is not None or follower.previous != headers[index].number:
        return 0
    return follower.previous_end
