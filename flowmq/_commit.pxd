# The commit thread: writes batches to files, syncs, and reports how far it has come.
#
# A POSIX thread of its own that never touches Python: no objects, no GIL, all signals blocked. Whenever it becomes idle
# it takes every batch that waits, writes them in order, syncs each distinct descriptor of those that ask for it once,
# and reports. So a lonely batch is on disk at once, and what gathers during a sync shares the next one; no timer.
#
# It does not know what is in a batch, opens and closes no journal file, and does not retry: the first failure is final.
# A sync that fails may have dropped what it was to write, so that one that succeeds later proves nothing. From then on
# nothing is written or synced, and batches come back as they were handed in.
#
# A batch without `sync` counts as done once it is written. A sync of its descriptor covers it too, one of another
# descriptor does not: before going on in another file, the file that is left has to end with a batch that asks for it.
#
# Not safe across fork(): the child has no such thread, and may find its mutex locked for ever.

from libc.stdint cimport int64_t, uint64_t

cdef struct Batch:
    # What is written with one write. From commit_batch_new(); its holder may realloc `data`.
    char *data
    size_t bytes
    size_t capacity
    int fd                      # stays open until the batch comes back
    int64_t offset
    uint64_t number             # larger than that of the batch handed over before
    bint sync                   # not done before fdatasync() has succeeded
    bint written                # it stands in the file already: write_now() has seen to that
    bint complete               # set when it comes back: it is written, and synced if it asked for that
    Batch *next

# NULL when memory is out.
cdef Batch *commit_batch_new(size_t capacity) noexcept nogil
cdef void commit_batch_free(Batch *batch) noexcept nogil

cdef enum:
    SYNC_BUCKETS = 16           # bucket i counts syncs of less than 64 << i microseconds; the last one all others

cdef struct Counters:
    uint64_t writes             # batches written
    uint64_t syncs
    uint64_t bytes_written
    uint64_t last_sync_us
    uint64_t sync_us            # all syncs together
    uint64_t sync_buckets[SYNC_BUCKETS]

cdef struct State               # what both threads see

cdef class CommitThread:
    cdef State *state
    cdef readonly int wake_fd   # an eventfd, readable when done() or error() has changed; -1 once closed

    # Hands a batch over until it comes back from take_finished(). Never waits for the disk. When it raises, the batch
    # still belongs to the caller.
    cdef int submit(self, Batch *batch) except -1
    # Writes a batch that is about to be submitted from the calling thread, if everything submitted before is written:
    # then it outlives the process from here on, though not the machine before it is synced. False when it was left to
    # submit().
    cdef bint write_now(self, Batch *batch) noexcept
    # The highest number such that this batch and all before it are written, and synced where they asked for it.
    cdef uint64_t done(self) noexcept
    # errno of the first failure; 0 when there was none. Set no later than the first batch comes back incomplete.
    cdef int error(self) noexcept
    # The next batch that is not needed any more, for reuse, in the order of submission; NULL when there is none.
    cdef Batch *take_finished(self) noexcept
    # Reads wake_fd. To be called before done() and error(), so that no change is missed.
    cdef void acknowledge(self) noexcept

    cdef void end(self) noexcept
    cdef Counters counted(self) noexcept

# The trace that record_to() makes, for tests that rebuild what a power cut could leave: every call that succeeded, in
# order. An entry is 32 octets, little-endian, and for TRACE_WRITE the octets written:
#
#   0  u32  kind        8  u64  inode of the file        16  i64  offset in the file, or the number done
#   4  i32  descriptor                                   24  u64  octets written, 0 for other kinds
#
# TRACE_DONE precedes the report: who has seen done() reach a number finds that number in the trace.
cdef enum:
    TRACE_WRITE = 1
    TRACE_SYNC = 2
    TRACE_DONE = 3
