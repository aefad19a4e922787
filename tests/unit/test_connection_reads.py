"""Reads of a connection: the buffer they share with those of all others, and where one connection's turn ends."""

import random

import pytest

from tests.support.codec import method_frame
from tests.unit.support_plane import Plane, publish_frames


def test_reads_of_connections_may_take_turns_in_the_middle_of_frames() -> None:
    """The read buffer is shared: nothing of one connection's unfinished frame may end up in another's."""
    with Plane() as plane:
        clients = [plane.client(1) for _ in range(5)]
        bodies = [bytes([65 + at]) * 700 for at in range(5)]
        for at, client in enumerate(clients):
            client.call(1, "queue.declare", queue=f"q{at}")
            client.call(1, "basic.consume", queue=f"q{at}", consumer_tag="c", no_ack=True)
        sent = [publish_frames(1, f"q{at}", bodies[at], {"headers": {"n": at}}) * 3 for at in range(5)]
        choose = random.Random(5)
        while any(sent):
            at = choose.randrange(5)
            size = choose.randint(1, 40)
            clients[at].feed(sent[at][:size])
            sent[at] = sent[at][size:]
        for at, client in enumerate(clients):
            deliveries = client.received()
            assert [method.body for method in deliveries] == [bodies[at]] * 3
            assert all(method.properties == {"headers": {"n": at}} for method in deliveries)


def test_a_full_read_ends_the_turn() -> None:
    """As much as the buffer holds is one turn: the connection is read on only after the others had theirs."""
    with Plane() as plane:
        client = plane.client(1)
        client.call(1, "queue.declare", queue="q")
        octets = publish_frames(1, "q", b"x" * 100) * 2000
        count = client.read(octets)
        assert count == 65536
        assert not client.transport.reading
        plane.loop.run()
        assert client.transport.reading
        client.feed(octets[count:])
        assert client.call(1, "queue.declare", queue="q", passive=True).message_count == 2000


@pytest.mark.parametrize("frame_max", [4096, 8192, 131072])
def test_a_large_method_frame_over_several_reads_is_put_together(frame_max: int) -> None:
    with Plane() as plane:
        client = plane.client(1, frame_max=frame_max)
        arguments = {"x-any": "y" * (frame_max - 200)}
        octets = method_frame(1, "queue.declare", queue="q") + method_frame(
            1, "basic.consume", queue="q", consumer_tag="c", arguments=arguments
        )
        for at in range(0, len(octets), 1000):
            client.feed(octets[at : at + 1000])
        assert [method.name for method in client.received()] == ["queue.declare-ok", "basic.consume-ok"]
        assert plane.queue("q").consumers[0].arguments == arguments


def test_every_full_read_ends_the_turn_however_much_may_be_read() -> None:
    """Less is read at a time while a consumer cannot keep up, more again later; each time others have their turn."""
    with Plane() as plane:
        publisher, consumer = plane.client(1), plane.client(1)
        consumer.call(1, "queue.declare", queue="q")
        consumer.call(1, "basic.qos", prefetch_count=1)
        consumer.call(1, "basic.consume", queue="q", consumer_tag="c")
        octets, sizes = publish_frames(1, "q", b"x" * 100) * 4000, []
        for turn in range(10):
            if turn == 5:
                consumer.send(1, "basic.cancel", consumer_tag="c")
            count, is_full = publisher.fill(octets)
            publisher.connection.buffer_updated(count)
            assert is_full
            assert not publisher.transport.reading, f"read on after {count} octets"
            plane.loop.run()
            octets = octets[count:]
            sizes.append(count)
        assert sizes == [65536, 32768, 16384, 8192, 8192, 8192, 16384, 32768, 65536, 65536]
