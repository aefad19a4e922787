"""A queue with rules, judged by a naive one: times to live, limits, priorities, dead letters, delivery limits, retries.

Everything goes in and comes out as octets of clients; time is what the test says, and passes with or without anybody
looking at what falls due. A durable broker is stopped, or killed and started again on a copy of its directory. What
dies goes to queue `d`, which nobody consumes, or back from there.
"""

import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import Any

from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from flowmq._clock import stop_clock
from flowmq._order import deal_with_due, set_window
from flowmq._peer import flush
from tests.crash.power_cut import DurablePlane
from tests.support.codec import Method
from tests.unit.support_plane import Plane
from tests.unit.support_rules import Message, NaiveBroker, Queue, Rules

QUEUE, DEAD = "q", "d"
FOREVER = 10**9
BEGIN_MS = 1_900_000_000_000
SEGMENT_BYTES = 16384
FAST_DISK = Path("/dev/shm")  # nothing here is about what a sync means
CHANNELS = ((0, 1), (0, 2), (1, 1), (2, 1))  # client and channel number
EXPIRATIONS = st.sampled_from([None, None, "30", "100", "3000"])
BITS = st.booleans()
AT = st.sampled_from(CHANNELS)
FEW = st.sampled_from([None, None, 0, 1, 2, 5])


@dataclass
class ModelConsumer:
    prefetch: int
    no_ack: bool
    unacked: int = 0

    @property
    def credit(self) -> int:
        return FOREVER if self.no_ack or not self.prefetch else max(0, self.prefetch - self.unacked)


@dataclass
class ModelChannel:
    prefetch: int = 0
    last_tag: int = 0
    consumers: dict[str, ModelConsumer] = field(default_factory=dict)
    unacked: dict[int, tuple[Message, str | None]] = field(default_factory=dict)


@st.composite
def rules_of_a_queue(draw: Any) -> Rules:
    """What two mechanisms together do in an order that nobody is promised is not drawn: see the reasons."""
    limits = draw(st.sampled_from([(None, None), (None, None), (0, None), (1, None), (4, None), (None, 20), (5, 30)]))
    overflow = draw(st.sampled_from(["drop-head", "drop-head", "reject-publish", "reject-publish-dlx"]))
    priority_max = draw(st.sampled_from([None, None, 1, 3]))
    retry = draw(st.sampled_from(["disabled", "disabled", "all", "failed", "returned"]))
    if priority_max:
        retry = "disabled"  # which priority's messages come back first at one moment is anybody's choice
    exchange = draw(st.sampled_from([None, "", "dlx", "dlx"]))
    key = DEAD if exchange == "" else draw(st.sampled_from([None, "other"])) if exchange else None
    return Rules(
        ttl=draw(st.sampled_from([None, None, 0, 50, 200])),
        length_max=limits[0],
        bytes_max=limits[1],
        overflow=overflow,
        priority_max=priority_max,
        delivery_limit=draw(FEW),
        retry=retry,
        retry_min=draw(st.sampled_from([0, 20, 70])),
        retry_max=draw(st.sampled_from([None, 100])),
        dead_letter_exchange=exchange,
        dead_letter_key=key,
    )


class RulesAgainstLists(RuleBasedStateMachine):
    """Without a disk."""

    durable = False
    windows: tuple[int, int, int] | None = None

    @initialize(rules=rules_of_a_queue(), circle=st.sampled_from([None, None, 40, 150]))
    def begin(self, rules: Rules, circle: int | None) -> None:
        if rules.limited or rules.retry != "disabled" or rules.dead_letter_exchange is None:
            circle = None  # whether a place gets free before somebody comes back for it is nobody's promise
        if self.windows is not None and rules.ttl == 0:
            rules = replace(rules, ttl=1)  # what is only in the journal is found expired at the next look, not at once
        dead = Rules() if circle is None else Rules(ttl=circle, dead_letter_exchange="", dead_letter_key=QUEUE)
        self.now = BEGIN_MS
        stop_clock(self.now)
        self.windows_before = None if self.windows is None else set_window(*self.windows)
        self.directory = Path(tempfile.mkdtemp(prefix="flowmq-rules-", dir=FAST_DISK if FAST_DISK.is_dir() else None))
        self.lives = count(1)
        self.open(self.directory / "1")
        self.rules = rules
        self.model = NaiveBroker([Queue(QUEUE, rules), Queue(DEAD, dead)], self.credit, self.now)
        self.next_body, self.next_name = count(1), count(1)
        self.define("exchange.declare", exchange="dlx", type="fanout", durable=True)
        self.define("queue.declare", queue=DEAD, durable=self.durable, arguments=dead.arguments())
        self.define("queue.bind", queue=DEAD, exchange="dlx")
        self.declare()

    def open(self, path: Path) -> None:
        self.path = path
        self.plane = DurablePlane(path, SEGMENT_BYTES) if self.durable else Plane()
        self.clients = [self.plane.client(1, 2) for _ in range(3)]
        self.publisher = self.plane.client(1, 2)
        self.publisher.call(1, "confirm.select")
        self.publishes = 0
        self.channels = {at: ModelChannel() for at in CHANNELS}

    def declare(self) -> None:
        self.define("queue.declare", queue=QUEUE, durable=self.durable, arguments=self.rules.arguments())

    def define(self, name: str, **fields: Any) -> Method:
        self.publisher.send(2, name, **fields)
        self.settle_disk()
        (answer,) = self.publisher.received()
        assert answer.name == f"{name}-ok"
        return answer

    def teardown(self) -> None:
        if not hasattr(self, "plane"):
            return
        self.plane.__exit__(None)
        stop_clock(0)
        if self.windows_before is not None:
            set_window(*self.windows_before)
        shutil.rmtree(self.directory)

    # ------------------------------------------------------------------------------------------- what clients do

    @rule(number=st.integers(1, 6), expiration=EXPIRATIONS, priority=st.integers(0, 4), persistent=st.integers(0, 3))
    def publish(self, number: int, expiration: str | None, priority: int, persistent: int) -> None:
        for _ in range(number):
            at = next(self.next_body)
            body = f"{at} {'.' * (at % 4)}".encode()
            headers = {"number": at} if at % 2 else {}
            message = Message(body, persistent > 0, priority, expiration, headers, key=QUEUE)
            properties: dict[str, Any] = {"delivery_mode": 2 if persistent else 1, "priority": priority}
            properties |= {"headers": headers} if headers else {}
            properties |= {} if expiration is None else {"expiration": expiration}
            self.publisher.publish(1, QUEUE, body, **properties)
            taken = self.model.publish(self.queue, message)
            self.handed_out()
            self.publishes += 1
            answers = [(method.name, method.delivery_tag) for method in self.publisher.received()]
            assert answers == [("basic.ack" if taken else "basic.nack", self.publishes)]

    @rule(at=AT, no_ack=st.sampled_from([False, False, False, True]))
    def consume(self, at: tuple[int, int], no_ack: bool) -> None:
        channel = self.channels[at]
        if self.rules.drops and channel.consumers:
            return  # which of two is woken first decides what is too much for the limit in between
        tag = f"c{next(self.next_name)}"
        self.ask(at, "basic.consume", queue=QUEUE, consumer_tag=tag, no_ack=no_ack)
        channel.consumers[tag] = ModelConsumer(channel.prefetch, no_ack)
        self.model.dispatch(self.queue)
        self.handed_out("basic.consume-ok")

    @rule(at=AT, prefetch=st.integers(0, 4))
    def limit(self, at: tuple[int, int], prefetch: int) -> None:
        self.ask(at, "basic.qos", prefetch_count=prefetch)
        self.channels[at].prefetch = prefetch
        self.handed_out("basic.qos-ok")

    @rule(at=AT, which=st.integers(0))
    def cancel(self, at: tuple[int, int], which: int) -> None:
        channel = self.channels[at]
        if channel.consumers:
            tag = sorted(channel.consumers)[which % len(channel.consumers)]
            self.ask(at, "basic.cancel", consumer_tag=tag)
            del channel.consumers[tag]
            self.handed_out("basic.cancel-ok")

    @rule(at=AT, which=st.integers(0), multiple=BITS, outcome=st.integers(0, 3))
    def settle(self, at: tuple[int, int], which: int, multiple: bool, outcome: int) -> None:
        """One outstanding delivery, or all up to it: acked, dropped, or sent back (most often)."""
        channel = self.channels[at]
        if not channel.unacked:
            return
        tag = sorted(channel.unacked)[which % len(channel.unacked)]
        requeue = outcome > 1
        if outcome == 0:
            self.ask(at, "basic.ack", delivery_tag=tag, multiple=multiple)
        elif multiple:
            self.ask(at, "basic.nack", delivery_tag=tag, multiple=True, requeue=requeue)
        else:
            self.ask(at, "basic.reject", delivery_tag=tag, requeue=requeue)
        settled = sorted(other for other in channel.unacked if other == tag or (multiple and other < tag))
        woken = requeue
        for other in settled:
            message, consumer = self.take_back(channel, other)
            woken |= consumer is not None
            if requeue:
                self.model.requeue(message, failed=not multiple)
            elif outcome == 1:
                self.model.reject(message)
        if woken:
            self.model.dispatch(self.queue)
        self.handed_out()

    @rule(at=AT, no_ack=BITS)
    def get(self, at: tuple[int, int], no_ack: bool) -> None:
        channel = self.channels[at]
        self.ask(at, "basic.get", queue=QUEUE, no_ack=no_ack)
        self.settle_disk()
        message = self.model.take(self.queue)
        left = len(self.queue.ready)
        answers = [method for method in self.clients[at[0]].received() if method.name != "basic.deliver"]
        if message is None:
            assert [answer.name for answer in answers] == ["basic.get-empty"]
        else:
            assert [answer.name for answer in answers] == ["basic.get-ok"]
            channel.last_tag += 1
            assert (answers[0].delivery_tag, answers[0].message_count) == (channel.last_tag, left)
            check_message(answers[0], message)
            if not no_ack:
                channel.unacked[channel.last_tag] = (message, None)
        self.handed_out()

    @precondition(lambda self: self.model.queues[DEAD].ready)
    @rule()
    def take_dead_letter(self) -> None:
        self.take_from(DEAD)

    @precondition(lambda self: f"{QUEUE}.dead" in self.model.queues)
    @rule()
    def take_parked(self) -> None:
        self.take_from(f"{QUEUE}.dead")

    def take_from(self, name: str) -> None:
        self.publisher.send(2, "basic.get", queue=name, no_ack=True)
        self.settle_disk()
        message = self.model.take(self.model.queues[name])
        self.handed_out()
        answers = self.publisher.received()
        if message is None:
            assert [answer.name for answer in answers] == ["basic.get-empty"]
        else:
            assert [answer.name for answer in answers] == ["basic.get-ok"]
            check_message(answers[0], message)

    @rule(at=AT)
    def recover(self, at: tuple[int, int]) -> None:
        self.ask(at, "basic.recover", requeue=True)
        returned = [self.take_back(self.channels[at], tag)[0] for tag in sorted(self.channels[at].unacked)]
        for message in returned:
            self.model.requeue(message, failed=False)
        if returned or self.channels[at].consumers:
            self.model.dispatch(self.queue)
        self.handed_out("basic.recover-ok")

    @precondition(lambda self: self.queue.ready)
    @rule()
    def purge(self) -> None:
        assert self.define("queue.purge", queue=QUEUE).message_count == len(self.queue.ready)
        self.queue.ready.clear()

    @rule(at=AT)
    def close(self, at: tuple[int, int]) -> None:
        self.ask(at, "channel.close", reply_code=200)
        self.forget(at)
        self.handed_out("channel.close-ok")
        self.clients[at[0]].call(at[1], "channel.open")

    @rule(who=st.integers(0, 2))
    def lose(self, who: int) -> None:
        """What its channels held goes out again when all of it is back."""
        numbers = [number for number in self.clients[who].connection.channels if (who, number) in self.channels]
        self.clients[who].lose()
        self.forget(*((who, number) for number in numbers))
        self.clients[who] = self.plane.client(1, 2)
        self.handed_out()

    @precondition(lambda self: self.queue.ready or any(channel.consumers for channel in self.channels.values()))
    @rule()
    def delete(self) -> None:
        """What is outstanding may still be settled, but has nowhere to go back to."""
        assert self.define("queue.delete", queue=QUEUE).message_count == len(self.queue.ready)
        told = [(method.name, method.consumer_tag) for client in self.clients for method in client.received()]
        consumers = [tag for channel in self.channels.values() for tag in channel.consumers]
        assert sorted(told) == sorted(("basic.cancel", tag) for tag in consumers)
        for channel in self.channels.values():
            channel.consumers.clear()
        self.queue.deleted = True
        self.model.queues[QUEUE] = Queue(QUEUE, self.rules)
        self.declare()

    # ---------------------------------------------------------------------------------------------- time and disasters

    @rule(milliseconds=st.sampled_from([1, 10, 40, 100, 500]), looked_at=st.sampled_from([True, True, False]))
    def pass_time(self, milliseconds: int, looked_at: bool) -> None:
        self.now += milliseconds
        stop_clock(self.now)
        self.model.now = self.now
        if looked_at:
            self.look_at_due()

    def look_at_due(self, limit: int = 1000) -> None:
        before = {name: list(queue.ready) for name, queue in self.model.queues.items()}
        while deal_with_due(limit) == 0:
            flush()
        flush()
        self.plane.loop.run()
        self.settle_disk()
        self.model.sweep()
        for name in set(self.model.queues) - {QUEUE}:
            self.adopt_order(self.model.queues[name], before.get(name, []))
        self.handed_out()

    def adopt_order(self, queue: Queue, before: list[Message]) -> None:
        """Of messages that fell due together those of different priorities arrive in any order."""
        places = {message.body: place for place, message in enumerate(queue.ready)}
        arrived = {message.body for message in queue.ready} - {message.body for message in before}
        bodies = [view[6] for view in self.plane.queue(queue.name).browse(0, 100_000)]
        assert sorted(bodies) == sorted(places)
        assert [body for body in bodies if body not in arrived] == [
            message.body for message in queue.ready if message.body not in arrived
        ]
        by_place = [queue.ready[places[body]] for body in bodies]
        sequences = sorted(message.sequence for message in by_place)
        for message, sequence in zip(by_place, sequences, strict=True):
            message.sequence = sequence
        queue.ready[:] = by_place

    @property
    def queue(self) -> Queue:
        return self.model.queues[QUEUE]

    def credit(self, queue: Queue) -> int:
        if queue is not self.queue:
            return 0
        return sum(consumer.credit for channel in self.channels.values() for consumer in channel.consumers.values())

    # ------------------------------------------------------------------------------------------- what the list says

    def ask(self, at: tuple[int, int], name: str, **fields: object) -> None:
        self.clients[at[0]].send(at[1], name, **fields)

    def settle_disk(self) -> None:
        if isinstance(self.plane, DurablePlane):
            self.plane.settle()

    def take_back(self, channel: ModelChannel, tag: int) -> tuple[Message, str | None]:
        message, consumer = channel.unacked.pop(tag)
        if consumer is not None and consumer in channel.consumers:
            channel.consumers[consumer].unacked -= 1
        return message, consumer

    def forget(self, *places: tuple[int, int]) -> None:
        """Channels are lost: the oldest message that each of their consumers held counts as failed."""
        channels = [self.channels[at] for at in places]
        for channel in channels:
            channel.consumers.clear()
        for channel in channels:
            blamed: set[str | None] = set()
            for tag in sorted(channel.unacked):
                message, consumer = channel.unacked[tag]
                self.model.requeue(message, failed=consumer not in blamed)
                blamed.add(consumer)
        if any(channel.unacked for channel in channels):
            self.model.dispatch(self.queue)
        self.model.bury_all()
        self.channels.update((at, ModelChannel()) for at in places)

    def handed_out(self, *answers: str) -> None:
        """What the lists say was handed out has come, in order, and nothing besides the answers."""
        self.model.bury_all()
        self.settle_disk()
        expected: Sequence[Message] = list(self.model.handed_out)
        self.model.handed_out.clear()
        places = {message.body: place for place, message in enumerate(expected)}
        for who, client in enumerate(self.clients):
            latest, others = -1, []
            for method in client.received():
                if method.name != "basic.deliver":
                    others.append(method.name)
                    continue
                place = places.pop(method.body)
                assert place > latest, "out of order"
                latest = place
                self.delivered(method, expected[place], self.channels[who, method.channel])
            assert others in ([], list(answers))
        assert not places, "not delivered, though somebody could take it"

    def delivered(self, method: Method, message: Message, channel: ModelChannel) -> None:
        check_message(method, message)
        channel.last_tag += 1
        assert method.delivery_tag == channel.last_tag
        consumer = channel.consumers[method.consumer_tag]
        if not consumer.no_ack:
            assert consumer.credit, "more than the consumer's limit"
            consumer.unacked += 1
            channel.unacked[method.delivery_tag] = (message, method.consumer_tag)

    @invariant()
    def the_counts_agree(self) -> None:
        if not hasattr(self, "plane"):
            return
        outstanding = [message for channel in self.channels.values() for message, _ in channel.unacked.values()]
        for name, expected in self.model.queues.items():
            queue = self.plane.queue(name)
            assert (name, queue.message_count, queue.ready_bytes) == (name, len(expected.ready), expected.ready_bytes)
            assert (name, queue.aside_count) == (name, len(expected.aside))
            assert queue.unacked_count == sum(message.queue is expected for message in outstanding)
            buried = {reason: number for reason, number in queue.buried_counts.items() if number}
            assert (name, buried) == (name, expected.buried)
        known = sum(len(queue.ready) + len(queue.aside) for queue in self.model.queues.values())
        if not self.durable:
            assert self.plane.live() == known + len(outstanding)


def check_message(method: Method, message: Message) -> None:
    assert (method.body, method.redelivered) == (message.body, message.returns > 0)
    assert (method.exchange, method.routing_key) == (message.exchange, message.key)
    properties = method.properties
    assert properties.get("expiration") == message.expiration
    assert properties.get("headers", {}) == message.headers_now()
    assert (properties["delivery_mode"], properties["priority"]) == (2 if message.persistent else 1, message.priority)


class DurableRulesAgainstLists(RulesAgainstLists):
    """With a disk, stops and kills."""

    durable = True

    @rule()
    def stop(self) -> None:
        for who in range(len(self.clients)):
            self.lose(who)
        self.plane.__exit__(None)
        self.model.restart([])
        self.open(self.path)
        self.handed_out()

    @rule()
    def kill(self) -> None:
        """What is on disk at this moment is all that is left."""
        self.settle_disk()
        copy = self.directory / str(next(self.lives) + 1)
        shutil.copytree(self.path, copy)
        unacked = [message for channel in self.channels.values() for message, _ in channel.unacked.values()]
        self.plane.__exit__(None)
        self.model.restart(unacked)
        self.open(copy)
        self.handed_out()


class PagedRulesAgainstLists(DurableRulesAgainstLists):
    """The same where hardly anything fits into memory."""

    windows = (3, 3, 2)


TIMES = settings(
    max_examples=60,
    stateful_step_count=40,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink],
)
RulesAgainstLists.TestCase.settings = TIMES
DurableRulesAgainstLists.TestCase.settings = settings(TIMES, max_examples=25)
PagedRulesAgainstLists.TestCase.settings = settings(TIMES, max_examples=25)
TestRulesAgainstLists = RulesAgainstLists.TestCase
TestDurableRulesAgainstLists = DurableRulesAgainstLists.TestCase
TestPagedRulesAgainstLists = PagedRulesAgainstLists.TestCase
