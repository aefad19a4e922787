"""x-queue-type quorum: the same queue with some rules of its own. What is refused stands in test_arguments.py."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.broker import until
from tests.support.codec import Method
from tests.support.wire import Channel, Client, connect

QUORUM = {"x-queue-type": "quorum"}


@pytest.fixture
def quorum(peer: Any, channel: Channel, name: str) -> Iterator[str]:
    channel.queue(name + "-quorum", durable=True, arguments=QUORUM)
    yield name + "-quorum"
    with connect(peer) as tidying:
        tidying.channel().call("queue.delete", queue=name + "-quorum")


def got(channel: Channel, queue: str) -> Method:
    """The next message, which a quorum queue may still be putting back."""
    while True:
        message = channel.get(queue, no_ack=False)
        if message:
            return message


def test_messages_come_in_order_and_can_be_acknowledged(channel: Channel, quorum: str) -> None:
    channel.put(quorum, *(b"%d" % number for number in range(50)), properties={"delivery_mode": 2})
    channel.call("basic.qos", prefetch_count=10)
    channel.consume(quorum, "tag")
    for number in range(50):
        message = channel.expect("basic.deliver")
        assert (message.body, message.redelivered) == (b"%d" % number, False)
        channel.ack(message.delivery_tag)
    until(lambda: channel.count(quorum) == 0)


def test_redeclared_alike_and_not_otherwise(channel: Channel, other: Client, quorum: str) -> None:
    channel.queue(quorum, durable=True, arguments=QUORUM)
    second = other.channel()
    second.send("queue.declare", queue=quorum, durable=True, arguments={"x-queue-type": "classic"})
    text = (
        f"inequivalent arg 'x-queue-type' for queue '{quorum}' in vhost '/': received 'classic' but current is 'quorum'"
    )
    second.expect_close(406, f"PRECONDITION_FAILED - {text}", (50, 10))


def test_how_often_it_failed_is_said(channel: Channel, quorum: str) -> None:
    channel.put(quorum, b"x")
    for count in range(4):
        message = got(channel, quorum)
        headers = message.properties.get("headers", {})
        assert headers.get("x-delivery-count", 0) == count
        assert message.redelivered == (count > 0)
        channel.send("basic.reject", delivery_tag=message.delivery_tag, requeue=True)


@pytest.mark.newer
def test_nack_is_no_failure(channel: Channel, quorum: str) -> None:
    """Since 4.3 it counts as returned, not as failed."""
    channel.put(quorum, b"x")
    for count in range(3):
        message = got(channel, quorum)
        headers = message.properties.get("headers", {})
        assert (headers.get("x-delivery-count", 0), headers.get("x-acquired-count", 0)) == (0, count)
        channel.send("basic.nack", delivery_tag=message.delivery_tag, requeue=True)


def test_a_lost_consumer_is_a_failure(channel: Channel, quorum: str) -> None:
    channel.put(quorum, b"x")
    with connect(channel.client.peer) as lost:
        assert got(lost.channel(), quorum).body == b"x"
    message = got(channel, quorum)
    assert (message.redelivered, message.properties["headers"]["x-delivery-count"]) == (True, 1)


@pytest.mark.parametrize("limit", [0, 1, 3])
def test_a_delivery_limit(channel: Channel, name: str, queue: str, limit: int) -> None:
    arguments = {
        **QUORUM,
        "x-delivery-limit": limit,
        "x-dead-letter-exchange": "",
        "x-dead-letter-routing-key": queue,
    }
    limited = channel.queue(name + "-limited", durable=True, arguments=arguments)
    channel.put(limited, b"x", properties={"delivery_mode": 2})
    for count in range(limit + 1):
        message = got(channel, limited)
        assert message.properties.get("headers", {}).get("x-delivery-count", 0) == count
        channel.send("basic.reject", delivery_tag=message.delivery_tag, requeue=True)
    until(lambda: channel.count(queue) == 1)
    dead = channel.get(queue)
    assert dead
    (death,) = dead.properties["headers"]["x-death"]
    assert (death["queue"], death["reason"], death["count"]) == (limited, "delivery_limit", 1)
    assert "x-delivery-count" not in dead.properties["headers"]
    channel.call("queue.delete", queue=limited)


def test_without_a_delivery_limit_it_goes_on(channel: Channel, quorum: str) -> None:
    """No limit by default, as in RabbitMQ before 4.0."""
    channel.put(quorum, b"x")
    for _ in range(30):
        message = got(channel, quorum)
        channel.send("basic.reject", delivery_tag=message.delivery_tag, requeue=True)
    assert got(channel, quorum).properties["headers"]["x-delivery-count"] == 30


@pytest.mark.parametrize(
    "arguments",
    [
        {"x-max-length": 2},
        {"x-max-length-bytes": 2},
        {"x-max-length": 2, "x-overflow": "drop-head"},
    ],
)
def test_limits(channel: Channel, name: str, queue: str, arguments: dict[str, Any]) -> None:
    dead = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": queue}
    limited = channel.queue(name + "-limited", durable=True, arguments={**QUORUM, **dead, **arguments})
    channel.put(limited, b"1", b"2", b"3", b"4")
    until(lambda: channel.count(queue) == 2)
    assert channel.drain(queue) == [b"1", b"2"]
    assert channel.count(limited) == 2
    channel.call("queue.delete", queue=limited)


def test_single_active_consumer(client: Client, channel: Channel, name: str) -> None:
    arguments = {**QUORUM, "x-single-active-consumer": True}
    single = channel.queue(name, durable=True, arguments=arguments)
    channel.consume(single, "first", no_ack=True)
    second = client.channel()
    second.consume(single, "second", no_ack=True)
    channel.put(single, b"1")
    assert channel.expect("basic.deliver").body == b"1"
    channel.call("basic.cancel", consumer_tag="first")
    channel.put(single, b"2")
    assert second.expect("basic.deliver").body == b"2"
    channel.call("queue.delete", queue=single)


def test_purge_and_delete_count(channel: Channel, name: str) -> None:
    queue = channel.queue(name, durable=True, arguments=QUORUM)
    channel.put(queue, b"1", b"2", b"3")
    until(lambda: channel.count(queue) == 3)
    assert channel.call("queue.purge", queue=queue).message_count == 3
    channel.put(queue, b"4")
    until(lambda: channel.count(queue) == 1)
    assert channel.call("queue.delete", queue=queue).message_count == 1
