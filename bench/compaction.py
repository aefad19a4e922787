"""What compaction costs publishers: confirm latency with and without it, in turns, in one run.

`python -m bench.compaction`: a publisher sends 1 KiB persistent messages at 1 000 per second, one at a time, and times
each confirm. Meanwhile, in every second round, the journal has sparse segments to rewrite: two queues were filled
together, and the larger share of what stands on disk was purged just before.
"""

import statistics
import struct
import time
from pathlib import Path

import click

from bench.broker import OwnBroker
from bench.wire import Connection, Properties, publish_image

BODY = b"c" * 1024
ACK = (60, 80)
PURGE, PURGE_OK = (50, 30), (50, 31)
DECLARE, DECLARE_OK = (50, 10), (50, 11)
FILL_BATCHES = 3000
DEAD_PER_BATCH, LIVE_PER_BATCH = 240, 16
WHOLE_SECONDS = 60.0


class Round:
    """Latencies of one round, in microseconds."""

    def __init__(self, seconds: list[float]) -> None:
        ordered = sorted(seconds)
        self.p50 = ordered[len(ordered) // 2] * 1e6
        self.p99 = ordered[len(ordered) * 99 // 100] * 1e6


def measure(connection: Connection, messages: int) -> Round:
    image, _ = publish_image("", "latency", BODY, Properties(persistent=True))
    seconds = []
    due = time.perf_counter()
    for _ in range(messages):
        due += 0.001
        time.sleep(max(0.0, due - time.perf_counter()))
        begun = time.perf_counter()
        connection.socket.sendall(image)
        connection.expect(ACK)
        seconds.append(time.perf_counter() - begun)
    purge(connection, "latency")
    return Round(seconds)


def purge(connection: Connection, queue: str) -> None:
    name = queue.encode()
    connection.call(PURGE, struct.pack(">HB", 0, len(name)) + name + b"\0", PURGE_OK)


def message_count(connection: Connection, queue: str) -> int:
    name = queue.encode()
    passive = struct.pack(">HB", 0, len(name)) + name + b"\x01" + struct.pack(">I", 0)
    answer = connection.call(DECLARE, passive, DECLARE_OK)
    count: int = struct.unpack(">I", answer[1 + answer[0] : 5 + answer[0]])[0]
    return count


def make_sparse(connection: Connection) -> None:
    """Segments in which one message of sixteen is still needed."""
    dead, _ = publish_image("", "dead", BODY, Properties(persistent=True))
    live, _ = publish_image("", "live", BODY, Properties(persistent=True))
    batch = dead * DEAD_PER_BATCH + live * LIVE_PER_BATCH
    wanted = message_count(connection, "live") + LIVE_PER_BATCH * FILL_BATCHES
    for _ in range(FILL_BATCHES):
        connection.socket.sendall(batch)
    deadline = time.monotonic() + WHOLE_SECONDS
    while message_count(connection, "live") < wanted:
        if time.monotonic() > deadline:
            raise click.ClickException("the broker did not take the messages in time")
    purge(connection, "dead")


def segments(broker: OwnBroker) -> int:
    return len(list(Path(broker.directory.name, "journal").glob("*.segment")))


@click.command(help=__doc__)
@click.option("--rounds", default=5, show_default=True)
@click.option("--messages", default=2000, show_default=True, help="per round")
def main(rounds: int, messages: int) -> None:
    broker = OwnBroker()
    try:
        without, during = run(broker, rounds, messages)
    finally:
        broker.stop()
    for title, found in (("without compaction", without), ("during compaction", during)):
        p50, p99 = (statistics.median(getattr(one, name) for one in found) for name in ("p50", "p99"))
        click.echo(f"{title:<20} p50 {p50:8.0f} us   p99 {p99:8.0f} us   (medians of {rounds} rounds of {messages})")


def run(broker: OwnBroker, rounds: int, messages: int) -> tuple[list[Round], list[Round]]:
    without, during = [], []
    with Connection(broker.address) as publisher, Connection(broker.address) as filler:
        for queue in ("latency", "dead", "live"):
            filler.declare_queue(queue, durable=True)
        publisher.select_confirms()
        for _ in range(rounds):
            make_sparse(filler)
            before = segments(broker)
            during.append(measure(publisher, messages))
            click.echo(f"segments: {before} -> {segments(broker)}")
            purge(filler, "live")
            without.append(measure(publisher, messages))
    return without, during


if __name__ == "__main__":
    main()
