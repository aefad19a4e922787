# See _queue.pxd for what this module is and is not.

from cpython.pyport cimport PY_SSIZE_T_MAX

from flowmq._frame cimport FLOWMQ_CONTRACT, FRAME_METHOD, put_frame_prefix, store_short
from flowmq._heaps cimport count_return, failures_of
from flowmq._message cimport message_release, message_retain
from flowmq._message_log cimport LogSource
from flowmq._order cimport EXPIRED, OVER_DELIVERY_LIMIT, OVER_LIMIT, REJECTED, RELEASED, is_expired, queue_now
from flowmq._rewrite cimport delay_of, exchange_of, with_delivery_counts
from flowmq._rules cimport DROP_HEAD, REJECT_PUBLISH_AND_DEAD_LETTER, unlimited

from flowmq._frame import check_contract
from flowmq.amqp.errors import ResourceError

check_contract(FLOWMQ_CONTRACT)

cdef enum:
    TRIMMED_AT_ONCE = 1000      # of the messages that are too many by new rules
    TRIMMED_FOR_ONE = 2         # more of them for each that comes meanwhile

# The consumers of every queue that has never had one; never added to.
cdef list NONE_YET = []


def header_too_large(bytes queue, uint32_t header_bytes, uint32_t header_bytes_max):
    """The error that ends a connection for which the next message of a queue does not fit into a frame."""
    name = queue.decode("utf-8", "surrogateescape")
    return ResourceError(
        f"the next message of queue '{name}' has a header of {header_bytes} octets, and no more than "
        f"{header_bytes_max} fit into a frame of this connection: agree on a larger frame_max"
    )


cdef class Outlet:
    """Abstract: where deliveries go. Implemented by Channel."""

    cdef bint is_open(self, Consumer consumer) noexcept:
        return False

    cdef int deliver(self, Consumer consumer, Entry *entry) except -1:
        raise NotImplementedError("Outlet.deliver")

    cdef int cannot_send(self, Consumer consumer, uint32_t header_bytes) except -1:
        raise NotImplementedError("Outlet.cannot_send")


cdef class Consumer:
    """One basic.consume: joins its queue's line when the queue is given it by Queue.add_consumer.

    prefetch_count 0 means unlimited, timeout_ms 0 as long as the queue says. `arguments` is kept for those who list
    consumers.
    """

    def __init__(self, Queue queue, Outlet outlet, uint16_t channel, bytes tag, *, bint no_ack, bint exclusive,
                 int32_t priority, uint32_t prefetch_count, object arguments, uint64_t timeout_ms=0):
        cdef char prefix[7 + 4 + 1]
        cdef char *at
        self.queue = queue
        self.outlet = outlet
        self.tag = tag
        self.no_ack = no_ack
        self.exclusive = exclusive
        self.priority = priority
        self.prefetch_count = prefetch_count
        self.arguments = arguments
        self.timeout_ms = timeout_ms
        self.header_bytes_max = <uint32_t>-1
        at = put_frame_prefix(prefix, FRAME_METHOD, channel, 0)
        store_short(at, 60)
        store_short(at + 2, 60)
        at[4] = <char>len(tag)
        self.deliver_prefix = prefix[:12] + tag

    @property
    def unacked_count(self) -> int:
        return self.unacked


cdef class Level:

    cdef void join(self, Consumer consumer) noexcept:
        consumer.in_line = True
        consumer.next = NULL
        consumer.previous = self.tail
        if self.tail == NULL:
            self.head = <PyObject *>consumer
        else:
            (<Consumer>self.tail).next = <PyObject *>consumer
        self.tail = <PyObject *>consumer

    cdef void leave(self, Consumer consumer) noexcept:
        if consumer.previous == NULL:
            self.head = consumer.next
        else:
            (<Consumer>consumer.previous).next = consumer.next
        if consumer.next == NULL:
            self.tail = consumer.previous
        else:
            (<Consumer>consumer.next).previous = consumer.previous
        consumer.next = consumer.previous = NULL
        consumer.in_line = False


cdef class Queue(Order):
    """A queue's messages and consumers. What it is called, whose it is and what was declared belongs to the broker.

    priority_max None: without priorities; n: a lane for each priority from 0 to n, higher ones first.
    """

    def __cinit__(self, bytes name, *, priority_max=None, bint single_active=False):
        self.name = name
        self.consumers_ = NONE_YET
        self.levels = NONE_YET
        self.single_active = single_active
        if priority_max:
            self.lanes = [None] * (priority_max + 1)

    def __dealloc__(self):
        cdef Order lane
        for lane in self.lanes or ():
            if lane is not None:
                lane.owner = NULL
                lane.totals = &lane.own_totals

    # ------------------------------------------------------------------------------- what the control plane asks

    @property
    def message_count(self) -> int:
        """Messages ready for delivery."""
        return self.ready()

    @property
    def ready_bytes(self) -> int:
        """Octets of the bodies of ready messages."""
        return self.own_totals.ready_bytes

    @property
    def aside_count(self) -> int:
        """Messages that came back, and are ready again later."""
        return self.own_totals.aside

    @property
    def buried_counts(self) -> dict:
        """How many messages have left for which reason, wherever they went."""
        return {
            "rejected": self.buried[<int>REJECTED],
            "expired": self.buried[<int>EXPIRED],
            "maxlen": self.buried[<int>OVER_LIMIT],
            "delivery_limit": self.buried[<int>OVER_DELIVERY_LIMIT],
            "released": self.buried[<int>RELEASED],
        }

    @property
    def is_damaged(self) -> bool:
        """The next message, or one of those, cannot be read from the disk: nothing is given out any more."""
        cdef Order lane
        if self.lanes is None:
            return self.log is not None and self.log.damaged
        for lane in self.lanes:
            if lane is not None and lane.log is not None and lane.log.damaged:
                return True
        return False

    @property
    def expired_count(self) -> int:
        return self.buried[<int>EXPIRED]

    @property
    def consumer_count(self) -> int:
        return len(self.consumers_)

    @property
    def is_exclusively_consumed(self) -> bool:
        """An exclusive consumer is always alone."""
        return len(self.consumers_) > 0 and (<Consumer>self.consumers_[0]).exclusive

    @property
    def consumers(self) -> list:
        return list(self.consumers_)

    @property
    def priority_max(self):
        return None if self.lanes is None else len(self.lanes) - 1

    def add_consumer(self, Consumer consumer):
        """Register a consumer; start() lets it take messages."""
        cdef Level level
        consumer.level = None
        if self.consumers_ is NONE_YET:
            self.consumers_ = []
            self.levels = []
        for position, level in enumerate(self.levels):
            if level.priority == consumer.priority:
                consumer.level = level
                break
            if level.priority < consumer.priority:
                consumer.level = Level()
                self.levels.insert(position, consumer.level)
                break
        if consumer.level is None:
            consumer.level = Level()
            self.levels.append(consumer.level)
        consumer.level.priority = consumer.priority
        consumer.level.consumers_count += 1
        self.consumers_.append(consumer)

    def start(self, Consumer consumer):
        """Let a registered consumer take messages, beginning with the backlog: after its consume-ok is written."""
        consumer.started = True
        if self.single_active:
            self.choose_active()
        else:
            consumer.active = True
            self.wake(consumer)

    def remove_consumer(self, Consumer consumer):
        """Forget a consumer. Its unacknowledged messages stay with its channel.

        Where one at a time is active, choose_active() is to follow, once those messages are back.
        """
        consumer.active = consumer.started = False
        if consumer.in_line:
            consumer.level.leave(consumer)
        self.consumers_.remove(consumer)
        consumer.level.consumers_count -= 1
        if consumer.level.consumers_count == 0:
            self.levels.remove(consumer.level)
        consumer.level = None

    def choose_active(self):
        """Where one at a time may take messages: the one that does, or the first of the highest priority."""
        cdef Consumer consumer
        cdef Consumer chosen = None
        if not self.single_active:
            return
        for consumer in self.consumers_:
            if consumer.active:
                return
            if consumer.started and (chosen is None or consumer.priority > chosen.priority):
                chosen = consumer
        if chosen is not None:
            chosen.active = True
            self.wake(chosen)

    def apply(self, QueueRules rules) -> bool:
        """From now on these rules hold; None: no rules. Of the messages that are too many by them the first go at once;
        when this is True, trim() has to be called for the others."""
        self.rules = rules
        self.is_trimming = True
        return self.trim(TRIMMED_AT_ONCE)

    def trim(self, Py_ssize_t limit) -> bool:
        """Drop so many of the messages that are too many since apply(); are there more to be dropped?"""
        self.is_trimming = self.is_trimming and self.keep_limits(limit)
        self.finish_burials()
        return self.is_trimming

    def pause(self):
        """Consumers get nothing until resume(). What is published waits, and basic.get works as ever."""
        if not self.paused:
            self.paused = True
            self.hold()

    def resume(self):
        if self.paused:
            self.paused = False
            self.let_go()

    def purge(self) -> int:
        """Drop every ready message; returns how many."""
        cdef Order lane
        cdef uint64_t dropped = self.empty()
        for lane in self.lanes or ():
            if lane is not None:
                dropped += lane.empty()
        return dropped

    def delete(self) -> int:
        """Drop every ready message for good; messages in flight are dropped when they come back."""
        cdef Order lane
        dropped = self.purge()
        self.deleted = True
        for lane in [self, *(self.lanes or ())]:
            if lane is not None:
                lane.drop_aside()
                lane.expires_next_ms = 0
                if lane.log is not None and lane.log.until_restart:
                    lane.log.drop()
        return dropped

    def page_with(self, LogSource pager):
        """What this queue, which is not durable, cannot keep in memory goes where `pager` says."""
        self.pager = pager

    def tell_lanes(self, made):
        """`made(level, lane)` is called for every lane when it is made, before it gets its first message."""
        self.lane_made = made

    def lane(self, Py_ssize_t level) -> Order:
        """The messages of one priority; made when it is asked for."""
        return self.lane_at(level)

    # ------------------------------------------------------------------------------------------------- lanes

    cdef Order lane_for(self, Message *message):
        return self.lane_at(min(<Py_ssize_t>message.priority, len(self.lanes) - 1))

    cdef Order lane_at(self, Py_ssize_t level):
        cdef Order lane = self.lanes[level]
        if lane is None:
            lane = Order()
            lane.owner = <PyObject *>self
            lane.totals = &self.own_totals
            lane.pager = self.pager
            self.lanes[level] = lane
            if self.lane_made is not None:
                self.lane_made(level, lane)
        self.top = max(self.top, level)
        return lane

    cdef Order take_next(self, Entry *entry):
        cdef Order lane
        if self.lanes is None:
            return self if self.take_first(entry) else None
        while self.own_totals.ready:
            lane = self.lanes[self.top]
            if lane is not None and lane.count:
                if lane.take_first(entry):
                    return lane
                if lane.count:
                    return None
            elif self.top:
                self.top -= 1
            else:
                return None
        return None

    cdef Order take_least(self, Entry *entry):
        cdef Order lane
        if self.lanes is None:
            return self if self.take_oldest(entry) else None
        for lane in self.lanes:
            if lane is not None and lane.count:
                return lane if lane.take_oldest(entry) else None
        return None

    # -------------------------------------------------------------------------------------------- per message

    cdef bint publish(self, Message *message, uint64_t expires_at_ms, uint64_t *commit) except -1:
        cdef Entry entry
        cdef Consumer consumer
        cdef Order lane = self
        if self.deleted:
            return False
        if self.rules is not None:
            if self.is_refused(message, expires_at_ms, commit):
                return False
            expires_at_ms = self.lifetime(message, expires_at_ms)
        if self.lanes is not None:
            lane = self.lane_for(message)
        entry.message = message
        entry.delivery_count = 0
        entry.expires_at_ms = expires_at_ms
        self.published_count += 1
        self.counts.published_bytes += message.body_bytes
        if lane.admit(&entry, commit):
            if self.rules is not None:
                self.keep_limits(self.too_many())
            return False
        message_retain(message)
        if self.own_totals.ready == 0:
            consumer = self.next_consumer()
            if consumer is not None:
                if self.hand_out(consumer, lane, &entry):
                    return True
                self.dispatch()
                return False
        if expires_at_ms != 0 and expires_at_ms <= queue_now():
            self.bury(lane, &entry, EXPIRED)
            return False
        lane.place(&entry)
        if self.rules is not None:
            self.keep_limits(self.too_many())
        return False

    cdef uint64_t lifetime(self, Message *message, uint64_t expires_at_ms) noexcept:
        """When it expires in this queue, whatever its publisher says; 0 for never."""
        if self.rules.delays:
            return queue_now() + <uint64_t>delay_of(message)
        if self.rules.ttl_ms != unlimited():
            return min(expires_at_ms or unlimited(), queue_now() + self.rules.ttl_ms)
        return expires_at_ms

    cdef bint is_refused(self, Message *message, uint64_t expires_at_ms, uint64_t *commit) except -1:
        """Is there a rule that keeps this message out? A duplicate is as good as taken, whoever asks."""
        cdef QueueRules rules = self.rules
        cdef Entry entry
        if rules.limited and rules.overflow != DROP_HEAD:
            if (self.own_totals.ready + 1 > rules.length_max
                    or message.body_bytes > rules.bytes_max
                    or self.own_totals.ready_bytes > rules.bytes_max - message.body_bytes):
                self.note_refusal(message)
                commit[0] = max(commit[0], publish_refused())
                if rules.overflow == REJECT_PUBLISH_AND_DEAD_LETTER and rules.undertaker is not None:
                    message_retain(message)
                    entry.message = message
                    entry.sequence = 0          # never had a place in this queue
                    entry.delivery_count = 0
                    entry.expires_at_ms = expires_at_ms
                    self.bury(self, &entry, OVER_LIMIT)
                return True
        if rules.deduplication is not None and rules.deduplication.is_duplicate(message, commit):
            self.duplicate_count += 1
            return True
        return False

    cdef int note_refusal(self, Message *message) except -1:
        cdef bytes exchange = exchange_of(message)
        cdef str reason = "max-length" if self.own_totals.ready + 1 > self.rules.length_max else "max-length-bytes"
        self.refused_count += 1
        if self.refusals is None:
            self.refusals = {}
        self.refusals[exchange, reason] = self.refusals.get((exchange, reason), 0) + 1
        return 0

    cdef Py_ssize_t too_many(self) noexcept:
        # While trim() drops those that are too many, only a few have to go for each message that comes.
        return TRIMMED_FOR_ONE if self.is_trimming else PY_SSIZE_T_MAX

    cdef bint keep_limits(self, Py_ssize_t limit) except? True:
        """Too many messages are dropped from the head, the least important first. True when it is more than `limit`."""
        cdef Entry entry
        cdef Order lane
        if self.rules is None or not self.rules.limited or self.rules.overflow != DROP_HEAD:
            return False
        while self.own_totals.ready > self.rules.length_max or self.own_totals.ready_bytes > self.rules.bytes_max:
            if limit == 0:
                return True
            limit -= 1
            lane = self.take_least(&entry)
            if lane is None:
                # It cannot be read yet: dispatch() comes here again when it can.
                return False
            self.bury(lane, &entry, EXPIRED if is_expired(&entry, queue_now()) else OVER_LIMIT)
        return False

    cdef int bury(self, Order lane, Entry *entry, Reason reason) except -1:
        self.buried[<int>reason] += 1
        if self.rules is not None and self.rules.undertaker is not None and not self.deleted:
            return self.rules.undertaker.take(self, lane, entry, reason)
        return lane.forget(entry)

    cdef bytes title(self):
        return self.name

    cdef int finish_burials(self) except -1:
        if self.rules is not None and self.rules.undertaker is not None:
            self.rules.undertaker.finish()
        return 0

    cdef bint hand_out(self, Consumer consumer, Order lane, Entry *entry) except -1:
        if entry.delivery_count:
            self.note_redelivery(entry)
        if entry.message.header_bytes > consumer.header_bytes_max:
            lane.put_back(entry)
            consumer.outlet.cannot_send(consumer, entry.message.header_bytes)
            return False
        self.delivered_count += 1
        consumer.delivered += 1
        if lane.log is not None:
            self.log_hand_out(lane, entry, consumer.no_ack)
        if not consumer.no_ack:
            self.counts.delivered_manual += 1
            self.unacked_count += 1
            self.unacked_bytes += entry.message.body_bytes
            consumer.unacked += 1
        consumer.outlet.deliver(consumer, entry)
        return True

    cdef bint take(self, bint no_ack, uint32_t header_bytes_max, Entry *entry) except -1:
        cdef Order lane = self.take_next(entry)
        if lane is None:
            self.counts.got_nothing += 1
            return False
        if entry.delivery_count:
            self.note_redelivery(entry)
        if entry.message.header_bytes > header_bytes_max:
            lane.put_back(entry)
            raise header_too_large(self.name, entry.message.header_bytes, header_bytes_max)
        self.delivered_count += 1
        self.counts.got += 1
        if not no_ack:
            self.counts.got_manual += 1
            self.unacked_count += 1
            self.unacked_bytes += entry.message.body_bytes
        if lane.log is not None:
            self.log_hand_out(lane, entry, no_ack)
        return True

    cdef int note_redelivery(self, Entry *entry) except -1:
        self.counts.redelivered += 1
        if self.rules is not None and self.rules.counts_deliveries:
            entry.message = with_delivery_counts(entry.message, entry.delivery_count)
        return 0

    cdef int log_hand_out(self, Order lane, Entry *entry, bint no_ack) except -1:
        if no_ack:
            return lane.log.settle(entry.sequence, entry.message.delivery_mode == 2)
        return lane.log.hand_out(entry.sequence)

    cdef int settle(self, uint64_t sequence, Message *message) except -1:
        cdef Order lane = self
        self.unacked_count -= 1
        self.unacked_bytes -= message.body_bytes
        self.counts.acked += 1
        if self.lanes is not None:
            lane = self.lane_for(message)
        if lane.log is not None and not self.deleted:
            lane.log.settle(sequence, message.delivery_mode == 2)
        return 0

    cdef int reject(self, Entry *entry) except -1:
        cdef Order lane = self
        self.unacked_count -= 1
        self.unacked_bytes -= entry.message.body_bytes
        if self.deleted:
            message_release(entry.message)
            return 0
        if self.lanes is not None:
            lane = self.lane_for(entry.message)
        return self.bury(lane, entry, REJECTED)

    cdef int requeue(self, Entry *entry, bint failed) except -1:
        cdef Order lane = self
        cdef uint64_t ready_at_ms = 0
        self.unacked_count -= 1
        self.unacked_bytes -= entry.message.body_bytes
        self.counts.returned += 1
        if self.deleted:
            message_release(entry.message)
            return 0
        if self.lanes is not None:
            lane = self.lane_for(entry.message)
        entry.delivery_count = count_return(entry.delivery_count, failed)
        if self.rules is not None:
            if failures_of(entry.delivery_count) > self.rules.delivery_limit:
                return self.bury(lane, entry, OVER_DELIVERY_LIMIT)
            ready_at_ms = self.rules.retry_delay_ms(entry.delivery_count, failed)
            if ready_at_ms:
                ready_at_ms += queue_now()
        if lane.log is not None and entry.message.delivery_mode == 2:
            lane.log.take_back(entry.sequence, entry.delivery_count, ready_at_ms)
        if ready_at_ms:
            return lane.put_aside(entry, ready_at_ms)
        return lane.put_back(entry)

    cdef int dispatch(self) except -1:
        cdef Entry entry
        cdef Consumer consumer
        cdef Order lane
        while self.own_totals.ready:
            consumer = self.next_consumer()
            if consumer is None:
                break
            lane = self.take_next(&entry)
            if lane is None:
                break
            self.hand_out(consumer, lane, &entry)
        if self.rules is not None:
            self.keep_limits(self.too_many())
        return 0

    cdef int hold(self) except -1:
        cdef Consumer consumer
        self.holds += 1
        for consumer in self.consumers_:
            if consumer.in_line:
                consumer.level.leave(consumer)
        return 0

    cdef int let_go(self) except -1:
        cdef Consumer consumer
        self.holds -= 1
        if self.holds:
            return 0
        for consumer in self.consumers_:
            if consumer.active and not consumer.in_line and consumer.can_take():
                consumer.level.join(consumer)
        return self.dispatch()

    cdef int wake(self, Consumer consumer) except -1:
        if not consumer.active or self.holds:
            return 0
        if not consumer.in_line and consumer.can_take():
            consumer.level.join(consumer)
        if self.own_totals.ready:
            self.dispatch()
        return 0

    cdef Consumer next_consumer(self):
        """The consumer whose turn it is, moved to the end of its line; None when no one can take a message."""
        cdef Level level
        cdef Consumer consumer
        for level in self.levels:
            while level.head != NULL:
                consumer = <Consumer>level.head
                if not consumer.can_take():
                    level.leave(consumer)
                    continue
                if level.tail != level.head:
                    level.leave(consumer)
                    level.join(consumer)
                return consumer
        return None


cdef int deliver_again(dict touched) except -1:
    error = None
    for queue, is_held in touched.items():
        try:
            if is_held:
                (<Queue>queue).let_go()
            else:
                (<Queue>queue).dispatch()
        except Exception as raised:
            error = raised
    if error is not None:
        raise error
    return 0
