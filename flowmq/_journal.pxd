# The journal: everything durable is a record in one append-only log; one write and sync per batch, however many queues.
#
# The event loop builds a batch in memory; the commit thread writes and syncs the batches before it. When it has finished
# one, the next goes, so that a lonely publish commits at once and a flood is grouped. What waits for the disk is told the
# number of its batch, and is told again when that number is committed - or that the disk has failed, for good.
#
# Which files there are, and reading them back, is storage's; docs/format.md is what they hold.

from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint32_t, uint64_t

from flowmq._commit cimport Batch, CommitThread
from flowmq._intervals cimport IntervalSet
from flowmq._message cimport Message
from flowmq._queue cimport MessageLog, Queue
from flowmq._records cimport Place, RecordType
from flowmq._segment cimport Indexed, Segment

cdef class CommitWaiter:
    # Something in the broker that waits for commits: a channel that owes confirms.
    # Everything up to `number` is on disk; or, when `failed`, nothing after it ever will be. False when it waits no more.
    cdef bint committed(self, uint64_t number, bint failed) except -1

cdef struct Run:
    # Messages of one queue whose records are in one segment, from one sequence number to another.
    uint64_t first
    uint64_t last
    uint64_t segment_number

cdef class QueueLog(MessageLog):
    cdef readonly uint32_t queue_id
    cdef readonly bint gone                 # the queue was deleted: nothing is written any more
    cdef Journal journal
    cdef Queue queue
    cdef IntervalSet settled
    cdef Run *runs                          # ascending
    cdef Py_ssize_t runs_head
    cdef Py_ssize_t runs_count
    cdef Py_ssize_t runs_capacity
    cdef Segment last_segment               # of the last run looked up
    cdef dict returned                      # sequence -> delivery count, of live messages that came back
    cdef uint64_t delivered_up_to
    cdef uint64_t next_sequence
    cdef uint64_t pending_first             # settled range of this batch that is not a record yet
    cdef uint64_t pending_last
    cdef bint pending
    cdef bint delivered_pending
    cdef bint touched                       # in the journal's list of logs with something pending

    cdef int note_run(self, uint64_t sequence, Segment segment) except -1
    cdef int note_moved(self, uint64_t sequence, Segment segment) except -1
    cdef Py_ssize_t find_run(self, uint64_t sequence) noexcept
    cdef int make_room_for_run(self) except -1
    cdef Segment segment_of(self, uint64_t sequence)
    cdef int touch(self) except -1
    cdef int write_pending(self) except -1
    cdef int write_settled(self) except -1
    cdef int write_returned(self, uint64_t sequence, uint32_t delivery_count) except -1
    cdef int write_state(self) except -1
    cdef bint is_live(self, uint64_t sequence, Segment segment) except -1
    cdef void forget_settled_runs(self) noexcept

cdef class Journal:
    cdef readonly str directory
    cdef readonly uint64_t segment_bytes
    cdef readonly CommitThread thread
    cdef readonly uint64_t committed        # every batch up to this number is on disk
    cdef readonly int error                 # errno of the failure that ended it; 0 while all is well
    cdef readonly dict segments             # number -> Segment, oldest first
    cdef readonly list spares               # paths
    cdef readonly uint64_t appended_count   # messages written, each place in a queue counted
    cdef readonly uint64_t compacted_count
    cdef int directory_fd
    cdef Segment segment                    # the one being written
    cdef Batch *batch                       # the one being built, or NULL
    cdef uint32_t record_count              # in it
    cdef uint64_t next_number               # of the batch being built, or to be built next
    cdef readonly uint64_t submitted        # number of the last batch handed to the thread
    cdef uint64_t durable_segment           # everything before this place is on disk
    cdef uint64_t durable_offset
    cdef object sent                        # deque of what the thread has: (number, segment number, end, sync, octets)
    cdef uint64_t sent_bytes
    cdef bint failure_untold
    cdef list touched                       # QueueLogs with something pending
    cdef dict logs                          # queue id -> QueueLog
    cdef list waiters                       # CommitWaiters
    cdef object callbacks                   # deque of (number, callable) in order
    cdef readonly uint64_t definition_commit    # of the last change of definitions
    cdef object definitions_snapshot        # callable: every definition, as payloads of records

    cdef char *reserve(self, uint64_t record_bytes) except NULL
    cdef int begin_batch(self) except -1
    cdef int roll(self, uint64_t record_bytes) except -1
    cdef uint64_t put(self, RecordType type, const void *payload, size_t payload_bytes) except 0
    cdef int wait(self, CommitWaiter waiter) except -1
    cdef int submit_batch(self) except -1
    cdef int hand_over(self, Batch *batch) except -1
    cdef bint is_behind(self) noexcept
    cdef int fail(self, int error) except -1
    cdef int tell(self) except -1
    cdef uint64_t write_message(self, QueueLog queue_log, Message *message, const Place *place) except 0
    cdef int rewrite_some(self, Segment oldest) except -1
    cdef uint64_t rewrite(self, Segment oldest, QueueLog queue_log, Indexed *entry) except? 0

    cdef inline uint64_t batch_end(self) noexcept:
        return self.segment.end + (self.batch.bytes if self.batch != NULL else 0)
