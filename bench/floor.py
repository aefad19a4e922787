"""What the kernel takes for the wire work of a row, measured with a relay that does nothing else, and FlowMQ beside it.

`python -m bench.floor`: a budget below the floor is not to be had with epoll, recv and send on this machine. The relay
syncs nothing, so that a persistent row has the disk's work on top of its floor.
"""

import contextlib
import os
import socket
import statistics
import struct
import sys
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import click

from bench._dialogue import talk_over_and_over
from bench._load import Load
from bench._relay import relay, respond
from bench.broker import BROKER_CORES, GENERATOR_CORES, OwnBroker, on_cores, process_clock_ns
from bench.control import channels
from bench.measure import measure
from bench.scenarios import SCENARIOS, Scenario
from bench.wire import (
    CHANNEL,
    CHANNEL_OPEN,
    CHANNEL_OPEN_OK,
    Properties,
    method_frame,
    publish_image,
    short_string,
)

ROWS = ("auto-ack", "single-send", "1k", "1k-persistent", "100-queues-persistent", "100-queues-one-consumer", "latency")
BASIC_DELIVER = (60, 60)
TAG, EXCHANGE, KEY = "1", "", "flowmq-bench-floor"
WARM_UP_SHARE = 0.15
QUIET_SECONDS = 5.0


class Figure(NamedTuple):
    per_second: float
    cpu_us: float  # of a message, or of a question
    latency_p50_us: float | None = None
    latency_p99_us: float | None = None


def pairs(count: int) -> tuple[list[socket.socket], list[socket.socket]]:
    """Connected over the loopback interface: this side's, and the other's."""
    ours, others = [], []
    with socket.create_server(("127.0.0.1", 0), backlog=count) as listening:
        for _ in range(count):
            ours.append(socket.create_connection(listening.getsockname()))
            others.append(listening.accept()[0])
    for each in ours + others:
        each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return ours, others


@contextlib.contextmanager
def process(work: Callable[[], None], keep: list[socket.socket], give: list[socket.socket]) -> Iterator[int]:
    """`work` in a process on the brokers' cores, which has the sockets of `give` and not those of `keep`."""
    with on_cores(BROKER_CORES):
        pid = os.fork()
    if pid == 0:
        status = 1
        try:
            for each in keep:
                each.close()
            work()
            status = 0
        finally:
            os._exit(status)
    for each in give:
        each.close()
    try:
        yield pid
    finally:
        for each in keep:
            each.close()
        if os.waitpid(pid, 0)[1]:
            raise OSError("the relay failed")


def relayed(scenario: Scenario, seconds: float) -> Figure:
    consumers = 1 if scenario.one_connection else scenario.queues * scenario.consumers_per_queue
    count = scenario.publishers + consumers
    ours, others = pairs(count)
    octets, body_at = publish_image(EXCHANGE, KEY, bytes(scenario.body_bytes), Properties(scenario.persistent))
    arguments = short_string(TAG) + bytes(8) + b"\0" + short_string(EXCHANGE) + short_string(KEY)
    method = method_frame(CHANNEL, BASIC_DELIVER, arguments)
    content_at = struct.unpack_from(">I", octets, 3)[0] + 8
    descriptors = [each.fileno() for each in others]

    def work() -> None:
        relay(
            descriptors[: scenario.publishers],
            descriptors[scenario.publishers :],
            method,
            tag_at=method.index(short_string(TAG), 11) + len(short_string(TAG)),
            publish_bytes=len(octets),
            content_at=content_at,
            confirms=scenario.confirm_window > 0,
        )

    with process(work, ours, others) as pid:
        load = Load(publishers=scenario.publishers, groups=1, body_bytes=scenario.body_bytes, backlog_max=1 << 20)
        for each in ours:
            each.setblocking(False)
        for each in ours[: scenario.publishers]:
            images = [(octets, body_at)] * scenario.batch
            load.add_publisher(each.fileno(), images=images, batch=scenario.batch, window=scenario.confirm_window)
        for each in ours[scenario.publishers :]:
            load.add_consumer(each.fileno(), group=0, ack_every=scenario.ack_every)
        if scenario.rate:
            load.limit_rate(scenario.batch * 1_000_000_000 // scenario.rate)
        return loaded(load, pid, seconds)


def loaded(load: Load, pid: int, seconds: float) -> Figure:
    cpu_ns = process_clock_ns(pid)
    load.run(seconds * WARM_UP_SHARE)
    load.forget_latencies()
    consumed, started = load.consumed, time.monotonic()
    load.run(seconds)
    per_second = (load.consumed - consumed) / (time.monotonic() - started)
    latencies = load.latency_us(0.5), load.latency_us(0.99)
    load.drain(QUIET_SECONDS)
    wrong = load.lost + load.duplicated + load.out_of_order
    if wrong:
        raise OSError(f"the relay has {wrong} messages lost, doubled or out of order")
    return Figure(per_second, (process_clock_ns(pid) - cpu_ns) / 1000 / load.consumed, *latencies)


def answered(seconds: float) -> Figure:
    """Questions over one connection, one at a time."""
    ours, others = pairs(1)
    answer = method_frame(CHANNEL, CHANNEL_OPEN_OK, bytes(4))
    question = [(method_frame(CHANNEL, CHANNEL_OPEN, b"\0"), CHANNEL_OPEN_OK)]
    with process(lambda: respond(others[0].fileno(), [answer]), ours, others) as pid:
        cpu_ns = process_clock_ns(pid)
        count, elapsed = talk_over_and_over(ours[0].fileno(), question, seconds)
        return Figure(count / elapsed, (process_clock_ns(pid) - cpu_ns) / 1000 / count)


def by_flowmq(scenario: Scenario, seconds: float) -> Figure:
    broker = OwnBroker()
    try:
        run = measure(scenario, broker, seconds)
    finally:
        broker.stop()
    assert run.broker_cpu_us is not None
    return Figure(run.consumed_per_second, run.broker_cpu_us, run.latency_p50_us, run.latency_p99_us)


def answered_by_flowmq(seconds: float) -> Figure:
    """A channel's open and close are two questions."""
    broker = OwnBroker()
    try:
        figures = channels(broker, seconds)
    finally:
        broker.stop()
    per_second, cpu_us = figures["per_second"], figures["broker_cpu_us"]
    assert per_second is not None
    assert cpu_us is not None
    return Figure(2 * per_second, cpu_us / 2)


def median(runs: list[Figure]) -> Figure:
    columns = [[value for value in column if value is not None] for column in zip(*runs, strict=True)]
    return Figure(*(statistics.median(column) if column else None for column in columns))  # type: ignore[arg-type]


def show(title: str, floor: Figure, own: Figure) -> None:
    latencies = ""
    if floor.latency_p50_us is not None and own.latency_p50_us is not None:
        latencies = "".join(
            f"{low:>8,.0f} {high:>8,.0f}"
            for low, high in ((each.latency_p50_us, each.latency_p99_us) for each in (floor, own))
        )
    rates = "".join(f"{each.per_second:>12,.0f} {each.cpu_us:>8.3f}" for each in (floor, own))
    sys.stdout.write(f"{title:60}{rates}{latencies}\n")


@click.command(help=__doc__)
@click.option("--seconds", default=1.0, show_default=True, help="How long each run lasts.")
@click.option("--repeats", default=3, show_default=True, type=click.IntRange(1), help="Runs of each, in turn.")
def main(seconds: float, repeats: int) -> None:
    head = f"{'per second':>12} {'CPU us':>8}"
    sys.stdout.write(f"{'':60}{'floor':>21}{'FlowMQ':>21}{'p50 p99 us: floor':>17}{'FlowMQ':>17}\n")
    sys.stdout.write(f"{'':60}{head}{head}\n")
    by_name = {scenario.name: scenario for scenario in SCENARIOS}
    with on_cores(GENERATOR_CORES):
        turns = [(answered(seconds), answered_by_flowmq(seconds)) for _ in range(repeats)]
        show("a question and its answer", *map(median, map(list, zip(*turns, strict=True))))
        for name in ROWS:
            row = by_name[name]
            turns = [(relayed(row, seconds), by_flowmq(row, seconds)) for _ in range(repeats)]
            show(row.title, *map(median, map(list, zip(*turns, strict=True))))


if __name__ == "__main__":
    main()
