"""The management process: HTTP and metrics, beside the broker and never in its event loop.

The broker opens the listening sockets, starts the process, hands them to it, and starts another one when it ends: what
clients connect meanwhile waits in the backlog. All else the process learns over the control socket; when that ends it
ends too. Neither a slow nor a dead one is noticed by messages.
"""

import logging
import socket
from typing import TYPE_CHECKING

from flowmq.server import tls
from flowmq.server.child import Child, Start
from flowmq.server.config import parse_address
from flowmq.server.handshake import address
from flowmq.server.listeners import CannotListen, bound_sockets

if TYPE_CHECKING:
    from flowmq.server.node import Node

BACKLOG = 256
MODULE = "flowmq.management"
log = logging.getLogger("flowmq")


class Companion:
    def __init__(self, node: "Node", control_socket: str) -> None:
        self.node = node
        self.control_socket = control_socket
        self.sockets: dict[str, list[socket.socket]] = {"management": [], "management-tls": [], "metrics": []}
        self.child = Child("management", MODULE, self._start)

    async def start(self) -> None:
        """CannotListen when an address is not to be had, SettingsError when the certificate is not."""
        settings = self.node.settings
        if settings.management.listen_tls:
            tls.server_context(settings)
        await self._open("management", "HTTP API", "http", settings.management.listen)
        await self._open("management-tls", "HTTPS API", "https", settings.management.listen_tls)
        await self._open("metrics", "metrics", "http/prometheus", settings.metrics.listen)
        if any(self.sockets.values()):
            self.child.start()

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

    def _start(self) -> Start:
        arguments = ["--control-socket", self.control_socket]
        descriptors: list[int] = []
        for purpose, opened in self.sockets.items():
            for listening in opened:
                arguments += [f"--{purpose}-fd", str(listening.fileno())]
                descriptors.append(listening.fileno())
        return Start(arguments, descriptors)

    def reload(self) -> None:
        """Certificates may have been renewed."""
        self.child.hang_up()

    async def stop(self) -> None:
        for opened in self.sockets.values():
            for listening in opened:
                listening.close()
        await self.child.stop()
