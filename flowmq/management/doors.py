"""The listening sockets of the HTTP process: so many clients at a time, and none that keeps its place without asking.

A client has so many seconds to send the head of its first request; afterwards the library closes what is idle. Those
beyond the limit are closed at once: a place gets free when somebody has asked, or has not asked in time.
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
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.abort()


class Door:
    """Makes the protocol of each connection to one application."""

    def __init__(self, server: web.Server, silent: set[Any]) -> None:
        self.server = server
        self.silent = silent
        self.loop = asyncio.get_running_loop()

    def __call__(self) -> asyncio.BaseProtocol:
        if len(self.server.connections) >= CONNECTIONS_MAX:
            return TurnedAway()
        protocol = self.server()
        self.silent.add(protocol)
        self.loop.call_later(HEAD_SECONDS, self._look, protocol)
        return protocol

    def _look(self, protocol: Any) -> None:
        if protocol in self.silent:
            self.silent.discard(protocol)
            if protocol.transport is not None:
                protocol.transport.abort()


def report(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """What nobody waited for. A request that the library stumbles over is no mistake of ours: one line."""
    error = context.get("exception")
    if "RequestHandler.start" in repr(context.get("future")):
        library_log.warning("a request cannot be read: %r", error)
    else:
        loop.default_exception_handler(context)


def hearing(silent: set[Any]) -> Any:
    """A middleware: whoever gets here has sent the head of a request."""

    @web.middleware
    async def hear(request: web.Request, handler: Any) -> web.StreamResponse:
        silent.discard(request.protocol)
        answer: web.StreamResponse = await handler(request)
        return answer

    return hear


class Serving:
    """One application, on the descriptors of its listening sockets, some of them with TLS."""

    def __init__(self, application: web.Application, shutdown_seconds: float) -> None:
        self.silent: set[Any] = set()  # protocols of those who have not asked anything yet
        application.middlewares.insert(0, hearing(self.silent))
        self.runner = web.AppRunner(application, access_log=None, logger=library_log, shutdown_timeout=shutdown_seconds)
        self.servers: list[asyncio.Server] = []

    async def start(self) -> None:
        await self.runner.setup()

    async def listen(self, descriptor: int, context: ssl.SSLContext | None = None) -> None:
        server = self.runner.server
        assert server is not None, "it was started"
        listening = socket.socket(fileno=descriptor)
        loop = asyncio.get_running_loop()
        self.servers.append(await loop.create_server(Door(server, self.silent), sock=listening, ssl=context))

    async def cleanup(self) -> None:
        for server in self.servers:
            server.close()
        await self.runner.cleanup()
