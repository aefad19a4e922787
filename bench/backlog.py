"""A backlog: fill a durable queue that nobody consumes, kill the broker, start it again, drain the queue.

A peer is filled and drained only: it is not ours to kill, and what its memory held before is not known.
"""

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from bench._load import Load
from bench.broker import OwnBroker, PeerBroker
from bench.measure import QUIET_SECONDS, Stage, medians, sums
from bench.scenarios import Scenario
from bench.wire import Connection

STEP_SECONDS = 0.005


@dataclass(frozen=True)
class BacklogRun:
    """The figures of one run, or the medians of several."""

    messages: float
    filled_per_second: float
    filled_rss_bytes: float | None  # above the idle broker, as the next one
    ready_seconds: float | None
    ready_rss_bytes: float | None
    drained_per_second: float
    lost: int
    duplicated: int
    out_of_order: int
    nacked: int
    unconfirmed: int

    @property
    def faults(self) -> int:
        return self.lost + self.duplicated + self.out_of_order + self.nacked + self.unconfirmed


MEDIANS = (
    "messages",
    "filled_per_second",
    "filled_rss_bytes",
    "ready_seconds",
    "ready_rss_bytes",
    "drained_per_second",
)
SUMS = ("lost", "duplicated", "out_of_order", "nacked", "unconfirmed")


def median_of(runs: list[BacklogRun]) -> BacklogRun:
    return BacklogRun(**medians(runs, MEDIANS), **sums(runs, SUMS))  # type: ignore[arg-type]


class Backlog:
    """One run of a backlog scenario on one broker."""

    def __init__(self, scenario: Scenario, broker: OwnBroker | PeerBroker) -> None:
        self.stage = Stage(scenario, broker.address)
        self.load = self.stage.load
        self.broker = broker

    def measure(self) -> BacklogRun:
        with self.queue_declared():
            idle_bytes = self.rss_bytes()
            fill_seconds = self.fill()
            filled_bytes = self.rss_bytes()
            ready_seconds = self.restart()
            ready_bytes = self.rss_bytes()
            drain_seconds = self.drain()
        load = self.load
        return BacklogRun(
            messages=load.published,
            filled_per_second=load.confirmed / fill_seconds,
            filled_rss_bytes=difference(filled_bytes, idle_bytes),
            ready_seconds=ready_seconds,
            ready_rss_bytes=difference(ready_bytes, idle_bytes),
            drained_per_second=load.consumed / drain_seconds,
            lost=load.lost,
            duplicated=load.duplicated,
            out_of_order=load.out_of_order,
            nacked=load.nacked,
            unconfirmed=load.published - load.confirmed,
        )

    @contextlib.contextmanager
    def queue_declared(self) -> Iterator[None]:
        """Durable, so that it outlives the process and the connection; gone at the end."""
        (queue,) = self.stage.queues
        with Connection(self.stage.address) as control:
            control.declare_queue(queue, durable=True)
        try:
            yield
        finally:
            with Connection(self.stage.address) as control:
                control.delete_queue(queue)

    def fill(self) -> float:
        """Seconds from the first publish to the last confirm."""
        with contextlib.ExitStack() as connections:
            self.stage.add_publishers(connections)
            seconds = play_until(self.load, lambda: self.load.confirmed >= self.stage.scenario.backlog, publish=True)
            self.load.detach()
        return seconds

    def restart(self) -> float | None:
        if isinstance(self.broker, PeerBroker):
            return None
        seconds = self.broker.restart_after_kill()
        self.stage.address = self.broker.address
        return seconds

    def drain(self) -> float:
        """Seconds from the consumer's arrival to the last delivery."""
        with contextlib.ExitStack() as connections:
            started = time.monotonic()
            self.stage.add_consumers(connections)
            play_until(self.load, lambda: self.load.consumed >= self.load.expected, publish=False)
            seconds = time.monotonic() - started
            self.load.drain(QUIET_SECONDS)
        return seconds

    def rss_bytes(self) -> int | None:
        # A peer's memory holds what came before, and much that has nothing to do with this queue.
        if isinstance(self.broker, PeerBroker):
            return None
        return self.broker.process.rss_bytes()


def difference(figure: int | None, base: int | None) -> int | None:
    return None if figure is None or base is None else figure - base


def play_until(load: Load, reached: Callable[[], bool], *, publish: bool) -> float:
    """Seconds until it is reached, or until nothing has moved for long: the counters tell then what is missing."""
    started = changed = time.monotonic()
    progress = -1
    while not reached() and time.monotonic() - changed < QUIET_SECONDS:
        load.run(STEP_SECONDS, publish=publish)
        if load.confirmed + load.consumed != progress:
            progress = load.confirmed + load.consumed
            changed = time.monotonic()
    return time.monotonic() - started
