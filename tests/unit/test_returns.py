"""What a channel held when it ends goes back in pieces, and others act between them."""

import pytest

from tests.support import codec
from tests.unit.support_plane import Client, Plane, publish_frames
from tests.unit.support_turns import BODIES, CLOSE, COUNT, PIECE, bodies, consume, step


@pytest.fixture
def holder(plane: Plane, publisher: Client) -> Client:
    """Holds everything."""
    holder = plane.client(1, 2)
    consume(holder, "q")
    return holder


def test_others_get_their_turn_and_nothing_is_out_of_order(plane: Plane, publisher: Client, holder: Client) -> None:
    waiting, neighbour = plane.client(1), plane.client(1)
    assert consume(waiting, "q", prefetch=COUNT) == consume(neighbour, "other") == []
    holder.received()
    holder.read(CLOSE + codec.method_frame(2, "queue.declare", queue="other"))
    queue = plane.queue("q")
    for back in range(PIECE, COUNT, PIECE):
        assert (queue.message_count, queue.unacked_count) == (back + back // PIECE - 1, COUNT - back)
        publisher.read(publish_frames(1, "other", b"news") + publish_frames(1, "q", b"later"))
        assert holder.received() == [], "nothing is answered before all is back"
        step(plane)
        assert [body for body, _ in bodies(neighbour)] == [b"news"]
    assert bodies(waiting) == [(body, True) for body in BODIES]
    assert [method.name for method in holder.received()] == ["channel.close-ok", "queue.declare-ok"]
    assert (queue.message_count, queue.unacked_count) == (3, COUNT)
    waiting.send(1, "basic.ack", delivery_tag=0, multiple=True)
    assert bodies(waiting) == [(b"later", False)] * 3


def test_a_paused_queue_stays_paused(plane: Plane, publisher: Client, holder: Client) -> None:
    waiting = plane.client(1)
    assert consume(waiting, "q") == []
    plane.queue("q").pause()
    holder.feed(CLOSE)
    assert bodies(waiting) == []
    plane.queue("q").resume()
    publisher.publish(1, "q", b"later")
    assert [body for body, _ in bodies(waiting)] == [*BODIES, b"later"]


def test_one_that_is_resumed_meanwhile_waits_for_what_comes_back(plane: Plane, holder: Client) -> None:
    waiting = plane.client(1)
    assert consume(waiting, "q") == []
    plane.queue("q").pause()
    holder.read(CLOSE)
    plane.queue("q").resume()
    assert bodies(waiting) == []
    plane.loop.run()
    assert [body for body, _ in bodies(waiting)] == BODIES


def test_two_channels_give_back_to_one_queue_at_the_same_time(plane: Plane, publisher: Client) -> None:
    holders = [plane.client(1), plane.client(1)]
    for holder in holders:
        holder.call(1, "basic.qos", prefetch_count=COUNT // 2)
        consume(holder, "q", COUNT // 2)
    waiting = plane.client(1)
    assert consume(waiting, "q") == []
    for holder in holders:
        holder.read(CLOSE)
    plane.loop.run()
    assert bodies(waiting) == [(body, True) for body in BODIES]


def test_the_next_of_those_that_take_turns_waits_until_all_is_back(plane: Plane, publisher: Client) -> None:
    publisher.call(1, "queue.declare", queue="one", arguments={"x-single-active-consumer": True})
    for body in BODIES:
        publisher.publish(1, "one", body)
    first, second = plane.client(1), plane.client(1)
    assert len(consume(first, "one")) == COUNT
    assert consume(second, "one") == []
    first.read(CLOSE)
    step(plane)
    assert bodies(second) == []
    plane.loop.run()
    assert bodies(second) == [(body, True) for body in BODIES]


def test_a_queue_that_lived_for_it_goes_when_all_is_back(plane: Plane, publisher: Client) -> None:
    publisher.call(1, "queue.declare", queue="short-lived", auto_delete=True)
    for body in BODIES:
        publisher.publish(1, "short-lived", body)
    consumer = plane.client(1)
    assert len(consume(consumer, "short-lived")) == COUNT
    consumer.read(CLOSE)
    assert plane.queue("short-lived").message_count == PIECE
    plane.loop.run()
    assert "short-lived" not in plane.node.broker.vhosts["/"].queues


def test_the_queue_is_deleted_meanwhile(plane: Plane, publisher: Client, holder: Client) -> None:
    holder.read(CLOSE)
    assert publisher.call(1, "queue.delete", queue="q").message_count >= PIECE
    assert holder.received()[-1].name == "channel.close-ok"


def test_the_connection_is_lost_meanwhile(plane: Plane, holder: Client) -> None:
    queue = plane.queue("q")
    holder.read(CLOSE)
    holder.connection.connection_lost(None)
    assert queue.message_count == PIECE
    plane.loop.run()
    assert queue.message_count == COUNT
    assert plane.node.sessions.isdisjoint({holder.session})


def test_a_connection_that_closes_is_answered_when_all_is_back(plane: Plane, holder: Client) -> None:
    holder.take()
    holder.read(codec.method_frame(0, "connection.close", reply_code=200))
    assert holder.received() == []
    plane.loop.run()
    assert [method.name for method in holder.received()] == ["connection.close-ok"]
    assert plane.queue("q").message_count == COUNT


def test_one_failure_for_each_consumer(plane: Plane, publisher: Client) -> None:
    """The first of what it held is to blame, however many pieces that comes back in."""
    publisher.call(1, "queue.declare", queue="strict", arguments={"x-delivery-limit": 0})
    for body in BODIES:
        publisher.publish(1, "strict", body)
    consumer = plane.client(1)
    assert len(consume(consumer, "strict")) == COUNT
    consumer.feed(CLOSE)
    assert plane.queue("strict").buried_counts["delivery_limit"] == 1
    assert plane.queue("strict").message_count == COUNT - 1


def test_a_broker_that_ends_puts_nothing_off(plane: Plane, holder: Client) -> None:
    holder.read(CLOSE)
    plane.node.turns.finish()
    assert plane.queue("q").message_count == COUNT
