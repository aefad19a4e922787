"""One method that settles very many deliveries does so in pieces, between which others act; nothing is out of order."""

from collections.abc import Iterator

import pytest

from flowmq._channel import set_settled_at_once
from flowmq._clock import set_clock
from flowmq._order import told_ms
from flowmq.server import consuming, turns
from tests.support import codec
from tests.unit.support_plane import Client, Plane, publish_frames
from tests.unit.test_returns import BODIES, HELD, PIECE, bodies, consume, step

NACK = codec.method_frame(1, "basic.nack", delivery_tag=0, multiple=True, requeue=True)
DROP = codec.method_frame(1, "basic.nack", delivery_tag=0, multiple=True, requeue=False)
ACK = codec.method_frame(1, "basic.ack", delivery_tag=0, multiple=True)
RECOVER = codec.method_frame(1, "basic.recover", requeue=True)
NEXT = codec.method_frame(2, "queue.declare", queue="other")
CANCEL = codec.method_frame(1, "basic.cancel", consumer_tag="q")


@pytest.fixture
def plane(monkeypatch: pytest.MonkeyPatch) -> Iterator[Plane]:
    monkeypatch.setattr(consuming, "SETTLED_MESSAGES", PIECE)
    monkeypatch.setattr(consuming, "OVERDUE_MESSAGES", 1)
    monkeypatch.setattr(turns, "TURN_SECONDS", 0.0)
    before = set_settled_at_once(PIECE)
    with Plane() as plane:
        yield plane
    set_settled_at_once(before)


@pytest.fixture
def publisher(plane: Plane) -> Client:
    publisher = plane.client(1)
    for name in ("q", "other"):
        publisher.call(1, "queue.declare", queue=name)
    for body in BODIES:
        publisher.publish(1, "q", body)
    return publisher


@pytest.fixture
def holder(plane: Plane, publisher: Client) -> Client:
    """Holds everything, and consumes nothing any more."""
    holder = plane.client(1, 2)
    assert len(consume(holder, "q")) == HELD
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
    for back in range(PIECE, HELD, PIECE):
        assert (queue.message_count, queue.unacked_count) == (back + back // PIECE - 1, HELD - back)
        publisher.read(publish_frames(1, "other", b"news") + publish_frames(1, "q", b"later"))
        assert holder.received() == [], "nothing else is dealt with before all is back"
        step(plane)
        assert [body for body, _ in bodies(neighbour)] == [b"news"]
    assert [method.name for method in holder.received()] == ["queue.declare-ok"]
    assert bodies(waiting) == [(body, True) for body in BODIES] + [(b"later", False)] * 3


def test_its_own_consumer_gets_them_in_order(plane: Plane, publisher: Client) -> None:
    client = plane.client(1)
    assert len(consume(client, "q", prefetch=HELD)) == HELD
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
    for gone in range(PIECE, HELD, PIECE):
        assert (queue.message_count, queue.unacked_count) == (0, HELD - gone)
        assert holder.received() == []
        step(plane)
    assert [method.name for method in holder.received()] == ["queue.declare-ok"]
    assert (queue.message_count, queue.unacked_count) == (0, 0)


def test_a_shared_prefetch_counts_what_is_left(plane: Plane, publisher: Client) -> None:
    client = plane.client(1)
    client.call(1, "basic.qos", prefetch_count=HELD, global_=True)
    client.send(1, "basic.consume", queue="q", consumer_tag="q")
    assert len(bodies(client)) == HELD
    for _ in range(2 * HELD):
        publisher.publish(1, "q", b"later")
    client.read(ACK)
    plane.loop.run()
    assert bodies(client) == [(b"later", False)] * HELD


@pytest.mark.parametrize(("method", "left"), [(ACK, 0), (NACK, HELD)])
def test_what_was_settled_stays_so_when_the_connection_is_lost(
    plane: Plane, holder: Client, method: bytes, left: int
) -> None:
    queue = plane.queue("q")
    holder.read(method)
    assert queue.unacked_count == HELD - PIECE
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
    holder.read(codec.method_frame(1, "basic.nack", delivery_tag=HELD - 1, multiple=True, requeue=True))
    plane.loop.run()
    assert (plane.queue("q").message_count, plane.queue("q").unacked_count) == (HELD - 1, 1)
    holder.feed(codec.method_frame(1, "basic.ack", delivery_tag=HELD, multiple=True))
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
    client.call(1, "basic.qos", prefetch_count=HELD)
    client.send(1, "basic.consume", queue="slow", consumer_tag="slow")
    client.received()
    held_until_ms = told_ms() + 5
    while told_ms() < held_until_ms:
        set_clock()
    steps = consuming.return_overdue(client.session)
    for tag in range(1, HELD + 1):
        next(steps)
        plane.loop.run()
        assert bodies(client) == [(BODIES[tag - 1], True)]
    client.read(
        codec.method_frame(1, "basic.ack", delivery_tag=HELD, multiple=True)
    )  # all are back: no error, no effect
    assert plane.queue("slow").unacked_count == HELD
