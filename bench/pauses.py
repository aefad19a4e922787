"""How long a client waits while a million messages fall due: whether that ever stops the broker for others.

`python -m bench.pauses`: a million persistent messages are published into a durable queue or exchange, to fall due over
twenty seconds in random order (or all after the same time); meanwhile another client declares a queue of its own every
two milliseconds, and times the answers. One line per kind of message.
"""

import random
import threading
import time
from collections.abc import Callable
from typing import NamedTuple

import click

from bench.broker import OwnBroker
from bench.compaction import message_count
from bench.wire import Connection, Properties, field_table, publish_image, short_string

FIRST_MS, SPREAD_MS = 8_000, 20_000
DIFFERENT_TIMES = 5_000
PING_SECONDS = 0.002
WHOLE_SECONDS = 180.0
EXCHANGE_DECLARE, EXCHANGE_DECLARE_OK = (40, 10), (40, 11)
DURABLE = b"\x02"


class Kind(NamedTuple):
    title: str
    prepare: Callable[[Connection], list[bytes]]  # declares what is needed; publishes to draw from
    arrives: bool  # in queue "there"; else queue "gone" empties


def some_time(choose: random.Random) -> int:
    return FIRST_MS + choose.randrange(SPREAD_MS)


def expiring(connection: Connection) -> list[bytes]:
    connection.declare_queue("gone", durable=True)
    choose = random.Random(1)
    return [
        publish_image("", "gone", bytes(16), Properties(persistent=True, expiration=str(some_time(choose))))[0]
        for _ in range(DIFFERENT_TIMES)
    ]


def dead_lettered(connection: Connection) -> list[bytes]:
    arguments = (
        ("x-message-ttl", FIRST_MS),
        ("x-dead-letter-exchange", ""),
        ("x-dead-letter-routing-key", "there"),
    )
    connection.declare_queue("short-lived", durable=True, arguments=arguments)
    return [publish_image("", "short-lived", bytes(16), Properties(persistent=True))[0]]


def delayed(connection: Connection) -> list[bytes]:
    names = short_string("delay") + short_string("x-delayed-message")
    arguments = field_table((("x-delayed-type", "fanout"),))
    connection.call(EXCHANGE_DECLARE, b"\0\0" + names + DURABLE + arguments, EXCHANGE_DECLARE_OK)
    connection.bind_queue("there", "delay", "")
    choose = random.Random(1)
    return [
        publish_image("delay", "", bytes(16), Properties(persistent=True, headers=(("x-delay", some_time(choose)),)))[0]
        for _ in range(DIFFERENT_TIMES)
    ]


KINDS = (
    Kind("expire in random order", expiring, False),
    Kind("expire after 8 s, dead-lettered", dead_lettered, True),
    Kind("delayed, due in random order", delayed, True),
)


class Pinger(threading.Thread):
    def __init__(self, connection: Connection) -> None:
        super().__init__(daemon=True)
        self.connection, self.seconds, self.stopping = connection, list[float](), threading.Event()

    def run(self) -> None:
        while not self.stopping.wait(PING_SECONDS):
            begun = time.perf_counter()
            self.connection.declare_queue("ping")
            self.seconds.append(time.perf_counter() - begun)


def measure(kind: Kind, messages: int) -> str:
    broker = OwnBroker()
    try:
        with Connection(broker.address) as publisher, Connection(broker.address) as observer:
            observer.declare_queue("there", durable=True)
            observer.declare_queue("ping")
            images, choose = kind.prepare(publisher), random.Random(2)
            for _ in range(messages // 500):
                publisher.socket.sendall(b"".join(choose.choices(images, k=500)))
            publisher.declare_queue("all-is-read")
            with Connection(broker.address) as other:
                pinger = Pinger(other)
                cpu_ns = broker.process.cpu_ns()
                pinger.start()
                wait_until_over(observer, kind, messages)
                cpu_us = (broker.process.cpu_ns() - cpu_ns) / 1000 / messages
                pinger.stopping.set()
                pinger.join()
    finally:
        broker.stop()
    ordered = sorted(pinger.seconds)
    p50, p99, p999, longest = (
        ordered[min(len(ordered) - 1, int(len(ordered) * share))] * 1000 for share in (0.5, 0.99, 0.999, 1)
    )
    return (
        f"{kind.title:<32} CPU {cpu_us:5.1f} us each   answers: p50 {p50:.2f}  p99 {p99:.2f}  p99.9 {p999:.2f}  "
        f"longest {longest:.2f} ms"
    )


def wait_until_over(observer: Connection, kind: Kind, messages: int) -> None:
    deadline = time.monotonic() + WHOLE_SECONDS
    while time.monotonic() < deadline:
        if kind.arrives and message_count(observer, "there") == messages:
            return
        if not kind.arrives and message_count(observer, "gone") == 0:
            return
        time.sleep(0.2)
    raise click.ClickException(f"{kind.title}: it takes longer than {WHOLE_SECONDS:.0f} s")


@click.command(help=__doc__)
@click.option("--messages", default=1_000_000, show_default=True)
def main(messages: int) -> None:
    for kind in KINDS:
        click.echo(measure(kind, messages))


if __name__ == "__main__":
    main()
