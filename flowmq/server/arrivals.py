"""A client on its way in, through whatever its listener puts before AMQP: a PROXY header, TLS, a WebSocket.

It is a socket and a task, without a session, and not a single octet is read that does not belong to the step it is at.
From its first moment on it has amqp.handshake_timeout seconds for everything up to connection.open-ok.
"""

import asyncio
import logging
import socket
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from flowmq.server import proxy_protocol, tls
from flowmq.server.entry import Entry
from flowmq.server.handshake import TLS_HANDSHAKE, address, what_it_may_be
from flowmq.server.proxy_protocol import Trusted
from flowmq.server.session import Session

if TYPE_CHECKING:
    from flowmq.server.node import Node

TLS_CLOSE_SECONDS = 3.0  # for a client's goodbye within TLS; then its socket is closed without
PEEKED_BYTES = 8
log = logging.getLogger("flowmq")


@dataclass(frozen=True)
class Way:
    """What all clients of one kind of listener go through."""

    title: str
    mechanisms: Sequence[str]
    proxies: Trusted
    uses_tls: bool = False
    websocket: Callable[..., Any] | None = None  # makes what comes between the socket, or TLS, and the session

    @property
    def is_plain(self) -> bool:
        """Do all clients of it speak AMQP at once?"""
        return not (self.uses_tls or self.websocket or self.proxies.networks)


class Arrival:
    def __init__(
        self,
        node: "Node",
        way: Way,
        context: ssl.SSLContext | None,
        handshakes: asyncio.Semaphore,
        accepted: socket.socket,
        peer: Any,
    ) -> None:
        self.node = node
        self.loop = node.loop
        self.way = way
        self.context = context
        self.handshakes = handshakes  # those of TLS, each of which takes ten times the memory of one who waits
        self.socket = accepted
        self.peer = peer
        self.proxied: proxy_protocol.Addresses | None = None
        self.name = f"{address(peer)} -> {address(accepted.getsockname())}"
        self.deadline = self.loop.time() + node.settings.amqp.handshake_timeout
        self.has_spoken = False
        self.is_in = False
        self.is_counted = True
        node.arriving += 1

    async def come_in(self, wait_seconds: float) -> None:
        try:
            async with asyncio.timeout_at(self.deadline):
                await asyncio.sleep(wait_seconds)
                if self.peer in self.way.proxies:
                    await self._listen_to_proxy()
                if not self.way.uses_tls or await self._speaks_tls():
                    await self._connect()
        except TimeoutError:
            log.log(self._level(), "connection %s: handshake timed out", self.name)
        except proxy_protocol.WrongHeader as error:
            log.warning("connection %s: PROXY protocol expected from a trusted proxy: %s", self.name, error)
        except OSError as error:
            step = "TLS handshake" if self.way.uses_tls else "connecting"
            log.log(self._level(), "connection %s: %s failed: %s", self.name, step, tls.why(error))
        finally:
            if not self.is_in:
                self.turn_away()

    def turn_away(self) -> None:
        self.left()
        self.socket.close()

    def left(self) -> None:
        """It is not on the way in any more: it has gone, or has a session, which counts from then on."""
        self.node.arriving -= self.is_counted
        self.is_counted = False

    def _level(self) -> int:
        # A load balancer's probe connects and says nothing: not worth a line.
        return logging.WARNING if self.has_spoken else logging.DEBUG

    async def _listen_to_proxy(self) -> None:
        self.proxied = await proxy_protocol.read_header(self._read_exactly)
        if self.proxied is not None:
            through = self.name
            self.name = f"{address(self.proxied.peer)} -> {address(self.proxied.own)}"
            log.debug("connection %s: through the proxy's %s", self.name, through)

    async def _read_exactly(self, count: int) -> bytes:
        octets = b""
        while len(octets) < count:
            more = await self.loop.sock_recv(self.socket, count - len(octets))
            if not more and self.has_spoken:
                raise proxy_protocol.WrongHeader("the header is cut short")
            if not more:
                raise ConnectionResetError
            self.has_spoken = True
            octets += more
        return octets

    async def _speaks_tls(self) -> bool:
        octets = await peek(self.loop, self.socket, PEEKED_BYTES)
        self.has_spoken = bool(octets)
        if octets.startswith(TLS_HANDSHAKE[:1]):
            return True
        if octets:
            log.warning("connection %s: %s", self.name, what_it_may_be(octets, "TLS port", "TLS"))
        return False

    async def _connect(self) -> None:
        if not self.way.uses_tls and self.way.websocket is None:
            self.is_in = True
            self.node.sockets.begin(self.socket, self.session().connection, self.peer)
            return
        if not self.way.uses_tls:
            await self.loop.connect_accepted_socket(lambda: Welcome(self), self.socket)
            return
        async with self.handshakes:
            await self.loop.connect_accepted_socket(
                lambda: Welcome(self),
                self.socket,
                ssl=self.context,
                ssl_handshake_timeout=self.node.settings.amqp.handshake_timeout,
                ssl_shutdown_timeout=TLS_CLOSE_SECONDS,
            )

    def connected(self, transport: asyncio.BaseTransport) -> None:
        """Everything below AMQP, or below a WebSocket, is done."""
        self.is_in = True
        if self.way.websocket is None:
            protocol: Any = self.session().connection
        else:
            protocol = self.way.websocket(self.name, self.deadline, self.session, self.left)
        transport.set_protocol(protocol)
        protocol.connection_made(transport)

    def session(self) -> Session:
        seconds = max(self.deadline - self.loop.time(), 0.0)
        peer, own = self.proxied or (None, None)
        self.left()
        return Session(self.node, Entry(seconds, self.way.mechanisms, peer, own, has_had_turn=True))


class Welcome(asyncio.Protocol):
    """Stands where the session will, until the handshake has succeeded."""

    def __init__(self, arrival: Arrival) -> None:
        self.arrival = arrival

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.arrival.connected(transport)


async def peek(loop: asyncio.AbstractEventLoop, connected: socket.socket, count: int) -> bytes:
    """What the client has said first; it stays to be read. Nothing when it has left."""
    readable = asyncio.Event()
    loop.add_reader(connected, readable.set)
    try:
        await readable.wait()
    finally:
        loop.remove_reader(connected)
    return connected.recv(count, socket.MSG_PEEK)
