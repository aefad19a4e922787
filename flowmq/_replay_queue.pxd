# What a journal says about one queue: gathered record by record, in order when finished.
#
# What is settled, gone or delivered stays so whatever the order of the records; of two records of one message the
# later one counts. Costs 48 octets per live message. Knows no files.

from libc.stdint cimport uint8_t, uint32_t, uint64_t

from flowmq._intervals cimport IntervalSet

cdef struct LiveMessage:
    uint64_t sequence
    uint64_t expires_at_ms      # milliseconds since 1970; 0 is never
    uint64_t segment            # number of the segment it stands in
    uint32_t offset             # of its record in there: a message, or a target
    uint32_t message_offset     # of the message record; the same unless its record is a target
    uint32_t record_octets      # of the message record, whole
    uint32_t body_bytes
    uint32_t delivery_count     # how often it has come back
    uint8_t redelivered

cdef struct Found:
    # Messages in the order in which they were read.
    LiveMessage *items
    Py_ssize_t count
    Py_ssize_t capacity

cdef struct Return:
    uint64_t sequence
    uint32_t delivery_count

cdef class QueueHistory:
    cdef readonly uint32_t queue_id
    cdef readonly bint gone
    cdef readonly uint64_t next_sequence        # larger than every number any record names; at least 1
    cdef readonly uint64_t delivered_up_to
    cdef readonly IntervalSet settled
    cdef readonly dict aside    # sequence -> when it is ready again, of messages that wait for it
    cdef Found live             # ascending by sequence
    cdef Found late             # those read after a larger sequence; merged into `live` at the end
    cdef Return *returns
    cdef Py_ssize_t returns_count
    cdef Py_ssize_t returns_capacity

    cdef int add(self, const LiveMessage *message) except -1
    cdef int add_return(self, uint64_t sequence, uint32_t delivery_count, uint64_t ready_at_ms) except -1
    cdef void delivered(self, uint64_t sequence) noexcept
    cdef int add_state(self, const uint8_t *payload) except -1
    cdef void note(self, uint64_t sequence) noexcept
    cdef void drop_settled(self, Found *found) noexcept
    cdef void sort_returns(self) noexcept
    cdef void sort_late(self) noexcept
    cdef int merge_late(self) except -1
    cdef void mark(self) noexcept
    cdef int finish(self) except -1
    cdef void forget(self) noexcept
