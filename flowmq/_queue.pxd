# Queue = order + consumers + credit. Consumer = who may take from a queue, and how much.
#
# A queue does not know sockets, channels, files or clocks: a consumer's deliveries go through an abstract Outlet, and
# what must be durable goes through an abstract MessageLog. Limits and dead letters are not here; of expiry only this:
# an expired message is never handed out, and expire() drops those that have expired.
#
# Order: every message gets the queue's next sequence number. New ones wait in a ring; ones that came back wait in a
# heap ordered by sequence, which is served first (all in it are older than anything in the ring), so that a requeued
# message returns to its place.
#
# Consumers that can take a message now stand in a round-robin line per priority level. One that turns out not to
# (prefetch full, socket full, flow stopped) is taken out of line; whoever lifts the reason calls wake().

from cpython.object cimport PyObject
from libc.stdint cimport int32_t, uint8_t, uint16_t, uint32_t, uint64_t

from flowmq._message cimport Message
from flowmq._message_log cimport LogSource, MessageLog

cdef struct Entry:
    Message *message            # owned
    uint64_t sequence
    uint32_t delivery_count     # how often it was handed out and came back
    uint64_t expires_at_ms      # on the clock of queue_clock(); 0 is never

# What time it is, in milliseconds since any fixed moment: told by whoever owns a clock before queues are used.
cdef void queue_clock(uint64_t now_ms) noexcept nogil
cdef uint64_t queue_now() noexcept nogil
# Is memory getting short? Queues that are not durable then keep less in it.
cdef void queue_memory(bint is_short) noexcept nogil

cdef class Outlet:
    # Where a consumer's deliveries go: a channel.
    # Can this consumer's channel take a delivery at this moment? (socket, channel.flow, channel-wide prefetch)
    cdef bint is_open(self, Consumer consumer) noexcept
    # Hands one message out. Takes over the entry's reference to the message.
    cdef int deliver(self, Consumer consumer, Entry *entry) except -1

cdef class Consumer:
    cdef readonly Queue queue
    cdef readonly Outlet outlet
    cdef readonly bytes tag
    cdef readonly bint no_ack
    cdef readonly bint exclusive
    cdef readonly int32_t priority
    cdef readonly uint32_t prefetch_count   # 0 is unlimited
    cdef readonly object arguments
    cdef uint32_t unacked       # delivered under this consumer and not settled
    cdef readonly uint64_t delivered
    cdef readonly bint active               # False once cancelled
    cdef bytes deliver_prefix   # frame prefix, class, method and consumer tag of its basic.deliver
    cdef Level level            # the line it stands in when it can take a message
    cdef bint in_line
    cdef PyObject *next         # neighbours in line; the queue's list of consumers holds the references
    cdef PyObject *previous

    cdef inline bint can_take(self) noexcept:
        if not self.no_ack and self.prefetch_count and self.unacked >= self.prefetch_count:
            return False
        return self.outlet.is_open(self)

cdef class Level:
    # The consumers of one priority that are in line, in turn.
    cdef int32_t priority
    cdef PyObject *head
    cdef PyObject *tail
    cdef void join(self, Consumer consumer) noexcept
    cdef void leave(self, Consumer consumer) noexcept

cdef class Queue:
    cdef readonly bytes name
    cdef readonly bint deleted
    cdef MessageLog log         # None for a queue whose messages live in memory only
    cdef LogSource pager        # gives a queue that is not durable a log when it grows

    cdef Entry *ring
    cdef uint64_t mask
    cdef uint64_t head
    cdef uint64_t tail
    cdef Entry *returned        # binary heap by sequence
    cdef Py_ssize_t returned_count
    cdef Py_ssize_t returned_capacity
    # Behind the ring, when it holds a window's worth: messages that are only in the log. All of them are newer.
    cdef readonly uint64_t paged_count
    cdef readonly uint64_t paged_bytes      # body octets
    cdef uint64_t paged_from                # no paged message is older
    cdef uint64_t ring_bytes                # body octets in the ring
    cdef uint64_t next_sequence
    cdef readonly uint64_t ready_bytes      # body octets of ready messages
    cdef readonly uint64_t unacked_count
    cdef readonly uint64_t published_count
    cdef readonly uint64_t delivered_count
    cdef readonly uint64_t expired_count
    cdef readonly uint64_t expires_next_ms  # nothing ready expires before; 0 when nothing ever does

    cdef list consumers_        # every consumer, in order of arrival
    cdef list levels            # Level, highest priority first

    cdef inline uint64_t ready(self) noexcept:
        return self.tail - self.head + self.returned_count + self.paged_count

    cdef inline bint has_consumers(self) noexcept:
        return len(self.consumers_) > 0

    # Takes its own reference. Returns True when a consumer got the message at once. `commit` becomes what there is to
    # wait for, if that is later than what it is.
    cdef bint publish(self, Message *message, uint64_t expires_at_ms, uint64_t *commit) except -1
    # Moves the next message out for basic.get. False when there is none.
    cdef bint take(self, bint no_ack, Entry *entry) except -1
    # A delivered message is done with. Releases nothing: the caller owns the message.
    cdef int settle(self, uint64_t sequence, bint persistent) except -1
    # What the log kept over a restart; it stays there until it is needed. Those that expire come in now, as far as the
    # window goes.
    cdef int restore_backlog(self, uint64_t messages, uint64_t body_bytes, uint64_t next_sequence,
                             uint64_t expires_next_ms) except -1
    # The newest message is only in the log.
    cdef void leave_to_log(self, uint64_t sequence, uint64_t body_bytes) noexcept
    # Does the ring hold as much as should be in memory of a queue that a log can page?
    cdef bint is_window_full(self) noexcept
    cdef bint log_publish(self, Message *message, Entry *entry, uint64_t *commit) except -1
    cdef int refill(self) except -1
    # A delivered message comes back to its place, with one more delivery counted. Takes over the reference.
    cdef int requeue(self, Message *message, uint64_t sequence, uint32_t delivery_count,
                     uint64_t expires_at_ms) except -1
    # Hands out what can be handed out.
    cdef int dispatch(self) except -1
    # A consumer may be able to take messages again.
    cdef int wake(self, Consumer consumer) except -1

    cdef Consumer next_consumer(self)
    cdef int hand_out(self, Consumer consumer, Entry *entry) except -1
    cdef int log_hand_out(self, Entry *entry, bint no_ack) except -1
    cdef int resize(self, uint64_t capacity) except -1
    cdef int push(self, Entry *entry) except -1
    cdef void pop(self, Entry *entry) noexcept
    cdef bint pop_unexpired(self, Entry *entry) except -1
    cdef int drop_expired(self, Entry *entry) except -1
    cdef void note_expiry(self, uint64_t expires_at_ms) noexcept
    cdef int push_returned(self, Entry *entry) except -1
    cdef void pop_returned(self, Entry *entry) noexcept
