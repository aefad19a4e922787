"""Signs of life of one connection: heartbeats are sent, and a client that gives no sign of life any more is let go.

A heartbeat is sent every half interval in which nothing was written. Whoever is read gives a sign with every octet. A
client that has asked for much and takes none of it is not read until it does, so that nothing could be heard of it:
there the sign is that it takes something. Signs are looked for once per interval; two intervals without any end the
connection, without a word, since there is nobody to hear it.

Where no heartbeats were agreed on none are sent, and nobody has to say anything; what was asked for has to be taken.
"""

import asyncio
from collections.abc import Callable

from flowmq._connection import Connection
from flowmq.amqp.constants import HEARTBEAT

SILENT_INTERVALS_MAX = 2
UNAGREED_SECONDS = 60.0  # an interval where there are no heartbeats


class Heartbeat:
    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        connection: Connection,
        interval_seconds: int,
        lost: Callable[[str], None],
    ) -> None:
        """`lost` is called with the reason. `interval_seconds` 0: no heartbeats."""
        self.loop = loop
        self.connection = connection
        self.is_agreed = interval_seconds > 0
        self.interval_seconds = interval_seconds or UNAGREED_SECONDS
        self.lost = lost
        self.writes = connection.writes
        self.sign = self._sign_of_life()
        self.halves = 0
        self.silent_intervals = 0
        self._wait()

    def stop(self) -> None:
        self.timer.cancel()

    def _wait(self) -> None:
        self.timer = self.loop.call_later(self.interval_seconds / 2, self._tick)

    def _tick(self) -> None:
        self._wait()
        if self.is_agreed:
            self._send_unless_busy()
        self.halves += 1
        if self.halves % 2 == 0:
            self._look()

    def _send_unless_busy(self) -> None:
        idle = self.connection.writes == self.writes
        if idle:
            self.connection.send_octets(HEARTBEAT)
        # The heartbeat itself is written after this, and must not count as something else next time.
        self.writes = self.connection.writes + idle

    def _look(self) -> None:
        before, self.sign = self.sign, self._sign_of_life()
        if self.sign is None or self.sign != before:
            self.silent_intervals = 0
            return
        self.silent_intervals += 1
        if self.silent_intervals == SILENT_INTERVALS_MAX:
            self.lost(self._reason())

    def _sign_of_life(self) -> tuple[bool, int] | None:
        """Differs from the last one if there was any. None: nothing can be expected of the client, it waits for us."""
        if self.connection.is_reading:
            return (True, self.connection.reads) if self.is_agreed else None
        if self._waits_for_client() and self.connection.transport is not None:
            return False, self.connection.sent_bytes - self.connection.transport.get_write_buffer_size()
        return None

    def _waits_for_client(self) -> bool:
        """An alarm is no fault of the client's: it may be one that cannot read before it has written."""
        connection = self.connection
        owes = connection.owing_too_much or connection.held_for_room
        return connection.paused and owes and not connection.told_to_stop

    def _reason(self) -> str:
        if self.connection.is_reading:
            return f"missed heartbeats from client, timeout: {self.interval_seconds}s"
        seconds = SILENT_INTERVALS_MAX * self.interval_seconds
        return f"the client took nothing of {self.connection.outgoing_bytes} octets for {seconds:g}s"
