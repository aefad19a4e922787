# One file of the journal: which messages are in it, how many of them still count, and reading one back.
#
# Who writes to it, and when it is free, is the journal's business.

from libc.stddef cimport size_t
from libc.stdint cimport uint32_t, uint64_t

from flowmq._message cimport Message
from flowmq._records cimport Place, RecordHeader
from flowmq._summary cimport Described, FileOrder, Part, Summary

cdef class Segment:
    cdef readonly uint64_t number
    cdef readonly str path
    cdef readonly int fd
    cdef readonly uint32_t seed
    cdef readonly uint64_t size
    cdef readonly uint64_t end              # where the last batch ends, or the one being built begins
    cdef readonly uint64_t live             # places in queues that records here give: not settled, not rewritten since
    cdef uint64_t counted_live              # so many of them ...
    cdef uint64_t counted_bytes             # ... took so many octets when they were counted
    cdef readonly uint64_t readable_end     # what is before this can be read
    cdef readonly Summary summary           # where its messages are; None when that is not in memory
    cdef readonly uint64_t summary_at       # of the batch that has it; 0 when there is none
    cdef readonly bint trusted              # from before, and only its summary was read
    cdef readonly bint damaged              # something in it does not check: it is kept
    cdef uint64_t summary_used              # when it was needed last, by a count of uses
    cdef uint64_t live_last_seen            # `live` when compaction last looked
    cdef FileOrder rewriting                # how far compaction has come
    cdef uint64_t live_looked_at            # the same, when counting it was last thought of
    cdef FileOrder counting                 # the same of count_some()
    cdef uint64_t counting_bytes
    cdef uint64_t counting_body_at
    cdef set states                         # ids of queues that have records other than messages here
    cdef bint has_definitions
    cdef uint64_t free_after                # free once this commit is on disk; 0 when that is not decided
    cdef Message *last_read                 # kept for the targets that follow it
    cdef uint64_t last_read_at

    # One more message; its part of the summary is the one being written.
    cdef int add_message(self, Part part, const Described *message, uint64_t expires_at_ms) except -1
    # So many messages live here from before, and their records take so much.
    cdef void add_live(self, uint64_t messages, uint64_t octets) noexcept

    # The message of the record at `offset`, and its place in the queue. Belongs to the segment, until the next is read.
    cdef Message *read_message(self, uint64_t offset, Place *place) except NULL
    cdef void forget_last_read(self) noexcept
    # Reads the summary back from the file, or makes it again; forgets it, which costs only the time to read it again.
    cdef int load_summary(self) except -1
    cdef void drop_summary(self) noexcept
    cdef bint read_summary(self) except -1
    cdef int make_summary(self) except -1
    cdef int summarise(self, Summary summary, const RecordHeader *header, uint64_t offset) except -1
    # So many octets of the file, until the next call for any segment.
    cdef const char *view(self, uint64_t offset, size_t count) except NULL
    cdef const char *checked_record(self, uint64_t offset, size_t record_bytes) except NULL

# That segment's number may come to mean another file.
cdef void forget_chunk(uint64_t number) noexcept
