# See _journal.pxd for what this module is and is not.

import logging
import os
import signal
from collections import deque

from libc.stddef cimport size_t
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.stdlib cimport realloc
from libc.string cimport memset

from flowmq._commit cimport commit_batch_free, commit_batch_new
from flowmq._frame cimport FLOWMQ_CONTRACT
from flowmq._message cimport Message
from flowmq._message_log cimport MessageLog, never_committed
from flowmq._order cimport Order
from flowmq._records cimport (
    BATCH_HEADER_BYTES, DEFINITION_RECORD, DEFINITIONS_RECORD, PENDING_RECORDS_BYTES, QUEUE_GONE_RECORD,
    RECORD_HEADER_BYTES,
    SEGMENT_HEADER_BYTES, TARGET_RECORD, UNTIL_RESTART, WAS_DELIVERED, Place, RangeRecord, RecordType, TargetRecord,
    message_record_bytes, put_batch_header, put_message, put_record, put_segment_header,
)
from flowmq._segment cimport forget_chunk

from flowmq._frame import check_contract

check_contract(FLOWMQ_CONTRACT)

log = logging.getLogger("flowmq")

# Ids of logs that only keep messages out of memory: no durable queue gets one so high.
cdef uint32_t FIRST_PAGING_ID = 0x80000000

cdef enum:
    BATCH_BYTES_USUAL = 65536
    BEHIND_BYTES = 33554432         # waiting for the disk: publishers are not read any more
    EIO = 5
    INDEXES_MAX = 4
    BATCH_BYTES_MAX = 4194304       # a batch this large goes to the thread even while that is busy
    SPARES_MAX = 1
    COMPACTION_STEP_BYTES = 65536   # per call of maintain(): its pause
    CACHE_LINE = 64


cdef class CommitWaiter:
    """Abstract: something that waits for commits. Implemented by Channel."""

    cdef bint committed(self, uint64_t number, bint failed) except -1:
        raise NotImplementedError("CommitWaiter.committed")


# -------------------------------------------------------------------------------------------------- the journal

cdef extern from *:
    """
    #ifdef FLOWMQ_DEBUG
    #define FLOWMQ_HAS_FAILPOINTS 1
    #else
    #define FLOWMQ_HAS_FAILPOINTS 0
    #endif
    """
    const bint FLOWMQ_HAS_FAILPOINTS

# Where a debug build dies on request, as by kill -9: FLOWMQ_FAILPOINT=name:n in the environment, at the n-th time.
FAILPOINTS = (
    "batch-begun", "batch-written", "batch-handed-over", "segment-made", "segment-begun", "segment-superseded",
    "segment-renamed", "message-rewritten", "commit-told",
)
cdef str failpoint_name = ""
cdef long failpoint_left = 0
has_failpoints = bool(FLOWMQ_HAS_FAILPOINTS)
if has_failpoints and "FLOWMQ_FAILPOINT" in os.environ:
    failpoint_name, _, failpoint_count = os.environ["FLOWMQ_FAILPOINT"].partition(":")
    failpoint_left = int(failpoint_count or 1)
    if failpoint_name not in FAILPOINTS:
        raise ValueError(f"FLOWMQ_FAILPOINT: no such failpoint: {failpoint_name}; one of {', '.join(FAILPOINTS)}")


cdef inline int failpoint(str name) except -1:
    if FLOWMQ_HAS_FAILPOINTS:
        reach_failpoint(name)
    return 0


cdef int reach_failpoint(str name) except -1:
    global failpoint_left
    if name == failpoint_name:
        failpoint_left -= 1
        if failpoint_left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
    return 0


def index_age(Segment segment):
    return segment.index_used


cdef class Journal(RecordWriter):
    """The journal of a broker. `definitions_snapshot` gives every definition as the payload of one record.

    Order of use: adopt() every segment there is, log() and restore every queue, start(); then submit() at the end of
    every turn, completed() whenever `wake_fd` is readable, maintain() now and then, close().
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
        self.callbacks = deque()
        self.sent = deque()
        self.directory_fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self.thread = CommitThread()

    # ---------------------------------------------------------------------------------------------- at the start

    @property
    def wake_fd(self) -> int:
        return self.thread.wake_fd

    def adopt(self, uint64_t number, str path, int fd, uint32_t seed, uint64_t size, uint64_t end, queue_ids):
        """A segment from before, which may say something of those queues; its messages are told by restore_queue()."""
        cdef Segment segment = Segment(number, path, fd, seed, size, end)
        segment.states = set(queue_ids)
        segment.has_definitions = True
        self.segments[number] = self.segment = segment
        forget_chunk(number)

    def start(self, uint64_t next_number):
        """Begin to write, in a new segment, with that batch number."""
        self.next_number = next_number
        self.committed = self.submitted = next_number - 1
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

    cdef uint64_t write_message(self, Message *message, const Place *place) except 0:
        """A message or target record; the number of its commit."""
        cdef TargetRecord target
        cdef char *at
        cdef uint64_t record_bytes
        cdef uint64_t offset
        if self.error:
            return never_committed()
        try:
            at = self.reserve(RECORD_HEADER_BYTES + sizeof(TargetRecord))
            if message.journal_batch != self.next_number:
                at = self.reserve(message_record_bytes(message))
        except OSError as error:
            self.fail(error.errno or EIO)
            return never_committed()
        offset = self.batch_end()
        if message.journal_batch == self.next_number:
            target.place = place[0]
            target.zero = 0
            target.offset = message.journal_offset
            record_bytes = put_record(at, self.segment.seed, TARGET_RECORD, &target, sizeof(TargetRecord))
        else:
            record_bytes = put_message(at, self.segment.seed, place, message)
            message.journal_batch = self.next_number
            message.journal_offset = <uint32_t>offset
        self.batch.bytes += record_bytes
        self.record_count += 1
        if not place.flags & UNTIL_RESTART:
            self.batch.sync = True
        self.appended_count += 1
        self.segment.extend_index(place.queue_id, offset, place.sequence)
        self.segment.count_message(record_bytes)
        return self.next_number

    cdef uint64_t put(self, RecordType type, const void *payload, size_t payload_bytes) except 0:
        """Any other record; the number of its commit."""
        cdef char *at
        if self.error:
            return never_committed()
        try:
            at = self.reserve(RECORD_HEADER_BYTES + payload_bytes)
        except OSError as error:
            self.fail(error.errno or EIO)
            return never_committed()
        self.batch.bytes += put_record(at, self.segment.seed, type, payload, payload_bytes)
        self.record_count += 1
        return self.next_number

    cdef char *reserve(self, uint64_t record_bytes) except NULL:
        """Room for a record in the batch being built, which is finished and begun anew when it has none."""
        cdef uint64_t pending_bytes = (len(self.touched) + 1) * PENDING_RECORDS_BYTES
        cdef uint64_t wanted
        cdef void *moved
        if self.batch != NULL and self.record_count and self.batch.bytes + record_bytes > BATCH_BYTES_MAX:
            if not self.moving:
                self.submit_batch()
        if self.batch_end() + BATCH_HEADER_BYTES + record_bytes + pending_bytes > self.segment.size:
            self.roll(record_bytes + pending_bytes)
        if self.batch == NULL:
            self.begin_batch()
        wanted = self.batch.bytes + record_bytes
        if wanted > self.batch.capacity:
            wanted = max(wanted, <uint64_t>self.batch.capacity * 2)
            moved = realloc(self.batch.data, wanted)
            if moved == NULL:
                raise MemoryError("a batch of the journal")
            self.batch.data = <char *>moved
            self.batch.capacity = wanted
        return self.batch.data + self.batch.bytes

    cdef int begin_move(self, uint64_t record_bytes) except -1:
        if self.error:
            return 0
        try:
            self.reserve(record_bytes)
        except OSError as error:
            self.fail(error.errno or EIO)
        self.moving = True
        return 0

    cdef int end_move(self) except -1:
        self.moving = False
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
        """Go on in a new segment. The one before is on disk, to its end, when the header of the new one is written."""
        cdef Segment before = self.segment
        cdef uint64_t number
        cdef uint64_t needed = SEGMENT_HEADER_BYTES + BATCH_HEADER_BYTES + record_bytes
        cdef uint64_t size = max(self.segment_bytes, needed)
        cdef Batch *batch
        while before is not None:
            self.leave(before)
            if self.segment is before:
                break
            # What was pending did not fit either and has begun another segment: that may be room enough.
            before = self.segment
            if self.batch_end() + BATCH_HEADER_BYTES + record_bytes <= before.size:
                return 0
        if self.sent and not self.thread.wait(self.submitted):
            raise OSError(self.thread.error(), "the journal could not be written")
        number = 1 if before is None else before.number + 1
        path, fd = self.new_file(number, size)
        failpoint("segment-made")
        seed = int.from_bytes(os.urandom(4), "little")
        self.segment = Segment(number, path, fd, seed, size, 0)
        self.segment.has_index = True
        self.segments[number] = self.segment
        forget_chunk(number)
        self.begin_batch()
        batch = self.batch
        self.batch = NULL
        batch.bytes = SEGMENT_HEADER_BYTES
        batch.sync = True
        put_segment_header(batch.data, seed, number, 0 if before is None else before.number,
                           0 if before is None else before.end, size)
        self.segment.end = SEGMENT_HEADER_BYTES
        self.hand_over(batch)
        failpoint("segment-begun")
        self.sync_only(self.directory_fd)
        if before is not None and before.has_index:
            self.index_uses += 1
            before.index_used = self.index_uses
            self.drop_old_indexes()
        return 0

    def leave(self, Segment segment):
        """The last batch of a segment asks for a sync, or that of the next one would not cover it."""
        if self.batch != NULL and self.record_count:
            self.batch.sync = True
            self.submit_batch()
            return
        if self.batch != NULL:
            commit_batch_free(self.batch)
            self.batch = NULL
        if segment.end > SEGMENT_HEADER_BYTES:
            self.sync_only(segment.fd)

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
        cdef Batch *batch
        cdef list touched
        if self.touched:
            touched = self.touched
            self.touched = []
            for queue_log in touched:
                queue_log.touched = False
                queue_log.write_pending()
        batch = self.batch
        if batch == NULL or self.record_count == 0:
            return 0
        put_batch_header(batch.data, self.segment.seed, self.next_number, <uint32_t>(batch.bytes - BATCH_HEADER_BYTES),
                         self.record_count, self.durable_segment, self.durable_offset)
        self.segment.end += batch.bytes
        self.batch = NULL
        self.record_count = 0
        return self.hand_over(batch)

    cdef int hand_over(self, Batch *batch) except -1:
        batch.number = self.next_number
        if self.thread.write_now(batch) and batch.bytes:
            self.segment.readable_end = self.segment.end
        failpoint("batch-written")
        self.next_number += 1
        self.submitted = batch.number
        # A sync of something else, such as the directory, says nothing of the segment.
        synced = batch.sync and batch.fd == self.segment.fd
        self.sent.append((batch.number, self.segment.number, self.segment.end, synced, batch.bytes))
        self.sent_bytes += batch.bytes
        self.thread.submit(batch)
        return failpoint("batch-handed-over")

    def completed(self):
        """The commit thread has got further, or has failed: everyone who waits is told."""
        self.thread.acknowledge()
        if self.thread.error() and not self.error:
            self.fail(self.thread.error())
        self.committed = self.thread.done()
        while self.sent and self.sent[0][0] <= self.committed:
            _, segment_number, end, synced, count = self.sent.popleft()
            self.sent_bytes -= count
            self.note_readable(segment_number, end)
            if synced:
                self.durable_segment, self.durable_offset = segment_number, end
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
            queue_log.order.dispatch()
        return 0

    cdef int need_index(self, Segment segment) except -1:
        """Indexes of a few old segments are kept: queues that are drained together need the same ones."""
        self.index_uses += 1
        segment.index_used = self.index_uses
        segment.load_index()
        return self.drop_old_indexes()

    cdef int drop_old_indexes(self) except -1:
        cdef Segment loaded
        kept = [loaded for loaded in self.segments.values() if loaded.has_index and loaded is not self.segment]
        kept.sort(key=index_age)
        for loaded in kept[:-INDEXES_MAX]:
            loaded.drop_index()
        return 0

    cdef int tell(self) except -1:
        cdef CommitWaiter waiter
        cdef list waiters
        self.failure_untold = False
        if self.waiters:
            waiters = self.waiters
            self.waiters = []
            for waiter in waiters:
                if waiter.committed(self.committed, self.error != 0):
                    self.waiters.append(waiter)
        while self.callbacks and (self.error or self.callbacks[0][0] <= self.committed):
            number, callback = self.callbacks.popleft()
            callback(number > self.committed)
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

    cdef bint is_behind(self) noexcept:
        """Does more wait for the disk than memory should hold?"""
        return self.sent_bytes > BEHIND_BYTES

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
        queue_log.forget_all()
        self.definition_commit = number
        self.definition_count += 1
        return number

    # -------------------------------------------------------------------------------------------------- compaction

    def maintain(self) -> bool:
        """Free the oldest segment, or do a little to make it free. True when there is more to do soon."""
        cdef Segment oldest = next(iter(self.segments.values()))
        if self.error or oldest is self.segment or self.directory_commit > self.committed:
            # Names change one by one, so that no power cut can leave a gap in the numbers.
            return False
        if oldest.free_after:
            if oldest.free_after > self.committed:
                return False
            self.recycle(oldest)
            return True
        if oldest.live == 0:
            self.supersede(oldest)
            return True
        if oldest.live < oldest.live_last_seen or oldest.live_last_seen == 0:
            # It empties by itself: rewriting what is acknowledged a moment later would be wasted.
            oldest.live_last_seen = oldest.live
            return False
        used = self.used_bytes
        needed = self.live_bytes + self.segment_bytes
        if used <= 2 * needed:
            return False
        if self.submitted == self.committed or used > 4 * needed:
            # While somebody waits for the disk only when it grows too full.
            self.rewrite_some(oldest)
            self.submit()
        return True

    @property
    def used_bytes(self) -> int:
        """Octets of all files, spare ones too."""
        return sum(segment.size for segment in self.segments.values()) + len(self.spares) * self.segment_bytes

    @property
    def live_bytes(self) -> int:
        """Octets of messages that are still needed."""
        return sum(segment.live_bytes for segment in self.segments.values())

    def supersede(self, Segment oldest):
        """Write anew what else the oldest segment says and nothing after it does; then it can go."""
        cdef QueueLog queue_log
        for queue_id in sorted(oldest.states):
            queue_log = self.logs.get(queue_id)
            if queue_log is not None:
                queue_log.write_state()
        if oldest.has_definitions:
            # One record, hence one batch: it takes the place of all before it, and must be there whole or not at all.
            payload = self.definitions_snapshot()
            self.put(DEFINITIONS_RECORD, <const char *>payload, len(payload))
            self.definitions_rewritten()
        if self.batch != NULL and self.record_count:
            self.batch.sync = True
            oldest.free_after = self.next_number
        else:
            oldest.free_after = self.submitted
        self.submit()
        failpoint("segment-superseded")

    def definitions_rewritten(self):
        cdef Segment segment
        for segment in self.segments.values():
            segment.has_definitions = segment is self.segment

    def recycle(self, Segment segment):
        del self.segments[segment.number]
        forget_chunk(segment.number)
        os.close(segment.fd)
        segment.fd = -1
        if segment.size == self.segment_bytes and len(self.spares) < SPARES_MAX:
            spare = os.path.join(self.directory, f"spare-{segment.number:x}.segment")
            os.rename(segment.path, spare)
            # Used only once this name is on disk: a file that has one name and another's content would be neither.
            self.spares.append((spare, self.next_number))
        else:
            os.unlink(segment.path)
        failpoint("segment-renamed")
        self.sync_only(self.directory_fd)
        self.directory_commit = self.submitted

    cdef int rewrite_some(self, Segment oldest) except -1:
        cdef uint64_t done_bytes = 0
        cdef Indexed *entry
        cdef QueueLog queue_log
        if not oldest.has_index:
            self.need_index(oldest)
        while oldest.rewritten < oldest.index_count and done_bytes < COMPACTION_STEP_BYTES:
            entry = &oldest.index[oldest.rewritten]
            oldest.rewritten += 1
            queue_log = self.logs.get(entry.queue_id)
            if queue_log is not None and queue_log.is_live(entry.sequence, oldest):
                done_bytes += self.rewrite(oldest, queue_log, entry)
        if oldest.rewritten == oldest.index_count:
            oldest.forget_last_read()
        return 0

    cdef uint64_t rewrite(self, Segment oldest, QueueLog queue_log, Indexed *entry) except? 0:
        cdef Place place
        cdef Message *message = oldest.read_message(entry.offset, &place)
        place.delivery_count = max(place.delivery_count, <uint32_t>queue_log.returned.get(entry.sequence, 0))
        if entry.sequence <= queue_log.delivered_up_to:
            place.flags |= WAS_DELIVERED
        if self.write_message(message, &place) == never_committed():
            return COMPACTION_STEP_BYTES
        queue_log.note_moved(entry.sequence, self.segment)
        oldest.live -= 1
        oldest.live_last_seen = oldest.live
        self.compacted_count += 1
        failpoint("message-rewritten")
        return message_record_bytes(message)

    def close(self):
        """Write what is built, end the thread, close the files."""
        cdef Segment segment
        if self.segment is not None and not self.error:
            if self.batch != NULL:
                self.batch.sync = True
            self.submit_batch()
            self.sync_only(self.segment.fd)
        self.thread.close()
        for segment in self.segments.values():
            os.close(segment.fd)
        os.close(self.directory_fd)
