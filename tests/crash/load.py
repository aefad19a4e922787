"""The clients of a kill round: a publisher that waits for confirms and a consumer that settles, each a thread.

They go on until the broker's end closes their socket, which is what is expected of it. Everything is written into the
history before it is written to a socket, and read from the socket before it is believed.
"""

import random
import threading
from collections import deque
from typing import Any, NamedTuple

from tests.crash.history import Copy, History, Sure, Taken, body_of, properties_of
from tests.support import codec
from tests.support.codec import Method
from tests.support.peer import Peer
from tests.support.wire import Channel, Client, Gone, Unexpected, connect

FANOUT = "crash-fanout"
SINGLE_QUEUES = ("crash-1", "crash-2")
FANOUT_QUEUES = ("crash-fan-1", "crash-fan-2", "crash-fan-3")
QUEUES = SINGLE_QUEUES + FANOUT_QUEUES
TARGETS = (("", "crash-1", ("crash-1",)), ("", "crash-2", ("crash-2",)), (FANOUT, "any", FANOUT_QUEUES))
CHANNELS = 3
WINDOWS = (1, 10, 100, 500)
PREFETCH = 100
UNSETTLED_MAX = 60  # below the prefetch, so that the flow never stops
NOTE_EXCHANGE = "amq.topic"  # durable bindings to it are made and unmade for the sake of their answers


def declare_load(channel: Channel) -> None:
    for queue in QUEUES:
        channel.queue(queue, durable=True)
    channel.call("exchange.declare", exchange=FANOUT, type="fanout", durable=True)
    for queue in FANOUT_QUEUES:
        channel.call("queue.bind", queue=queue, exchange=FANOUT, routing_key="any")


class Progress:
    """How much has happened in a round, for the one who decides when it ends."""

    def __init__(self) -> None:
        self.count = 0
        self.stopped = False
        self._changed = threading.Condition()

    def add(self, count: int) -> None:
        with self._changed:
            self.count += count
            self._changed.notify_all()

    def stop(self) -> None:
        """Somebody's connection has ended: no more of it will come."""
        with self._changed:
            self.stopped = True
            self._changed.notify_all()

    def wait_for(self, count: int, seconds: float) -> bool:
        with self._changed:
            self._changed.wait_for(lambda: self.count >= count or self.stopped, seconds)
        return self.count >= count


class Worker:
    """A client of its own. `trouble` says why it ended, if that was anything but the end of its socket."""

    def __init__(self, peer: Peer, history: History, progress: Progress, seed: str) -> None:
        self.thread = threading.Thread(target=self.run, name=type(self).__name__, daemon=True)
        self.history, self.progress = history, progress
        self.seed = seed
        self.dice = random.Random(seed)
        self.client: Client = connect(peer)
        self.trouble: str | None = None
        self.hung_up = False
        self.prepare()

    def prepare(self) -> None:
        raise NotImplementedError

    def work(self) -> None:
        raise NotImplementedError

    def take(self, method: Method) -> None:
        raise NotImplementedError

    def run(self) -> None:
        try:
            self._run()
        except Exception as error:
            self.trouble = f"{type(self).__name__}: {type(error).__name__}: {error}"
        finally:
            self.progress.stop()
            self.client.drop()

    def _run(self) -> None:
        try:
            self.work()
        except Gone:
            return
        except ConnectionError:  # a write met the end of the socket; what had been answered before may still be read
            self._read_rest()

    def _read_rest(self) -> None:
        self.hung_up = True
        try:
            while True:
                self.take(self.client.receive())
        except (Gone, ConnectionError):
            return

    def refuse(self, method: Method) -> None:
        raise Unexpected(f"{method} came")


class Publisher(Worker):
    """Bursts on several channels in confirm mode, within a window that changes all the time."""

    def __init__(self, peer: Peer, history: History, progress: Progress, run: int, seed: str) -> None:
        self.run_number = run
        super().__init__(peer, history, progress, seed)

    def prepare(self) -> None:
        self.channels = [self.client.channel() for _ in range(CHANNELS)]
        self.counts = dict.fromkeys((channel.number for channel in self.channels), 0)
        self.open: dict[int, dict[int, list[Copy]]] = {channel.number: {} for channel in self.channels}
        for channel in self.channels:
            channel.call("confirm.select")

    def work(self) -> None:
        while True:
            self._burst()
            window = self.dice.choice(WINDOWS)
            while sum(map(len, self.open.values())) >= window:
                self.take(self.client.receive())

    def _burst(self) -> None:
        size = self.dice.choice((1, 1, 5, 50))
        self.client.write(b"".join(self._publish(self.dice.choice(self.channels)) for _ in range(size)))

    def _publish(self, channel: Channel) -> bytes:
        self.counts[channel.number] += 1
        number = self.counts[channel.number]
        message = f"{self.run_number}.{channel.number}.{number}"
        exchange, key, queues = self.dice.choice(TARGETS)
        self.open[channel.number][number] = self.history.published(message, queues)
        publish = codec.method_frame(channel.number, "basic.publish", exchange=exchange, routing_key=key)
        return publish + channel.content(body_of(message), properties_of(message))

    def take(self, method: Method) -> None:
        if method.name not in ("basic.ack", "basic.nack"):
            self.refuse(method)
        waiting = self.open[method.channel]
        numbers = [method.delivery_tag]
        if method.multiple:
            numbers = [number for number in waiting if number <= method.delivery_tag]
        if not numbers or method.delivery_tag not in waiting:
            self.refuse(method)
        for number in numbers:
            for copy in waiting.pop(number):
                copy.confirmed = method.name == "basic.ack"
        self.progress.add(len(numbers))


class Question(NamedTuple):
    """A call not answered yet, with the acks and deliveries its answer vouches for."""

    acknowledged: list[Copy]
    handed_out: list[Copy]
    sure: Sure


class Hand:
    """What one channel's consumer holds: deliveries not settled, and what nobody has vouched for."""

    def __init__(self, channel: Channel, queue: str) -> None:
        self.channel, self.queue = channel, queue
        self.unsettled: dict[int, Copy] = {}
        self.acknowledged: list[Copy] = []
        self.handed_out: list[Copy] = []
        self.asked: deque[Question] = deque()
        self.calls = 0

    def up_to(self, delivery_tag: int) -> list[int]:
        return [tag for tag in self.unsettled if tag <= delivery_tag]

    def question(self, sure: Sure) -> Question:
        question = Question(self.acknowledged, self.handed_out, sure)
        self.acknowledged, self.handed_out = [], []
        return question


class Consumer(Worker):
    """One channel for each queue; acks one by one and many at once, requeues a few, asks for answers in between."""

    def prepare(self) -> None:
        self.hands: dict[int, Hand] = {}
        for queue in QUEUES:
            channel = self.client.channel()
            channel.call("basic.qos", prefetch_count=PREFETCH)
            self.hands[channel.number] = Hand(channel, queue)

    def work(self) -> None:
        for hand in self.hands.values():
            hand.channel.send("basic.consume", queue=hand.queue, nowait=True)
        while True:
            self.take(self.client.receive())

    def take(self, method: Method) -> None:
        if method.channel not in self.hands:
            self.refuse(method)
        hand = self.hands[method.channel]
        if method.name == "basic.deliver":
            self._delivered(hand, method)
        elif method.name in ("basic.qos-ok", "queue.bind-ok", "queue.unbind-ok"):
            self.history.answered(*hand.asked.popleft())
        else:
            self.refuse(method)

    def _delivered(self, hand: Hand, method: Method) -> None:
        copy = self.history.taken(Taken(hand.queue, method.body, method.properties, method.redelivered))
        if copy is None:
            raise Unexpected(f"{method} came, which nobody had published")
        hand.unsettled[method.delivery_tag] = copy
        hand.handed_out.append(copy)
        self.progress.add(1)
        if not self.hung_up:
            self._settle(hand, method.delivery_tag)

    def _settle(self, hand: Hand, delivery_tag: int) -> None:
        chance = self.dice.random()
        if chance < 0.4:
            self._ack(hand, delivery_tag, [delivery_tag])
        elif chance < 0.5 or len(hand.unsettled) >= UNSETTLED_MAX:
            self._ack(hand, delivery_tag, hand.up_to(delivery_tag), multiple=True)
        elif chance < 0.54:
            self._requeue(hand, delivery_tag)
        if len(hand.acknowledged) >= 40:
            self._ask(hand)

    def _ack(self, hand: Hand, delivery_tag: int, tags: list[int], *, multiple: bool = False) -> None:
        copies = [hand.unsettled.pop(tag) for tag in tags]
        self.history.acknowledging(copies)
        hand.channel.ack(delivery_tag, multiple)
        hand.acknowledged += copies

    def _requeue(self, hand: Hand, delivery_tag: int) -> None:
        self.history.given_up([hand.unsettled.pop(delivery_tag)])
        hand.channel.send("basic.nack", delivery_tag=delivery_tag, requeue=True)

    def _ask(self, hand: Hand) -> None:
        """Every other call changes something durable: its answer waits for the disk, and what came before is there."""
        hand.calls += 1
        sure = Sure.ANSWERED if hand.calls % 2 else Sure.SYNCED
        hand.asked.append(hand.question(sure))
        if sure is Sure.ANSWERED:
            hand.channel.send("basic.qos", prefetch_count=PREFETCH)
            return
        pair, unbind = divmod(hand.calls // 2 - 1, 2)  # every one of them changes something
        fields: dict[str, Any] = {"queue": hand.queue, "exchange": NOTE_EXCHANGE, "routing_key": f"{self.seed}/{pair}"}
        hand.channel.send("queue.unbind" if unbind else "queue.bind", **fields)
