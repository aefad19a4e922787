# See _connection.pxd for what this module is and is not.

from libc.limits cimport LONG_MAX
from libc.string cimport memcmp, memcpy

from flowmq._clock cimport tell_time
from flowmq._content cimport METHOD_FRAME, PUBLISH_BYTES_MIN, WholePublish, find_whole_publish
from flowmq._frame cimport (
    BASIC_PUBLISH, FLOWMQ_CONTRACT, FRAME_BODY, FRAME_END, FRAME_HEADER, FRAME_HEARTBEAT, FRAME_METHOD,
    FRAME_OVERHEAD_BYTES, FRAME_PREFIX_BYTES, READ_BUFFER_BYTES, UNFINISHED_BYTES_MAX, frame_declares, frame_ends_well,
    frame_method, load_long, load_short,
)
from flowmq._channel cimport Channel
from flowmq._flow cimport HELD_BACK_FACTOR, READ_BYTES_USUAL
from flowmq._held cimport held_message_bytes, hold_back_publish
from flowmq._message cimport Message, message_bytes_alive
from flowmq._journal cimport Journal
from flowmq._peer cimport begin_turn, current_journal, flush_dirty
from flowmq._order cimport queue_memory
from flowmq._queue cimport Outlet
from flowmq._router cimport Exchange, RouteSet
from flowmq._sockets cimport SocketTransport
from flowmq._unfinished cimport unfinished_append, unfinished_clear
from flowmq._busy_poll cimport note_arrival, note_dealt_with

import logging

from flowmq._frame import check_contract
from flowmq.amqp.errors import ChannelError, FrameError, UnexpectedFrame
from flowmq.amqp.erlang import frame_excerpt

check_contract(FLOWMQ_CONTRACT)

cdef enum:
    # class and method in one number, as they stand at the front of a method frame
    BASIC_ACK = 0x003C0050
    BASIC_REJECT = 0x003C005A
    BASIC_NACK = 0x003C0078
    CONNECTION_CLOSE = 0x000A0032
    CONNECTION_CLOSE_OK = 0x000A0033
    HANDSHAKE_FRAME_BYTES = 4096
    SHOWN_OCTETS_MAX = 16
    CLOSE_OK_BYTES = 12
    CONTENT_HEADER_BYTES_MIN = 14
    COLD_METHODS_PER_TURN = 100     # each costs as much as a hundred messages: others wait

cdef const char *CLOSE_OK = b"\x01\x00\x00\x00\x00\x00\x04\x00\x0a\x00\x33\xce"
cdef const uint8_t *BODY_TYPE = b"\x03"
cdef uint64_t memory_limit_bytes = <uint64_t>-1
cdef ReadBuffer shared_buffer = ReadBuffer()
log = logging.getLogger("flowmq")


def set_memory_limit(uint64_t limit_bytes):
    """Above so many octets of messages a publishing connection's session is told, once per read."""
    global memory_limit_bytes
    memory_limit_bytes = limit_bytes


cdef class Connection(FlowingPeer):
    """asyncio's BufferedProtocol for one client; `session` is described in the .pyi."""

    def __init__(self, session, loop, *, uint64_t message_bytes_max, Py_ssize_t outgoing_bytes_max,
                 uint32_t header_bytes_max, uint64_t unauthenticated_bytes_max):
        self.session = session
        self.loop = loop
        self.buffer = shared_buffer
        self.channels = {}
        self.last_number = -1
        self.read_bytes = READ_BYTES_USUAL
        self.message_bytes_max = message_bytes_max
        self.outgoing_bytes_max = outgoing_bytes_max
        self.header_bytes_max = header_bytes_max
        self.unauthenticated_bytes_max = unauthenticated_bytes_max
        self.user = b""
        self.limit_frames(HANDSHAKE_FRAME_BYTES)

    def __dealloc__(self):
        unfinished_clear(&self.unfinished)

    # ------------------------------------------------------------------------------------ called by the transport

    def connection_made(self, transport):
        self.transport = transport
        if isinstance(transport, SocketTransport):
            self.socket = transport
        self.is_reading = True
        begin_turn()
        self.session.connected(transport)
        flush_dirty()

    def get_buffer(self, size_hint):
        return self.window()

    def buffer_updated(self, Py_ssize_t count):
        # What get_buffer() offered: how much may be read next is about to change.
        cdef bint is_full = count == self.buffer.limit
        note_arrival()
        tell_time()
        begin_turn()
        try:
            self.received(count)
        finally:
            flush_dirty()
            if is_full:
                self.end_turn()
            note_dealt_with()

    cdef ReadBuffer window(self):
        # The frame of a large body is read as a whole: it is one message, however many reads that takes.
        self.buffer.limit = READ_BUFFER_BYTES if self.in_body and self.body_left > READ_BYTES_USUAL else self.read_bytes
        return self.buffer

    cdef int received(self, Py_ssize_t count) except -1:
        cdef const uint8_t *start = <const uint8_t *>self.buffer.data + self.buffer.offset
        cdef const uint8_t *end = start + count
        self.received_bytes += count
        self.reads += 1
        if self.unfinished.used + count < self.needed_bytes:
            return unfinished_append(&self.unfinished, start, count, self.needed_bytes)
        if self.unfinished.used:
            start -= self.unfinished.used
            memcpy(<void *>start, self.unfinished.octets, self.unfinished.used)
            unfinished_clear(&self.unfinished)
        self.needed_bytes = 0
        return self.read(start, end)

    def eof_received(self):
        tell_time()
        self.session.client_left()
        return False

    def connection_lost(self, error):
        self.closing = True
        self.transport = self.socket = None
        self.count_left(0)
        tell_time()
        begin_turn()
        try:
            self.session.lost(error)
        finally:
            flush_dirty()
            self.forget_output()
            self.owing = None
            self.body_channel = self.last_channel = None
            # Both name each other: a collector would come for them late.
            self.session = None

    # ------------------------------------------------------------------------------------- called by the session

    cdef int wake_consumers(self) except -1:
        cdef Channel channel
        for channel in list(self.channels.values()):
            channel.wake_consumers()
        return 0

    cdef int go_on(self) except -1:
        cdef Py_ssize_t count = self.unfinished.used
        if self.held or self.held_for_room or self.transport is None:
            return 0
        tell_time()
        begin_turn()
        try:
            if count:
                memcpy(self.buffer.data, self.unfinished.octets, count)
                unfinished_clear(&self.unfinished)
                self.needed_bytes = 0
                self.read(<const uint8_t *>self.buffer.data, <const uint8_t *>self.buffer.data + count)
            self.apply_reading()
        finally:
            flush_dirty()
        return 0

    def end_holding(self):
        self.holding = self.holds_too_much = False

    cdef int hold_publish(self, Outlet channel, Message *message, Exchange exchange, RouteSet routes,
                          uint64_t expires_at_ms, bint mandatory, uint64_t sequence) except -1:
        return hold_back_publish(<Channel>channel, message, exchange, routes, expires_at_ms, mandatory, sequence)

    def begin_handshake(self):
        self.stage = HANDSHAKE

    def begin_running(self, bytes user, access=None):
        self.user = user
        self.access = access
        self.forget_permissions()
        self.stage = RUNNING

    def forget_permissions(self):
        """What the user may do has changed."""
        cdef Channel channel
        self.writable = set()
        self.topics_restricted = self.access is not None and self.access.has_topic_permissions
        for channel in self.channels.values():
            channel.forget_permissions()

    def begin_closing(self):
        """From now on only connection.close and close-ok count; whoever was not read is, or they would never come."""
        self.closing = True
        self.told_to_stop = self.disk_is_behind = False
        self.apply_reading()

    def become_deaf(self):
        """The octets received can no longer be told apart into frames."""
        self.closing = True
        self.stage = DEAF

    def limit_frames(self, uint32_t frame_max):
        """`frame_max` octets is a whole frame; eight more than agreed are tolerated, as RabbitMQ does."""
        self.body_frame_bytes = frame_max - FRAME_OVERHEAD_BYTES
        self.frame_payload_max = frame_max

    def open_channel(self, uint16_t number, vhost):
        channel = Channel(self, number, vhost)
        self.channels[number] = channel
        self.last_number = -1
        return channel

    def forget_channel(self, uint16_t number):
        self.channels.pop(number, None)
        self.last_number = -1
        self.last_channel = None

    def forget_channels(self):
        self.channels.clear()
        self.last_number = -1
        self.last_channel = None

    # --------------------------------------------------------------------------------------------------- reading

    cdef int read(self, const uint8_t *start, const uint8_t *end) except -1:
        cdef Journal journal
        self.position = start
        self.cold_methods = 0
        if self.stage < RUNNING and self.received_bytes > self.unauthenticated_bytes_max and not self.closing:
            self.session.sent_too_much_unauthenticated()
        if self.stage == DEAF:
            return self.listen_for_close_ok(start, end)
        while True:
            try:
                self.consume(end)
                break
            except Exception as error:
                self.session.failed(self.number, self.method >> 16, self.method & 0xFFFF, error)
        if self.position < end:
            self.keep_unfinished(end)
        if self.publishing:
            self.publishing = False
            self.adapt_read_bytes()
            queue_memory(message_bytes_alive() > memory_limit_bytes // 2)
            if self.closing:
                # Whoever is not read any more cannot say that it has closed, too.
                return 0
            if self.holding:
                self.session.published_in_alarm()
            elif message_bytes_alive() - held_message_bytes() > memory_limit_bytes:
                self.session.memory_is_short()
            journal = current_journal()
            if (journal is not None and not self.disk_is_behind
                    and journal.must_wait(&self.behind_share, self.received_bytes)):
                self.disk_is_behind = True
                self.apply_reading()
                journal.when_committed(journal.submitted, self.disk_has_caught_up)
        return 0

    cdef int keep_unfinished(self, const uint8_t *end) except -1:
        cdef Py_ssize_t count = end - self.position
        self.needed_bytes = FRAME_OVERHEAD_BYTES
        if self.held or self.held_for_room:
            self.needed_bytes = LONG_MAX
        elif self.stage != PROTOCOL_HEADER and count >= FRAME_PREFIX_BYTES:
            self.needed_bytes += load_long(self.position + 3)
        return unfinished_append(&self.unfinished, self.position, count, self.needed_bytes)

    cdef int listen_for_close_ok(self, const uint8_t *start, const uint8_t *end) except -1:
        if end - start >= CLOSE_OK_BYTES and memcmp(end - CLOSE_OK_BYTES, CLOSE_OK, CLOSE_OK_BYTES) == 0:
            self.session.method(0, CONNECTION_CLOSE_OK >> 16, CONNECTION_CLOSE_OK & 0xFFFF, b"")
        return 0

    # --------------------------------------------------------------------------------------------------- frames

    cdef int consume(self, const uint8_t *end) except -1:
        """Dispatch every whole frame from `position` on, and what has come of a body frame."""
        cdef const uint8_t *at
        cdef uint32_t payload_bytes
        cdef uint16_t number
        while self.stage != DEAF:
            if self.held or self.held_for_room:
                return 0
            if not self.closing and (self.waiting_bytes() > HELD_BACK_FACTOR * self.outgoing_bytes_max
                                     or self.cold_methods >= COLD_METHODS_PER_TURN):
                return self.hold_for_room()
            if self.in_body:
                if not self.continue_body(end):
                    return 0
                continue
            at = self.position
            if end - at < FRAME_PREFIX_BYTES or (self.stage == PROTOCOL_HEADER and end - at < FRAME_OVERHEAD_BYTES):
                return 0
            if self.stage == PROTOCOL_HEADER:
                self.position = at + FRAME_OVERHEAD_BYTES
                self.session.protocol_header((<const char *>at)[:FRAME_OVERHEAD_BYTES])
                continue
            if self.owing_answers:
                if end - at < FRAME_OVERHEAD_BYTES + 4 and at[0] == FRAME_METHOD:
                    return 0
                if not frame_declares(at):
                    self.hold()
                    return 0
            elif (self.stage == RUNNING and end - at >= PUBLISH_BYTES_MIN and frame_method(at) == BASIC_PUBLISH
                    and self.publish_whole(at, end)):
                continue
            self.number = self.method = 0
            number = load_short(at + 1)
            payload_bytes = load_long(at + 3)
            if payload_bytes > self.frame_payload_max or (
                (at[0] != FRAME_BODY or self.stage != RUNNING)
                and payload_bytes > UNFINISHED_BYTES_MAX - FRAME_OVERHEAD_BYTES
            ):
                raise self.frame_error(at, b"", f"{{frame_too_large,{payload_bytes},{self.body_frame_bytes}}}")
            if at[0] == FRAME_BODY and self.stage == RUNNING:
                if end - at >= <Py_ssize_t>payload_bytes + FRAME_OVERHEAD_BYTES and not frame_ends_well(at):
                    raise self.frame_end_error(at, payload_bytes)
                self.position = at + FRAME_PREFIX_BYTES
                self.begin_body(number, payload_bytes)
                continue
            if end - at < <Py_ssize_t>payload_bytes + FRAME_OVERHEAD_BYTES:
                return 0
            self.position = at + payload_bytes + FRAME_OVERHEAD_BYTES
            if not frame_ends_well(at):
                raise self.frame_end_error(at, payload_bytes)
            if at[0] == FRAME_METHOD:
                self.method_frame(number, at + FRAME_PREFIX_BYTES, payload_bytes)
            else:
                self.other_frame(at[0], number, at + FRAME_PREFIX_BYTES, payload_bytes)
        self.position = end
        return 0

    cdef bint publish_whole(self, const uint8_t *at, const uint8_t *end) except -1:
        """A publish that is here as a whole, on the channel of the frame before. False: it goes frame by frame."""
        cdef WholePublish publish
        cdef Channel channel = self.last_channel
        if not find_whole_publish(at, end, &publish) or publish.number != self.last_number:
            return False
        if (publish.largest_bytes > self.frame_payload_max or publish.header_end - at > UNFINISHED_BYTES_MAX
                or self.closing or channel.closing):
            return False
        self.number = publish.number
        self.method = BASIC_PUBLISH
        # What is wrong with a frame takes effect before the next one is looked at.
        self.position = publish.method_end
        channel.basic_publish(publish.arguments, publish.method_end - 1)
        self.publishing = True
        self.position = publish.header_end
        channel.content_header(publish.header, publish.header_bytes)
        self.position = publish.end
        channel.whole_body(publish.body)
        return True

    cdef object frame_end_error(self, const uint8_t *frame, uint32_t payload_bytes):
        cdef const uint8_t *payload = frame + FRAME_PREFIX_BYTES
        return self.frame_error(frame, (<const char *>payload)[:payload_bytes],
                                f"{{invalid_frame_end_marker,{payload[payload_bytes]}}}")

    cdef object frame_error(self, const uint8_t *frame, bytes payload, str reason):
        """Framing is lost with this frame. Texts are RabbitMQ's, which shows the first octets in Erlang's notation."""
        self.stage = DEAF
        return FrameError(f"{frame_excerpt(frame[0], payload)}: {reason}")

    cdef object unknown_frame(self, const uint8_t *payload, uint32_t payload_bytes):
        return self.frame_error(payload - FRAME_PREFIX_BYTES, (<const char *>payload)[:payload_bytes], "unknown_frame")

    cdef int other_frame(self, uint8_t kind, uint16_t number, const uint8_t *payload, uint32_t payload_bytes) except -1:
        cdef Channel channel
        if kind == FRAME_HEARTBEAT and number == 0:
            return 0
        if self.closing:
            return 0
        if kind == FRAME_HEADER and payload_bytes < CONTENT_HEADER_BYTES_MIN:
            raise self.unknown_frame(payload, payload_bytes)
        if kind == FRAME_HEADER and number != 0 and self.stage == RUNNING:
            self.number = number
            self.method = BASIC_PUBLISH
            channel = self.find_channel(number)
            if not channel.closing:
                self.publishing = True
                channel.content_header(payload, payload_bytes)
            return 0
        if kind == FRAME_HEADER or kind == FRAME_BODY or kind == FRAME_HEARTBEAT:
            raise UnexpectedFrame(frame_excerpt(kind, (<const char *>payload)[:payload_bytes]))
        raise self.unknown_frame(payload, payload_bytes)

    cdef Channel find_channel(self, uint16_t number):
        cdef Channel channel
        if number == self.last_number:
            return self.last_channel
        channel = self.channels.get(number)
        if channel is None:
            raise ChannelError("expected 'channel.open'")
        self.last_number = number
        self.last_channel = channel
        return channel

    cdef int method_frame(self, uint16_t number, const uint8_t *payload, uint32_t payload_bytes) except -1:
        cdef Channel channel
        cdef uint32_t method
        if payload_bytes < 4:
            raise self.unknown_frame(payload, payload_bytes)
        method = load_long(payload)
        self.number = number
        self.method = method
        if method != BASIC_PUBLISH and method != BASIC_ACK and method != BASIC_NACK and method != BASIC_REJECT:
            return self.cold_method(number, payload, payload_bytes)
        if self.stage != RUNNING or number == 0 or self.closing:
            return self.cold_method(number, payload, payload_bytes)
        channel = self.find_channel(number)
        if channel.closing:
            return 0
        if method == BASIC_PUBLISH:
            return channel.basic_publish(payload + 4, payload + payload_bytes)
        if method == BASIC_ACK:
            return channel.basic_ack(payload + 4, payload + payload_bytes)
        if method == BASIC_NACK:
            return channel.basic_nack(payload + 4, payload + payload_bytes)
        return channel.basic_reject(payload + 4, payload + payload_bytes)

    cdef int cold_method(self, uint16_t number, const uint8_t *payload, uint32_t payload_bytes) except -1:
        cdef Channel channel
        if self.closing and self.method != CONNECTION_CLOSE and self.method != CONNECTION_CLOSE_OK:
            return 0
        channel = self.channels.get(number)
        if channel is not None and not channel.closing and channel.expecting != METHOD_FRAME:
            channel.refuse_method()
        self.cold_methods += 1
        self.session.method(number, self.method >> 16, self.method & 0xFFFF, (<const char *>payload)[4:payload_bytes])
        return 0

    cdef int begin_body(self, uint16_t number, uint32_t payload_bytes) except -1:
        cdef Channel channel
        self.in_body = True
        self.body_left = payload_bytes
        self.body_channel = None
        if self.closing:
            return 0
        self.number = number
        self.method = BASIC_PUBLISH
        if number == 0:
            raise UnexpectedFrame(frame_excerpt(FRAME_BODY, b""))
        channel = self.find_channel(number)
        if not channel.closing:
            self.publishing = True
            channel.begin_body(payload_bytes)
            self.body_channel = channel
        return 0

    cdef bint continue_body(self, const uint8_t *end) except -1:
        """Take in what there is of a body frame. True when the frame is complete, its end octet included."""
        cdef uint64_t count = min(<uint64_t>(end - self.position), self.body_left)
        cdef const uint8_t *octets = self.position
        cdef Channel channel = self.body_channel
        self.position += count
        self.body_left -= count
        if channel is not None and not channel.closing:
            channel.content_body(octets, count)
        if self.position == end:
            return False
        if self.position[0] != FRAME_END:
            self.number = self.method = 0
            raise self.frame_error(BODY_TYPE, (<const char *>octets)[:min(count, <uint64_t>SHOWN_OCTETS_MAX + 1)],
                                   f"{{invalid_frame_end_marker,{self.position[0]}}}")
        self.position += 1
        self.in_body = False
        self.body_channel = None
        if channel is not None and not channel.closing:
            channel.end_body()
        return True
