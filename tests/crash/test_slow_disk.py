"""A disk that is far behind: thousands of small batches wait for it, cost what they hold, and nothing afterwards."""

import ctypes
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.crash.power_cut import DurablePlane
from tests.unit.support_plane import publish_frames

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
