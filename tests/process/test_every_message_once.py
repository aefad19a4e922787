"""Everything that queues do to messages at the same time, by a seed: in the end each message is in exactly one place.

Queues expire, drop, refuse, retry and dead-letter into each other and at last into one that keeps all; consumers come,
acknowledge, reject, give back, and go without a word. A message ends when a consumer acknowledges it. So what was
acknowledged, and then what is found when all is quiet, must be what was published: nothing lost, nothing twice.
"""

import random
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from tests.support import codec
from tests.support.broker import Broker, until
from tests.support.peer import Peer
from tests.support.wire import Channel, Client, connect

pytestmark = [pytest.mark.slow, pytest.mark.flowmq_only]
SINK, GRAVEYARD = "sink", "graveyard"
BATCH = 200

QUEUES: dict[str, dict[str, Any]] = {
    "short": {"x-message-ttl": 150, "x-dead-letter-exchange": GRAVEYARD},
    "lives": {"x-dead-letter-exchange": GRAVEYARD},
    "least": {"x-max-length": 300, "x-dead-letter-exchange": "", "x-dead-letter-routing-key": "levels"},
    "bytes": {"x-max-length-bytes": 2000, "x-dead-letter-exchange": "", "x-dead-letter-routing-key": "full"},
    "levels": {"x-max-priority": 5, "x-delivery-limit": 2, "x-dead-letter-exchange": GRAVEYARD},
    "full": {
        "x-max-length": 500,
        "x-overflow": "reject-publish-dlx",
        "x-dead-letter-exchange": "",
        "x-dead-letter-routing-key": "later",
    },
    "later": {
        "x-delayed-retry-type": "all",
        "x-delayed-retry-min": 20,
        "x-delivery-limit": 3,
        "x-message-ttl": 400,
        "x-dead-letter-exchange": GRAVEYARD,
    },
    "single": {"x-single-active-consumer": True, "x-max-length": 50, "x-dead-letter-exchange": GRAVEYARD},
    SINK: {},
}


class Storm:
    """The clients, what they have published and what they have acknowledged."""

    def __init__(self, peer: Peer, seed: int, durable: bool) -> None:
        self.peer, self.durable = peer, durable
        self.random = random.Random(seed)
        self.published = 0
        self.acknowledged: list[int] = []
        self.client = connect(peer)
        self.channel = self.client.channel()

    def declare(self) -> None:
        call = self.channel.call
        call("exchange.declare", exchange=GRAVEYARD, type="fanout", durable=self.durable)
        for queue, arguments in QUEUES.items():
            call("queue.declare", queue=queue, durable=self.durable, arguments=arguments)
        call("queue.bind", queue=SINK, exchange=GRAVEYARD)

    def publish(self, count: int) -> None:
        """One write; it returns when all of them are answered, whatever with."""
        through = self.client.confirming()
        frames = []
        for _ in range(count):
            properties: dict[str, Any] = {
                "delivery_mode": self.random.choice((1, 2, 2)),
                "priority": self.random.randrange(8),
            }
            if self.random.random() < 0.3:
                properties["expiration"] = str(self.random.choice((0, 5, 50, 200, 700, 60_000)))
            queue = self.random.choice(list(QUEUES))
            if "expiration" in properties and queue == SINK:
                queue = "lives"
            frame = codec.method_frame(through.number, "basic.publish", exchange="", routing_key=queue)
            frames.append(frame + through.content(b"%d" % self.published, properties))
            self.published += 1
        self.client.write(b"".join(frames))
        waiting = set(range(through.confirmed + 1, through.confirmed + count + 1))
        while waiting:
            answer = through.expect("basic.ack", "basic.nack")
            if answer.multiple:
                waiting = {number for number in waiting if number > answer.delivery_tag}
            else:
                waiting.remove(answer.delivery_tag)
        through.confirmed += count

    def consume_a_while(self) -> None:
        """A consumer of one queue that does something else with every message, and goes in one of three ways."""
        client = connect(self.peer)
        channel = client.channel()
        queue = self.random.choice([name for name in QUEUES if name != SINK])
        channel.call("basic.qos", prefetch_count=self.random.choice((1, 10, 500)))
        channel.consume(queue, "tag")
        for _ in range(self.random.randrange(1, 4)):
            for delivery in channel.settle(queue):
                client._inbox.remove(delivery)
                self.answer(channel, delivery.delivery_tag, int(delivery.body))
        self.leave(client, channel)

    def answer(self, channel: Channel, delivery_tag: int, number: int) -> None:
        how = self.random.choice(("ack", "reject", "requeue", "nack", "hold"))
        if how == "ack":
            channel.ack(delivery_tag)
            self.acknowledged.append(number)
        elif how == "reject":
            channel.send("basic.reject", delivery_tag=delivery_tag, requeue=False)
        elif how == "requeue":
            channel.send("basic.reject", delivery_tag=delivery_tag, requeue=True)
        elif how == "nack":
            channel.send("basic.nack", delivery_tag=delivery_tag, multiple=False, requeue=True)

    def leave(self, client: Client, channel: Channel) -> None:
        how = self.random.choice(("reject all", "close", "drop"))
        if how == "reject all":
            channel.send("basic.nack", delivery_tag=0, multiple=True, requeue=self.random.random() < 0.5)
        if how != "drop":
            # Everything said before is done; acknowledgements of a connection that is lost need not be.
            client.close()
        else:
            channel.count(SINK)
            client.drop()

    def storm(self, rounds: int) -> None:
        for _ in range(rounds):
            self.publish(self.random.randrange(1, BATCH))
            if self.random.random() < 0.5:
                self.consume_a_while()

    def drain(self) -> Counter[int]:
        """Until nothing is left anywhere: what was found, and what was acknowledged before."""
        found: Counter[int] = Counter(self.acknowledged)
        left = connect(self.peer)
        channel = left.channel()
        channel.call("basic.qos", prefetch_count=1000)
        for queue in QUEUES:
            channel.ask("basic.consume", queue=queue, consumer_tag=queue)
        missing = self.published - len(self.acknowledged)
        for received in range(missing):
            delivery = channel.expect("basic.deliver")
            found[int(delivery.body)] += 1
            if received % 100 == 99 or received == missing - 1:
                channel.ack(delivery.delivery_tag, multiple=True)
        until(lambda: all(channel.ask("queue.declare", queue=q, passive=True).message_count == 0 for q in QUEUES))
        found.update(int(extra.body) for extra in channel.take_pending())
        left.close()
        return found


def check(storm: Storm) -> None:
    found = storm.drain()
    assert [number for number in range(storm.published) if not found[number]] == []
    assert [number for number, times in found.items() if times > 1] == []


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("durable", [False, True])
def test_every_message_is_in_one_place(own_broker: Callable[..., Broker], durable: bool, seed: int) -> None:
    broker = own_broker()
    storm = Storm(broker.peer, seed, durable)
    storm.declare()
    storm.storm(100)
    check(storm)
    storm.client.close()
    broker.stop()
