"""The management process: HTTP and metrics, beside the broker and never in its event loop.

The broker opens the listening sockets, starts the process, hands them to it, and starts another one when it ends: what
clients connect meanwhile waits in the backlog. All else the process learns over the control socket; when that ends it
ends too. Neither a slow nor a dead one is noticed by messages.
"""

import asyncio
import logging
import os
import socket
import sys
from typing import TYPE_CHECKING

from flowmq.server.config import parse_address
from flowmq.server.handshake import address
from flowmq.server.listeners import CannotListen, bound_sockets

if TYPE_CHECKING:
    from flowmq.server.node import Node

BACKLOG = 256
END_SECONDS = 5.0
AGAIN_SECONDS_MIN, AGAIN_SECONDS_MAX = 0.2, 30.0
LASTED_SECONDS = 60.0  # one that ran so long may be started again at once
MODULE = "flowmq.management"
log = logging.getLogger("flowmq")


class Companion:
    def __init__(self, node: "Node", control_socket: str) -> None:
        self.node = node
        self.control_socket = control_socket
        self.sockets: dict[str, list[socket.socket]] = {"management": [], "metrics": []}
        self.process: asyncio.subprocess.Process | None = None
        self.watching: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """CannotListen when an address is not to be had."""
        settings = self.node.settings
        await self._open("management", "HTTP API", "http", settings.management.listen)
        await self._open("metrics", "metrics", "http/prometheus", settings.metrics.listen)
        if any(self.sockets.values()):
            self.watching = asyncio.ensure_future(self._watch())

    async def _open(self, purpose: str, title: str, protocol: str, texts: list[str]) -> None:
        for text in texts:
            host, port = parse_address(text)
            try:
                opened = await bound_sockets(self.node.loop, host, port)
                for listening in opened:
                    listening.listen(BACKLOG)
            except OSError as error:
                raise CannotListen(f"cannot listen on {text}: {error.strerror or error}") from error
            self.sockets[purpose] += opened
            for listening in opened:
                self.node.note_listener(protocol, listening.getsockname())
                log.info("%s listener started on %s", title, address(listening.getsockname()))

    async def _watch(self) -> None:
        again_seconds = AGAIN_SECONDS_MIN
        while True:
            started = self.node.loop.time()
            self.process = await self._spawn()
            code = await self.process.wait()
            lasted = self.node.loop.time() - started
            again_seconds = AGAIN_SECONDS_MIN if lasted > LASTED_SECONDS else min(again_seconds * 2, AGAIN_SECONDS_MAX)
            log.error("the management process ended with code %d; it is started again in %.1f s", code, again_seconds)
            await asyncio.sleep(again_seconds)

    async def _spawn(self) -> asyncio.subprocess.Process:
        descriptors = {purpose: [one.fileno() for one in opened] for purpose, opened in self.sockets.items()}
        arguments = ["--control-socket", self.control_socket]
        for purpose, numbers in descriptors.items():
            for number in numbers:
                arguments += [f"--{purpose}-fd", str(number)]
        return await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", MODULE, *arguments),
            stdin=asyncio.subprocess.DEVNULL,
            pass_fds=[number for numbers in descriptors.values() for number in numbers],
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
            start_new_session=True,  # what a terminal sends to all of a foreground group is for the broker to act on
        )

    async def stop(self) -> None:
        if self.watching is not None:
            self.watching.cancel()
            await asyncio.gather(self.watching, return_exceptions=True)
        for opened in self.sockets.values():
            for listening in opened:
                listening.close()
        if self.process is not None and self.process.returncode is None:
            self.process.terminate()
            try:
                await asyncio.wait_for(self.process.wait(), END_SECONDS)
            except TimeoutError:
                log.warning("the management process did not end within %.0f s: killed", END_SECONDS)
                self.process.kill()
                await self.process.wait()
