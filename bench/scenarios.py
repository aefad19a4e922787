"""What is measured: a table of loads. A row says what the clients do, nothing of how it is measured.

The bodies hold a stamp of 16 octets, so that is the smallest size. `batch` is how many publishes go out in one send();
1 shows what a wake-up costs, 64 what a message costs.
"""

from dataclasses import dataclass, replace

from bench.wire import Fields

KIB = 1024
PREFETCH = 1000


@dataclass(frozen=True)
class Binding:
    queue: int
    key: str


@dataclass(frozen=True)
class Scenario:
    name: str
    title: str
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
    rate: int = 0  # messages per second and publisher; 0: as fast as it goes
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


def topic_key(i: int) -> str:
    keys = (
        "plant{}.device.temperature",
        "plant{}.hall.room.light",
        "plant.device{}.temperature",
        "plant.hall.room{}.humidity",
        "plant{}.hall.room.door",
    )
    return keys[i % len(keys)].format(i)


def persistent(name: str, body_bytes: int, window: int) -> Scenario:
    """Into one durable queue, each message acknowledged; in the window are always several batches, if it has room."""
    size = "1 KiB" if body_bytes == KIB else f"{body_bytes} B"
    return Scenario(
        name,
        f"{size} persistent, ack each, confirm window {window}",
        body_bytes=body_bytes,
        batch={1: 1, 100: 20}.get(window, 64),
        confirm_window=window,
        persistent=True,
        ack_every=1,
    )


def fanout(name: str, title: str, body_bytes: int) -> Scenario:
    return Scenario(
        name,
        title,
        body_bytes=body_bytes,
        queues=10,
        exchange_type="fanout",
        bindings=tuple(Binding(queue, "") for queue in range(10)),
        routing_keys=("",),
        every_queue_gets_all=True,
    )


SCENARIOS = (
    Scenario("auto-ack", "16 B, auto-ack"),
    Scenario("single-send", "16 B, auto-ack, one publish per send", batch=1),
    Scenario("ack-each", "16 B, ack each", ack_every=1),
    Scenario("ack-multiple", "16 B, ack multiple every 100", ack_every=100),
    Scenario("1k", "1 KiB, auto-ack", body_bytes=KIB),
    Scenario("1k-confirms", "1 KiB, auto-ack, confirm window 1000", body_bytes=KIB, confirm_window=1000),
    persistent("1k-persistent", KIB, 1000),
    persistent("1k-persistent-100", KIB, 100),
    persistent("1k-persistent-1", KIB, 1),
    persistent("16b-persistent", 16, 1000),
    persistent("16b-persistent-100", 16, 100),
    persistent("16b-persistent-1", 16, 1),
    replace(
        persistent("100-queues-persistent", KIB, 1000),
        title="1 KiB persistent, 100 queues, window 1000",
        queues=100,
    ),
    replace(
        persistent("100-queues-one-consumer", KIB, 1000),
        title="1 KiB persistent, 100 queues, one consumer's connection, window 1000",
        queues=100,
        one_connection=True,
    ),
    replace(
        fanout("fanout-persistent", "1 KiB persistent, fanout to 10, window 1000", KIB),
        confirm_window=1000,
        persistent=True,
        ack_every=1,
    ),
    fanout("fanout", "16 B, fanout to 10 queues", 16),
    fanout("fanout-1k", "1 KiB, fanout to 10 queues", KIB),
    Scenario(
        "topic",
        "16 B, topic exchange, 1000 wildcard bindings",
        queues=10,
        exchange_type="topic",
        bindings=topic_bindings(1000, 10),
        routing_keys=tuple(topic_key(i) for i in range(1000)),
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
    Scenario("latency", "16 B, 1000 messages per second", batch=1, rate=1000),
    replace(persistent("backlog", KIB, 1000), title="1 KiB persistent, window 1000", batch=50, backlog=1_000_000),
    replace(persistent("backlog-16b", 16, 1000), title="16 B persistent, window 1000", batch=50, backlog=1_000_000),
)
