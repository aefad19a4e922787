# Looks through the segments of which a start has read only the summary, a little at a time, and is loud when something
# in them does not check. Whoever needs a message before that finds out by itself.

from libc.stdint cimport uint64_t

from flowmq._journal cimport Journal
from flowmq._segment cimport Segment

cdef class Verification:
    cdef Journal journal
    cdef list left              # Segments, the one at hand last
    cdef uint64_t at            # offset in it of the next batch
    cdef uint64_t batch_number  # of the one before
    cdef readonly uint64_t checked_octets

    cdef uint64_t check_batches(self, Segment segment) except? 0
