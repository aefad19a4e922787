# See _order.pxd for what this module is and is not.

from libc.stdint cimport int64_t, uint8_t
from libc.stdlib cimport free

from flowmq._frame cimport FLOWMQ_CONTRACT
from flowmq._heaps cimport (
    Due, Keyed, due_heap_clear, due_heap_mend, due_heap_pop, due_heap_push, entry_heap_pop, entry_heap_push,
)
from flowmq._message cimport (
    Message, count_memory, message_body, message_header, message_names, message_release, message_retain,
)
from flowmq._message_log cimport never_committed
from flowmq._rewrite cimport without_blind_keys
from flowmq._ring cimport (
    NOT_IN_RING, ring_at, ring_find, ring_find_from, ring_free, ring_is_empty, ring_pop, ring_push, ring_take,
)

from flowmq._frame import check_contract

check_contract(FLOWMQ_CONTRACT)

cdef enum:
    WINDOW_BYTES = 2097152       # more than this is left to the log, if there is one
    TRANSIENT_WINDOW_BYTES = 268435456      # the same where nothing is durable, while memory is not short
    PAGE_BYTES = 262144          # and comes back by so much
    STALE_DUE_KEPT = 4096        # entries of messages that are gone, before anyone looks for them
    READ_AGAIN_MS = 20           # what is due and cannot be read yet is tried again

cdef uint64_t NEVER_MS = <uint64_t>-1
cdef uint64_t window_messages = 8192            # the same as numbers of messages
cdef uint64_t transient_window_messages = 1048576
cdef uint64_t page_messages = 1024
cdef uint64_t clock_ms = 0
cdef bint memory_is_short = False
cdef list timed_orders = []


cdef void queue_clock(uint64_t now_ms) noexcept nogil:
    global clock_ms
    clock_ms = now_ms


cdef uint64_t queue_now() noexcept nogil:
    return clock_ms


cdef void queue_memory(bint is_short) noexcept nogil:
    global memory_is_short
    memory_is_short = is_short


cdef bint anything_timed() noexcept:
    return len(timed_orders) > 0


def deal_with_due(Py_ssize_t limit):
    """Deal with what has fallen due anywhere: about `limit` messages. Milliseconds until more is due; -1 for never."""
    global timed_orders
    cdef Order order
    cdef list orders = timed_orders, waiting = []
    cdef Py_ssize_t position = 0
    cdef uint64_t next_ms = NEVER_MS
    timed_orders, error = [], None
    while position < len(orders) and limit > 0:
        order = orders[position]
        position += 1
        if order.expires_next_ms and order.expires_next_ms <= clock_ms:
            try:
                limit -= order.fall_due(limit)
            except Exception as raised:
                error = raised
        if order.expires_next_ms:
            waiting.append(order)
            next_ms = min(next_ms, order.expires_next_ms)
        else:
            order.timed = False
    # Whoever had no turn comes first the next time.
    timed_orders = orders[position:] + waiting + timed_orders
    if error is not None:
        raise error
    if position < len(orders):
        return 0
    if not timed_orders:
        return -1
    for order in timed_orders[len(waiting):]:
        next_ms = min(next_ms, order.expires_next_ms)
    return 0 if next_ms <= clock_ms else next_ms - clock_ms


def forget_due():
    """The broker has ended: whatever of its queues would fall due, does not."""
    for order in timed_orders:
        (<Order>order).timed = False
    timed_orders.clear()


def set_window(uint64_t messages, uint64_t transient_messages, uint64_t page):
    """For tests: ready messages of a queue kept in memory, and how many come back at a time; what it was."""
    global window_messages, transient_window_messages, page_messages
    before = (window_messages, transient_window_messages, page_messages)
    window_messages, transient_window_messages, page_messages = messages, transient_messages, page
    return before


def told_ms() -> int:
    """The time that queues go by, in milliseconds since 1970: as they were told last."""
    return clock_ms


cdef class Order:
    """Messages of a queue that wait, in their order."""

    def __cinit__(self, *args, **options):
        self.next_sequence = 1
        self.totals = &self.own_totals

    def __dealloc__(self):
        cdef Entry entry
        while not ring_is_empty(&self.ring) or self.returned.count:
            self.pop(&entry)
            message_release(entry.message)
        while self.aside.count:
            entry_heap_pop(&self.aside, &entry)
            message_release(entry.message)
        ring_free(&self.ring)
        due_heap_clear(&self.due)

    cdef int bury(self, Order lane, Entry *entry, Reason reason) except -1:
        if self.owner != NULL:
            return (<Order>self.owner).bury(lane, entry, reason)
        return lane.forget(entry)

    cdef bytes title(self):
        return b"" if self.owner == NULL else (<Order>self.owner).title()

    cdef int dispatch(self) except -1:
        if self.owner != NULL:
            (<Order>self.owner).dispatch()
        return 0

    cdef int finish_burials(self) except -1:
        if self.owner != NULL:
            (<Order>self.owner).finish_burials()
        return 0

    # --------------------------------------------------------------------------------------------- in and out

    cdef bint admit_logged(self, Entry *entry, uint64_t *commit) except -1:
        if self.log is None:
            if not self.is_window_full():
                return False
            self.log = self.pager.log_for(self, entry.sequence)
            if self.log is None:
                return False
        return self.log_message(entry, commit)

    cdef bint log_message(self, Entry *entry, uint64_t *commit) except -1:
        """Logs what is to be logged. True when the message needs no place in memory."""
        cdef Message *message = entry.message
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
            self.leave_to_log(entry.sequence, message.body_bytes, entry.expires_at_ms)
        return True

    cdef int place(self, Entry *entry) except -1:
        ring_push(&self.ring, entry)
        self.count_in(entry.message.body_bytes)
        if entry.expires_at_ms:
            self.note_due(entry.expires_at_ms, entry.sequence)
        else:
            self.chain_end_ms = NEVER_MS
        return 0

    cdef int restore_backlog(self, uint64_t messages, uint64_t body_bytes, uint64_t next_sequence,
                             uint64_t expires_next_ms, bint expires_unevenly) except -1:
        self.next_sequence = next_sequence
        self.paged_from = 1
        self.paged_count = self.count = messages
        self.paged_bytes = body_bytes
        self.totals.ready += messages
        self.totals.ready_bytes += body_bytes
        if expires_unevenly:
            self.unseen_from, self.unseen_to = 1, next_sequence
            self.expect(clock_ms)
        elif expires_next_ms:
            self.expect(expires_next_ms)
        if messages:
            # Whatever comes now is behind messages of which nothing is known.
            self.chain_end_ms = NEVER_MS
        return 0

    cdef int set_aside(self, dict times) except -1:
        cdef Entry entry
        for sequence, ready_at_ms in sorted(times.items()):
            if ready_at_ms > clock_ms and self.take_out_paged(sequence, &entry):
                if self.apart is None:
                    self.apart = set()
                self.apart.add(sequence)
                self.put_aside(&entry, ready_at_ms)
        self.leaving = None
        return 0

    cdef int leave_to_log(self, uint64_t sequence, uint64_t body_bytes, uint64_t expires_at_ms) except -1:
        if self.paged_count == 0:
            self.paged_from = sequence
        self.paged_count += 1
        self.paged_bytes += body_bytes
        self.count_in(body_bytes)
        if expires_at_ms:
            self.note_due(expires_at_ms, sequence)
        else:
            self.chain_end_ms = NEVER_MS
        return 0

    cdef int put_back(self, Entry *entry) except -1:
        entry_heap_push(&self.returned, entry.sequence, entry)
        self.count_in(entry.message.body_bytes)
        if entry.expires_at_ms:
            self.add_due(entry.expires_at_ms, entry.sequence)
        return 0

    cdef int put_aside(self, Entry *entry, uint64_t due_ms) except -1:
        entry_heap_push(&self.aside, due_ms, entry)
        self.totals.aside += 1
        return self.expect(due_ms)

    cdef bint take_first(self, Entry *entry) except -1:
        while self.take_oldest(entry):
            if not is_expired(entry, clock_ms):
                return True
            self.bury(self, entry, EXPIRED)
        return False

    cdef bint take_oldest(self, Entry *entry) except -1:
        if ring_is_empty(&self.ring):
            # What was aside at a restart may come back before what is older has been read.
            if self.paged_count and (self.returned.count == 0 or self.returned.items[0].key > self.paged_from):
                self.refill()
                if ring_is_empty(&self.ring) and self.paged_count:
                    return False
            if ring_is_empty(&self.ring) and self.returned.count == 0:
                return False
        self.pop(entry)
        return True

    cdef int forget(self, Entry *entry) except -1:
        if self.log is not None:
            self.log.settle(entry.sequence, entry.message.delivery_mode == 2)
            if self.leaving is not None:
                self.leaving.discard(entry.sequence)
        message_release(entry.message)
        return 0

    cdef uint64_t empty(self) except? 0xFFFFFFFFFFFFFFFF:
        cdef Entry entry
        cdef uint64_t dropped = self.count
        while not ring_is_empty(&self.ring) or self.returned.count:
            self.pop(&entry)
            self.forget(&entry)
        if self.paged_count:
            self.settle_paged()
            self.totals.ready -= self.paged_count
            self.totals.ready_bytes -= self.paged_bytes
            self.count = self.paged_count = self.paged_bytes = 0
        self.unseen_from = self.unseen_to
        self.chain_end_ms = 0
        due_heap_clear(&self.due)
        return dropped

    cdef int settle_paged(self) except -1:
        """All that is behind the ring is done with, but what stands aside and what is on its way to where it goes."""
        cdef uint64_t first = self.paged_from
        for sequence in sorted((self.apart or set()) | (self.leaving or set())):
            if sequence > first:
                self.log.settle_range(first, sequence - 1)
            first = max(first, <uint64_t>sequence + 1)
        if first < self.next_sequence:
            self.log.settle_range(first, self.next_sequence - 1)
        return 0

    cdef int drop_aside(self) except -1:
        cdef Entry entry
        while self.aside.count:
            entry_heap_pop(&self.aside, &entry)
            self.totals.aside -= 1
            self.forget(&entry)
        return 0

    cdef void pop(self, Entry *entry) noexcept:
        if self.returned.count and (
            ring_is_empty(&self.ring) or self.returned.items[0].key < ring_at(&self.ring, self.ring.head).sequence
        ):
            entry_heap_pop(&self.returned, entry)
        else:
            ring_pop(&self.ring, entry)
        self.count_out(entry.message.body_bytes)

    cdef void count_in(self, uint64_t body_bytes) noexcept:
        self.count += 1
        self.totals.ready += 1
        self.totals.ready_bytes += body_bytes

    cdef void count_out(self, uint64_t body_bytes) noexcept:
        self.count -= 1
        self.totals.ready -= 1
        self.totals.ready_bytes -= body_bytes
        if self.count == 0:
            self.chain_end_ms = 0

    # ------------------------------------------------------------------------------------------------- paging

    cdef bint is_window_full(self) noexcept:
        cdef uint64_t messages = self.ring.tail - self.ring.head
        if memory_is_short or (self.log is not None and not self.log.until_restart):
            return messages >= window_messages or self.ring.body_bytes >= WINDOW_BYTES
        return messages >= transient_window_messages or self.ring.body_bytes >= TRANSIENT_WINDOW_BYTES

    cdef int refill(self) except -1:
        """The ring is empty: it gets the next page from the log, or as much of it as can be read."""
        cdef Entry entry
        cdef uint64_t messages = 0
        cdef uint64_t octets = 0
        while self.paged_count and messages < page_messages and octets < PAGE_BYTES:
            if not self.log.load(self.paged_from, &entry):
                if messages == 0:
                    self.log.want()
                return 0
            if self.is_elsewhere(entry.sequence):
                message_release(entry.message)
                self.paged_from = entry.sequence + 1
                continue
            self.paged_count -= 1
            self.paged_bytes -= entry.message.body_bytes
            self.paged_from = entry.sequence + 1
            ring_push(&self.ring, &entry)
            messages += 1
            octets += entry.message.body_bytes
        return 0

    # ----------------------------------------------------------------------------------------- what falls due

    cdef int note_due(self, uint64_t expires_at_ms, uint64_t sequence) except -1:
        """The newest message expires then."""
        if expires_at_ms >= self.chain_end_ms:
            self.chain_end_ms = expires_at_ms
            return self.expect(expires_at_ms)
        return self.add_due(expires_at_ms, sequence)

    cdef int add_due(self, uint64_t due_ms, uint64_t sequence) except -1:
        cdef Due due
        due.due_ms = due_ms
        due.sequence = sequence
        if self.due.count == self.due.capacity and <uint64_t>self.due.count > 2 * self.count + STALE_DUE_KEPT:
            self.drop_stale_due()
        due_heap_push(&self.due, &due)
        return self.expect(due_ms)

    cdef int expect(self, uint64_t due_ms) except -1:
        if self.expires_next_ms == 0 or due_ms < self.expires_next_ms:
            self.expires_next_ms = due_ms
        if not self.timed:
            self.timed = True
            timed_orders.append(self)
        return 0

    cdef int drop_stale_due(self) except -1:
        """Most of the heap is about messages that are gone: keep the others only."""
        cdef Py_ssize_t at
        cdef Py_ssize_t kept = 0
        cdef Due *due
        cdef Entry *entry
        for at in range(self.due.count):
            due = &self.due.items[at]
            if ring_find(&self.ring, due.sequence) != NOT_IN_RING or (
                self.paged_count and due.sequence >= self.paged_from and self.log.holds(due.sequence)
            ):
                self.due.items[kept] = due[0]
                kept += 1
        self.due.count = kept
        due_heap_mend(&self.due)
        for at in range(self.returned.count):
            entry = &self.returned.items[at].entry
            if entry.expires_at_ms:
                self.add_due(entry.expires_at_ms, entry.sequence)
        return 0

    cdef Py_ssize_t fall_due(self, Py_ssize_t limit) except -1:
        cdef Py_ssize_t done = self.end_waiting(limit)
        cdef Entry entry
        cdef Due due
        cdef bint elsewhere = False
        self.expires_next_ms = 0
        if self.unseen_from < self.unseen_to:
            done += self.look_through(limit)
        while done < limit:
            # Those that came back are the oldest; otherwise in order of time, wherever they are found, and of arrival.
            if self.returned.count and is_expired(&self.returned.items[0].entry, clock_ms):
                self.pop(&entry)
                self.bury(self, &entry, EXPIRED)
            elif self.due.count and self.due.items[0].due_ms <= clock_ms and self.is_before_head(&self.due.items[0]):
                due_heap_pop(&self.due, &due)
                elsewhere |= not self.expire_at(due.sequence)
            elif not self.expire_head():
                break
            done += 1
        if elsewhere and self.returned.count:
            done += self.expire_returned(limit - done)
        self.finish_burials()
        self.look_ahead()
        return done

    cdef Py_ssize_t look_through(self, Py_ssize_t limit) except -1:
        """After a restart: when do messages expire that are only in the log? A few at a time."""
        cdef Entry entry
        cdef Py_ssize_t done = 0
        self.unseen_from = max(self.unseen_from, self.paged_from)
        while done < limit:
            if self.paged_count == 0 or not self.log.load(self.unseen_from, &entry):
                # What cannot be read yet came after the restart, and was looked at when it came.
                self.unseen_from = self.unseen_to
                break
            if entry.sequence >= self.unseen_to:
                message_release(entry.message)
                self.unseen_from = self.unseen_to
                break
            done += 1
            self.unseen_from = entry.sequence + 1
            if entry.expires_at_ms >= self.seen_chain_end_ms or entry.expires_at_ms == 0:
                self.seen_chain_end_ms = entry.expires_at_ms or NEVER_MS
                if entry.expires_at_ms:
                    self.expect(entry.expires_at_ms)
            else:
                self.add_due(entry.expires_at_ms, entry.sequence)
            message_release(entry.message)
        return done

    cdef bint is_before_head(self, const Due *due) noexcept:
        """Is it due before the first message in the ring?"""
        cdef Entry *first
        if ring_is_empty(&self.ring):
            return True
        first = ring_at(&self.ring, self.ring.head)
        if first.expires_at_ms == due.due_ms:
            return due.sequence <= first.sequence
        return first.expires_at_ms == 0 or due.due_ms < first.expires_at_ms

    cdef int look_ahead(self) except -1:
        """When something falls due next, as far as can be seen."""
        if self.unseen_from < self.unseen_to:
            self.expect(clock_ms)
        if self.due.count:
            self.expect(self.due.items[0].due_ms)
        if self.aside.count:
            self.expect(self.aside.items[0].key)
        if not ring_is_empty(&self.ring):
            if ring_at(&self.ring, self.ring.head).expires_at_ms:
                self.expect(ring_at(&self.ring, self.ring.head).expires_at_ms)
        elif self.paged_count:
            # What comes next could not be read yet, or had no turn.
            self.expect(clock_ms + READ_AGAIN_MS)
        return 0

    cdef Py_ssize_t end_waiting(self, Py_ssize_t limit) except -1:
        cdef Py_ssize_t done = 0
        cdef Entry entry
        while done < limit and self.aside.count and self.aside.items[0].key <= clock_ms:
            entry_heap_pop(&self.aside, &entry)
            self.totals.aside -= 1
            self.put_back(&entry)
            done += 1
        if done:
            self.dispatch()
        return done

    cdef bint expire_at(self, uint64_t sequence) except -1:
        """Whatever stands there is buried if it has expired."""
        cdef uint64_t position = ring_find(&self.ring, sequence)
        cdef Entry entry
        if position != NOT_IN_RING and not is_expired(ring_at(&self.ring, position), clock_ms):
            return False
        if not self.take_out(sequence, &entry):
            if self.paged_count and sequence >= self.paged_from and self.log.holds(sequence):
                self.add_due(clock_ms + READ_AGAIN_MS, sequence)
            return False
        self.bury(self, &entry, EXPIRED)
        return True

    cdef bint take_out(self, uint64_t sequence, Entry *entry) except -1:
        cdef uint64_t position = ring_find(&self.ring, sequence)
        if position == NOT_IN_RING:
            return self.take_out_paged(sequence, entry)
        ring_take(&self.ring, position, entry)
        self.count_out(entry.message.body_bytes)
        return True

    cdef bint is_elsewhere(self, uint64_t sequence) except -1:
        """Has a message that the log still has been taken out of the order?"""
        return (self.leaving is not None and sequence in self.leaving) or (
            self.apart is not None and sequence in self.apart
        )

    cdef bint take_out_paged(self, uint64_t sequence, Entry *entry) except -1:
        if self.paged_count == 0 or sequence < self.paged_from or not self.log.holds(sequence):
            return False
        if self.is_elsewhere(sequence):
            return False
        if not self.log.load(sequence, entry):
            return False
        if entry.sequence != sequence:
            message_release(entry.message)
            return False
        self.paged_count -= 1
        self.paged_bytes -= entry.message.body_bytes
        self.count_out(entry.message.body_bytes)
        if self.leaving is None:
            self.leaving = set()
        # Until it is settled the log gives it once more.
        self.leaving.add(sequence)
        return True

    cdef Py_ssize_t expire_returned(self, Py_ssize_t limit) except -1:
        """The heap of those that came back is made anew without those that have expired, which go in order of time."""
        cdef EntryHeap before = self.returned
        cdef EntryHeap expired
        cdef Py_ssize_t at
        cdef Py_ssize_t done = 0
        cdef Entry entry
        expired.items = self.returned.items = NULL
        expired.count = expired.capacity = self.returned.count = self.returned.capacity = 0
        for at in range(before.count):
            entry = before.items[at].entry
            if is_expired(&entry, clock_ms):
                entry_heap_push(&expired, entry.expires_at_ms, &entry)
            else:
                entry_heap_push(&self.returned, entry.sequence, &entry)
        count_memory(-<int64_t>(before.capacity * sizeof(Keyed)))
        free(before.items)
        while expired.count:
            entry_heap_pop(&expired, &entry)
            if done < limit:
                self.count_out(entry.message.body_bytes)
                self.bury(self, &entry, EXPIRED)
                done += 1
            else:
                entry_heap_push(&self.returned, entry.sequence, &entry)
                self.add_due(entry.expires_at_ms, entry.sequence)
        return done

    cdef bint expire_head(self) except -1:
        """Bury the first message if it has expired."""
        cdef Entry entry
        if ring_is_empty(&self.ring):
            if self.paged_count == 0 or self.returned.count:
                return False
            self.refill()
            if ring_is_empty(&self.ring):
                return False
        entry = ring_at(&self.ring, self.ring.head)[0]
        if not is_expired(&entry, clock_ms):
            return False
        ring_pop(&self.ring, &entry)
        self.count_out(entry.message.body_bytes)
        self.bury(self, &entry, EXPIRED)
        return True

    # ------------------------------------------------------------------------------------------------ looking

    def browse(self, uint64_t first_sequence, Py_ssize_t limit) -> list:
        """Ready messages from that number on, in order, at most `limit`; nothing changes by it.

        Each is a tuple (sequence, expires_at_ms, delivery_count, exchange, routing key, content header, body). It ends
        early where a message cannot be read yet.
        """
        cdef list found = []
        cdef Entry entry
        cdef uint64_t position
        cdef Py_ssize_t at
        cdef uint64_t from_log = max(first_sequence, self.paged_from)
        for at in range(self.returned.count):
            if self.returned.items[at].entry.sequence >= first_sequence:
                found.append(view_of(&self.returned.items[at].entry))
        found.sort()
        for position in range(ring_find_from(&self.ring, first_sequence), self.ring.tail):
            if len(found) >= limit:
                break
            if ring_at(&self.ring, position).message != NULL:
                found.append(view_of(ring_at(&self.ring, position)))
        while self.paged_count and len(found) < limit and self.log.load(from_log, &entry):
            if not self.is_elsewhere(entry.sequence):
                found.append(view_of(&entry))
            message_release(entry.message)
            from_log = entry.sequence + 1
        return found[:limit]

    cdef bint peek(self, uint64_t sequence, Entry *entry) except -1:
        cdef uint64_t position = ring_find_from(&self.ring, sequence)
        while position < self.ring.tail:
            entry[0] = ring_at(&self.ring, position)[0]
            if entry.message != NULL:
                message_retain(entry.message)
                return True
            position += 1
        return self.paged_count > 0 and self.log.load(max(sequence, self.paged_from), entry)

    def withdraw(self, uint64_t sequence, bint release) -> bool:
        """Take one ready message out: drop it, or let its time have come. False when it is not there."""
        cdef Entry entry
        if not self.take_out(sequence, &entry):
            return False
        if release:
            self.bury(self, &entry, RELEASED)
            self.finish_burials()
        else:
            self.forget(&entry)
        return True


cdef tuple view_of(const Entry *entry):
    cdef Message *message = entry.message
    cdef Entry shown
    if message.blind:
        shown = entry[0]
        shown.message = without_blind_keys(message)
        seen = view_of(&shown)
        message_release(shown.message)
        return seen
    cdef const char *names = message_names(message)
    cdef uint8_t exchange_bytes = <uint8_t>names[0]
    return (
        entry.sequence, entry.expires_at_ms, entry.delivery_count, names[1:1 + exchange_bytes],
        names[2 + exchange_bytes:message.names_bytes], message_header(message)[:message.header_bytes],
        message_body(message)[:message.body_bytes] if message.body_bytes else b"",
    )
