"""Disk use after any history: at most twice what lives, and two segments; and what a start reads is what stands there.

A broker in this process with small segments lives through random histories: queues fill, are acknowledged in patterns,
purged, deleted; some messages are forgotten by their consumers for good. A model of plain sets knows what lives.
"""

from pathlib import Path
from random import Random

import pytest

from flowmq._replay import Replay
from flowmq.storage.layout import DataDir
from tests.crash.power_cut import DurablePlane
from tests.unit.support_plane import Client, publish_frames

pytestmark = [pytest.mark.flowmq_only, pytest.mark.slow]
SEGMENT_BYTES = 1 << 16
QUEUES = [f"q{number}" for number in range(8)]
FANOUT = "fan"
SIZES = (0, 16, 16, 16, 100, 1_000, 1_000, 9_000, 40_000)
# What a message and a target record take beside the body; names and header are short here.
MESSAGE_BYTES, TARGET_BYTES = 12 + 48 + 8 + 14, 12 + 40
RESTS = 50  # more than it takes until files that are kept for a while are deleted


class History:
    """The clients, and which messages live: (queue, number) of copies, and sizes of bodies by number."""

    def __init__(self, plane: DurablePlane, random: Random) -> None:
        self.plane, self.random = plane, random
        self.publisher, self.consumer = plane.client(1), plane.client(1, 2)
        self.sizes: dict[int, int] = {}
        self.live: set[tuple[str, int]] = set()
        self.in_hand: dict[int, tuple[str, int]] = {}
        self.published = 0
        self.publisher.call(1, "confirm.select")
        self.tell(self.publisher, "exchange.declare", exchange=FANOUT, type="fanout", durable=True)
        for name in QUEUES:
            self.declare(name)

    def declare(self, name: str) -> None:
        self.tell(self.publisher, "queue.declare", queue=name, durable=True)
        self.tell(self.publisher, "queue.bind", queue=name, exchange=FANOUT, routing_key="")
        self.tell(self.consumer, "basic.consume", queue=name, consumer_tag=name)

    def tell(self, client: Client, name: str, **fields: object) -> None:
        client.send(1, name, **fields)
        self.plane.settle()

    def publish(self, count: int, size: int, name: str | None) -> None:
        for _ in range(count):
            self.published += 1
            self.sizes[self.published] = size
            body = b"%d|" % self.published + bytes(size)
            names = QUEUES if name is None else [name]
            self.live.update((queue, self.published) for queue in names)
            exchange, key = (FANOUT, "") if name is None else ("", name)
            self.publisher.feed(publish_frames(1, key, body, {"delivery_mode": 2}, exchange=exchange))
        self.plane.settle()
        self.listen()

    def listen(self) -> None:
        for method in self.consumer.received():
            if method.name == "basic.deliver":
                number = int(method.body.partition(b"|")[0])
                self.in_hand[method.delivery_tag] = (method.consumer_tag, number)
        self.publisher.received()

    def acknowledge(self, tags: list[int]) -> None:
        for tag in tags:
            self.live.discard(self.in_hand.pop(tag))
            self.consumer.send(1, "basic.ack", delivery_tag=tag, multiple=False)
        self.plane.settle()
        self.listen()

    def delete(self, name: str) -> None:
        self.tell(self.publisher, "queue.delete", queue=name)
        self.live = {copy for copy in self.live if copy[0] != name}
        self.listen()
        self.in_hand = {tag: copy for tag, copy in self.in_hand.items() if copy[0] != name}
        self.declare(name)

    def step(self) -> None:
        self.listen()
        tags, name = sorted(self.in_hand), self.random.choice(QUEUES)
        action = self.random.choice("fffaaaaaed")
        if action == "f":
            self.publish(self.random.randint(1, 60), self.random.choice(SIZES), self.random.choice([*QUEUES, None]))
        elif action == "a":
            pattern = self.random.choice(("all", "half", "every other", "one queue", "large ones", "all but one"))
            self.acknowledge(chosen(tags, self.in_hand, self.sizes, pattern, name, self.random))
        elif action == "d" and self.random.random() < 0.3:
            self.delete(name)
        for _ in range(self.random.randint(0, 3)):
            self.plane.store.compaction.maintain()
            self.plane.settle()

    def live_bytes(self) -> int:
        bodies = sum(MESSAGE_BYTES + self.sizes[number] for number in {number for _, number in self.live})
        return bodies + TARGET_BYTES * (len(self.live) - len({number for _, number in self.live}))


def chosen(
    tags: list[int],
    in_hand: dict[int, tuple[str, int]],
    sizes: dict[int, int],
    pattern: str,
    name: str,
    random: Random,
) -> list[int]:
    if pattern == "half":
        return tags[: len(tags) // 2]
    if pattern == "every other":
        return tags[::2]
    if pattern == "one queue":
        return [tag for tag in tags if in_hand[tag][0] == name]
    if pattern == "large ones":
        return [tag for tag in tags if sizes[in_hand[tag][1]] >= 1_000]
    if pattern == "all but one" and tags:
        tags.remove(random.choice(tags))
    return tags


def come_to_rest(plane: DurablePlane) -> None:
    rests = 0
    for _ in range(100_000):
        plane.settle()
        rests = 0 if plane.store.compaction.maintain() else rests + 1
        if rests == RESTS:
            return
    raise AssertionError("compaction does not come to rest")


def check_disk(plane: DurablePlane, history: History, where: str) -> None:
    used = sum(path.stat().st_size for path in Path(plane.journal.directory).iterdir())
    allowed = 2 * history.live_bytes() + 2 * SEGMENT_BYTES
    assert used == plane.store.compaction.used_bytes
    assert used <= allowed, f"{where}: {used} octets, {allowed} allowed, {history.live_bytes()} live"


def check_reading(path: Path, history: History, where: str) -> None:
    """By summaries and whole: the same, without a fault, and what the model knows."""
    quick, whole = Replay(), Replay()
    quick.read(DataDir.open(path).segments(), trust=True)
    whole.read(DataDir.open(path).segments(), skip_corrupt=True)
    assert not whole.skipped, f"{where}: {whole.skipped}"
    views = [
        {
            key: (queue.next_sequence, queue.gone, queue.count, queue.body_bytes)
            for key, queue in replay.queues().items()
        }
        for replay in (quick, whole)
    ]
    assert views[0] == views[1], where
    assert sum(queue.count for queue in quick.queues().values()) == len(history.live), where
    assert all(segment.trusted for segment in quick.segments()[:-1]), where
    assert [segment._replace(trusted=False) for segment in quick.segments()] == whole.segments(), where
    assert quick.definitions() == whole.definitions(), where


@pytest.mark.parametrize("seed", range(4))
def test_twice_what_lives_and_two_segments(tmp_path: Path, seed: int) -> None:
    random = Random(seed)
    path = tmp_path / "data"
    with DurablePlane(path, SEGMENT_BYTES) as plane:
        history = History(plane, random)
        for number in range(120):
            history.step()
            if number % 15 == 14:
                come_to_rest(plane)
                check_disk(plane, history, f"seed {seed}, step {number}")
                check_reading(path, history, f"seed {seed}, step {number}")
        if seed == 0:
            assert plane.store.compaction.compacted_count > 0, "nothing here was about compaction"


def test_one_forgotten_message_pins_nothing(tmp_path: Path) -> None:
    with DurablePlane(tmp_path / "data", SEGMENT_BYTES) as plane:
        history = History(plane, Random(1))
        history.publish(1, 16, "q0")
        forgotten = dict(history.in_hand)
        for _ in range(60):
            history.publish(50, 1_000, "q1")
            history.acknowledge([tag for tag in history.in_hand if tag not in forgotten])
            come_to_rest(plane)
        check_disk(plane, history, "one forgotten")
        assert history.live == {("q0", 1)}
