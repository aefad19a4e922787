# One file of the journal: which messages are in it, how many of them still count, and reading one back.
#
# Who writes to it, and when it is free, is the journal's business.

from libc.stddef cimport size_t
from libc.stdint cimport uint32_t, uint64_t

from flowmq._message cimport Message
from flowmq._records cimport Place

cdef struct Indexed:
    uint32_t queue_id
    uint32_t offset             # of the record in the segment
    uint64_t sequence

cdef class Segment:
    cdef readonly uint64_t number
    cdef readonly str path
    cdef readonly int fd
    cdef readonly uint32_t seed
    cdef readonly uint64_t size
    cdef readonly uint64_t end              # where the last batch ends, or the one being built begins
    cdef readonly uint64_t messages         # places in queues that message and target records here give
    cdef readonly uint64_t message_bytes    # octets of those records
    cdef readonly uint64_t live             # of `messages`: not settled, and not rewritten elsewhere
    cdef readonly uint64_t readable_end     # what is before this can be read
    cdef readonly bint has_index
    cdef uint64_t index_used                # when it was needed last, by a count of uses
    cdef Indexed *index                     # every message and target record, in the order in which they stand
    cdef Py_ssize_t index_count
    cdef Py_ssize_t index_capacity
    cdef uint64_t live_last_seen            # `live` when compaction last looked
    cdef Py_ssize_t rewritten               # index entries that compaction has dealt with
    cdef set states                         # ids of queues that have records other than messages here
    cdef bint has_definitions
    cdef uint64_t free_after                # free once this commit is on disk; 0 when that is not decided
    cdef Message *last_read                 # kept for the targets that follow it
    cdef uint64_t last_read_at

    # One more message record.
    cdef void count_message(self, uint64_t record_bytes) noexcept
    cdef int extend_index(self, uint32_t queue_id, uint64_t offset, uint64_t sequence) except -1

    # The message of the record at `offset`, and its place in the queue. Belongs to the segment, until the next is read.
    cdef Message *read_message(self, uint64_t offset, Place *place) except NULL
    cdef void forget_last_read(self) noexcept
    # Reads the index back from the file; forgets it, which costs nothing but the time to read it again.
    cdef int load_index(self) except -1
    cdef void drop_index(self) noexcept
    # So many octets of the file, until the next call for any segment.
    cdef const char *view(self, uint64_t offset, size_t count) except NULL
    cdef const char *checked_record(self, uint64_t offset, size_t record_bytes) except NULL

# That segment's number may come to mean another file.
cdef void forget_chunk(uint64_t number) noexcept
