"""A disk that fails once, at a write or a sync of the commit thread's: what clients see, and what is on disk then.

Through the front door and without a process: test_full_disk.py has the broker's log and its exit code.
"""

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

import flowmq._journal
from flowmq._replay import Replay
from flowmq.storage.layout import DataDir
from tests.crash.power_cut import DurablePlane
from tests.unit.support_plane import Client, publish_frames

pytestmark = pytest.mark.flowmq_only
SEGMENT_BYTES = 1 << 16
PERSISTENT = {"delivery_mode": 2}
FAILURES = [("write", errno.EIO), ("sync", errno.EIO), ("write", errno.ENOSPC), ("sync", errno.ENOSPC)]
SAFE, UNSAFE = b"safe", b"unsafe"
CLOSE_TEXT = "the broker's disk failed"


@pytest.fixture
def plane(tmp_path: Path) -> Iterator[DurablePlane]:
    # With a trace every write is the thread's: it is the thread's calls that are made to fail.
    with DurablePlane(
        tmp_path / "data", SEGMENT_BYTES, lambda store: store.journal.thread.record_to(tmp_path / "trace")
    ) as plane:
        yield plane


def define(plane: DurablePlane, client: Client, name: str, **fields: object) -> None:
    client.send(1, name, **fields)
    plane.settle()
    assert [method.name for method in client.received()] == [f"{name}-ok"]


def publisher(plane: DurablePlane, queue: str = "q") -> Client:
    client = plane.client(1)
    define(plane, client, "queue.declare", queue=queue, durable=True)
    client.call(1, "confirm.select")
    return client


def publish(client: Client, body: bytes, count: int = 1, queue: str = "q") -> None:
    client.feed(publish_frames(1, queue, body, PERSISTENT) * count)


def break_disk(plane: DurablePlane, kind: str, error: int) -> None:
    """Its next call fails, and only that one."""
    plane.settle()
    plane.journal.thread._inject(kind, 0, error)


def publish_to_broken_disk(plane: DurablePlane, client: Client, kind: str, error: int) -> None:
    break_disk(plane, kind, error)
    publish(client, UNSAFE)
    plane.settle()
    assert plane.journal.error == error


def told(client: Client) -> list[tuple[str, int, bool]]:
    return [(method.name, method.delivery_tag, method.multiple) for method in client.received()]


def journal_octets(plane: DurablePlane) -> dict[str, bytes]:
    return {file.path.name: file.path.read_bytes() for file in plane.store.data_dir.segments()}


def bodies_on_disk(path: Path) -> list[bytes]:
    """Of the one queue, as a start would read them back: a body is the end of its record."""
    data_dir = DataDir.open(path)
    replay = Replay()
    replay.read([(file.number, str(file.path)) for file in data_dir.segments()])
    (queue_id,) = replay.queues()
    bodies = []
    for message in replay.messages(queue_id):
        octets = data_dir.segment_path(message.segment).read_bytes()
        end = message.message_offset + message.record_octets
        bodies.append(octets[end - message.body_bytes : end])
    return bodies


@pytest.mark.parametrize(("kind", "error"), FAILURES)
def test_what_is_not_on_disk_is_refused(plane: DurablePlane, kind: str, error: int) -> None:
    client = publisher(plane)
    publish(client, SAFE, 3)
    plane.settle()
    assert told(client) == [("basic.ack", 3, True)]
    break_disk(plane, kind, error)
    publish(client, UNSAFE, 2)
    publish(client, UNSAFE)
    plane.settle()
    answers = told(client)
    assert {name for name, *_ in answers} == {"basic.nack"}, answers
    assert answers[-1][1] == 6
    publish(client, UNSAFE)
    assert told(client) == [("basic.nack", 7, False)], "the disk works again, but nobody knows what is on it"
    assert plane.journal.error == error


@pytest.mark.parametrize(("kind", "error"), FAILURES)
def test_nothing_is_written_after_a_failure(plane: DurablePlane, tmp_path: Path, kind: str, error: int) -> None:
    client = publisher(plane)
    publish_to_broken_disk(plane, client, kind, error)
    octets, traced = journal_octets(plane), (tmp_path / "trace").stat().st_size
    publish(client, UNSAFE, 100)
    consume(client)
    client.send(1, "basic.ack", delivery_tag=0, multiple=True)
    for _ in range(10):
        plane.node._maintain()
    assert plane.end() is False, "the process would end with 0"
    assert journal_octets(plane) == octets
    assert (tmp_path / "trace").stat().st_size == traced


def consume(client: Client, queue: str = "q") -> list[bytes]:
    client.send(1, "basic.consume", queue=queue, consumer_tag="c")
    return [method.body for method in client.received() if method.name == "basic.deliver"]


DURABLE = [
    ("queue.declare", {"queue": "new", "durable": True}),
    ("exchange.declare", {"exchange": "new", "type": "direct", "durable": True}),
    ("queue.bind", {"queue": "q", "exchange": "amq.direct", "routing_key": "k"}),
    ("queue.purge", {"queue": "q"}),
    ("queue.delete", {"queue": "q"}),
    ("tx.commit", {}),
]


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize(("kind", "error"), FAILURES[:2])
@pytest.mark.parametrize(("name", "fields"), DURABLE)
def test_durable_changes_end_in_a_close_that_says_why(
    plane: DurablePlane, name: str, fields: dict[str, object], kind: str, error: int, late: bool
) -> None:
    """Both the one that meets the failure and one that comes after it."""
    client = publisher(plane)
    publish(client, SAFE)
    plane.settle()
    other = plane.client(1)
    if name == "tx.commit":
        other.call(1, "tx.select")
        publish(other, UNSAFE)
    if late:
        publish_to_broken_disk(plane, client, kind, error)
    else:
        break_disk(plane, kind, error)
    other.send(1, name, **fields)
    plane.settle()
    plane.progress()
    (close,) = other.received()
    assert (close.name, close.reply_code) == ("connection.close", 506), str(close)
    assert CLOSE_TEXT in close.reply_text


@pytest.mark.parametrize(("kind", "error"), FAILURES)
def test_what_needs_no_disk_goes_on(plane: DurablePlane, kind: str, error: int) -> None:
    client = publisher(plane)
    publish(client, SAFE, 3)
    plane.settle()
    publish_to_broken_disk(plane, client, kind, error)
    client.take()
    other = plane.client(1)
    assert consume(other)[:3] == [SAFE] * 3
    other.send(1, "basic.ack", delivery_tag=3, multiple=True)
    other.call(1, "queue.declare", queue="memory", exclusive=True)
    other.call(1, "confirm.select")
    other.feed(publish_frames(1, "memory", b"transient") + publish_frames(1, "q", b"transient"))
    names = sorted(method.name for method in other.received())
    assert names == ["basic.ack", "basic.deliver"], names
    assert other.call(1, "queue.declare", queue="memory", exclusive=True).message_count == 1


@pytest.mark.parametrize(("kind", "error"), FAILURES)
def test_what_was_confirmed_is_there_afterwards(plane: DurablePlane, tmp_path: Path, kind: str, error: int) -> None:
    client = publisher(plane)
    publish(client, SAFE, 5)
    plane.settle()
    assert told(client) == [("basic.ack", 5, True)]
    publish_to_broken_disk(plane, client, kind, error)
    assert plane.end() is False
    bodies = bodies_on_disk(tmp_path / "data")
    assert bodies[:5] == [SAFE] * 5
    assert set(bodies[5:]) <= {UNSAFE}, "what was refused may be there, but nothing else"


class FullDisk:
    """`os` for the journal: no room for another segment."""

    def __getattr__(self, name: str) -> object:
        return getattr(os, name)

    def posix_fallocate(self, *_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_no_room_for_another_segment(plane: DurablePlane, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    client = publisher(plane)
    monkeypatch.setattr(flowmq._journal, "os", FullDisk())
    confirmed = 0
    for number in range(100):
        publish(client, b"%d " % number + bytes(2_000))
        plane.settle()
        ((name, tag, multiple),) = told(client)
        assert (tag, multiple) == (number + 1, False)
        if name == "basic.nack":
            break
        confirmed = tag
    assert 0 < confirmed < 99
    assert plane.journal.error == errno.ENOSPC
    monkeypatch.undo()
    assert plane.end() is False
    numbers = [int(body.partition(b" ")[0]) for body in bodies_on_disk(tmp_path / "data")]
    assert numbers[:confirmed] == list(range(confirmed))
