# A channel's part in every message: pass on what is published, deliver, get, ack / nack / reject, confirms, tx.
#
# What is declared, who may do it and what a method's answer is belong to the server's Python; it calls the public
# methods here. Sockets belong to the connection, seen from here as a Peer: an output buffer and whether there is room
# in it.
#
# Nothing here calls back into Python or the transport while a message is on its way, so that queues and channels can
# call each other freely; touched peers are marked dirty and written out once, by whoever called in.

from libc.stdint cimport uint8_t, uint32_t, uint64_t

from flowmq._content cimport ContentReceiver
from flowmq._delivery cimport ConfirmLedger, Unacked, UnackedWindow
from flowmq._journal cimport CommitWaiter, Journal
from flowmq._message cimport Message
from flowmq._heaps cimport Entry
from flowmq._queue cimport Consumer, Queue
from flowmq._returns cimport Returns
from flowmq._router cimport Exchange, RouteSet
from flowmq._settlement cimport Settlement
from flowmq._transaction cimport Outcome, Transaction

cdef struct Awaited:
    # Publishes that were answered when that commit is on disk: consecutive numbers.
    uint64_t commit
    uint64_t first
    uint64_t last

cdef class AwaitedConfirms(CommitWaiter):
    # What a channel will confirm once it is on disk; in order of commits.
    cdef Channel channel        # None once it is closed
    cdef Awaited *ring
    cdef uint64_t mask          # capacity - 1, or the ring is NULL
    cdef uint64_t head
    cdef uint64_t tail
    cdef bint waiting           # the journal has us in its list
    cdef int add(self, Journal journal, uint64_t commit, uint64_t sequence) except -1
    cdef int grow(self) except -1

cdef class Channel(ContentReceiver):
    cdef readonly bint closing      # channel.close sent: nothing but close and close-ok counts any more
    cdef readonly dict consumers    # consumer tag -> Consumer
    cdef readonly uint32_t prefetch_count           # for consumers that start later; 0 is unlimited
    cdef readonly uint32_t global_prefetch_count    # over all consumers; 0 is unlimited
    cdef readonly uint64_t published_count
    # For management; deliveries need none, their tags count them.
    cdef readonly uint64_t returned_count
    cdef readonly uint64_t dropped_count            # reached nobody, and nobody wanted to know
    cdef readonly uint64_t get_count
    cdef readonly uint64_t get_no_ack_count
    cdef readonly uint64_t get_empty_count
    cdef readonly uint64_t automatic_before                  # to cancelled consumers that did not acknowledge

    cdef readonly UnackedWindow window
    cdef readonly uint64_t next_delivery_tag

    cdef readonly ConfirmLedger ledger      # None outside confirm mode
    cdef AwaitedConfirms awaited    # None until something has to wait for the disk
    cdef bint owes
    cdef set overdue                # tags of deliveries that were taken back; None: none

    cdef Transaction transaction    # None outside tx mode
    cdef Settlement settlement      # of many deliveries, the last one; None: there was none

    # Hot methods: `arguments` is a method frame's payload behind class and method. They raise AMQPError.
    cdef int basic_ack(self, const uint8_t *arguments, const uint8_t *end) except -1
    cdef int basic_nack(self, const uint8_t *arguments, const uint8_t *end) except -1
    cdef int basic_reject(self, const uint8_t *arguments, const uint8_t *end) except -1
    # Consumers that could not be served may be now.
    cdef int wake_consumers(self) except -1
    cdef int tell_confirms(self) except -1

    cdef RouteSet find_routes(self)
    cdef bint deliver_reply(self) except -1
    # True when at least one queue took the message. `commit` becomes what there is to wait for.
    cdef bint enqueue(self, Message *message, RouteSet routes, uint64_t expires_at_ms, uint64_t *commit) except -1
    cdef int reached_nobody(self, Message *message, Exchange exchange, bint mandatory) except -1
    # Answers the publish of that number: at the end of this read, or when its commit is on disk.
    cdef int confirm(self, Exchange exchange, uint64_t sequence, uint64_t commit) except -1
    cdef int return_message(self, Message *message) except -1
    cdef int settle(self, uint64_t delivery_tag, bint multiple, Outcome outcome) except -1
    cdef int settle_all(self, uint64_t up_to, Outcome outcome) except -1
    cdef int settle_one(self, Unacked *entry, Outcome outcome) except -1
    cdef int begin_settlement(self, uint64_t up_to, Outcome outcome) except -1
    cdef bint is_reply(self) noexcept
    cdef int owe(self) except -1
    cdef int remember(self, Entry *entry, Queue queue, Consumer consumer) except -1
    cdef list find_overdue(self, Py_ssize_t limit)
    cdef Transaction staged(self)
