# See _content.pxd for what this module is and is not.

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.string cimport memcmp, memcpy

from flowmq._frame cimport (
    FLOWMQ_CONTRACT, FRAME_BODY, FRAME_HEADER, FRAME_OVERHEAD_BYTES, FRAME_PREFIX_BYTES,
    Cursor, frame_ends_well, load_long, load_long_long, load_short, read_octet, skip_bytes, skip_short_string,
)
from flowmq._message cimport (
    BODY_RESERVED_BYTES_MAX, has_sender_selected_keys, message_body, message_make_room, message_new, message_release,
    scan_properties, with_short_string,
)
from flowmq._order cimport queue_now
from flowmq._rewrite cimport header_value

from flowmq._frame import check_contract
from flowmq._queue import header_too_large
from flowmq.amqp.errors import (
    AccessRefused, FrameError, NotFound, NotImplementedByBroker, PreconditionFailed, ResourceError, UnexpectedFrame,
)
from flowmq.amqp.method import undecodable
from flowmq.broker.publishing import expiration_ms, sender_selected_keys

check_contract(FLOWMQ_CONTRACT)

cdef enum:
    HEADER_FIXED_BYTES = 14     # class, weight, body size, property flags
    BODY_CLASS = 60
    WRITABLE_MAX = 1000         # names of exchanges remembered per connection

cdef bytes REPLY_TO = b"amq.rabbitmq.reply-to"


cdef class ContentReceiver(Outlet):
    """The receiving half of a channel. Implemented whole by Channel."""

    def __dealloc__(self):
        if self.message != NULL:
            message_release(self.message)

    cdef int finish_publish(self) except -1:
        raise NotImplementedError("ContentReceiver.finish_publish")

    cdef int basic_publish(self, const uint8_t *arguments, const uint8_t *end) except -1:
        cdef const uint8_t *names = arguments + 2
        cdef Py_ssize_t names_bytes = end - arguments - 3
        if self.expecting != METHOD_FRAME:
            self.refuse_method()
        self.memo_holds = (self.memo_valid_bytes and names_bytes == <Py_ssize_t>self.memo_valid_bytes
                           and memcmp(names, self.memo_names, self.memo_valid_bytes) == 0)
        if not self.memo_holds:
            if not are_names(arguments, end):
                raise undecodable((<const char *>arguments)[:end - arguments])
            memcpy(self.names, names, names_bytes)
        self.names_bytes = <uint32_t>names_bytes
        if (end - 1)[0] & 2:
            raise NotImplementedByBroker("immediate=true")
        self.mandatory = (end - 1)[0] & 1
        self.expecting = HEADER_FRAME
        return 0

    def refuse_method(self):
        kind = "header for class 60" if self.expecting == HEADER_FRAME else "body"
        self.expecting = METHOD_FRAME
        raise UnexpectedFrame(f"expected content {kind}, got non content {kind.split()[0]} frame instead")

    cdef int content_header(self, const uint8_t *payload, uint32_t payload_bytes) except -1:
        cdef Properties properties
        cdef uint64_t body_bytes
        cdef bytes rewritten
        if self.expecting != HEADER_FRAME:
            self.refuse_content("header")
        if payload_bytes < HEADER_FIXED_BYTES or not scan_properties(payload, payload_bytes, &properties):
            raise undecodable((<const char *>payload)[:payload_bytes])
        if load_short(payload) != BODY_CLASS:
            raise UnexpectedFrame(
                f"expected content header for class 60, got one for class {load_short(payload)} instead"
            )
        body_bytes = load_long_long(payload + 4)
        if body_bytes > self.peer.message_bytes_max:
            raise PreconditionFailed(
                f"message size {body_bytes} is larger than configured max size {self.peer.message_bytes_max}",
                limit="message_bytes",
            )
        if payload_bytes > self.peer.header_bytes_max:
            raise PreconditionFailed(
                f"header size {payload_bytes} is larger than configured max size {self.peer.header_bytes_max}",
                limit="header_bytes",
            )
        if not self.memo_holds:
            self.find_exchange()
        self.selected_keys = None
        self.expires_at_ms = 0
        if properties.reply_to_at or properties.expiration_at or properties.headers_at or properties.user_id_at:
            rewritten = self.rewrite_header(payload, payload_bytes, &properties)
            if rewritten is not None:
                payload = <const uint8_t *>PyBytes_AS_STRING(rewritten)
                payload_bytes = <uint32_t>PyBytes_GET_SIZE(rewritten)
                scan_properties(payload, payload_bytes, &properties)
        self.message = message_new(self.memo_names, self.memo_names_bytes, payload, payload_bytes, body_bytes,
                                   &properties)
        if self.message == NULL:
            raise ResourceError("out of memory")
        if self.selected_keys is not None:
            # They stay there, for when it dies or goes on after a delay; but nobody is shown them.
            self.message.blind = header_value(self.message, b"BCC") is not None
        self.received_bytes = 0
        if body_bytes == 0:
            self.finish_publish()
        else:
            self.expecting = BODY_FRAME
        return 0

    def refuse_content(self, kind):
        if self.expecting == METHOD_FRAME:
            raise UnexpectedFrame("expected method frame, got non method frame instead")
        expected = "header for class 60" if self.expecting == HEADER_FRAME else "body"
        raise UnexpectedFrame(f"expected content {expected}, got non content {expected.split()[0]} frame instead")

    cdef int begin_body(self, uint64_t count) except -1:
        if self.expecting != BODY_FRAME:
            self.refuse_content("body")
        if count > self.message.body_bytes - self.received_bytes:
            raise FrameError("content body frame exceeds remaining content size")
        return 0

    cdef int content_body(self, const uint8_t *octets, uint64_t count) except -1:
        cdef Message *message = self.message
        message = message_make_room(message, self.received_bytes + count)
        if message == NULL:
            raise ResourceError("out of memory")
        self.message = message
        memcpy(message_body(message) + self.received_bytes, octets, count)
        self.received_bytes += count
        return 0

    cdef int whole_body(self, const uint8_t *octets) except -1:
        if self.message.body_bytes > BODY_RESERVED_BYTES_MAX:
            self.content_body(octets, self.message.body_bytes)
        else:
            memcpy(message_body(self.message), octets, self.message.body_bytes)
        return self.finish_publish()

    cdef int end_body(self) except -1:
        if self.received_bytes == self.message.body_bytes:
            self.finish_publish()
        return 0

    cdef int find_exchange(self) except -1:
        """Make the names just received the remembered ones."""
        cdef bytes name
        cdef Exchange exchange
        if self.memo_valid_bytes and not self.exchange.deleted and memcmp(
            self.names, self.memo_names, 1 + <uint8_t>self.names[0]
        ) == 0:
            # The same exchange by another key.
            return self.remember_names(self.exchange)
        name = self.names[1:1 + <uint8_t>self.names[0]]
        if self.peer.access is not None and name not in self.peer.writable:
            self.check_write(name)
        exchange = self.vhost.exchanges.get(name)
        if exchange is None:
            raise NotFound(f"no exchange '{text(name)}' in vhost '{self.vhost.name}'")
        if exchange.internal:
            raise AccessRefused(f"cannot publish to internal exchange '{text(name)}' in vhost '{self.vhost.name}'")
        return self.remember_names(exchange)

    cdef int remember_names(self, Exchange exchange) except -1:
        if self.peer.topics_restricted:
            self.check_topics(exchange, [self.names[2 + <uint8_t>self.names[0]:self.names_bytes]])
        memcpy(self.memo_names, self.names, self.names_bytes)
        self.memo_names_bytes = self.memo_valid_bytes = self.names_bytes
        self.exchange = exchange
        self.memo_routes = None
        return 0

    cdef int check_write(self, bytes name) except -1:
        self.peer.access.check("write", "exchange", text(name))
        if len(self.peer.writable) >= WRITABLE_MAX:
            self.peer.writable.clear()
        self.peer.writable.add(name)
        return 0

    cdef int check_topics(self, Exchange exchange, list keys) except -1:
        """Also of an exchange that routes by topic after something else, such as a delay."""
        if exchange.type == "topic":
            for key in keys:
                self.peer.access.check_topic("write", text(exchange.name), text(key))
        return 0

    cdef int forget_permissions(self) except -1:
        if self.expecting == HEADER_FRAME and self.memo_holds:
            # Nothing but the names has come: it is looked at again with the header.
            memcpy(self.names, self.memo_names, self.memo_names_bytes)
            self.memo_holds = False
        self.memo_valid_bytes = 0
        return 0

    cdef bytes rewrite_header(self, const uint8_t *payload, uint32_t payload_bytes, Properties *properties):
        """Act on the properties that mean something to a broker; a new header payload when it must change, or None."""
        cdef bytes rewritten = None
        cdef bytes headers
        if properties.reply_to_bytes == PyBytes_GET_SIZE(REPLY_TO) and memcmp(
            payload + properties.reply_to_at, PyBytes_AS_STRING(REPLY_TO), properties.reply_to_bytes
        ) == 0:
            if self.reply_consumer is None:
                raise PreconditionFailed("fast reply consumer does not exist")
            rewritten = with_short_string(payload, payload_bytes, properties.reply_to_at, properties.reply_to_bytes,
                                          self.reply_key)
            payload = <const uint8_t *>PyBytes_AS_STRING(rewritten)
            payload_bytes = <uint32_t>PyBytes_GET_SIZE(rewritten)
            scan_properties(payload, payload_bytes, properties)
        if properties.expiration_at:
            self.read_expiration(payload, properties)
        if properties.headers_bytes and has_sender_selected_keys(payload + properties.headers_at,
                                                                 properties.headers_bytes):
            headers = (<const char *>payload)[properties.headers_at:properties.headers_at + properties.headers_bytes]
            self.selected_keys = sender_selected_keys(headers)
            if self.peer.topics_restricted:
                self.check_topics(self.exchange, self.selected_keys)
            self.selected_keys.insert(0, self.routing_key())
        if properties.user_id_at:
            self.check_user(payload, properties)
        return rewritten

    def routing_key(self):
        cdef uint8_t exchange_bytes = <uint8_t>self.memo_names[0]
        return self.memo_names[2 + exchange_bytes:self.memo_names_bytes]

    cdef int read_expiration(self, const uint8_t *payload, Properties *properties) except -1:
        cdef const uint8_t *digits = payload + properties.expiration_at
        cdef uint64_t value = 0
        cdef uint8_t at
        for at in range(properties.expiration_bytes):
            if digits[at] < c'0' or digits[at] > c'9' or at == 11:
                value = expiration_ms((<const char *>digits)[:properties.expiration_bytes])
                break
            value = value * 10 + (digits[at] - c'0')
        if properties.expiration_bytes == 0:
            value = expiration_ms(b"")
        self.expires_at_ms = queue_now() + value
        return 0

    cdef int check_user(self, const uint8_t *payload, Properties *properties) except -1:
        cdef const char *claimed = <const char *>payload + properties.user_id_at
        if properties.user_id_bytes == PyBytes_GET_SIZE(self.peer.user) and memcmp(
            claimed, PyBytes_AS_STRING(self.peer.user), properties.user_id_bytes
        ) == 0:
            return 0
        if self.peer.access is not None and self.peer.access.may_impersonate:
            return 0
        raise PreconditionFailed(
            f"user_id property set to '{text(claimed[:properties.user_id_bytes])}' "
            f"but authenticated user was '{text(self.peer.user)}'"
        )

    cdef int cannot_send(self, Consumer consumer, uint32_t header_bytes) except -1:
        """A frame must not be larger than agreed, and a header must be one frame: this connection ends."""
        self.peer.outgoing_bytes_max = 0        # nothing more is delivered meanwhile
        (<object>self.peer).session.cannot_send(
            header_too_large(consumer.queue.name, header_bytes, consumer.header_bytes_max)
        )
        return 0

    cdef int abandon_publish(self) except -1:
        self.expecting = METHOD_FRAME
        if self.message != NULL:
            message_release(self.message)
            self.message = NULL
        return 0


# ------------------------------------------------------------------------------------------------------ leaves

cdef bint find_whole_publish(const uint8_t *at, const uint8_t *end, WholePublish *publish) noexcept nogil:
    cdef const uint8_t *header
    cdef const uint8_t *body
    cdef uint32_t count
    count = load_long(at + 3)
    if count < 4:
        return False
    header = at + FRAME_OVERHEAD_BYTES + count
    if end - header < FRAME_OVERHEAD_BYTES + HEADER_FIXED_BYTES or not frame_ends_well(at) or header[0] != FRAME_HEADER:
        return False
    publish.number = load_short(at + 1)
    publish.arguments = at + FRAME_PREFIX_BYTES + 4
    publish.method_end = header
    publish.largest_bytes = count
    count = load_long(header + 3)
    if load_short(header + 1) != publish.number or count < HEADER_FIXED_BYTES:
        return False
    publish.header = header + FRAME_PREFIX_BYTES
    publish.header_bytes = count
    body = header + FRAME_OVERHEAD_BYTES + count
    if end - body < FRAME_OVERHEAD_BYTES or not frame_ends_well(header) or body[0] != FRAME_BODY:
        return False
    publish.header_end = body
    count = load_long(body + 3)
    if load_short(body + 1) != publish.number or count == 0 or count != load_long_long(publish.header + 4):
        return False
    publish.body = body + FRAME_PREFIX_BYTES
    publish.body_bytes = count
    publish.end = body + FRAME_OVERHEAD_BYTES + count
    publish.largest_bytes = max(publish.largest_bytes, publish.header_bytes, publish.body_bytes)
    return publish.end <= end and frame_ends_well(body)


cdef inline bint are_names(const uint8_t *arguments, const uint8_t *end) noexcept nogil:
    """A reserved short, the names of exchange and key, and an octet of bits."""
    cdef Cursor cursor
    cdef uint8_t bits
    cursor.position = arguments
    cursor.end = end
    return (skip_bytes(&cursor, 2) and skip_short_string(&cursor) and skip_short_string(&cursor)
            and read_octet(&cursor, &bits) and cursor.position == end)


cdef str text(bytes name):
    return name.decode("utf-8", "surrogateescape")
