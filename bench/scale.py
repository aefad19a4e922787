"""Many of everything: how fast they come, what each takes of memory, and what a busy queue beside them loses.

The busy queue is compared with that of a second broker without the crowd, in turns, since both share one core. A peer
is filled with the same crowd, but has no second one beside it.
"""

import contextlib
import os
import random
import statistics
import struct
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial

from bench.broker import Broker, OwnBroker
from bench.budgets import Budget, at_least, at_most
from bench.control import ControlRow, Figures, cpu_ns, growing
from bench.measure import measure
from bench.scenarios import SCENARIOS
from bench.wire import (
    BASIC_CONSUME,
    BASIC_CONSUME_OK,
    CHANNEL,
    Connection,
    Properties,
    long_string,
    method_frame,
    publish_image,
    short_string,
)

CONNECTIONS = 10_000
QUEUES = 100_000
BINDINGS, BOUND_QUEUES = 1_000_000, 1000
CONSUMERS, CONSUMED_QUEUES, CONSUMING_CONNECTIONS = 100_000, 1000, 100
UNACKED, FEW_UNACKED, ACKED_FROM_THE_MIDDLE = 100_000, 10_000, 5000
PAIRS = 3
BASIC_ACK, BASIC_DELIVER = (60, 80), (60, 60)

Crowd = Callable[[Broker, Figures], AbstractContextManager[None]]

(HOT,) = (scenario for scenario in SCENARIOS if scenario.name == "auto-ack")


def name(kind: str, number: int) -> str:
    return f"flowmq-bench-{os.getpid()}-{kind}-{number}"


@contextlib.contextmanager
def connections(broker: Broker, figures: Figures) -> Iterator[None]:
    with contextlib.ExitStack() as opened:
        with growing(broker, CONNECTIONS, figures):
            for _ in range(CONNECTIONS):
                opened.enter_context(Connection(broker.address))
        yield


@contextlib.contextmanager
def queues(broker: Broker, figures: Figures, *, durable: bool) -> Iterator[None]:
    names = [name("many", i) for i in range(QUEUES)]
    with Connection(broker.address) as connection:
        with growing(broker, QUEUES, figures):
            connection.declare_queues(names, durable=durable)
        yield
        connection.delete_queues(names)


@contextlib.contextmanager
def some_queues(connection: Connection, count: int) -> Iterator[list[str]]:
    names = [name("some", i) for i in range(count)]
    connection.declare_queues(names)
    yield names
    connection.delete_queues(names)


@contextlib.contextmanager
def bindings(broker: Broker, figures: Figures, *, exchange_type: str) -> Iterator[None]:
    exchange = name(exchange_type, 0)
    with Connection(broker.address) as connection, some_queues(connection, BOUND_QUEUES) as names:
        connection.declare_exchange(exchange, exchange_type)
        with growing(broker, BINDINGS, figures):
            for start in range(0, BINDINGS, BOUND_QUEUES):
                connection.bind_queues(exchange, [(each, f"key.{start}.{each}") for each in names])
        yield
        connection.delete_exchange(exchange)


@contextlib.contextmanager
def consumers(broker: Broker, figures: Figures) -> Iterator[None]:
    """A hundred consumers to each of a thousand queues."""
    each = CONSUMERS // CONSUMING_CONNECTIONS
    with contextlib.ExitStack() as opened:
        control = opened.enter_context(Connection(broker.address))
        names = opened.enter_context(some_queues(control, CONSUMED_QUEUES))
        consuming = [opened.enter_context(Connection(broker.address)) for _ in range(CONSUMING_CONNECTIONS)]
        requests = [
            method_frame(CHANNEL, BASIC_CONSUME, b"\0\0" + short_string(queue) + b"\0" + b"\x02" + long_string(b""))
            for queue in names[:each]
        ]
        with growing(broker, CONSUMERS, figures):
            for connection in consuming:
                connection.pipeline(requests, BASIC_CONSUME_OK)
        yield


def beside(crowd: Crowd, broker: Broker, seconds: float) -> Figures:
    figures: Figures = {}
    with contextlib.ExitStack() as stack:
        stack.enter_context(crowd(broker, figures))
        if isinstance(broker, OwnBroker):
            alone = OwnBroker()
            stack.callback(alone.stop)
            runs = [(measure(HOT, broker, seconds), measure(HOT, alone, seconds)) for _ in range(PAIRS)]
            figures["hot_rate_ratio"] = median(
                # A window that was over before this process had its turn has measured nothing.
                one.consumed_per_second / other.consumed_per_second if other.consumed_per_second else None
                for one, other in runs
            )
            figures["hot_cpu_ratio"] = median(
                one.broker_cpu_us / other.broker_cpu_us if one.broker_cpu_us and other.broker_cpu_us else None
                for one, other in runs
            )
    return figures


def unacked(broker: Broker, _: float) -> Figures:
    """Acks in random order from the middle of a channel's unacknowledged messages, of few and of many."""
    few, many = (median(acked_from_the_middle(broker, count)) for count in (FEW_UNACKED, UNACKED))
    return {"ack_cpu_us": many, "ack_cpu_ratio": many / few if many and few else None}


def median(values: Iterator[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None


def acked_from_the_middle(broker: Broker, count: int) -> Iterator[float | None]:
    """CPU of the broker for one ack, in microseconds, several times."""
    for _ in range(PAIRS):
        yield ack_cpu_us(broker, count)


def ack_cpu_us(broker: Broker, count: int) -> float | None:
    queue = name("unacked", 0)
    image, _ = publish_image("", queue, bytes(16), Properties())
    with Connection(broker.address) as publisher, Connection(broker.address) as consumer:
        publisher.declare_queue(queue)
        publisher.socket.sendall(image * count)
        consumer.consume(queue, no_ack=False)
        for _ in range(count):
            consumer.expect_content(BASIC_DELIVER)
        first = (count - ACKED_FROM_THE_MIDDLE) // 2 + 1
        tags = list(range(first, first + ACKED_FROM_THE_MIDDLE))
        random.Random(count).shuffle(tags)
        acks = b"".join(method_frame(CHANNEL, BASIC_ACK, struct.pack(">QB", tag, 0)) for tag in tags)
        started_ns = cpu_ns(broker)
        consumer.socket.sendall(acks)
        consumer.prefetch(0)  # answered after all of them
        ended_ns = cpu_ns(broker)
        publisher.delete_queue(queue)
    return None if started_ns is None or ended_ns is None else (ended_ns - started_ns) / 1000 / len(tags)


NO_SLOWER: tuple[Budget, ...] = (at_least("hot_rate_ratio", 0.9), at_most("hot_cpu_ratio", 1.1))

CROWDS: tuple[tuple[str, str, Crowd], ...] = (
    ("scale-connections", f"{CONNECTIONS:,} connections with a channel each", connections),
    ("scale-queues", f"{QUEUES:,} queues", partial(queues, durable=False)),
    ("scale-durable-queues", f"{QUEUES:,} durable queues", partial(queues, durable=True)),
    ("scale-bindings", f"{BINDINGS:,} bindings of a direct exchange", partial(bindings, exchange_type="direct")),
    ("scale-topic-bindings", f"{BINDINGS:,} bindings of a topic exchange", partial(bindings, exchange_type="topic")),
    ("scale-consumers", f"{CONSUMERS:,} consumers", consumers),
)
SCALE_ROWS = (
    *(ControlRow(row, title, partial(beside, crowd), NO_SLOWER) for row, title, crowd in CROWDS),
    ControlRow("scale-unacked", f"{UNACKED:,} unacknowledged", unacked, (at_most("ack_cpu_ratio", 2),)),
)
