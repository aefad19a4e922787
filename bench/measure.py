"""Playing one scenario on one broker: set up, warm up, measure, drain, tear down.

Rates and latencies are those of the measured window. CPU is that of everything between the first publish and the last
delivery, divided by the deliveries, so that a backlog left by the window is paid for like the rest.
"""

import contextlib
import os
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from bench._load import Load
from bench.broker import OwnBroker, PeerBroker
from bench.machine import stolen_seconds
from bench.scenarios import PREFETCH, Scenario
from bench.wire import Address, Connection, Properties, publish_image

WARM_UP_SHARE = 0.15
QUIET_SECONDS = 5.0
FLOOD_BATCH = 64
# Publishers pause while so much waits in the broker: a broker that does not keep up must not exhaust the machine.
BACKLOG_BYTES_MAX = 1 << 30
BACKLOG_BYTES_PER_MESSAGE = 264


@dataclass(frozen=True)
class Run:
    """The figures of one run, or the medians of several."""

    published_per_second: float
    consumed_per_second: float
    broker_cpu_us: float | None
    generator_cpu_us: float
    latency_p50_us: float | None
    latency_p99_us: float | None
    latency_p999_us: float | None
    confirm_p50_us: float | None
    confirm_p99_us: float | None
    rss_bytes: float | None
    stolen_ms_per_second: float | None  # that the host of this machine took from an average core
    rss_growth_bytes: float | None  # above the broker when nothing was declared yet; None of a peer
    lost: int
    duplicated: int
    out_of_order: int
    returned: int
    nacked: int
    unconfirmed: int
    held_back: bool

    @property
    def faults(self) -> int:
        wrong = self.lost + self.duplicated + self.out_of_order
        return wrong + self.returned + self.nacked + self.unconfirmed


MEDIANS = (
    "published_per_second",
    "consumed_per_second",
    "broker_cpu_us",
    "generator_cpu_us",
    "latency_p50_us",
    "latency_p99_us",
    "latency_p999_us",
    "confirm_p50_us",
    "confirm_p99_us",
    "rss_bytes",
    "stolen_ms_per_second",
    "rss_growth_bytes",
)
SUMS = ("lost", "duplicated", "out_of_order", "returned", "nacked", "unconfirmed")


def median_of(runs: list[Run]) -> Run:
    """The median of every figure by itself; what went wrong is added up."""
    held_back = any(run.held_back for run in runs)
    return Run(**medians(runs, MEDIANS), **sums(runs, SUMS), held_back=held_back)  # type: ignore[arg-type]


def medians(runs: Sequence[object], names: tuple[str, ...]) -> dict[str, float | None]:
    values: dict[str, float | None] = {}
    for name in names:
        known = [value for run in runs if (value := getattr(run, name)) is not None]
        values[name] = statistics.median(known) if known else None
    return values


def sums(runs: Sequence[object], names: tuple[str, ...]) -> dict[str, int]:
    return {name: sum(getattr(run, name) for run in runs) for name in names}


class Stage:
    """The connections of a scenario, with everything declared, and the load on top of them."""

    def __init__(self, scenario: Scenario, address: Address) -> None:
        self.scenario = scenario
        self.address = address
        self.prefix = f"flowmq-bench-{os.getpid()}"
        self.queues = [f"{self.prefix}-{i}" for i in range(scenario.queues)]
        self.exchange = self.prefix if scenario.exchange_type else ""
        self.load = Load(
            publishers=scenario.publishers,
            groups=scenario.copies,
            body_bytes=scenario.body_bytes,
            backlog_max=self.backlog_max(),
        )

    def backlog_max(self) -> int:
        """The backlog at which no further batch is sent."""
        if self.scenario.backlog:
            return self.scenario.backlog - self.scenario.batch
        return BACKLOG_BYTES_MAX // (self.scenario.body_bytes + BACKLOG_BYTES_PER_MESSAGE)

    @contextlib.contextmanager
    def opened(self) -> Iterator[Load]:
        """Everything this makes on the broker is gone afterwards, whatever happens in between."""
        with contextlib.ExitStack() as cleanup:
            control = cleanup.enter_context(Connection(self.address))
            self.declare(control, cleanup)
            connections = cleanup.enter_context(contextlib.ExitStack())
            self.add_consumers(connections)
            self.add_publishers(connections)
            if self.scenario.rate:
                self.load.limit_rate(self.scenario.batch * 1_000_000_000 // self.scenario.rate)
            if self.scenario.flooders:
                self.load.watch(0)
            yield self.load

    def declare(self, control: Connection, cleanup: contextlib.ExitStack) -> None:
        if self.exchange:
            control.declare_exchange(self.exchange, self.scenario.exchange_type, self.scenario.exchange_arguments)
            cleanup.callback(control.delete_exchange, self.exchange)
        for queue in self.queues:
            control.declare_queue(queue, durable=self.scenario.persistent, arguments=self.scenario.queue_arguments)
            cleanup.callback(control.delete_queue, queue)
        bindings = [(self.queues[binding.queue], binding.key) for binding in self.scenario.bindings]
        control.bind_queues(self.exchange, bindings)

    def add_consumers(self, connections: contextlib.ExitStack) -> None:
        if self.scenario.one_connection:
            self.add_one_consumer(connections)
            return
        for i, queue in enumerate(self.queues):
            for _ in range(self.scenario.consumers_per_queue):
                connection = connections.enter_context(Connection(self.address))
                if self.scenario.ack_every:
                    connection.prefetch(PREFETCH)
                connection.consume(queue, no_ack=not self.scenario.ack_every)
                connection.socket.setblocking(False)
                self.load.add_consumer(
                    connection.socket.fileno(),
                    group=i if self.scenario.every_queue_gets_all else 0,
                    ack_every=self.scenario.ack_every,
                    paced=self.scenario.slow_consumers and self.is_flooder(i),
                )

    def add_one_consumer(self, connections: contextlib.ExitStack) -> None:
        connection = connections.enter_context(Connection(self.address))
        if self.scenario.ack_every:
            connection.prefetch(PREFETCH)
        for lane, queue in enumerate(self.queues):
            connection.consume(queue, no_ack=not self.scenario.ack_every, consumer_tag=str(lane))
        connection.socket.setblocking(False)
        self.load.add_consumer(
            connection.socket.fileno(), group=0, ack_every=self.scenario.ack_every, lanes=len(self.queues)
        )

    def add_publishers(self, connections: contextlib.ExitStack) -> None:
        for number in range(self.scenario.publishers):
            images = self.images(number)
            connection = connections.enter_context(Connection(self.address))
            if self.scenario.confirm_window:
                connection.select_confirms()
            connection.socket.setblocking(False)
            self.load.add_publisher(
                connection.socket.fileno(),
                images=images,
                batch=len(images) if self.is_flooder(number) else self.scenario.batch,
                window=self.scenario.confirm_window,
                paced=not self.is_flooder(number),
            )

    def is_flooder(self, number: int) -> bool:
        return number >= self.scenario.publishers - self.scenario.flooders

    def images(self, publisher: int) -> list[tuple[bytes, int]]:
        """Whole batches, in which every routing key has its turn."""
        keys = self.scenario.routing_keys or self.queues
        if self.scenario.own_queues:
            keys = self.queues[publisher : publisher + 1]
        batches = FLOOD_BATCH if self.is_flooder(publisher) else -(-len(keys) // self.scenario.batch)
        body = bytes(self.scenario.body_bytes)
        properties = Properties(
            self.scenario.persistent,
            publisher % self.scenario.priorities if self.scenario.priorities else 0,
            (("x-delay", self.scenario.delay_ms),) if self.scenario.delay_ms else (),
        )
        return [
            publish_image(self.exchange, keys[i % len(keys)], body, properties)
            for i in range(batches * self.scenario.batch)
        ]


def measure(scenario: Scenario, broker: OwnBroker | PeerBroker, seconds: float) -> Run:
    with Stage(scenario, broker.address).opened() as load:
        cpu_ns = broker.process.cpu_ns() if broker.process else 0
        generator_ns = time.thread_time_ns()
        load.run(seconds * WARM_UP_SHARE)
        load.forget_latencies()
        published, consumed, started = load.published, load.consumed, time.monotonic()
        stolen = stolen_seconds()
        load.run(seconds)
        elapsed, stolen = time.monotonic() - started, stolen_seconds() - stolen
        published, consumed = load.published - published, load.consumed - consumed
        latencies = load.latency_us(0.5), load.latency_us(0.99), load.latency_us(0.999)
        confirms = load.confirm_latency_us(0.5), load.confirm_latency_us(0.99)
        rss_bytes = broker.process.rss_bytes() if broker.process else None
        load.drain(QUIET_SECONDS)
        deliveries = max(load.consumed, 1)
        generator_ns = time.thread_time_ns() - generator_ns
        cpu_ns = broker.process.cpu_ns() - cpu_ns if broker.process else 0
        return Run(
            published_per_second=published / elapsed,
            consumed_per_second=consumed / elapsed,
            broker_cpu_us=cpu_ns / 1000 / deliveries if broker.process else None,
            generator_cpu_us=generator_ns / 1000 / deliveries,
            latency_p50_us=latencies[0],
            latency_p99_us=latencies[1],
            latency_p999_us=latencies[2],
            confirm_p50_us=confirms[0],
            confirm_p99_us=confirms[1],
            rss_bytes=rss_bytes,
            stolen_ms_per_second=stolen * 1000 / elapsed / (os.cpu_count() or 1),
            rss_growth_bytes=growth(broker, rss_bytes),
            lost=load.lost,
            duplicated=load.duplicated,
            out_of_order=load.out_of_order,
            returned=load.returned,
            nacked=load.nacked,
            unconfirmed=load.published - load.confirmed if scenario.confirm_window else 0,
            held_back=load.held_back,
        )


def growth(broker: OwnBroker | PeerBroker, rss_bytes: int | None) -> int | None:
    return rss_bytes - broker.idle_rss_bytes if isinstance(broker, OwnBroker) and rss_bytes is not None else None
