# What makes one durable queue's messages outlive the process, as the queue sees it.

from libc.stdint cimport uint32_t, uint64_t

from flowmq._message cimport Message

cdef inline uint64_t never_committed() noexcept nogil:
    # What a message log that has failed answers: there is nothing to wait for.
    return <uint64_t>-1

cdef class MessageLog:
    # Makes one durable queue's messages outlive the process.

    # A persistent message has entered the queue. Returns the number of the commit that will hold it, or
    # never_committed().
    cdef uint64_t append(self, Message *message, uint64_t sequence, uint64_t expires_at_ms) except 0
    # A message will never be needed in this queue again.
    cdef int settle(self, uint64_t sequence, bint persistent) except -1
    # A message is handed out.
    cdef int hand_out(self, uint64_t sequence) except -1
    # A persistent message came back, for the so manieth time.
    cdef int take_back(self, uint64_t sequence, uint32_t delivery_count) except -1
