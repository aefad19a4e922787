"""Limits that are settings: on messages, connections and consumers, each refused with the words RabbitMQ has for it."""

from collections.abc import Callable

import pytest

from tests.support.broker import Broker
from tests.support.wire import Client, connect

pytestmark = pytest.mark.flowmq_only
OwnBroker = Callable[..., Broker]


def test_message_size(own_broker: OwnBroker) -> None:
    broker = own_broker(FLOWMQ_LIMITS__MESSAGE_BYTES_MAX="10000")
    with connect(broker.peer) as client:
        channel = client.channel()
        queue = channel.queue()
        channel.put(queue, b"x" * 10_000)
        channel.publish("", queue, b"x" * 10_001)
        text = "PRECONDITION_FAILED - message size 10001 is larger than configured max size 10000"
        channel.expect_close(406, text, (60, 40))
        channel.call("channel.open")
        assert channel.count(queue) == 1
        client.close()
    broker.stop()


def test_number_of_connections(own_broker: OwnBroker) -> None:
    broker = own_broker(FLOWMQ_LIMITS__CONNECTIONS_MAX="2")
    first, second = connect(broker.peer), connect(broker.peer)
    with Client(broker.peer) as third:
        third.start()
        third.start_ok()
        third.tune()
        third.send(0, "connection.open", virtual_host="/")
        third.expect_close(530, "NOT_ALLOWED - connection refused: node connection limit (2) is reached")
    first.close()
    with connect(broker.peer) as instead:
        instead.close()
    second.close()
    broker.stop()


def test_consumers_of_a_channel(own_broker: OwnBroker) -> None:
    broker = own_broker(FLOWMQ_LIMITS__CONSUMERS_PER_CHANNEL_MAX="3")
    with connect(broker.peer) as client:
        channel, other = client.channel(), client.channel()
        queue = channel.queue()
        tags = [channel.consume(queue) for _ in range(3)]
        other.consume(queue)
        channel.call("basic.cancel", consumer_tag=tags[0])
        channel.consume(queue)
        channel.send("basic.consume", queue=queue)
        client.expect_close(530, "NOT_ALLOWED - reached maximum (3) of consumers per channel")
    broker.stop()
