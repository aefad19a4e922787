"""One method that settles very many deliveries does so in pieces, between which others act; nothing is out of order."""

import pytest

from flowmq._clock import set_clock
from flowmq._order import told_ms
from flowmq.server import consuming
from tests.support import codec
from tests.unit.support_plane import Client, Plane, publish_frames
from tests.unit.support_turns import BODIES, COUNT, PIECE, bodies, consume, step

NACK = codec.method_frame(1, "basic.nack", delivery_tag=0, multiple=True, requeue=True)
DROP = codec.method_frame(1, "basic.nack", delivery_tag=0, multiple=True, requeue=False)
ACK = codec.method_frame(1, "basic.ack", delivery_tag=0, multiple=True)
RECOVER = codec.method_frame(1, "basic.recover", requeue=True)
NEXT = codec.method_frame(2, "queue.declare", queue="other")
CANCEL = codec.method_frame(1, "basic.cancel", consumer_tag="q")


@pytest.fixture
def holder(plane: Plane, publisher: Client) -> Client:
    """Holds everything, and consumes nothing any more."""
    holder = plane.client(1, 2)
    assert len(consume(holder, "q")) == COUNT
    holder.feed(CANCEL)
    holder.received()
    return holder


@pytest.mark.parametrize("method", [NACK, RECOVER])
def test_what_comes_back_is_delivered_when_all_is_back(
    plane: Plane, publisher: Client, holder: Client, method: bytes
) -> None:
    waiting, neighbour = plane.client(1), plane.client(1)
    assert consume(waiting, "q") == consume(neighbour, "other") == []
    holder.read(method + NEXT)
    answered = [method.name for method in holder.received()]
    assert answered == (["basic.recover-ok"] if method == RECOVER else [])
    queue = plane.queue("q")
    for back in range(PIECE, COUNT, PIECE):
        assert (queue.message_count, queue.unacked_count) == (back + back // PIECE - 1, COUNT - back)
        publisher.read(publish_frames(1, "other", b"news") + publish_frames(1, "q", b"later"))
        assert holder.received() == [], "nothing else is dealt with before all is back"
        step(plane)
        assert [body for body, _ in bodies(neighbour)] == [b"news"]
    assert [method.name for method in holder.received()] == ["queue.declare-ok"]
    assert bodies(waiting) == [(body, True) for body in BODIES] + [(b"later", False)] * 3


def test_its_own_consumer_gets_them_in_order(plane: Plane, publisher: Client) -> None:
    client = plane.client(1)
    assert len(consume(client, "q", prefetch=COUNT)) == COUNT
    publisher.publish(1, "q", b"later")
    client.read(NACK)
    assert bodies(client) == []
    plane.loop.run()
    assert bodies(client) == [(body, True) for body in BODIES]
    assert plane.queue("q").message_count == 1


@pytest.mark.parametrize("method", [ACK, DROP])
def test_those_that_are_done_with_go_in_pieces(plane: Plane, holder: Client, method: bytes) -> None:
    queue = plane.queue("q")
    holder.read(method + NEXT)
    for gone in range(PIECE, COUNT, PIECE):
        assert (queue.message_count, queue.unacked_count) == (0, COUNT - gone)
        assert holder.received() == []
        step(plane)
    assert [method.name for method in holder.received()] == ["queue.declare-ok"]
    assert (queue.message_count, queue.unacked_count) == (0, 0)


def test_a_shared_prefetch_counts_what_is_left(plane: Plane, publisher: Client) -> None:
    client = plane.client(1)
    client.call(1, "basic.qos", prefetch_count=COUNT, global_=True)
    client.send(1, "basic.consume", queue="q", consumer_tag="q")
    assert len(bodies(client)) == COUNT
    for _ in range(2 * COUNT):
        publisher.publish(1, "q", b"later")
    client.read(ACK)
    plane.loop.run()
    assert bodies(client) == [(b"later", False)] * COUNT


@pytest.mark.parametrize(("method", "left"), [(ACK, 0), (NACK, COUNT)])
def test_what_was_settled_stays_so_when_the_connection_is_lost(
    plane: Plane, holder: Client, method: bytes, left: int
) -> None:
    queue = plane.queue("q")
    holder.read(method)
    assert queue.unacked_count == COUNT - PIECE
    holder.connection.connection_lost(None)
    plane.loop.run()
    assert (queue.message_count, queue.unacked_count) == (left, 0)


def test_the_queue_is_deleted_meanwhile(plane: Plane, publisher: Client, holder: Client) -> None:
    holder.read(NACK)
    assert publisher.call(1, "queue.delete", queue="q").message_count == PIECE
    plane.loop.run()
    holder.feed(NEXT)
    assert holder.received()[-1].name == "queue.declare-ok"


def test_only_the_oldest_are_meant(plane: Plane, holder: Client) -> None:
    holder.read(codec.method_frame(1, "basic.nack", delivery_tag=COUNT - 1, multiple=True, requeue=True))
    plane.loop.run()
    assert (plane.queue("q").message_count, plane.queue("q").unacked_count) == (COUNT - 1, 1)
    holder.feed(codec.method_frame(1, "basic.ack", delivery_tag=COUNT, multiple=True))
    assert plane.queue("q").unacked_count == 0


def test_a_broker_that_ends_puts_nothing_off(plane: Plane, holder: Client) -> None:
    holder.read(ACK)
    plane.node.turns.finish()
    assert plane.queue("q").unacked_count == 0


def test_what_was_held_for_too_long_goes_back_in_pieces(plane: Plane, publisher: Client) -> None:
    publisher.call(1, "queue.declare", queue="slow", arguments={"x-consumer-timeout": 1})
    for body in BODIES:
        publisher.publish(1, "slow", body)
    client = plane.client(1)
    client.call(1, "basic.qos", prefetch_count=COUNT)
    client.send(1, "basic.consume", queue="slow", consumer_tag="slow")
    client.received()
    held_until_ms = told_ms() + 5
    while told_ms() < held_until_ms:
        set_clock()
    steps = consuming.return_overdue(client.session)
    for tag in range(1, COUNT + 1):
        next(steps)
        plane.loop.run()
        assert bodies(client) == [(BODIES[tag - 1], True)]
    client.read(
        codec.method_frame(1, "basic.ack", delivery_tag=COUNT, multiple=True)
    )  # all are back: no error, no effect
    assert plane.queue("slow").unacked_count == COUNT
