"""The listening sockets of the HTTP process: so many clients at a time, and none that keeps its place without asking.

A client has so many seconds to send the head of its first request; afterwards the library closes what is idle. When all
places are taken, whoever has waited longest without asking anything makes room; where all are being answered, the one
that has come last is closed at once.
"""

import asyncio
import logging
import socket
import ssl
from typing import Any

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

CONNECTIONS_MAX = 1000
HEAD_SECONDS = 10.0
# The last of a header Expect that is no text.
THEIRS = (HttpProcessingError, web.RequestPayloadError, ConnectionError, UnicodeEncodeError)
library_log = logging.getLogger("flowmq.management.http")


def is_not_the_client_s(record: logging.LogRecord) -> bool:
    """What is no HTTP is answered with 400. The library would show it in the log too, passwords included."""
    return not (record.exc_info and isinstance(record.exc_info[1], THEIRS))


library_log.addFilter(is_not_the_client_s)


class TurnedAway(asyncio.Protocol):
    def connection_made(self, transport: Any) -> None:
        transport.abort()


class Places:
    """Protocols of those who are not being answered."""

    def __init__(self) -> None:
        self.silent: set[Any] = set()  # have not asked anything yet
        self.waiting: dict[Any, None] = {}  # those, and others between two requests; who waits longest comes first

    def came(self, protocol: Any) -> None:
        self.silent.add(protocol)
        self.waits(protocol)

    def waits(self, protocol: Any) -> None:
        if len(self.waiting) > 2 * CONNECTIONS_MAX:
            for gone in [known for known in self.waiting if known.transport is None]:
                del self.waiting[gone]
        self.waiting[protocol] = None

    def asks(self, protocol: Any) -> None:
        self.silent.discard(protocol)
        self.waiting.pop(protocol, None)

    def make_room(self) -> bool:
        while self.waiting:
            longest = next(iter(self.waiting))
            self.asks(longest)
            if longest.transport is not None:
                longest.transport.abort()
                return True
        return False


class Door:
    """Makes the protocol of each connection to one application."""

    def __init__(self, server: web.Server, places: Places) -> None:
        self.server = server
        self.places = places
        self.loop = asyncio.get_running_loop()

    def __call__(self) -> asyncio.BaseProtocol:
        if len(self.server.connections) >= CONNECTIONS_MAX and not self.places.make_room():
            return TurnedAway()
        protocol = self.server()
        self.places.came(protocol)
        self.loop.call_later(HEAD_SECONDS, self._look, protocol)
        return protocol

    def _look(self, protocol: Any) -> None:
        if protocol in self.places.silent:
            self.places.asks(protocol)
            if protocol.transport is not None:
                protocol.transport.abort()


def report(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """What nobody waited for. A request that the library stumbles over is no mistake of ours: one line."""
    error = context.get("exception")
    if "RequestHandler.start" in repr(context.get("future")):
        library_log.warning("a request cannot be read: %r", error)
    else:
        loop.default_exception_handler(context)


def hearing(places: Places) -> Any:
    """A middleware: whoever gets here has sent the head of a request."""

    @web.middleware
    async def hear(request: web.Request, handler: Any) -> web.StreamResponse:
        places.asks(request.protocol)
        try:
            answer: web.StreamResponse = await handler(request)
        finally:
            places.waits(request.protocol)
        return answer

    return hear


class Serving:
    """One application, on the descriptors of its listening sockets, some of them with TLS."""

    def __init__(self, application: web.Application, shutdown_seconds: float) -> None:
        self.places = Places()
        application.middlewares.insert(0, hearing(self.places))
        self.runner = web.AppRunner(application, access_log=None, logger=library_log, shutdown_timeout=shutdown_seconds)
        self.servers: list[asyncio.Server] = []

    async def start(self) -> None:
        await self.runner.setup()

    async def listen(self, descriptor: int, context: ssl.SSLContext | None = None) -> None:
        server = self.runner.server
        assert server is not None, "it was started"
        listening = socket.socket(fileno=descriptor)
        loop = asyncio.get_running_loop()
        # Until it is through, a client of TLS is not among the connections.
        seconds = None if context is None else HEAD_SECONDS
        door = Door(server, self.places)
        self.servers.append(await loop.create_server(door, sock=listening, ssl=context, ssl_handshake_timeout=seconds))

    async def cleanup(self) -> None:
        for server in self.servers:
            server.close()
        await self.runner.cleanup()
