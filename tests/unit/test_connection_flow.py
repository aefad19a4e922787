"""Back-pressure on one connection: what waits for a slow client is bounded, in order, and all of it arrives.

Transports say that they are full and that they have room again, as those of an event loop do.
"""

import pytest

from tests.support.codec import method_frame
from tests.unit.support_plane import Client, Plane, confirmed, decode, publish_frames

OUTGOING_BYTES_MAX = 8192
MESSAGES = 2000
BODY_BYTES = 100
DELIVERY_BYTES_MAX = 1000  # of a message of BODY_BYTES, generously
PUBLISHES = b"".join(publish_frames(1, "q", f"{at:0100}".encode()) for at in range(MESSAGES))


def meeting(plane: Plane, *, no_ack: bool = True) -> tuple[Client, Client]:
    """A publisher and a consumer of one queue."""
    publisher, consumer = plane.client(1), plane.client(1, 2)
    publisher.call(1, "queue.declare", queue="q")
    consumer.call(1, "basic.consume", queue="q", consumer_tag="c", no_ack=no_ack)
    return publisher, consumer


def numbers(octets: bytes) -> list[int]:
    return [int(method.body) for method in decode(octets) if method.name == "basic.deliver"]


def test_one_read_gathers_no_more_for_a_consumer_than_it_may() -> None:
    with Plane(outgoing_bytes_max=OUTGOING_BYTES_MAX) as plane:
        publisher, consumer = meeting(plane)
        taken = publisher.read(PUBLISHES)
        (write,) = consumer.transport.writes
        assert OUTGOING_BYTES_MAX <= len(write) < OUTGOING_BYTES_MAX + DELIVERY_BYTES_MAX
        plane.loop.run()
        publisher.feed(PUBLISHES[taken:])
        assert max(map(len, consumer.transport.writes)) < OUTGOING_BYTES_MAX + DELIVERY_BYTES_MAX
        assert numbers(consumer.take()) == list(range(MESSAGES))


def test_a_message_larger_than_the_limit_goes_out_alone() -> None:
    with Plane(outgoing_bytes_max=4096) as plane:
        publisher, consumer = meeting(plane)
        for _ in range(5):
            publisher.publish(1, "q", b"x" * 50_000)
        assert [len(write) > 50_000 for write in consumer.transport.writes] == [True] * 5
        assert max(map(len, consumer.transport.writes)) < 51_000


@pytest.mark.parametrize("no_ack", [True, False])
@pytest.mark.parametrize("full_at", [0, 500, 20_000])
def test_a_consumer_that_does_not_read_gets_no_more_until_it_does(no_ack: bool, full_at: int) -> None:
    with Plane(outgoing_bytes_max=OUTGOING_BYTES_MAX) as plane:
        publisher, consumer = meeting(plane, no_ack=no_ack)
        received: list[int] = []
        publisher.feed(PUBLISHES)
        received += numbers(consumer.take())
        publisher.feed(PUBLISHES)
        received += numbers(consumer.take())
        for _ in range(3):
            consumer.transport.full_at = full_at
            publisher.feed(PUBLISHES)
            written = sum(map(len, consumer.transport.writes))
            assert full_at < written <= full_at + OUTGOING_BYTES_MAX + DELIVERY_BYTES_MAX
            assert plane.queue("q").message_count > MESSAGES // 2
            assert consumer.connection.outgoing_bytes == consumer.transport.waiting_bytes == written
            consumer.transport.drain()
            plane.loop.run()
            received += numbers(consumer.take())
            assert plane.queue("q").message_count == 0
        assert received == list(range(MESSAGES)) * 5


def test_room_comes_and_goes() -> None:
    """A client that reads in sips: full again as soon as there was room."""
    with Plane(outgoing_bytes_max=OUTGOING_BYTES_MAX) as plane:
        publisher, consumer = meeting(plane)
        consumer.transport.full_at = 1000
        publisher.feed(PUBLISHES)
        rounds = 0
        while plane.queue("q").message_count:
            consumer.transport.drain()
            consumer.transport.full_at = 1000
            plane.loop.run()
            rounds += 1
            assert consumer.transport.waiting_bytes < 1000 + OUTGOING_BYTES_MAX + DELIVERY_BYTES_MAX
        assert rounds > 10
        assert numbers(consumer.take()) == list(range(MESSAGES))


def test_other_consumers_take_what_a_full_one_cannot() -> None:
    with Plane(outgoing_bytes_max=OUTGOING_BYTES_MAX) as plane:
        publisher, slow = meeting(plane)
        quick = plane.client(1)
        quick.call(1, "basic.consume", queue="q", consumer_tag="quick", no_ack=True)
        slow.transport.full_at = 0
        publisher.feed(PUBLISHES)
        own = numbers(slow.take())
        assert 0 < len(own) < 100
        assert sorted(own + numbers(quick.take())) == list(range(MESSAGES))
        assert plane.queue("q").message_count == 0


# ------------------------------------------------------------------------------------------- who asks and does not read


def gets(count: int) -> bytes:
    return method_frame(1, "basic.get", queue="q", no_ack=True) * count


def test_who_asks_without_reading_is_not_read_until_it_reads() -> None:
    with Plane(outgoing_bytes_max=OUTGOING_BYTES_MAX) as plane:
        client = plane.client(1)
        client.call(1, "queue.declare", queue="q")
        client.feed(PUBLISHES)
        client.transport.full_at, client.transport.pauses = 0, 0
        for _ in range(MESSAGES):
            client.feed(gets(1))
            assert client.connection.outgoing_bytes < 3 * OUTGOING_BYTES_MAX
        assert not client.transport.reading
        assert client.connection.is_reading is False
        assert client.transport.pauses == 1
        assert len(client.unread) > len(gets(1)) * (MESSAGES - 300)
        client.transport.drain()
        plane.loop.run()
        assert client.transport.reading
        client.feed(b"")
        answers = decode(client.take())
        assert [int(answer.body) for answer in answers] == list(range(MESSAGES))


def test_the_flood_of_one_read_stops_the_next() -> None:
    """However much one read asks for, it is the last one until the client has taken the answers."""
    with Plane(outgoing_bytes_max=4096) as plane:
        client = plane.client(1)
        client.transport.full_at = 0
        client.feed(method_frame(1, "queue.declare", queue="q") * 10_000)
        assert not client.transport.reading
        assert client.unread
        reads = client.connection.reads
        plane.loop.run()
        client.feed(b"")
        assert (client.transport.reading, client.connection.reads) == (False, reads)
        client.transport.drain()
        plane.loop.run()
        client.feed(b"")
        assert (client.transport.reading, client.unread) == (True, b"")
        assert len(decode(client.take())) == 10_000


def test_a_session_that_stopped_reading_is_not_read_because_there_is_room() -> None:
    with Plane(outgoing_bytes_max=4096) as plane:
        client = plane.client(1)
        client.connection.stop_reading()
        client.transport.full_at = 0
        client.connection.send_octets(b"x" * 10)
        client.plane.loop.run()
        client.transport.drain()
        plane.loop.run()
        assert not client.transport.reading
        client.connection.resume_reading()
        assert client.transport.reading


def test_confirms_wait_for_room_and_are_all_said() -> None:
    with Plane() as plane:
        client = plane.client(1)
        client.call(1, "queue.declare", queue="q")
        client.call(1, "confirm.select")
        client.connection.pause_writing()
        for _ in range(50):
            client.feed(publish_frames(1, "q", b"x"))
        assert client.received() == []
        client.connection.resume_writing()
        plane.loop.run()
        methods = client.received()
        assert confirmed(methods) == list(range(1, 51))
        assert len(methods) == 1


def test_a_lost_connection_gives_back_what_it_could_not_take() -> None:
    with Plane(outgoing_bytes_max=OUTGOING_BYTES_MAX) as plane:
        publisher, consumer = meeting(plane, no_ack=False)
        consumer.transport.full_at = 0
        publisher.feed(PUBLISHES)
        consumer.lose()
        assert plane.queue("q").message_count == plane.live() == MESSAGES
        other = plane.client(1)
        other.send(1, "basic.consume", queue="q", consumer_tag="c", no_ack=True)
        plane.loop.run()
        assert numbers(other.take()) == list(range(MESSAGES))


# ---------------------------------------------------------------------------------------------------------- the memory


def test_a_publisher_is_stopped_while_messages_take_too_much() -> None:
    with Plane(memory_bytes_max=100_000) as plane:
        publisher, consumer = plane.client(1), plane.client(1)
        publisher.call(1, "queue.declare", queue="q")
        publisher.feed(PUBLISHES)
        assert not publisher.transport.reading
        assert publisher.session in plane.node.alarms.blocked
        assert plane.queue("q").message_count < MESSAGES
        assert consumer.transport.reading
        consumer.call(1, "queue.purge", queue="q")
        assert consumer.transport.reading
