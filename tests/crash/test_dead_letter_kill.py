"""Dead letters while the broker is killed: what was confirmed arrives at the end of the chain, once.

The chain of test_dead_letter_cuts.py, on a broker as a process. A publisher goes on until it dies, a consumer refuses
everything; after the last restart all messages find their way to both last queues by themselves.
"""

import contextlib
import threading
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

from flowmq._failpoint import FAILPOINTS, has_failpoints
from tests.crash.__main__ import settings
from tests.crash.test_dead_letter_cuts import CONSUMED, QUEUES
from tests.crash.test_failpoints import TIMES, TIMES_USUALLY, WAIT_SECONDS
from tests.support.broker import Broker, until
from tests.support.wire import Client, connect

pytestmark = [pytest.mark.flowmq_only, pytest.mark.slow]
SEGMENT_BYTES = 262144
ROUNDS = 4
WINDOW = 50  # publishes that are not confirmed yet
MOMENTS = (300, 1500)  # confirms before the kill, at least and at most
KILL_DELAY_SECONDS = 0.02


class Publisher(threading.Thread):
    """Numbers its messages; `confirmed` are those it was told of."""

    def __init__(self, broker: Broker, first: int) -> None:
        super().__init__(daemon=True)
        self.client = connect(broker.peer)
        self.channel = self.client.channel()
        self.channel.call("confirm.select")
        self.first = self.next = first
        self.confirmed: set[int] = set()
        self.news = threading.Condition()

    def run(self) -> None:
        with contextlib.suppress(OSError, AssertionError):
            while True:
                self._publish()
                self._listen()
        with self.news:
            self.news.notify_all()

    def _publish(self) -> None:
        for _ in range(WINDOW):
            properties: dict[str, int | str] = {"delivery_mode": 2, "priority": self.next % 4}
            if self.next % 7 == 0:
                properties["expiration"] = "20"
            self.channel.publish("", "first", b"%d" % self.next, properties)
            self.next += 1

    def _listen(self) -> None:
        published = set(range(self.first, self.next))
        while published - self.confirmed:
            ack = self.channel.expect("basic.ack")
            until_tag = self.first + ack.delivery_tag
            told = {number for number in published if number < until_tag} if ack.multiple else {until_tag - 1}
            with self.news:
                self.confirmed |= told
                self.news.notify_all()

    def wait_for(self, count: int) -> None:
        with self.news:
            self.news.wait_for(lambda: len(self.confirmed) >= count or not self.is_alive(), WAIT_SECONDS)


class Refuser(threading.Thread):
    """Drops one message of three, sends another one back, and keeps the rest for a while."""

    def __init__(self, broker: Broker) -> None:
        super().__init__(daemon=True)
        self.client = connect(broker.peer)
        self.channel = self.client.channel()
        self.channel.call("basic.qos", prefetch_count=10)
        for queue in CONSUMED:
            self.channel.send("basic.consume", queue=queue, nowait=True)

    def run(self) -> None:
        kept: list[int] = []
        with contextlib.suppress(OSError, AssertionError):
            while True:
                tag = self.channel.expect("basic.deliver").delivery_tag
                kept.append(tag)
                if tag % 3:
                    self.channel.send("basic.reject", delivery_tag=kept.pop(0), requeue=tag % 3 == 1)
                elif len(kept) > 4:
                    self.channel.send("basic.nack", delivery_tag=kept.pop(), requeue=False)


def define(client: Client) -> None:
    channel = client.channel()
    channel.call("exchange.declare", exchange="ends", type="fanout", durable=True)
    for name, more in QUEUES.items():
        arguments = {"x-dead-letter-exchange": "", **more} if more else {}
        channel.call("queue.declare", queue=name, durable=True, arguments=arguments)
    for name in ("end", "copy"):
        channel.call("queue.bind", queue=name, exchange="ends")


class Rounds:
    def __init__(self, broker: Broker) -> None:
        self.broker = broker
        self.next = 1
        self.confirmed: set[int] = set()
        with connect(broker.peer) as client:
            define(client)

    def round(self, end: Callable[[Publisher], None]) -> None:
        refuser, publisher = Refuser(self.broker), Publisher(self.broker, self.next)
        refuser.start()
        publisher.start()
        end(publisher)
        self.broker.kill()
        for worker in (publisher, refuser):
            worker.join()
            worker.client.drop()
        self.next = publisher.next
        self.confirmed |= publisher.confirmed
        self.broker = self.broker.again()

    def judge(self) -> None:
        with connect(self.broker.peer) as client:
            channel = client.channel()
            # The way of a last one takes long enough for whatever is to expire in the first queue.
            channel.put("work", b"0", properties={"delivery_mode": 2})
            until(lambda: all(channel.count(name) == 0 for name in ("work", "wait", "again")))
            found = {name: [int(body) for body in channel.drain(name)] for name in QUEUES}
        assert sorted(found["end"]) == sorted(found["copy"]), "of two queues only one was reached"
        ends = found["end"] + found["first"]
        assert len(ends) == len(set(ends)), "something has arrived twice"
        assert self.confirmed <= set(ends), f"{len(self.confirmed - set(ends))} messages are lost"
        assert set(ends) <= set(range(self.next)), "nobody has published that"
        assert found["end"], "the chain was not used"


@pytest.mark.timeout(180)
def test_what_was_confirmed_arrives_once(tmp_path: Path) -> None:
    random = Random(1)
    rounds = Rounds(Broker(tmp_path / "data", settings(SEGMENT_BYTES)))

    def kill(publisher: Publisher) -> None:
        publisher.wait_for(random.randint(*MOMENTS))
        threading.Event().wait(random.random() * KILL_DELAY_SECONDS)  # a moment of no one's choosing

    try:
        for _ in range(ROUNDS):
            rounds.round(kill)
        rounds.judge()
    finally:
        rounds.broker.kill()
    assert len(rounds.confirmed) >= ROUNDS * MOMENTS[0]


@pytest.mark.timeout(180)
@pytest.mark.skipif(not has_failpoints, reason="failpoints are compiled into debug builds only: see make debug")
@pytest.mark.parametrize("name", [name for name in FAILPOINTS if name != "message-rewritten"])
def test_what_was_confirmed_arrives_once_wherever_it_dies(tmp_path: Path, name: str) -> None:
    doomed = settings(SEGMENT_BYTES) | {"FLOWMQ_FAILPOINT": f"{name}:{TIMES.get(name, TIMES_USUALLY)}"}
    rounds = Rounds(Broker(tmp_path / "data", doomed))

    def die(publisher: Publisher) -> None:
        rounds.broker.process.wait(WAIT_SECONDS)
        rounds.broker.environ = {key: value for key, value in doomed.items() if "FAILPOINT" not in key}

    try:
        rounds.round(die)
        rounds.judge()
    finally:
        rounds.broker.kill()
