"""What was published, confirmed and seen: every confirmed message must be seen at least once.

The queue is durable and outlives its clients. They come and go at the worst of moments: with publishes that are not
confirmed yet, with deliveries that are not acknowledged.
"""

import itertools
import random
import threading

from tests.support.peer import Peer
from tests.support.wire import Gone, connect

QUEUE = "soak ledger"
WINDOW = 50
PERSISTENT = {"delivery_mode": 2}


class Ledger:
    def __init__(self) -> None:
        self.numbers = itertools.count()
        self.confirmed: set[int] = set()
        self.seen: set[int] = set()
        self.lock = threading.Lock()

    def publish(self, peer: Peer, dice: random.Random) -> None:
        """Some messages on a connection of their own. The last of them are not waited for when it just hangs up."""
        with connect(peer) as client:
            channel = client.channel()
            channel.queue(QUEUE, durable=True)
            channel.call("confirm.select")
            for _ in range(dice.randrange(1, 6)):
                numbers = [next(self.numbers) for _ in range(dice.randrange(1, WINDOW))]
                for number in numbers:
                    body = b"%d " % number + b"x" * dice.choice((0, 100, 5000))
                    channel.publish("", QUEUE, body, PERSISTENT)
                if dice.random() < 0.1:
                    return
                channel.wait_for_confirms(len(numbers))
                with self.lock:
                    self.confirmed.update(numbers)
            client.close()

    def consume(self, peer: Peer, dice: random.Random) -> None:
        """Take some, acknowledge most of them, and leave the rest to others."""
        with connect(peer) as client:
            channel = client.channel()
            channel.queue(QUEUE, durable=True)
            count = channel.count(QUEUE)
            channel.call("basic.qos", prefetch_count=WINDOW)
            channel.consume(QUEUE)
            client.socket.settimeout(1.0)  # others may have taken what was counted
            try:
                for _ in range(min(count, dice.randrange(1, 500))):
                    message = channel.expect("basic.deliver")
                    if dice.random() < 0.9:
                        self.note(message.body)
                        channel.ack(message.delivery_tag)
                    elif dice.random() < 0.5:
                        channel.send("basic.nack", delivery_tag=message.delivery_tag, requeue=True)
            except (TimeoutError, Gone):
                return
            if dice.random() < 0.5:
                client.socket.settimeout(30)
                client.close()

    def note(self, body: bytes) -> None:
        with self.lock:
            self.seen.add(int(body.split(b" ")[0]))

    def take_the_rest(self, peer: Peer) -> None:
        with connect(peer) as client:
            for body in client.channel().drain(QUEUE):
                self.note(body)
            client.close()

    def check(self) -> None:
        lost = self.confirmed - self.seen
        assert not lost, f"{len(lost)} confirmed messages were lost: {sorted(lost)[:20]}"
