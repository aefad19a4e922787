"""Deliveries to many connections are gathered over some turns, and written when nothing more is to be read.

A turn of the event loop is what `plane.loop.run` does; reads before it are of one turn.
"""

from pathlib import Path

import pytest

from flowmq._peer import disk_progressed
from tests.crash.power_cut import DurablePlane
from tests.unit.support_plane import Client, Plane, confirmed, decode, publish_frames

FEW = 4  # connections for which nothing is gathered
MANY = 10
SEGMENT_BYTES = 1 << 20
ENOUGH = 16384  # octets that need not wait for more


def consumers(plane: Plane, count: int, *, durable: bool = False) -> list[Client]:
    """A connection for each of as many queues."""
    clients = [plane.client(1) for _ in range(count)]
    for at, client in enumerate(clients):
        client.send(1, "queue.declare", queue=f"q{at}", durable=durable)
        if isinstance(plane, DurablePlane):
            plane.settle()
        assert [method.name for method in client.received()] == ["queue.declare-ok"]
        client.call(1, "basic.consume", queue=f"q{at}", consumer_tag="c", no_ack=True)
    return clients


def to_each(count: int, body: bytes = b"body") -> bytes:
    return b"".join(publish_frames(1, f"q{at}", body) for at in range(count))


def written(clients: list[Client]) -> list[int]:
    return [len(client.transport.writes) for client in clients]


def delivered(client: Client) -> list[bytes]:
    return [method.body for method in decode(client.take()) if method.name == "basic.deliver"]


def test_nobody_waits_where_there_is_little_to_do() -> None:
    with Plane() as plane:
        publisher, few = plane.client(1), consumers(plane, FEW)
        publisher.read(to_each(FEW))
        assert written(few) == [1] * FEW


def test_many_small_deliveries_of_several_reads_are_one_write_each() -> None:
    with Plane() as plane:
        publisher, many = plane.client(1), consumers(plane, MANY)
        for number in range(3):
            publisher.read(to_each(MANY, b"%d" % number))
        assert written(many) == [0] * MANY
        plane.loop.run()
        assert written(many) == [1] * MANY
        assert [delivered(client) for client in many] == [[b"0", b"1", b"2"]] * MANY


def test_what_is_large_enough_does_not_wait() -> None:
    with Plane() as plane:
        publisher, many = plane.client(1), consumers(plane, MANY)
        publisher.read(to_each(MANY) + publish_frames(1, "q3", b"x" * ENOUGH))
        assert written(many) == [0, 0, 0, 1, 0, 0, 0, 0, 0, 0]
        publisher.read(to_each(MANY))
        plane.loop.run()
        assert [len(delivered(client)) for client in many] == [2, 2, 2, 3, 2, 2, 2, 2, 2, 2]


def test_an_answer_does_not_wait_and_takes_along_what_was_gathered_before_it() -> None:
    with Plane() as plane:
        publisher, many = plane.client(1), consumers(plane, MANY)
        publisher.read(to_each(MANY))
        many[0].send(1, "basic.qos", prefetch_count=1)
        assert [method.name for method in many[0].received()] == ["basic.deliver", "basic.qos-ok"]


def test_a_connection_that_ends_meanwhile_gets_nothing_and_the_others_all() -> None:
    with Plane() as plane:
        publisher, many = plane.client(1), consumers(plane, MANY)
        publisher.read(to_each(MANY))
        many[0].connection.connection_lost(None)
        plane.loop.run()
        assert written(many) == [0] + [1] * (MANY - 1)


def test_gathering_ends_though_there_is_always_more_to_read() -> None:
    with Plane() as plane:
        publisher, many = plane.client(1), consumers(plane, MANY)
        publisher.read(to_each(MANY))
        turns = 0
        while not many[1].transport.writes:
            # Small reads of others, for ever.
            publisher.read(publish_frames(1, "q0", b"more"))
            callback, arguments = plane.loop.soon.popleft()
            callback(*arguments)
            turns += 1
        plane.loop.run()
        assert len(delivered(many[0])) == 1 + turns
        assert [len(delivered(client)) for client in many[1:]] == [1] * (MANY - 1)


def fail(_: bytes) -> None:
    raise RuntimeError("ours")


def test_an_error_of_one_write_keeps_none_of_the_others_from_theirs() -> None:
    with Plane() as plane:
        publisher, few = plane.client(1), consumers(plane, FEW)
        few[1].transport.write = fail  # type: ignore[method-assign]
        with pytest.raises(RuntimeError, match="ours"):
            publisher.read(to_each(FEW))
        assert written(few) == [1, 0, 1, 1]


def test_nor_among_those_that_were_gathered() -> None:
    with Plane() as plane:
        publisher, many = plane.client(1), consumers(plane, MANY)
        many[1].transport.write = fail  # type: ignore[method-assign]
        publisher.read(to_each(MANY))
        with pytest.raises(RuntimeError, match="ours"):
            plane.loop.run()
        assert written(many) == [1, 0, 1, 1, 1, 1, 1, 1, 1, 1]


def persistent(count: int) -> bytes:
    return b"".join(publish_frames(1, f"q{at}", b"kept", {"delivery_mode": 2}) for at in range(count))


def test_confirms_of_many_connections_wait_as_long_as_deliveries_do(tmp_path: Path) -> None:
    with DurablePlane(tmp_path, SEGMENT_BYTES) as plane:
        publishers = [plane.client(1) for _ in range(MANY)]
        for at, publisher in enumerate(publishers):
            publisher.send(1, "queue.declare", queue=f"q{at}", durable=True)
            plane.settle()
            publisher.send(1, "confirm.select")
            publisher.take()
        for publisher in publishers:
            publisher.read(persistent(1))
        plane.journal.thread.wait(plane.journal.submitted)
        disk_progressed()
        assert written(publishers) == [0] * MANY
        plane.loop.run()
        assert written(publishers) == [1] * MANY
        assert [confirmed(decode(publisher.take())) for publisher in publishers] == [[1]] * MANY


def test_what_is_published_meanwhile_is_one_batch_of_the_journal(tmp_path: Path) -> None:
    with DurablePlane(tmp_path, SEGMENT_BYTES) as plane:
        publisher, many = plane.client(1), consumers(plane, MANY, durable=True)
        publisher.call(1, "confirm.select")
        plane.settle()
        before = plane.journal.submitted
        for _ in range(3):
            publisher.read(persistent(MANY))
        assert plane.journal.submitted == before
        plane.loop.run()
        assert plane.journal.submitted == before + 1
        assert [len(delivered(client)) for client in many] == [3] * MANY
        plane.settle()
        assert confirmed(decode(publisher.take())) == list(range(1, 3 * MANY + 1))


def test_who_publishes_alone_waits_for_nobody(tmp_path: Path) -> None:
    with DurablePlane(tmp_path, SEGMENT_BYTES) as plane:
        publisher = plane.client(1)
        publisher.send(1, "queue.declare", queue="q0", durable=True)
        plane.settle()
        publisher.send(1, "confirm.select")
        publisher.take()
        before = plane.journal.submitted
        publisher.read(persistent(1))
        assert plane.journal.submitted == before + 1
        plane.journal.thread.wait(plane.journal.submitted)
        disk_progressed()
        assert confirmed(decode(publisher.take())) == [1]
