# See _replay.pxd for what this module is and is not; docs/format.md for the octets it reads.
#
# Each segment is read into one buffer and walked twice, batch by batch: first checked, then applied, so that a batch
# with a fault anywhere leaves no trace. Positions are offsets in the segment.

from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.memoryview cimport PyMemoryView_FromMemory
from libc.stdlib cimport bsearch, calloc, free, malloc, qsort, realloc
from libc.string cimport memset

from flowmq._frame cimport FLOWMQ_CONTRACT
from flowmq._replay_queue cimport LiveMessage, QueueHistory
from flowmq._replay_segment cimport (
    BATCH_HEAD_OCTETS, FLAG_UNTIL_RESTART, HEADER_OCTETS, RECORD_ASIDE, RECORD_DEFINITION, RECORD_DEFINITIONS, RECORD_DELIVERED,
    RECORD_GONE,
    RECORD_HEAD_OCTETS, RECORD_MESSAGE, RECORD_NOTHING, RECORD_RETURNED, RECORD_SETTLED, RECORD_STATE, RECORD_TARGET,
    TARGET_OCTETS, Batch, Octets, Survey, check_batch, find_seed, has_torn_head, is_message, next_good,
    replay_u32, replay_u64, survey,
)

from typing import NamedTuple

from flowmq._frame import check_contract
from flowmq._replay_segment import read_header, read_into
from flowmq.storage.layout import StorageError

check_contract(FLOWMQ_CONTRACT)

cdef uint64_t SEGMENT_OCTETS_MAX = 0xFFFFFFFF   # positions in LiveMessage have 32 bits


class CorruptJournal(StorageError):
    """What was written cannot be read back, and nothing that may happen to a healthy disk explains it."""

    def __init__(self, path, offset, reason, octets):
        super().__init__(f"{path}: corrupt at offset {offset}: {reason}; {octets} octets are at stake")
        self.path, self.offset, self.reason, self.octets = path, offset, reason, octets


class Skipped(NamedTuple):
    """What skip_corrupt went over. What it is: a "segment", its "header", "batch" (or several), or one "record"."""

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


# ------------------------------------------------------------------------------------------------------ the journal

cdef int by_position(const void *left, const void *right) noexcept nogil:
    cdef const Shared *a = <const Shared *>left
    cdef const Shared *b = <const Shared *>right
    if a.segment != b.segment:
        return 1 if a.segment > b.segment else -1
    return (a.offset > b.offset) - (a.offset < b.offset)


cdef class SharedRecords:
    def __dealloc__(self):
        free(self.items)

    cdef int add(self, const LiveMessage *message) except -1:
        cdef void *moved
        if self.count == self.capacity:
            # Many queues name the same record: room by naming it once, before room by growing.
            self.sort()
            if self.count >= self.capacity // 2:
                moved = realloc(self.items, max(16, self.capacity * 2) * sizeof(Shared))
                if moved == NULL:
                    raise MemoryError
                self.items = <Shared *>moved
                self.capacity = max(16, self.capacity * 2)
        self.items[self.count] = Shared(message.segment, message.message_offset, message.record_octets)
        self.count += 1
        return 0

    cdef void sort(self) noexcept:
        cdef Py_ssize_t index, kept = 0
        if self.count:
            qsort(self.items, self.count, sizeof(Shared), by_position)
        for index in range(self.count):
            if kept and by_position(&self.items[kept - 1], &self.items[index]) == 0:
                continue
            self.items[kept] = self.items[index]
            kept += 1
        self.count = kept

    cdef void count_out(self, const LiveMessage *message) noexcept:
        # A message record that lives by itself has been counted with it.
        cdef Shared wanted = Shared(message.segment, message.offset, 0)
        cdef Shared *found = NULL
        if message.offset == message.message_offset:
            found = <Shared *>bsearch(&wanted, self.items, self.count, sizeof(Shared), by_position)
        if found != NULL:
            found.octets = 0


cdef class Replay:
    def __cinit__(self):
        self.abandoned, self.skipped, self.files, self.definitions_ = [], [], [], []
        self.queues_ = {}

    def __dealloc__(self):
        free(self.segments_)
        free(self.buffer)

    def read(self, segments, *, bint skip_corrupt=False):
        """Reads the segments, given as (number, path or descriptor). Once only."""
        cdef Py_ssize_t index
        if self.files or self.end_segment:
            raise ValueError("a Replay reads once")
        self.skip_corrupt = skip_corrupt
        self.files = self.usable([read_header(number, file) for number, file in sorted(segments, key=first_of)])
        self.segments_count = len(self.files)
        self.segments_ = <SegmentHistory *>calloc(max(1, self.segments_count), sizeof(SegmentHistory))
        if self.segments_ == NULL:
            raise MemoryError
        try:
            for index in range(self.segments_count):
                self.read_segment(index, sealed_at(self.files, index))
        finally:
            free(self.buffer)
            self.buffer, self.buffer_octets = NULL, 0
        for history in self.queues_.values():
            (<QueueHistory>history).finish()
        self.count_live()

    # ---- which segments there are

    cdef list usable(self, list headers):
        # Those to be read. Raises, or skips, where one is damaged or missing.
        cdef list usable = []
        # Several files can be made before the first header is written: none of those at the end was begun.
        sound = [header.number for header in headers if header.fault is None]
        for header in headers:
            is_last = not sound or header.number > sound[len(sound) - 1]
            if header.fault is None:
                usable.append(header)
            elif (seed := self.salvage(header, is_last)) >= 0:
                usable.append(header._replace(seed=seed))
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

    cdef int64_t salvage(self, object header, bint is_last) except -2:
        # Of a segment whose header does not check: its seed, to read it nevertheless; -1 to leave it out.
        cdef Octets segment
        cdef Survey seen
        cdef bint readable
        self.load(header, header.file_octets, &segment)
        readable = find_seed(&segment, header.seed)
        memset(&seen, 0, sizeof(seen))
        if readable:
            seen = survey(&segment, HEADER_OCTETS, 0)
            self.batch_number_seen = max(self.batch_number_seen, seen.highest_number)
        if is_last and seen.durable_offset <= HEADER_OCTETS:
            # No batch says that anything in here was on disk: its header need not have been either.
            self.abandoned.append(header.file)
            return -1
        if not self.skip_corrupt:
            raise CorruptJournal(header.file, 0, header.fault, max(seen.end, <uint64_t>HEADER_OCTETS))
        what, octets = ("header", HEADER_OCTETS) if readable else ("segment", header.file_octets)
        self.skipped.append(Skipped(what, header.number, 0, octets, header.fault, 0))
        return segment.seed if readable else -1

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

    # ---- one segment

    cdef int read_segment(self, Py_ssize_t index, uint64_t sealed_at) except -1:
        cdef SegmentHistory *history = &self.segments_[index]
        cdef Octets segment
        cdef Batch batch
        cdef uint64_t at = HEADER_OCTETS, next_at
        self.reading = self.files[index]
        self.load(self.reading, sealed_at or self.reading.file_octets, &segment)
        history.number, history.seed, history.file_octets = segment.number, segment.seed, self.reading.file_octets
        while not sealed_at or at < sealed_at:
            check_batch(&segment, at, self.batch_number, &batch)
            if batch.fault == NULL:
                self.apply(&segment, &batch, history)
                at = batch.end
                continue
            next_at = self.go_on(&segment, &batch, sealed_at)
            if next_at == 0:
                break
            at = next_at
        history.end = at
        self.end_segment, self.end_offset = segment.number, at
        self.batch_number_seen = max(self.batch_number_seen, self.batch_number)
        return 0

    cdef uint64_t go_on(self, Octets *segment, Batch *batch, uint64_t sealed_at) except? 0:
        # Behind a batch that does not check: where to go on, 0 when the journal ends here; or raises.
        cdef Survey seen
        cdef uint64_t good
        if batch.written_so:
            return self.skip(batch, batch.end)
        if sealed_at:
            good = next_good(segment, batch.at + 1, self.batch_number + 1)
            return self.skip(batch, good or sealed_at)
        seen = survey(segment, batch.at, self.batch_number)
        self.batch_number_seen = max(self.batch_number_seen, seen.highest_number)
        if seen.durable_offset > batch.at:
            good = next_good(segment, batch.at + 1, self.batch_number + 1)
            return self.skip(batch, good or seen.durable_offset)
        if seen.end > batch.at:
            self.cut_octets += seen.end - batch.at
        elif has_torn_head(segment, batch.at, self.batch_number):
            # No one can tell how much was to follow.
            self.cut_octets += min(<uint64_t>BATCH_HEAD_OCTETS, segment.size - batch.at)
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
        history.batches += 1
        history.records += batch.records
        history.record_octets += batch.end - batch.at - BATCH_HEAD_OCTETS
        return 0

    # ---- one record

    cdef int apply_record(self, Octets *segment, uint64_t at) except -1:
        cdef const uint8_t *payload = segment.start + at + RECORD_HEAD_OCTETS
        cdef int kind = segment.start[at + 8]
        cdef QueueHistory history
        if kind == RECORD_MESSAGE:
            return self.apply_message(segment, at, at)
        if kind == RECORD_TARGET:
            return self.apply_target(segment, at)
        if kind == RECORD_DEFINITION or kind == RECORD_DEFINITIONS:
            if kind == RECORD_DEFINITIONS:
                self.definitions_.clear()
            self.definitions_.append((kind, PyBytes_FromStringAndSize(<const char *>payload, replay_u32(payload - 12))))
            return 0
        if kind == RECORD_NOTHING:
            return 0
        history = self.history(replay_u32(payload))
        if kind == RECORD_SETTLED:
            history.settled.add(replay_u64(payload + 8), replay_u64(payload + 16))
            history.note(replay_u64(payload + 16))
        elif kind == RECORD_DELIVERED:
            history.delivered(replay_u64(payload + 8))
        elif kind == RECORD_RETURNED:
            history.add_return(replay_u64(payload + 8), replay_u32(payload + 4), 0)
        elif kind == RECORD_ASIDE:
            history.add_return(replay_u64(payload + 8), replay_u32(payload + 4), replay_u64(payload + 16))
        elif kind == RECORD_STATE:
            history.add_state(payload)
        elif kind == RECORD_GONE:
            history.gone = True
        return 0

    cdef int apply_message(self, Octets *segment, uint64_t at, uint64_t message_at) except -1:
        # `at` is the message's record or a target's: they begin alike.
        cdef const uint8_t *payload = segment.start + at + RECORD_HEAD_OCTETS
        cdef const uint8_t *message_record = segment.start + message_at
        cdef QueueHistory history = self.history(replay_u32(payload))
        cdef LiveMessage message
        message.delivery_count = replay_u32(payload + 4)
        message.sequence = replay_u64(payload + 8)
        message.expires_at_ms = replay_u64(payload + 16)
        message.redelivered = payload[24] & 1
        if payload[24] & FLAG_UNTIL_RESTART:
            # It was on disk to be out of memory; its place in the order is taken.
            history.settled.add(message.sequence, message.sequence)
            history.note(message.sequence)
            return 0
        message.segment = segment.number
        message.offset = <uint32_t>at
        message.message_offset = <uint32_t>message_at
        message.record_octets = RECORD_HEAD_OCTETS + replay_u32(message_record)
        message.body_bytes = <uint32_t>replay_u64(message_record + RECORD_HEAD_OCTETS + 40)
        return history.add(&message)

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

    cdef LiveMessage *live(self, uint32_t queue_id, Py_ssize_t *count) noexcept:
        cdef QueueHistory history = self.queue(queue_id)
        count[0] = 0 if history is None else history.live.count
        return NULL if history is None else history.live.items

    cdef QueueHistory queue(self, uint32_t queue_id):
        return self.queues_.get(queue_id)

    cdef void forget(self, uint32_t queue_id) noexcept:
        cdef QueueHistory history = self.queue(queue_id)
        if history is not None:
            history.forget()

    cdef Py_ssize_t index_of(self, uint64_t number, Py_ssize_t guess) noexcept:
        cdef Py_ssize_t low = 0, high = self.segments_count - 1, middle
        if self.segments_[guess].number == number:
            return guess
        while low < high:
            middle = (low + high) // 2
            if self.segments_[middle].number < number:
                low = middle + 1
            else:
                high = middle
        return low

    cdef int count_live(self) except -1:
        # What lives in each segment: messages, and the octets they need, a shared message record once.
        cdef SharedRecords shared = SharedRecords()
        cdef QueueHistory history
        cdef SegmentHistory *segment
        cdef LiveMessage *message
        cdef Py_ssize_t index, place = 0
        for history in self.queues_.values():
            for index in range(history.live.count):
                message = &history.live.items[index]
                place = self.index_of(message.segment, place)
                segment = &self.segments_[place]
                segment.live_targets += 1
                if message.offset == message.message_offset:
                    segment.live_octets += message.record_octets
                else:
                    segment.live_octets += RECORD_HEAD_OCTETS + TARGET_OCTETS
                    shared.add(message)
        shared.sort()
        for history in self.queues_.values() if shared.count else ():
            for index in range(history.live.count):
                shared.count_out(&history.live.items[index])
        for index in range(shared.count):
            place = self.index_of(shared.items[index].segment, place)
            self.segments_[place].live_octets += shared.items[index].octets
        return 0

    def queues(self):
        return dict(self.queues_)

    def definitions(self):
        """(record type, payload) in order: type 8 comes first if at all, and holds a list of what 7 holds one of."""
        return list(self.definitions_)

    def messages(self, uint32_t queue_id):
        history = self.queues_.get(queue_id)
        return [] if history is None else history.messages()

    def segments(self):
        return [SegmentView(**self.segments_[index]) for index in range(self.segments_count)]


def first_of(pair):
    return pair[0]


def sealed_at(headers, index):
    """Where the next segment says that this one ends; 0 when none says so."""
    follower = headers[index + 1] if index + 1 < len(headers) else None
    if follower is None or follower.fault is not None or follower.previous != headers[index].number:
        return 0
    return follower.previous_end
