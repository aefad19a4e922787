"""A transaction is there whole or not at all, whatever a power cut or a kill has left of it: it is one batch.

Transactions larger than a segment, and small ones wherever a segment ends: publishes to two queues at once, and
acknowledgements in a third one. The disk is cut at every change around each of them, with each kind of loss.
"""

import shutil
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

import flowmq._compaction
import flowmq._journal
import flowmq.storage.store
from flowmq.storage.store import Store
from tests.crash.power_cut import Disk, DurablePlane, Event, Recorder, Trace, in_order, states
from tests.crash.test_power_cut import SEGMENT_BYTES, memory_directory, rebuild
from tests.support import codec
from tests.unit.support_plane import Client, publish_frames

pytestmark = [pytest.mark.flowmq_only, pytest.mark.slow, pytest.mark.timeout(240)]
QUEUES = ("a", "b")
# Of each transaction: publishes, octets of a body, acknowledgements.
TRANSACTIONS = [(300, 1000, 30), *[(3, 3000, 2)] * 20, (1000, 10, 30)]


class Life:
    """A broker with these transactions, recorded."""

    def __init__(self, path: Path) -> None:
        self.path, self.directory = path, path / "journal"
        trace_path = path.with_suffix(".trace")
        self.recorder, self.trace = Recorder(self.directory, trace_path), Trace(trace_path)
        self.first: dict[str, tuple[int, bytes]] = {}
        self.told = list[int]()  # of each transaction, where in the order of events its answer came
        with pytest.MonkeyPatch.context() as patch:
            for module in (flowmq._journal, flowmq._compaction, flowmq.storage.store):
                patch.setattr(module, "os", self.recorder)
            with DurablePlane(path, SEGMENT_BYTES, self._prepare) as plane:
                self.directory_inode = self.directory.stat().st_ino
                client = self._begin(plane)
                for number, (publishes, octets, acks) in enumerate(TRANSACTIONS):
                    self._commit(plane, client, number, publishes, octets, acks)
        self.trace.read()
        self.events = in_order(self.trace.events, self.recorder.events)

    def _prepare(self, store: Store) -> None:
        self.recorder.events.clear()
        files = (file for file in self.directory.iterdir() if file.is_file())
        self.first = {file.name: (file.stat().st_ino, file.read_bytes()) for file in files}
        store.journal.thread.record_to(self.recorder.trace)

    def _begin(self, plane: DurablePlane) -> Client:
        client = plane.client(1)
        client.send(1, "exchange.declare", exchange="both", type="fanout", durable=True)
        plane.settle()
        for name in (*QUEUES, "old"):
            client.send(1, "queue.declare", queue=name, durable=True)
            plane.settle()
        for name in QUEUES:
            client.send(1, "queue.bind", queue=name, exchange="both", routing_key="")
            plane.settle()
        for number, (_, _, acks) in enumerate(TRANSACTIONS):
            for _ in range(acks):
                client.publish(1, "old", b"%d" % number, delivery_mode=2)
        client.send(1, "tx.select")
        for _ in range(sum(acks for _, _, acks in TRANSACTIONS)):
            client.send(1, "basic.get", queue="old")
        plane.settle()
        client.received()
        self.begun = self.recorder.now()
        return client

    def _commit(self, plane: DurablePlane, client: Client, number: int, publishes: int, octets: int, acks: int) -> None:
        for _ in range(publishes):
            body = b"%d:" % number + bytes(octets)
            client.feed(publish_frames(1, "", body, {"delivery_mode": 2}, exchange="both"))
        settled = sum(acks for _, _, acks in TRANSACTIONS[: number + 1])
        client.send(1, "basic.ack", delivery_tag=settled, multiple=True)
        client.feed(codec.method_frame(1, "tx.commit"))
        plane.settle()
        assert [method.name for method in client.received()] == ["tx.commit-ok"]
        self.told.append(self.recorder.now())


def counts(plane: DurablePlane, name: str) -> list[int]:
    """How many messages of each transaction that queue has."""
    found = [0] * len(TRANSACTIONS)
    for message in plane.queue(name).browse(0, 100_000):
        found[int(message[6].split(b":")[0])] += 1
    return found


def judge(path: Path, told: int) -> None:
    """`told`: so many of the transactions were answered."""
    with DurablePlane(path, SEGMENT_BYTES) as plane:
        there = counts(plane, "a")
        assert counts(plane, "b") == there
        old = counts(plane, "old")
    is_whole = [found == publishes for found, (publishes, _, _) in zip(there, TRANSACTIONS, strict=True)]
    assert there == [whole * publishes for whole, (publishes, _, _) in zip(is_whole, TRANSACTIONS, strict=True)]
    assert old == [(not whole) * acks for whole, (_, _, acks) in zip(is_whole, TRANSACTIONS, strict=True)]
    assert is_whole == sorted(is_whole, reverse=True), "one is there without those before it"
    assert all(is_whole[:told]), "one that was answered is gone"


def cuts(life: Life) -> Iterator[tuple[int, Event]]:
    for at, event in enumerate(life.events, 1):
        if event.at >= life.begun:
            yield at, event


def test_a_transaction_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    directory, random = memory_directory(tmp_path), Random(1)
    rebuild(directory / "life", {})
    life = Life(directory / "life")
    segments = {event.inode for event in life.events if event.kind == "create"}
    assert len(segments) > 5, "no transaction has met the end of a segment"
    disk, played, judged = Disk(life.first, life.directory_inode), 0, 0
    for cut, event in cuts(life):
        for each in life.events[played:cut]:
            disk.play(each)
        played = cut
        told = sum(moment <= event.at for moment in life.told)
        for state in states(disk, random):
            shutil.rmtree(directory / "cut", ignore_errors=True)
            rebuild(directory / "cut", state.contents)
            try:
                judge(directory / "cut", told)
            except Exception as error:
                raise AssertionError(f"cut {cut}, {state.what}, {told} answered: {error}") from error
            judged += 1
    assert judged > 300
    shutil.rmtree(directory)
