"""The running broker: the model, the sessions, and what concerns all of them (memory, expiry, the end)."""

import asyncio
import logging
from typing import TYPE_CHECKING

from flowmq._channel import Channel
from flowmq._connection import Connection, set_clock, set_memory_limit
from flowmq._message import live_message_bytes
from flowmq._queue import Consumer
from flowmq.broker.broker import Broker
from flowmq.broker.users import User, Users
from flowmq.server.config import Settings
from flowmq.server.memory import memory_limit

if TYPE_CHECKING:
    from flowmq.server.session import Session

EXPIRY_SECONDS = 1.0
MEMORY_CHECK_SECONDS = 0.1
MEMORY_LOW_SHARE = 0.95  # publishers go on once so much of the limit is not exceeded any more
log = logging.getLogger("flowmq")


class Node:
    """Everything a session needs to know of the process it lives in."""

    def __init__(self, settings: Settings, loop: asyncio.AbstractEventLoop) -> None:
        self.settings = settings
        self.loop = loop
        users = [User(user.name, user.password, tuple(user.tags)) for user in settings.users]
        self.broker = Broker(
            Users(users, default_user_loopback_only=settings.limits.default_user_loopback_only),
            self.consumer_cancelled,
        )
        self.sessions: set[Session] = set()
        self.blocked: set[Session] = set()
        self.memory_limit_bytes = memory_limit(settings.limits.memory_bytes_max)
        self.empty: asyncio.Future[None] | None = None
        set_memory_limit(self.memory_limit_bytes)
        set_clock()
        self.expiry_timer = loop.call_later(EXPIRY_SECONDS, self._expire)

    # ------------------------------------------------------------------------------------------------- sessions

    def session_began(self, session: "Session") -> None:
        self.sessions.add(session)

    def session_ended(self, session: "Session") -> None:
        self.sessions.discard(session)
        self.blocked.discard(session)
        if self.empty is not None and not self.sessions and not self.empty.done():
            self.empty.set_result(None)

    def consumer_cancelled(self, consumer: Consumer) -> None:
        """A consumer's queue was deleted."""
        channel = consumer.outlet
        assert isinstance(channel, Channel)
        channel.cancel(consumer.tag)
        assert isinstance(channel.peer, Connection)
        session = channel.peer.session
        session.consumer_cancelled(channel, consumer.tag)

    async def drain(self, reason: str, seconds: float) -> None:
        """Ask every client to go, and wait until all have gone or the time is over."""
        self.expiry_timer.cancel()
        self.empty = self.loop.create_future()
        for session in list(self.sessions):
            session.force(reason)
        if self.sessions:
            await asyncio.wait([self.empty], timeout=seconds)
        for session in list(self.sessions):
            session.abort()

    # ---------------------------------------------------------------------------------------------- all the time

    def _expire(self) -> None:
        set_clock()
        self.broker.expire()
        self.expiry_timer = self.loop.call_later(EXPIRY_SECONDS, self._expire)

    def memory_is_short(self, session: "Session") -> None:
        """A publisher went over the limit: it is not read until messages have gone."""
        if not self.blocked:
            log.warning(
                "memory alarm: messages take %d bytes, the limit is %d: publishers are stopped",
                live_message_bytes(),
                self.memory_limit_bytes,
            )
            self.loop.call_later(MEMORY_CHECK_SECONDS, self._check_memory)
        if session not in self.blocked:
            self.blocked.add(session)
            session.block("low on memory")
        session.connection.stop_reading()

    def _check_memory(self) -> None:
        if live_message_bytes() <= self.memory_limit_bytes * MEMORY_LOW_SHARE:
            if self.blocked:
                log.info("memory alarm cleared: publishers go on")
            for session in list(self.blocked):
                session.unblock()
            self.blocked.clear()
            return
        # Whoever also consumes has acknowledgements on the way behind its publishes, and without them memory may
        # never get free: such a connection is read on, slowly. The next publish stops it again.
        for session in self.blocked:
            if session.is_consuming:
                session.connection.resume_reading()
        self.loop.call_later(MEMORY_CHECK_SECONDS, self._check_memory)
