"""The steps of a message's way, each alone: what micro-benchmarks time and what instructions are counted of.

A step prepares what it needs and gives back what is to be measured, with the number of messages (or keys, or records)
that it deals with. It can be run RUNS_MAX times. Most go through a whole broker without sockets; what is written is
thrown away.
"""

import contextlib
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from bench.scenarios import topic_bindings, topic_key
from flowmq._queue import Queue
from flowmq._replay import Replay
from flowmq._router import Exchange
from flowmq.amqp.tables import decode_table, encode_table
from tests.crash.power_cut import DurablePlane
from tests.support import journal_writer
from tests.support.codec import method_frame
from tests.unit.support_plane import Client, Plane, publish_frames

MESSAGES = 2000
RUNS_MAX = 12  # of one that is prepared
RECORDS = 500
RECOVERED_BYTES = 1 << 17
QUEUES = 10
SEGMENT_BYTES = 64 * 1024 * 1024
TRANSIENT, PERSISTENT = {"delivery_mode": 1}, {"delivery_mode": 2}
TABLE = {"x-message-ttl": 60_000, "x-max-length": 100_000, "x-queue-type": "classic", "trace": {"id": "0123", "n": 7}}

Prepared = tuple[Callable[[], object], int]


class Step(NamedTuple):
    name: str
    title: str
    prepare: Callable[[contextlib.ExitStack], Prepared]
    once: bool = False  # what it does is not done per message


def feed(client: Client, octets: bytes) -> None:
    """In full reads, and each octet copied once only."""
    view = memoryview(octets)
    while view:
        count, _ = client.fill(view)
        client.connection.buffer_updated(count)
        client.plane.loop.run()
        view = view[count:]


def fed(client: Client, octets: bytes, *clients: Client) -> Callable[[], None]:
    def run() -> None:
        feed(client, octets)
        for each in clients:
            each.transport.writes.clear()

    return run


def consumer_of(plane: Plane, *queues: str, no_ack: bool = True) -> Client:
    client = plane.client(1)
    for queue in queues:
        client.call(1, "queue.declare", queue=queue)
        client.call(1, "basic.consume", queue=queue, consumer_tag=queue, no_ack=no_ack)
    return client


def parse(stack: contextlib.ExitStack) -> Prepared:
    client = stack.enter_context(Plane()).client(1)
    return fed(client, publish_frames(1, "key", b"x" * 16, TRANSIENT, exchange="amq.fanout") * MESSAGES), MESSAGES


def delivered(stack: contextlib.ExitStack, body_bytes: int, *, confirms: bool = False) -> Prepared:
    plane = stack.enter_context(Plane())
    publisher, consumer = plane.client(1), consumer_of(plane, "q")
    if confirms:
        publisher.call(1, "confirm.select")
    octets = publish_frames(1, "q", b"x" * body_bytes, TRANSIENT) * MESSAGES
    return fed(publisher, octets, publisher, consumer), MESSAGES


def acks(first: int, last: int, every: int) -> bytes:
    tags = range(first, last + 1, every)
    return b"".join(method_frame(1, "basic.ack", delivery_tag=tag, multiple=every > 1) for tag in tags)


def acknowledged(stack: contextlib.ExitStack, every: int) -> Prepared:
    """Published, delivered, and acknowledged: each, or several at once."""
    plane = stack.enter_context(Plane())
    publisher, consumer = plane.client(1), consumer_of(plane, "q", no_ack=False)
    octets = publish_frames(1, "q", b"x" * 16, TRANSIENT) * MESSAGES
    ready = iter(
        [acks(settled + every, settled + MESSAGES, every) for settled in range(0, MESSAGES * RUNS_MAX, MESSAGES)]
    )

    def run() -> None:
        feed(publisher, octets)
        feed(consumer, next(ready))
        consumer.transport.writes.clear()

    return run, MESSAGES


def fanned_out(stack: contextlib.ExitStack) -> Prepared:
    plane = stack.enter_context(Plane())
    publisher = plane.client(1)
    consumers = [consumer_of(plane, f"q{at}") for at in range(QUEUES)]
    for at, consumer in enumerate(consumers):
        consumer.call(1, "queue.bind", queue=f"q{at}", exchange="amq.fanout")
    octets = publish_frames(1, "", b"x" * 16, TRANSIENT, exchange="amq.fanout") * MESSAGES
    return fed(publisher, octets, *consumers), MESSAGES * QUEUES


def stored(stack: contextlib.ExitStack) -> Prepared:
    """Into the ring of a queue that nobody consumes, and out of it again when somebody comes."""
    plane = stack.enter_context(Plane())
    publisher, consumer = plane.client(1), plane.client(1)
    publisher.call(1, "queue.declare", queue="q")
    octets = publish_frames(1, "q", b"x" * 16, TRANSIENT) * MESSAGES

    def run() -> None:
        feed(publisher, octets)
        consumer.send(1, "basic.consume", queue="q", consumer_tag="c", no_ack=True)
        consumer.send(1, "basic.cancel", consumer_tag="c")
        consumer.transport.writes.clear()

    return run, MESSAGES


def by_headers(stack: contextlib.ExitStack) -> Prepared:
    plane = stack.enter_context(Plane())
    publisher, consumer = plane.client(1), consumer_of(plane, "q")
    for kind in ("new", "old", "other"):
        consumer.call(1, "queue.bind", queue="q", exchange="amq.headers", arguments={"kind": kind, "x-match": "all"})
    properties = {"headers": {"kind": "new", "number": 5, "customer": "somebody"}}
    return fed(
        publisher, publish_frames(1, "", b"x", properties, exchange="amq.headers") * MESSAGES, consumer
    ), MESSAGES


def routed(_: contextlib.ExitStack, exchange_type: str, *, new_keys: bool = False) -> Prepared:
    queues = [Queue(f"queue-{i}".encode()) for i in range(QUEUES)]
    exchange = Exchange(b"bench", exchange_type)
    bindings = topic_bindings(1000, QUEUES)
    for number, binding in enumerate(bindings):
        key = topic_key(number) if exchange_type == "direct" else binding.key
        exchange.bind(queues[binding.queue], key.encode())
    turn = 0

    def run() -> None:
        nonlocal turn
        turn += new_keys
        routes = exchange.routes
        for key in keys[turn % len(keys)]:
            routes(key)

    keys = [[topic_key(i % 1000, turn * 2 + i // 1000).encode() for i in range(MESSAGES)] for turn in range(50)]
    if new_keys:
        # More than are remembered, so that it does not grow while it is measured.
        for some in keys:
            for key in some:
                exchange.routes(key)
    return run, MESSAGES


def appended(stack: contextlib.ExitStack) -> Prepared:
    """Persistent, into a durable queue, and settled at once: a record each in the journal, until it is on the disk."""
    directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="flowmq-steps-"))
    plane = stack.enter_context(DurablePlane(Path(directory), SEGMENT_BYTES))
    publisher = plane.client(1)
    publisher.send(1, "queue.declare", queue="q", durable=True)
    plane.settle()
    octets = publish_frames(1, "q", b"x" * 16, PERSISTENT) * MESSAGES

    def run() -> None:
        feed(publisher, octets)
        plane.settle()
        plane.queue("q").purge()
        publisher.transport.writes.clear()

    return run, MESSAGES


def recovered(stack: contextlib.ExitStack) -> Prepared:
    """Read record by record: no summary says what is in the segment."""
    directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="flowmq-steps-"))
    segment = journal_writer.Segment(1, size=RECOVERED_BYTES)
    segment.batch(1, [journal_writer.message(1, number + 1, b"x" * 16) for number in range(RECORDS)])
    files = [segment.write(Path(directory))]

    def run() -> None:
        Replay().read(files)

    return run, RECORDS


def repeated(function: Callable[[Any], object], argument: object) -> Callable[[contextlib.ExitStack], Prepared]:
    def run() -> None:
        for _ in range(100):
            function(argument)

    return lambda _: (run, 100)


def declared(stack: contextlib.ExitStack) -> Prepared:
    client = stack.enter_context(Plane()).client(1)
    pair = method_frame(1, "queue.declare", queue="q") + method_frame(1, "queue.delete", queue="q")
    return fed(client, pair * 50, client), 50


STEPS = (
    Step("parse", "16 B, parsed, made a message, routed to no queue", parse),
    Step("deliver", "16 B, published and delivered", lambda stack: delivered(stack, 16)),
    Step("deliver-1k", "1 KiB, published and delivered", lambda stack: delivered(stack, 1024)),
    Step("confirm", "16 B, published, delivered, confirmed", lambda stack: delivered(stack, 16, confirms=True)),
    Step("ack-each", "16 B, published, delivered, acknowledged", lambda stack: acknowledged(stack, 1)),
    Step("ack-multiple", "16 B, the same 100 at a time", lambda stack: acknowledged(stack, 100)),
    Step("fanout", "16 B, to 10 queues, per delivery", fanned_out),
    Step("ring", "16 B, kept in a queue, delivered later", stored),
    Step("headers", "1 B, routed by headers, delivered", by_headers),
    Step("direct", "a key in a direct exchange with 1 000", lambda stack: routed(stack, "direct")),
    Step("topic", "a key in a topic exchange with 1 000 patterns, remembered", lambda stack: routed(stack, "topic")),
    Step("topic-new", "the same, ever new keys", lambda stack: routed(stack, "topic", new_keys=True)),
    Step("append", "16 B persistent, into the journal, settled", appended),
    Step("recover", "a record read at the start", recovered),
    Step("decode-table", "a field table decoded", repeated(decode_table, encode_table(TABLE)[4:]), once=True),
    Step("encode-table", "a field table encoded", repeated(encode_table, TABLE), once=True),
    Step("declare", "a queue declared and deleted", declared, once=True),
)
