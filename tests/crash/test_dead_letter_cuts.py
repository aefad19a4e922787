"""Dead letters and power cuts: a message on its way from queue to queue is in exactly one place, whatever was lost.

Messages go down a chain of durable queues: too many for the first, rejected, returned too often or expired in the next
ones, sometimes delayed before; what dies at the end goes to two queues, to both or to none. Queues are purged while
deaths in them are still to be dealt with: what is on its way is not in the queue any more. The disk is cut as in
test_power_cut.py, at every kind of moment, and each state is given to a new broker: once as it is, and once more when
all that can expire has.
"""

import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import pytest

from flowmq._clock import stop_clock
from flowmq._dead_letters import is_anyone_unburied, set_burials_in_turn
from flowmq._order import deal_with_due, set_window
from flowmq._peer import disk_progressed, flush
from flowmq._queue import Queue
from flowmq.storage.store import Store
from tests.crash.power_cut import Disk, DurablePlane, State, states
from tests.crash.test_power_cut import NEVER, SEGMENT_BYTES, Life, memory_directory, rebuild
from tests.support.codec import Method
from tests.unit.support_plane import Client, publish_frames

pytestmark = [pytest.mark.flowmq_only, pytest.mark.slow]
BEGIN_MS = 1_900_000_000_000
SIZES = (0, 20, 300, 1500)
LIVES, STEPS, CUTS = 4, 120, 20
QUEUES: dict[str, dict[str, Any]] = {
    "first": {"x-max-length": 12, "x-dead-letter-routing-key": "work"},
    "work": {
        "x-max-priority": 2,
        "x-delivery-limit": 1,
        "x-message-ttl": 400,
        "x-dead-letter-routing-key": "wait",
    },
    "wait": {"x-message-ttl": 30, "x-dead-letter-routing-key": "again"},
    "again": {"x-message-ttl": 500, "x-delivery-limit": 1, "x-dead-letter-exchange": "ends"},
    "end": {},
    "copy": {},
}
CONSUMED = ("work", "again")
PURGED = ("first", "first", "work", "wait", "again")


@dataclass
class Published:
    asked: int
    told: int = NEVER
    settled: int = NEVER  # acknowledged
    final: int = NEVER  # and an answer behind it, which waits for the disk, has come


class Ledger:
    def __init__(self, _: object) -> None:
        self.messages: dict[int, Published] = {}

    def check(self, found: dict[str, list[int]], now: int) -> None:
        assert sorted(found["end"]) == sorted(found["copy"]), "of two queues only one was reached"
        places = Counter(number for name, numbers in found.items() if name != "copy" for number in numbers)
        for number, count in places.items():
            message = self.messages[number]
            where = [name for name in found if number in found[name]]
            assert message.asked <= now, f"{number} comes from the future"
            assert count == 1, f"{number} is in {where}"
            assert message.final > now, f"{number} is in {where} again"
        for number, message in self.messages.items():
            if message.told <= now < message.settled:
                assert places[number], f"{number} is lost"


def body_of(number: int) -> bytes:
    return b"%d|" % number + Random(number).randbytes(SIZES[number % len(SIZES)])


def number_in(body: bytes) -> int:
    number = int(body.partition(b"|")[0])
    assert body == body_of(number), f"message {number} came back changed"
    return number


class Workload:
    """A publisher with confirms, a consumer that mostly refuses, and time."""

    def __init__(self, plane: DurablePlane, ledger: Ledger, now: Callable[[], int], random: Random) -> None:
        self.plane, self.ledger, self.now, self.random = plane, ledger, now, random
        self.publisher, self.consumer = plane.client(1), plane.client(1)
        self.unconfirmed: dict[int, Published] = {}
        self.asked: list[Callable[[int], None]] = []
        self.in_hand: dict[int, int] = {}  # delivery tag -> message
        self.clock_ms = BEGIN_MS
        stop_clock(self.clock_ms)
        define(self.publisher)
        self.defined = False
        self.steps = [self.publish] * 3 + [self.settle] * 5 + [self.pass_time, self.synchronise, self.purge]
        self.purged_count = 0  # by the last purge
        self.purged_on_the_way = 0  # purges while deaths were still to be dealt with

    def step(self) -> None:
        if self.defined:
            self.random.choice(self.steps)()

    def publish(self) -> None:
        for _ in range(self.random.choice((1, 1, 3, 12))):
            number = len(self.ledger.messages) + 1
            message = self.ledger.messages[number] = self.unconfirmed[number] = Published(self.now())
            properties: dict[str, Any] = {"delivery_mode": 2, "priority": number % 4}
            if self.random.random() < 0.2:
                properties["headers"] = {"x-delay": self.random.randint(1, 60)}
            elif self.random.random() < 0.4:
                properties["expiration"] = str(self.random.randint(1, 100))
            frames = publish_frames(1, "first", body_of(number), properties, exchange="delayed")
            assert message.told == NEVER
            self.publisher.feed(frames)

    def settle(self) -> None:
        tags = sorted(self.in_hand)
        if not tags or self.asked:
            return
        tag, multiple = self.random.choice(tags), self.random.random() < 0.3
        settled = [other for other in tags if other == tag or (multiple and other < tag)]
        numbers = [self.in_hand.pop(other) for other in settled]
        way = self.random.choice(("ack", "drop", "drop", "return"))
        if way == "ack":
            for number in numbers:
                self.ledger.messages[number].settled = self.now()
            self.consumer.send(1, "basic.ack", delivery_tag=tag, multiple=multiple)
        elif multiple:
            self.consumer.send(1, "basic.nack", delivery_tag=tag, multiple=True, requeue=way == "return")
        else:
            self.consumer.send(1, "basic.reject", delivery_tag=tag, requeue=way == "return")

    def pass_time(self) -> None:
        self.clock_ms += self.random.choice((1, 10, 40, 200))
        stop_clock(self.clock_ms)
        look_at_due(self.random.choice((2, 1000)))

    def purge(self) -> None:
        """All that is ready there is gone, but not what has died and is on its way."""
        if self.asked:
            return
        self.pass_time()
        # What is not on disk yet cannot be looked at.
        journal = self.plane.journal
        while journal.committed < journal.submitted:
            journal.thread.wait(journal.submitted)
            disk_progressed()
        self.purged_on_the_way += is_anyone_unburied()
        name = self.random.choice(PURGED)
        purged = [self.ledger.messages[number] for number in numbers_in(self.plane.queue(name))]
        for message in purged:
            message.settled = self.now()

        def told(moment: int) -> None:
            for message in purged:
                message.final = min(message.final, moment)

        self.purged_count = len(purged)
        self.asked.append(told)
        self.consumer.send(1, "queue.purge", queue=name)

    def synchronise(self) -> None:
        """All that was acknowledged before is final when this is answered."""
        if self.asked:
            return
        settled = [message for message in self.ledger.messages.values() if message.settled != NEVER]

        def told(moment: int) -> None:
            for message in settled:
                message.final = min(message.final, moment)

        self.asked.append(told)
        self.consumer.send(1, "queue.bind", queue="end", exchange="ends", routing_key=f"{self.now()}")

    def listen(self, moment: int) -> None:
        for method in self.publisher.received():
            self._hear_publisher(method, moment)
        for method in self.consumer.received():
            if method.name == "basic.deliver":
                self.in_hand[method.delivery_tag] = number_in(method.body)
            elif method.name == "queue.purge-ok":
                assert method.message_count == self.purged_count
                self.asked.pop()(moment)
            elif method.name == "queue.bind-ok":
                self.asked.pop()(moment)

    def _hear_publisher(self, method: Method, moment: int) -> None:
        if method.name == "basic.ack":
            told = [number for number in self.unconfirmed if number <= method.delivery_tag]
            for number in told if method.multiple else [method.delivery_tag]:
                self.unconfirmed.pop(number).told = moment
        elif method.name == "confirm.select-ok":
            self.defined = True
            self.consumer.send(1, "basic.qos", prefetch_count=6)
            for queue in CONSUMED:
                self.consumer.send(1, "basic.consume", queue=queue, consumer_tag=queue)


def define(client: Client) -> None:
    """The answer to the last one says that all is on disk."""
    client.send(1, "exchange.declare", exchange="ends", type="fanout", durable=True)
    arguments = {"x-delayed-type": "direct"}
    client.send(1, "exchange.declare", exchange="delayed", type="x-delayed-message", durable=True, arguments=arguments)
    for name, more in QUEUES.items():
        arguments = {"x-dead-letter-exchange": "", **more} if more else {}
        client.send(1, "queue.declare", queue=name, durable=True, arguments=arguments)
    client.send(1, "queue.bind", queue="first", exchange="delayed", routing_key="first")
    for name in ("end", "copy"):
        client.send(1, "queue.bind", queue=name, exchange="ends")
    client.send(1, "confirm.select")


def look_at_due(limit: int) -> None:
    while deal_with_due(limit) == 0:
        flush()
    flush()


class LettersLife(Life):
    """Its disk is never held up: what moves is written in so many places that segments are full at any time, and a new
    one waits for the one before."""

    ledger_type = Ledger
    workload_type = Workload

    purged_on_the_way = 0

    def _listen(self, plane: DurablePlane, workload: Any) -> None:
        super()._listen(plane, workload)
        self.purged_on_the_way = workload.purged_on_the_way

    def _prepare(self, store: Store) -> None:
        super()._prepare(store)
        store.journal.thread._hold(False)

    def _reach_the_disk(self, plane: DurablePlane, workload: Any) -> None:
        if self.random.random() < 0.5:
            plane.journal.thread.wait(plane.journal.submitted)
        plane.progress()
        for _ in range(self.random.randint(0, 6)):
            plane.node._maintain()
        self._listen(plane, workload)


def find(path: Path, clock_ms: int) -> tuple[dict[str, list[int]], dict[str, list[int]]]:
    """Where a broker that starts there has which messages: at once, and when everything that can expire has."""
    stop_clock(BEGIN_MS)
    with DurablePlane(path, SEGMENT_BYTES) as plane:
        at_once = places(plane)
        stop_clock(clock_ms)
        before = None
        while (now := places(plane)) != before:
            before, clock_ms = now, clock_ms + 100_000
            stop_clock(clock_ms)
            look_at_due(1000)
            plane.loop.run()
            plane.settle()
        return at_once, now


def places(plane: DurablePlane) -> dict[str, list[int]]:
    vhost = plane.node.broker.vhosts["/"]
    queues = {name: declared.queue for name, declared in vhost.queues.items()}
    held = vhost.memories.delayed("delayed")
    if held is not None:
        queues["delayed"] = held
    return {name: [] for name in QUEUES} | {name: numbers_in(queue) for name, queue in queues.items()}


def numbers_in(queue: Queue) -> list[int]:
    lanes = [queue] if queue.priority_max is None else [queue.lane(level) for level in range(queue.priority_max + 1)]
    numbers = [number_in(view[6]) for lane in lanes for view in lane.browse(0, 1_000_000)]
    assert len(numbers) == queue.message_count, queue.name
    return numbers


class Campaign:
    def __init__(self, directory: Path, seed: int) -> None:
        self.directory, self.random, self.seed = directory, Random(seed), seed
        self.states = self.purged_on_the_way = 0
        self.moved: Counter[str] = Counter()

    def run(self, lives: int, steps: int, cuts: int) -> None:
        for number in range(lives):
            path = self.directory / f"life-{number}"
            rebuild(path, {})
            life = LettersLife(path, None, self.random, steps)
            self.purged_on_the_way += life.purged_on_the_way
            self.cut(life, life.cuts(cuts), f"seed {self.seed}, life {number}")
        shutil.rmtree(self.directory)

    def cut(self, life: Life, cuts: list[int], where: str) -> None:
        disk, played = Disk(life.first, life.directory_inode), 0
        for cut in cuts:
            for event in life.events[played:cut]:
                disk.play(event)
            played = cut
            now = life.events[cut - 1].at if cut else 0
            for state in states(disk, life.random):
                self.judge(life, state, now, f"{where}, cut {cut}: {state.what}")

    def judge(self, life: Life, state: State, now: int, where: str) -> None:
        path = self.directory / "cut"
        shutil.rmtree(path, ignore_errors=True)
        rebuild(path, state.contents)
        try:
            for found in find(path, BEGIN_MS + 1_000_000):
                life.ledger.check(found, now)
                self.moved.update({name: len(numbers) for name, numbers in found.items()})
        except Exception as error:
            kept = self.directory / "failed"
            shutil.rmtree(kept, ignore_errors=True)
            rebuild(kept, state.contents)
            raise AssertionError(f"{where}, kept in {kept}: {error}") from error
        self.states += 1


@pytest.fixture(params=[None, (3, 3, 2)], ids=["in memory", "paged"])
def window(request: pytest.FixtureRequest) -> Iterator[None]:
    before = None if request.param is None else set_window(*request.param)
    in_turn = set_burials_in_turn(1)
    yield
    stop_clock(0)
    set_burials_in_turn(in_turn)
    if before is not None:
        set_window(*before)


@pytest.mark.timeout(240)
def test_a_dead_letter_is_in_one_place(tmp_path: Path, window: None) -> None:
    campaign = Campaign(memory_directory(tmp_path), 1)
    campaign.run(LIVES, STEPS, CUTS)
    assert campaign.states >= 300
    assert campaign.purged_on_the_way > 0
    assert min(campaign.moved[name] for name in (*QUEUES, "delayed")) > 0, campaign.moved
