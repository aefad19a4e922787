"""Rounds of clients in threads, and between them a moment in which nobody is connected and the broker is measured.

What counts is how it is in those moments: the same number of descriptors, no message that nobody knows of, and memory
that has stopped growing after the first rounds.
"""

import random
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from flowmq.server.control import place
from flowmq.server.control.client import ControlConnection
from tests.soak import clients
from tests.soak.ledger import Ledger
from tests.support.broker import Broker, resident_bytes, until
from tests.support.peer import Peer

SETTLING_SHARE = 0.3  # of the rounds, before memory must be flat
# What the lowest of the second half may lie above the lowest of the first. A segment of the journal may come to be; a
# thousand clients and more come and go in a round.
GROWTH_MAX = {"descriptors": 1, "blocks": 8000, "resident": 8 << 20}
Work = Callable[[Peer, random.Random], None]


class Moment(NamedTuple):
    """The broker while nobody is connected."""

    resident: int
    descriptors: int
    blocks: int
    messages: int

    def __str__(self) -> str:
        mebibytes = self.resident / (1 << 20)
        return f"{mebibytes:.1f} MiB, {self.descriptors} descriptors, {self.blocks} blocks, {self.messages} messages"


class Worker(threading.Thread):
    """Does one kind of thing again and again until it is told to stop; an error ends it and is kept."""

    def __init__(self, peer: Peer, work: Work, dice: random.Random, stop: threading.Event) -> None:
        super().__init__(daemon=True)
        self.peer, self.work, self.dice, self.stop = peer, work, dice, stop
        self.error: BaseException | None = None
        self.times = 0

    def run(self) -> None:
        try:
            while not self.stop.is_set():
                self.work(self.peer, self.dice)
                self.times += 1
        except BaseException as error:  # whatever it is, the main thread raises it
            self.error = error


class Soak:
    def __init__(self, broker: Broker, seed: int) -> None:
        self.broker, self.seed = broker, seed
        self.ledger = Ledger()
        self.moments: list[Moment] = []
        self.times = 0

    def round(self, number: int, seconds: float) -> None:
        works: list[Work] = [self.ledger.publish, self.ledger.publish, self.ledger.consume, self.ledger.consume]
        works += [clients.one] * 4 + [clients.start_and_kill]
        stop = threading.Event()
        workers = [
            Worker(self.broker.peer, work, random.Random(f"{self.seed}/{number}/{at}"), stop)
            for at, work in enumerate(works)
        ]
        for worker in workers:
            worker.start()
        time.sleep(seconds)  # how long a round is
        stop.set()
        for worker in workers:
            worker.join(120)
            assert not worker.is_alive(), f"{worker.work} hangs"
            if worker.error is not None:
                raise AssertionError(f"seed {self.seed}, round {number}: {worker.error!r}") from worker.error
            self.times += worker.times
        self.ledger.take_the_rest(self.broker.peer)
        self.moments.append(self.moment())

    def moment(self) -> Moment:
        """Once all have gone."""
        with ControlConnection(Path(self.broker.data_dir) / place.NAME) as control:
            until(lambda: control.call("node.memory")["connections"] == 0)
            found = control.call("node.memory", collect=True)
            descriptors = len(list(Path(f"/proc/{self.broker.pid}/fd").iterdir()))
        return Moment(resident_bytes(self.broker.pid), descriptors, found["allocated_blocks"], found["messages"])

    def run(self, seconds: float, round_seconds: float, tell: Callable[[str], object]) -> None:
        ends, number = time.monotonic() + seconds, 0
        while time.monotonic() < ends:
            self.round(number, round_seconds)
            tell(f"round {number}: {self.moments[-1]}; {len(self.ledger.confirmed)} confirmed, {self.times} clients")
            number += 1

    def check(self) -> None:
        self.ledger.check()
        assert self.ledger.confirmed, "nothing was ever confirmed"
        settled = self.moments[int(len(self.moments) * SETTLING_SHARE) :]
        half = (len(settled) + 1) // 2
        before, after = settled[:half], settled[half:] or settled[-1:]
        history = "\n".join(map(str, self.moments))
        assert {moment.messages for moment in self.moments} == {0}, f"messages are left over:\n{history}"
        for name, growth_max in GROWTH_MAX.items():
            lowest = [min(getattr(moment, name) for moment in moments) for moments in (before, after)]
            assert lowest[1] <= lowest[0] + growth_max, f"{name}: more and more:\n{history}"
        self.broker.check_log()


def soak(data_dir: Path, seed: int, seconds: float, round_seconds: float, tell: Callable[[str], object]) -> Soak:
    broker = Broker(data_dir)
    try:
        soaked = Soak(broker, seed)
        soaked.run(seconds, round_seconds, tell)
        soaked.check()
        broker.stop()
    finally:
        broker.kill()
    return soaked
