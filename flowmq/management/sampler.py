"""Asks the broker for its counters every few seconds, and keeps what rates and histories need.

Only what has changed crosses the socket. An object in which nothing happens for a while is forgotten here: its rate
is 0, and its counters are the broker's to tell.
"""

import asyncio
import logging
import time
from collections.abc import Sequence
from typing import Any

from flowmq._tally import EXCHANGE_COUNTERS, QUEUE_COUNTERS
from flowmq.management.rings import Ages, Ring
from flowmq.server.control.client import AsyncControlConnection, NoBroker
from flowmq.server.control.counters import CHANNEL_STATS
from flowmq.server.control.registry import ControlError

SAMPLES = 24  # per object
SAMPLES_OF_ALL = 720
NAMES_EVERY = 6  # samples, at most, is it looked which queues are gone
log = logging.getLogger("flowmq.management")

# Of a queue: what its rates are made of. The first three are lengths.
QUEUE_FIELDS = (
    *("messages", "messages_ready", "messages_unacknowledged"),
    *("publish", "deliver", "deliver_no_ack", "get", "get_no_ack", "get_empty", "redeliver", "ack", "deliver_get"),
)
LENGTHS = QUEUE_FIELDS[:3]
AT = {name: at for at, name in enumerate(QUEUE_COUNTERS)}
EXCHANGE_FIELDS = ("publish_in", "publish_out", "confirm", "return_unroutable", "drop_unroutable")
AT_EXCHANGE = {name: at for at, name in enumerate(EXCHANGE_COUNTERS)}
CONNECTION_FIELDS = ("recv_oct", "send_oct")
CONSUMER_FIELDS = ("deliver",)
TOTAL_FIELDS = (*QUEUE_FIELDS, "confirm", "return_unroutable", "drop_unroutable", *CONNECTION_FIELDS)
NODE_FIELDS = (
    *("mem_used", "disk_free", "fd_used", "sockets_used", "io_write_count", "io_write_bytes", "io_sync_count"),
)
CHURN_FIELDS = {
    "connection_created": "connections_opened",
    "connection_closed": "connections_closed",
    "channel_created": "channels_opened",
    "channel_closed": "channels_closed",
    "queue_declared": "queues_declared",
    "queue_created": "queues_created",
    "queue_deleted": "queues_deleted",
}


def queue_fields(counts: Sequence[int]) -> list[int]:
    ready, unacked = counts[AT["ready"]], counts[AT["unacked"]]
    stats = [counts[AT[name]] for name in QUEUE_FIELDS[3:-1]]
    deliver_get = sum(counts[AT[name]] for name in ("deliver", "deliver_no_ack", "get", "get_no_ack"))
    return [ready + unacked, ready, unacked, *stats, deliver_get]


def total_fields(total: dict[str, int]) -> list[int]:
    counts = [total.get(name, 0) for name in QUEUE_COUNTERS]
    return [*queue_fields(counts), *(total.get(name, 0) for name in TOTAL_FIELDS[len(QUEUE_FIELDS) :])]


def node_fields(status: dict[str, Any]) -> list[int]:
    journal = status["journal"] or {}
    return [
        *(status["resident_bytes"], status["disk_free"] or 0, status["open_files"], status["sockets"]),
        *(journal.get("writes", 0), journal.get("bytes_written", 0), journal.get("syncs", 0)),
    ]


class History:
    """Rings of all objects of one kind. One that got no sample at the last tick stands still."""

    def __init__(self, fields: tuple[str, ...], samples: int = SAMPLES) -> None:
        self.fields = fields
        self.samples = samples
        self.place = {name: at for at, name in enumerate(fields)}
        self.rings: dict[Any, Ring] = {}
        self.tick_at = self.tick_before = 0.0

    def begin(self, at: float) -> None:
        self.tick_before, self.tick_at = self.tick_at, at

    def note(self, key: Any, values: Sequence[int]) -> None:
        ring = self.rings.get(key)
        if ring is None:
            ring = self.rings[key] = Ring(self.samples, len(self.fields))
        elif ring.last_at < self.tick_before:
            # Nothing happened until then.
            ring.add(self.tick_before, ring.last())
        ring.add(self.tick_at, values)

    def forget_idle(self, seconds: float) -> None:
        for key in [key for key, ring in self.rings.items() if ring.last_at < self.tick_at - seconds]:
            del self.rings[key]

    def rate(self, key: Any, field: str) -> float:
        ring = self.rings.get(key)
        if ring is None or ring.last_at < self.tick_at or field not in self.place:
            return 0.0
        return ring.rate(self.place[field])

    def details(self, key: Any, field: str, age: float = 0, step: float = 0) -> dict[str, Any]:
        """The rate, and samples for who asks for them."""
        found: dict[str, Any] = {"rate": self.rate(key, field)}
        ring = self.rings.get(key)
        if not age or ring is None or field not in self.place:
            return found
        samples = thinned(list(ring.samples(self.place[field])), age, step)
        if samples:
            values = [sample["sample"] for sample in samples]
            seconds = (samples[0]["timestamp"] - samples[-1]["timestamp"]) / 1000
            found["samples"] = samples
            found["avg"] = sum(values) / len(values)
            found["avg_rate"] = (values[0] - values[-1]) / seconds if seconds else 0.0
        return found


def thinned(samples: list[tuple[float, int]], age: float, step: float) -> list[dict[str, Any]]:
    """Not older than so many seconds, and so far apart."""
    kept: list[dict[str, Any]] = []
    oldest = samples[0][0] - age if samples else 0.0
    last = float("inf")
    for at, value in samples:
        if at >= oldest and last - at >= step:
            kept.append({"sample": value, "timestamp": int(at * 1000)})
            last = at
    return kept


class Sampler:
    def __init__(self, control: AsyncControlConnection, seconds: float) -> None:
        self.control = control
        self.seconds = seconds
        self.started_at = time.time()
        self.queues = History(QUEUE_FIELDS)
        self.exchanges = History(EXCHANGE_FIELDS)
        self.connections = History(CONNECTION_FIELDS)
        self.channels = History(CHANNEL_STATS)
        self.consumers = History(CONSUMER_FIELDS)
        self.vhosts = History(TOTAL_FIELDS)
        self.node = History(TOTAL_FIELDS, SAMPLES_OF_ALL)
        self.status = History(NODE_FIELDS)
        self.churn = History(tuple(CHURN_FIELDS))
        self.ages: dict[tuple[str, str], Ages] = {}
        self.oldest: dict[tuple[str, str], int] = {}
        self.active_at: dict[tuple[str, str], float] = {}
        self.deleted_seen = 0
        self.names_next_at = 0.0

    @property
    def histories(self) -> tuple[History, ...]:
        return (
            *(self.queues, self.exchanges, self.connections, self.channels, self.consumers),
            *(self.vhosts, self.node, self.status, self.churn),
        )

    async def run(self) -> None:
        while True:
            started = time.monotonic()
            try:
                await self.sample()
            except ControlError as error:
                log.warning("no sample: %s", error)
            except NoBroker:
                return
            await asyncio.sleep(max(0.0, self.seconds - (time.monotonic() - started)))

    async def sample(self) -> None:
        now = time.time()
        for history in self.histories:
            history.begin(now)
        async for rows in self.control.parts("queue.activity"):
            for vhost, name, counts, oldest, next_sequence in rows:
                self._note_queue((vhost, name), now, counts, oldest, next_sequence)
        async for rows in self.control.parts("exchange.activity"):
            for vhost, name, counts in rows:
                self.exchanges.note((vhost, name), [counts[AT_EXCHANGE[field]] for field in EXCHANGE_FIELDS])
        async for rows in self.control.parts("connection.activity"):
            for name, received, sent, channels in rows:
                self.connections.note(name, [received, sent])
                for number, counts, consumers in channels:
                    self.channels.note(f"{name} ({number})", counts)
                    for tag, delivered in consumers:
                        self.consumers.note((f"{name} ({number})", tag), [delivered])
        totals = await self.control.call("node.totals")
        status = await self.control.call("node.status")
        for vhost, total in totals["vhosts"].items():
            self.vhosts.note(vhost, total_fields(total))
        self.node.note("all", total_fields(totals["all"]))
        self.status.note("all", node_fields(status))
        churned = {**totals["all"], **status["churn"]}
        self.churn.note("all", [churned[name] for name in CHURN_FIELDS.values()])
        for history in self.histories:
            history.forget_idle(self.seconds * SAMPLES)
        await self._forget_deleted(totals["all"]["queues_deleted"])

    def _note_queue(
        self, key: tuple[str, str], now: float, counts: Sequence[int], oldest: int, next_sequence: int
    ) -> None:
        self.queues.note(key, queue_fields(counts))
        self.active_at[key] = now
        if not oldest:
            self.ages.pop(key, None)
            self.oldest.pop(key, None)
            if not next_sequence:
                return
        ages = self.ages.get(key)
        if ages is None:
            ages = self.ages[key] = Ages()
        ages.note(now, next_sequence)
        if oldest:
            ages.forget_before(oldest)
            self.oldest[key] = oldest

    def oldest_ready_seconds(self, key: tuple[str, str]) -> float | None:
        """How old the oldest ready message is at least; None when there is none, or nobody knows."""
        oldest, ages = self.oldest.get(key), self.ages.get(key)
        came_at = None if oldest is None or ages is None else ages.came_at(oldest)
        return None if came_at is None else max(0.0, time.time() - came_at)

    async def _forget_deleted(self, deleted: int) -> None:
        """Queues that are not there any more; looked for when some were deleted, and not too often."""
        now = time.monotonic()
        if deleted == self.deleted_seen or now < self.names_next_at:
            return
        self.deleted_seen = deleted
        self.names_next_at = now + self.seconds * NAMES_EVERY
        kept: set[tuple[str, str]] = set()
        async for rows in self.control.parts("queue.list", columns=["name", "vhost"]):
            kept.update((row["vhost"], row["name"]) for row in rows)
        for known in (self.ages, self.oldest, self.active_at, self.queues.rings):
            for key in [key for key in known if key not in kept]:
                del known[key]
