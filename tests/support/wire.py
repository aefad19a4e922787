"""A blocking AMQP 0-9-1 client for tests: it sends whatever it is told to and says exactly what came back.

It is not a library for programs: nothing is retried, nothing is answered by itself, no frame is hidden but
heartbeats, and an answer other than the expected one fails the test with the text of what came instead.
"""

import contextlib
import socket
import struct
from collections import deque
from typing import Any, NamedTuple

from tests.support import codec
from tests.support.channel import Channel, Unexpected, check_close
from tests.support.codec import BODY, HEADER, HEARTBEAT, METHOD, Method
from tests.support.peer import Peer
from tests.support.websocket import WebSocket

__all__ = [
    "CAPABILITIES",
    "TIMEOUT",
    "Channel",
    "Client",
    "Frame",
    "Gone",
    "Unexpected",
    "amqplain",
    "connect",
    "plain",
]

TIMEOUT = 30.0
CAPABILITIES = {
    "publisher_confirms": True,
    "exchange_exchange_bindings": True,
    "basic.nack": True,
    "consumer_cancel_notify": True,
    "connection.blocked": True,
    "authentication_failure_close": True,
}


class Gone(AssertionError):
    """The peer closed the socket where an answer was expected."""


class Frame(NamedTuple):
    kind: int
    channel: int
    payload: bytes


def plain(user: str, password: str) -> bytes:
    return b"\0" + codec.octets(user) + b"\0" + codec.octets(password)


def amqplain(user: str, password: str) -> bytes:
    return codec.table_fields({"LOGIN": user, "PASSWORD": password})


MECHANISMS = {"PLAIN": plain, "AMQPLAIN": amqplain}


class Client:
    """One connection. Methods are kept per channel in the order they came until a test asks for them."""

    def __init__(self, peer: Peer, timeout: float = TIMEOUT) -> None:
        self.peer = peer
        connected = socket.create_connection((peer.host, peer.port), timeout)
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connected.sendall(peer.greeting)
        if peer.tls is not None:
            connected = peer.tls.wrap_socket(connected, server_hostname=peer.server_name)
        self.socket: Any = WebSocket(connected) if peer.websocket else connected
        self.frame_max = 4096
        self.tuned: Method | None = None
        self.server_properties: dict[str, Any] = {}
        self._buffer = bytearray()
        self._inbox: deque[Method] = deque()
        self._unfinished: dict[int, Method] = {}
        self._next_channel = 1
        self._confirming: Channel | None = None

    # bytes

    def write(self, data: bytes) -> None:
        self.socket.sendall(data)

    def _fill(self) -> bool:
        try:
            data = self.socket.recv(1 << 18)
        except ConnectionResetError:
            return False
        self._buffer += data
        return bool(data)

    def read_exactly(self, count: int) -> bytes:
        while len(self._buffer) < count:
            if not self._fill():
                raise Gone(f"closed after {bytes(self._buffer)!r}, {count} octets expected")
        data = bytes(self._buffer[:count])
        del self._buffer[:count]
        return data

    def read_until_eof(self) -> bytes:
        """All that still comes before the peer closes the socket."""
        while self._fill():
            pass
        data = bytes(self._buffer)
        self._buffer.clear()
        return data

    def read_frame(self) -> Frame:
        kind, channel, size = struct.unpack(">BHI", self.read_exactly(7))
        payload = self.read_exactly(size)
        end = self.read_exactly(1)
        assert end == b"\xce", f"frame of type {kind} ends in {end!r}"
        return Frame(kind, channel, payload)

    # methods

    def send(self, channel: int, name: str, **fields: Any) -> None:
        self.write(codec.method_frame(channel, name, **fields))

    def _assemble(self, frame: Frame) -> Method | None:
        """The method this frame completes, if it does."""
        if frame.kind == HEARTBEAT:
            return None
        if frame.kind == METHOD:
            method = codec.decode_method(frame.payload, frame.channel)
            assert frame.channel not in self._unfinished, f"{method} inside a content"
            if method.name not in codec.WITH_CONTENT:
                return method
            self._unfinished[frame.channel] = method
            return None
        method = self._unfinished[frame.channel]
        if frame.kind == HEADER:
            method.header = frame.payload
        else:
            assert frame.kind == BODY, frame
            method.body += frame.payload
        size = struct.unpack_from(">Q", method.header, 4)[0]
        assert len(method.body) <= size, f"{len(method.body)} octets of {size} in {method}"
        return self._unfinished.pop(frame.channel) if len(method.body) == size else None

    def receive(self) -> Method:
        """The next method on whichever channel, past everything kept for later."""
        while True:
            method = self._assemble(self.read_frame())
            if method:
                return method

    def next_method(self, channel: int) -> Method:
        """The oldest method on this channel not yet asked for; a connection.close in between fails."""
        for method in self._inbox:
            if method.channel == channel:
                self._inbox.remove(method)
                return method
        while True:
            method = self.receive()
            if method.channel == channel:
                return method
            if method.name == "connection.close":
                raise Unexpected(f"instead came {method}")
            self._inbox.append(method)

    def expect(self, *names: str, channel: int = 0) -> Method:
        method = self.next_method(channel)
        if method.name not in names:
            raise Unexpected(f"{' or '.join(names)} expected on channel {channel}, but {method} came")
        return method

    def keep(self, methods: list[Method]) -> None:
        """Put back what was read too early. Nothing newer of that channel may have been read meanwhile."""
        self._inbox.extend(methods)

    def pending(self, channel: int) -> list[Method]:
        return [method for method in self._inbox if method.channel == channel]

    # the life of a connection

    def start(self) -> Method:
        self.write(codec.PROTOCOL_HEADER)
        start = self.expect("connection.start")
        self.server_properties = start.server_properties
        return start

    def start_ok(
        self,
        user: str | None = None,
        password: str | None = None,
        mechanism: str = "PLAIN",
        response: bytes | None = None,
        capabilities: dict[str, bool] | None = None,
    ) -> None:
        user = self.peer.user if user is None else user
        password = self.peer.password if password is None else password
        properties = {"product": "tests", "capabilities": CAPABILITIES if capabilities is None else capabilities}
        answer = response if response is not None else MECHANISMS[mechanism](user, password)
        self.send(
            0,
            "connection.start-ok",
            client_properties=properties,
            mechanism=mechanism,
            response=answer,
            locale="en_US",
        )

    def tune(self, channel_max: int | None = None, frame_max: int | None = None, heartbeat: int = 0) -> Method:
        self.tuned = tune = self.expect("connection.tune")
        self.frame_max = tune.frame_max if frame_max is None else frame_max
        self.send(
            0,
            "connection.tune-ok",
            channel_max=tune.channel_max if channel_max is None else channel_max,
            frame_max=self.frame_max,
            heartbeat=heartbeat,
        )
        return tune

    def open(self, vhost: str | None = None) -> Method:
        self.send(0, "connection.open", virtual_host=self.peer.vhost if vhost is None else vhost)
        return self.expect("connection.open-ok")

    def channel(self, number: int | None = None) -> Channel:
        if number is None:
            number = self._next_channel
            self._next_channel += 1
        channel = Channel(self, number)
        channel.call("channel.open")
        return channel

    def confirming(self) -> Channel:
        """A channel aside in confirm mode, for `Channel.put`."""
        if self._confirming is None:
            assert self.tuned
            self._confirming = self.channel(self.tuned.channel_max)
            self._confirming.call("confirm.select")
        return self._confirming

    def expect_close(self, code: int, text: str | None = None, class_id: int | None = None) -> Method:
        """connection.close with this code (and text), answered as a client must; then the socket ends."""
        close = self._next_close()
        check_close(close, code, text)
        assert class_id is None or close.class_id == class_id, str(close)
        with contextlib.suppress(OSError):  # the peer need not wait for this answer
            self.send(0, "connection.close-ok")
            self.socket.shutdown(socket.SHUT_WR)
        self.read_until_eof()
        return close

    def _next_close(self) -> Method:
        """The connection.close the peer must be sending; what it had sent to channels before does not matter."""
        while True:
            method = self.receive()
            if method.name == "connection.close":
                return method
            if method.channel == 0 or method.name == "channel.close":
                raise Unexpected(f"connection.close expected, but {method} came")

    def close(self) -> None:
        """The polite end, which also shows that the connection still works."""
        self.send(0, "connection.close", reply_code=200, reply_text="bye")
        while self.receive().name != "connection.close-ok":
            pass
        self.drop()

    def drop(self) -> None:
        self.socket.close()

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.drop()


def connect(
    peer: Peer,
    *,
    user: str | None = None,
    password: str | None = None,
    mechanism: str = "PLAIN",
    capabilities: dict[str, bool] | None = None,
    channel_max: int | None = None,
    frame_max: int | None = None,
    heartbeat: int = 0,
    vhost: str | None = None,
    timeout: float = TIMEOUT,
) -> Client:
    """A connection that is open: the whole handshake behind it."""
    client = Client(peer, timeout)
    client.start()
    client.start_ok(user, password, mechanism, capabilities=capabilities)
    client.tune(channel_max, frame_max, heartbeat)
    client.open(vhost)
    return client
