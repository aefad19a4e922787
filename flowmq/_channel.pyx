# See _channel.pxd for what this module is and is not.

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.object cimport PyObject
from cpython.pyport cimport PY_SSIZE_T_MAX
from cpython.ref cimport Py_INCREF
from libc.stdint cimport uint16_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcmp, memcpy, memset

from flowmq._content cimport METHOD_FRAME
from flowmq._dead_letters cimport anyone_died, bury_some
from flowmq._frame cimport (
    FLOWMQ_CONTRACT, FRAME_METHOD, FRAME_PREFIX_BYTES, load_long_long, output_reserve, put_frame_prefix, store_long,
    store_long_long, store_short,
)
from flowmq._message cimport count_size, message_names, message_release, message_retain
from flowmq._peer cimport CLEAN, Peer, current_journal, unacked_allowed
from flowmq._order cimport queue_now
from flowmq._queue cimport deliver_again, publish_refused
from flowmq._returns cimport Returns
from flowmq._rules cimport unlimited
from flowmq._settlement cimport Settlement, put_off_settlement, settle_delivery
from flowmq._transaction cimport ACKED, DROPPED, FAILED, REQUEUED

from itertools import islice

from flowmq._frame import check_contract
from flowmq.amqp.errors import PreconditionFailed
from flowmq.amqp.method import undecodable

check_contract(FLOWMQ_CONTRACT)

cdef enum:
    DELIVERIES_PER_LOOK = 16    # between two looks at how short memory is
    DELIVER_TAIL_BYTES = 9      # delivery tag and redelivered, between consumer tag and exchange

# How many messages a consumer may hold unacknowledged, when that was looked at last.
cdef uint64_t unacked_max = 0
cdef uint32_t deliveries_since_look = 0

cdef Py_ssize_t settled_at_once = 2000      # of one settlement, before anybody else has a turn

cdef bytes REPLY_KEY_PREFIX = b"amq.rabbitmq.reply-to."
cdef bytes RETURN_PREFIX = b"\x01\x00\x00\x00\x00\x00\x00" + b"\x00\x3c\x00\x32" + b"\x01\x38" + b"\x08NO_ROUTE"


def set_settled_at_once(Py_ssize_t count) -> int:
    """Returns what it was. For tests, which are short of deliveries."""
    global settled_at_once
    before = settled_at_once
    settled_at_once = count
    return before


# ----------------------------------------------------------------------------------------------------- channel

cdef class AwaitedConfirms(CommitWaiter):
    """Publishes of one channel whose confirms wait for the disk."""

    def __dealloc__(self):
        free(self.ring)

    cdef int add(self, Journal journal, uint64_t commit, uint64_t sequence) except -1:
        cdef Awaited *last
        if self.tail != self.head:
            last = &self.ring[(self.tail - 1) & self.mask]
            if last.commit == commit and last.last + 1 == sequence:
                last.last = sequence
                return 0
        if self.ring == NULL or self.tail - self.head > self.mask:
            self.grow()
        last = &self.ring[self.tail & self.mask]
        last.commit = commit
        last.first = last.last = sequence
        self.tail += 1
        if not self.waiting:
            self.waiting = True
            journal.wait(self)
        return 0

    cdef int grow(self) except -1:
        cdef uint64_t capacity = 16 if self.ring == NULL else (self.mask + 1) * 2
        cdef Awaited *ring = <Awaited *>malloc(capacity * sizeof(Awaited))
        cdef uint64_t position
        if ring == NULL:
            raise MemoryError("publisher confirms")
        for position in range(self.head, self.tail):
            ring[position & (capacity - 1)] = self.ring[position & self.mask]
        free(self.ring)
        self.ring = ring
        self.mask = capacity - 1
        return 0

    cdef bint committed(self, uint64_t number, bint failed) except -1:
        cdef Awaited *oldest
        cdef uint64_t sequence
        cdef Channel channel = self.channel
        if channel is None or channel.peer.closing:
            return False
        while self.head != self.tail:
            oldest = &self.ring[self.head & self.mask]
            if oldest.commit > number and not failed:
                break
            for sequence in range(oldest.first, oldest.last + 1):
                channel.ledger.resolve(sequence, oldest.commit <= number)
            self.head += 1
            channel.owe()
        self.waiting = self.head != self.tail
        return self.waiting


cdef class Channel(ContentReceiver):
    """One open channel. `vhost` gives `exchanges` (name -> Exchange), `reply_channels` (key -> Channel) and `name`."""

    def __init__(self, Peer peer, uint16_t number, vhost):
        self.peer = peer
        self.number = number
        self.vhost = vhost
        self.consumers = {}
        self.window = UnackedWindow()
        self.next_delivery_tag = 1

    # --------------------------------------------------------------------------------- passing it to its queues

    cdef int finish_publish(self) except -1:
        cdef Message *message = self.message
        cdef RouteSet routes
        cdef uint64_t commit = 0
        cdef bint routed
        self.expecting = METHOD_FRAME
        self.published_count += 1
        self.exchange.published_count += 1
        self.exchange.published_bytes += message.body_bytes
        count_size(message.body_bytes)
        if self.memo_names[0] == 0 and self.memo_names[2] == c'a' and self.is_reply():
            routed = self.deliver_reply()
        else:
            routes = self.find_routes()
            self.exchange.routed_count += <uint64_t>routes.count
            if self.transaction is not None:
                self.message = NULL
                return self.transaction.stage_publish(message, routes, self.exchange.deduplication,
                                                      self.expires_at_ms, self.mandatory)
            if self.peer.holding:
                self.message = NULL
                return self.peer.hold_publish(self, message, self.exchange, routes, self.expires_at_ms, self.mandatory,
                                              0 if self.ledger is None else self.ledger.publish())
            # A duplicate is as good as routed, for whoever published it.
            routed = (self.exchange.deduplication is not None and routes.count
                      and self.exchange.deduplication.is_duplicate(message, &commit))
            if not routed:
                routed = self.enqueue(message, routes, self.expires_at_ms, &commit)
        if not routed:
            self.reached_nobody(message, self.exchange, self.mandatory)
        if self.ledger is not None:
            self.confirm(self.exchange, self.ledger.publish(), commit)
        self.message = NULL
        message_release(message)
        return 0

    cdef int reached_nobody(self, Message *message, Exchange exchange, bint mandatory) except -1:
        self.returned_count += mandatory
        self.dropped_count += not mandatory
        if exchange is not None:    # it may have gone before its transaction was committed
            exchange.returned_count += mandatory
            exchange.dropped_count += not mandatory
        return 0 if not mandatory else self.return_message(message)

    cdef int confirm(self, Exchange exchange, uint64_t sequence, uint64_t commit) except -1:
        exchange.confirmable_count += 1
        exchange.confirmed_count += commit != publish_refused()
        if commit == 0 or commit >= publish_refused():
            self.ledger.resolve(sequence, commit == 0)
            return self.owe()
        if self.awaited is None:
            self.awaited = AwaitedConfirms()
            self.awaited.channel = self
        return self.awaited.add(current_journal(), commit, sequence)

    cdef int owe(self) except -1:
        if not self.owes:
            self.owes = True
            if self.peer.owing is None:
                self.peer.owing = []
            self.peer.owing.append(self)
            if self.peer.dirty == CLEAN:
                self.peer.mark_gathering()
        return 0

    cdef RouteSet find_routes(self):
        cdef uint8_t exchange_bytes
        if self.exchange.deleted:
            # Deleted, and perhaps declared anew, between this publish's method and its last octet.
            memcpy(self.names, self.memo_names, self.memo_names_bytes)
            self.names_bytes = self.memo_names_bytes
            self.memo_names_bytes = self.memo_valid_bytes = 0
            self.find_exchange()
        if self.selected_keys is None and self.memo_routes is not None:
            if self.exchange.generation == self.memo_generation:
                return self.memo_routes
        if self.selected_keys is not None:
            return self.exchange.route_keys(self.selected_keys, self.message)
        exchange_bytes = <uint8_t>self.memo_names[0]
        routes = self.exchange.route(<const uint8_t *>self.memo_names + 2 + exchange_bytes,
                                     self.memo_names_bytes - 2 - exchange_bytes, self.message)
        if self.exchange.by_message:
            self.memo_routes = None
        else:
            self.memo_routes = routes
            self.memo_generation = self.exchange.generation
        return routes

    cdef bint enqueue(self, Message *message, RouteSet routes, uint64_t expires_at_ms, uint64_t *commit) except -1:
        cdef Py_ssize_t at
        cdef bint routed = False
        cdef Queue queue
        for at in range(routes.count):
            queue = <Queue>routes.targets[at]
            if not queue.deleted:
                if not queue.publish(message, expires_at_ms, commit) and queue.has_consumers():
                    self.peer.backing_up += 1
                routed |= not queue.is_history
        if anyone_died():
            bury_some(1)
        return routed

    cdef bint is_reply(self) noexcept:
        return (self.memo_names_bytes > 2 + PyBytes_GET_SIZE(REPLY_KEY_PREFIX)
                and memcmp(&self.memo_names[2], PyBytes_AS_STRING(REPLY_KEY_PREFIX),
                           PyBytes_GET_SIZE(REPLY_KEY_PREFIX)) == 0)

    cdef bint deliver_reply(self) except -1:
        """Hand the message straight to the channel that asked; at most once, nothing is kept for a full socket."""
        cdef Channel asker = self.vhost.reply_channels.get(self.routing_key())
        cdef Entry entry
        if asker is None or asker.reply_consumer is None or asker.closing:
            return False
        if not asker.peer.has_room() or self.message.header_bytes > asker.peer.body_frame_bytes:
            return True
        memset(&entry, 0, sizeof(Entry))
        entry.message = self.message
        message_retain(self.message)
        asker.deliver(asker.reply_consumer, &entry)
        return True

    cdef int return_message(self, Message *message) except -1:
        cdef Py_ssize_t prefix_bytes = PyBytes_GET_SIZE(RETURN_PREFIX)
        cdef char *start = output_reserve(&self.peer.output, prefix_bytes + self.peer.content_room(message))
        memcpy(start, PyBytes_AS_STRING(RETURN_PREFIX), prefix_bytes)
        store_short(start + 1, self.number)
        store_long(start + 3, <uint32_t>(prefix_bytes - FRAME_PREFIX_BYTES + message.names_bytes))
        self.peer.output.used += prefix_bytes
        self.peer.put_content(message, start + prefix_bytes, self.number)
        return self.peer.mark_dirty()

    # -------------------------------------------------------------------------------------------- handing out

    cdef bint is_open(self, Consumer consumer) noexcept:
        global deliveries_since_look, unacked_max
        if not consumer.no_ack:
            if self.global_prefetch_count and self.window.of_consumers >= self.global_prefetch_count:
                return False
            deliveries_since_look += 1
            if deliveries_since_look >= DELIVERIES_PER_LOOK or consumer.unacked >= unacked_max:
                deliveries_since_look = 0
                unacked_max = unacked_allowed()
                if consumer.unacked >= unacked_max:
                    self.peer.sparing = True
                    return False
        return not self.closing and self.peer.has_room()

    cdef int deliver(self, Consumer consumer, Entry *entry) except -1:
        cdef Message *message = entry.message
        cdef Py_ssize_t prefix_bytes = PyBytes_GET_SIZE(consumer.deliver_prefix)
        cdef char *start = output_reserve(&self.peer.output,
                                          prefix_bytes + DELIVER_TAIL_BYTES + self.peer.content_room(message))
        cdef char *at = start + prefix_bytes
        memcpy(start, PyBytes_AS_STRING(consumer.deliver_prefix), prefix_bytes)
        store_long(start + 3, <uint32_t>(prefix_bytes - FRAME_PREFIX_BYTES + DELIVER_TAIL_BYTES + message.names_bytes))
        store_long_long(at, self.next_delivery_tag)
        at[8] = entry.delivery_count > 0
        self.peer.output.used += prefix_bytes + DELIVER_TAIL_BYTES
        self.peer.put_content(message, at + DELIVER_TAIL_BYTES, self.number)
        if consumer.no_ack:
            message_release(message)
        else:
            self.remember(entry, consumer.queue, consumer)
            self.window.of_consumers += 1
        self.next_delivery_tag += 1
        self.peer.delivered()
        return 0

    cdef int remember(self, Entry *entry, Queue queue, Consumer consumer) except -1:
        cdef Unacked *slot = self.window.push()
        slot.delivery_tag = self.next_delivery_tag
        slot.message = entry.message
        slot.sequence = entry.sequence
        slot.delivery_count = entry.delivery_count
        slot.expires_at_ms = entry.expires_at_ms
        slot.delivered_at_ms = <uint32_t>queue_now()
        Py_INCREF(queue)
        slot.queue = <PyObject *>queue
        slot.consumer = NULL
        if consumer is not None:
            Py_INCREF(consumer)
            slot.consumer = <PyObject *>consumer
        return 0

    def get(self, Queue queue, *, bint no_ack):
        """basic.get: writes get-ok and the message. False when there is nothing to be had; then nothing is written."""
        cdef Entry entry
        cdef Message *message
        cdef char *start
        if not no_ack and self.window.count >= unacked_allowed():
            return False
        if not queue.take(no_ack, self.peer.body_frame_bytes, &entry):
            self.get_empty_count += 1
            bury_some(0)
            return False
        message = entry.message
        start = output_reserve(&self.peer.output, FRAME_PREFIX_BYTES + 4 + 9 + 4 + self.peer.content_room(message))
        put_frame_prefix(start, FRAME_METHOD, self.number, 4 + 9 + message.names_bytes + 4)
        store_short(start + 7, 60)
        store_short(start + 9, 71)
        store_long_long(start + 11, self.next_delivery_tag)
        start[19] = entry.delivery_count > 0
        memcpy(start + 20, message_names(message), message.names_bytes)
        # The count stands between the names and the end octet.
        store_long(start + 20 + message.names_bytes, <uint32_t>min(queue.ready(), <uint64_t>0xFFFFFFFF))
        self.peer.output.used += 24 + message.names_bytes
        self.peer.put_frames(message, start + 24 + message.names_bytes, self.number)
        if no_ack:
            self.get_no_ack_count += 1
            message_release(message)
        else:
            self.get_count += 1
            self.remember(&entry, queue, None)
        self.next_delivery_tag += 1
        self.peer.mark_dirty()
        return True

    cdef int wake_consumers(self) except -1:
        cdef Consumer consumer
        if self.consumers:
            for consumer in list(self.consumers.values()):
                if consumer.queue is not None:
                    consumer.queue.wake(consumer)
        return 0

    # ----------------------------------------------------------------------------------------------- settling

    cdef int basic_ack(self, const uint8_t *arguments, const uint8_t *end) except -1:
        if end - arguments != 9:
            raise undecodable((<const char *>arguments)[:end - arguments])
        return self.settle(load_long_long(arguments), arguments[8] & 1, ACKED)

    cdef int basic_nack(self, const uint8_t *arguments, const uint8_t *end) except -1:
        if end - arguments != 9:
            raise undecodable((<const char *>arguments)[:end - arguments])
        return self.settle(load_long_long(arguments), arguments[8] & 1, REQUEUED if arguments[8] & 2 else DROPPED)

    cdef int basic_reject(self, const uint8_t *arguments, const uint8_t *end) except -1:
        if end - arguments != 9:
            raise undecodable((<const char *>arguments)[:end - arguments])
        return self.settle(load_long_long(arguments), False, FAILED if arguments[8] & 1 else DROPPED)

    cdef int settle(self, uint64_t delivery_tag, bint multiple, Outcome outcome) except -1:
        cdef Unacked entry
        if self.expecting != METHOD_FRAME:
            self.refuse_method()
        if multiple:
            if delivery_tag == 0:
                delivery_tag = self.next_delivery_tag - 1
            elif not self.window.contains(delivery_tag) and (
                self.overdue is None or delivery_tag not in self.overdue
            ):
                raise PreconditionFailed(f"unknown delivery tag {delivery_tag}")
            return self.settle_all(delivery_tag, outcome)
        if not self.window.take(delivery_tag, &entry):
            if self.overdue is not None and delivery_tag in self.overdue:
                self.overdue.discard(delivery_tag)
                return 0
            raise PreconditionFailed(f"unknown delivery tag {delivery_tag}")
        if self.transaction is not None:
            return self.transaction.stage_settlement(&entry, outcome)
        return self.settle_one(&entry, outcome)

    cdef int settle_one(self, Unacked *entry, Outcome outcome) except -1:
        cdef Queue queue = <Queue>entry.queue
        cdef Consumer consumer = None if entry.consumer == NULL else <Consumer>entry.consumer
        settle_delivery(self.window, entry, outcome)
        if self.global_prefetch_count:
            self.wake_consumers()
        elif consumer is not None:
            queue.wake(consumer)
        if outcome == REQUEUED or outcome == FAILED:
            queue.dispatch()
        return bury_some(0) if anyone_died() else 0

    cdef int settle_all(self, uint64_t up_to, Outcome outcome) except -1:
        cdef Unacked entry
        if self.transaction is None:
            return self.begin_settlement(up_to, outcome)
        while self.window.take_oldest(up_to, &entry):
            self.transaction.stage_settlement(&entry, outcome)
        return 0

    cdef int begin_settlement(self, uint64_t up_to, Outcome outcome) except -1:
        if self.settlement is None:
            self.settlement = Settlement()
        self.settlement.begin(self.window, up_to, outcome)
        if self.settle_more(settled_at_once) and not put_off_settlement(self):
            self.settle_more(PY_SSIZE_T_MAX)
        return 0

    def settle_more(self, Py_ssize_t limit) -> bool:
        """So many more deliveries of a settlement of very many; are there still others?"""
        if self.settlement is None or not self.settlement.is_going_on:
            return False
        if self.settlement.step(limit):
            if anyone_died():
                bury_some(0)
            return True
        # Deliveries begin again only when all have come back, or the first would be out of order.
        if self.global_prefetch_count or self.settlement.touched is not None:
            self.wake_consumers()
        self.settlement.end()
        if anyone_died():
            bury_some(0)
        return False

    def recover(self):
        """basic.recover with requeue: everything unacknowledged goes back to its place, transaction or not."""
        # What is delivered again meanwhile has a newer tag.
        self.begin_settlement(self.next_delivery_tag - 1, REQUEUED)

    def return_overdue(self, Py_ssize_t limit) -> list:
        """What a consumer has held for longer than it may goes back to its queue, the oldest first.

        The tags of so many at most, and how long each was held, in milliseconds. A settlement that comes for one of
        them afterwards counts for nothing, and is no error.
        """
        cdef list overdue = self.find_overdue(limit)
        cdef Unacked entry
        cdef dict touched = {}
        for delivery_tag, _ in overdue:
            if self.overdue is None:
                self.overdue = set()
            self.overdue.add(delivery_tag)
            self.window.take(delivery_tag, &entry)
            touched[<Queue>entry.queue] = False
            settle_delivery(self.window, &entry, REQUEUED)
        if touched:
            self.wake_consumers()
            deliver_again(touched)
            bury_some(0)
        return overdue

    cdef list find_overdue(self, Py_ssize_t limit):
        cdef list overdue = []
        cdef uint64_t position
        cdef uint64_t timeout_ms
        cdef uint32_t held_ms
        cdef Unacked *entry
        cdef Queue queue
        if self.settlement is not None and self.settlement.is_going_on:
            return overdue
        for position in range(self.window.head, self.window.tail):
            entry = &self.window.ring[position & self.window.mask]
            if entry.message == NULL or entry.consumer == NULL:
                continue
            queue = <Queue>entry.queue
            timeout_ms = (<Consumer>entry.consumer).timeout_ms
            if timeout_ms == 0:
                timeout_ms = unlimited() if queue.rules is None else queue.rules.consumer_timeout_ms
            held_ms = <uint32_t>queue_now() - entry.delivered_at_ms
            if held_ms >= timeout_ms:
                overdue.append((entry.delivery_tag, held_ms))
                if len(overdue) == limit:
                    break
        return overdue

    # ------------------------------------------------------------------------------------- confirms and tx

    cdef int tell_confirms(self) except -1:
        self.owes = False
        if not self.closing:
            self.ledger.tell(&self.peer.output, self.number)
        return 0

    def confirm_select(self):
        if self.transaction is not None:
            raise PreconditionFailed("cannot switch from tx to confirm mode")
        if self.ledger is None:
            self.ledger = ConfirmLedger()

    def tx_select(self):
        if self.ledger is not None:
            raise PreconditionFailed("cannot switch from confirm to tx mode")
        if self.transaction is None:
            self.transaction = Transaction()

    def tx_rollback(self):
        """Forget the publishes; what was settled is unacknowledged again."""
        cdef Transaction staged = self.staged()
        staged.drop_publishes()
        staged.restore_settlements(self.window)

    cdef Transaction staged(self):
        if self.transaction is None:
            raise PreconditionFailed("channel is not transactional")
        return self.transaction

    # ---------------------------------------------------------------------------------- what the server calls

    @property
    def unacked_count(self) -> int:
        return self.window.count + (0 if self.transaction is None else self.transaction.settlements_count)

    @property
    def transactional(self) -> bool:
        return self.transaction is not None

    @property
    def confirming(self) -> bool:
        return self.ledger is not None

    def set_prefetch(self, uint32_t prefetch_count, *, bint for_channel):
        """basic.qos: for the whole channel (global=true), or for each consumer that starts later."""
        if for_channel:
            self.global_prefetch_count = prefetch_count
            self.wake_consumers()
        else:
            self.prefetch_count = prefetch_count

    def consume(self, Queue queue, bytes tag, *, bint no_ack, bint exclusive, int priority, arguments,
                uint64_t timeout_ms=0):
        """Register a consumer; it gets messages once Queue.start() is called on it."""
        cdef Consumer consumer = Consumer(
            queue, self, self.number, tag, no_ack=no_ack, exclusive=exclusive, priority=priority,
            prefetch_count=self.prefetch_count, arguments=arguments, timeout_ms=timeout_ms,
        )
        consumer.header_bytes_max = self.peer.body_frame_bytes
        self.consumers[tag] = consumer
        queue.add_consumer(consumer)
        return consumer

    def cancel(self, bytes tag):
        """Forget a consumer of this channel; None when there is none of that tag."""
        cdef Consumer consumer = self.consumers.pop(tag, None)
        if consumer is None:
            if self.reply_consumer is not None and self.reply_consumer.tag == tag:
                self.forget_replies()
            return None
        if consumer.no_ack:
            self.automatic_before += consumer.delivered
        consumer.queue.remove_consumer(consumer)
        consumer.queue.choose_active()
        return consumer

    def consume_replies(self, bytes tag, bytes key):
        """Become the receiver of direct replies under a routing key nobody can guess."""
        if self.reply_consumer is not None:
            raise PreconditionFailed("reply consumer already set")
        self.reply_consumer = Consumer(None, self, self.number, tag, no_ack=True, exclusive=False, priority=0,
                                       prefetch_count=0, arguments={})
        self.reply_key = key
        self.vhost.reply_channels[key] = self

    def forget_replies(self):
        if self.reply_consumer is not None:
            del self.vhost.reply_channels[self.reply_key]
            self.reply_consumer = None

    def tell(self):
        """Say what confirms can be said, before something else is said on this channel."""
        if self.owes:
            self.ledger.tell(&self.peer.output, self.number)

    def leave_queues(self, Py_ssize_t limit) -> list:
        """Of a channel that is closed, so many of the oldest consumers leave their queues, which are returned.

        Those are to choose_active() when what the channel held is back.
        """
        cdef Consumer consumer
        leaving = list(islice(self.consumers.values(), limit))
        for consumer in leaving:
            del self.consumers[consumer.tag]
            consumer.queue.remove_consumer(consumer)
        return [consumer.queue for consumer in leaving]

    def close(self, Returns returns):
        """Everything unacknowledged is given to `returns`. Twice is once.

        Its consumers get nothing any more, and are to leave their queues: see leave_queues().
        """
        self.closing = True
        if self.awaited is not None:
            self.awaited.channel = None
        self.abandon_publish()
        if self.transaction is not None:
            self.transaction.drop_publishes()
            self.transaction.restore_settlements(self.window)
        self.forget_replies()
        self.exchange = None
        self.memo_routes = None
        self.memo_names_bytes = self.memo_valid_bytes = 0
        try:
            # What the client has settled is settled, although it is not there any more.
            self.settle_more(PY_SSIZE_T_MAX)
        finally:
            # After an error of ours what is not settled yet comes back with the rest.
            returns.add(self.window)
            self.window = UnackedWindow()
            if self.settlement is not None and self.settlement.is_going_on:
                self.settlement.end()
