"""Exclusive consumers, priorities of consumers and cancel notifications: in each other's company, and where routing is
concerned. What is expected was taken from RabbitMQ 3.10.
"""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.codec import Typed
from tests.support.peer import Peer
from tests.support.wire import Channel, Client, connect


def in_use(queue: str) -> str:
    return f"ACCESS_REFUSED - queue '{queue}' in vhost '/' in exclusive use"


def tags(channel: Channel, count: int) -> list[str]:
    return [str(channel.expect("basic.deliver").consumer_tag) for _ in range(count)]


def declare_exchange(channel: Channel, exchange: str, kind: str, **fields: Any) -> str:
    channel.call("exchange.declare", exchange=exchange, type=kind, **fields)
    return exchange


def comes_back(channel: Channel, exchange: str, key: str = "") -> bool:
    """A mandatory message to that exchange comes back."""
    channel.publish(exchange, key, b"x", mandatory=True)
    # Whether it came back is known once the channel answers something asked later.
    channel.send("basic.qos", prefetch_count=0)
    came = channel.expect("basic.return", "basic.qos-ok").name == "basic.return"
    if came:
        channel.expect("basic.qos-ok")
    return came


# exclusive consumers


def test_exclusive_ends_with_its_channel_its_connection_and_its_cancel(peer: Peer, channel: Channel, name: str) -> None:
    channel.queue(name)
    for end in ("cancel", "channel", "connection"):
        with connect(peer) as client:
            holder = client.channel()
            holder.consume(name, "only", exclusive=True)
            channel.send("basic.consume", queue=name)
            channel.expect_close(403, in_use(name), (60, 20))
            channel.call("channel.open")
            if end == "cancel":
                holder.call("basic.cancel", consumer_tag="only")
            elif end == "channel":
                holder.close()
            else:
                client.close()
            channel.consume(name, "next", exclusive=True)
            channel.call("basic.cancel", consumer_tag="next")
    channel.call("queue.delete", queue=name)


def test_exclusive_keeps_others_from_consuming_and_from_nothing_else(
    channel: Channel, other: Client, name: str
) -> None:
    channel.queue(name)
    channel.call("basic.qos", prefetch_count=1)
    channel.consume(name, "only", exclusive=True)
    channel.put(name, b"1", b"2", b"3")
    stranger = other.channel()
    assert channel.expect("basic.deliver").body == b"1"
    got = stranger.get(name)
    assert got
    assert got.body == b"2"
    assert stranger.call("queue.purge", queue=name).message_count == 1
    stranger.call("queue.delete", queue=name)
    assert channel.expect("basic.cancel").consumer_tag == "only"


def test_exclusive_is_refused_to_a_second_tag_of_the_same_channel(channel: Channel, queue: str) -> None:
    channel.consume(queue, "only", exclusive=True)
    channel.send("basic.consume", queue=queue, consumer_tag="second", arguments={"x-priority": 10})
    channel.expect_close(403, in_use(queue), (60, 20))


def test_a_refused_consumer_leaves_the_exclusive_one_at_work(channel: Channel, other: Client, name: str) -> None:
    channel.queue(name)
    channel.consume(name, "only", exclusive=True, no_ack=True)
    stranger = other.channel()
    for fields in ({}, {"exclusive": True}, {"arguments": {"x-priority": 5}}):
        stranger.send("basic.consume", queue=name, **fields)
        stranger.expect_close(403, in_use(name))
        stranger.call("channel.open")
    stranger.put(name, b"1", b"2")
    assert tags(channel, 2) == ["only"] * 2
    channel.call("queue.delete", queue=name)


# priorities


def test_a_higher_priority_that_comes_later_goes_first(channel: Channel, queue: str) -> None:
    channel.consume(queue, "first", no_ack=True)
    channel.put(queue, b"1", b"2")
    assert tags(channel, 2) == ["first"] * 2
    channel.consume(queue, "higher", no_ack=True, arguments={"x-priority": 1})
    channel.put(queue, b"3", b"4")
    assert tags(channel, 2) == ["higher"] * 2
    channel.call("basic.cancel", consumer_tag="higher")
    channel.put(queue, b"5")
    assert tags(channel, 1) == ["first"]


def test_turns_are_taken_within_a_priority(channel: Channel, queue: str) -> None:
    channel.call("basic.qos", prefetch_count=2)
    for tag, priority in (("a", 5), ("low", 0), ("b", 5)):
        channel.consume(queue, tag, arguments={"x-priority": priority})
    channel.put(queue, *[b"x"] * 6)
    found = tags(channel, 6)
    assert sorted(found[:4]) == ["a", "a", "b", "b"]
    assert found[0] != found[1]
    assert found[4:] == ["low", "low"]


@pytest.mark.parametrize("letter", "bBsuIil")
def test_a_priority_may_be_a_number_of_any_width(channel: Channel, queue: str, letter: str) -> None:
    channel.consume(queue, "none", no_ack=True)
    channel.consume(queue, "some", no_ack=True, arguments={"x-priority": Typed(letter, 1)})
    channel.put(queue, b"x", b"y")
    assert tags(channel, 2) == ["some"] * 2


PRIORITIES_REFUSED = [
    ("high", "longstr"),
    (1.5, "double"),
    (True, "bool"),
    ([1], "array"),
]


@pytest.mark.parametrize(("priority", "kind"), PRIORITIES_REFUSED)
def test_a_priority_is_a_number(channel: Channel, queue: str, priority: object, kind: str) -> None:
    channel.send("basic.consume", queue=queue, arguments={"x-priority": priority})
    close = channel.expect_close(406, None, (60, 20))
    assert kind in close.reply_text
    assert "x-priority" in close.reply_text


def test_what_comes_back_goes_to_the_highest_first(client: Client, channel: Channel, queue: str) -> None:
    low = client.channel()
    low.consume(queue, "low")
    channel.put(queue, b"1")
    delivery = low.expect("basic.deliver")
    channel.consume(queue, "high", arguments={"x-priority": 1})
    low.send("basic.nack", delivery_tag=delivery.delivery_tag, requeue=True)
    again = channel.expect("basic.deliver")
    assert (again.consumer_tag, again.body, again.redelivered) == ("high", b"1", True)
    channel.close()
    last = low.expect("basic.deliver")
    assert (last.consumer_tag, last.body, last.redelivered) == ("low", b"1", True)


def test_a_message_reaches_a_queue_once_whoever_consumes(channel: Channel, names: Iterator[str]) -> None:
    """By two bindings and CC, with two consumers of different priority: one delivery."""
    exchange, queue = declare_exchange(channel, next(names), "topic", auto_delete=True), next(names)
    channel.queue(queue, exclusive=True)
    for key in ("a.#", "#.b"):
        channel.call("queue.bind", queue=queue, exchange=exchange, routing_key=key)
    for tag, priority in (("low", -1), ("high", 1)):
        channel.consume(queue, tag, no_ack=True, arguments={"x-priority": priority})
    channel.publish(exchange, "a.b", b"x", {"headers": {"CC": ["a.c", "c.b"], "BCC": ["a.b"]}})
    assert tags(channel, 1) == ["high"]
    assert channel.settle(queue) == []


# cancel notifications


def cancels(channel: Channel, count: int) -> set[str]:
    return {str(channel.expect("basic.cancel").consumer_tag) for _ in range(count)}


def test_every_consumer_on_every_channel_is_told(client: Client, channel: Channel, other: Client, name: str) -> None:
    channel.queue(name)
    second, foreign = client.channel(), other.channel()
    for on, tag, priority in ((channel, "a", 0), (channel, "b", 7), (second, "c", -7), (foreign, "d", 0)):
        on.consume(name, tag, arguments={"x-priority": priority})
    foreign.send("queue.delete", queue=name)
    answers = [foreign.expect("basic.cancel", "queue.delete-ok").name for _ in range(2)]
    assert sorted(answers) == ["basic.cancel", "queue.delete-ok"]
    assert cancels(channel, 2) == {"a", "b"}
    assert cancels(second, 1) == {"c"}
    for on in (channel, second, foreign):  # a cancelled tag is free again, and cancelling it harms nobody
        on.call("basic.cancel", consumer_tag="a")
        on.consume(on.queue(exclusive=True), "a")


def test_an_exclusive_queue_that_goes_tells_the_consumers_of_its_connection(client: Client, channel: Channel) -> None:
    queue = channel.queue(exclusive=True)
    second = client.channel()
    second.consume(queue, "tag", exclusive=True)
    channel.call("queue.delete", queue=queue)
    assert cancels(second, 1) == {"tag"}


def test_what_a_cancelled_consumer_holds_may_still_be_settled(channel: Channel, other: Client, name: str) -> None:
    channel.queue(name)
    channel.put(name, b"1", b"2", b"3")
    channel.consume(name, "tag")
    delivered = [channel.expect("basic.deliver") for _ in range(3)]
    other.channel().call("queue.delete", queue=name)
    assert cancels(channel, 1) == {"tag"}
    channel.ack(delivered[0].delivery_tag)
    channel.send("basic.nack", delivery_tag=delivered[1].delivery_tag, requeue=True)
    channel.send("basic.reject", delivery_tag=delivered[2].delivery_tag, requeue=False)
    channel.queue(name, exclusive=True)
    assert channel.count(name) == 0
    channel.ack(delivered[0].delivery_tag)
    channel.expect_close(406, f"PRECONDITION_FAILED - unknown delivery tag {delivered[0].delivery_tag}")


def test_a_purge_is_no_cancel(channel: Channel, queue: str) -> None:
    channel.call("basic.qos", prefetch_count=1)
    channel.consume(queue, "tag")
    channel.put(queue, b"1", b"2")
    delivery = channel.expect("basic.deliver")
    channel.call("queue.purge", queue=queue)
    channel.put(queue, b"3")
    channel.ack(delivery.delivery_tag)
    assert channel.expect("basic.deliver").body == b"3"


# and where messages go


def test_the_last_consumer_takes_its_auto_delete_queue_and_exchange_along(
    client: Client, channel: Channel, names: Iterator[str]
) -> None:
    """Then the alternate exchange gets what went there."""
    spare = declare_exchange(channel, next(names), "fanout")
    kept = channel.queue(next(names), exclusive=True)
    channel.call("queue.bind", queue=kept, exchange=spare)
    first = declare_exchange(channel, next(names), "direct", arguments={"alternate-exchange": spare})
    middle = declare_exchange(channel, next(names), "fanout", auto_delete=True)
    queue = channel.queue(next(names), auto_delete=True)
    channel.call("exchange.bind", source=first, destination=middle, routing_key="k")
    channel.call("queue.bind", queue=queue, exchange=middle)
    consuming = client.channel()
    for tag in ("one", "two"):
        consuming.consume(queue, tag)
    for tag in ("one", "two"):
        assert not comes_back(channel, first, "k")
        consuming.expect("basic.deliver")
        assert channel.drain(kept) == []
        consuming.call("basic.cancel", consumer_tag=tag)
    assert not comes_back(channel, first, "k")
    assert channel.drain(kept) == [b"x"]
    for kind, gone in (("exchange", middle), ("queue", queue)):
        channel.send(f"{kind}.declare", passive=True, **{kind: gone})
        channel.expect_close(404)
        channel.call("channel.open")
    for exchange in (first, spare):
        channel.call("exchange.delete", exchange=exchange)


def test_after_the_cancel_mandatory_messages_come_back(
    client: Client, channel: Channel, other: Client, names: Iterator[str]
) -> None:
    exchange = declare_exchange(channel, next(names), "direct")
    queue = channel.queue(next(names))
    channel.call("queue.bind", queue=queue, exchange=exchange, routing_key="k")
    consuming = client.channel()
    consuming.consume(queue, "tag", no_ack=True)
    assert not comes_back(channel, exchange, "k")
    consuming.expect("basic.deliver")
    other.channel().call("queue.delete", queue=queue)
    assert cancels(consuming, 1) == {"tag"}
    assert comes_back(channel, exchange, "k")
    channel.call("exchange.delete", exchange=exchange)
