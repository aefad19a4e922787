"""What clients do once and not per message: connect, open channels, declare, bind, delete; what that leaves in memory.

"One at a time" is one client that waits for each answer, in C, so that the time between is the broker's and the
kernel's.
"""

import contextlib
import os
import struct
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from bench._dialogue import connect_over_and_over, talk_over_and_over
from bench.broker import Broker, OwnBroker
from bench.budgets import Budget, at_least, at_most
from bench.wire import (
    CHANNEL,
    CHANNEL_CLOSE,
    CHANNEL_CLOSE_OK,
    CHANNEL_OPEN,
    CHANNEL_OPEN_OK,
    CONNECTION_CLOSE,
    CONNECTION_CLOSE_OK,
    QUEUE_BIND,
    QUEUE_BIND_OK,
    QUEUE_DECLARE,
    QUEUE_DECLARE_OK,
    QUEUE_DELETE,
    QUEUE_DELETE_OK,
    Connection,
    handshake,
    method_frame,
    queue_bind,
    queue_declare,
    short_string,
)

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


CLOSE = struct.pack(">H", 200) + short_string("bench is done") + bytes(4)


def over_and_over(broker: Broker, play: Callable[[], tuple[int, float]]) -> Figures:
    broker_ns, client_ns = cpu_ns(broker), time.thread_time_ns()
    count, seconds = play()
    client_ns, ended_ns = time.thread_time_ns() - client_ns, cpu_ns(broker)
    return {
        "per_second": count / seconds,
        "broker_cpu_us": None if broker_ns is None or ended_ns is None else (ended_ns - broker_ns) / 1000 / count,
        "client_cpu_us": client_ns / 1000 / count,
    }


def connections(broker: Broker, seconds: float) -> Figures:
    close = (method_frame(0, CONNECTION_CLOSE, CLOSE), CONNECTION_CLOSE_OK)
    dialogue = [*handshake(broker.address), close]
    return over_and_over(broker, lambda: connect_over_and_over(broker.address[:2], dialogue, seconds))


def channels(broker: Broker, seconds: float) -> Figures:
    dialogue = [
        (method_frame(CHANNEL, CHANNEL_OPEN, b"\0"), CHANNEL_OPEN_OK),
        (method_frame(CHANNEL, CHANNEL_CLOSE, CLOSE), CHANNEL_CLOSE_OK),
    ]
    with Connection(broker.address, with_channel=False) as connection:
        return talked(broker, connection, dialogue, seconds)


def declarations(broker: Broker, seconds: float) -> Figures:
    queue = f"flowmq-bench-{os.getpid()}-cycle"
    dialogue = [
        (method_frame(CHANNEL, QUEUE_DECLARE, queue_declare(queue, False)), QUEUE_DECLARE_OK),
        (method_frame(CHANNEL, QUEUE_BIND, queue_bind(queue, "amq.direct", queue)), QUEUE_BIND_OK),
        (method_frame(CHANNEL, QUEUE_DELETE, b"\0\0" + short_string(queue) + b"\0"), QUEUE_DELETE_OK),
    ]
    with Connection(broker.address) as connection:
        return talked(broker, connection, dialogue, seconds)


def talked(
    broker: Broker, connection: Connection, dialogue: list[tuple[bytes, tuple[int, int]]], seconds: float
) -> Figures:
    connection.socket.settimeout(None)  # a time-out makes a socket of Python's a non-blocking one
    return over_and_over(broker, lambda: talk_over_and_over(connection.socket.fileno(), dialogue, seconds))


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
