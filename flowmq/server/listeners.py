"""Where clients come in: plain AMQP listeners, and those whose clients do something else first, such as TLS.

A client of the latter is an arrival until it may speak AMQP: a socket and a task, without a session, and without a
single octet read that does not belong to the step it is at. From its first moment on it has
amqp.handshake_timeout seconds for everything up to connection.open-ok.
"""

import asyncio
import errno
import logging
import socket
import ssl
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from flowmq.server import tls
from flowmq.server.config import Settings, parse_address
from flowmq.server.handshake import TLS_HANDSHAKE, address, what_it_may_be
from flowmq.server.session import Session

if TYPE_CHECKING:
    from flowmq.server.node import Node

ACCEPTS_PER_TURN = 100
OUT_OF_FILES_SECONDS = 1.0  # no new client is accepted for so long when there is no room for another
TLS_CLOSE_SECONDS = 3.0  # for a client's goodbye within TLS; then its socket is closed without
PEEKED_BYTES = 8
NO_ROOM = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}
log = logging.getLogger("flowmq")


class CannotListen(Exception):
    """The message is one line for the operator."""


class Listeners:
    """All of them. TLS is theirs together: `context` is what the next handshake is made with."""

    def __init__(self, node: "Node") -> None:
        self.node = node
        self.loop = node.loop
        self.servers: list[asyncio.Server] = []
        self.doors: list[Door] = []
        self.context = self.new_context(node.settings)

    async def open(self) -> None:
        settings = self.node.settings
        for text in settings.amqp.listen:
            await self._open_plain(text)
        for text in settings.tls.listen:
            await self._open_tls(text)
        if self.context is not None:
            log_certificates(settings)

    async def _open_plain(self, text: str) -> None:
        host, port = parse_address(text)
        node = self.node
        try:
            server = await self.loop.create_server(
                lambda: Session(node).connection, host, port, backlog=node.settings.amqp.backlog
            )
        except OSError as error:
            raise CannotListen(f"cannot listen on {text}: {error.strerror or error}") from error
        self.servers.append(server)
        for listening in server.sockets:
            node.note_listener("amqp", listening.getsockname())
            log.info("AMQP listener started on %s", address(listening.getsockname()))

    async def _open_tls(self, text: str) -> None:
        host, port = parse_address(text)
        try:
            for listening in await bound_sockets(self.loop, host, port):
                listening.listen(self.node.settings.amqp.backlog)
                self.doors.append(Door(self, listening))
                self.node.note_listener("amqp/ssl", listening.getsockname())
                log.info("AMQPS listener started on %s", address(listening.getsockname()))
        except OSError as error:
            raise CannotListen(f"cannot listen on {text}: {error.strerror or error}") from error

    def new_context(self, settings: Settings) -> ssl.SSLContext | None:
        """What these settings and their files make, without using it yet. Where nobody listens, none."""
        return tls.server_context(settings) if self.node.settings.tls.listen else None

    def take_over(self, context: ssl.SSLContext | None, settings: Settings) -> None:
        """For the handshakes from now on; connections that are there keep what they have."""
        if context is not None:
            self.context = context
            log_certificates(settings)

    def close(self) -> None:
        """Nobody new gets in, and those who are at the door must go."""
        for server in self.servers:
            server.close()
        for door in self.doors:
            door.close()


async def bound_sockets(loop: asyncio.AbstractEventLoop, host: str, port: int) -> list[socket.socket]:
    """One for each address that the name stands for."""
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    opened: list[socket.socket] = []
    try:
        for family, kind, protocol, _, where in dict.fromkeys(found):
            listening = socket.socket(family, kind, protocol)
            opened.append(listening)
            listening.setblocking(False)
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            listening.bind(where)
    except OSError:
        for listening in opened:
            listening.close()
        raise
    return opened


def log_certificates(settings: Settings) -> None:
    for line in tls.certificates(settings):
        log.log(logging.WARNING if "EXPIRED" in line else logging.INFO, "%s", line)


class Door:
    """One listening socket, and who is on the way in through it."""

    def __init__(self, listeners: Listeners, listening: socket.socket) -> None:
        self.listeners = listeners
        self.loop = listeners.loop
        self.listening = listening
        self.arriving: set[asyncio.Task[None]] = set()
        self.pause: asyncio.TimerHandle | None = None
        self._open()

    def _open(self) -> None:
        self.pause = None
        self.loop.add_reader(self.listening, self._accept_some)

    def close(self) -> None:
        if self.pause is not None:
            self.pause.cancel()
        self.loop.remove_reader(self.listening)
        self.listening.close()
        for task in list(self.arriving):
            task.cancel()

    def _accept_some(self) -> None:
        for accepted, peer in self._accepted():
            accepted.setblocking(False)
            arrival = Arrival(self.listeners, accepted, peer)
            task = self.loop.create_task(arrival.come_in())
            self.arriving.add(task)
            task.add_done_callback(self.arriving.discard)

    def _accepted(self) -> Iterator[tuple[socket.socket, Any]]:
        for _ in range(ACCEPTS_PER_TURN):
            try:
                yield self.listening.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                if error.errno not in NO_ROOM:
                    raise
                log.error("no client can be accepted on %s: %s", address(self.listening.getsockname()), error.strerror)
                self.loop.remove_reader(self.listening)
                self.pause = self.loop.call_later(OUT_OF_FILES_SECONDS, self._open)
                return


class Arrival:
    """A client that has not come in yet."""

    def __init__(self, listeners: Listeners, accepted: socket.socket, peer: Any) -> None:
        self.listeners = listeners
        self.loop = listeners.loop
        self.node = listeners.node
        self.socket = accepted
        self.name = f"{address(peer)} -> {address(accepted.getsockname())}"
        self.deadline = self.loop.time() + self.node.settings.amqp.handshake_timeout
        self.has_spoken = False
        self.is_in = False

    async def come_in(self) -> None:
        try:
            async with asyncio.timeout_at(self.deadline):
                if await self._speaks_tls():
                    await self._shake_hands()
        except TimeoutError:
            log.log(self._level(), "connection %s: handshake timed out", self.name)
        except OSError as error:
            log.log(self._level(), "connection %s: TLS handshake failed: %s", self.name, tls.why(error))
        finally:
            if not self.is_in:
                self.socket.close()

    def _level(self) -> int:
        # A load balancer's probe connects and says nothing: not worth a line.
        return logging.WARNING if self.has_spoken else logging.DEBUG

    async def _speaks_tls(self) -> bool:
        octets = await peek(self.loop, self.socket, PEEKED_BYTES)
        self.has_spoken = bool(octets)
        if octets.startswith(TLS_HANDSHAKE[:1]):
            return True
        if octets:
            log.warning("connection %s: %s", self.name, without_tls(octets))
        return False

    async def _shake_hands(self) -> None:
        context = self.listeners.context
        assert context is not None, "this listener has certificates"
        await self.loop.connect_accepted_socket(
            lambda: Welcome(self),
            self.socket,
            ssl=context,
            ssl_handshake_timeout=self.node.settings.amqp.handshake_timeout,
            ssl_shutdown_timeout=TLS_CLOSE_SECONDS,
        )

    def session(self) -> Session:
        self.is_in = True
        return Session(self.node, max(self.deadline - self.loop.time(), 0.0))


class Welcome(asyncio.Protocol):
    """Stands where the session will, until the handshake has succeeded."""

    def __init__(self, arrival: Arrival) -> None:
        self.arrival = arrival

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        connection = self.arrival.session().connection
        transport.set_protocol(connection)
        connection.connection_made(transport)


def without_tls(octets: bytes) -> str:
    if octets.startswith(b"AMQP"):
        return "AMQP client without TLS detected on TLS port"
    return what_it_may_be(octets, "TLS port")


async def peek(loop: asyncio.AbstractEventLoop, connected: socket.socket, count: int) -> bytes:
    """What the client has said first; it stays to be read. Nothing when it has left."""
    readable = asyncio.Event()
    loop.add_reader(connected, readable.set)
    try:
        await readable.wait()
    finally:
        loop.remove_reader(connected)
    return connected.recv(count, socket.MSG_PEEK)
