# See _compaction.pxd for what this module is and is not.

import os

from libc.stdint cimport uint32_t

from flowmq._disposal cimport dispose_of
from flowmq._failpoint cimport failpoint
from flowmq._frame cimport FLOWMQ_CONTRACT
from flowmq._message cimport Message
from flowmq._message_log cimport never_committed
from flowmq._records cimport DEFINITIONS_RECORD, WAS_DELIVERED, Place
from flowmq._segment cimport forget_chunk
from flowmq._summary cimport IS_TARGET, FileOrder

from flowmq._frame import check_contract

check_contract(FLOWMQ_CONTRACT)

cdef enum:
    SPARES_MAX = 4                  # while segments come and go: deleting one keeps the disk busy, as a new one does
    SPARES_MAX_AT_REST = 1
    RESTS_MIN = 40                  # calls of maintain() without anything to do, before spare files are deleted
    STEP_BYTES = 65536              # per call of maintain(): its pause
    STEP_MESSAGES = 8192            # looked at in one


cdef class Compaction:
    """Gives segments back that are not needed any more. maintain() is to be called now and then, and flushed after."""

    def __cinit__(self, Journal journal):
        self.journal = journal

    def maintain(self) -> bool:
        """Free the oldest segment, or do a little to make it free. True when there is more to do soon."""
        cdef Journal journal = self.journal
        if journal.error:
            return False
        if not journal.sent:
            journal.vouch()
        if journal.directory_commit > journal.committed:
            # Names change one by one, so that no power cut can leave a gap in the numbers.
            return True
        more = self.free_some()
        if more or self.begun != journal.segment.number:
            self.begun, self.rests = journal.segment.number, 0
            return more
        self.rests += 1
        if self.rests < RESTS_MIN or len(journal.spares) <= SPARES_MAX_AT_REST:
            return False
        self.delete_spare()
        return True

    cdef bint free_some(self) except -1:
        cdef Segment oldest = next(iter(self.journal.segments.values()))
        if oldest is self.journal.segment:
            return False
        if oldest.damaged and oldest.live:
            return False
        if oldest.free_after:
            if oldest.free_after > self.journal.committed:
                return True
            self.recycle(oldest)
            return True
        if oldest.live == 0:
            self.supersede(oldest)
            return True
        if oldest.live < oldest.live_last_seen or oldest.live_last_seen == 0:
            # It empties by itself: rewriting what is acknowledged a moment later would be wasted.
            oldest.live_last_seen = oldest.live
            return False
        # Nor are spare files a reason to rewrite anything.
        used = self.used_bytes - self.journal.segment_bytes * max(len(self.journal.spares) - SPARES_MAX_AT_REST, 0)
        needed = self.live_bytes + self.journal.segment_bytes
        if used <= 2 * needed:
            return used > 2 * self.journal.segment_bytes and self.count_one()
        if self.journal.submitted == self.journal.committed or used > 4 * needed:
            # While somebody waits for the disk only when it grows too full.
            self.rewrite_some(oldest)
            self.journal.submit()
        return True

    @property
    def used_bytes(self) -> int:
        """Octets of all files, spare ones too."""
        spares_bytes = len(self.journal.spares) * self.journal.segment_bytes
        return sum(segment.size for segment in self.journal.segments.values()) + spares_bytes

    @property
    def live_bytes(self) -> int:
        """Octets of messages that are still needed."""
        return sum(segment.live_bytes for segment in self.journal.segments.values())

    def count_one(self) -> bool:
        """A little of counting where that is due. False when what is known of all segments is good enough."""
        for segment in self.journal.segments.values():
            if self.count_some(segment):
                return True
        return False

    def supersede(self, Segment oldest):
        """Write anew what else the oldest segment says and nothing after it does; then it can go."""
        cdef QueueLog queue_log
        for queue_id in sorted(oldest.states):
            queue_log = self.journal.logs.get(queue_id)
            if queue_log is not None:
                queue_log.write_state()
        if oldest.has_definitions:
            # One record, hence one batch: it takes the place of all before it, and must be there whole or not at all.
            payload = self.journal.definitions_snapshot()
            self.journal.put(DEFINITIONS_RECORD, <const char *>payload, len(payload))
            self.definitions_rewritten()
        if self.journal.batch != NULL and self.journal.record_count:
            self.journal.batch.sync = True
            oldest.free_after = self.journal.next_number
        else:
            oldest.free_after = self.journal.submitted
        self.journal.submit()
        failpoint("segment-superseded")

    def definitions_rewritten(self):
        cdef Segment segment
        for segment in self.journal.segments.values():
            segment.has_definitions = segment is self.journal.segment

    def recycle(self, Segment segment):
        if segment.size == self.journal.segment_bytes and len(self.journal.spares) < SPARES_MAX:
            spare = os.path.join(self.journal.directory, f"spare-{segment.number:x}.segment")
            os.rename(segment.path, spare)
            # Used only once this name is on disk: a file that has one name and another's content would be neither.
            self.journal.spares.append((spare, self.journal.next_number))
        else:
            os.unlink(segment.path)
        # Not before its name is gone: the numbers of those that are left have no gap, whatever fails.
        del self.journal.segments[segment.number]
        forget_chunk(segment.number)
        dispose_of(segment.fd)
        segment.fd = -1
        failpoint("segment-renamed")
        self.sync_names()

    cdef int delete_spare(self) except -1:
        path, _ = self.journal.spares.pop()
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        os.unlink(path)
        dispose_of(descriptor)
        return self.sync_names()

    cdef int sync_names(self) except -1:
        self.journal.sync_only(self.journal.directory_fd)
        self.journal.directory_commit = self.journal.submitted
        return 0

    cdef int rewrite_some(self, Segment oldest) except -1:
        cdef uint64_t done_bytes = 0
        cdef uint64_t body_at = 0
        cdef Py_ssize_t looked_at = 0
        cdef Described message
        cdef QueueLog queue_log
        if oldest.rewriting is None:
            if oldest.summary is None:
                self.journal.need_summary(oldest)
            oldest.rewriting = FileOrder(oldest.summary)
        while oldest.rewriting.peek(&message):
            if (done_bytes >= STEP_BYTES or looked_at >= STEP_MESSAGES) and message.message_offset != body_at:
                # Not between those that share a body: in another batch it would be written once more.
                return 0
            oldest.rewriting.next(&message)
            looked_at += 1
            body_at = message.message_offset
            queue_log = self.journal.logs.get(message.queue_id)
            if queue_log is not None and queue_log.is_live(message.sequence, oldest):
                done_bytes += self.rewrite(oldest, queue_log, &message)
        oldest.rewriting = None
        oldest.forget_last_read()
        return 0

    cdef uint64_t rewrite(self, Segment oldest, QueueLog queue_log, const Described *described) except? 0:
        cdef Message *message
        cdef Place place
        try:
            message = oldest.read_message(described.offset, &place)
        except OSError as error:
            self.journal.note_damage(oldest, error.strerror, "this segment and all after it are kept")
            return STEP_BYTES
        if queue_log.returned is not None:  # made when it is needed
            place.delivery_count = max(place.delivery_count, <uint32_t>queue_log.returned.get(described.sequence, 0))
        if described.sequence <= queue_log.delivered_up_to:
            place.flags |= WAS_DELIVERED
        if self.journal.write_message(message, &place, queue_log) == never_committed():
            return STEP_BYTES
        queue_log.note_moved(described.sequence, self.journal.segment)
        oldest.live -= 1
        oldest.live_last_seen = oldest.live
        self.compacted_count += 1
        failpoint("message-rewritten")
        return described.record_bytes

    cdef bint count_some(self, Segment segment) except -1:
        """A little of counting what lives in a segment: taking all its messages for equally large may be far off. False
        when there is no need to."""
        cdef Py_ssize_t _looked_at
        cdef Described message
        cdef QueueLog queue_log
        if segment.counting is None:
            stands_still = segment.live == segment.live_looked_at
            segment.live_looked_at = segment.live
            if segment.live == segment.counted_live:
                return False
            if not stands_still and segment.live * 2 > segment.counted_live:
                # It will have to be counted again: not yet.
                return False
            if segment.summary is None:
                self.journal.need_summary(segment)
            segment.counting = FileOrder(segment.summary)
            segment.counting_bytes = segment.counting_body_at = 0
        for _looked_at in range(STEP_MESSAGES):
            if not segment.counting.next(&message):
                segment.counting = None
                segment.counted_live, segment.counted_bytes = segment.live, segment.counting_bytes
                return True
            queue_log = self.journal.logs.get(message.queue_id)
            if queue_log is None or not queue_log.is_live(message.sequence, segment):
                continue
            if message.kind & IS_TARGET:
                segment.counting_bytes += message.record_bytes
            if segment.counting_body_at != message.message_offset:
                # The body counts once, for the first of those that need it.
                segment.counting_body_at = message.message_offset
                segment.counting_bytes += message.body_bytes + (0 if message.kind & IS_TARGET else message.record_bytes
                                                                - message.body_bytes)
        return True
