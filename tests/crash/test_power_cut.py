"""Power cuts: from every state that one could leave on the disk the broker starts, and what was promised is there.

A life is a broker in this process that does a bit of everything, with small segments; what it did to the disk and what
its clients were told stand in one order. It is cut at every sync and between; each cut is rebuilt with every kind of
loss and given to a new broker. The next life begins with what one of the cuts has left.

`python -m tests.crash.test_power_cut --lives 100 --seed 1 --cuts 200` does more of it.
"""

import argparse
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import pytest

import flowmq._compaction
import flowmq._journal
import flowmq.storage.store
from flowmq.storage.layout import DataDir
from flowmq.storage.store import Store
from tests.crash.power_cut import Disk, DurablePlane, Recorder, State, Trace, in_order, states
from tests.support.codec import Method
from tests.unit.support_plane import Client, publish_frames

pytestmark = [pytest.mark.flowmq_only, pytest.mark.slow]
SEGMENT_BYTES = 1 << 14
NEVER = 1 << 62
NAMES = [f"q{number}" for number in range(5)]
FANOUT = "fan"
SIZES = (0, 20, 300, 300, 300, 2_000, 6_000)
PREFETCH = 15
STEPS, CUTS, LIVES, SEED = 150, 25, 6, 1  # STEPS in a life; the short form


@dataclass(eq=False)
class Thing:
    """A queue, an exchange or a binding from its declaration to its end. Moments are offsets in the trace."""

    kind: str
    name: str
    asked: int = NEVER
    told: int = NEVER
    end_asked: int = NEVER
    end_told: int = NEVER

    def must_be(self, now: int) -> bool:
        return self.told <= now < self.end_asked

    def may_be(self, now: int) -> bool:
        return self.asked <= now < self.end_told


@dataclass(eq=False)
class Copy:
    """A message in a queue."""

    queue: Thing
    settled: int = NEVER  # asked for
    final: int = NEVER  # told so, by an answer that waits for the disk


@dataclass(eq=False)
class Published:
    number: int
    persistent: bool
    copies: list[Copy]
    asked: int
    told: int = NEVER

    def body(self) -> bytes:
        return body_of(self.number)


def body_of(number: int) -> bytes:
    return b"%d|" % number + Random(number).randbytes(SIZES[number % len(SIZES)])


def number_in(body: bytes) -> int:
    number = int(body.partition(b"|")[0])
    assert body == body_of(number), f"message {number} came back changed"
    return number


@dataclass
class Found:
    """What a broker has after its start."""

    queues: dict[str, list[bytes]] = field(default_factory=dict)
    exchanges: set[str] = field(default_factory=set)
    bindings: set[str] = field(default_factory=set)  # queues bound to FANOUT

    def things(self) -> set[tuple[str, str]]:
        named = {"queue": self.queues, "exchange": self.exchanges, "binding": self.bindings}
        return {(kind, name) for kind, names in named.items() for name in names}


class Ledger:
    """What clients asked for and were told, and whether what is found is one of the outcomes that this allows."""

    def __init__(self, found: Found | None = None) -> None:
        """What was found after a cut is on the disk: as good as told."""
        found = found or Found()
        self.things = [Thing(kind, name, 0, 0) for kind, name in sorted(found.things())]
        self.messages: dict[int, Published] = {}
        for name, bodies in found.queues.items():
            for number in map(number_in, bodies):
                message = self.messages.setdefault(number, Published(number, True, [], 0, 0))
                message.copies.append(Copy(self.current("queue", name)))  # type: ignore[arg-type]

    def current(self, kind: str, name: str) -> Thing | None:
        """The one that was declared and whose end nobody has asked for."""
        there = [thing for thing in self.things if (thing.kind, thing.name) == (kind, name)]
        return there[-1] if there and there[-1].end_asked == NEVER else None

    def check(self, found: Found, now: int) -> None:
        for kind, name in found.things():
            may_be = any(thing.may_be(now) for thing in self.things if (thing.kind, thing.name) == (kind, name))
            assert may_be, f"{kind} {name} should not be there"
        for thing in self.things:
            assert not thing.must_be(now) or (thing.kind, thing.name) in found.things(), f"{thing} is lost"
        there = {name: [number_in(body) for body in bodies] for name, bodies in found.queues.items()}
        for name, numbers in there.items():
            self._check_queue(name, numbers, now)
        for message in self.messages.values():
            self._check_message(message, there, now)

    def _check_queue(self, name: str, numbers: list[int], now: int) -> None:
        assert numbers == sorted(set(numbers)), f"{name} has lost its order, or has something twice: {numbers}"
        owners = set()
        for number in numbers:
            message = self.messages[number]
            (copy,) = [copy for copy in message.copies if copy.queue.name == name]
            assert message.asked <= now, f"{number} comes from the future"
            assert message.persistent, f"{number} is transient and outlived its broker"
            assert copy.queue.may_be(now), f"{number} outlived its {copy.queue}"
            assert copy.final > now, f"{number} is in {name} again: {copy}"
            owners.add(id(copy.queue))
        assert len(owners) < 2, f"{name} has messages of two queues that had this name"

    def _check_message(self, message: Published, there: dict[str, list[int]], now: int) -> None:
        if message.told > now or not message.persistent:
            return
        for copy in message.copies:
            if copy.settled > now and copy.queue.end_asked > now:
                assert message.number in there.get(copy.queue.name, ()), f"{message.number} is lost: {message}"


class Workload:
    """The clients of one life: publishers with confirms and with transactions, a consumer, and one that defines."""

    def __init__(self, plane: DurablePlane, ledger: Ledger, now: Callable[[], int], random: Random) -> None:
        self.plane, self.ledger, self.now, self.random = plane, ledger, now, random
        self.next_number = max([0, *ledger.messages]) + 1
        self.publisher, self.transactor, self.consumer, self.definer = (plane.client(1) for _ in range(4))
        self.published_count = 0
        self.unconfirmed: dict[int, Published] = {}
        self.in_hand: dict[int, Copy] = {}
        self.asked: dict[Client, tuple[str, Callable[[int], None]]] = {}  # one call at a time that waits for the disk
        self.publisher.call(1, "confirm.select")
        self.transactor.call(1, "tx.select")
        self.consumer.call(1, "basic.qos", prefetch_count=PREFETCH)
        self.steps = (
            [self.publish] * 5
            + [self.acknowledge] * 5
            + [self.transact, self.declare, self.declare, self.declare]
            + [self.delete, self.bind, self.consume, self.consume, self.requeue, self.purge, self.synchronise]
        )

    def step(self) -> None:
        self.random.choice(self.steps)()

    # ---------------------------------------------------------------------------------------------- what is asked for

    def _ask(self, client: Client, name: str, told: Callable[[int], None], **fields: Any) -> None:
        self.asked[client] = (name + "-ok", told)
        client.send(1, name, **fields)

    def _begin(self, kind: str, name: str) -> Callable[[int], None]:
        thing = Thing(kind, name, self.now())
        self.ledger.things.append(thing)
        return lambda moment: setattr(thing, "told", moment)

    def _end(self, *things: Thing) -> Callable[[int], None]:
        for thing in things:
            thing.end_asked = self.now()

        def told(moment: int) -> None:
            for thing in things:
                thing.end_told = moment

        return told

    def declare(self) -> None:
        name = self.random.choice(NAMES)
        if self.definer in self.asked:
            return
        if self.ledger.current("exchange", FANOUT) is None:
            fields = {"exchange": FANOUT, "type": "fanout", "durable": True}
            self._ask(self.definer, "exchange.declare", self._begin("exchange", FANOUT), **fields)
        elif self.ledger.current("queue", name) is None:
            self._ask(self.definer, "queue.declare", self._begin("queue", name), queue=name, durable=True)

    def delete(self) -> None:
        queue = self.ledger.current("queue", self.random.choice(NAMES))
        if queue is None or self.definer in self.asked or self.random.random() < 0.5:
            return
        binding = self.ledger.current("binding", queue.name)
        told = self._end(queue, *([binding] if binding else []))
        self._ask(self.definer, "queue.delete", told, queue=queue.name)

    def bind(self) -> None:
        queue = self.ledger.current("queue", self.random.choice(NAMES))
        if queue is None or self.definer in self.asked or self.ledger.current("exchange", FANOUT) is None:
            return
        binding = self.ledger.current("binding", queue.name)
        fields = {"queue": queue.name, "exchange": FANOUT, "routing_key": ""}
        if binding is None:
            self._ask(self.definer, "queue.bind", self._begin("binding", queue.name), **fields)
        elif self.random.random() < 0.3:
            self._ask(self.definer, "queue.unbind", self._end(binding), **fields)

    def purge(self) -> None:
        queue = self.ledger.current("queue", self.random.choice(NAMES))
        if queue is None or self.definer in self.asked or self.random.random() < 0.6:
            return
        held = set(map(id, self.in_hand.values()))
        copies = [copy for message in self.ledger.messages.values() for copy in message.copies]
        mine = [copy for copy in copies if copy.queue is queue and copy.settled == NEVER and id(copy) not in held]
        self._ask(self.definer, "queue.purge", self._settle(mine), queue=queue.name)

    def synchronise(self) -> None:
        """An answer to the consumer that waits for the disk: all it has acknowledged is final then."""
        if self.consumer in self.asked:
            return
        copies = [copy for message in self.ledger.messages.values() for copy in message.copies]
        settled = [copy for copy in copies if copy.settled != NEVER and copy.final == NEVER]
        name, old = "sync", self.ledger.current("exchange", "sync")
        final = self._settle(settled)
        defined = self._begin("exchange", name) if old is None else self._end(old)

        def told(moment: int) -> None:
            final(moment)
            defined(moment)

        if old is None:
            self._ask(self.consumer, "exchange.declare", told, exchange=name, type="direct", durable=True)
        else:
            self._ask(self.consumer, "exchange.delete", told, exchange=name)

    def _settle(self, copies: list[Copy]) -> Callable[[int], None]:
        for copy in copies:
            copy.settled = min(copy.settled, self.now())

        def told(moment: int) -> None:
            for copy in copies:
                copy.final = min(copy.final, moment)

        return told

    def _message(self) -> tuple[Published, str, str]:
        """With the exchange and the routing key that bring it to its copies."""
        name = self.random.choice(NAMES)
        fanned = self.ledger.current("exchange", FANOUT) is not None and self.random.random() < 0.4
        names = [name for name in NAMES if self.ledger.current("binding", name)] if fanned else [name]
        queues = [queue for queue in (self.ledger.current("queue", name) for name in names) if queue]
        copies = [Copy(queue) for queue in queues]
        message = Published(self.next_number, self.random.random() < 0.9, copies, self.now())
        self.next_number += 1
        self.ledger.messages[message.number] = message
        return (message, FANOUT, "") if fanned else (message, "", name)

    def _publish(self, client: Client) -> Published:
        message, exchange, key = self._message()
        properties = {"delivery_mode": 2 if message.persistent else 1}
        client.feed(publish_frames(1, key, message.body(), properties, exchange=exchange))
        return message

    def publish(self) -> None:
        for _ in range(self.random.choice((1, 1, 3, 20))):
            self.published_count += 1
            self.unconfirmed[self.published_count] = self._publish(self.publisher)

    def transact(self) -> None:
        if self.transactor in self.asked:
            return
        messages = [self._publish(self.transactor) for _ in range(self.random.randint(1, 4))]

        def told(moment: int) -> None:
            for message in messages:
                message.told = moment

        self._ask(self.transactor, "tx.commit", told)

    def consume(self) -> None:
        """The first queues only: what the others have stays."""
        queue = self.ledger.current("queue", self.random.choice(NAMES[:4]))
        if queue is not None and self.consumer not in self.asked and self.plane.queue(queue.name).consumer_count == 0:
            self.consumer.send(1, "basic.consume", queue=queue.name, consumer_tag=queue.name)

    def acknowledge(self) -> None:
        tags = sorted(self.in_hand)
        if not tags or self.consumer in self.asked:
            return
        tag, multiple = self.random.choice(tags), self.random.random() < 0.5
        settled = [other for other in tags if other == tag or (multiple and other < tag)]
        self._settle([self.in_hand.pop(other) for other in settled])
        self.consumer.send(1, "basic.ack", delivery_tag=tag, multiple=multiple)

    def requeue(self) -> None:
        if self.in_hand and self.consumer not in self.asked:
            tag = self.random.choice(sorted(self.in_hand))
            del self.in_hand[tag]
            self.consumer.send(1, "basic.reject", delivery_tag=tag, requeue=True)

    # ------------------------------------------------------------------------------------------------- what is told

    def listen(self, moment: int) -> None:
        for client in (self.publisher, self.transactor, self.consumer, self.definer):
            for method in client.received():
                self._hear(client, method, moment)
            assert not client.unread, "a client is not read"

    def _hear(self, client: Client, method: Method, moment: int) -> None:
        if method.name == "basic.ack":
            tags = [tag for tag in self.unconfirmed if tag <= method.delivery_tag]
            for tag in tags if method.multiple else [method.delivery_tag]:
                self.unconfirmed.pop(tag).told = moment
        elif method.name == "basic.deliver":
            message = self.ledger.messages[number_in(method.body)]
            (copy,) = [copy for copy in message.copies if copy.queue.name == method.consumer_tag]
            self.in_hand[method.delivery_tag] = copy
        elif method.name not in ("basic.consume-ok", "basic.cancel"):
            assert client in self.asked, f"nobody asked for {method}"
            name, told = self.asked.pop(client)
            assert method.name == name, f"{method} for {name}"
            told(moment)


# --------------------------------------------------------------------------------------------- one life, and its cuts


class Life:
    """A broker from its start on `path` to its end, recorded."""

    ledger_type: type[Any] = Ledger
    workload_type: type[Any] = Workload

    def __init__(self, path: Path, found: Found | None, random: Random, steps: int) -> None:
        self.path, self.random = path, random
        self.ledger = self.ledger_type(found)
        self.directory = path / "journal"
        self.trace_path = path.with_suffix(".trace")
        self.recorder = Recorder(self.directory, self.trace_path)
        self.trace = Trace(self.trace_path)
        self.first: dict[str, tuple[int, bytes]] = {}
        self.compacted = 0
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(flowmq._journal, "os", self.recorder)
            patch.setattr(flowmq._compaction, "os", self.recorder)
            patch.setattr(flowmq.storage.store, "os", self.recorder)
            self._live(steps)
        self.trace.read()
        self.events = in_order(self.trace.events, self.recorder.events)

    def _prepare(self, store: Store) -> None:
        """Everything from here on is recorded; what opening the store did to the directory is in the beginning."""
        self.recorder.events.clear()
        self.first = {
            file.name: (file.stat().st_ino, file.read_bytes()) for file in self.directory.iterdir() if file.is_file()
        }
        store.journal.thread.record_to(self.trace_path)
        store.journal.thread._hold(True)

    def _live(self, steps: int) -> None:
        with DurablePlane(self.path, SEGMENT_BYTES, self._prepare) as plane:
            self.directory_inode = self.directory.stat().st_ino
            workload = self.workload_type(plane, self.ledger, self.recorder.now, self.random)
            for _ in range(steps):
                for _ in range(self.random.randint(1, 4)):
                    workload.step()
                    self._listen(plane, workload)
                self._reach_the_disk(plane, workload)
            plane.journal.thread._hold(False)
            plane.settle()
            self._listen(plane, workload)
            assert not workload.unconfirmed, "confirms are missing"
            assert not workload.asked, "answers are missing"
            self.compacted = plane.store.compaction.compacted_count

    def _listen(self, plane: DurablePlane, workload: Any) -> None:
        """What is told now follows from what was on disk when the broker heard of it last."""
        journal = plane.journal
        known = journal.committed if journal.committed in self.trace.done or self.trace_has(journal.committed) else 0
        workload.listen(self.trace.moment_of(known) if known else 0)

    def trace_has(self, number: int) -> bool:
        self.trace.read()
        return number in self.trace.done

    def _reach_the_disk(self, plane: DurablePlane, workload: Any) -> None:
        """The thread goes on for a while, or stays where it is; the names change now and then."""
        if self.random.random() < 0.6:
            plane.journal.thread._hold(False)
            if self.random.random() < 0.7:
                plane.journal.thread.wait(plane.journal.submitted)
            plane.journal.thread._hold(self.random.random() < 0.8)
        plane.progress()
        for _ in range(self.random.randint(0, 6)):
            plane.node._maintain()
        self._listen(plane, workload)

    def cuts(self, count: int) -> list[int]:
        """How many events come before each: about half of them on either side of a sync or of a change of names."""
        edges = [at for at, event in enumerate(self.events) if event.kind != "write"]
        near = [at + beside for at in edges for beside in (0, 1)]
        chosen = self.random.sample(near, min(len(near), count // 2))
        return sorted({*chosen, *(self.random.randint(0, len(self.events)) for _ in range(count - len(chosen)))})


def rebuild(path: Path, contents: dict[str, bytes]) -> None:
    DataDir.open_or_create(path).close()
    for name, content in contents.items():
        (path / "journal" / name).write_bytes(content)


def find(path: Path) -> Found:
    """What a broker that starts there has. It drains its queues, but has nothing recorded: only for the judge."""
    found = Found()
    with DurablePlane(path, SEGMENT_BYTES) as plane:
        for key in plane.store.defined.all_bindings():
            assert key[1] == FANOUT, key
            found.bindings.add(key[3])
        vhost = plane.node.broker.vhosts["/"]
        found.exchanges = {exchange for exchange in (FANOUT, "sync") if exchange.encode() in vhost.exchanges}
        for name in sorted(vhost.queues):
            found.queues[name] = drain(plane, name)
    return found


def drain(plane: DurablePlane, name: str) -> list[bytes]:
    client, count = plane.client(1), plane.queue(name).message_count
    client.send(1, "basic.consume", queue=name, consumer_tag="c", no_ack=True)
    bodies: list[bytes] = []
    while True:
        came = [method.body for method in client.received() if method.name == "basic.deliver"]
        bodies += came
        if len(bodies) >= count:
            return bodies
        assert came or plane.journal.committed < plane.journal.submitted, f"{name} does not give what it has"
        plane.settle()


@dataclass
class Campaign:
    """Lives one after the other, each on what a cut has left of the one before."""

    directory: Path
    seed: int
    states: int = 0
    compacted: int = 0
    kinds: dict[str, int] = field(default_factory=dict)

    def run(self, lives: int, steps: int, cuts: int) -> None:
        random = Random(self.seed)
        contents: dict[str, bytes] = {}
        found = None
        for number in range(lives):
            life = Life(self.fresh(f"life-{number}", contents), found, random, steps)
            self.compacted += life.compacted
            judged = self.cut(life, life.cuts(cuts), f"seed {self.seed}, life {number}")
            contents, found = random.choice(judged)
        shutil.rmtree(self.directory)

    def fresh(self, name: str, contents: dict[str, bytes]) -> Path:
        path = self.directory / name
        shutil.rmtree(path, ignore_errors=True)
        rebuild(path, contents)
        return path

    def cut(self, life: Life, cuts: list[int], where: str) -> list[tuple[dict[str, bytes], Found]]:
        disk, played, judged = Disk(life.first, life.directory_inode), 0, []
        for cut in cuts:
            for event in life.events[played:cut]:
                disk.play(event)
                self.kinds[event.kind] = self.kinds.get(event.kind, 0) + 1
            played = cut
            now = life.events[cut - 1].at if cut else 0
            for state in states(disk, life.random):
                judged.append((state.contents, self.judge(life, state, now, f"{where}, cut {cut}: {state.what}")))
        return judged

    def judge(self, life: Life, state: State, now: int, where: str) -> Found:
        path = self.fresh("cut", state.contents)
        try:
            found = find(path)
            life.ledger.check(found, now)
        except Exception as error:
            kept = self.fresh("failed", state.contents)
            raise AssertionError(f"{where}, kept in {kept}: {error}") from error
        self.states += 1
        return found


@pytest.mark.timeout(400)
def test_what_was_promised_outlives_a_power_cut(tmp_path: Path) -> None:
    campaign = Campaign(memory_directory(tmp_path), SEED)
    campaign.run(LIVES, STEPS, CUTS)
    assert campaign.states >= 300, campaign
    assert campaign.compacted > 0, campaign
    assert {"create", "rename", "resize", "sync", "write"} <= set(campaign.kinds), campaign


def test_a_disk_that_does_not_sync_is_found_out(tmp_path: Path) -> None:
    """The judge itself: with syncs that do nothing, what was promised is not there."""
    random = Random(SEED)
    campaign = Campaign(memory_directory(tmp_path), SEED)
    life = Life(campaign.fresh("life", {}), None, random, 20)
    life.events = [event for event in life.events if event.kind != "sync"]
    with pytest.raises(AssertionError, match="is lost"):
        campaign.cut(life, [len(life.events)], "a lying disk")
    shutil.rmtree(campaign.directory)


def memory_directory(otherwise: Path) -> Path:
    """Every sync here is only for the record: where it costs nothing there is time for more states. A campaign removes
    it, unless it has found something."""
    return Path(tempfile.mkdtemp(prefix="flowmq-power-", dir="/dev/shm")) if os.path.isdir("/dev/shm") else otherwise


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.crash.test_power_cut", description=__doc__)
    parser.add_argument("--lives", type=int, default=100)
    parser.add_argument("--steps", type=int, default=STEPS, help="in each life")
    parser.add_argument("--cuts", type=int, default=200, help="in each life; seven states are made of one")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    options = parser.parse_args()
    campaign = Campaign(memory_directory(Path(tempfile.mkdtemp())), options.seed)
    try:
        campaign.run(options.lives, options.steps, options.cuts)
    finally:
        print(campaign)
    return 0


if __name__ == "__main__":
    sys.exit(main())
