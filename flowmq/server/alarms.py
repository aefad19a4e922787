"""Memory and disk alarms: while one is in force publishes are held back, and everything else goes on.

A connection that publishes meanwhile is told so (connection.blocked), and is read on: acknowledgements, declarations
and cancellations count as ever. What it publishes waits in a line (_held) of which each connection may take up so much;
beyond that it is refused (basic.nack) or the connection is not read any more, as was set. When the last alarm is over
the line goes on to the queues before anybody publishes past it.
"""

import asyncio
import logging
import os
import select
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from flowmq._clock import set_clock
from flowmq._connection import set_memory_limit
from flowmq._held import held_bytes, held_publishes, release_held, set_holding
from flowmq._message import live_output_bytes
from flowmq._peer import flush, set_sparing
from flowmq.server.process_memory import ProcessMemory, counted_bytes

if TYPE_CHECKING:
    from flowmq.server.config import LimitsSettings
    from flowmq.server.session import Session

MEMORY, DISK = "memory", "disk"
CHECK_SECONDS = 0.1  # between two looks at whether an alarm is over
# All shares are of what raises the memory alarm.
CLEAR_SHARE = 0.95  # in use: the alarm is over
PORTION_SHARE = 0.8  # likewise, however much is held
# What may be used in all before connections are not read any more that publish in spite of the alarm.
HARD_SHARE = 1.125
# Before whoever holds any message unacknowledged gets no more.
SEVERE_SHARE = 1.25
DISK_CLEAR_BYTES = 16777216  # free above the limit, or a twentieth of it: the disk alarm is over
DISK_SECONDS_MIN, DISK_SECONDS_MAX = 0.05, 1.0  # between two looks at the disk
DISK_BYTES_PER_SECOND = 2e9  # no disk here fills up faster
# What may wait for clients to read it before each gets much less of it.
OUTGOING_SHARE = 0.25
LOOKS_PER_COUNT = 4  # what waits is counted less often, unless it is much: there may be many connections
OUTGOING_BYTES_SCARCE = 65536  # for one client then
RELEASE_SECONDS = 0.003
RELEASE_PUBLISHES = 100  # between two looks at the clock
log = logging.getLogger("flowmq")


class Alarms:
    """`sessions` are those of all connections, as they come and go."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        limits: "LimitsSettings",
        sessions: set["Session"],
        memory_limit_bytes: int,
        data_dir: Path | None,
    ) -> None:
        self.loop = loop
        self.limits = limits
        self.sessions = sessions
        self.process = ProcessMemory(memory_limit_bytes)
        self.memory_limit_bytes = self.process.alarm_bytes
        self.data_dir = data_dir
        self.in_force: set[str] = set()
        self.raised_counts = {MEMORY: 0, DISK: 0}
        self.blocked: set[Session] = set()
        self.releasing = False
        self.looks = 0
        self.outgoing_bytes = 0  # waiting for clients to read them, when that was looked at last
        self.is_scarce = False  # no client may have much waiting
        self.free_bytes: int | None = None
        self.timers: dict[str, asyncio.TimerHandle] = {}
        set_holding(limits.held_bytes_max, limits.on_alarm == "nack")
        self._look_at_process()

    def start(self) -> None:
        if self.data_dir is not None:
            self._watch_disk()

    def stop(self) -> None:
        """What was held back goes on to its queues, so that what is durable of it is kept."""
        for timer in self.timers.values():
            timer.cancel()
        while release_held(RELEASE_PUBLISHES):
            pass

    @property
    def reason(self) -> str:
        """As clients are told."""
        return "low on " + " & ".join(name for name in (MEMORY, DISK) if name in self.in_force)

    # ------------------------------------------------------------------------------------------------- sessions

    def session_began(self, session: "Session") -> None:
        if self.in_force or self.releasing:
            session.connection.holding = True
        if self.is_scarce:
            self._limit_outgoing(session)

    def session_ended(self, session: "Session") -> None:
        self.blocked.discard(session)

    def memory_is_short(self, session: "Session") -> None:
        """A publish went over the limit, by what the process took beside messages when that was looked at last."""
        self.look_at_memory()
        if self.in_force:
            self.published(session)

    def published(self, session: "Session") -> None:
        """Something was published while publishes are held back."""
        if self._is_memory_short():
            self._raise_memory()
        if self.in_force and session not in self.blocked:
            self.blocked.add(session)
            session.block(self.reason)
        if self._is_too_much(session) and not session.client_gone:
            session.connection.stop_reading()

    def _is_too_much(self, session: "Session") -> bool:
        connection = session.connection
        if connection.holds_too_much or not self._is_below_hard_limit():
            return True
        # What a transaction has gathered is not held back: its commit must not be.
        return any(channel.transactional for channel in connection.channels.values())

    # --------------------------------------------------------------------------------------------------- alarms

    def _raise(self, name: str, why: str) -> None:
        if name in self.in_force:
            return
        log.warning("%s alarm: %s: publishes are held back", name, why)
        self.in_force.add(name)
        self.raised_counts[name] += 1
        for session in self.sessions:
            session.connection.holding = True
        self._again("check", CHECK_SECONDS, self._check)

    def _raise_memory(self) -> None:
        used, limit = f"{self.in_use} bytes are in use, {counted_bytes()} of them", self.memory_limit_bytes
        self._raise(MEMORY, f"{used} for messages and deliveries, more than {limit}")

    def _clear(self, name: str) -> None:
        self.in_force.discard(name)
        log.info("%s alarm cleared%s", name, "" if self.in_force else ": publishers go on")

    def _check(self) -> None:
        if MEMORY in self.in_force:
            self.process.look_for_garbage()
            self._look_at_process()
        if MEMORY in self.in_force and self._memory_is_free():
            self._clear(MEMORY)
        if not self.in_force:
            self.releasing = True
            self._release()
            return
        # Whoever also consumes may have acknowledgements on the way behind too many publishes, and without them memory
        # may never get free: such a connection is read on, slowly. So is one whose client has gone, which nobody would
        # notice otherwise: what it holds, half a message perhaps, goes with it.
        for session in self.blocked:
            if not session.connection.told_to_stop:
                continue
            if client_has_gone(session) or (session.is_consuming and self._is_below_hard_limit()):
                session.connection.resume_reading()
        self._again("check", CHECK_SECONDS, self._check)

    # --------------------------------------------------------------------------------------------------- memory

    def look_at_memory(self) -> None:
        """Publishes tell when they take too much; deliveries do not, which are read from the disk or copied."""
        self.looks += 1
        self._look_at_process()
        if self.is_scarce or self.looks % LOOKS_PER_COUNT == 0:
            self.outgoing_bytes = sum(session.connection.outgoing_bytes for session in self.sessions)
            if self.in_use <= self.memory_limit_bytes:
                self._end_sparing()
        scarce = self.outgoing_bytes > self.memory_limit_bytes * OUTGOING_SHARE or self.in_use > self.memory_limit_bytes
        if scarce != self.is_scarce:
            self.is_scarce = scarce
            for session in self.sessions:
                self._limit_outgoing(session)
        if self._is_memory_short():
            self._raise_memory()

    def _look_at_process(self) -> None:
        self.process.look()
        self._tell_limits()

    def _tell_limits(self) -> None:
        """What messages may take, told to those who look at every publish and delivery."""
        limit, others = self.memory_limit_bytes, self.process.uncounted_bytes
        set_memory_limit(max(limit - others, 0))
        set_sparing(max(int(limit * HARD_SHARE) - others, 0), max(int(limit * SEVERE_SHARE) - others, 0))

    def _limit_outgoing(self, session: "Session") -> None:
        most = self.limits.outgoing_bytes_max
        session.connection.outgoing_bytes_max = min(most, OUTGOING_BYTES_SCARCE) if self.is_scarce else most

    def _end_sparing(self) -> None:
        """Who had been refused a delivery because of what it holds unacknowledged is to have it now."""
        for session in list(self.sessions):
            if session.connection.sparing:
                session.connection.sparing = False
                session.connection.starved = True
                session.connection.refill()

    @property
    def in_use(self) -> int:
        return counted_bytes() + max(self.process.uncounted_bytes, self.outgoing_bytes - live_output_bytes())

    def _is_memory_short(self) -> bool:
        return self.in_use - held_bytes() > self.memory_limit_bytes

    def _memory_is_free(self) -> bool:
        """Also for what is held, or it would be short again at once; in portions, when that is very much."""
        in_use = self.in_use
        share = (in_use - held_bytes()) / self.memory_limit_bytes
        return share <= CLEAR_SHARE and (in_use <= self.memory_limit_bytes or share <= PORTION_SHARE)

    def _is_below_hard_limit(self) -> bool:
        return self.in_use <= self.memory_limit_bytes * HARD_SHARE

    @property
    def is_memory_very_short(self) -> bool:
        return not self._is_below_hard_limit()

    def _release(self) -> None:
        """What was held goes on, a little at a time, unless there is an alarm again."""
        if self.in_force:
            self.releasing = False
            return
        set_clock()
        ends = time.perf_counter() + RELEASE_SECONDS
        while release_held(RELEASE_PUBLISHES) and time.perf_counter() < ends and not self._is_memory_short():
            pass
        flush()
        if held_publishes() == 0:
            self._end()
        elif self._is_memory_short():
            self.releasing = False
            self._raise_memory()
        else:
            self.loop.call_soon(self._release)

    def _end(self) -> None:
        self.releasing = False
        for session in self.sessions:
            session.connection.end_holding()
        for session in self.blocked:
            session.unblock()
        self.blocked.clear()
        flush()

    def _again(self, name: str, seconds: float, callback: Callable[[], None]) -> None:
        if name in self.timers:
            self.timers[name].cancel()
        self.timers[name] = self.loop.call_later(seconds, callback)

    # ----------------------------------------------------------------------------------------------------- disk

    def _watch_disk(self) -> None:
        assert self.data_dir is not None
        found = os.statvfs(self.data_dir)
        free = found.f_bavail * found.f_frsize
        share_bytes = int(found.f_blocks * found.f_frsize * self.limits.disk_free_share_min)
        limit = max(self.limits.disk_free_bytes_min, share_bytes)
        self.free_bytes = free
        if free < limit:
            self._raise(DISK, f"{free} bytes are free, the limit is {limit}")
        elif DISK in self.in_force and free >= limit + min(limit // 20, DISK_CLEAR_BYTES):
            self._clear(DISK)
        # The less room there is, the sooner it is looked at again.
        seconds = min(max((free - limit) / DISK_BYTES_PER_SECOND, DISK_SECONDS_MIN), DISK_SECONDS_MAX)
        self._again("disk", CHECK_SECONDS if DISK in self.in_force else seconds, self._watch_disk)


def client_has_gone(session: "Session") -> bool:
    """Has the client closed its socket? While that is not read, its end is not seen otherwise."""
    if not session.client_gone and session.connection.transport is not None:
        poll = select.poll()
        poll.register(session.connection.transport.get_extra_info("socket").fileno(), select.POLLRDHUP)
        session.client_gone = bool(poll.poll(0))
    return session.client_gone
