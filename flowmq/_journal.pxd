# The journal: everything durable is a record in one append-only log; one write and sync per batch, however many queues.
#
# The event loop builds a batch in memory; the commit thread writes and syncs the batches before it. When it has
# finished one, the next goes, so that a lonely publish commits at once and a flood is grouped. What waits for the disk
# is told the number of its batch, and is told again when that number is committed - or that the disk has failed, for
# good.
#
# Which segments can go is the business of _compaction. Which files there are, and reading them back, is storage's;
# docs/format.md is what they hold.

from libc.stdint cimport uint32_t, uint64_t

from flowmq._commit cimport Batch, CommitThread
from flowmq._queue_log cimport QueueLog, RecordWriter
from flowmq._segment cimport Segment

cdef class CommitWaiter:
    # Something in the broker that waits for commits: a channel that owes confirms. Everything up to `number` is on
    # disk; or, when `failed`, nothing after it ever will be. False when it waits no more.
    cdef bint committed(self, uint64_t number, bint failed) except -1

cdef struct BehindShare:
    # What one connection has sent since the disk fell behind; all zero at first.
    uint64_t times_behind
    uint64_t received_before

cdef class Journal(RecordWriter):
    cdef readonly str directory
    cdef readonly uint64_t segment_bytes
    cdef readonly CommitThread thread
    cdef readonly uint64_t committed        # every batch up to this number is on disk
    cdef readonly int error                 # errno of the failure that ended it; 0 while all is well
    cdef readonly bint damaged              # something from before does not check
    cdef readonly list spares               # (path, commit after which its name is on disk)
    cdef uint64_t directory_commit          # of the last change of names
    cdef readonly uint64_t appended_count   # messages written, each place in a queue counted
    cdef int directory_fd
    cdef Batch *batch                       # the one being built, or NULL
    cdef uint32_t record_count              # in it
    cdef uint64_t next_number               # of the batch being built, or to be built next
    cdef readonly uint64_t submitted        # number of the last batch handed to the thread
    cdef uint64_t durable_segment           # everything before this place is on disk
    cdef uint64_t durable_offset
    cdef uint64_t vouched_segment           # what a batch has said of that
    cdef uint64_t vouched_offset
    cdef object sent                        # deque of what the thread has: (number, segment number, end, sync, octets)
    cdef uint64_t sent_bytes
    cdef uint64_t times_behind              # how often the disk has caught up, plus one
    cdef bint failure_untold
    cdef uint32_t moving        # begun and not ended: see begin_move()
    cdef list hungry                        # QueueLogs whose queue waits for something that cannot be read yet
    cdef uint64_t summary_uses
    cdef uint32_t paging_id
    cdef dict logs                          # queue id -> QueueLog
    cdef list waiters                       # CommitWaiters
    cdef object callbacks                   # deque of (number, callable) in order
    cdef readonly uint64_t definition_commit    # of the last change of definitions
    cdef readonly uint64_t definition_count     # changes of them
    cdef object definitions_snapshot        # callable: every definition, as payloads of records

    cdef char *room(self, uint64_t record_bytes) except? NULL
    cdef char *room_made(self, uint64_t record_bytes) except? NULL
    cdef char *reserve(self, uint64_t record_bytes) except NULL
    cdef int begin_batch(self) except -1
    cdef int grow_batch(self, size_t wanted) except -1
    cdef uint64_t segment_tail(self) noexcept
    cdef int roll(self, uint64_t record_bytes) except -1
    cdef int wait(self, CommitWaiter waiter) except -1
    cdef int submit_batch(self) except -1
    cdef int finish_batch(self) except -1
    cdef int vouch(self) except -1
    cdef uint64_t commit_pending(self) except? 0
    cdef int hand_over(self, Batch *batch) except -1
    cdef void shrink(self, Batch *batch) noexcept
    # Is a publisher not to be read before the disk has caught up? While more waits for the disk than memory should
    # hold, that is who has sent much since then, so that who floods keeps no neighbour waiting; at twice as much,
    # everybody.
    cdef bint must_wait(self, BehindShare *share, uint64_t received_bytes) noexcept
    # May what was built since the last submit() grow, as far as the journal is concerned?
    cdef bint may_wait(self) noexcept
    cdef int fail(self, int error) except -1
    cdef int tell(self) except -1
    cdef int feed_hungry(self) except -1
    cdef int drop_old_summaries(self) except -1
    cdef int write_summary(self, Segment segment) except -1

    cdef inline uint64_t batch_end(self) noexcept:
        return self.segment.end + (self.batch.bytes if self.batch != NULL else 0)
