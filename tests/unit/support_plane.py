"""The broker without sockets: real sessions and connections between an event loop and transports that only record.

What a test sends is copied into the window that Connection.get_buffer() exports, as an event loop would do it, and what
the broker writes is decoded by the tests' own codec. No time passes and no thread runs: everything a read leads to has
happened when `feed` returns. Not an event loop: timers are kept and never fire.
"""

import ctypes
import re
import struct
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from flowmq._connection import set_memory_limit
from flowmq._message import live_messages
from flowmq._peer import set_flush_scheduler
from flowmq._queue import Queue
from flowmq.server.config import AMQPSettings, LimitsSettings, Settings
from flowmq.server.entry import Entry
from flowmq.server.node import Node
from flowmq.server.session import Session
from tests.support import codec
from tests.support.codec import Method

NO_LIMIT = 2**64 - 1
MEMORY_BYTES = 2**40
SECRET = b"\0guest\0guest"


class Timer:
    def cancel(self) -> None:
        """Nothing to do: no timer here ever fires."""


class Loop:
    """What sessions use of an event loop. `run` does what has been asked to be done soon."""

    def __init__(self) -> None:
        self.soon: deque[tuple[Callable[..., object], tuple[object, ...]]] = deque()

    def call_soon(self, callback: Callable[..., object], *arguments: object) -> None:
        self.soon.append((callback, arguments))

    def time(self) -> float:
        return 0.0

    def add_reader(self, descriptor: int, callback: Callable[[], None]) -> None:
        """Nothing here comes from a descriptor; where the disk counts, the test calls disk_progressed() itself."""

    def remove_reader(self, descriptor: int) -> None:
        """As above."""

    def call_later(self, delay: float, callback: Callable[..., object], *arguments: object) -> Timer:
        return Timer()

    def run(self) -> None:
        while self.soon:
            callback, arguments = self.soon.popleft()
            callback(*arguments)


class Socket:
    def setsockopt(self, *_: object) -> None:
        """Taken and forgotten."""

    def fileno(self) -> int:
        return -1


class Transport:
    """Keeps what is written. With `full_at` it is a socket nobody reads: above so many octets it asks for a pause."""

    def __init__(self) -> None:
        self.protocol: Any = None
        self.writes: list[bytes] = []
        self.full_at: int | None = None
        self.waiting_bytes = 0
        self.reading = True
        self.pauses = 0
        self.closed = False

    def write(self, octets: bytes) -> None:
        self.writes.append(octets)
        if self.full_at is not None:
            self.waiting_bytes += len(octets)
            if self.waiting_bytes > self.full_at:
                self.protocol.pause_writing()

    def writelines(self, parts: list[bytes | memoryview]) -> None:
        self.write(b"".join(parts))

    def drain(self) -> None:
        """The client has read everything, and goes on reading."""
        self.full_at, self.waiting_bytes = None, 0
        self.protocol.resume_writing()

    def pause_reading(self) -> None:
        assert self.reading
        self.reading = False
        self.pauses += 1

    def resume_reading(self) -> None:
        assert not self.reading
        self.reading = True

    def get_write_buffer_size(self) -> int:
        return self.waiting_bytes

    def set_write_buffer_limits(self, high: int, low: int) -> None:
        """The limit is what the test says."""

    def get_extra_info(self, name: str) -> object:
        return Socket() if name == "socket" else ("127.0.0.1", 1)

    def close(self) -> None:
        self.closed = True

    abort = close


class Client:
    """One connection. `send` and `feed` are reads of the broker's; `received` is what it has written since."""

    def __init__(self, plane: "Plane", frame_max: int) -> None:
        self.plane, self.frame_max = plane, frame_max
        self.session = Session(plane.node, Entry(handshake_seconds=10.0, mechanisms=["PLAIN"]))
        self.connection = self.session.connection
        self.transport = Transport()
        self.transport.protocol = self.connection
        self.unread = b""
        self.connection.connection_made(self.transport)  # type: ignore[arg-type]

    def feed(self, octets: bytes) -> None:
        """In reads as large as the broker's buffer allows; while it does not read, the rest waits in `unread`."""
        self.unread += octets
        while self.unread and self.transport.reading and not self.transport.closed:
            self.unread = self.unread[self.read(self.unread) :]
            self.plane.loop.run()

    def read(self, octets: bytes) -> int:
        """One read of the event loop's: no more than fits."""
        count, _ = self.fill(octets)
        self.connection.buffer_updated(count)
        return count

    def fill(self, octets: bytes | memoryview) -> tuple[int, bool]:
        """The beginning of a read: how many octets were taken, and whether there was room for no more."""
        window = memoryview(self.connection.get_buffer(-1))
        count, room = min(len(window), len(octets)), len(window)
        window[:count] = octets[:count]
        window.release()
        return count, count == room

    def send(self, number: int, name: str, **fields: Any) -> None:
        self.feed(codec.method_frame(number, name, **fields))

    def take(self) -> bytes:
        """The octets written since the last time."""
        octets = b"".join(self.transport.writes)
        self.transport.writes.clear()
        return octets

    def received(self) -> list[Method]:
        return decode(self.take())

    def call(self, number: int, name: str, **fields: Any) -> Method:
        """The one answer; that nothing else comes is part of it."""
        self.send(number, name, **fields)
        methods = self.received()
        assert [method.name for method in methods] == [f"{name}-ok"], [str(method) for method in methods]
        return methods[0]

    def publish(self, number: int, key: str, body: bytes = b"", exchange: str = "", **properties: Any) -> None:
        self.feed(publish_frames(number, key, body, properties, exchange=exchange))

    def open(self, *numbers: int) -> "Client":
        """Through the handshake, and these channels opened."""
        self.feed(handshake_octets(self.frame_max) + b"".join(codec.method_frame(n, "channel.open") for n in numbers))
        names = [method.name for method in self.received()]
        assert names == ["connection.start", "connection.tune", "connection.open-ok"] + ["channel.open-ok"] * len(
            numbers
        )
        return self

    def lose(self) -> None:
        """The socket is gone."""
        self.connection.connection_lost(None)
        self.plane.loop.run()


class Plane:
    """A broker and its clients. As a context it ends them all and looks whether a message was left over."""

    def __init__(self, *, frame_max: int = 131072, **limits: Any) -> None:
        self.loop = Loop()
        self.messages_before = live_messages()
        set_flush_scheduler(self.loop.call_soon)
        limits = {"memory_bytes_max": MEMORY_BYTES, **limits}
        settings = Settings(amqp=AMQPSettings(frame_max=frame_max), limits=LimitsSettings(**limits))
        self.node = Node(settings, self.loop)  # type: ignore[arg-type]
        self.clients: list[Client] = []

    def client(self, *numbers: int, frame_max: int = 131072) -> Client:
        return self.connect(frame_max).open(*numbers)

    def connect(self, frame_max: int = 131072) -> Client:
        self.clients.append(Client(self, frame_max))
        return self.clients[-1]

    def queue(self, name: str) -> Queue:
        return self.node.broker.vhosts["/"].queues[name].queue

    def live(self) -> int:
        """Messages that are alive because of this broker."""
        return live_messages() - self.messages_before

    def __enter__(self) -> "Plane":
        return self

    def __exit__(self, kind: type | None, *_: object) -> None:
        for client in self.clients:
            if client.connection.transport is not None:
                client.lose()
        self.node.alarms.stop()
        for declared in list(self.node.broker.vhosts["/"].queues.values()):
            self.node.broker.vhosts["/"].delete_queue(declared)
        set_flush_scheduler(None)  # type: ignore[arg-type]
        set_memory_limit(NO_LIMIT)
        if kind is None:
            assert self.live() == 0, f"{self.live()} messages outlived their broker"


def handshake_octets(frame_max: int = 131072) -> bytes:
    capabilities = {"capabilities": {"basic.nack": True, "consumer_cancel_notify": True}}
    return (
        codec.PROTOCOL_HEADER
        + codec.method_frame(
            0, "connection.start-ok", client_properties=capabilities, mechanism="PLAIN", response=SECRET, locale="en_US"
        )
        + codec.method_frame(0, "connection.tune-ok", channel_max=2047, frame_max=frame_max, heartbeat=0)
        + codec.method_frame(0, "connection.open", virtual_host="/")
    )


def publish_frames(
    number: int,
    key: str,
    body: bytes = b"",
    properties: dict[str, Any] | bytes | None = None,
    *,
    exchange: str = "",
    mandatory: bool = False,
    frame_max: int = 131072,
) -> bytes:
    method = codec.method_frame(number, "basic.publish", exchange=exchange, routing_key=key, mandatory=mandatory)
    return method + codec.content_frames(number, body, properties, frame_max)


# ------------------------------------------------------------------------------------------------- what was written


def frames(octets: bytes) -> Iterator[tuple[int, int, bytes]]:
    """(type, channel, payload) of each; fails where octets are missing or an end octet is wrong."""
    at = 0
    while at < len(octets):
        kind, number, size = struct.unpack_from(">BHI", octets, at)
        payload = octets[at + 7 : at + 7 + size]
        assert len(payload) == size, f"a frame of {size} octets has {len(payload)}"
        assert octets[at + 7 + size] == codec.END, f"no end octet behind {payload!r}"
        yield kind, number, payload
        at += size + 8


def decode(octets: bytes) -> list[Method]:
    """The methods with their contents, which must be whole."""
    methods: list[Method] = []
    missing = 0
    for kind, number, payload in frames(octets):
        if kind == codec.METHOD:
            assert not missing, f"{missing} octets of body missing"
            methods.append(codec.decode_method(payload, number))
            continue
        assert methods[-1].channel == number, "content on another channel"
        if kind == codec.HEADER:
            methods[-1].header, missing = payload, struct.unpack_from(">Q", payload, 4)[0]
        else:
            methods[-1].body += payload
            missing -= len(payload)
    assert not missing, f"{missing} octets of body missing"
    return methods


def confirmed(methods: list[Method], told: int = 0) -> list[int]:
    """The publishes that these acks answer, in order; `told` is the last one answered before."""
    tags: list[int] = []
    for method in methods:
        if method.name == "basic.ack":
            tag = method.delivery_tag
            tags.extend(range(told + 1, tag + 1) if method.multiple else [tag])
            told = tag
    return tags


# ------------------------------------------------------------------------------------- compiled methods from Python


def compiled_method(kind: type, name: str, result: Any, *arguments: Any) -> Callable[..., Any]:
    """A cdef method of a compiled class as a function of (object, ...).

    For rules that no client can bring about yet. Such methods stand in the class's table of function pointers in the
    order in which its .pxd file declares them.
    """
    module = kind.__module__.rpartition(".")[2]
    text = (Path(__file__).resolve().parents[2] / "flowmq" / f"{module}.pxd").read_text()
    body = text.partition(f"cdef class {kind.__name__}")[2].partition("\ncdef ")[0]
    declared = re.findall(r"^    cdef [^(\n]*?\*?(\w+)\(", body, re.MULTILINE)
    pointer = ctypes.pythonapi.PyCapsule_GetPointer
    pointer.restype, pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    table = ctypes.cast(pointer(kind.__pyx_vtable__, None), ctypes.POINTER(ctypes.c_void_p))  # type: ignore[attr-defined]
    address = table[declared.index(name)]
    return ctypes.PYFUNCTYPE(result, ctypes.py_object, *arguments)(address)
