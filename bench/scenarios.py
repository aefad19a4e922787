"""What is measured: a table of loads. A row says what the clients do, nothing of how it is measured.

The bodies hold a stamp of 16 octets, so that is the smallest size. `batch` is how many publishes go out in one send();
1 shows what a wake-up costs, 64 what a message costs.
"""

from dataclasses import dataclass, replace

from bench.budgets import Budget, at_least, at_most, cpu, rate
from bench.wire import Fields

KIB, MIB = 1024, 1024 * 1024
PREFETCH = 1000


@dataclass(frozen=True)
class Binding:
    queue: int
    key: str


@dataclass(frozen=True)
class Scenario:
    name: str
    title: str
    budgets: tuple[Budget, ...] = ()
    body_bytes: int = 16
    batch: int = 64
    publishers: int = 1
    consumers_per_queue: int = 1
    one_connection: bool = False  # for all consumers, so that queues are compared and not connections
    queues: int = 1
    exchange_type: str = ""  # the default exchange
    bindings: tuple[Binding, ...] = ()
    routing_keys: tuple[str, ...] = ()  # published in turn; empty: the names of the queues
    every_queue_gets_all: bool = False
    ack_every: int = 0  # 0: auto-ack
    confirm_window: int = 0  # 0: no confirms
    persistent: bool = False  # then the queues are durable, too
    own_queues: bool = False  # publisher n publishes to queue n alone
    rate: int = 0  # messages per second and publisher; 0: as fast as it goes
    flooders: int = 0  # so many publishers, the last ones, keep to no rate, and their latencies do not count
    slow_consumers: bool = False  # what flooders publish is consumed slowly
    queue_arguments: Fields = ()
    exchange_arguments: Fields = ()
    priorities: int = 0  # publisher n publishes with priority n modulo this
    delay_ms: int = 0  # header x-delay
    backlog: int = 0  # messages that wait before anyone consumes, whole batches; 0: consumers are there at once

    @property
    def copies(self) -> int:
        """Deliveries per publish."""
        return self.queues if self.every_queue_gets_all else 1


def topic_bindings(count: int, queues: int) -> tuple[Binding, ...]:
    """Wildcards in every position; the key of topic_key(i) matches binding i and no other."""
    patterns = ("plant{}.*.temperature", "plant{}.#", "*.device{}.temperature", "#.room{}.humidity", "plant{}.*.*.door")
    return tuple(Binding(i % queues, patterns[i % len(patterns)].format(i)) for i in range(count))


def topic_key(i: int, variant: int = 0) -> str:
    """Variants are other keys for the same binding."""
    keys = (
        "plant{0}.device-{1}.temperature",
        "plant{0}.hall.room.light-{1}",
        "plant-{1}.device{0}.temperature",
        "plant.hall-{1}.room{0}.humidity",
        "plant{0}.hall-{1}.room.door",
    )
    return keys[i % len(keys)].format(i, variant)


LIKE_ONE_QUEUE = at_least("consumed_per_second", 0.8, of=("1k-persistent", "consumed_per_second"))
NEIGHBOUR = at_most("latency_p99_us", 5000)
# Of ten million messages; of one million all the more.
BACKLOG = (
    at_most("filled_rss_bytes", 64 * MIB),
    at_most("ready_seconds", 5),
    at_least("drained_per_second", 1, of=("backlog-16b", "filled_per_second")),
)
BESIDE_A_FLOOD = Scenario(
    "",
    "",
    (NEIGHBOUR,),
    body_bytes=KIB,
    batch=1,
    publishers=2,
    queues=2,
    own_queues=True,
    rate=1000,
    flooders=1,
)


def persistent(name: str, body_bytes: int, window: int, *budgets: Budget) -> Scenario:
    """Into one durable queue, each message acknowledged; in the window are always several batches, if it has room."""
    size = "1 KiB" if body_bytes == KIB else f"{body_bytes} B"
    return Scenario(
        name,
        f"{size} persistent, ack each, confirm window {window}",
        budgets,
        body_bytes=body_bytes,
        batch={1: 1, 100: 20}.get(window, 64),
        confirm_window=window,
        persistent=True,
        ack_every=1,
    )


def fanout(name: str, title: str, body_bytes: int, *budgets: Budget) -> Scenario:
    return Scenario(
        name,
        title,
        budgets,
        body_bytes=body_bytes,
        queues=10,
        exchange_type="fanout",
        bindings=tuple(Binding(queue, "") for queue in range(10)),
        routing_keys=("",),
        every_queue_gets_all=True,
    )


def topic(name: str, title: str, bindings: int, *budgets: Budget) -> Scenario:
    """To 100 queues, with 10 000 keys, each of which matches one binding: the first 1 000 match in turn."""
    return Scenario(
        name,
        title,
        budgets,
        queues=100,
        one_connection=True,
        exchange_type="topic",
        bindings=topic_bindings(bindings, 100),
        routing_keys=tuple(topic_key(i % min(bindings, 10_000), i // 1000) for i in range(10_000)),
    )


SCENARIOS = (
    Scenario("auto-ack", "16 B, auto-ack", (cpu(0.20), rate(4e6))),
    Scenario("single-send", "16 B, auto-ack, one publish per send", (cpu(2.0),), batch=1),
    Scenario("ack-each", "16 B, ack each", (cpu(0.30),), ack_every=1),
    Scenario("ack-multiple", "16 B, ack multiple every 100", (cpu(0.30),), ack_every=100),
    Scenario("1k", "1 KiB, auto-ack", (cpu(1.2),), body_bytes=KIB),
    Scenario("1m", "1 MiB, auto-ack", (rate(1.5e9 / MIB),), body_bytes=MIB, batch=1),
    Scenario("1k-confirms", "1 KiB, auto-ack, confirm window 1000", body_bytes=KIB, confirm_window=1000),
    persistent("1k-persistent", KIB, 1000, cpu(2.0), rate(300_000)),
    persistent("1k-persistent-100", KIB, 100, rate(100_000)),
    persistent("1k-persistent-1", KIB, 1, rate(2100)),
    persistent("16b-persistent", 16, 1000),
    persistent("16b-persistent-100", 16, 100),
    persistent("16b-persistent-1", 16, 1),
    replace(
        persistent("4x4-persistent", 16, 1000, cpu(0.6), rate(1.5e6)),
        title="16 B persistent, 4 publishers, 4 consumers, window 1000",
        publishers=4,
        consumers_per_queue=4,
    ),
    replace(
        persistent("100-queues-persistent", KIB, 1000, LIKE_ONE_QUEUE),
        title="1 KiB persistent, 100 queues, window 1000",
        queues=100,
    ),
    replace(
        persistent("100-queues-one-consumer", KIB, 1000, LIKE_ONE_QUEUE),
        title="1 KiB persistent, 100 queues, one consumer's connection, window 1000",
        queues=100,
        one_connection=True,
    ),
    replace(
        persistent("100-publishers", KIB, 100, rate(250_000), at_most("confirm_p99_us", 10_000)),
        title="1 KiB persistent, 100 queues, 100 publishers, window 100",
        publishers=100,
        queues=100,
        own_queues=True,
    ),
    replace(
        persistent("100-publishers-paced", KIB, 100, rate(245_000), at_most("confirm_p99_us", 10_000)),
        title="1 KiB persistent, 100 queues, 100 publishers, 250 000 messages per second",
        publishers=100,
        queues=100,
        own_queues=True,
        batch=4,
        rate=2500,
    ),
    replace(
        fanout("fanout-persistent", "1 KiB persistent, fanout to 10, window 1000", KIB),
        confirm_window=1000,
        persistent=True,
        ack_every=1,
    ),
    fanout("fanout", "16 B, fanout to 10 queues", 16, cpu(0.10)),
    fanout("fanout-1k", "1 KiB, fanout to 10 queues", KIB, cpu(0.50)),
    Scenario(
        "topic",
        "16 B, topic exchange, 1000 wildcard bindings",
        queues=10,
        exchange_type="topic",
        bindings=topic_bindings(1000, 10),
        routing_keys=tuple(topic_key(i) for i in range(1000)),
    ),
    topic("topic-1000", "16 B, topic, 1000 bindings, 100 queues, 10 000 keys", 1000, cpu(0.4), rate(2e6)),
    topic(
        "topic-100000",
        "16 B, topic, 100 000 bindings, 100 queues, 10 000 keys",
        100_000,
        at_most("broker_cpu_us", 1.2, of=("topic-1000", "broker_cpu_us")),
    ),
    Scenario("ttl", "16 B, auto-ack, x-message-ttl", queue_arguments=(("x-message-ttl", 60_000),)),
    Scenario(
        "priority",
        "16 B, auto-ack, 10 priorities, 10 publishers",
        publishers=10,
        priorities=10,
        queue_arguments=(("x-max-priority", 9),),
    ),
    Scenario(
        "delayed",
        "16 B, auto-ack, delayed by 100 ms",
        exchange_type="x-delayed-message",
        exchange_arguments=(("x-delayed-type", "fanout"),),
        bindings=(Binding(0, ""),),
        routing_keys=("",),
        delay_ms=100,
    ),
    Scenario(
        "latency",
        "16 B, 1000 messages per second",
        (at_most("latency_p50_us", 35), at_most("latency_p99_us", 200)),
        batch=1,
        rate=1000,
    ),
    Scenario(
        "confirm-latency",
        "1 KiB persistent, confirms, 1000 messages per second",
        (at_most("confirm_p50_us", 300), at_most("confirm_p99_us", 1000)),
        body_bytes=KIB,
        batch=1,
        confirm_window=PREFETCH,
        persistent=True,
        ack_every=1,
        rate=1000,
    ),
    replace(
        BESIDE_A_FLOOD,
        name="beside-a-flood",
        title="1 KiB, 1000 messages per second beside a flood",
    ),
    replace(
        BESIDE_A_FLOOD,
        name="beside-a-slow-consumer",
        title="1 KiB persistent, 1000 per second beside a slow consumer",
        budgets=(NEIGHBOUR, at_most("rss_growth_bytes", 64 * MIB)),
        persistent=True,
        ack_every=1,
        slow_consumers=True,
    ),
    replace(
        persistent("backlog", KIB, 1000, at_least("filled_per_second", 3e5), at_least("drained_per_second", 8e5)),
        title="1 KiB persistent, window 1000",
        batch=50,
        backlog=1_000_000,
    ),
    replace(
        persistent("backlog-16b", 16, 1000, *BACKLOG),
        title="16 B persistent, window 1000",
        batch=50,
        backlog=1_000_000,
    ),
)
