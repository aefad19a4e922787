"""x-max-priority: the most important first, in order among equals; wherever messages come from and go to."""

from typing import Any

import pytest

from tests.support.broker import until
from tests.support.codec import Method
from tests.support.wire import Channel, Client


def priority_queue(channel: Channel, name: str, highest: int = 9, **more: Any) -> str:
    arguments = {"x-max-priority": highest, **{key.replace("_", "-"): value for key, value in more.items()}}
    return channel.queue(name + "-priorities", exclusive=True, arguments=arguments)


def put(channel: Channel, queue: str, *priorities: int | None) -> None:
    """Messages numbered from 0, each with its priority."""
    for number, priority in enumerate(priorities):
        properties = {} if priority is None else {"priority": priority}
        channel.put(queue, b"%d" % number, properties=properties)


def hold(channel: Channel, queue: str, count: int) -> list[Method]:
    held = [channel.get(queue, no_ack=False) for _ in range(count)]
    assert None not in held
    return [message for message in held if message]


# highest, priorities, order in which they come
ORDERS: list[Any] = [
    (9, [1, 9, 5], [1, 2, 0]),
    (9, [None, 0, None, 1], [3, 0, 1, 2]),
    (9, [5, 5, 5, 5], [0, 1, 2, 3]),
    (9, [1, 2, 1, 2, 1, 2], [1, 3, 5, 0, 2, 4]),
    (3, [3, 4, 200, 255, 3, 2], [0, 1, 2, 3, 4, 5]),
    (1, [0, 1, 2, 0, 255], [1, 2, 4, 0, 3]),
    (255, [0, 255, 254, 128, 255], [1, 4, 2, 3, 0]),
    (0, [0, 9, 5], [0, 1, 2]),
]


@pytest.mark.parametrize("how", ["get", "consume"])
@pytest.mark.parametrize(("highest", "priorities", "expected"), ORDERS)
def test_the_most_important_first(
    channel: Channel, name: str, highest: int, priorities: list[int | None], expected: list[int], how: str
) -> None:
    queue = priority_queue(channel, name, highest)
    put(channel, queue, *priorities)
    assert channel.count(queue) == len(priorities)
    if how == "get":
        came = channel.drain(queue)
    else:
        channel.consume(queue, no_ack=True)
        came = [channel.expect("basic.deliver").body for _ in priorities]
    assert came == [b"%d" % number for number in expected]


def test_all_levels_at_once(channel: Channel, name: str) -> None:
    queue = priority_queue(channel, name, 255)
    put(channel, queue, *range(256))
    put(channel, queue, *range(256))
    assert channel.drain(queue) == [b"%d" % number for number in reversed(range(256)) for _ in range(2)]


def test_the_priority_arrives_as_it_was_sent(channel: Channel, name: str) -> None:
    queue = priority_queue(channel, name, 3)
    put(channel, queue, 200, None, 2)
    arrived = [message.properties.get("priority") for message in hold(channel, queue, 3)]
    assert arrived == [200, 2, None]


def test_a_consumer_with_credit_gets_the_best_there_is(channel: Channel, name: str) -> None:
    queue = priority_queue(channel, name)
    channel.call("basic.qos", prefetch_count=1)
    channel.consume(queue, "tag")
    put(channel, queue, 1, 1, 5, 9, 5)
    came = []
    for tag in range(1, 6):
        came.append(channel.expect("basic.deliver").body)
        channel.ack(tag)
    assert came == [b"0", b"3", b"2", b"4", b"1"]


@pytest.mark.parametrize("how", ["reject", "nack multiple", "recover", "close"])
def test_what_comes_back_is_in_its_place_in_its_level(client: Client, channel: Channel, name: str, how: str) -> None:
    queue = priority_queue(channel, name)
    put(channel, queue, 5, 1, 5, 9, 1)
    holder = client.channel()
    held = hold(holder, queue, 4)
    assert [message.body for message in held] == [b"3", b"0", b"2", b"1"]
    if how == "reject":
        for message in reversed(held):
            holder.send("basic.reject", delivery_tag=message.delivery_tag, requeue=True)
    elif how == "nack multiple":
        holder.send("basic.nack", delivery_tag=held[-1].delivery_tag, multiple=True, requeue=True)
    elif how == "recover":
        holder.call("basic.recover", requeue=True)
    else:
        holder.close()
    until(lambda: channel.count(queue) == 5)
    again = hold(channel, queue, 5)
    assert [(message.body, message.redelivered) for message in again] == [
        (b"3", True),
        (b"0", True),
        (b"2", True),
        (b"1", True),
        (b"4", False),
    ]


def test_one_in_the_middle_comes_back_to_the_middle(channel: Channel, name: str) -> None:
    queue = priority_queue(channel, name)
    put(channel, queue, 5, 5, 5, 5)
    held = hold(channel, queue, 3)
    channel.send("basic.reject", delivery_tag=held[1].delivery_tag, requeue=True)
    until(lambda: channel.count(queue) == 2)
    assert channel.drain(queue) == [b"1", b"3"]


def test_purge_and_delete_count_all_levels(channel: Channel, name: str) -> None:
    queue = priority_queue(channel, name)
    put(channel, queue, *range(10))
    assert channel.call("queue.purge", queue=queue).message_count == 10
    assert channel.count(queue) == 0
    put(channel, queue, 3, 1)
    assert channel.call("queue.delete", queue=queue).message_count == 2


def test_get_tells_how_many_are_left_on_all_levels(channel: Channel, name: str) -> None:
    queue = priority_queue(channel, name)
    put(channel, queue, 3, 1, 9)
    assert [message.message_count for message in hold(channel, queue, 3)] == [2, 1, 0]


@pytest.mark.parametrize("ttl", ["queue", "message"])
def test_with_a_time_to_live(channel: Channel, name: str, queue: str, ttl: str) -> None:
    dead = {"x_dead_letter_exchange": "", "x_dead_letter_routing_key": queue}
    limited = priority_queue(channel, name, **dead, **({"x_message_ttl": 60} if ttl == "queue" else {}))
    for number, priority in enumerate((1, 9, 5)):
        expiration = {} if ttl == "queue" else {"expiration": "60"}
        channel.put(limited, b"%d" % number, properties={"priority": priority, **expiration})
    until(lambda: channel.count(queue) == 3)
    assert sorted(channel.drain(queue)) == [b"0", b"1", b"2"]
    assert channel.count(limited) == 0


@pytest.mark.flowmq_only
def test_a_level_above_does_not_keep_the_expired_below(channel: Channel, name: str) -> None:
    queue = priority_queue(channel, name)
    channel.put(queue, b"high", properties={"priority": 9})
    channel.put(queue, b"low", properties={"priority": 1, "expiration": "40"})
    channel.put(queue, b"lower", properties={"expiration": "3600000"})
    channel.put(queue, b"lowest", properties={"expiration": "30"})
    until(lambda: channel.count(queue) == 2)
    assert channel.drain(queue) == [b"high", b"lower"]


@pytest.mark.parametrize(("limit", "value"), [("x_max_length", 2), ("x_max_length_bytes", 2)])
def test_refusing_looks_at_all_levels_together(channel: Channel, name: str, limit: str, value: int) -> None:
    queue = priority_queue(channel, name, **{limit: value}, x_overflow="reject-publish")
    put(channel, queue, 1, 9)
    channel.call("confirm.select")
    channel.publish("", queue, b"2", {"priority": 5})
    assert channel.expect("basic.ack", "basic.nack").name == "basic.nack"
    assert channel.drain(queue) == [b"1", b"0"]


@pytest.mark.parametrize(("limit", "value"), [("x_max_length", 3), ("x_max_length_bytes", 3)])
def test_dropping_keeps_as_many_as_allowed(channel: Channel, name: str, limit: str, value: int) -> None:
    queue = priority_queue(channel, name, **{limit: value})
    put(channel, queue, 1, 9, 1, 9, 5, 0)
    assert channel.count(queue) == 3
    assert len(channel.drain(queue)) == 3


def test_dead_letters_keep_their_priority(channel: Channel, name: str) -> None:
    target = priority_queue(channel, name)
    arguments = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": target}
    dying = channel.queue(name + "-source", exclusive=True, arguments=arguments)
    put(channel, dying, 1, 9, 5)
    for message in hold(channel, dying, 3):
        channel.send("basic.reject", delivery_tag=message.delivery_tag, requeue=False)
    until(lambda: channel.count(target) == 3)
    assert channel.drain(target) == [b"1", b"2", b"0"]


def test_durable_and_persistent_alike(channel: Channel, name: str) -> None:
    channel.queue(name, durable=True, arguments={"x-max-priority": 5})
    for number in range(60):
        channel.put(name, b"%d" % number, properties={"priority": number % 6, "delivery_mode": 1 + number % 2})
    expected = [b"%d" % number for level in reversed(range(6)) for number in range(level, 60, 6)]
    assert channel.drain(name) == expected
    channel.call("queue.delete", queue=name)
