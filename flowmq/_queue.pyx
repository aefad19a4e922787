# See _queue.pxd for what this module is and is not.

from libc.stdlib cimport free, malloc, realloc

from flowmq._frame cimport FLOWMQ_CONTRACT, FRAME_METHOD, put_frame_prefix, store_short
from flowmq._message cimport message_release, message_retain
from flowmq._message_log cimport Loaded, never_committed

from flowmq._frame import check_contract

check_contract(FLOWMQ_CONTRACT)

cdef enum:
    RING_CAPACITY_MIN = 16
    RING_CAPACITY_KEPT = 4096    # an emptied ring larger than this is given back
    WINDOW_MESSAGES = 8192       # more than this of one queue is left to its log, if it has one
    WINDOW_BYTES = 2097152
    TRANSIENT_WINDOW_MESSAGES = 1048576     # the same for one that is not durable, while memory is not short
    TRANSIENT_WINDOW_BYTES = 268435456
    PAGE_MESSAGES = 1024         # and comes back by so much
    PAGE_BYTES = 262144

cdef uint64_t clock_ms = 0


cdef void queue_clock(uint64_t now_ms) noexcept nogil:
    global clock_ms
    clock_ms = now_ms


cdef bint memory_is_short = False


cdef void queue_memory(bint is_short) noexcept nogil:
    global memory_is_short
    memory_is_short = is_short


cdef uint64_t queue_now() noexcept nogil:
    return clock_ms


cdef class Outlet:
    """Abstract: where deliveries go. Implemented by Channel."""

    cdef bint is_open(self, Consumer consumer) noexcept:
        return False

    cdef int deliver(self, Consumer consumer, Entry *entry) except -1:
        raise NotImplementedError("Outlet.deliver")


cdef class Consumer:
    """One basic.consume: joins its queue's line when the queue is given it by Queue.add_consumer.

    prefetch_count 0 means unlimited. `arguments` is kept for those who list consumers.
    """

    def __init__(self, Queue queue, Outlet outlet, uint16_t channel, bytes tag, *, bint no_ack, bint exclusive,
                 int32_t priority, uint32_t prefetch_count, object arguments):
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
        self.active = False
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


cdef class Queue:
    """A queue's messages and consumers. What it is called, whose it is and what was declared belongs to the broker."""

    def __cinit__(self, bytes name, *args, **options):
        self.name = name
        self.consumers_ = []
        self.levels = []
        self.next_sequence = 1

    def __dealloc__(self):
        cdef Entry entry
        while self.tail != self.head or self.returned_count:
            self.pop(&entry)
            message_release(entry.message)
        free(self.ring)
        free(self.returned)

    # ------------------------------------------------------------------------------- what the control plane asks

    @property
    def message_count(self) -> int:
        """Messages ready for delivery."""
        return self.ready()

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

    def add_consumer(self, Consumer consumer):
        """Register a consumer; start() lets it take messages."""
        cdef Level level
        consumer.level = None
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
        self.consumers_.append(consumer)

    def start(self, Consumer consumer):
        """Let a registered consumer take messages, beginning with the backlog: after its consume-ok is written."""
        consumer.active = True
        self.wake(consumer)

    def remove_consumer(self, Consumer consumer):
        """Forget a consumer. Its unacknowledged messages stay with its channel."""
        consumer.active = False
        if consumer.in_line:
            consumer.level.leave(consumer)
        self.consumers_.remove(consumer)
        if not any((<Consumer>other).level is consumer.level for other in self.consumers_):
            self.levels.remove(consumer.level)
        consumer.level = None

    def purge(self) -> int:
        """Drop every ready message; returns how many."""
        cdef Entry entry
        cdef uint64_t dropped = self.ready()
        while self.tail != self.head or self.returned_count:
            self.pop(&entry)
            if self.log is not None:
                self.log.settle(entry.sequence, entry.message.delivery_mode == 2)
            message_release(entry.message)
        if self.paged_count:
            self.log.settle_range(self.paged_from, self.next_sequence - 1)
            self.ready_bytes -= self.paged_bytes
            self.paged_count = self.paged_bytes = 0
        return dropped

    def delete(self) -> int:
        """Drop every ready message for good; messages in flight are dropped when they come back."""
        dropped = self.purge()
        self.deleted = True
        if self.log is not None and self.log.until_restart:
            self.log.drop()
        return dropped

    def page_with(self, LogSource pager):
        """What this queue, which is not durable, cannot keep in memory goes where `pager` says."""
        self.pager = pager

    # -------------------------------------------------------------------------------------------- per message

    cdef bint publish(self, Message *message, uint64_t expires_at_ms, uint64_t *commit) except -1:
        cdef Entry entry
        cdef Consumer consumer
        if self.deleted:
            return False
        entry.message = message
        entry.sequence = self.next_sequence
        entry.delivery_count = 0
        entry.expires_at_ms = expires_at_ms
        self.next_sequence += 1
        self.published_count += 1
        if self.log is None and self.pager is not None and self.is_window_full():
            self.log = self.pager.log_for(self, entry.sequence)
        if self.log is not None and self.log_publish(message, &entry, commit):
            return False
        message_retain(message)
        if self.ready() == 0:
            consumer = self.next_consumer()
            if consumer is not None:
                self.hand_out(consumer, &entry)
                return True
        self.note_expiry(expires_at_ms)
        self.push(&entry)
        self.ready_bytes += message.body_bytes
        return False

    cdef bint log_publish(self, Message *message, Entry *entry, uint64_t *commit) except -1:
        """Logs what is to be logged. True when the message needs no place in memory."""
        cdef bint persistent = message.delivery_mode == 2 and not self.log.until_restart
        cdef bint paging = self.paged_count > 0 or self.is_window_full()
        cdef uint64_t number = 0
        if persistent:
            number = self.log.append(message, entry.sequence, entry.expires_at_ms)
            commit[0] = max(commit[0], number)
        if not paging:
            if not persistent:
                self.log.skip(entry.sequence)
            return False
        if persistent:
            # Refused when the log has failed: it cannot be kept behind what is on disk, and nobody was promised it.
            paging = number != never_committed()
        else:
            paging = self.log.append_until_restart(message, entry.sequence, entry.expires_at_ms)
            if not paging:
                commit[0] = never_committed()
        if paging:
            self.leave_to_log(entry.sequence, message.body_bytes)
        return True

    cdef bint is_window_full(self) noexcept:
        if memory_is_short or (self.log is not None and not self.log.until_restart):
            return self.tail - self.head >= WINDOW_MESSAGES or self.ring_bytes >= WINDOW_BYTES
        return self.tail - self.head >= TRANSIENT_WINDOW_MESSAGES or self.ring_bytes >= TRANSIENT_WINDOW_BYTES

    cdef void leave_to_log(self, uint64_t sequence, uint64_t body_bytes) noexcept:
        if self.paged_count == 0:
            self.paged_from = sequence
        self.paged_count += 1
        self.paged_bytes += body_bytes
        self.ready_bytes += body_bytes

    cdef int refill(self) except -1:
        """The ring is empty: it gets the next page from the log, or as much of it as can be read."""
        cdef Loaded loaded
        cdef Entry entry
        cdef uint64_t messages = 0
        cdef uint64_t octets = 0
        while self.paged_count and messages < PAGE_MESSAGES and octets < PAGE_BYTES:
            if not self.log.load(self.paged_from, &loaded):
                if messages == 0:
                    self.log.want()
                return 0
            entry.message = loaded.message
            entry.sequence = loaded.sequence
            entry.expires_at_ms = loaded.expires_at_ms
            entry.delivery_count = loaded.delivery_count
            self.paged_count -= 1
            self.paged_bytes -= entry.message.body_bytes
            self.paged_from = entry.sequence + 1
            self.note_expiry(entry.expires_at_ms)
            self.push(&entry)
            messages += 1
            octets += entry.message.body_bytes
        return 0

    cdef int hand_out(self, Consumer consumer, Entry *entry) except -1:
        self.delivered_count += 1
        consumer.delivered += 1
        if self.log is not None:
            self.log_hand_out(entry, consumer.no_ack)
        if not consumer.no_ack:
            self.unacked_count += 1
            consumer.unacked += 1
        return consumer.outlet.deliver(consumer, entry)

    cdef bint take(self, bint no_ack, Entry *entry) except -1:
        if not self.pop_unexpired(entry):
            return False
        self.delivered_count += 1
        if not no_ack:
            self.unacked_count += 1
        if self.log is not None:
            self.log_hand_out(entry, no_ack)
        return True

    cdef int log_hand_out(self, Entry *entry, bint no_ack) except -1:
        if no_ack:
            return self.log.settle(entry.sequence, entry.message.delivery_mode == 2)
        return self.log.hand_out(entry.sequence)

    cdef int settle(self, uint64_t sequence, bint persistent) except -1:
        self.unacked_count -= 1
        if self.log is not None and not self.deleted:
            self.log.settle(sequence, persistent)
        return 0

    cdef int requeue(self, Message *message, uint64_t sequence, uint32_t delivery_count,
                     uint64_t expires_at_ms) except -1:
        cdef Entry entry
        self.unacked_count -= 1
        if self.deleted:
            message_release(message)
            return 0
        entry.message = message
        entry.sequence = sequence
        entry.delivery_count = delivery_count + 1
        entry.expires_at_ms = expires_at_ms
        if self.log is not None and message.delivery_mode == 2:
            self.log.take_back(sequence, entry.delivery_count)
        self.note_expiry(expires_at_ms)
        self.push_returned(&entry)
        self.ready_bytes += message.body_bytes
        return 0

    cdef int dispatch(self) except -1:
        cdef Entry entry
        cdef Consumer consumer
        while self.ready():
            consumer = self.next_consumer()
            if consumer is None:
                return 0
            if not self.pop_unexpired(&entry):
                return 0
            self.hand_out(consumer, &entry)
        return 0

    cdef int wake(self, Consumer consumer) except -1:
        if not consumer.active:
            return 0
        if not consumer.in_line and consumer.can_take():
            consumer.level.join(consumer)
        if self.ready():
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

    # -------------------------------------------------------------------------------------------------- expiry

    def expire(self) -> int:
        """Drop every ready message whose time is over; returns how many."""
        cdef uint64_t before = self.expired_count
        cdef uint64_t waiting = self.tail - self.head
        cdef Py_ssize_t returned_count = self.returned_count
        cdef Entry *returned = self.returned
        cdef Entry entry
        cdef uint64_t _turn
        cdef Py_ssize_t at
        if self.expires_next_ms == 0 or clock_ms < self.expires_next_ms:
            return 0
        self.expires_next_ms = 0
        self.returned = NULL
        self.returned_count = self.returned_capacity = 0
        for at in range(returned_count):
            if is_expired(&returned[at]):
                self.ready_bytes -= returned[at].message.body_bytes
                self.drop_expired(&returned[at])
            else:
                self.note_expiry(returned[at].expires_at_ms)
                self.push_returned(&returned[at])
        free(returned)
        for _turn in range(waiting):
            entry = self.ring[self.head & self.mask]
            self.head += 1
            self.ring_bytes -= entry.message.body_bytes
            if is_expired(&entry):
                self.ready_bytes -= entry.message.body_bytes
                self.drop_expired(&entry)
            else:
                self.note_expiry(entry.expires_at_ms)
                self.push(&entry)
        return self.expired_count - before

    cdef bint pop_unexpired(self, Entry *entry) except -1:
        """The next message; False when there is none, or none that can be read yet."""
        while True:
            if self.tail == self.head and self.returned_count == 0:
                if self.paged_count:
                    self.refill()
                if self.tail == self.head:
                    return False
            self.pop(entry)
            if not is_expired(entry):
                return True
            self.drop_expired(entry)

    cdef int drop_expired(self, Entry *entry) except -1:
        self.expired_count += 1
        if self.log is not None:
            self.log.settle(entry.sequence, entry.message.delivery_mode == 2)
        message_release(entry.message)
        return 0

    cdef int restore_backlog(self, uint64_t messages, uint64_t body_bytes, uint64_t next_sequence,
                             uint64_t expires_next_ms) except -1:
        cdef uint64_t left = 0
        self.next_sequence = next_sequence
        self.paged_from = 1
        self.paged_count = messages
        self.paged_bytes = self.ready_bytes = body_bytes
        while expires_next_ms and self.paged_count != left and not self.is_window_full():
            left = self.paged_count
            self.refill()
        return 0

    cdef void note_expiry(self, uint64_t expires_at_ms) noexcept:
        if expires_at_ms and (self.expires_next_ms == 0 or expires_at_ms < self.expires_next_ms):
            self.expires_next_ms = expires_at_ms

    # --------------------------------------------------------------------------------------------------- order

    cdef int push(self, Entry *entry) except -1:
        cdef uint64_t capacity
        if self.ring == NULL or self.tail - self.head > self.mask:
            capacity = RING_CAPACITY_MIN if self.ring == NULL else (self.mask + 1) * 2
            self.resize(capacity)
        self.ring[self.tail & self.mask] = entry[0]
        self.tail += 1
        self.ring_bytes += entry.message.body_bytes
        return 0

    cdef int resize(self, uint64_t capacity) except -1:
        cdef uint64_t position
        cdef Entry *ring = <Entry *>malloc(capacity * sizeof(Entry))
        if ring == NULL:
            raise MemoryError("queue")
        for position in range(self.head, self.tail):
            ring[position & (capacity - 1)] = self.ring[position & self.mask]
        free(self.ring)
        self.ring = ring
        self.mask = capacity - 1
        return 0

    cdef void pop(self, Entry *entry) noexcept:
        if self.returned_count:
            self.pop_returned(entry)
        else:
            entry[0] = self.ring[self.head & self.mask]
            self.head += 1
            self.ring_bytes -= entry.message.body_bytes
            if self.head == self.tail and self.mask >= RING_CAPACITY_KEPT:
                free(self.ring)
                self.ring = NULL
                self.mask = 0
        self.ready_bytes -= entry.message.body_bytes

    cdef int push_returned(self, Entry *entry) except -1:
        cdef Py_ssize_t at = self.returned_count
        cdef Py_ssize_t parent
        cdef Entry *moved
        if at == self.returned_capacity:
            moved = <Entry *>realloc(self.returned, max(8, at * 2) * sizeof(Entry))
            if moved == NULL:
                raise MemoryError("queue")
            self.returned = moved
            self.returned_capacity = max(8, at * 2)
        self.returned_count += 1
        while at:
            parent = (at - 1) // 2
            if self.returned[parent].sequence < entry.sequence:
                break
            self.returned[at] = self.returned[parent]
            at = parent
        self.returned[at] = entry[0]
        return 0

    cdef void pop_returned(self, Entry *entry) noexcept:
        cdef Py_ssize_t at = 0
        cdef Py_ssize_t child
        cdef Entry last
        entry[0] = self.returned[0]
        self.returned_count -= 1
        last = self.returned[self.returned_count]
        while True:
            child = 2 * at + 1
            if child >= self.returned_count:
                break
            if child + 1 < self.returned_count and self.returned[child + 1].sequence < self.returned[child].sequence:
                child += 1
            if last.sequence <= self.returned[child].sequence:
                break
            self.returned[at] = self.returned[child]
            at = child
        if self.returned_count:
            self.returned[at] = last
        else:
            free(self.returned)
            self.returned = NULL
            self.returned_capacity = 0


cdef inline bint is_expired(Entry *entry) noexcept nogil:
    return entry.expires_at_ms != 0 and entry.expires_at_ms <= clock_ms
