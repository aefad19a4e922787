"""Shovels between two brokers, of which somebody is killed all the time: every message arrives.

    python -m tests.crash.shovels --seconds 60 [--seed N]

Messages go from one broker to the other, back, and there again, through three shovels. Killed are the brokers and the
processes of the shovels, in any order; shovels are started anew too. At the end all messages are at the other end, some
of them twice. The short version is `tests/process/test_shovels.py`.
"""

import argparse
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from tests.crash.rabbitmq import free_ports
from tests.support.broker import BROKEN, Broker, children
from tests.support.peer import Peer
from tests.support.shovels import Shovel, drained, fill

MESSAGES = 20_000
ARRIVE_SECONDS = 300.0
PREFETCH_COUNTS = (1, 7, 100, 1000)


class House:
    """One of the two brokers, as often as it is killed."""

    def __init__(self, directory: Path) -> None:
        (port,) = free_ports(1)
        self.peer = Peer("127.0.0.1", port)
        self.broker = Broker(directory, {}, "--listen", f"127.0.0.1:{port}")

    def kill_broker(self) -> None:
        self.broker.kill()
        self.check_log()
        self.broker = self.broker.again()

    def kill_shovels(self) -> None:
        for pid in children(self.broker.pid):
            os.kill(pid, signal.SIGKILL)

    def check_log(self) -> None:
        broken = [line for line in self.broker.log.lines if any(word in line for word in (*BROKEN, "internal error"))]
        assert not broken, self.broker.log.text


def run(directory: Path, seconds: float, dice: random.Random) -> str:
    here, there = House(directory / "here"), House(directory / "there")
    try:
        bodies = {b"%d" % number for number in range(MESSAGES)}
        fill(here.peer, "first", sorted(bodies))
        shovels = [
            (here, made(here, "one", dice, ("amqp://", "first"), (there.peer.url, "second"))),
            (here, made(here, "two", dice, (there.peer.url, "second"), ("amqp://", "third"))),
            (there, made(there, "three", dice, (here.peer.url, "third"), ("amqp://", "last"))),
        ]
        done = Counter[str]()
        ends = time.monotonic() + seconds
        while time.monotonic() < ends:
            time.sleep(dice.uniform(0.05, 2.5))
            house = dice.choice((here, there))
            what = dice.choice(("broker", "shovels", "restart"))
            done[what] += 1
            if what == "broker":
                house.kill_broker()
            elif what == "shovels":
                house.kill_shovels()
            else:
                home, shovel = dice.choice(shovels)
                shovel.broker = home.broker
                shovel.restart()
        arrived = Counter[bytes]()
        ends = time.monotonic() + ARRIVE_SECONDS
        while len(arrived) < len(bodies) and time.monotonic() < ends:
            arrived.update(drained(there.peer, "last"))
        assert arrived.keys() == bodies, f"{len(bodies - arrived.keys())} messages are lost"
        for one in (here, there):
            one.broker.stop()
            one.check_log()
        return f"{dict(done)}: {len(arrived)} messages arrived, {arrived.total() - len(arrived)} of them twice"
    finally:
        for one in (here, there):
            one.broker.kill()


def made(house: House, name: str, dice: random.Random, source: tuple[str, str], destination: tuple[str, str]) -> Shovel:
    return Shovel(
        *(house.broker, name),
        src_uri=source[0],
        src_queue=source[1],
        src_prefetch_count=dice.choice(PREFETCH_COUNTS),
        dest_uri=destination[0],
        dest_queue=destination[1],
        reconnect_delay=0.5,
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.crash.shovels", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=random.randrange(2**32))
    given = parser.parse_args()
    print(f"seed {given.seed}", file=sys.stderr)
    with tempfile.TemporaryDirectory() as directory:
        print(run(Path(directory), given.seconds, random.Random(given.seed)))


if __name__ == "__main__":
    main()
