# Compaction: segments that are not needed any more are given back, the oldest first, a little at a time.
#
# One whose messages are all done with goes once what else it says is written anew. One that stands still, while the
# files take more than twice what lives in them, has its live messages copied to the end. docs/design/journal.md tells
# why it is done this way.

from libc.stdint cimport uint64_t

from flowmq._journal cimport Journal
from flowmq._queue_log cimport QueueLog
from flowmq._segment cimport Segment
from flowmq._summary cimport Described

cdef class Compaction:
    cdef Journal journal
    cdef readonly uint64_t compacted_count      # messages written anew
    cdef uint64_t begun                         # number of the segment that was written when it was looked at last
    cdef uint64_t rests                         # since then, or since something was done

    cdef bint free_some(self) except -1
    cdef int delete_spare(self) except -1
    cdef int sync_names(self) except -1
    cdef int rewrite_some(self, Segment oldest) except -1
    cdef uint64_t rewrite(self, Segment oldest, QueueLog queue_log, const Described *message) except? 0
    cdef bint count_some(self, Segment segment) except -1
