"""A transaction of very many happens in pieces, between which others act; its answer comes when all of it has happened.

Where something of it has to be in the journal it happens as a whole instead: see tests/crash/test_transactions.py.
"""

import pytest

from tests.support import codec
from tests.unit.support_plane import Client, Plane, publish_frames
from tests.unit.support_turns import BODIES, COUNT, PIECE, bodies, consume, names, step

COMMIT = codec.method_frame(1, "tx.commit")
NEXT = codec.method_frame(2, "queue.declare", queue="other")


@pytest.fixture
def client(plane: Plane, neighbour: Client) -> Client:
    client = plane.client(1, 2)
    client.call(1, "tx.select")
    return client


def test_others_get_their_turn_and_the_answer_comes_last(plane: Plane, neighbour: Client, client: Client) -> None:
    for body in BODIES:
        client.publish(1, "q", body)
    queue = plane.queue("q")
    assert queue.message_count == 0
    client.read(COMMIT + NEXT)
    for done in range(PIECE, COUNT, PIECE):
        assert queue.message_count == done
        assert names(client) == [], "nothing else is dealt with before all has happened"
        neighbour.read(codec.method_frame(1, "queue.declare", queue="other", passive=True))
        assert names(neighbour) == ["queue.declare-ok"]
        step(plane)
    assert names(client) == ["tx.commit-ok", "queue.declare-ok"]
    assert [body for body, _ in consumed(plane)] == BODIES


def consumed(plane: Plane) -> list[tuple[bytes, bool]]:
    return [(method.body, method.redelivered) for method in consume(plane.client(1), "q")]


def test_what_is_published_afterwards_is_another_transaction(plane: Plane, client: Client) -> None:
    for body in BODIES:
        client.publish(1, "q", body)
    client.read(COMMIT + publish_frames(1, "q", b"later") + codec.method_frame(1, "tx.rollback"))
    plane.loop.run()
    assert names(client) == ["tx.commit-ok", "tx.rollback-ok"]
    assert plane.queue("q").message_count == COUNT


@pytest.mark.parametrize("requeue", [True, False])
def test_settlements_come_after_publishes_and_what_comes_back_is_in_order(
    plane: Plane, neighbour: Client, client: Client, requeue: bool
) -> None:
    for body in BODIES:
        neighbour.publish(1, "q", body)
    assert len(consume(client, "q")) == COUNT
    client.feed(codec.method_frame(1, "basic.cancel", consumer_tag="q"))
    client.received()
    waiting = plane.client(1)
    assert consume(waiting, "q") == []
    client.publish(1, "other", b"first")
    client.feed(codec.method_frame(1, "basic.nack", delivery_tag=0, multiple=True, requeue=requeue))
    client.read(COMMIT)
    assert (plane.queue("other").message_count, plane.queue("q").unacked_count) == (1, COUNT - PIECE + 1)
    neighbour.read(publish_frames(1, "q", b"later"))
    step(plane)
    assert bodies(waiting) == ([] if requeue else [(b"later", False)])
    plane.loop.run()
    assert names(client) == ["tx.commit-ok"]
    assert bodies(waiting) == ([(body, True) for body in BODIES] + [(b"later", False)] if requeue else [])


def test_what_one_returns_goes_to_whoever_waits(plane: Plane, neighbour: Client, client: Client) -> None:
    neighbour.publish(1, "q", b"x")
    client.send(1, "basic.get", queue="q")
    client.received()
    waiting = plane.client(1)
    assert consume(waiting, "q") == []
    client.send(1, "basic.reject", delivery_tag=1, requeue=True)
    client.call(1, "tx.commit")
    assert bodies(waiting) == [(b"x", True)]


def test_a_client_that_is_lost_meanwhile_has_committed(plane: Plane, neighbour: Client, client: Client) -> None:
    for body in BODIES:
        neighbour.publish(1, "q", body)
    client.call(2, "basic.qos", prefetch_count=0)
    for body in BODIES:
        client.publish(1, "other", body)
    client.feed(publish_frames(1, "nobody", b"", {}, mandatory=True))
    assert len(consume(client, "q")) == COUNT
    client.send(1, "basic.ack", delivery_tag=COUNT // 2, multiple=True)
    client.read(COMMIT)
    client.connection.connection_lost(None)
    plane.loop.run()
    assert plane.queue("other").message_count == COUNT
    assert (plane.queue("q").message_count, plane.queue("q").unacked_count) == (COUNT - COUNT // 2, 0)
    assert plane.node.sessions.isdisjoint({client.session})


def test_something_that_a_queue_refuses_ends_the_channel_when_all_else_has_happened(
    plane: Plane, neighbour: Client, client: Client
) -> None:
    arguments = {"x-max-length": 1, "x-overflow": "reject-publish"}
    neighbour.call(1, "queue.declare", queue="small", arguments=arguments)
    for body in BODIES:
        client.publish(1, "small", body)
        client.publish(1, "q", body)
    client.feed(COMMIT + NEXT)
    close, declared = client.received()
    assert (close.name, close.reply_code, close.class_id, close.method_id) == ("channel.close", 406, 90, 20)
    assert "partial tx completion" in close.reply_text
    assert declared.name == "queue.declare-ok"
    assert (plane.queue("small").message_count, plane.queue("q").message_count) == (1, COUNT)


def test_a_queue_that_is_deleted_meanwhile_gets_nothing_more(plane: Plane, neighbour: Client, client: Client) -> None:
    for body in BODIES:
        client.publish(1, "q", body)
    client.read(COMMIT)
    neighbour.read(codec.method_frame(1, "queue.delete", queue="q"))
    plane.loop.run()
    assert names(client) == ["tx.commit-ok"]
    assert plane.live() == 0


def test_a_broker_that_ends_puts_nothing_off(plane: Plane, client: Client) -> None:
    for body in BODIES:
        client.publish(1, "q", body)
    client.read(COMMIT)
    plane.node.turns.finish()
    assert plane.queue("q").message_count == COUNT
