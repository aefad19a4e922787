"""A broker without sockets of which everything that is done in turns is done in small pieces, each in a turn."""

from collections.abc import Iterator

import pytest

from flowmq._channel import set_settled_at_once
from flowmq.server import consuming, leaving, methods, turns
from tests.unit.support_plane import Client, Plane
from tests.unit.support_turns import BODIES, PIECE

IN_PIECES = {
    consuming: ("SETTLED_MESSAGES",),
    leaving: ("AT_ONCE_MESSAGES", "TURN_MESSAGES", "AT_ONCE_CONSUMERS", "TURN_CONSUMERS"),
    methods: ("COMMITTED_AT_ONCE", "COMMITTED_MESSAGES"),
}


@pytest.fixture
def plane(monkeypatch: pytest.MonkeyPatch) -> Iterator[Plane]:
    for module, settings in IN_PIECES.items():
        for name in settings:
            monkeypatch.setattr(module, name, PIECE)
    monkeypatch.setattr(consuming, "OVERDUE_MESSAGES", 1)
    monkeypatch.setattr(turns, "TURN_SECONDS", 0.0)
    before = set_settled_at_once(PIECE)
    with Plane() as plane:
        yield plane
    set_settled_at_once(before)


@pytest.fixture
def neighbour(plane: Plane) -> Client:
    """Another client, which has declared queues."""
    neighbour = plane.client(1)
    for name in ("q", "other"):
        neighbour.call(1, "queue.declare", queue=name)
    return neighbour


@pytest.fixture
def publisher(neighbour: Client) -> Client:
    for body in BODIES:
        neighbour.publish(1, "q", body)
    return neighbour
