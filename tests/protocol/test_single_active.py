"""x-single-active-consumer: one consumer at a time, the next in line when it goes, and nothing out of order."""

from typing import Any

import pytest

from tests.support.broker import until
from tests.support.codec import Method
from tests.support.wire import Channel, Client, connect


@pytest.fixture(params=[{}, {"x-max-priority": 5}], ids=["plain", "with priorities"])
def single(channel: Channel, name: str, request: pytest.FixtureRequest) -> str:
    return channel.queue(name, auto_delete=True, arguments={"x-single-active-consumer": True, **request.param})


def bodies(methods: list[Method]) -> list[bytes]:
    return [method.body for method in methods if method.name == "basic.deliver"]


def test_one_gets_all(client: Client, other: Client, channel: Channel, single: str) -> None:
    channel.consume(single, "first", no_ack=True)
    waiting = [client.channel(), other.channel()]
    for number, second in enumerate(waiting):
        second.consume(single, f"second-{number}", no_ack=True)
    channel.put(single, *(b"%d" % number for number in range(20)))
    assert bodies(channel.settle(single)) == [b"%d" % number for number in range(20)]
    assert [second.settle(single) for second in waiting] == [[], []]
    assert channel.ask("queue.declare", queue=single, passive=True).consumer_count == 3


def test_a_full_one_is_not_helped(client: Client, channel: Channel, single: str) -> None:
    channel.call("basic.qos", prefetch_count=2)
    channel.consume(single, "first")
    second = client.channel()
    second.consume(single, "second")
    channel.put(single, b"1", b"2", b"3")
    assert bodies(channel.settle(single)) == [b"1", b"2"]
    assert second.settle(single) == []
    channel.take_pending()
    channel.ack(1)
    assert channel.expect("basic.deliver").body == b"3"


def cancel(holder: Channel) -> None:
    holder.call("basic.cancel", consumer_tag="first")


def close_channel(holder: Channel) -> None:
    holder.close()


def close_connection(holder: Channel) -> None:
    holder.client.close()


def lose_connection(holder: Channel) -> None:
    holder.client.drop()


def break_rules(holder: Channel) -> None:
    holder.ack(99)
    holder.expect_close(406)


@pytest.mark.parametrize("leave", [close_channel, close_connection, lose_connection, break_rules])
def test_the_next_takes_over_in_order(channel: Channel, single: str, leave: Any) -> None:
    """What the first one held comes first, then what follows."""
    with connect(channel.client.peer) as leaving:
        holder = leaving.channel()
        holder.call("basic.qos", prefetch_count=3)
        holder.consume(single, "first")
        channel.consume(single, "second")
        third = channel.client.channel()
        third.consume(single, "third")
        channel.put(single, *(b"%d" % number for number in range(6)))
        for _ in range(3):
            holder.expect("basic.deliver")
        holder.ack(1)
        assert holder.expect("basic.deliver").body == b"3"
        leave(holder)
    came = [channel.expect("basic.deliver") for _ in range(5)]
    assert [(message.body, message.redelivered) for message in came] == [
        (b"1", True),
        (b"2", True),
        (b"3", True),
        (b"4", False),
        (b"5", False),
    ]
    assert third.settle(single) == []
    channel.ack(0, multiple=True)
    assert channel.count(single) == 0


@pytest.mark.flowmq_only
def test_a_backlog_goes_on_at_once(client: Client, channel: Channel, single: str) -> None:
    """In RabbitMQ the next in line gets its first message when something else happens to the queue."""
    channel.call("basic.qos", prefetch_count=1)
    channel.consume(single, "first")
    second = client.channel()
    second.consume(single, "second")
    channel.put(single, b"1", b"2", b"3")
    assert channel.expect("basic.deliver").body == b"1"
    cancel(channel)
    assert [second.expect("basic.deliver").body for _ in range(2)] == [b"2", b"3"]


def test_cancelling_leaves_what_is_held(client: Client, channel: Channel, single: str) -> None:
    """Only a lost channel gives back what its consumer held."""
    channel.consume(single, "first")
    second = client.channel()
    second.consume(single, "second")
    channel.put(single, b"1")
    assert channel.expect("basic.deliver").body == b"1"
    cancel(channel)
    channel.put(single, b"2", b"3")
    assert [second.expect("basic.deliver").body for _ in range(2)] == [b"2", b"3"]
    channel.send("basic.reject", delivery_tag=1, requeue=True)
    message = second.expect("basic.deliver")
    assert (message.body, message.redelivered) == (b"1", True)


def test_those_who_wait_may_go(client: Client, channel: Channel, single: str) -> None:
    channel.consume(single, "first", no_ack=True)
    second, third = client.channel(), client.channel()
    second.consume(single, "second", no_ack=True)
    third.consume(single, "third", no_ack=True)
    second.call("basic.cancel", consumer_tag="second")
    channel.put(single, b"1")
    assert channel.expect("basic.deliver").body == b"1"
    cancel(channel)
    channel.put(single, b"2")
    assert third.expect("basic.deliver").body == b"2"


def test_one_channel_may_have_several(channel: Channel, single: str) -> None:
    for tag in ("first", "second"):
        channel.consume(single, tag, no_ack=True)
    channel.put(single, b"1")
    assert channel.expect("basic.deliver").consumer_tag == "first"
    cancel(channel)
    channel.put(single, b"2")
    assert channel.expect("basic.deliver").consumer_tag == "second"


def test_the_active_one_may_come_again_at_the_end(channel: Channel, client: Client, single: str) -> None:
    second = client.channel()
    channel.consume(single, "first", no_ack=True)
    second.consume(single, "second", no_ack=True)
    cancel(channel)
    channel.consume(single, "first", no_ack=True)
    channel.put(single, b"1")
    assert second.expect("basic.deliver").body == b"1"
    assert channel.settle(single) == []


def test_nobody_may_be_exclusive(channel: Channel, other: Client, single: str) -> None:
    channel.consume(single, "first")
    intruder = other.channel()
    intruder.send("basic.consume", queue=single, exclusive=True)
    intruder.expect_close(403, f"ACCESS_REFUSED - queue '{single}' in vhost '/' in exclusive use", (60, 20))


@pytest.mark.newer
def test_nobody_may_get(channel: Channel, other: Client, single: str) -> None:
    channel.put(single, b"x")
    intruder = other.channel()
    intruder.send("basic.get", queue=single)
    text = "basic.get operations are not supported by classic queues with single active consumer"
    intruder.expect_close(
        405, f"RESOURCE_LOCKED - cannot obtain access to locked queue '{single}' in vhost '/'. {text}"
    )
    assert channel.count(single) == 1


def test_auto_delete_waits_for_the_last(channel: Channel, other: Client, single: str) -> None:
    channel.consume(single, "first")
    second = other.channel()
    second.consume(single, "second")
    cancel(channel)
    assert second.count(single) == 0
    second.call("basic.cancel", consumer_tag="second")
    channel.send("queue.declare", queue=single, passive=True)
    channel.expect_close(404)


def test_with_a_dead_letter_on_every_takeover(channel: Channel, name: str, queue: str) -> None:
    arguments = {
        "x-single-active-consumer": True,
        "x-dead-letter-exchange": "",
        "x-dead-letter-routing-key": queue,
    }
    single = channel.queue(name + "-single", exclusive=True, arguments=arguments)
    consumers = [channel.client.channel() for _ in range(4)]
    for consumer in consumers:
        consumer.call("basic.qos", prefetch_count=1)
        consumer.consume(single, "tag")
    for number, consumer in enumerate(consumers):
        channel.put(single, b"%d" % number)
        message = consumer.expect("basic.deliver")
        assert message.body == b"%d" % number
        consumer.call("basic.cancel", consumer_tag="tag")
        consumer.send("basic.reject", delivery_tag=message.delivery_tag, requeue=False)
    until(lambda: channel.count(queue) == 4)
    assert sorted(channel.drain(queue)) == [b"0", b"1", b"2", b"3"]
