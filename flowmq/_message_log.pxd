# What makes one durable queue's messages outlive the process, as the queue sees it.

from libc.stdint cimport uint32_t, uint64_t

from flowmq._heaps cimport Entry
from flowmq._message cimport Message

cdef inline uint64_t never_committed() noexcept nogil:
    # What a message log that has failed answers: there is nothing to wait for.
    return <uint64_t>-1

cdef class MessageLog

cdef class LogSource:
    # Gives a log to a queue that is not durable, and has grown: one that only keeps messages out of memory. None when
    # it cannot. Everything before that sequence number is in memory.
    cdef MessageLog log_for(self, object queue, uint64_t sequence)

cdef class MessageLog:
    # Makes one durable queue's messages outlive the process, and keeps those that need not be in memory.
    cdef readonly bint until_restart        # it only does the latter
    cdef readonly bint damaged              # something cannot be read: the queue gives out nothing behind it

    # A persistent message has entered the queue. Returns the number of the commit that will hold it, or
    # never_committed().
    cdef uint64_t append(self, Message *message, uint64_t sequence, uint64_t expires_at_ms) except 0
    # A message that is not persistent has entered the queue and is to be kept on disk all the same, until a restart.
    # False when it cannot be.
    cdef bint append_until_restart(self, Message *message, uint64_t sequence, uint64_t expires_at_ms) except -1
    # A message has entered the queue that is in memory only.
    cdef int skip(self, uint64_t sequence) except -1
    # A message will never be needed in this queue again.
    cdef int settle(self, uint64_t sequence, bint logged) except -1
    # The same for all from one sequence number to another, all of which were appended.
    cdef int settle_range(self, uint64_t first, uint64_t last) except -1
    # A message is handed out.
    cdef int hand_out(self, uint64_t sequence) except -1
    # A message that was appended came back, with that delivery count, and is not to be ready before that time (0: at
    # once).
    cdef int take_back(self, uint64_t sequence, uint32_t delivery_count, uint64_t ready_at_ms) except -1
    # Was that message appended, and is it not settled?
    cdef bint holds(self, uint64_t sequence) noexcept
    # What is appended to any log and settled in this one between the two is kept together or not at all: one message of
    # so many octets, in so many queues.
    cdef int begin_move(self, Message *message, Py_ssize_t queues) except -1
    cdef int end_move(self) except -1
    # The commit after which all that was appended to any log so far is on disk; 0 when it is.
    cdef uint64_t latest_commit(self) except? 0
    # The first appended message from that sequence number on, with a reference for whoever asks. False when there is
    # none, or it cannot be read yet: then want() has the queue dispatched once it can.
    cdef bint load(self, uint64_t sequence, Entry *entry) except -1
    cdef int want(self) except -1
    # The queue is gone.
    cdef int drop(self) except -1
