"""The WebSocket between a socket and a connection, without either: any octets, in any pieces, do no harm."""

import asyncio
import struct
from itertools import pairwise
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from flowmq.server.listener_settings import WebSocketSettings
from flowmq.server.websocket import WebSocketTransport
from tests.support.websocket import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, frame, request

ROOM = 7  # octets that the connection takes at once: less than most frames have


class Below:
    """The transport below."""

    def __init__(self) -> None:
        self.written = b""
        self.closed = self.aborted = False
        self.reading = True

    def write(self, octets: bytes) -> None:
        assert not self.closed, "written after the end"
        self.written += octets

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.closed = self.aborted = True

    def is_closing(self) -> bool:
        return self.closed

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True


class Connection:
    """Takes what comes; after every third piece it wants no more for a moment, as the real one does."""

    def __init__(self) -> None:
        self.was_open = True
        self.connection = self
        self.buffer = bytearray(ROOM)
        self.received = b""
        self.reads = 0
        self.transport: Any = None
        self.lost = 0

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def get_buffer(self, _: int) -> bytearray:
        return self.buffer

    def buffer_updated(self, count: int) -> None:
        assert 0 < count <= ROOM
        assert not self.lost
        self.received += self.buffer[:count]
        self.reads += 1
        if self.reads % 3 == 0:
            self.transport.pause_reading()
            asyncio.get_running_loop().call_soon(self.transport.resume_reading)

    def connection_lost(self, _: Exception | None) -> None:
        self.lost += 1


async def through(pieces: list[bytes]) -> tuple[Below, Connection]:
    """What becomes of them, until nothing is left to be read and the client has gone."""
    below, connection = Below(), Connection()
    deadline = asyncio.get_running_loop().time() + 60
    transport = WebSocketTransport(WebSocketSettings(), "test", deadline, lambda: connection, lambda: None)  # type: ignore[arg-type, return-value]
    transport.connection_made(below)  # type: ignore[arg-type]
    for piece in pieces:
        while not below.reading and not below.closed:
            await asyncio.sleep(0)
        if below.closed:
            break
        transport.data_received(piece)
    if not below.closed:
        transport.eof_received()
    while transport.received and not below.aborted:
        await asyncio.sleep(0)
    transport.connection_lost(None)
    return below, connection


def cut(octets: bytes, at: list[int]) -> list[bytes]:
    places = sorted({0, len(octets), *(place % (len(octets) + 1) for place in at)})
    return [octets[start:end] for start, end in pairwise(places)]


CUTS = st.lists(st.integers(0, 10_000), max_size=10)
BODIES = st.lists(st.binary(max_size=300), max_size=8)


@given(BODIES, CUTS)
def test_what_the_frames_hold_arrives_whole_and_in_order(bodies: list[bytes], at: list[int]) -> None:
    octets = request() + b"".join(frame(BINARY, body) for body in bodies) + frame(CLOSE, struct.pack(">H", 1000))
    below, connection = asyncio.run(through(cut(octets, at)))
    assert connection.received == b"".join(bodies)
    assert below.written.startswith(b"HTTP/1.1 101 ")
    assert below.written.endswith(b"\x88\x02\x03\xe8")  # its own goodbye
    assert connection.lost == 1


FRAMES = st.builds(
    frame,
    st.sampled_from([CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG, 3, 11]),
    st.binary(max_size=200),
    final=st.booleans(),
    announced=st.none() | st.sampled_from([0, 1, 125, 126, 65535, 65536, 1 << 40, (1 << 63) - 1]),
)
JUNK = st.lists(FRAMES | st.binary(max_size=50), max_size=8).map(b"".join)
BEGINNINGS = st.sampled_from(
    [request(), request(subprotocol="mqtt"), request(origin="https://a.example"), b"GET ", b""]
)


@given(BEGINNINGS, JUNK, CUTS)
def test_any_octets_end_in_order(beginning: bytes, junk: bytes, at: list[int]) -> None:
    below, connection = asyncio.run(through(cut(beginning + junk, at)))
    assert connection.lost == (connection.transport is not None)
    assert connection.transport is None or below.written.startswith(b"HTTP/1.1 101 ")


def test_a_client_that_reads_nothing_gets_no_pongs() -> None:
    async def run() -> tuple[int, int]:
        below, connection = Below(), Connection()
        later = asyncio.get_running_loop().time() + 60
        transport = WebSocketTransport(WebSocketSettings(), "test", later, lambda: connection, lambda: None)  # type: ignore[arg-type, return-value]
        transport.connection_made(below)  # type: ignore[arg-type]
        transport.data_received(request())
        before = len(below.written)
        transport.is_full = True
        transport.data_received(frame(PING, b"p") * 1000)
        while_full = len(below.written) - before
        transport.is_full = False
        transport.data_received(frame(PING, b"p"))
        transport.connection_lost(None)
        return while_full, len(below.written) - before

    assert asyncio.run(run()) == (0, 3)
