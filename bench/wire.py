"""The few AMQP frames a benchmark needs before and after the load: log in, declare, bind, consume, close.

Blocking and slow on purpose, with no code of the broker's in it. It reads exactly one frame at a time, so a socket can
be handed to the load generator at any moment with nothing left behind in a buffer.
"""

import contextlib
import socket
import struct
from collections.abc import Sequence
from types import TracebackType
from typing import NamedTuple, Self
from urllib.parse import unquote, urlsplit

FRAME_METHOD, FRAME_HEADER, FRAME_BODY, FRAME_HEARTBEAT = 1, 2, 3, 8
FRAME_END = b"\xce"
FRAME_OVERHEAD_BYTES = 8
FRAME_BYTES_MAX = 131072
CHANNEL = 1
TIMEOUT_SECONDS = 60.0
REQUESTS_IN_FLIGHT = 500  # their answers fit the socket's buffers

CONNECTION_START, CONNECTION_START_OK = (10, 10), (10, 11)
CONNECTION_TUNE, CONNECTION_TUNE_OK = (10, 30), (10, 31)
CONNECTION_OPEN, CONNECTION_OPEN_OK = (10, 40), (10, 41)
CONNECTION_CLOSE, CONNECTION_CLOSE_OK = (10, 50), (10, 51)
CHANNEL_OPEN, CHANNEL_OPEN_OK = (20, 10), (20, 11)
CHANNEL_CLOSE, CHANNEL_CLOSE_OK = (20, 40), (20, 41)
EXCHANGE_DECLARE, EXCHANGE_DECLARE_OK = (40, 10), (40, 11)
EXCHANGE_DELETE, EXCHANGE_DELETE_OK = (40, 20), (40, 21)
QUEUE_DECLARE, QUEUE_DECLARE_OK = (50, 10), (50, 11)
QUEUE_BIND, QUEUE_BIND_OK = (50, 20), (50, 21)
QUEUE_DELETE, QUEUE_DELETE_OK = (50, 40), (50, 41)
BASIC_QOS, BASIC_QOS_OK = (60, 10), (60, 11)
BASIC_CONSUME, BASIC_CONSUME_OK = (60, 20), (60, 21)
CONFIRM_SELECT, CONFIRM_SELECT_OK = (85, 10), (85, 11)

DELIVERY_MODE_FLAG = 0x1000
HEADERS_FLAG = 0x2000
PRIORITY_FLAG = 0x0800
EXPIRATION_FLAG = 0x0100
PERSISTENT = 2


Fields = tuple[tuple[str, int | str], ...]


class ProtocolError(Exception):
    """The broker closed, or answered what was not asked."""


class Address(NamedTuple):
    host: str
    port: int
    user: str = "guest"
    password: str = "guest"
    vhost: str = "/"

    @classmethod
    def from_url(cls, url: str) -> Self:
        """amqp://user:password@host:port/vhost, the vhost percent-encoded; an empty one is the vhost `/`."""
        parts = urlsplit(url)
        if parts.scheme != "amqp" or not parts.hostname:
            raise ValueError(f"not an amqp:// address: {url}")
        return cls(
            parts.hostname,
            parts.port or 5672,
            unquote(parts.username or "guest"),
            unquote(parts.password or "guest"),
            unquote(parts.path[1:]) or "/",
        )


def short_string(text: str) -> bytes:
    octets = text.encode()
    return struct.pack(">B", len(octets)) + octets


def long_string(octets: bytes) -> bytes:
    return struct.pack(">I", len(octets)) + octets


def frame(kind: int, channel: int, payload: bytes) -> bytes:
    return struct.pack(">BHI", kind, channel, len(payload)) + payload + FRAME_END


def method_frame(channel: int, method: tuple[int, int], arguments: bytes) -> bytes:
    return frame(FRAME_METHOD, channel, struct.pack(">HH", *method) + arguments)


def field_table(fields: Fields) -> bytes:
    """Numbers of 32 bits and texts."""
    octets = b"".join(
        short_string(name)
        + (b"S" + long_string(value.encode()) if isinstance(value, str) else struct.pack(">ci", b"I", value))
        for name, value in fields
    )
    return long_string(octets)


class Properties(NamedTuple):
    persistent: bool = False
    priority: int = 0
    headers: Fields = ()
    expiration: str = ""

    def encode(self) -> bytes:
        flags, values = 0, b""
        if self.headers:
            flags, values = flags | HEADERS_FLAG, values + field_table(self.headers)
        if self.persistent:
            flags, values = flags | DELIVERY_MODE_FLAG, values + bytes([PERSISTENT])
        if self.priority:
            flags, values = flags | PRIORITY_FLAG, values + bytes([self.priority])
        if self.expiration:
            flags, values = flags | EXPIRATION_FLAG, values + short_string(self.expiration)
        return struct.pack(">H", flags) + values


def publish_image(exchange: str, routing_key: str, body: bytes, properties: Properties) -> tuple[bytes, int]:
    """One basic.publish as it goes out on channel 1, and where in it the body begins."""
    method = struct.pack(">HHH", 60, 40, 0) + short_string(exchange) + short_string(routing_key) + b"\0"
    header = struct.pack(">HHQ", 60, 0, len(body)) + properties.encode()
    head = frame(FRAME_METHOD, CHANNEL, method) + frame(FRAME_HEADER, CHANNEL, header)
    room = FRAME_BYTES_MAX - FRAME_OVERHEAD_BYTES
    cuts = [body[start : start + room] for start in range(0, len(body), room)]
    return head + b"".join(frame(FRAME_BODY, CHANNEL, cut) for cut in cuts), len(head) + 7


def queue_declare(queue: str, durable: bool, arguments: Fields = ()) -> bytes:
    return b"\0\0" + short_string(queue) + bytes([durable << 1]) + field_table(arguments)


def queue_bind(queue: str, exchange: str, key: str) -> bytes:
    names = short_string(queue) + short_string(exchange) + short_string(key)
    return b"\0\0" + names + b"\0" + long_string(b"")


def handshake(address: Address) -> list[tuple[bytes, tuple[int, int]]]:
    """What a client says to get to an open connection, and what it is answered each time; with limits as they are."""
    return [
        (b"AMQP\0\0\x09\x01", CONNECTION_START),
        (method_frame(0, CONNECTION_START_OK, start_ok(address)), CONNECTION_TUNE),
        (
            method_frame(0, CONNECTION_TUNE_OK, struct.pack(">HIH", CHANNEL, FRAME_BYTES_MAX, 0))
            + method_frame(0, CONNECTION_OPEN, short_string(address.vhost) + b"\0\0"),
            CONNECTION_OPEN_OK,
        ),
    ]


def start_ok(address: Address) -> bytes:
    login = b"\0" + address.user.encode() + b"\0" + address.password.encode()
    return long_string(b"") + short_string("PLAIN") + long_string(login) + short_string("en_US")


class Connection:
    """A blocking connection with channel 1 open."""

    def __init__(self, address: Address, *, with_channel: bool = True) -> None:
        self.socket = socket.create_connection((address.host, address.port), TIMEOUT_SECONDS)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.open(address)
        if with_channel:
            self.open_channel()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def open(self, address: Address) -> None:
        self.socket.sendall(b"AMQP\0\0\x09\x01")
        self.expect(CONNECTION_START)
        self.send(0, CONNECTION_START_OK, start_ok(address))
        channel_max, frame_max, _ = struct.unpack(">HIH", self.expect(CONNECTION_TUNE)[:8])
        if 0 < frame_max < FRAME_BYTES_MAX:
            raise ProtocolError(f"the broker allows only frames of {frame_max} octets")
        self.send(0, CONNECTION_TUNE_OK, struct.pack(">HIH", channel_max, FRAME_BYTES_MAX, 0))
        self.send(0, CONNECTION_OPEN, short_string(address.vhost) + b"\0\0")
        self.expect(CONNECTION_OPEN_OK)

    def open_channel(self) -> None:
        self.call(CHANNEL_OPEN, b"\0", CHANNEL_OPEN_OK)

    def close_channel(self) -> None:
        self.call(CHANNEL_CLOSE, struct.pack(">H", 200) + short_string("") + bytes(4), CHANNEL_CLOSE_OK)

    def send(self, channel: int, method: tuple[int, int], arguments: bytes) -> None:
        self.socket.sendall(method_frame(channel, method, arguments))

    def call(self, method: tuple[int, int], arguments: bytes, answer: tuple[int, int]) -> bytes:
        self.send(CHANNEL, method, arguments)
        return self.expect(answer)

    def expect(self, method: tuple[int, int]) -> bytes:
        """The arguments of the next method, which has to be this one."""
        came, arguments = self.read_method()
        if came == method:
            return arguments
        if came in (CONNECTION_CLOSE, CHANNEL_CLOSE):
            (code,) = struct.unpack(">H", arguments[:2])
            raise ProtocolError(f"the broker closed: {code} {arguments[3 : 3 + arguments[2]].decode(errors='replace')}")
        raise ProtocolError(f"method {came} came instead of {method}")

    def expect_content(self, method: tuple[int, int]) -> bytes:
        """The body that comes with the next method, which has to be this one."""
        self.expect(method)
        _, header = self.read_frame()
        (missing,) = struct.unpack(">Q", header[4:12])
        body = b""
        while len(body) < missing:
            body += self.read_frame()[1]
        return body

    def read_method(self) -> tuple[tuple[int, int], bytes]:
        kind, payload = self.read_frame()
        while kind == FRAME_HEARTBEAT:
            kind, payload = self.read_frame()
        if kind != FRAME_METHOD:
            raise ProtocolError(f"a frame of type {kind} came instead of a method")
        class_id, method_id = struct.unpack(">HH", payload[:4])
        return (class_id, method_id), payload[4:]

    def read_frame(self) -> tuple[int, bytes]:
        kind, _, size = struct.unpack(">BHI", self.read_exactly(7))
        payload = self.read_exactly(size + 1)
        if payload[-1:] != FRAME_END:
            raise ProtocolError("a frame that does not end in 0xCE")
        return kind, payload[:-1]

    def read_exactly(self, count: int) -> bytes:
        octets = b""
        while len(octets) < count:
            more = self.socket.recv(count - len(octets))
            if not more:
                raise ProtocolError("the broker closed the connection without a word")
            octets += more
        return octets

    def pipeline(self, requests: Sequence[bytes], answer: tuple[int, int]) -> None:
        """Send them without waiting for each one's answer; every one must be this method."""
        for start in range(0, len(requests), REQUESTS_IN_FLIGHT):
            some = requests[start : start + REQUESTS_IN_FLIGHT]
            self.socket.sendall(b"".join(some))
            for _ in some:
                self.expect(answer)

    def declare_queue(self, queue: str, *, durable: bool = False, arguments: Fields = ()) -> None:
        self.call(QUEUE_DECLARE, queue_declare(queue, durable, arguments), QUEUE_DECLARE_OK)

    def declare_queues(self, queues: Sequence[str], *, durable: bool = False) -> None:
        requests = [method_frame(CHANNEL, QUEUE_DECLARE, queue_declare(queue, durable)) for queue in queues]
        self.pipeline(requests, QUEUE_DECLARE_OK)

    def delete_queues(self, queues: Sequence[str]) -> None:
        deletes = (b"\0\0" + short_string(queue) + b"\0" for queue in queues)
        self.pipeline([method_frame(CHANNEL, QUEUE_DELETE, each) for each in deletes], QUEUE_DELETE_OK)

    def delete_queue(self, queue: str) -> None:
        self.call(QUEUE_DELETE, b"\0\0" + short_string(queue) + b"\0", QUEUE_DELETE_OK)

    def declare_exchange(self, exchange: str, kind: str, arguments: Fields = ()) -> None:
        octets = b"\0\0" + short_string(exchange) + short_string(kind) + b"\0" + field_table(arguments)
        self.call(EXCHANGE_DECLARE, octets, EXCHANGE_DECLARE_OK)

    def delete_exchange(self, exchange: str) -> None:
        self.call(EXCHANGE_DELETE, b"\0\0" + short_string(exchange) + b"\0", EXCHANGE_DELETE_OK)

    def bind_queue(self, queue: str, exchange: str, key: str) -> None:
        self.call(QUEUE_BIND, queue_bind(queue, exchange, key), QUEUE_BIND_OK)

    def bind_queues(self, exchange: str, bindings: Sequence[tuple[str, str]]) -> None:
        """Of each the queue and the binding key."""
        requests = [method_frame(CHANNEL, QUEUE_BIND, queue_bind(queue, exchange, key)) for queue, key in bindings]
        self.pipeline(requests, QUEUE_BIND_OK)

    def prefetch(self, count: int) -> None:
        self.call(BASIC_QOS, struct.pack(">IHB", 0, count, 0), BASIC_QOS_OK)

    def consume(self, queue: str, *, no_ack: bool, consumer_tag: str = "") -> None:
        arguments = b"\0\0" + short_string(queue) + short_string(consumer_tag) + bytes([no_ack << 1]) + long_string(b"")
        self.call(BASIC_CONSUME, arguments, BASIC_CONSUME_OK)

    def select_confirms(self) -> None:
        self.call(CONFIRM_SELECT, b"\0", CONFIRM_SELECT_OK)

    def close(self) -> None:
        """Say good-bye in order, past whatever is still in flight; a broker that is gone needs no good-bye."""
        with contextlib.suppress(OSError, ProtocolError), self.socket:
            self.socket.settimeout(TIMEOUT_SECONDS)
            self.send(0, CONNECTION_CLOSE, struct.pack(">H", 200) + short_string("bench is done") + bytes(4))
            while self.read_frame()[1][:4] != struct.pack(">HH", *CONNECTION_CLOSE_OK):
                pass
