"""basic.consume and what follows from it: credit, order, choice of consumer, cancelling."""

import pytest

from tests.support.codec import Method
from tests.support.peer import Peer
from tests.support.wire import Channel, Client, connect


def bodies(methods: list[Method]) -> list[bytes]:
    assert all(method.name == "basic.deliver" for method in methods), [str(method) for method in methods]
    return [method.body for method in methods]


def take(channel: Channel, count: int) -> list[Method]:
    return [channel.expect("basic.deliver") for _ in range(count)]


def delivered(channel: Channel, queue: str, count: int) -> list[Method]:
    """This many deliveries come, and no more."""
    methods = take(channel, count)
    assert channel.settle(queue) == []
    return methods


def numbered(count: int, start: int = 0) -> list[bytes]:
    return [b"%d" % number for number in range(start, start + count)]


def test_deliveries_carry_tag_key_and_exchange(channel: Channel, queue: str) -> None:
    tag = channel.consume(queue)
    assert tag.startswith("amq.ctag-")
    channel.call("queue.bind", queue=queue, exchange="amq.direct", routing_key=queue)
    channel.publish("amq.direct", queue, b"1")
    channel.publish("", queue, b"2")
    first, second = take(channel, 2)
    assert (first.consumer_tag, first.delivery_tag, first.redelivered) == (tag, 1, False)
    assert (first.exchange, first.routing_key) == ("amq.direct", queue)
    assert (second.delivery_tag, second.exchange) == (2, "")


def test_delivery_tags_are_shared_by_get_deliver_and_no_ack(channel: Channel, queue: str) -> None:
    channel.put(queue, b"1", b"2")
    first = channel.get(queue, no_ack=True)
    second = channel.get(queue, no_ack=False)
    assert first
    assert second
    channel.consume(queue, no_ack=True)
    channel.publish("", queue, b"3")
    assert [first.delivery_tag, second.delivery_tag, channel.expect("basic.deliver").delivery_tag] == [1, 2, 3]


def test_unacknowledged_returns_when_its_channel_closes(client: Client, channel: Channel, queue: str) -> None:
    holder = client.channel()
    channel.put(queue, *numbered(3))
    holder.consume(queue)
    take(holder, 3)
    assert channel.count(queue) == 0
    holder.close()
    assert channel.count(queue) == 3
    again = channel.get(queue)
    assert again
    assert (again.body, again.redelivered) == (b"0", True)


def test_unacknowledged_returns_when_its_connection_is_lost(peer: Peer, channel: Channel, name: str) -> None:
    channel.queue(name, auto_delete=False)
    channel.put(name, *numbered(2))
    channel.consume(name, "waiting", arguments={"x-priority": -1})
    take(channel, 2)
    holder = connect(peer)
    holding = holder.channel()
    holding.consume(name)
    channel.put(name, b"2")
    assert holding.expect("basic.deliver").body == b"2"
    holder.drop()
    again = channel.expect("basic.deliver")
    assert (again.body, again.redelivered) == (b"2", True)
    channel.call("basic.cancel", consumer_tag="waiting")
    channel.call("queue.delete", queue=name)


# credit


def test_prefetch_of_a_consumer(channel: Channel, queue: str) -> None:
    channel.call("basic.qos", prefetch_count=3)
    channel.consume(queue)
    channel.put(queue, *numbered(10))
    assert bodies(delivered(channel, queue, 3)) == numbered(3)
    channel.ack(2)
    assert channel.expect("basic.deliver").body == b"3"
    channel.ack(4, multiple=True)
    assert bodies(delivered(channel, queue, 3)) == numbered(3, 4)


def test_prefetch_counts_for_consumers_started_later_each_on_its_own(channel: Channel, queue: str) -> None:
    channel.consume(queue, "unlimited-but-late", arguments={"x-priority": -1})
    channel.call("basic.qos", prefetch_count=2)
    for tag in ("one", "two"):
        channel.consume(queue, tag)
    channel.put(queue, *numbered(10))
    tags = [method.consumer_tag for method in delivered(channel, queue, 10)]
    assert [tags.count(tag) for tag in ("one", "two", "unlimited-but-late")] == [2, 2, 6]


def test_prefetch_of_a_channel_is_shared_by_its_consumers(channel: Channel, queue: str) -> None:
    channel.consume(queue, "before")
    channel.call("basic.qos", prefetch_count=3, global_=True)
    channel.consume(queue, "after")
    channel.put(queue, *numbered(10))
    tags = [method.delivery_tag for method in delivered(channel, queue, 3)]
    channel.ack(tags[0])
    delivered(channel, queue, 1)


def test_both_kinds_of_prefetch_apply(channel: Channel, queue: str) -> None:
    channel.call("basic.qos", prefetch_count=4)
    channel.call("basic.qos", prefetch_count=6, global_=True)
    for tag in ("one", "two"):
        channel.consume(queue, tag)
    channel.put(queue, *numbered(20))
    tags = [method.consumer_tag for method in delivered(channel, queue, 6)]
    assert max(tags.count("one"), tags.count("two")) <= 4


def test_zero_takes_the_limit_away(channel: Channel, queue: str) -> None:
    channel.call("basic.qos", prefetch_count=1)
    channel.call("basic.qos", prefetch_count=0)
    channel.consume(queue)
    channel.put(queue, *numbered(50))
    delivered(channel, queue, 50)


def test_raising_the_channels_limit_lets_waiting_messages_through(channel: Channel, queue: str) -> None:
    channel.call("basic.qos", prefetch_count=1, global_=True)
    channel.consume(queue)
    channel.put(queue, *numbered(5))
    delivered(channel, queue, 1)
    channel.ask("basic.qos", prefetch_count=3, global_=True)
    delivered(channel, queue, 2)
    channel.ask("basic.qos", prefetch_count=0, global_=True)
    delivered(channel, queue, 2)


def test_no_ack_consumers_and_gets_have_no_limit(channel: Channel, queue: str) -> None:
    channel.call("basic.qos", prefetch_count=1)
    channel.put(queue, *numbered(5))
    for _ in range(3):
        assert channel.get(queue, no_ack=False)
    channel.consume(queue, no_ack=True)
    delivered(channel, queue, 2)


# choice of consumer


def test_equal_consumers_take_turns(channel: Channel, queue: str) -> None:
    for tag in "abc":
        channel.consume(queue, tag, no_ack=True)
    channel.put(queue, *numbered(9))
    tags = [method.consumer_tag for method in delivered(channel, queue, 9)]
    assert [tags.count(tag) for tag in "abc"] == [3, 3, 3]
    assert tags[:3] == tags[3:6] == tags[6:]


def test_higher_priority_first_but_never_waited_for(channel: Channel, queue: str) -> None:
    channel.call("basic.qos", prefetch_count=2)
    for tag, priority in (("low", -5), ("middle", None), ("high", 10)):
        arguments = {} if priority is None else {"x-priority": priority}
        channel.consume(queue, tag, arguments=arguments)
    channel.put(queue, *numbered(5))
    tags = [method.consumer_tag for method in delivered(channel, queue, 5)]
    assert tags == ["high", "high", "middle", "middle", "low"]
    channel.ack(1)
    channel.put(queue, b"5")
    assert channel.expect("basic.deliver").consumer_tag == "high"


def test_exclusive_consumer_is_alone(channel: Channel, other: Client, name: str) -> None:
    channel.queue(name)
    channel.consume(name, "only", exclusive=True)
    refused = f"ACCESS_REFUSED - queue '{name}' in vhost '/' in exclusive use"
    stranger = other.channel()
    stranger.send("basic.consume", queue=name)
    stranger.expect_close(403, refused, (60, 20))
    channel.call("basic.cancel", consumer_tag="only")
    stranger.call("channel.open")
    stranger.consume(name, "first")
    channel.send("basic.consume", queue=name, exclusive=True)
    channel.expect_close(403, refused, (60, 20))
    stranger.call("basic.cancel", consumer_tag="first")
    stranger.call("queue.delete", queue=name)


def test_single_active_consumer_and_its_successor(channel: Channel, name: str) -> None:
    channel.queue(name, exclusive=True, arguments={"x-single-active-consumer": True})
    for tag in ("first", "second"):
        channel.consume(name, tag)
    channel.put(name, *numbered(4))
    assert {method.consumer_tag for method in delivered(channel, name, 4)} == {"first"}
    channel.call("basic.cancel", consumer_tag="first")
    channel.put(name, b"4")
    assert channel.expect("basic.deliver").consumer_tag == "second"


@pytest.mark.newer
def test_no_get_from_a_single_active_queue(channel: Channel, name: str) -> None:
    channel.queue(name, exclusive=True, arguments={"x-single-active-consumer": True})
    channel.send("basic.get", queue=name)
    text = "basic.get operations are not supported by classic queues with single active consumer"
    channel.expect_close(405, f"RESOURCE_LOCKED - cannot obtain access to locked queue '{name}' in vhost '/'. {text}")


def test_single_active_queue_takes_no_exclusive_consumer(channel: Channel, name: str) -> None:
    channel.queue(name, exclusive=True, arguments={"x-single-active-consumer": True})
    channel.send("basic.consume", queue=name, exclusive=True)
    channel.expect_close(403, None, (60, 20))


# tags and cancelling


def test_consumer_tags_belong_to_the_channel(client: Client, channel: Channel, queue: str) -> None:
    second = client.channel()
    channel.consume(queue, "tag")
    second.consume(queue, "tag")
    channel.call("basic.cancel", consumer_tag="tag")
    channel.consume(queue, "tag")
    channel.send("basic.consume", queue=queue, consumer_tag="tag")
    client.expect_close(530, "NOT_ALLOWED - attempt to reuse consumer tag 'tag'", 60)


def test_consume_nowait_and_cancel_nowait(channel: Channel, queue: str) -> None:
    channel.send("basic.consume", queue=queue, consumer_tag="tag", no_ack=True, nowait=True)
    channel.publish("", queue, b"1")
    assert channel.expect("basic.deliver").body == b"1"
    channel.send("basic.cancel", consumer_tag="tag", nowait=True)
    channel.settle(queue)
    channel.put(queue, b"2")
    assert channel.settle(queue) == []
    assert channel.drain(queue) == [b"2"]


def test_cancelling_an_unknown_tag_succeeds(channel: Channel) -> None:
    assert channel.call("basic.cancel", consumer_tag="nobody").consumer_tag == "nobody"


def test_nothing_is_delivered_after_cancel_ok(channel: Channel, queue: str) -> None:
    channel.put(queue, *numbered(200))
    channel.call("basic.qos", prefetch_count=50)
    channel.consume(queue, "tag")
    channel.send("basic.cancel", consumer_tag="tag")
    delivered = 0
    while channel.expect("basic.deliver", "basic.cancel-ok").name == "basic.deliver":
        delivered += 1
    channel.ack(0, multiple=True)
    assert channel.settle(queue) == []
    assert channel.count(queue) == 200 - delivered


def test_messages_of_a_cancelled_consumer_can_still_be_acknowledged(channel: Channel, queue: str) -> None:
    channel.put(queue, *numbered(2))
    channel.consume(queue, "tag")
    take(channel, 2)
    channel.call("basic.cancel", consumer_tag="tag")
    channel.ack(1)
    channel.send("basic.reject", delivery_tag=2, requeue=True)
    assert channel.drain(queue) == [b"1"]


def test_deleting_the_queue_cancels_consumers_that_asked_to_know(channel: Channel, other: Client, name: str) -> None:
    channel.queue(name)
    channel.consume(name, "tag")
    other.channel().call("queue.delete", queue=name)
    cancel = channel.expect("basic.cancel")
    assert (cancel.consumer_tag, cancel.nowait) == ("tag", True)
    channel.queue(name, exclusive=True)
    channel.consume(name, "tag")


def test_others_are_not_told_of_a_cancelled_consumer(peer: Peer, other: Client, name: str) -> None:
    with connect(peer, capabilities={}) as old:
        channel = old.channel()
        channel.queue(name)
        channel.consume(name, "tag")
        other.channel().call("queue.delete", queue=name)
        channel.queue(name, exclusive=True)
        assert channel.settle(name) == []
