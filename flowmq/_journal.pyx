# See _journal.pxd for what this module is and is not.

import logging
import os
from collections import deque

from libc.stddef cimport size_t
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.stdlib cimport realloc
from libc.string cimport memset

from flowmq._commit cimport commit_batch_free, commit_batch_new
from flowmq._failpoint cimport failpoint
from flowmq._frame cimport FLOWMQ_CONTRACT
from flowmq._message cimport Message
from flowmq._message_log cimport MessageLog, never_committed
from flowmq._order cimport Order
from flowmq._records cimport (
    BATCH_HEADER_BYTES, DEFINITION_RECORD, DEFINITIONS_RECORD, PENDING_RECORDS_BYTES, QUEUE_GONE_RECORD,
    QUEUE_STATE_RECORD, RECORD_HEADER_BYTES, SEGMENT_HEADER_BYTES, SUMMARY_RECORD, TARGET_RECORD, UNTIL_RESTART, Place,
    RangeRecord, RecordType, TargetRecord, message_record_bytes, put_batch_header, put_message, put_record,
    put_segment_header,
)
from flowmq._segment cimport forget_chunk
from flowmq._summary cimport IS_TARGET, IS_UNTIL_RESTART, PART_BYTES_MAX, SUMMARY_BYTES_MIN, Described, Summary

from flowmq._frame import check_contract

check_contract(FLOWMQ_CONTRACT)

log = logging.getLogger("flowmq")

# Ids of logs that only keep messages out of memory: no durable queue gets one so high.
cdef uint32_t FIRST_PAGING_ID = 0x80000000

cdef enum:
    BATCH_BYTES_USUAL = 65536
    BATCHES_KEPT = 16               # of those that are written, for the next ones
    BEHIND_BYTES = 33554432         # waiting for the disk: who goes on to publish much is not read any more
    BEHIND_SHARE_BYTES = 1048576    # what that is, for one connection
    FAR_BEHIND_BYTES = 67108864     # waiting for the disk: nobody who publishes is read any more
    EIO = 5
    SUMMARIES_BYTES_MAX = 16777216  # of segments that are not written any more, in memory
    PART_OBJECT_BYTES = 256
    # What a segment of one record needs for its summary.
    SEGMENT_TAIL_BYTES_MIN = BATCH_HEADER_BYTES + RECORD_HEADER_BYTES + SUMMARY_BYTES_MIN + 2 * PART_BYTES_MAX
    BATCH_BYTES_MAX = 4194304       # a batch this large goes to the thread even while that is busy
    WRITTEN_AT_ONCE_MAX = 2 * BATCH_BYTES_MAX
    CACHE_LINE = 64


cdef class CommitWaiter:
    """Abstract: something that waits for commits. Implemented by Channel."""

    cdef bint committed(self, uint64_t number, bint failed) except -1:
        raise NotImplementedError("CommitWaiter.committed")


# -------------------------------------------------------------------------------------------------- the journal

def summary_age(Segment segment):
    return segment.summary_used


cdef class Journal(RecordWriter):
    """The journal of a broker. `definitions_snapshot` gives every definition as the payload of one record.

    Order of use: adopt() every segment there is, log() and restore every queue, start(); then submit() at the end of
    every turn, completed() whenever `wake_fd` is readable, close(). Freeing segments is the business of _compaction.
    """

    def __init__(self, str directory, uint64_t segment_bytes, definitions_snapshot):
        self.directory = directory
        self.segment_bytes = segment_bytes
        self.definitions_snapshot = definitions_snapshot
        self.segments = {}
        self.spares = []
        self.touched = []
        self.logs = {}
        self.waiters = []
        self.hungry = []
        self.times_behind = 1
        self.callbacks = deque()
        self.sent = deque()
        self.directory_fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self.thread = CommitThread()

    # ---------------------------------------------------------------------------------------------- at the start

    cdef uint64_t segment_tail(self) noexcept:
        """What the end of the segment that is written now may take."""
        return BATCH_HEADER_BYTES + RECORD_HEADER_BYTES + self.segment.summary.bytes_max()

    @property
    def wake_fd(self) -> int:
        return self.thread.wake_fd

    def adopt(self, found, str path, int fd):
        """A segment from before, as a replay found it. Its messages are told by restore_queue()."""
        cdef Segment segment = Segment(found.number, path, fd, found.seed, found.file_octets, found.end)
        segment.states = set(found.queue_ids)
        segment.has_definitions = found.has_definitions
        segment.summary_at = found.summary_at
        segment.trusted = found.trusted
        segment.summary = found.summary
        self.segments[segment.number] = self.segment = segment
        forget_chunk(segment.number)

    def start(self, uint64_t next_number):
        """Begin to write, in a new segment, with that batch number."""
        cdef Segment segment
        self.next_number = next_number
        self.committed = self.submitted = next_number - 1
        # What a process that was killed had written was read back, and need not be on disk yet.
        for segment in self.segments.values():
            os.fdatasync(segment.fd)
        os.fsync(self.directory_fd)
        if self.segment is not None:
            self.durable_segment = self.segment.number
            self.durable_offset = self.segment.end
        self.roll(0)

    def log(self, Order order, uint32_t queue_id):
        """From now on the persistent messages of that queue, or lane of a queue, are durable."""
        queue_log = QueueLog(self, order, queue_id)
        self.logs[queue_id] = queue_log
        order.log = queue_log
        return queue_log

    cdef MessageLog log_for(self, object queue, uint64_t sequence):
        cdef QueueLog queue_log
        if self.error:
            return None
        self.paging_id += 1
        queue_log = QueueLog(self, queue, FIRST_PAGING_ID + self.paging_id, True)
        if sequence > 1:
            queue_log.settled.add(1, sequence - 1)
        self.logs[queue_log.queue_id] = queue_log
        return queue_log

    cdef int release(self, QueueLog queue_log) except -1:
        self.logs.pop(queue_log.queue_id, None)
        return 0

    # --------------------------------------------------------------------------------------------------- appending

    cdef uint64_t write_message(self, Message *message, const Place *place, QueueLog queue_log) except 0:
        """A message or target record; the number of its commit."""
        cdef TargetRecord target
        cdef Described described
        cdef char *at = NULL
        if self.error:
            return never_committed()
        if message.journal_batch == self.next_number:
            at = self.room(RECORD_HEADER_BYTES + sizeof(TargetRecord))
        # Making room may have begun another batch, which knows nothing of it.
        if message.journal_batch != self.next_number:
            at = self.room(message_record_bytes(message))
        if at == NULL:
            return never_committed()
        described.offset = described.message_offset = self.batch_end()
        described.sequence, described.body_bytes = place.sequence, message.body_bytes
        described.kind = IS_UNTIL_RESTART if place.flags & UNTIL_RESTART else 0
        if message.journal_batch == self.next_number:
            target.place = place[0]
            target.zero = 0
            target.offset = described.message_offset = message.journal_offset
            described.kind |= IS_TARGET
            described.record_bytes = put_record(at, self.segment.seed, TARGET_RECORD, &target, sizeof(TargetRecord))
        else:
            described.record_bytes = put_message(at, self.segment.seed, place, message)
            message.journal_batch = self.next_number
            message.journal_offset = <uint32_t>described.offset
        self.batch.bytes += described.record_bytes
        self.record_count += 1
        if not place.flags & UNTIL_RESTART:
            self.batch.sync = True
        self.appended_count += 1
        self.segment.add_message(queue_log.part_for(place.sequence, self.segment), &described, place.expires_at_ms)
        return self.next_number

    cdef uint64_t put(self, RecordType type, const void *payload, size_t payload_bytes) except 0:
        """Any other record; the number of its commit."""
        cdef char *at
        cdef uint64_t room = RECORD_HEADER_BYTES + payload_bytes
        if self.error:
            return never_committed()
        if type == QUEUE_STATE_RECORD:
            # All its ranges will stand in the summary of the segment too.
            room += payload_bytes
        at = self.room(room)
        if at == NULL:
            return never_committed()
        if type == DEFINITION_RECORD or type == DEFINITIONS_RECORD:
            self.segment.summary.add_definition(self.batch_end(), type == DEFINITIONS_RECORD)
        self.batch.bytes += put_record(at, self.segment.seed, type, payload, payload_bytes)
        self.record_count += 1
        return self.next_number

    cdef char *room(self, uint64_t record_bytes) except? NULL:
        """For a record, as reserve() has it; NULL when the disk fails: the journal has failed then."""
        cdef uint64_t pending_bytes
        if self.batch != NULL and self.batch.bytes + record_bytes <= min(self.batch.capacity, <size_t>BATCH_BYTES_MAX):
            # As nearly always.
            pending_bytes = (len(self.touched) + 1) * PENDING_RECORDS_BYTES + record_bytes
            if self.batch_end() + BATCH_HEADER_BYTES + pending_bytes + self.segment_tail() <= self.segment.size:
                return self.batch.data + self.batch.bytes
        return self.room_made(record_bytes)

    cdef char *room_made(self, uint64_t record_bytes) except? NULL:
        try:
            return self.reserve(record_bytes)
        except OSError as error:
            self.fail(error.errno or EIO)
            return NULL

    cdef char *reserve(self, uint64_t record_bytes) except NULL:
        """Room for a record in the batch being built, which is finished and begun anew when it has none."""
        cdef uint64_t pending_bytes = (len(self.touched) + 1) * PENDING_RECORDS_BYTES
        if self.batch != NULL and self.record_count and self.batch.bytes + record_bytes > BATCH_BYTES_MAX:
            if not self.moving:
                self.submit_batch()
        pending_bytes += record_bytes
        if self.batch_end() + BATCH_HEADER_BYTES + pending_bytes + self.segment_tail() > self.segment.size:
            self.roll(pending_bytes)
        if self.batch == NULL:
            self.begin_batch()
        self.grow_batch(self.batch.bytes + record_bytes)
        return self.batch.data + self.batch.bytes

    cdef int grow_batch(self, size_t wanted) except -1:
        cdef void *moved
        if wanted > self.batch.capacity:
            wanted = max(wanted, max(self.batch.capacity * 2, <size_t>BATCH_BYTES_USUAL))
            moved = realloc(self.batch.data, wanted)
            if moved == NULL:
                raise MemoryError("a batch of the journal")
            self.batch.data = <char *>moved
            self.batch.capacity = wanted
        return 0

    cdef int begin_move(self, uint64_t record_bytes) except -1:
        self.moving += 1
        if not self.error:
            self.room(record_bytes)
        return 0

    cdef int end_move(self) except -1:
        self.moving -= 1
        return 0

    cdef int begin_batch(self) except -1:
        cdef Batch *batch = self.thread.take_finished()
        if batch != NULL and batch.capacity > BATCH_BYTES_MAX * 2:
            commit_batch_free(batch)
            batch = NULL
        if batch == NULL:
            batch = commit_batch_new(BATCH_BYTES_USUAL)
        if batch == NULL:
            raise MemoryError("a batch of the journal")
        batch.bytes = BATCH_HEADER_BYTES
        failpoint("batch-begun")
        batch.sync = batch.written = False
        batch.fd = self.segment.fd
        batch.offset = <int64_t>self.segment.end
        self.batch = batch
        self.record_count = 0
        return 0

    cdef int roll(self, uint64_t record_bytes) except -1:
        """Go on in a new segment. Nothing in it is confirmed before the one before it is on disk, to its end."""
        cdef Segment before = self.segment
        cdef uint64_t number
        cdef uint64_t needed = SEGMENT_HEADER_BYTES + BATCH_HEADER_BYTES + record_bytes + SEGMENT_TAIL_BYTES_MIN
        cdef uint64_t size = max(self.segment_bytes, needed)
        cdef Batch *batch
        while before is not None:
            self.leave(before)
            if self.segment is before:
                break
            # What was pending did not fit either and has begun another segment: that may be room enough.
            before = self.segment
            if self.batch_end() + BATCH_HEADER_BYTES + record_bytes + self.segment_tail() <= before.size:
                return 0
        number = 1 if before is None else before.number + 1
        path, fd = self.new_file(number, size)
        failpoint("segment-made")
        seed = int.from_bytes(os.urandom(4), "little")
        self.segment = Segment(number, path, fd, seed, size, 0)
        self.segment.summary = Summary()
        self.segments[number] = self.segment
        forget_chunk(number)
        self.begin_batch()
        batch = self.batch
        self.batch = NULL
        batch.bytes = SEGMENT_HEADER_BYTES
        batch.sync = True
        if before is None:
            put_segment_header(batch.data, seed, number, size, 0, 0, 0)
        else:
            put_segment_header(batch.data, seed, number, size, before.number, before.end, before.summary_at)
        self.segment.end = SEGMENT_HEADER_BYTES
        self.hand_over(batch)
        failpoint("segment-begun")
        self.sync_only(self.directory_fd)
        if before is not None and before.summary is not None:
            self.summary_uses += 1
            before.summary_used = self.summary_uses
            self.drop_old_summaries()
        return 0

    def leave(self, Segment segment):
        """What a segment says is written at its end, and that batch asks for a sync: a later one of the next segment
        would not cover it."""
        if self.batch != NULL and self.record_count:
            self.submit_batch()
            if self.segment is not segment:
                return
        if self.batch != NULL:
            commit_batch_free(self.batch)
            self.batch = NULL
        if segment.end > SEGMENT_HEADER_BYTES:
            if segment.summary is not None and segment.summary_at == 0:
                self.write_summary(segment)
            self.sync_only(segment.fd)

    cdef int write_summary(self, Segment segment) except -1:
        cdef bytes payload = segment.summary.encode()
        cdef size_t record_bytes = RECORD_HEADER_BYTES + <size_t>len(payload)
        if segment.end + BATCH_HEADER_BYTES + record_bytes <= segment.size:
            segment.summary_at = segment.end
            self.begin_batch()
            self.grow_batch(BATCH_HEADER_BYTES + record_bytes)
            put_record(self.batch.data + BATCH_HEADER_BYTES, segment.seed, SUMMARY_RECORD, <const char *>payload,
                       len(payload))
            self.batch.bytes += record_bytes
            self.record_count = 1
            self.finish_batch()
        segment.summary.forget_facts()
        return 0

    def sync_only(self, int fd):
        cdef Batch *batch = commit_batch_new(CACHE_LINE)
        if batch == NULL:
            raise MemoryError("a batch of the journal")
        batch.bytes = 0
        batch.sync = True
        batch.fd = fd
        batch.offset = 0
        self.hand_over(batch)

    def new_file(self, number, size):
        """A file for a segment of that size: a spare one if it fits, whose blocks are there already."""
        path = os.path.join(self.directory, f"{number:016x}.segment")
        if self.spares and size == self.segment_bytes and self.spares[0][1] <= self.committed:
            spare, _ = self.spares.pop(0)
            os.rename(spare, path)
            return path, os.open(path, os.O_RDWR | os.O_CLOEXEC)
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(fd, 0, size)
        except OSError:
            os.close(fd)
            os.unlink(path)
            raise
        return path, fd

    # -------------------------------------------------------------------------------------------------- committing

    def submit(self):
        """At the end of a turn, before any answer of it is sent: what was built outlives the process from here on."""
        if self.error:
            if self.failure_untold:
                self.tell()
        else:
            self.submit_batch()

    def settlements_commit(self):
        """The commit after which all settlements made so far are on disk; 0 when they are."""
        return self.commit_pending()

    cdef uint64_t latest_commit(self) except? 0:
        if self.error:
            return never_committed()
        if self.batch != NULL and self.record_count:
            self.batch.sync = True
            return self.next_number
        return self.submitted if self.submitted > self.committed else 0

    cdef uint64_t commit_pending(self) except? 0:
        """Settlements need no sync of their own, but here somebody waits for them. 0 when there are none."""
        cdef QueueLog queue_log
        cdef list touched = self.touched
        self.touched = []
        for queue_log in touched:
            queue_log.touched = False
            queue_log.write_pending()
        if self.error:
            return never_committed()
        if self.batch == NULL or self.record_count == 0:
            return 0
        self.batch.sync = True
        return self.next_number

    cdef int submit_batch(self) except -1:
        cdef QueueLog queue_log
        cdef list touched
        if self.touched:
            touched = self.touched
            self.touched = []
            for queue_log in touched:
                queue_log.touched = False
                queue_log.write_pending()
        if self.batch == NULL or self.record_count == 0:
            return 0
        return self.finish_batch()

    cdef int finish_batch(self) except -1:
        cdef Batch *batch = self.batch
        cdef Summary summary = self.segment.summary
        if summary is not None:
            summary.batches += 1
            summary.records += self.record_count
            summary.record_octets += batch.bytes - BATCH_HEADER_BYTES
        put_batch_header(batch.data, self.segment.seed, self.next_number, <uint32_t>(batch.bytes - BATCH_HEADER_BYTES),
                         self.record_count, self.durable_segment, self.durable_offset)
        self.vouched_segment, self.vouched_offset = self.durable_segment, self.durable_offset
        self.segment.end += batch.bytes
        self.batch = NULL
        self.record_count = 0
        return self.hand_over(batch)

    cdef int vouch(self) except -1:
        """A batch of no records says what is on disk by now: damage there is then never taken for a torn end."""
        if self.batch != NULL or self.batch_end() + BATCH_HEADER_BYTES > self.segment.size:
            return 0
        if self.vouched_segment == self.durable_segment and self.vouched_offset == self.durable_offset:
            return 0
        self.begin_batch()
        return self.finish_batch()

    cdef int hand_over(self, Batch *batch) except -1:
        batch.number = self.next_number
        # The loop writes what it can in no time; the thread writes what is larger, and all that is behind it.
        if batch.bytes <= WRITTEN_AT_ONCE_MAX and self.thread.write_now(batch) and batch.bytes:
            self.segment.readable_end = self.segment.end
        failpoint("batch-written")
        self.next_number += 1
        self.submitted = batch.number
        # A sync of something else, such as the directory, says nothing of the segment.
        synced = batch.sync and batch.fd == self.segment.fd
        self.sent.append((batch.number, self.segment.number, self.segment.end, synced, batch.bytes))
        self.sent_bytes += batch.bytes
        if len(self.sent) > BATCHES_KEPT:
            self.shrink(batch)
        self.thread.submit(batch)
        return failpoint("batch-handed-over")

    cdef void shrink(self, Batch *batch) noexcept:
        """While the disk is far behind, thousands of small ones wait for it: each takes what it holds and no more."""
        cdef void *moved
        if batch.bytes and batch.bytes < batch.capacity // 2:
            moved = realloc(batch.data, batch.bytes)
            if moved != NULL:
                batch.data = <char *>moved
                batch.capacity = batch.bytes

    def completed(self):
        """The commit thread has got further, or has failed: everyone who waits is told."""
        self.thread.acknowledge()
        if self.thread.error() and not self.error:
            self.fail(self.thread.error())
        self.committed = self.thread.done()
        was_behind = self.sent_bytes > BEHIND_BYTES
        while self.sent and self.sent[0][0] <= self.committed:
            _, segment_number, end, synced, count = self.sent.popleft()
            self.sent_bytes -= count
            self.note_readable(segment_number, end)
            if synced:
                self.durable_segment, self.durable_offset = segment_number, end
        if was_behind and self.sent_bytes <= BEHIND_BYTES:
            self.times_behind += 1
        self.thread.drop_finished(BATCHES_KEPT)
        self.tell()
        failpoint("commit-told")
        self.submit()

    def note_readable(self, segment_number, end):
        cdef Segment segment = self.segments.get(segment_number)
        if segment is not None:
            segment.readable_end = max(segment.readable_end, <uint64_t>end)

    cdef int feed(self, QueueLog queue_log) except -1:
        self.hungry.append(queue_log)
        return 0

    cdef int feed_hungry(self) except -1:
        cdef QueueLog queue_log
        cdef list hungry = self.hungry
        self.hungry = []
        for queue_log in hungry:
            queue_log.hungry = False
            if not queue_log.gone:
                queue_log.order.dispatch()
        return 0

    cdef int need_summary(self, Segment segment) except -1:
        """Those that were needed last are kept: queues that are drained together need the same ones."""
        self.summary_uses += 1
        segment.summary_used = self.summary_uses
        segment.load_summary()
        return self.drop_old_summaries()

    cdef int drop_old_summaries(self) except -1:
        cdef Segment loaded
        cdef size_t kept_bytes = 0
        kept = [loaded for loaded in self.segments.values() if loaded.summary is not None]
        kept.sort(key=summary_age, reverse=True)
        for loaded in kept:
            kept_bytes += loaded.summary.stream_bytes + loaded.summary.part_count * PART_OBJECT_BYTES
            in_use = loaded is self.segment or loaded.summary_used == self.summary_uses
            if kept_bytes > SUMMARIES_BYTES_MAX and not in_use:
                loaded.drop_summary()
        return 0

    cdef int note_damage(self, Segment segment, str what, str who) except -1:
        self.damaged = True
        if segment is not None:
            segment.damaged = True
        log.critical("%s; %s; see flowmq inspect --verify and flowmq recover", what, who)
        return 0

    def damage_found(self, Segment segment, str what):
        self.note_damage(segment, what, "found while looking through it")

    cdef int tell(self) except -1:
        cdef CommitWaiter waiter
        cdef list waiters
        error = None
        self.failure_untold = False
        if self.waiters:
            waiters = self.waiters
            self.waiters = []
            for waiter in waiters:
                try:
                    if waiter.committed(self.committed, self.error != 0):
                        self.waiters.append(waiter)
                except Exception as raised:
                    error = raised
        while self.callbacks and (self.error or self.callbacks[0][0] <= self.committed):
            number, callback = self.callbacks.popleft()
            try:
                callback(number > self.committed)
            except Exception as raised:
                error = raised
        if error is not None:
            # Not before everybody else is told: it may be long until the next time.
            raise error
        return 0

    cdef int fail(self, int error) except -1:
        """The disk failed: nothing more is written. Who waits is told at the end of this turn."""
        self.error = error
        self.failure_untold = True
        if self.batch != NULL:
            commit_batch_free(self.batch)
            self.batch = NULL
        log.critical("journal %s failed: %s; nothing durable is taken any more", self.directory, os.strerror(error))
        return 0

    cdef int wait(self, CommitWaiter waiter) except -1:
        self.waiters.append(waiter)
        if self.error:
            self.failure_untold = True
        return 0

    def when_committed(self, uint64_t number, callback):
        """`callback(failed)` once that commit is on disk, or cannot be."""
        self.callbacks.append((number, callback))
        if self.error:
            self.failure_untold = True

    cdef bint must_wait(self, BehindShare *share, uint64_t received_bytes) noexcept:
        if self.sent_bytes <= BEHIND_BYTES:
            return False
        if share.times_behind != self.times_behind:
            share.times_behind, share.received_before = self.times_behind, received_bytes
        return received_bytes - share.received_before > BEHIND_SHARE_BYTES or self.sent_bytes > FAR_BEHIND_BYTES

    cdef bint may_wait(self) noexcept:
        return not self.error and not self.hungry

    # ------------------------------------------------------------------------------------- definitions and deletion

    def define(self, bytes payload):
        """One change of the definitions; the number of its commit."""
        number = self.put(DEFINITION_RECORD, <const char *>payload, len(payload))
        if not self.error:
            self.batch.sync = True
            self.segment.has_definitions = True
        self.definition_commit = number
        self.definition_count += 1
        return number

    def knows(self, uint32_t queue_id) -> bool:
        """Is there a queue of that id, or a lane of one?"""
        return queue_id in self.logs

    def forget(self, uint32_t queue_id):
        """A queue is deleted: all its messages are done with. The number of the commit."""
        cdef QueueLog queue_log = self.logs.pop(queue_id)
        cdef RangeRecord record
        memset(&record, 0, sizeof(RangeRecord))
        record.queue_id = queue_id
        number = self.put(QUEUE_GONE_RECORD, &record, 8)
        if not self.error:
            self.batch.sync = True
            self.segment.summary.note_gone(queue_id)
        queue_log.forget_all()
        self.definition_commit = number
        self.definition_count += 1
        return number

    def close(self):
        """Write what is built, end the thread, close the files. Of one that was not started nothing is changed."""
        cdef Segment segment
        if self.next_number and not self.error:
            if self.batch != NULL:
                self.batch.sync = True
            self.submit_batch()
            self.sync_only(self.segment.fd)
            if self.thread.wait(self.submitted):
                self.durable_segment, self.durable_offset = self.segment.number, self.segment.end
                self.vouch()
                self.sync_only(self.segment.fd)
        self.thread.close()
        for segment in self.segments.values():
            os.close(segment.fd)
        os.close(self.directory_fd)
