"""What clients do once and not per message: connect, open channels, declare, bind, delete; what that leaves in memory.

One client does one thing after the other, in Python, so that its own time is part of a rate "one at a time": the CPU
figures say what of it is the broker's.
"""

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from bench.broker import Broker, OwnBroker
from bench.budgets import Budget, at_least, at_most
from bench.wire import Connection

Figures = dict[str, float | None]

DURABLE_QUEUES = 10_000
IDLE_CONNECTIONS = 1000
KIB = 1024


@dataclass(frozen=True)
class ControlRow:
    name: str
    title: str
    play: Callable[[Broker, float], Figures]
    budgets: tuple[Budget, ...] = ()


def cpu_ns(broker: Broker) -> int | None:
    return broker.process.cpu_ns() if broker.process else None


def over_and_over(broker: Broker, seconds: float, cycle: Callable[[], None]) -> Figures:
    count, broker_ns, client_ns, started = 0, cpu_ns(broker), time.thread_time_ns(), time.monotonic()
    while (elapsed := time.monotonic() - started) < seconds or not count:
        cycle()
        count += 1
    client_ns, ended_ns = time.thread_time_ns() - client_ns, cpu_ns(broker)
    return {
        "per_second": count / elapsed,
        "broker_cpu_us": None if broker_ns is None or ended_ns is None else (ended_ns - broker_ns) / 1000 / count,
        "client_cpu_us": client_ns / 1000 / count,
    }


def connections(broker: Broker, seconds: float) -> Figures:
    def cycle() -> None:
        Connection(broker.address, with_channel=False).close()

    return over_and_over(broker, seconds, cycle)


def channels(broker: Broker, seconds: float) -> Figures:
    with Connection(broker.address, with_channel=False) as connection:

        def cycle() -> None:
            connection.open_channel()
            connection.close_channel()

        return over_and_over(broker, seconds, cycle)


def declarations(broker: Broker, seconds: float) -> Figures:
    queue = f"flowmq-bench-{os.getpid()}-cycle"
    with Connection(broker.address) as connection:

        def cycle() -> None:
            connection.declare_queue(queue)
            connection.bind_queue(queue, "amq.direct", queue)
            connection.delete_queue(queue)

        return over_and_over(broker, seconds, cycle)


@contextlib.contextmanager
def growing(broker: Broker, count: int, figures: Figures) -> Iterator[None]:
    """What this many things take: their rate, their CPU and the memory of each."""
    before = broker.process.rss_bytes() if broker.process else None
    broker_ns, started = cpu_ns(broker), time.monotonic()
    yield
    figures["per_second"] = count / (time.monotonic() - started)
    if broker.process and before is not None and broker_ns is not None:
        figures["broker_cpu_us"] = (broker.process.cpu_ns() - broker_ns) / 1000 / count
        figures["rss_each_bytes"] = (broker.process.rss_bytes() - before) / count


def durable_queues(broker: Broker, _: float) -> Figures:
    """Sent without waiting for each one's answer."""
    names = [f"flowmq-bench-{os.getpid()}-durable-{i}" for i in range(DURABLE_QUEUES)]
    figures: Figures = {}
    with Connection(broker.address) as connection:
        try:
            with growing(broker, len(names), figures):
                connection.declare_queues(names, durable=True)
        finally:
            connection.delete_queues(names)
    return figures


def idle_connections(broker: Broker, _: float) -> Figures:
    figures: Figures = {}
    with contextlib.ExitStack() as opened, growing(broker, IDLE_CONNECTIONS, figures):
        for _ in range(IDLE_CONNECTIONS):
            opened.enter_context(Connection(broker.address))
        # Before any of them closes.
        held = opened.pop_all()
    held.close()
    return figures


def start(broker: Broker, _: float) -> Figures:
    return {"ready_seconds": broker.ready_seconds if isinstance(broker, OwnBroker) else None}


CONTROL_ROWS = (
    ControlRow("start", "start on an empty directory", start, (at_most("ready_seconds", 0.5),)),
    ControlRow("connections", "connections, one at a time", connections, (at_least("per_second", 4000),)),
    ControlRow("channels", "channels, one at a time", channels, (at_least("per_second", 20_000),)),
    ControlRow("declarations", "declare, bind, delete, one at a time", declarations, (at_least("per_second", 5000),)),
    ControlRow(
        "durable-queues",
        f"{DURABLE_QUEUES:,} durable queues declared, pipelined",
        durable_queues,
        (at_least("per_second", 20_000), at_most("rss_each_bytes", 2 * KIB)),
    ),
    ControlRow(
        "idle-connections",
        f"{IDLE_CONNECTIONS:,} idle connections with a channel each",
        idle_connections,
        (at_most("rss_each_bytes", 12 * KIB),),
    ),
)
