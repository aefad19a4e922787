"""A disk that is far behind: thousands of small batches wait for it, cost what they hold, and nothing afterwards."""

import ctypes
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.crash.power_cut import DurablePlane
from tests.support import codec
from tests.unit.support_plane import Client, publish_frames

pytestmark = pytest.mark.flowmq_only
BATCHES = 2000
BATCH_BYTES_USUAL = 65536


class Mallinfo(ctypes.Structure):
    """struct mallinfo2 of the GNU C library: octets allocated within its heap, and in mappings of their own."""

    _fields_ = [
        *((name, ctypes.c_size_t) for name in ("arena", "ordblks", "smblks", "hblks", "hblkhd")),
        *((name, ctypes.c_size_t) for name in ("usmblks", "fsmblks", "uordblks", "fordblks", "keepcost")),
    ]


def allocated() -> int:
    found = LIBRARY.mallinfo2()
    return int(found.uordblks + found.hblkhd)


LIBRARY = ctypes.CDLL(None)
if not hasattr(LIBRARY, "mallinfo2"):
    pytest.skip("this C library does not tell what is allocated", allow_module_level=True)
LIBRARY.mallinfo2.restype = Mallinfo


@pytest.fixture
def plane(tmp_path: Path) -> Iterator[DurablePlane]:
    with DurablePlane(tmp_path / "data", 1 << 22) as plane:
        yield plane


def test_small_batches_that_wait_are_small_and_are_given_back(plane: DurablePlane) -> None:
    client = plane.client(1)
    client.send(1, "queue.declare", queue="q", durable=True)
    client.send(1, "confirm.select")
    plane.settle()
    client.take()
    before = allocated()
    plane.journal.thread._hold(True)
    for _ in range(BATCHES):
        client.feed(publish_frames(1, "q", b"x", {"delivery_mode": 2}))
    waiting = allocated() - before
    plane.journal.thread._hold(False)
    plane.settle()
    client.send(1, "queue.purge", queue="q")
    plane.settle()
    assert plane.journal.submitted > BATCHES
    assert waiting < BATCHES * BATCH_BYTES_USUAL // 10
    assert allocated() - before < 100 * BATCH_BYTES_USUAL


MIB = 1 << 20
BODY = bytes(128 * 1024)
BEHIND_OCTETS, SHARE_OCTETS, FAR_BEHIND_OCTETS = 32 * MIB, MIB, 64 * MIB


def publish(client: Client, octets: int) -> None:
    """So much, or less when it is not read any more."""
    for _ in range(octets // len(BODY)):
        if not client.connection.is_reading:
            return
        client.feed(publish_frames(1, "q", BODY, {"delivery_mode": 2}))


def test_who_is_told_that_its_connection_closes_is_read(plane: DurablePlane) -> None:
    flooder = plane.client(1)
    flooder.send(1, "queue.declare", queue="q", durable=True)
    plane.settle()
    plane.journal.thread._hold(True)
    publish(flooder, BEHIND_OCTETS + MIB)
    assert flooder.connection.is_reading
    flooder.take()
    large = publish_frames(1, "q", bytes(16 * 1024), {"delivery_mode": 2})
    while flooder.connection.is_reading and flooder.session.closing_because is None:
        flooder.read(large + codec.frame(codec.HEARTBEAT, 1, b""))
    assert flooder.session.closing_because is not None
    assert flooder.connection.is_reading
    flooder.send(0, "connection.close-ok")
    assert flooder.transport.closed
    plane.journal.thread._hold(False)
    plane.settle()


def test_who_floods_waits_and_neighbours_go_on(plane: DurablePlane) -> None:
    flooder, neighbour, latecomer = (plane.client(1) for _ in range(3))
    flooder.send(1, "queue.declare", queue="q", durable=True)
    for _ in range(2):  # as ever when the disk has caught up
        plane.settle()
        assert all(client.connection.is_reading for client in (flooder, neighbour, latecomer))
        plane.journal.thread._hold(True)
        publish(flooder, BEHIND_OCTETS - MIB)
        publish(neighbour, SHARE_OCTETS)
        assert flooder.connection.is_reading, "the disk is not behind yet"
        publish(flooder, 8 * MIB)
        assert not flooder.connection.is_reading
        publish(neighbour, SHARE_OCTETS)
        assert neighbour.connection.is_reading, "what it sent before the disk fell behind does not count"
        publish(neighbour, SHARE_OCTETS)
        assert not neighbour.connection.is_reading
        for _ in range(100):
            publish(latecomer, SHARE_OCTETS // 2)
            if not latecomer.connection.is_reading:
                break
            latecomer = plane.client(1)
        else:
            raise AssertionError("what waits for the disk has no bound")
        plane.journal.thread._hold(False)
        latecomer = plane.client(1)
    plane.settle()


def test_nobody_looks_while_the_disk_is_awaited(plane: DurablePlane) -> None:
    """Its thread may have no other core."""
    client = plane.client(1)
    client.send(1, "queue.declare", queue="q", durable=True)
    plane.settle()
    assert plane.node.sockets.look(1)
    plane.journal.thread._hold(True)
    client.publish(1, "q", b"x", delivery_mode=2)
    assert not plane.node.sockets.look(1)
    plane.journal.thread._hold(False)
    plane.settle()
    assert plane.node.sockets.look(1)
