"""A duplicate may be the second try of a publisher who never heard of the first: its confirm promises as much."""

from pathlib import Path

import pytest

from tests.crash.power_cut import DurablePlane
from tests.unit.support_plane import confirmed, publish_frames

SEGMENT_BYTES = 1 << 20
PROPERTIES = {"delivery_mode": 2, "headers": {"x-deduplication-header": "a"}}


@pytest.mark.parametrize("of", ["queue", "exchange"])
def test_a_duplicate_is_confirmed_when_the_first_one_is_on_disk(tmp_path: Path, of: str) -> None:
    arguments = {"x-message-deduplication": True}
    with DurablePlane(tmp_path, SEGMENT_BYTES) as plane:
        client = plane.client(1)
        client.send(
            1,
            "exchange.declare",
            exchange="x",
            type="fanout",
            durable=True,
            arguments=arguments if of == "exchange" else {},
        )
        client.send(1, "queue.declare", queue="q", durable=True, arguments=arguments if of == "queue" else {})
        client.send(1, "queue.bind", queue="q", exchange="x")
        client.send(1, "confirm.select")
        for _ in range(4):
            plane.settle()
        client.received()
        plane.journal.thread._hold(True)
        client.feed(publish_frames(1, "", b"first", PROPERTIES, exchange="x"))
        client.feed(publish_frames(1, "", b"again", PROPERTIES, exchange="x"))
        plane.progress()
        assert client.received() == []
        plane.journal.thread._hold(False)
        plane.settle()
        assert confirmed(client.received()) == [1, 2]
        assert plane.queue("q").message_count == 1
