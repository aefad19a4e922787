"""The running broker: the model, the sessions, and what concerns all of them (memory, expiry, the end)."""

import asyncio
import logging
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, cast

from flowmq._channel import Channel
from flowmq._clock import set_clock
from flowmq._connection import Connection
from flowmq._dead_letters import bury_next, is_anyone_unburied, set_burial_scheduler
from flowmq._order import deal_with_due, forget_due, told_ms
from flowmq._peer import due_timer_ended, flush, set_due_timer, set_journal
from flowmq._queue import Consumer
from flowmq._rules import are_timeouts_used
from flowmq._settlement import set_settlement_scheduler
from flowmq._sockets import Sockets
from flowmq.broker.broker import Broker
from flowmq.broker.limits import CHANNELS, CONNECTIONS, QUEUES, USER_LIMITS, VHOST_LIMITS, Limits, Values
from flowmq.broker.steps import begin_at_once
from flowmq.broker.users import User, Users
from flowmq.broker.vhost import VHost
from flowmq.server.alarms import Alarms
from flowmq.server.authentication import Authenticator, configured_user
from flowmq.server.churn import Churn
from flowmq.server.config import LimitsSettings, Settings
from flowmq.server.consuming import go_on_settling, return_overdue
from flowmq.server.definitions import Uploads, finish_interrupted, import_at_start
from flowmq.server.lag import LoopLag
from flowmq.server.memory import memory_limit
from flowmq.server.oauth_settings import OAuthSettings
from flowmq.server.open_files import OpenFiles
from flowmq.server.pace import Pace
from flowmq.server.shovels import Shovels
from flowmq.server.turns import Turns
from flowmq.storage.store import Store

if TYPE_CHECKING:
    from flowmq.server.session import Session
    from flowmq.server.tokens import Tokens

HOUSEKEEPING_SECONDS = 0.25
DAMAGE_MS = 1000  # between two looks at which queues cannot be read, once something on disk is damaged
OVERDUE_MS = 1000  # between two looks at what consumers have held for too long
DUE_SECONDS = 0.003  # for what falls due or dies, before anything else gets a turn
DUE_MESSAGES = 100  # between two looks at the clock
DUE_SECONDS_MIN, DUE_SECONDS_MAX = 0.001, 0.05  # between two looks at what falls due
DUE_ERROR_MS = 50  # after an error of ours
STEPS_SECONDS = 0.002
QUIET_SECONDS = 0.25  # a client that says nothing for as long, when it is asked to go, is not waited for
MAINTENANCE_SECONDS = 0.25
MAINTENANCE_BUSY_SECONDS = 0.002
VERIFICATION_SECONDS = 0.02
log = logging.getLogger("flowmq")


def new_tokens(settings: OAuthSettings, loop: asyncio.AbstractEventLoop) -> "Tokens | None":
    if not settings.is_used:
        return None
    # Only here: where nobody uses tokens, what reads them takes no memory.
    from flowmq.server.tokens import Tokens

    return Tokens(settings, loop)


def default_limits(limits: LimitsSettings) -> dict[str, Values]:
    """What counts for virtual hosts and users that have no limits of their own."""
    return {
        VHOST_LIMITS: {CONNECTIONS: limits.vhost_connections_max, QUEUES: limits.vhost_queues_max},
        USER_LIMITS: {CONNECTIONS: limits.user_connections_max, CHANNELS: limits.user_channels_max},
    }


def has_sent_all(connection: Connection) -> bool:
    """Has the client's socket taken it?"""
    return connection.transport is None or not connection.transport.get_write_buffer_size()


class Node:
    """Everything a session needs to know of the process it lives in."""

    def __init__(self, settings: Settings, loop: asyncio.AbstractEventLoop, store: Store | None = None) -> None:
        self.settings = settings
        self.certificate_settings = settings  # as of the last reload: where the certificates are
        self.started_at = time.time()
        self.churn = Churn()
        self.lag = LoopLag(loop)
        self.listeners: list[dict[str, Any]] = []  # where it listens, for those who look
        self.loop = loop
        self.store = store
        self.sockets = Sockets(loop)
        self.sessions: set[Session] = set()
        self.sessions_by_user: dict[User, set[Session]] = {}
        self.tasks: set[asyncio.Task[None]] = set()
        self.turns = Turns(loop)
        if store is not None:
            store.begin = self.turns.begin
        self.uploads = Uploads(loop)
        users = Users(
            [configured_user(user) for user in settings.users],
            default_user_loopback_only=settings.limits.default_user_loopback_only,
            definitions=store,
            changed=self.user_changed,
            deleted=self.user_deleted,
        )
        self.tokens = new_tokens(settings.oauth, loop)
        self.authenticator = Authenticator(users, loop, self.tokens)
        self.broker = Broker(
            users,
            self.consumer_cancelled,
            store,
            self.vhost_deleted,
            Limits(default_limits(settings.limits), store),
            self.turns.begin,
            settings.first_start.first(),
        )
        if store is None:
            self.broker.make_first()
        else:
            store.restore_access(self.broker)
        self.broker.configure_policies(settings.all_policies())
        memory_limit_bytes = memory_limit(settings.limits.memory_bytes_max)
        data_dir = None if store is None else store.data_dir.path
        self.alarms = Alarms(loop, settings.limits, self.sessions, memory_limit_bytes, data_dir)
        self.shovels = Shovels(self)
        self.empty: asyncio.Future[None] | None = None
        self.arriving = 0  # clients that listeners have let in, and that have no session yet
        self.open_files = OpenFiles()
        self.pace = Pace(settings.limits.accepts_per_second_max)
        set_clock()
        set_due_timer(self._look_at_due)
        set_burial_scheduler(self._bury_soon)
        set_settlement_scheduler(self._go_on_settling)
        self.due_timer: asyncio.TimerHandle | None = None
        self.housekeeping_timer = loop.call_later(HOUSEKEEPING_SECONDS, self._keep_house)
        self.overdue_next_ms = 0
        self.damage_next_ms = 0
        self.damaged_queues: list[tuple[str, str]] = []  # vhost and name of those that have stopped, at the last look
        self.maintenance_timer: asyncio.TimerHandle | None = None
        self.verification_timer: asyncio.TimerHandle | None = None

    def start_store(self) -> None:
        """Put everything that was durable back, and begin to write."""
        if self.store is None:
            return
        messages = self.store.restore(self.broker)
        self.store.start(self.broker)
        finish_interrupted(self.broker)
        self._import_definitions()
        self.broker.make_first()
        set_journal(self.store.journal)
        self.sockets.watch_journal(self.store.journal.wake_fd)
        queues = sum(1 for _ in self.broker.queues())
        log.info("restored %d durable queues with %d messages", queues, messages)
        self._maintain()
        self._verify()
        self.alarms.start()

    def _import_definitions(self) -> None:
        """Those of the setting: before the first users are made, who are not needed when there are others."""
        asked = self.settings.definitions
        if asked.file:
            import_at_start(self.broker, asked.file, best_effort=asked.best_effort)

    def stop_store(self) -> bool:
        """Write what there is and close. False when the disk had failed, or something on it does not check."""
        self.sockets.close()
        self.authenticator.close()
        for task in self.tasks:
            task.cancel()
        self.alarms.stop()
        if self.store is None:
            return True
        for timer in (self.maintenance_timer, self.verification_timer):
            if timer is not None:
                timer.cancel()
        self.sockets.forget_journal(self.store.journal.wake_fd)
        if self.due_timer is not None:
            self.due_timer.cancel()
        set_due_timer(None)
        set_burial_scheduler(None)
        set_settlement_scheduler(None)
        self.turns.finish()
        flush()
        forget_due()
        set_journal(None)
        self.store.close()
        return self.store.journal.error == 0 and not self.store.journal.damaged

    def _maintain(self) -> None:
        assert self.store is not None
        more = False
        try:
            more = self.store.compaction.maintain()
        except OSError as error:
            # What cannot be freed stays; nothing is lost by it but room.
            log.error("the journal cannot be compacted: %s", error)
        flush()
        self.maintenance_timer = self.loop.call_later(
            MAINTENANCE_BUSY_SECONDS if more else MAINTENANCE_SECONDS, self._maintain
        )

    def reload(self, settings: Settings) -> list[str]:
        """Take over what can change while running: the policies, and where certificates are. What changed of the
        policies, a line each."""
        changes = self.broker.configure_policies(settings.all_policies())
        self.certificate_settings = settings
        flush()
        return changes

    def _verify(self) -> None:
        """What the start has not read, a little at a time, and not while somebody waits for the disk."""
        assert self.store is not None
        journal = self.store.journal
        more = journal.submitted > journal.committed or self.store.verification.step()
        self.verification_timer = self.loop.call_later(VERIFICATION_SECONDS, self._verify) if more else None

    def note_listener(self, protocol: str, where: Any) -> None:
        self.listeners.append({"protocol": protocol, "ip_address": where[0], "port": where[1]})

    # ------------------------------------------------------------------------------------------------- sessions

    def session_began(self, session: "Session") -> None:
        self.sessions.add(session)
        self.alarms.session_began(session)

    def logged_in(self, session: "Session", user: User) -> None:
        """Also by another token than before."""
        self._forget_user_of(session)
        session.user = user
        self.sessions_by_user.setdefault(user, set()).add(session)

    def _forget_user_of(self, session: "Session") -> None:
        if session.user is not None:
            theirs = self.sessions_by_user.get(session.user, set())
            theirs.discard(session)
            if not theirs:
                self.sessions_by_user.pop(session.user, None)

    def session_ended(self, session: "Session") -> None:
        self.sessions.discard(session)
        self._forget_user_of(session)
        self.alarms.session_ended(session)
        if self.empty is not None and not self.sessions and not self.empty.done():
            self.empty.set_result(None)

    def consumer_cancelled(self, consumer: Consumer) -> None:
        """A consumer's queue was deleted."""
        channel = consumer.outlet
        assert isinstance(channel, Channel)
        channel.cancel(consumer.tag)
        if channel.closing:
            return
        assert isinstance(channel.peer, Connection)
        session = channel.peer.session
        session.consumer_cancelled(channel, consumer.tag)

    def user_changed(self, user: User) -> None:
        for session in list(self.sessions_by_user.get(user, ())):
            session.access_changed()

    def user_deleted(self, user: User) -> None:
        self.broker.limits.clear(USER_LIMITS, user.name)
        for session in list(self.sessions_by_user.get(user, ())):
            session.force(f"user '{user.name}' is deleted")

    def vhost_deleted(self, vhost: VHost) -> None:
        self.end_sessions(lambda session: session.vhost is vhost, f"vhost '{vhost.name}' is deleted")

    async def delete_vhost(self, name: str) -> None:
        await self.in_steps(self.broker.delete_vhost(name))

    async def in_steps(self, steps: Iterator[None]) -> None:
        """Whoever waits for it may go away: it is finished all the same."""
        task = asyncio.ensure_future(self._take_steps(steps))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        await asyncio.shield(task)

    async def _take_steps(self, steps: Iterator[None]) -> None:
        """A little at a time, with everything else in between."""
        more = True
        while more:
            set_clock()
            ends = time.perf_counter() + STEPS_SECONDS
            while more and time.perf_counter() < ends:
                more = next(steps, self) is not self
            flush()
            await asyncio.sleep(0)

    def status(self) -> str:
        """In a few words, for whoever supervises the process."""
        queues = sum(len(vhost.queues) for vhost in self.broker.vhosts.values())
        alarms = ", alarm: publishes are held back" if self.alarms.in_force else ""
        return f"{len(self.sessions)} connections, {queues} queues{alarms}"

    def end_sessions(self, is_meant: Callable[["Session"], bool], reason: str) -> None:
        for session in list(self.sessions):
            if is_meant(session):
                session.force(reason)

    async def drain(self, reason: str, seconds: float) -> None:
        """Ask every client to go, and wait until all have gone or the time is over.

        Who has taken what it was sent and says nothing is not waited for: it finds the request when it looks.
        """
        self.housekeeping_timer.cancel()
        self.empty = self.loop.create_future()
        for session in list(self.sessions):
            session.force(reason)
        ends = self.loop.time() + seconds
        while self.sessions and self.loop.time() < ends:
            received = {session: session.connection.received_bytes for session in self.sessions}
            await asyncio.wait([self.empty], timeout=min(QUIET_SECONDS, ends - self.loop.time()))
            for session in list(self.sessions):
                if session.connection.received_bytes == received.get(session) and has_sent_all(session.connection):
                    session.finish()
        for session in list(self.sessions):
            session.abort()

    # ---------------------------------------------------------------------------------------------- all the time

    def _look_at_due(self) -> None:
        """Something falls due some time: look again until nothing does."""
        self.due_timer = self.loop.call_later(DUE_SECONDS_MIN, self._fall_due)

    def _fall_due(self) -> None:
        # Whatever goes wrong here, the next time comes.
        wait_ms = DUE_ERROR_MS
        try:
            wait_ms = self._deal_with_due()
        finally:
            self._look_at_due_again(wait_ms)
            flush()

    def _deal_with_due(self) -> int:
        set_clock()
        ends = time.perf_counter() + DUE_SECONDS
        wait_ms = deal_with_due(DUE_MESSAGES)
        # What has died already comes first.
        while wait_ms == 0 and not is_anyone_unburied() and time.perf_counter() < ends:
            wait_ms = deal_with_due(DUE_MESSAGES)
        return wait_ms

    def _look_at_due_again(self, wait_ms: int) -> None:
        if wait_ms < 0:
            self.due_timer = None
            due_timer_ended()
        else:
            seconds = min(max(wait_ms / 1000, DUE_SECONDS_MIN), DUE_SECONDS_MAX)
            self.due_timer = self.loop.call_later(seconds, self._fall_due)

    def _bury_soon(self) -> None:
        """More has died than one turn can deal with."""
        self.loop.call_soon(self._bury)

    def _bury(self) -> None:
        set_clock()
        ends = time.perf_counter() + DUE_SECONDS
        try:
            while bury_next(DUE_MESSAGES) and time.perf_counter() < ends:
                pass
            flush()
        finally:
            if is_anyone_unburied():
                self._bury_soon()

    def _go_on_settling(self, channel: Channel) -> None:
        assert isinstance(channel.peer, Connection)
        go_on_settling(cast("Session", channel.peer.session), channel)

    def _cancel_consumers_of_damaged(self) -> None:
        """Who consumes a queue that has stopped is told, as if it had been deleted."""
        queues = (declared for vhost in self.broker.vhosts.values() for declared in vhost.queues.values())
        damaged = [declared for declared in queues if declared.queue.is_damaged]
        self.damaged_queues = [(declared.vhost_name, declared.name) for declared in damaged]
        for declared in damaged:
            for consumer in declared.queue.consumers:
                self.consumer_cancelled(consumer)

    def _keep_house(self) -> None:
        # First: whatever goes wrong here, the next time comes.
        self.housekeeping_timer = self.loop.call_later(HOUSEKEEPING_SECONDS, self._keep_house)
        set_clock()
        self.broker.delete_unused(told_ms())
        if are_timeouts_used() and told_ms() >= self.overdue_next_ms:
            self.overdue_next_ms = told_ms() + OVERDUE_MS
            for session in list(self.sessions):
                begin_at_once(return_overdue(session), self.turns.begin)
        self.alarms.look_at_memory()
        if self.store is not None and self.store.journal.damaged and told_ms() >= self.damage_next_ms:
            self.damage_next_ms = told_ms() + DAMAGE_MS
            self._cancel_consumers_of_damaged()
        flush()
