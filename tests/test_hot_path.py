"""What happens per message happens in compiled code: no Python function is entered, nothing is left allocated.

Full reads of publishes go into connections whose transports only record. The profiler sees every Python function that
is entered meanwhile: only an event loop's may be among them, and as often as there are reads, not messages.
"""

import gc
import sys
from collections import Counter
from collections.abc import Callable
from types import FrameType
from typing import Any, NamedTuple

import pytest

from flowmq._message import live_message_bytes
from flowmq.broker.permissions import Access
from tests.support.codec import method_frame
from tests.unit.support_plane import Client, Loop, Plane, Transport, confirmed, publish_frames

MESSAGES = 10_000
READ_BYTES = 65536
BLOCKS_TOLERATED = 200
OF_THE_EVENT_LOOP = {
    kind.__dict__[name].__code__: name
    for kind, name in (
        (Transport, "write"),
        (Transport, "writelines"),
        (Transport, "pause_reading"),
        (Transport, "resume_reading"),
        (Loop, "call_soon"),
    )
}


@pytest.fixture(autouse=True)
def nothing_left() -> None:
    """A broker is a cycle: what those of other tests held is not to go while it is counted here."""
    gc.collect()


class Calls(NamedTuple):
    """What was called while octets were read: the event loop's methods, and anything else that there should not be.

    `permission` is the question whether a user may publish to an exchange, which is asked once and remembered.
    """

    event_loop: Counter[str]
    permission: Counter[str]
    others: Counter[str]


def is_within(frame: FrameType | None, function: Callable[..., Any]) -> bool:
    while frame is not None and frame.f_code is not function.__code__:
        frame = frame.f_back
    return frame is not None


def profiled(function: Callable[[int], None], argument: int) -> Calls:
    calls = Calls(Counter(), Counter(), Counter())

    def note(frame: FrameType, event: str, _: Any) -> None:
        if event != "call" or frame.f_code.co_filename.endswith(".pyx"):  # which only builds for coverage show
            return
        name = OF_THE_EVENT_LOOP.get(frame.f_code)
        if is_within(frame, Access.check):
            calls.permission[frame.f_code.co_qualname] += 1
        elif name is None:
            calls.others[frame.f_code.co_qualname] += 1
        else:
            calls.event_loop[name] += 1

    gc.disable()  # other tests' tools may have asked to be called when it runs
    sys.setprofile(note)
    try:
        function(argument)
    finally:
        sys.setprofile(None)
        gc.enable()
    return calls


def profiled_reads(client: Client, octets: bytes) -> list[int]:
    """Feed all of it. How often each read wrote to a transport."""
    writes, view = [], memoryview(octets)
    asked = 0
    while view:
        count, is_full = client.fill(view[:READ_BYTES])
        calls = profiled(client.connection.buffer_updated, count)
        assert not calls.others, calls.others
        asked += calls.permission["Access.check"]
        assert asked <= 1
        assert calls.event_loop["pause_reading"] == calls.event_loop["call_soon"] == is_full
        writes.append(calls.event_loop["write"])
        client.plane.loop.run()
        view = view[count:]
    return writes


def reads_of(octets: bytes) -> int:
    return -(-len(octets) // READ_BYTES)


def consumer_of(plane: Plane, *queues: str, no_ack: bool = True) -> Client:
    client = plane.client(1)
    for name in queues:
        client.call(1, "queue.declare", queue=name)
        client.call(1, "basic.consume", queue=name, consumer_tag=name, no_ack=no_ack)
    return client


def bound(client: Client, queue: str, exchange: str, key: str) -> None:
    client.call(1, "queue.bind", queue=queue, exchange=exchange, routing_key=key)


def delivered(client: Client) -> int:
    """How many deliveries were written, found by their names alone: decoding them all takes long."""
    return client.take().count(b"\x00\x3c\x00\x3c")


PUBLISH = publish_frames(1, "q", b"x" * 16, {"delivery_mode": 1})


def test_to_a_consumer_that_acknowledges_nothing() -> None:
    with Plane() as plane:
        publisher, consumer = plane.client(1), consumer_of(plane, "q")
        writes = profiled_reads(publisher, PUBLISH * MESSAGES)
        assert writes == [1] * reads_of(PUBLISH * MESSAGES)
        assert len(consumer.transport.writes) == len(writes)
        assert delivered(consumer) == MESSAGES
        assert plane.live() == 0


@pytest.mark.parametrize("size", [0, 1024, 200_000])
def test_bodies_of_any_size(size: int) -> None:
    with Plane() as plane:
        publisher, consumer = plane.client(1), consumer_of(plane, "q")
        number = max(10, min(1000, 4_000_000 // (size + 1)))
        octets = publish_frames(1, "q", b"x" * size) * number
        writes = profiled_reads(publisher, octets)
        assert sum(writes) == min(number, reads_of(octets))
        assert delivered(consumer) == number


def test_with_acks_one_by_one_and_many_at_once() -> None:
    with Plane() as plane:
        publisher, consumer = plane.client(1), consumer_of(plane, "q", no_ack=False)
        publisher.feed(PUBLISH * MESSAGES)
        assert plane.live() == delivered(consumer) == MESSAGES
        half = MESSAGES // 2
        acks = [method_frame(1, "basic.ack", delivery_tag=tag) for tag in range(1, half + 1)]
        assert set(profiled_reads(consumer, b"".join(acks))) == {0}
        assert plane.live() == half
        acks = [
            method_frame(1, "basic.ack", delivery_tag=t, multiple=True) for t in range(half + 100, MESSAGES + 1, 100)
        ]
        assert set(profiled_reads(consumer, b"".join(acks))) == {0}
        assert plane.live() == 0


def test_with_a_prefetch_acks_bring_the_next_deliveries() -> None:
    with Plane() as plane:
        publisher, consumer = plane.client(1), plane.client(1)
        consumer.call(1, "basic.qos", prefetch_count=100)
        consumer.call(1, "queue.declare", queue="q")
        consumer.call(1, "basic.consume", queue="q", consumer_tag="c")
        publisher.feed(PUBLISH * MESSAGES)
        assert delivered(consumer) == 100
        for tag in range(100, MESSAGES, 100):
            assert profiled_reads(consumer, method_frame(1, "basic.ack", delivery_tag=tag, multiple=True)) == [1]
            assert delivered(consumer) == 100


@pytest.mark.parametrize("kind", ["basic.reject", "basic.nack"])
@pytest.mark.parametrize("requeue", [False, True])
def test_with_messages_refused(kind: str, requeue: bool) -> None:
    with Plane() as plane:
        publisher, consumer = plane.client(1), consumer_of(plane, "q", no_ack=False)
        publisher.feed(PUBLISH * MESSAGES)
        consumer.take()
        octets = b"".join(method_frame(1, kind, delivery_tag=at + 1, requeue=requeue) for at in range(MESSAGES))
        assert profiled_reads(consumer, octets) == [int(requeue)] * reads_of(octets)
        assert plane.live() == delivered(consumer) == (MESSAGES if requeue else 0)


def test_with_confirms_every_read_is_answered_by_one_ack() -> None:
    with Plane() as plane:
        publisher, consumer = plane.client(1), consumer_of(plane, "q")
        publisher.call(1, "confirm.select")
        writes = profiled_reads(publisher, PUBLISH * MESSAGES)
        assert set(writes) == {2}
        acks = publisher.received()
        assert [ack.name for ack in acks] == ["basic.ack"] * len(writes)
        assert confirmed(acks) == list(range(1, MESSAGES + 1))
        assert delivered(consumer) == MESSAGES


def test_from_one_exchange_to_ten_queues_and_connections() -> None:
    with Plane() as plane:
        publisher = plane.client(1)
        consumers = [consumer_of(plane, f"q{at}") for at in range(10)]
        for at, consumer in enumerate(consumers):
            bound(consumer, f"q{at}", "amq.fanout", "")
        writes = profiled_reads(publisher, publish_frames(1, "any", b"x" * 16, exchange="amq.fanout") * MESSAGES)
        assert set(writes) == {10}
        assert [delivered(consumer) for consumer in consumers] == [MESSAGES] * 10


def test_by_topics_with_keys_that_change_all_the_time() -> None:
    with Plane() as plane:
        publisher, consumer = plane.client(1), consumer_of(plane, "q", "other")
        for key in ("eu.*.new", "#.old", "eu.#"):
            bound(consumer, "q", "amq.topic", key)
        bound(consumer, "other", "amq.topic", "us.*")
        frames = [publish_frames(1, f"eu.{at % 7000}.new", b"x" * 16, exchange="amq.topic") for at in range(MESSAGES)]
        assert set(profiled_reads(publisher, b"".join(frames))) == {1}
        assert delivered(consumer) == MESSAGES


def test_by_headers_and_with_properties_that_mean_something() -> None:
    with Plane() as plane:
        publisher, consumer = plane.client(1), consumer_of(plane, "q")
        consumer.call(1, "queue.bind", queue="q", exchange="amq.headers", arguments={"kind": "new", "x-match": "any"})
        properties = {
            "headers": {"kind": "new", "n": 5},
            "expiration": "60000",
            "user_id": "guest",
            "reply_to": "there",
        }
        writes = profiled_reads(publisher, publish_frames(1, "", b"x", properties, exchange="amq.headers") * MESSAGES)
        assert set(writes) == {1}
        assert delivered(consumer) == MESSAGES


HASHED: list[tuple[str, dict[str, object]]] = [
    ("x-consistent-hash", {}),
    ("x-consistent-hash", {"hash-header": "customer"}),
    ("x-consistent-hash", {"hash-property": "message_id", "x-algorithm": "jump"}),
    ("x-modulus-hash", {}),
    ("x-random", {}),
]


@pytest.mark.parametrize(("kind", "arguments"), HASHED)
def test_to_one_of_several_queues(kind: str, arguments: dict[str, object]) -> None:
    """Ten ways, over and over, with keys, headers and properties that change."""
    with Plane() as plane:
        publisher, consumer = plane.client(1), consumer_of(plane, *(f"q{at}" for at in range(10)))
        consumer.call(1, "exchange.declare", exchange="one", type=kind, arguments=arguments)
        for at in range(10):
            bound(consumer, f"q{at}", "one", "1")
        frames = [
            publish_frames(
                1, f"{at}", b"x", {"headers": {"n": 1, "customer": f"c{at}"}, "message_id": f"{at}"}, exchange="one"
            )
            for at in range(MESSAGES)
        ]
        assert set(profiled_reads(publisher, b"".join(frames))) == {1}
        assert delivered(consumer) == MESSAGES


def test_to_nobody_yet() -> None:
    with Plane() as plane:
        publisher = plane.client(1)
        publisher.call(1, "queue.declare", queue="q")
        assert set(profiled_reads(publisher, PUBLISH * MESSAGES)) == {0}
        assert plane.live() == plane.queue("q").message_count == MESSAGES
        consumer = plane.client(1)
        consumer.send(1, "basic.consume", queue="q", consumer_tag="c", no_ack=True)
        assert delivered(consumer) == MESSAGES


def test_what_was_allocated_is_given_back() -> None:
    """The same again and again costs no memory: neither the interpreter's blocks nor messages."""
    with Plane() as plane:
        publisher, consumer = plane.client(1), consumer_of(plane, "q", no_ack=False)
        publisher.call(1, "confirm.select")
        acks = [
            b"".join(method_frame(1, "basic.ack", delivery_tag=turn * MESSAGES + at + 1) for at in range(MESSAGES))
            for turn in range(4)
        ]
        octets = PUBLISH * MESSAGES
        blocks, message_bytes = [], live_message_bytes()
        for turn in range(4):
            publisher.feed(octets)
            consumer.feed(acks[turn])
            assert (plane.live(), live_message_bytes()) == (0, message_bytes)
            for client in (publisher, consumer):
                client.transport.writes.clear()
            gc.collect()
            blocks.append(sys.getallocatedblocks())
        assert max(blocks[1:]) - blocks[0] < BLOCKS_TOLERATED, blocks
