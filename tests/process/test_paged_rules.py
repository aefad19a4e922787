"""More than memory should hold, in queues that expire, dead-letter, overflow and know priorities: nothing is lost,
doubled or out of order, across a restart, too.

tests/unit/test_queue_rules.py says the same of every order of events, with windows of three messages.
"""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from flowmq.server.control import place
from flowmq.server.control.client import ControlConnection
from tests.support import codec
from tests.support.broker import Broker, until
from tests.support.wire import Channel, connect

pytestmark = [pytest.mark.flowmq_only, pytest.mark.slow, pytest.mark.timeout(120)]
MEGABYTE = 1 << 20
LIMIT = 16 * MEGABYTE
MESSAGES = 1000
KEPT, LEVELS = 600, 4
TTL_MS = 2000
BODIES = [b"%d " % number + b"x" * 8192 for number in range(MESSAGES)]
QUEUES: dict[str, dict[str, Any]] = {
    "leveled": {"x-max-priority": LEVELS - 1},
    "limited": {"x-max-length": KEPT, "x-dead-letter-exchange": "", "x-dead-letter-routing-key": "over"},
    "timed": {"x-message-ttl": TTL_MS, "x-dead-letter-exchange": "", "x-dead-letter-routing-key": "dead"},
    "over": {},
    "dead": {},
}


def fill(channel: Channel, durable: bool) -> None:
    for name, arguments in QUEUES.items():
        channel.queue(name, durable=durable, arguments=arguments)
    through = channel.client.confirming()
    for number, body in enumerate(BODIES):
        properties = {"delivery_mode": 2, "priority": number % LEVELS}
        for queue in ("leveled", "limited", "timed"):
            publish = codec.method_frame(through.number, "basic.publish", exchange="", routing_key=queue)
            channel.client.write(publish + through.content(body, properties))
    through.wait_for_confirms(3 * MESSAGES)


def paged_out(broker: Broker) -> int:
    with ControlConnection(broker.data_dir / place.NAME) as control:
        return sum(control.call("queue.show", name=name)["messages_paged_out"] for name in QUEUES)


def numbers(channel: Channel, queue: str) -> Iterator[int]:
    """All it holds, in the order in which it gives them."""
    for body in channel.drain(queue):
        number = int(body.partition(b" ")[0])
        assert body == BODIES[number]
        yield number


@pytest.mark.parametrize("then", ["go on", "stop", "kill"])
@pytest.mark.parametrize("durable", [True, False], ids=["durable", "passing"])
def test_rules_of_queues_that_are_paged(own_broker: Callable[..., Broker], durable: bool, then: str) -> None:
    if then != "go on" and not durable:
        pytest.skip("nothing would be there afterwards")
    broker = own_broker(FLOWMQ_LIMITS__MEMORY_BYTES_MAX=str(LIMIT), FLOWMQ_STORAGE__SEGMENT_BYTES=str(4 * MEGABYTE))
    channel = connect(broker.peer).channel()
    fill(channel, durable)
    assert paged_out(broker) > MESSAGES // 2
    if then != "go on":
        channel.client.drop()
        getattr(broker, then)()
        broker = broker.again()
        channel = connect(broker.peer).channel()
    try:
        until(lambda: channel.count("dead") == MESSAGES)
        assert [channel.count(name) for name in ("timed", "limited", "over")] == [0, KEPT, MESSAGES - KEPT]
        assert list(numbers(channel, "dead")) == list(range(MESSAGES))
        assert list(numbers(channel, "over")) == list(range(MESSAGES - KEPT))
        assert list(numbers(channel, "limited")) == list(range(MESSAGES - KEPT, MESSAGES))
        by_level = sorted(range(MESSAGES), key=lambda number: (-(number % LEVELS), number))
        assert list(numbers(channel, "leveled")) == by_level
        channel.client.drop()
        broker.stop()
    finally:
        broker.kill()
