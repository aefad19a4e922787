# See _peer.pxd for what this module is and is not.

from cpython.buffer cimport PyBuffer_FillInfo
from libc.string cimport memcpy

from flowmq._busy_poll cimport now_ns, want_loop
from flowmq._frame cimport (
    FLOWMQ_CONTRACT, FRAME_BODY, FRAME_END, FRAME_OVERHEAD_BYTES, FRAME_PREFIX_BYTES, count_taken_output, output_clear,
    output_reserve, output_take, put_frame_prefix, store_short,
)
from flowmq._dead_letters cimport anyone_died, bury_some, end_burials_of_turn
from flowmq._message cimport (
    message_body, message_bytes_alive, message_image_bytes, message_names, message_release, message_retain,
)
from flowmq._order cimport anything_timed
from flowmq._rewrite cimport without_blind_keys

from flowmq._frame import check_contract

check_contract(FLOWMQ_CONTRACT)

cdef enum:
    GATHERED_FEW = 4            # to so few connections nothing is gathered: nobody waits when there is little to do
    GATHERING_NS = 1000000
    SPARING_UNACKED_MAX = 100   # of one consumer, while memory is very short

cdef Journal the_journal = None
# Memory from which on deliveries wait for acknowledgements.
cdef uint64_t sparing_bytes = <uint64_t>-1
cdef uint64_t severe_bytes = <uint64_t>-1
cdef list dirty_peers = []
cdef list gathering_peers = []
cdef Py_ssize_t gathering_count = 0     # of them; the others were written since
cdef object schedule_flush = None
cdef bint flush_scheduled = False
# While deliveries are gathered: when that ends, and how many turns there had been when it was looked at last.
cdef bint gathering = False
cdef uint64_t gathering_ends_ns = 0
cdef uint64_t turns = 0
cdef uint64_t turns_seen = 0
cdef object arm_due_timer = None
cdef bint due_timer_armed = False


def set_flush_scheduler(schedule):
    """`schedule(callback)` runs a callback soon: for output that was written outside of a read, such as by a timer."""
    global gathering, schedule_flush
    schedule_flush = schedule
    gathering = False


def set_due_timer(arm):
    """`arm()` is called when something falls due some time and nobody looks for it, until due_timer_ended()."""
    global arm_due_timer, due_timer_armed
    arm_due_timer = arm
    due_timer_armed = False


def due_timer_ended():
    global due_timer_armed
    due_timer_armed = False


def set_sparing(uint64_t limit_bytes, uint64_t severe_limit_bytes):
    """While messages take more, who has much unacknowledged gets no more (Peer.sparing) unless it settles.

    While they take more than the second limit, who has anything.
    """
    global sparing_bytes, severe_bytes
    sparing_bytes = limit_bytes
    severe_bytes = severe_limit_bytes


cdef uint64_t unacked_allowed() noexcept nogil:
    cdef uint64_t taken = message_bytes_alive()
    if taken <= sparing_bytes:
        return <uint64_t>-1
    return SPARING_UNACKED_MAX if taken <= severe_bytes else 1


def set_journal(Journal journal):
    """The journal that gets what was built, at the end of every turn."""
    global the_journal
    the_journal = journal


cdef Journal current_journal():
    return the_journal


def disk_progressed():
    """The journal's wake_fd became readable: confirms that waited are written."""
    begin_turn()
    try:
        the_journal.completed()
    finally:
        flush_dirty()


def flush():
    """Write out every connection that has something gathered."""
    flush_dirty()


cdef void begin_turn() noexcept:
    global flush_scheduled, turns
    flush_scheduled = True
    turns += 1


cdef int flush_dirty() except -1:
    cdef bint wait = gathering
    if gathering_count > GATHERED_FEW and not gathering:
        wait = begin_gathering()
    return end_turn(wait)


cdef int end_turn(bint wait) except -1:
    global due_timer_armed, flush_scheduled
    flush_scheduled = False
    if anyone_died():
        bury_some(0)
    # Answers of this turn follow what it has to tell the disk; if there are none yet, that can wait for more as well.
    if the_journal is not None and not (wait and not dirty_peers and the_journal.may_wait()):
        the_journal.submit()
        if the_journal.hungry:
            the_journal.feed_hungry()
            bury_some(0)
            the_journal.submit()
    end_burials_of_turn()
    if not due_timer_armed and anything_timed() and arm_due_timer is not None:
        due_timer_armed = True
        arm_due_timer()
    if not wait and gathering_peers:
        write_gathered()
    if dirty_peers:
        write_dirty()
    return 0


cdef bint begin_gathering() except -1:
    """False when nobody would say that a turn of the event loop is over."""
    global gathering, gathering_ends_ns, turns_seen
    if schedule_flush is None:
        return False
    gathering = True
    gathering_ends_ns = now_ns() + GATHERING_NS
    # Not this one: it may have been all that the event loop did before it calls.
    turns_seen = turns - 1
    schedule_flush(look_at_gathering)
    want_loop()
    return True


def look_at_gathering():
    """Everything that was readable has been read: is there more by now?"""
    global gathering, turns_seen
    if turns != turns_seen and now_ns() < gathering_ends_ns:
        turns_seen = turns
        schedule_flush(look_at_gathering)
        return
    gathering = False
    begin_turn()
    end_turn(False)


cdef int write_gathered() except -1:
    global gathering_count, gathering_peers
    cdef list peers = gathering_peers
    gathering_peers = []
    gathering_count = 0
    return write_all(peers, GATHERING)


cdef int write_dirty() except -1:
    # A write can tell a protocol at once that its transport is full; that dirties nobody, so one round is enough. Were
    # there more, the scheduled callback would take them.
    global dirty_peers
    cdef list peers = dirty_peers
    dirty_peers = []
    return write_all(peers, DIRTY)


cdef int write_all(list peers, Dirty dirty) except -1:
    """Those that are still in that state. An error of one keeps none of the others from it."""
    cdef Peer peer
    failed = None
    for peer in peers:
        if peer.dirty != dirty:
            continue
        peer.dirty = CLEAN
        try:
            peer.flush()
        except Exception as error:
            failed = error
    if failed is not None:
        raise failed
    return 0


cdef int see_to_flush() except -1:
    global flush_scheduled
    if not flush_scheduled and schedule_flush is not None:
        flush_scheduled = True
        schedule_flush(flush)
        want_loop()
    return 0


cdef class Peer:
    """Abstract: the output side of a client's connection. Implemented by Connection."""

    cdef int mark_dirty(self) except -1:
        global gathering_count
        if self.dirty == DIRTY:
            return 0
        if self.dirty == GATHERING:
            gathering_count -= 1
        self.dirty = DIRTY
        dirty_peers.append(self)
        return see_to_flush()

    cdef int mark_gathering(self) except -1:
        global gathering_count
        gathering_count += 1
        self.dirty = GATHERING
        gathering_peers.append(self)
        return see_to_flush()

    cdef int flush(self) except -1:
        raise NotImplementedError("Peer.flush")

    cdef ReadBuffer window(self):
        raise NotImplementedError("Peer.window")

    cdef int received(self, Py_ssize_t count) except -1:
        raise NotImplementedError("Peer.received")

    cdef int hold_publish(self, Outlet channel, Message *message, Exchange exchange, RouteSet routes,
                          uint64_t expires_at_ms, bint mandatory, uint64_t sequence) except -1:
        raise NotImplementedError("Peer.hold_publish")

    def __dealloc__(self):
        output_clear(&self.output)

    cdef int forget_output(self) except -1:
        output_clear(&self.output)
        self.parts = None
        self.parts_bytes = 0
        return 0

    cdef int put_content(self, Message *message, char *at, uint16_t channel) except -1:
        cdef uint64_t image_bytes = message_image_bytes(message)
        cdef char *header_frame = at + message.names_bytes + 1
        if message.blind:
            return self.put_shown(message, at, channel, True)
        if message.body_bytes > self.body_frame_bytes or message.body_bytes >= BODY_SHARED_BYTES_MIN:
            memcpy(at, message_names(message), message.names_bytes)
            self.output.used += message.names_bytes
            return self.put_frames(message, at + message.names_bytes, channel)
        memcpy(at, message_names(message), image_bytes)
        store_short(header_frame + 1, channel)
        if message.body_bytes:
            store_short(header_frame + message.header_bytes + FRAME_OVERHEAD_BYTES + 1, channel)
        self.output.used += <Py_ssize_t>image_bytes
        return 0

    cdef int put_frames(self, Message *message, char *at, uint16_t channel) except -1:
        cdef Py_ssize_t head_bytes = 1 + message.header_bytes + FRAME_OVERHEAD_BYTES
        if message.blind:
            return self.put_shown(message, at, channel, False)
        memcpy(at, message_names(message) + message.names_bytes, head_bytes)
        store_short(at + 2, channel)
        self.output.used += head_bytes
        if self.shares_body(message):
            return self.share_body(message, channel)
        self.output.used += put_body(message, at + head_bytes, channel, self.body_frame_bytes)
        return 0

    cdef int put_shown(self, Message *message, char *at, uint16_t channel, bint with_names) except -1:
        """Without the keys that nobody is to see: it takes less room."""
        cdef Message *shown = without_blind_keys(message)
        try:
            return self.put_content(shown, at, channel) if with_names else self.put_frames(shown, at, channel)
        finally:
            message_release(shown)

    cdef void count_left(self, Py_ssize_t left_bytes) noexcept:
        if left_bytes == 0:
            self.shares_bodies = False
        elif self.shares_bodies:
            return
        count_taken_output(left_bytes - self.left_bytes)
        self.left_bytes = left_bytes

    cdef int share_body(self, Message *message, uint16_t channel) except -1:
        cdef uint64_t sent = 0
        cdef SharedBody part
        cdef char *at
        self.shares_bodies = True
        if self.parts is None:
            self.parts = []
        while sent < message.body_bytes:
            part = SharedBody.__new__(SharedBody)
            part.message = message
            message_retain(message)
            part.start = sent
            part.count = min(message.body_bytes - sent, <uint64_t>self.body_frame_bytes)
            at = output_reserve(&self.output, FRAME_PREFIX_BYTES)
            put_frame_prefix(at, FRAME_BODY, channel, <uint32_t>part.count)
            self.output.used += FRAME_PREFIX_BYTES
            self.parts_bytes += self.output.used + <Py_ssize_t>part.count
            self.parts.append(output_take(&self.output))
            self.parts.append(memoryview(part))
            output_reserve(&self.output, 1)[0] = <char>FRAME_END
            self.output.used += 1
            sent += part.count
        return 0


cdef class SharedBody:

    def __dealloc__(self):
        if self.message != NULL:
            message_release(self.message)

    def __getbuffer__(self, Py_buffer *view, int flags):
        PyBuffer_FillInfo(view, self, message_body(self.message) + self.start, <Py_ssize_t>self.count, True, flags)


cdef Py_ssize_t put_body(Message *message, char *start, uint16_t channel, uint64_t part_bytes_max) noexcept nogil:
    """In frames of the receiver's size. Returns the octets written."""
    cdef uint64_t sent = 0
    cdef uint64_t part
    cdef char *at = start
    while sent < message.body_bytes:
        part = min(message.body_bytes - sent, part_bytes_max)
        at = put_frame_prefix(at, FRAME_BODY, channel, <uint32_t>part)
        memcpy(at, message_body(message) + sent, part)
        at[part] = <char>FRAME_END
        at += part + 1
        sent += part
    return at - start
