"""Shovels, as the broker knows them: which there are, what their process tells of them, and how it gets in here.

They run in a process of their own (flowmq/shovel), which is there as long as there are shovels. It asks over the
control socket what it is to do and tells how it goes. Where a URI has no host it comes in through a socket on the
loopback address that takes nothing but tickets: each good for one log-in, given out over the control socket. It is then
the user who has set the shovel, with the permissions that this user has by then. What an operator has set may do
everything.
"""

import asyncio
import importlib.util
import logging
import secrets
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from flowmq._connection import Connection
from flowmq.broker.permissions import ALL, IMPERSONATOR
from flowmq.broker.shovels import SHOVEL
from flowmq.broker.users import User
from flowmq.server.child import Child, Start
from flowmq.server.entry import Entry
from flowmq.server.session import Session

if TYPE_CHECKING:
    from flowmq.server.node import Node

Name = tuple[str, str]  # of a shovel: its virtual host, and what it is called there

MODULE = "flowmq.shovel"
LIBRARY = "pika"
MISSING = (
    "shovels need the library pika, which is not installed: pip install 'flowmq[shovel]', and start the broker anew"
)
LOOPBACK = "127.0.0.1"
OPERATOR = "operator"
TICKET_SECONDS = 120.0
TICKETS_MAX = 1000
STARTING, RUNNING, BLOCKED, TERMINATED = "starting", "running", "blocked", "terminated"
STATES = (STARTING, RUNNING, BLOCKED, TERMINATED)
NO_PROCESS = "the process of the shovels has ended and is started again"
NO_TICKET = "no such ticket"
log = logging.getLogger("flowmq")


@dataclass(slots=True)
class Told:
    """What the process says of one shovel."""

    revision: int
    state: str = STARTING
    reason: str = ""
    since: float = 0.0
    src_uri: str = ""  # without credentials, as all that is told
    dest_uri: str = ""
    remaining: int | None = None  # until it deletes itself; None: it does not
    pending: int = 0  # messages that the destination has not confirmed
    moved: int = 0  # messages since the broker has started, whatever became of the process

    def turn(self, state: str, reason: str = "") -> None:
        if (state, reason) != (self.state, self.reason):
            self.state, self.reason, self.since = state, reason, time.time()


@dataclass(slots=True)
class Ticket:
    user: str | None  # None: an operator
    vhost: str
    ends: float


def missing_library() -> str:
    return "" if importlib.util.find_spec(LIBRARY) else MISSING


class Shovels:
    def __init__(self, node: "Node") -> None:
        self.node = node
        self.loop = node.loop
        self.told: dict[Name, Told] = {}
        self.generation = 1
        self.revisions = 0
        self.news = asyncio.Event()  # for those who wait for what changes
        self.tickets: dict[str, Ticket] = {}
        self.server: asyncio.Server | None = None
        self.opening = asyncio.Lock()
        self.child: Child | None = None
        self.control_socket = ""
        self.running: asyncio.Task[None] | None = None
        parameters = node.broker.parameters
        parameters.changed = self._parameter_changed
        parameters.shovels_need = missing_library
        parameters.shovel_hosts = node.settings.shovels.hosts

    # ------------------------------------------------------------------------------------------- the process

    def start(self, control_socket: str) -> None:
        self.control_socket = control_socket
        for vhost, name, _ in self.node.broker.parameters.shovels():
            if (vhost, name) not in self.told:
                self._new(vhost, name)
        self.child = Child("shovel", MODULE, lambda: Start(["--control-socket", control_socket], []), self._ended)
        self.running = asyncio.ensure_future(self._keep())

    async def _keep(self) -> None:
        """The process is there when there is something for it to do."""
        assert self.child is not None
        while True:
            seen = self.generation
            if self.told and not missing_library():
                self.child.start()
            else:
                await self.child.stop()
                # Others may have been set meanwhile.
                if not self.told:
                    self._shut_the_door()
                for told in self.told.values() if missing_library() else ():
                    told.turn(TERMINATED, MISSING)
            await self.changed(seen)

    async def changed(self, seen: int) -> None:
        """Something has been set or cleared since, or is to be started anew."""
        if self.generation == seen:
            await self.news.wait()

    def _ended(self) -> None:
        for told in self.told.values():
            if told.state != TERMINATED:
                told.turn(STARTING, NO_PROCESS)

    async def stop(self) -> None:
        if self.running is not None:
            self.running.cancel()
            await asyncio.gather(self.running, return_exceptions=True)
        if self.child is not None:
            await self.child.stop()
        self._shut_the_door()

    # ---------------------------------------------------------------------------------------- which there are

    def _parameter_changed(self, vhost: str, component: str, name: str) -> None:
        if component != SHOVEL:
            return
        if (vhost, SHOVEL, name) in self.node.broker.parameters.by_name:
            self._new(vhost, name)
        else:
            self.told.pop((vhost, name), None)
        self._announce()

    def _new(self, vhost: str, name: str) -> None:
        """It is new, or another one now, or the same from the beginning."""
        self.revisions += 1
        before = self.told.get((vhost, name))
        moved = 0 if before is None else before.moved
        self.told[vhost, name] = Told(self.revisions, since=time.time(), moved=moved)

    def _announce(self) -> None:
        """Whoever waits goes on in the next turn, and waits for the next one."""
        self.generation += 1
        self.news.set()
        self.news = asyncio.Event()

    def restart(self, vhost: str, name: str) -> bool:
        """False when there is none."""
        if (vhost, name) not in self.told:
            return False
        self._new(vhost, name)
        self._announce()
        return True

    def wanted(self) -> list[dict[str, Any]]:
        return [
            {
                "vhost": vhost,
                "name": name,
                "revision": told.revision,
                "remaining": told.remaining,
                "value": self.node.broker.parameters.by_name[vhost, SHOVEL, name],
            }
            for (vhost, name), told in self.told.items()
        ]

    # --------------------------------------------------------------------------------------- what is told of them

    def current(self, vhost: str, name: str, revision: int) -> Told | None:
        """None when it is not the one any more that the process means."""
        told = self.told.get((vhost, name))
        return told if told is not None and told.revision == revision else None

    def finished(self, vhost: str, name: str, revision: int) -> None:
        """It has moved what it was to move, and deletes itself."""
        if self.current(vhost, name, revision) is not None:
            log.info("shovel '%s' in vhost '%s' has moved what it was to move: it is deleted", name, vhost)
            self.node.broker.parameters.clear(vhost, SHOVEL, name)

    # -------------------------------------------------------------------------------------------- the way in

    async def ticket(self, vhost: str, name: str, to_vhost: str) -> dict[str, Any]:
        """Where to log in once, and as what."""
        # Many shovels ask at the same moment.
        async with self.opening:
            if self.server is None:
                self.server = await self.loop.create_server(self._connection, LOOPBACK, 0)
            server = self.server
        now = self.loop.time()
        self.tickets = {text: ticket for text, ticket in self.tickets.items() if ticket.ends > now}
        if len(self.tickets) >= TICKETS_MAX:
            self.tickets.pop(next(iter(self.tickets)))
        text = secrets.token_urlsafe(32)
        user = self.node.broker.parameters.users[vhost, SHOVEL, name]
        self.tickets[text] = Ticket(user, to_vhost, now + TICKET_SECONDS)
        return {
            "host": LOOPBACK,
            "port": server.sockets[0].getsockname()[1],
            "user": OPERATOR if user is None else user,
            "password": text,
        }

    def _shut_the_door(self) -> None:
        """Nobody needs it any more."""
        self.tickets.clear()
        if self.server is not None:
            self.server.close()
            self.server = None

    def _connection(self) -> Connection:
        entry = Entry(self.node.settings.amqp.handshake_timeout, ("PLAIN",), by_ticket=self.redeem)
        return Session(self.node, entry).connection

    def redeem(self, text: str) -> User | str:
        """The user of a ticket, which is worth nothing from now on; or why not."""
        ticket = self.tickets.pop(text, None)
        if ticket is None or ticket.ends <= self.loop.time():
            return NO_TICKET
        if ticket.user is None:
            return User(OPERATOR, tags=(IMPERSONATOR,), permissions={ticket.vhost: ALL})
        user = self.node.broker.users.by_name.get(ticket.user)
        return f"there is no user '{ticket.user}', who has set the shovel" if user is None else user
