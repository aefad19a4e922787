"""Publishers when memory is short: stopped and told so, while consumers go on and end the shortage."""

from collections.abc import Callable

import pytest

from tests.support.broker import Broker
from tests.support.wire import Client, connect

pytestmark = pytest.mark.flowmq_only  # the limit is a setting of FLOWMQ's, and the shortage must be nobody else's
LIMIT = 1 << 20  # less than a queue keeps in memory before the rest of it goes to disk
BODY = b"x" * (64 << 10)


def publish_until_blocked(client: Client, queue: str) -> int:
    """How many were published when the broker said stop."""
    channel = client.channel()
    channel.call("confirm.select")
    for number in range(1, 1000):
        channel.publish("", queue, BODY)
        method = client.receive()
        if method.name == "connection.blocked":
            assert method.reason == "low on memory"
            return number
        assert method.name == "basic.ack", str(method)
    raise AssertionError("never blocked")


def test_publisher_is_blocked_until_consumers_have_made_room(own_broker: Callable[..., Broker]) -> None:
    broker = own_broker(FLOWMQ_LIMITS__MEMORY_BYTES_MAX=str(LIMIT))
    publisher = connect(broker.peer)
    queue = publisher.channel().queue()
    published = publish_until_blocked(publisher, queue)
    assert 0.5 * LIMIT < published * len(BODY) < 2 * LIMIT

    with connect(broker.peer, capabilities={}) as unaware:  # opens as ever, is stopped, and is told nothing
        writer = unaware.channel()
        writer.call("confirm.select")
        writer.publish("", queue, BODY)
        with connect(broker.peer) as consumer:
            reader = consumer.channel()
            reader.consume(queue, no_ack=True)
            for _ in range(published):
                assert reader.expect("basic.deliver").body == BODY
            assert publisher.expect("connection.unblocked")
            assert writer.expect("basic.ack").delivery_tag == 1
            assert reader.expect("basic.deliver").body == BODY
            consumer.close()
        unaware.close()
    publisher.close()
    broker.stop()
