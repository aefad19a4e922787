"""An error of ours while it is told what is on disk: everybody else is told, and the client whose it was with 541."""

import errno
from collections.abc import Iterator
from pathlib import Path

import pytest

from flowmq.server.session import Session
from tests.crash.power_cut import DurablePlane

pytestmark = pytest.mark.flowmq_only


class Mistake(Exception):
    """What nobody has thought of."""


def fails(*_: object) -> None:
    raise Mistake


@pytest.fixture
def plane(tmp_path: Path) -> Iterator[DurablePlane]:
    with DurablePlane(tmp_path / "data", 1 << 22) as plane:
        yield plane


@pytest.mark.parametrize("has_failed", [False, True])
def test_all_others_are_told(plane: DurablePlane, has_failed: bool) -> None:
    journal, told = plane.journal, list[bool]()
    if has_failed:
        journal.thread._inject("sync", 0, errno.EIO)
    client = plane.client(1)
    for callback in (fails, told.append, fails, told.append):
        journal.when_committed(journal.submitted + 1, callback)
    client.send(1, "queue.declare", queue="q", durable=True)
    journal.thread.wait(journal.submitted)
    with pytest.raises(Mistake):
        plane.progress()
    assert told == [has_failed] * 2


def test_the_client_is_told(monkeypatch: pytest.MonkeyPatch, plane: DurablePlane) -> None:
    monkeypatch.setattr(Session, "_close_channel", fails)
    client = plane.client(1)
    client.send(1, "queue.declare", queue="q", durable=True)
    client.send(1, "queue.declare", queue="nowhere", passive=True)
    plane.settle()
    assert [(method.name, method.reply_code) for method in client.received()[1:]] == [("connection.close", 541)]
    client.send(0, "connection.close-ok")
    assert client.transport.closed
