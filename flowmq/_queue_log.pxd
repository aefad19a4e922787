# What the journal knows of one durable queue: which messages are settled, which segment each of the others is in, and
# what of this is not a record yet.
#
# Settlements of neighbours become one record, and a queue says at most once per batch how far it has handed out. The
# journal itself is seen as a RecordWriter.

from libc.stddef cimport size_t
from libc.stdint cimport uint32_t, uint64_t

from flowmq._heaps cimport Entry
from flowmq._intervals cimport IntervalSet
from flowmq._message cimport Message
from flowmq._message_log cimport LogSource, MessageLog
from flowmq._order cimport Order
from flowmq._records cimport Place, RecordType
from flowmq._segment cimport Segment
from flowmq._summary cimport Facts, Part

cdef class QueueLog(MessageLog)

cdef class RecordWriter(LogSource):
    cdef readonly dict segments             # number -> Segment, oldest first
    cdef Segment segment                    # the one being written
    cdef list touched                       # QueueLogs with something pending
    # Each adds a record to the batch being built; the number of its commit, or never_committed().
    cdef uint64_t put(self, RecordType type, const void *payload, size_t payload_bytes) except 0
    # A message record, or a target record when the body stands in this batch already.
    cdef uint64_t write_message(self, Message *message, const Place *place, QueueLog queue_log) except 0
    # Makes sure that a segment has its summary.
    cdef int need_summary(self, Segment segment) except -1
    # Until the other is called everything that is added stays in one batch, which has so much room. Moves within moves
    # are part of them.
    cdef int begin_move(self, uint64_t record_bytes) except -1
    cdef int end_move(self) except -1
    cdef uint64_t latest_commit(self) except? 0
    # Has the queue dispatched once more can be read.
    cdef int feed(self, QueueLog queue_log) except -1
    # What stands in that segment cannot be read back.
    cdef int note_damage(self, Segment segment, str what, str who) except -1
    # Knows that log no longer.
    cdef int release(self, QueueLog queue_log) except -1

cdef struct Run:
    # Messages of one queue whose records are in one segment, from one sequence number to another.
    uint64_t first
    uint64_t last
    uint64_t segment_number
    uint64_t expires_next_ms    # none of them expires before; 0 when none ever does

cdef class QueueLog(MessageLog):
    cdef readonly uint32_t queue_id
    cdef readonly bint gone                 # the queue was deleted: nothing is written any more
    cdef RecordWriter journal
    cdef Order order                        # whose messages these are; None when it is gone
    cdef IntervalSet settled
    cdef Run *runs                          # ascending
    cdef Py_ssize_t runs_head
    cdef Py_ssize_t runs_count
    cdef Py_ssize_t runs_capacity
    cdef Segment last_segment               # of the last run looked up
    cdef Part part              # of the segment being written, where new messages go
    cdef Segment part_of
    cdef Facts facts            # of the segment being written
    cdef Segment facts_of
    cdef bint hungry                        # in the journal's list of queues to dispatch
    cdef dict returned                      # sequence -> delivery count, of live messages that came back; None: none
    cdef dict aside                         # sequence -> when it is ready again, of those that wait; None as above
    cdef uint64_t delivered_up_to
    cdef uint64_t next_sequence
    cdef uint64_t pending_first             # settled range of this batch that is not a record yet
    cdef uint64_t pending_last
    cdef bint pending
    cdef bint delivered_pending
    cdef bint touched                       # in the journal's list of logs with something pending

    cdef int note_run(self, uint64_t sequence, uint64_t expires_at_ms, Segment segment) except -1
    cdef Part part_for(self, uint64_t sequence, Segment segment)
    cdef Facts facts_here(self)
    cdef int note_moved(self, uint64_t sequence, Segment segment) except -1
    cdef Py_ssize_t find_run(self, uint64_t sequence) noexcept
    cdef int make_room_for_run(self) except -1
    cdef Segment segment_of(self, uint64_t sequence)
    cdef int touch(self) except -1
    cdef int write_pending(self) except -1
    cdef int write_settled(self) except -1
    cdef int write_returned(self, uint64_t sequence, uint32_t delivery_count, uint64_t ready_at_ms) except -1
    cdef int write_state(self) except -1
    cdef uint64_t append_place(self, Message *message, Place *place) except 0
    cdef uint64_t unsettled_between(self, uint64_t first, uint64_t last) noexcept
    cdef bint load_from(self, uint64_t sequence, Entry *entry) except -1
    # The first unsettled message of these, and where it stands; 0 when there is none.
    cdef uint64_t find_in(self, Segment segment, uint64_t first, uint64_t last, uint64_t *offset) except? 0
    # What lives of the queue at a start, in order of sequence: runs, and how many messages and octets are in each.
    cdef int restore_run(self, const Run *run, uint64_t messages, uint64_t octets) except -1
    # No message that is only on disk expires before; 0 when none ever does.
    cdef uint64_t expires_next_ms(self) noexcept
    cdef int forget_all(self) except -1
    cdef bint is_live(self, uint64_t sequence, Segment segment) except -1
    cdef void forget_settled_runs(self) noexcept
