# What a journal says about one queue: what is settled, gone or handed out, and in which segments its messages live.
#
# What is settled, gone or delivered stays so whatever the order in which it is told. Messages are told when all of that
# is known, newest segment first: of two records of one message the later one counts. Costs memory per run of messages,
# not per message. Knows no files.

from libc.stdint cimport uint32_t, uint64_t

from flowmq._intervals cimport IntervalSet
from flowmq._queue_log cimport Run
from flowmq._summary cimport Facts, Part

cdef struct LiveRun:
    Run run
    uint64_t messages           # that live, of those from its first to its last
    uint64_t octets             # of their records; a body that another queue's record has is not counted

cdef class QueueHistory:
    cdef readonly uint32_t queue_id
    cdef readonly bint gone
    cdef readonly uint64_t next_sequence        # larger than every number any record names; at least 1
    cdef readonly uint64_t delivered_up_to
    cdef readonly IntervalSet settled
    cdef readonly dict returned                 # sequence -> how often it has come back
    cdef readonly dict aside                    # sequence -> when it is ready again
    cdef readonly IntervalSet live
    cdef readonly uint64_t body_bytes           # of live messages
    cdef readonly bint expires_unevenly         # not each of them, or not in their order
    cdef uint64_t expires_next_ms               # of those told so far
    cdef LiveRun *runs                          # ascending when finished
    cdef Py_ssize_t runs_count
    cdef Py_ssize_t runs_capacity

    cdef int add_facts(self, Facts facts) except -1
    cdef void note(self, uint64_t sequence) noexcept
    # Messages of a segment that is older than all before. Returns how many live there.
    cdef uint64_t add_part(self, Part part, uint64_t segment_number) except? 0xFFFFFFFF
    cdef int extend_runs(self, uint64_t sequence, uint64_t octets, Part part, uint64_t segment_number) except -1
    cdef bint joins(self, uint64_t last, uint64_t sequence) noexcept
    cdef int finish(self) except -1
    # Which segment has the live record of that message; 0 when it does not live.
    cdef uint64_t segment_of(self, uint64_t sequence) noexcept
