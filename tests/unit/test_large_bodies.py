"""Bodies that are sent from where they lie: whole and in order whatever the frames, and gone when they are sent."""

import pytest

from flowmq._message import live_message_bytes
from tests.unit.support_plane import Client, Plane, decode, frames, publish_frames

SHARED = 32768
SIZES = [SHARED - 1, SHARED, SHARED + 1, 131064, 131065, 2 * 131064, 1_500_000]
FRAME_SIZES = [4096, 16391, 16392, 131072]


def body_of(size: int) -> bytes:
    return (b"0123456789abcdef" * (size // 16 + 1))[:size]


def meeting(plane: Plane, frame_max: int) -> tuple[Client, Client]:
    publisher, consumer = plane.client(1), plane.client(1, frame_max=frame_max)
    publisher.call(1, "queue.declare", queue="q")
    return publisher, consumer


@pytest.mark.parametrize("frame_max", FRAME_SIZES)
@pytest.mark.parametrize("size", SIZES)
def test_delivered_between_small_ones(size: int, frame_max: int) -> None:
    with Plane(outgoing_bytes_max=4_000_000) as plane:
        publisher, consumer = meeting(plane, frame_max)
        consumer.call(1, "basic.consume", queue="q", consumer_tag="c", no_ack=True)
        bodies = [b"first", body_of(size), b"between", body_of(size), b"last"]
        publisher.feed(b"".join(publish_frames(1, "q", body) for body in bodies))
        octets = consumer.take()
        assert [method.body for method in decode(octets)] == bodies
        assert max(len(payload) + 8 for _, _, payload in frames(octets)) <= frame_max
        assert consumer.connection.sent_bytes >= len(octets)


@pytest.mark.parametrize("frame_max", FRAME_SIZES)
@pytest.mark.parametrize("size", SIZES)
def test_got_and_returned(size: int, frame_max: int) -> None:
    with Plane() as plane:
        publisher, consumer = meeting(plane, frame_max)
        publisher.publish(1, "q", body_of(size), message_id="m")
        consumer.send(1, "basic.get", queue="q", no_ack=True)
        (method,) = consumer.received()
        assert (method.name, method.routing_key, method.message_count) == ("basic.get-ok", "q", 0)
        assert (method.properties, method.body) == ({"message_id": "m"}, body_of(size))
        consumer.feed(publish_frames(1, "nobody", body_of(size), mandatory=True, frame_max=frame_max))
        (method,) = consumer.received()
        assert (method.name, method.reply_text, method.body) == ("basic.return", "NO_ROUTE", body_of(size))


def test_what_is_shared_counts_as_waiting_for_the_client() -> None:
    with Plane(outgoing_bytes_max=100_000) as plane:
        publisher, consumer = meeting(plane, 131072)
        consumer.call(1, "basic.consume", queue="q", consumer_tag="c", no_ack=True)
        consumer.transport.full_at = 0
        for _ in range(5):
            publisher.publish(1, "q", body_of(90_000))
        received = len(decode(consumer.take()))
        assert received == 1
        consumer.transport.drain()
        plane.loop.run()
        assert [len(method.body) for method in decode(consumer.take())] == [90_000] * 4


def test_a_client_that_goes_gives_them_back() -> None:
    before = live_message_bytes()
    with Plane(outgoing_bytes_max=1_000_000) as plane:
        publisher, consumer = meeting(plane, 131072)
        consumer.call(1, "basic.consume", queue="q", consumer_tag="c", no_ack=True)
        consumer.transport.full_at = 0
        publisher.publish(1, "q", b"small")
        publisher.publish(1, "q", body_of(90_000))  # kept back, the transport is full
        consumer.lose()
        publisher.send(1, "queue.purge", queue="q")
        assert live_message_bytes() - before < 4096  # the queue's places for messages
