"""A kill between making the file of a segment and writing its first octets: nothing is lost, and the broker starts.

One turn may need more than one new segment, so several such files may stand at the end of the journal. And a power cut
may undo that a spare file became a segment, but not what was written to it then.
"""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.broker import Broker
from tests.support.wire import connect

pytestmark = [pytest.mark.flowmq_only, pytest.mark.slow]
SEGMENT_BYTES = 1 << 16
ENVIRONMENT = {"FLOWMQ_STORAGE__SEGMENT_BYTES": str(SEGMENT_BYTES)}
BODY = b"x" * 1000


def last_number(journal: Path) -> int:
    return max(int(path.stem, 16) for path in journal.glob("*.segment") if not path.name.startswith("spare"))


@pytest.mark.parametrize("size", [0, SEGMENT_BYTES], ids=["empty", "allocated"])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_unbegun_segments_at_the_end(own_broker: Callable[..., Broker], count: int, size: int) -> None:
    broker = own_broker(**ENVIRONMENT)
    bodies = [b"%d " % number + BODY for number in range(200)]
    with connect(broker.peer) as client:
        client.channel().queue("q", durable=True)
        client.channel().put("q", *bodies, properties={"delivery_mode": 2})
    broker.kill()
    journal = broker.data_dir / "journal"
    last = last_number(journal)
    for number in range(last + 1, last + 1 + count):
        (journal / f"{number:016x}.segment").write_bytes(bytes(size))
    for expected in (bodies, []):  # the second time they are out of the way for good
        broker = broker.again()
        try:
            with connect(broker.peer) as client:
                assert client.channel().drain("q") == expected
            broker.stop()
        finally:
            broker.kill()


def test_a_spare_file_that_was_the_last_segment_already_is_not_used_again(own_broker: Callable[..., Broker]) -> None:
    broker = own_broker(**ENVIRONMENT)
    broker.kill()
    journal = broker.data_dir / "journal"
    last = last_number(journal)
    segment, spare = journal / f"{last + 1:016x}.segment", journal / f"spare-{last - 1:x}.segment"
    broker = broker.again()
    with connect(broker.peer) as client:
        client.channel().queue("q", durable=True)
    broker.kill()
    assert last_number(journal) == last + 1
    segment.rename(spare)
    with spare.open("rb") as file:  # open, so that no other file can be taken for it
        broker = broker.again()
        try:
            kept = {path.stat().st_ino for path in journal.iterdir()}
            assert os.fstat(file.fileno()).st_ino not in kept
            broker.stop()
        finally:
            broker.kill()
