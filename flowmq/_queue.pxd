# Queue = order + consumers + credit. Consumer = who may take from a queue, and how much.
#
# A queue does not know sockets, channels, files or clocks: a consumer's deliveries go through an abstract Outlet, what
# must be durable goes through an abstract MessageLog, and what dies goes to an abstract Undertaker.
#
# How messages wait is the business of Order, which a queue is. One with priorities has an order of its own, a lane, for
# each of them, and hands out of the highest that has something.
#
# Consumers that can take a message now stand in a round-robin line per priority level. One that turns out not to
# (prefetch full, socket full, flow stopped) is taken out of line; whoever lifts the reason calls wake().

from cpython.object cimport PyObject
from libc.stdint cimport int32_t, uint8_t, uint16_t, uint32_t, uint64_t

from flowmq._heaps cimport Entry
from flowmq._message cimport Message
from flowmq._order cimport Order, Reason
from flowmq._rules cimport QueueRules

cdef inline uint64_t publish_refused() noexcept nogil:
    # What publish() makes of the commit when the queue did not take a message: there is nothing to wait for.
    return <uint64_t>-2

cdef struct QueueCounts:
    # What happened in a queue since it was declared, or the process began. Read by the tally.
    uint64_t published_bytes    # bodies
    uint64_t delivered_manual   # to consumers that acknowledge
    uint64_t redelivered        # of all that was handed out
    uint64_t got_manual         # by basic.get, to be acknowledged
    uint64_t got
    uint64_t got_nothing        # basic.get of an empty queue
    uint64_t acked
    uint64_t returned           # came back, to be delivered again

cdef class Outlet:
    # Where a consumer's deliveries go: a channel.
    # Can this consumer's channel take a delivery at this moment? (socket, channel.flow, channel-wide prefetch)
    cdef bint is_open(self, Consumer consumer) noexcept
    # Hands one message out. Takes over the entry's reference to the message.
    cdef int deliver(self, Consumer consumer, Entry *entry) except -1
    # The next message has a larger header than the consumer can be sent: it is given nothing any more.
    cdef int cannot_send(self, Consumer consumer, uint32_t header_bytes) except -1

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
    cdef readonly bint active               # gets messages: not before it is started, nor while another one is to
    cdef bint started
    cdef uint32_t header_bytes_max          # what fits into a frame of its connection
    cdef readonly uint64_t timeout_ms       # how long it may hold a message; 0 is as its queue says
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
    cdef Py_ssize_t consumers_count     # in line or not
    cdef PyObject *head
    cdef PyObject *tail
    cdef void join(self, Consumer consumer) noexcept
    cdef void leave(self, Consumer consumer) noexcept

cdef class Queue(Order):
    cdef readonly bytes name
    cdef readonly bint deleted
    cdef readonly bint single_active        # one consumer at a time gets messages
    cdef readonly QueueRules rules          # None: none
    cdef bint is_trimming                   # very many messages are too many, and go in turns
    cdef readonly bint paused               # nobody gets messages as a consumer: somebody has said so
    cdef uint32_t holds                     # for how many reasons nobody does
    cdef bint is_history                    # whatever comes here only has reached no queue, for whoever published it
    cdef list lanes                         # an Order per priority, None while it is not needed; None: no priorities
    cdef object lane_made                   # called with (level, lane) for every lane that is made; None: nobody
    cdef Py_ssize_t top                     # no lane above has messages
    cdef readonly uint64_t unacked_count
    cdef readonly uint64_t published_count
    cdef readonly uint64_t delivered_count
    cdef readonly uint64_t unacked_bytes
    cdef readonly uint64_t refused_count
    cdef readonly uint64_t duplicate_count
    cdef uint64_t buried[5]                 # by Reason
    cdef QueueCounts counts
    cdef readonly dict refusals             # (exchange, reason) -> publishes that were refused; None: none
    cdef uint64_t sampled                   # what the tally's activity was when it was told last

    cdef list consumers_        # every consumer, in order of arrival
    cdef list levels            # Level, highest priority first

    cdef inline uint64_t ready(self) noexcept:
        return self.own_totals.ready

    cdef inline bint has_consumers(self) noexcept:
        return len(self.consumers_) > 0

    # Takes its own reference. Returns True when a consumer got the message at once. `commit` becomes what there is to
    # wait for, if that is later than what it is.
    cdef bint publish(self, Message *message, uint64_t expires_at_ms, uint64_t *commit) except -1
    # Moves the next message out for basic.get. False when there is none; an error when its header is larger than that.
    cdef bint take(self, bint no_ack, uint32_t header_bytes_max, Entry *entry) except -1
    # A delivered message is done with. Releases nothing: the caller owns the message.
    cdef int settle(self, uint64_t sequence, Message *message) except -1
    # A delivered message is refused for good. Takes over the reference.
    cdef int reject(self, Entry *entry) except -1
    # A delivered message comes back to its place, with one more delivery counted. Takes over the reference. `failed`:
    # because its consumer could not deal with it.
    cdef int requeue(self, Entry *entry, bint failed) except -1
    # Consumers get nothing until as many have let go as hold it. What is published waits.
    cdef int hold(self) except -1
    cdef int let_go(self) except -1
    # A consumer may be able to take messages again.
    cdef int wake(self, Consumer consumer) except -1

    cdef Order lane_for(self, Message *message)
    cdef Order lane_at(self, Py_ssize_t level)
    # The next message to hand out, taken out of its lane, which is returned; None when there is none, or none that can
    # be read yet. The other one is the next to be dropped.
    cdef Order take_next(self, Entry *entry)
    cdef Order take_least(self, Entry *entry)
    cdef bint is_refused(self, Message *message, uint64_t expires_at_ms, uint64_t *commit) except -1
    cdef uint64_t lifetime(self, Message *message, uint64_t expires_at_ms) noexcept
    cdef int note_refusal(self, Message *message) except -1
    cdef bint keep_limits(self, Py_ssize_t limit) except? True
    cdef Py_ssize_t too_many(self) noexcept
    cdef Consumer next_consumer(self)
    # False: it could not be sent, and is back in its place.
    cdef bint hand_out(self, Consumer consumer, Order lane, Entry *entry) except -1
    cdef int note_redelivery(self, Entry *entry) except -1
    cdef int log_hand_out(self, Order lane, Entry *entry, bint no_ack) except -1

# Those to which something has come back -> are they held? All of them go on, also when one of them cannot.
cdef int deliver_again(dict touched) except -1
