"""The consumers of a connection or channel that ends leave their queues in pieces, and others act between them."""

import pytest

from flowmq.server.control.commands.queues import consumers_of, queue_named
from tests.support import codec
from tests.unit.support_plane import Client, Plane, publish_frames
from tests.unit.support_turns import CLOSE, PIECE, bodies, consume, names, step

CONSUMERS = 10
NAMES = [f"q{number}" for number in range(CONSUMERS)]


@pytest.fixture
def leaver(plane: Plane, neighbour: Client) -> Client:
    """Many consumers of one queue."""
    leaver = plane.client(1)
    for tag in NAMES:
        leaver.call(1, "basic.consume", queue="q", consumer_tag=tag)
    return leaver


def test_those_that_still_stand_there_get_nothing(plane: Plane, neighbour: Client, leaver: Client) -> None:
    leaver.read(CLOSE)
    queue = plane.queue("q")
    for left in range(CONSUMERS - PIECE, 0, -PIECE):
        assert queue.consumer_count == left
        assert consumers_of(queue_named(plane.node, "/", "q")) == []
        neighbour.read(publish_frames(1, "q", b"x"))
        assert leaver.received() == []
        step(plane)
    plane.loop.run()
    assert (queue.consumer_count, queue.unacked_count) == (0, 0)
    assert names(leaver) == ["channel.close-ok"]


def test_another_consumer_gets_what_is_published_meanwhile(plane: Plane, neighbour: Client, leaver: Client) -> None:
    other = plane.client(1)
    assert consume(other, "q") == []
    leaver.connection.connection_lost(None)
    assert plane.queue("q").consumer_count == CONSUMERS - PIECE + 1
    for _ in range(CONSUMERS):
        neighbour.read(publish_frames(1, "q", b"x"))
    assert bodies(other) == [(b"x", False)] * CONSUMERS
    plane.loop.run()
    assert plane.queue("q").consumer_count == 1


@pytest.mark.parametrize("is_lost", [True, False])
def test_the_queue_is_deleted_meanwhile(plane: Plane, neighbour: Client, leaver: Client, is_lost: bool) -> None:
    queue = plane.queue("q")
    if is_lost:
        leaver.connection.connection_lost(None)
    else:
        leaver.read(CLOSE)
    neighbour.read(codec.method_frame(1, "queue.delete", queue="q"))
    assert queue.consumer_count == 0
    plane.loop.run()
    assert names(leaver) == ([] if is_lost else ["channel.close-ok"])


def test_the_connection_is_lost_while_its_channel_ends(plane: Plane, leaver: Client) -> None:
    leaver.read(CLOSE)
    leaver.connection.connection_lost(None)
    plane.loop.run()
    assert plane.queue("q").consumer_count == 0


def test_queues_that_lived_for_them_go_and_the_next_ones_get_their_turn(plane: Plane, neighbour: Client) -> None:
    leaver, waiting = plane.client(1), plane.client(1)
    for name in NAMES:
        neighbour.call(1, "queue.declare", queue=name, auto_delete=True)
        leaver.send(1, "basic.consume", queue=name, consumer_tag=name)
        one = f"{name}-one"
        neighbour.call(1, "queue.declare", queue=one, arguments={"x-single-active-consumer": True})
        leaver.send(1, "basic.consume", queue=one, consumer_tag=one)
        waiting.call(1, "basic.consume", queue=one, consumer_tag=one, no_ack=True)
        neighbour.publish(1, one, name.encode())
    leaver.read(codec.method_frame(0, "connection.close", reply_code=200))
    assert bodies(waiting) == []
    plane.loop.run()
    assert names(leaver)[-1] == "connection.close-ok"
    assert sorted(bodies(waiting)) == [(name.encode(), True) for name in sorted(NAMES)]
    assert set(plane.node.broker.vhosts["/"].queues) == {"q", "other", *(f"{name}-one" for name in NAMES)}


def test_each_priority_goes_with_its_last_consumer(plane: Plane, neighbour: Client) -> None:
    clients = [plane.client(1) for _ in range(2)]
    for client in clients:
        for priority in (1, 2):
            arguments = {"x-priority": priority}
            client.call(1, "basic.consume", queue="q", consumer_tag=f"{priority}", arguments=arguments, no_ack=True)
    for client in clients:
        neighbour.publish(1, "q", b"x")
        assert [method.consumer_tag for method in client.received()] == ["2"]
        client.call(1, "basic.cancel", consumer_tag="2")
    neighbour.publish(1, "q", b"x")
    assert [method.consumer_tag for method in clients[0].received()] == ["1"]


def test_a_broker_that_ends_puts_nothing_off(plane: Plane, leaver: Client) -> None:
    leaver.read(CLOSE)
    plane.node.turns.finish()
    assert plane.queue("q").consumer_count == 0
