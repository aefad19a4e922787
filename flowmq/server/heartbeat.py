"""Heartbeats of one connection: sent when nothing else was, missed when nothing at all came.

Sent every half interval in which nothing was written. Received octets are looked at once per interval; two intervals
without any end the connection, without a word, since there is nobody to hear it.
"""

import asyncio
from collections.abc import Callable

from flowmq._connection import Connection
from flowmq.amqp.constants import HEARTBEAT

SILENT_INTERVALS_MAX = 2


class Heartbeat:
    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        connection: Connection,
        interval_seconds: float,
        silent: Callable[[], None],
    ) -> None:
        self.loop = loop
        self.connection = connection
        self.half_seconds = interval_seconds / 2
        self.silent = silent
        self.writes = connection.writes
        self.reads = connection.reads
        self.halves = 0
        self.silent_intervals = 0
        self.timer = loop.call_later(self.half_seconds, self._tick)

    def stop(self) -> None:
        self.timer.cancel()

    def _tick(self) -> None:
        self.timer = self.loop.call_later(self.half_seconds, self._tick)
        self._send_unless_busy()
        self.halves += 1
        if self.halves % 2 == 0:
            self._listen()

    def _send_unless_busy(self) -> None:
        idle = self.connection.writes == self.writes
        if idle:
            self.connection.send_octets(HEARTBEAT)
        # The heartbeat itself is written after this, and must not count as something else next time.
        self.writes = self.connection.writes + idle

    def _listen(self) -> None:
        if self.connection.reads != self.reads or not self.connection.is_reading:
            self.silent_intervals = 0
            self.reads = self.connection.reads
            return
        self.silent_intervals += 1
        if self.silent_intervals == SILENT_INTERVALS_MAX:
            self.silent()
