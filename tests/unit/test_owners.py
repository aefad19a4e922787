"""Exclusive queues go with their connection: many of them in turns, and whoever comes for a name gets it at once."""

from collections.abc import Iterator

import pytest

from flowmq.broker.steps import AT_ONCE_STEPS
from flowmq.server import turns
from tests.support import codec
from tests.unit.support_plane import Client, Plane

AT_ONCE = 5 * AT_ONCE_STEPS
QUEUES = 3 * AT_ONCE


@pytest.fixture
def plane() -> Iterator[Plane]:
    with Plane() as plane:
        yield plane


@pytest.fixture
def owner(plane: Plane, monkeypatch: pytest.MonkeyPatch) -> Client:
    monkeypatch.setattr(turns, "TURN_SECONDS", 0.0)
    owner = plane.client(1)
    for number in range(QUEUES):
        owner.send(1, "queue.declare", queue=f"q{number}", exclusive=True)
    return owner


def names(plane: Plane) -> set[str]:
    return set(plane.node.broker.vhosts["/"].queues)


def test_many_go_in_turns(plane: Plane, owner: Client) -> None:
    other = plane.client(1)
    other.send(1, "queue.declare", queue="kept", exclusive=True)
    owner.connection.connection_lost(None)
    assert len(names(plane)) == QUEUES - AT_ONCE + 1
    plane.loop.run()
    assert names(plane) == {"kept"}


def test_who_comes_for_a_name_gets_it_at_once(plane: Plane, owner: Client) -> None:
    last, other = f"q{QUEUES - 1}", plane.client(1)
    owner.connection.connection_lost(None)
    assert last in names(plane)
    other.take()
    other.read(codec.method_frame(1, "queue.declare", queue=last, exclusive=True))
    assert [method.name for method in other.received()] == ["queue.declare-ok"]
    plane.loop.run()
    assert names(plane) == {last}
    assert plane.node.broker.vhosts["/"].queue(last, other.session).owner is other.session


@pytest.mark.parametrize("method", ["queue.delete", "queue.unbind"])
def test_for_others_it_is_not_there(plane: Plane, owner: Client, method: str) -> None:
    last, other = f"q{QUEUES - 1}", plane.client(1, 2)
    owner.connection.connection_lost(None)
    other.take()
    fields = {"exchange": "amq.direct", "routing_key": ""} if method == "queue.unbind" else {}
    other.read(codec.method_frame(1, method, queue=last, **fields))
    assert [answer.name for answer in other.received()] == [f"{method}-ok"]
    other.read(codec.method_frame(2, "queue.declare", queue=f"q{QUEUES - 2}", passive=True))
    assert [(answer.name, answer.reply_code) for answer in other.received()] == [("channel.close", 404)]


def test_a_queue_that_was_deleted_before_belongs_to_nobody(plane: Plane, owner: Client) -> None:
    for number in range(QUEUES):
        owner.send(1, "queue.delete", queue=f"q{number}")
    other = plane.client(1)
    other.send(1, "queue.declare", queue="q0")
    owner.connection.connection_lost(None)
    plane.loop.run()
    assert names(plane) == {"q0"}
