"""Where clients come in: the listening sockets of all kinds, opened at the start and closed at the end.

Where clients speak AMQP at once each gets a session when it is accepted. Elsewhere they have something to do first: see
arrivals.py.
"""

import asyncio
import errno
import logging
import socket
import ssl
from functools import partial
from typing import TYPE_CHECKING, Any

from flowmq._listening import Listening
from flowmq.server import tls
from flowmq.server.arrivals import Arrival, Way
from flowmq.server.config import Settings, parse_address
from flowmq.server.entry import Entry
from flowmq.server.handshake import address, seconds_to_turn
from flowmq.server.proxy_protocol import Trusted
from flowmq.server.session import Session

if TYPE_CHECKING:
    from flowmq.server.node import Node

TLS_HANDSHAKES_AT_ONCE = 1000  # who comes on top of them waits for its turn; each takes some 50 KiB
OUT_OF_FILES_SECONDS = 1.0  # no new client is accepted for so long when there is no room for another
NO_ROOM = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}
# What RabbitMQ's tools call each way in.
PROTOCOLS = {
    "AMQP": "amqp",
    "AMQPS": "amqp/ssl",
    "AMQP over WebSocket": "http/web-amqp",
    "AMQP over secure WebSocket": "https/web-amqp",
}
log = logging.getLogger("flowmq")


class CannotListen(Exception):
    """The message is one line for the operator."""


def ways(settings: Settings) -> list[tuple[Way, list[str]]]:
    """Each kind of listener that there is, and where."""
    amqp, secured, web = settings.amqp, settings.tls, settings.websocket
    found = []
    if amqp.listen:
        found.append((Way("AMQP", amqp.mechanisms, Trusted(amqp.proxy_protocol_from)), amqp.listen))
    if secured.listen:
        found.append(
            (Way("AMQPS", secured.mechanisms, Trusted(secured.proxy_protocol_from), uses_tls=True), secured.listen)
        )
    if web.listen or web.listen_tls:
        # Only here: where nobody wants it, it takes no memory.
        from flowmq.server.websocket import WebSocketTransport

        proxies, transport = Trusted(web.proxy_protocol_from), partial(WebSocketTransport, web)
        found.append((Way("AMQP over WebSocket", web.mechanisms, proxies, websocket=transport), web.listen))
        found.append((Way("AMQP over secure WebSocket", web.mechanisms, proxies, True, transport), web.listen_tls))
    return found


class Listeners:
    """All of them. TLS is theirs together: `context` is what the next handshake is made with."""

    def __init__(self, node: "Node") -> None:
        self.node = node
        self.loop = node.loop
        self.doors: list[Door] = []
        self.context = self.new_context(node.settings)
        self.handshakes = asyncio.Semaphore(TLS_HANDSHAKES_AT_ONCE)

    async def open(self) -> None:
        for way, addresses in ways(self.node.settings):
            for text in addresses:
                try:
                    await self._open(way, text)
                except OSError as error:
                    raise CannotListen(f"cannot listen on {text}: {error.strerror or error}") from error
        if self.context is not None:
            log_certificates(self.node.settings)

    async def _open(self, way: Way, text: str) -> None:
        host, port = parse_address(text)
        doors = [Door(self, way, listening) for listening in await bound_sockets(self.loop, host, port)]
        self.doors += doors
        for name in [door.open(self.node.settings.amqp.backlog) for door in doors]:
            self.node.note_listener(PROTOCOLS.get(way.title, way.title), name)
            log.info("%s listener started on %s", way.title, address(name))

    def new_context(self, settings: Settings) -> ssl.SSLContext | None:
        """What these settings and their files make, without using it yet. Where nobody listens, none."""
        listening = self.node.settings
        addresses = (*listening.tls.listen, *listening.websocket.listen_tls, *listening.management.listen_tls)
        return tls.server_context(settings) if addresses else None

    def take_over(self, context: ssl.SSLContext | None, settings: Settings) -> None:
        """For the handshakes from now on; connections that are there keep what they have."""
        if context is not None:
            self.context = context
            log_certificates(settings)

    def close(self) -> None:
        """Nobody new gets in, and those who are on the way in must go."""
        for door in self.doors:
            door.close()


async def bound_sockets(loop: asyncio.AbstractEventLoop, host: str, port: int) -> list[socket.socket]:
    """One for each address that the name stands for, unless it is of a kind that this machine does not have (IPv6)."""
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    opened: list[socket.socket] = []
    unsupported: OSError | None = None
    try:
        for family, kind, protocol, _, where in dict.fromkeys(found):
            try:
                listening = socket.socket(family, kind, protocol)
            except OSError as error:
                if error.errno != errno.EAFNOSUPPORT:
                    raise
                unsupported = error
                continue
            opened.append(listening)
            listening.setblocking(False)
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            listening.bind(where)
        if unsupported is not None and not opened:
            raise unsupported
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

    def __init__(self, listeners: Listeners, way: Way, listening: socket.socket) -> None:
        self.listeners = listeners
        self.loop = listeners.loop
        self.way = way
        self.socket = listening
        let_in = self._begin if way.is_plain else self._let_arrive
        self.listening = Listening(listeners.node.sockets, listening, let_in, self._cannot_accept)
        self.arriving: set[asyncio.Task[None]] = set()
        self.pause: asyncio.TimerHandle | None = None

    def open(self, backlog: int) -> Any:
        """Where it listens now."""
        self.socket.listen(backlog)
        self.listening.begin()
        return self.socket.getsockname()

    def _go_on(self) -> None:
        self.pause = None
        try:
            self.listening.begin()
        except OSError as error:
            # There is still no memory for one more that is looked at.
            self._rest(error)

    def close(self) -> None:
        if self.pause is not None:
            self.pause.cancel()
        self.listening.stop()
        self.socket.close()
        for task in list(self.arriving):
            task.cancel()

    def _begin(self, accepted: socket.socket, peer: Any) -> None:
        """It speaks AMQP at once."""
        node = self.listeners.node
        session = Session(node, Entry(node.settings.amqp.handshake_timeout, self.way.mechanisms))
        node.sockets.begin(accepted, session.connection, peer)

    def _let_arrive(self, accepted: socket.socket, peer: Any) -> None:
        through = self.listeners
        arrival = Arrival(through.node, self.way, through.context, through.handshakes, accepted, peer)
        wait_seconds = seconds_to_turn(through.node, accepted.fileno())
        if wait_seconds is None:
            arrival.turn_away()
            return
        task = self.loop.create_task(arrival.come_in(wait_seconds))
        self.arriving.add(task)
        task.add_done_callback(self.arriving.discard)

    def _cannot_accept(self, error: OSError) -> None:
        if error.errno not in NO_ROOM:
            # The next one may have more luck: accept() also tells of errors of a network that the client has met.
            where = address(self.socket.getsockname())
            log.warning("a client could not be accepted on %s: %s", where, error.strerror)
            return
        self.listening.stop()
        self._rest(error)

    def _rest(self, error: OSError) -> None:
        log.error("no client can be accepted on %s: %s", address(self.socket.getsockname()), error.strerror)
        self.pause = self.loop.call_later(OUT_OF_FILES_SECONDS, self._go_on)
