"""A queue and its consumers, judged by a list: order, credit, redelivery, counts, and not one message too many.

Everything goes in and comes out as octets of clients. The list does not say which consumer a message goes to, only that
what is handed out are the oldest messages, exactly as many as there is credit for.
"""

from dataclasses import dataclass, field
from itertools import count

from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from flowmq._order import deal_with_due
from flowmq.server import leaving
from tests.support.codec import Method
from tests.unit.support_plane import Plane

QUEUE = "q"
FOREVER = 10**9
CHANNELS = ((0, 1), (0, 2), (1, 1), (2, 1))  # client and channel number
EXPIRATIONS = st.sampled_from([None, None, None, "3600000", "0"])
BITS = st.booleans()


@dataclass(eq=False)
class Message:
    """What the list knows of one message. `queue` counts declarations: a deleted queue takes nothing back."""

    sequence: int
    queue: int
    body: bytes
    is_expired: bool = False
    returned: bool = False


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
    global_prefetch: int = 0
    last_tag: int = 0
    consumers: dict[str, ModelConsumer] = field(default_factory=dict)
    unacked: dict[int, tuple[Message, ModelConsumer | None]] = field(default_factory=dict)

    @property
    def credit(self) -> int:
        if any(consumer.no_ack for consumer in self.consumers.values()):
            return FOREVER
        own = sum(consumer.credit for consumer in self.consumers.values())
        if not self.global_prefetch:
            return own
        outstanding = sum(consumer is not None for _, consumer in self.unacked.values())
        return min(own, max(0, self.global_prefetch - outstanding))


class QueueAgainstAList(RuleBasedStateMachine):
    @initialize()
    def begin(self) -> None:
        self.plane = Plane()
        self.clients = [self.plane.client(1, 2) for _ in range(3)]
        self.publisher = self.plane.client(1)
        self.channels = {at: ModelChannel() for at in CHANNELS}
        self.ready: list[Message] = []
        self.queues = 0
        self.next_sequence, self.next_name = count(1), count(1)
        self.declare()

    def declare(self) -> None:
        self.publisher.call(1, "queue.declare", queue=QUEUE)
        self.queues += 1

    def teardown(self) -> None:
        if hasattr(self, "plane"):
            self.plane.__exit__(None)

    # ------------------------------------------------------------------------------------------- what clients do

    @rule(number=st.integers(1, 12), expiration=EXPIRATIONS)
    def publish(self, number: int, expiration: str | None) -> None:
        properties = {} if expiration is None else {"expiration": expiration}
        for _ in range(number):
            sequence = next(self.next_sequence)
            body = f"{sequence} {'.' * (sequence % 4)}".encode()
            message = Message(sequence, self.queues, body)
            self.ready.append(message)
            self.publisher.publish(1, QUEUE, body, **properties)
            # To a consumer that can take it a message goes at once, before its time could be over.
            self.handed_out()
            message.is_expired = expiration == "0"
            self.ready = [ready for ready in self.ready if not (ready is message and message.is_expired)]

    @rule(at=st.sampled_from(CHANNELS), no_ack=st.sampled_from([False, False, False, True]))
    def consume(self, at: tuple[int, int], no_ack: bool) -> None:
        tag = f"c{next(self.next_name)}"
        self.ask(at, "basic.consume", queue=QUEUE, consumer_tag=tag, no_ack=no_ack)
        channel = self.channels[at]
        channel.consumers[tag] = ModelConsumer(channel.prefetch, no_ack)
        self.handed_out("basic.consume-ok")

    @rule(at=st.sampled_from(CHANNELS), prefetch=st.integers(0, 5), for_channel=BITS)
    def limit(self, at: tuple[int, int], prefetch: int, for_channel: bool) -> None:
        self.ask(at, "basic.qos", prefetch_count=prefetch, global_=for_channel)
        setattr(self.channels[at], "global_prefetch" if for_channel else "prefetch", prefetch)
        self.handed_out("basic.qos-ok")

    @rule(at=st.sampled_from(CHANNELS), which=st.integers(0))
    def cancel(self, at: tuple[int, int], which: int) -> None:
        channel = self.channels[at]
        if channel.consumers:
            tag = sorted(channel.consumers)[which % len(channel.consumers)]
            self.ask(at, "basic.cancel", consumer_tag=tag)
            del channel.consumers[tag]
            self.handed_out("basic.cancel-ok")

    @rule(at=st.sampled_from(CHANNELS), which=st.integers(0), multiple=BITS, outcome=st.integers(0, 3))
    def settle(self, at: tuple[int, int], which: int, multiple: bool, outcome: int) -> None:
        """One outstanding delivery, or all up to it: acked (mostly), dropped, or sent back."""
        channel = self.channels[at]
        if not channel.unacked:
            return
        tag = sorted(channel.unacked)[which % len(channel.unacked)]
        if outcome < 2:
            self.ask(at, "basic.ack", delivery_tag=tag, multiple=multiple)
        elif multiple:
            self.ask(at, "basic.nack", delivery_tag=tag, multiple=True, requeue=outcome == 3)
        else:
            self.ask(at, "basic.reject", delivery_tag=tag, requeue=outcome == 3)
        for settled in [other for other in channel.unacked if other == tag or (multiple and other < tag)]:
            self.give_back(channel, settled, requeue=outcome == 3)
        self.handed_out()

    @rule(at=st.sampled_from(CHANNELS), no_ack=BITS)
    def get(self, at: tuple[int, int], no_ack: bool) -> None:
        channel = self.channels[at]
        while self.ready and self.ready[0].is_expired:
            self.ready.pop(0)
        self.ask(at, "basic.get", queue=QUEUE, no_ack=no_ack)
        answer = self.clients[at[0]].received()
        if not self.ready:
            assert [method.name for method in answer] == ["basic.get-empty"]
            return
        assert [method.name for method in answer] == ["basic.get-ok"]
        message = self.ready.pop(0)
        self.check(answer[0], message, channel)
        assert answer[0].message_count == len(self.ready)
        if not no_ack:
            channel.unacked[answer[0].delivery_tag] = (message, None)

    @rule(at=st.sampled_from(CHANNELS), synchronous=BITS)
    def recover(self, at: tuple[int, int], synchronous: bool) -> None:
        self.ask(at, "basic.recover" if synchronous else "basic.recover-async", requeue=True)
        for tag in list(self.channels[at].unacked):
            self.give_back(self.channels[at], tag, requeue=True)
        self.handed_out(*["basic.recover-ok"] * synchronous)

    @precondition(lambda self: self.ready)
    @rule()
    def purge(self) -> None:
        assert self.publisher.call(1, "queue.purge", queue=QUEUE).message_count == len(self.ready)
        self.ready.clear()

    @rule()
    def sweep(self) -> None:
        deal_with_due(1000)
        self.ready = [message for message in self.ready if not message.is_expired]

    @rule(at=st.sampled_from(CHANNELS))
    def close(self, at: tuple[int, int]) -> None:
        self.ask(at, "channel.close", reply_code=200)
        self.forget(at)
        self.handed_out("channel.close-ok")
        self.clients[at[0]].call(at[1], "channel.open")

    @rule(who=st.integers(0, 2))
    def lose(self, who: int) -> None:
        """What its channels held goes out again when all of it is back."""
        self.clients[who].lose()
        for at in [at for at in CHANNELS if at[0] == who]:
            self.forget(at)
        self.clients[who] = self.plane.client(1, 2)
        self.handed_out()

    @precondition(lambda self: self.ready or any(channel.consumers for channel in self.channels.values()))
    @rule()
    def delete(self) -> None:
        """What is outstanding may still be settled, but has nowhere to go back to."""
        assert self.publisher.call(1, "queue.delete", queue=QUEUE).message_count == len(self.ready)
        self.ready.clear()
        told = [(method.name, method.consumer_tag) for client in self.clients for method in client.received()]
        consumers = [tag for channel in self.channels.values() for tag in channel.consumers]
        assert sorted(told) == sorted(("basic.cancel", tag) for tag in consumers)
        for channel in self.channels.values():
            channel.consumers.clear()
        self.declare()

    # ------------------------------------------------------------------------------------------- what the list says

    @property
    def credit(self) -> int:
        return sum(channel.credit for channel in self.channels.values())

    def ask(self, at: tuple[int, int], name: str, **fields: object) -> None:
        self.clients[at[0]].send(at[1], name, **fields)

    def give_back(self, channel: ModelChannel, tag: int, *, requeue: bool) -> None:
        message, consumer = channel.unacked.pop(tag)
        if consumer is not None:
            consumer.unacked -= 1
        if requeue and message.queue == self.queues:
            message.returned = True
            self.ready.append(message)
            self.ready.sort(key=lambda other: other.sequence)

    def forget(self, at: tuple[int, int]) -> None:
        for tag in list(self.channels[at].unacked):
            self.give_back(self.channels[at], tag, requeue=True)
        self.channels[at] = ModelChannel()

    def handed_out(self, *answers: str) -> None:
        """Every message that there is credit for, oldest first, and nothing besides the answers."""
        expected = self.take(self.credit)
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
        if self.credit:
            assert all(message.is_expired for message in self.ready)
            self.ready.clear()

    def take(self, credit: int) -> list[Message]:
        """The oldest that have not expired; those that have are dropped on the way."""
        taken: list[Message] = []
        while self.ready and len(taken) < credit:
            message = self.ready.pop(0)
            taken += [message] * (not message.is_expired)
        return taken

    def delivered(self, method: Method, message: Message, channel: ModelChannel) -> None:
        self.check(method, message, channel)
        consumer = channel.consumers[method.consumer_tag]
        if not consumer.no_ack:
            assert channel.credit, "more than the channel's limit"
            assert consumer.credit, "more than the consumer's limit"
            consumer.unacked += 1
            channel.unacked[method.delivery_tag] = (message, consumer)

    def check(self, method: Method, message: Message, channel: ModelChannel) -> None:
        channel.last_tag += 1
        assert method.delivery_tag == channel.last_tag
        assert (method.body, method.redelivered) == (message.body, message.returned)

    @invariant()
    def the_counts_agree(self) -> None:
        if not hasattr(self, "plane"):
            return
        queue = self.plane.queue(QUEUE)
        unacked = [message for channel in self.channels.values() for message, _ in channel.unacked.values()]
        assert queue.message_count == len(self.ready)
        assert queue.ready_bytes == sum(len(message.body) for message in self.ready)
        assert queue.unacked_count == sum(message.queue == self.queues for message in unacked)
        assert queue.consumer_count == sum(len(channel.consumers) for channel in self.channels.values())
        assert self.plane.live() == len(self.ready) + len(unacked)


class PieceByPiece(QueueAgainstAList):
    """What a channel held when it ends goes back one message at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.usual = leaving.AT_ONCE_MESSAGES, leaving.TURN_MESSAGES
        leaving.AT_ONCE_MESSAGES = leaving.TURN_MESSAGES = 1

    def teardown(self) -> None:
        super().teardown()
        leaving.AT_ONCE_MESSAGES, leaving.TURN_MESSAGES = self.usual


PHASES = [Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink]
QueueAgainstAList.TestCase.settings = settings(max_examples=100, stateful_step_count=40, deadline=None, phases=PHASES)
PieceByPiece.TestCase.settings = settings(max_examples=50, stateful_step_count=40, deadline=None, phases=PHASES)
TestQueueAgainstAList = QueueAgainstAList.TestCase
TestPieceByPiece = PieceByPiece.TestCase
