"""Reading on behind messages whose segment is gone: they had expired in the journal, in front of others that live."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from flowmq._clock import stop_clock
from flowmq._order import deal_with_due, set_window
from flowmq._peer import flush
from tests.crash.power_cut import DurablePlane
from tests.unit.support_plane import Client

pytestmark = pytest.mark.flowmq_only
BEGIN_MS = 1_900_000_000_000
SEGMENT_BYTES = 16384
KEPT, EXPIRING = 5, 20
SPARES_MAX = 4
LOOKS = 500  # more than it takes until the journal is taken to be at rest


@pytest.fixture
def plane(tmp_path: Path) -> Iterator[DurablePlane]:
    before = set_window(1, 1, 1)
    stop_clock(BEGIN_MS)
    with DurablePlane(tmp_path / "data", SEGMENT_BYTES) as made:
        yield made
    stop_clock(0)
    set_window(*before)


def drain(plane: DurablePlane, client: Client) -> list[bytes]:
    client.send(1, "basic.consume", queue="q", consumer_tag="c", no_ack=True)
    bodies: list[bytes] = []
    for _ in range(KEPT):
        bodies += [method.body for method in client.received() if method.name == "basic.deliver"]
        plane.settle()
    return bodies


def purge(plane: DurablePlane, client: Client) -> list[bytes]:
    client.send(1, "queue.purge", queue="q")
    plane.settle()
    assert [method.message_count for method in client.received()] == [KEPT]
    return []


@pytest.mark.parametrize("way", [drain, purge])
def test_what_comes_behind_is_found(plane: DurablePlane, way: Callable[[DurablePlane, Client], list[bytes]]) -> None:
    client = plane.client(1)
    for queue in ("q", "busy"):
        client.send(1, "queue.declare", queue=queue, durable=True)
    plane.settle()
    client.take()
    for body in (b"0", b"1"):
        client.publish(1, "q", body, delivery_mode=2)
    for _ in range(EXPIRING):
        client.publish(1, "q", b"e" * 900, delivery_mode=2, expiration="10")  # until the first segment is full
    for body in (b"2", b"3", b"4"):
        client.publish(1, "q", body, delivery_mode=2)
    plane.settle()
    stop_clock(BEGIN_MS + 10)
    while deal_with_due(1000) == 0:
        flush()
    flush()
    plane.settle()
    assert plane.queue("q").message_count == KEPT
    # Others come and go until the first segment is compacted and freed.
    client.send(1, "basic.consume", queue="busy", consumer_tag="busy", no_ack=True)
    first = min(plane.journal.segments)
    while first in plane.journal.segments:
        for _ in range(20):
            client.publish(1, "busy", b"x" * 500, delivery_mode=2)
        plane.settle()
        plane.node._maintain()
        client.take()
    assert way(plane, client) == [b"0", b"1", b"2", b"3", b"4"][: KEPT if way is drain else 0]


def come_and_go(plane: DurablePlane, client: Client, octets: int) -> None:
    for _ in range(octets // 500):
        client.publish(1, "busy", b"x" * 500, delivery_mode=2)
    plane.settle()
    client.take()


def test_files_are_kept_while_segments_come_and_go_and_deleted_at_rest(plane: DurablePlane) -> None:
    client = plane.client(1)
    client.send(1, "queue.declare", queue="busy", durable=True)
    client.send(1, "basic.consume", queue="busy", consumer_tag="busy", no_ack=True)
    come_and_go(plane, client, 20 * SEGMENT_BYTES)
    while plane.store.compaction.maintain():
        plane.settle()
    files = {Path(path).name for path, _ in plane.journal.spares}
    assert len(files) == SPARES_MAX
    assert len(plane.journal.segments) == 1
    made = {path.name for path in Path(plane.journal.directory).iterdir()}
    come_and_go(plane, client, 2 * SEGMENT_BYTES)
    assert len({path.name for path in Path(plane.journal.directory).iterdir()}) == len(made), "a spare file is not used"
    for _ in range(LOOKS):
        plane.store.compaction.maintain()
        plane.settle()
    assert len(plane.journal.spares) == 1
    left = sorted(path.name for path in Path(plane.journal.directory).iterdir())
    assert len(left) == 2, left
