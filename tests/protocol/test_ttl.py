"""Time to live: of a queue, of a message, whichever is shorter; on time, in order, counted right."""

import time
from typing import Any

import pytest

from tests.support.broker import until
from tests.support.wire import Channel

AN_HOUR = 3_600_000
LATENESS_MS_MAX = 200


def ttl_queue(channel: Channel, name: str, ttl_ms: int, **arguments: Any) -> str:
    return channel.queue(name, exclusive=True, arguments={"x-message-ttl": ttl_ms, **arguments})


def dead_lettered_to(queue: str) -> dict[str, str]:
    return {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": queue}


# ------------------------------------------------------------------------------------------------------ whose it is


@pytest.mark.parametrize(
    ("ttl_ms", "expiration", "stays"),
    [
        (40, None, False),
        (40, AN_HOUR, False),
        (AN_HOUR, 40, False),
        (None, 40, False),
        (AN_HOUR, None, True),
        (AN_HOUR, AN_HOUR, True),
        (None, AN_HOUR, True),
        (None, None, True),
    ],
)
def test_the_shorter_of_queue_and_message_counts(
    channel: Channel, name: str, queue: str, ttl_ms: int | None, expiration: int | None, stays: bool
) -> None:
    limited = name + "-limited"
    channel.queue(limited, exclusive=True, arguments={} if ttl_ms is None else {"x-message-ttl": ttl_ms})
    properties = {} if expiration is None else {"expiration": str(expiration)}
    channel.put(limited, b"judged", properties=properties)
    channel.put(queue, b"clock", properties={"expiration": "120"})
    if stays:
        until(lambda: channel.count(queue) == 0)
        assert channel.count(limited) == 1
        message = channel.get(limited)
        assert message
        assert message.properties == properties
    else:
        until(lambda: channel.count(limited) == 0)
        assert channel.get(limited) is None


@pytest.mark.parametrize("arguments", [{"x-message-ttl": 0}, {"x-message-ttl": 0, "x-max-priority": 3}])
def test_a_ttl_of_nought_is_now_or_never(channel: Channel, name: str, arguments: dict[str, Any]) -> None:
    channel.queue(name, exclusive=True, arguments=arguments)
    channel.put(name, b"never")
    assert channel.count(name) == 0
    assert channel.get(name) is None
    channel.consume(name, no_ack=True)
    channel.publish("", name, b"now")
    assert channel.expect("basic.deliver").body == b"now"


def test_a_busy_consumer_is_not_now(channel: Channel, name: str) -> None:
    channel.queue(name, exclusive=True, arguments={"x-message-ttl": 0})
    channel.call("basic.qos", prefetch_count=1)
    channel.consume(name)
    channel.put(name, b"now")
    assert channel.expect("basic.deliver").body == b"now"
    channel.put(name, b"never")
    channel.ack(1)
    assert channel.settle(name) == []


def test_each_queue_counts_for_itself(channel: Channel, name: str) -> None:
    short, long = ttl_queue(channel, name + "-short", 40), ttl_queue(channel, name + "-long", AN_HOUR)
    for queue in (short, long):
        channel.call("queue.bind", queue=queue, exchange="amq.fanout")
    channel.publish("amq.fanout", name, b"both")
    until(lambda: channel.count(short) == 0)
    assert channel.drain(long) == [b"both"]


# ------------------------------------------------------------------------------------------------- wherever it stands


@pytest.mark.flowmq_only
@pytest.mark.parametrize("durable", [False, True])
@pytest.mark.parametrize("delivery_mode", [1, 2])
def test_no_message_waits_for_one_that_lives_longer(
    channel: Channel, name: str, durable: bool, delivery_mode: int
) -> None:
    """In RabbitMQ a message that has expired is found when it gets to the head."""
    channel.queue(name, durable=durable)
    lives = (None, AN_HOUR, 40, AN_HOUR, 20, None, 60)
    for number, life in enumerate(lives):
        properties: dict[str, Any] = {"delivery_mode": delivery_mode}
        if life is not None:
            properties["expiration"] = str(life)
        channel.put(name, b"%d" % number, properties=properties)
    until(lambda: channel.count(name) == 4)
    assert channel.drain(name) == [b"0", b"1", b"3", b"5"]
    channel.call("queue.delete", queue=name)


def test_the_expired_are_never_delivered_to_whoever_asks_late(channel: Channel, name: str, queue: str) -> None:
    ttl_queue(channel, name + "-limited", 60)
    channel.put(name + "-limited", *(b"%d" % number for number in range(100)))
    channel.put(queue, b"clock", properties={"expiration": "90"})
    until(lambda: channel.count(queue) == 0)
    channel.consume(name + "-limited", no_ack=True)
    assert channel.settle(name + "-limited") == []


@pytest.mark.parametrize("arguments", [{}, {"x-max-priority": 5}, {"x-single-active-consumer": True}])
def test_life_is_kept_over_requeue(channel: Channel, name: str, queue: str, arguments: dict[str, Any]) -> None:
    limited = ttl_queue(channel, name + "-limited", 1500, **arguments)
    channel.consume(limited, "tag")
    channel.put(limited, b"1", b"2")
    held = [channel.expect("basic.deliver") for _ in range(2)]
    channel.call("basic.cancel", consumer_tag="tag")
    channel.send("basic.reject", delivery_tag=held[0].delivery_tag, requeue=True)
    until(lambda: channel.count(limited) == 1)
    channel.put(queue, b"clock", properties={"expiration": "1600"})
    until(lambda: channel.count(queue) == 0)
    assert channel.count(limited) == 0
    channel.send("basic.reject", delivery_tag=held[1].delivery_tag, requeue=True)
    channel.consume(limited, "again", no_ack=True)
    assert channel.settle(limited) == []


def test_the_unacknowledged_do_not_expire(channel: Channel, name: str, queue: str) -> None:
    limited = ttl_queue(channel, name + "-limited", 40, **dead_lettered_to(queue))
    channel.put(limited, b"held")
    held = channel.get(limited, no_ack=False)
    assert held
    channel.put(limited, b"clock")
    until(lambda: channel.count(queue) == 1)
    channel.ack(held.delivery_tag)
    assert channel.drain(queue) == [b"clock"]


# -------------------------------------------------------------------------------------------------- order and counts


@pytest.mark.parametrize("arguments", [{}, {"x-max-length": 10_000}])
def test_they_die_in_their_order(channel: Channel, name: str, queue: str, arguments: dict[str, Any]) -> None:
    bodies = [b"%d" % number for number in range(500)]
    limited = ttl_queue(channel, name + "-limited", 50, **dead_lettered_to(queue), **arguments)
    channel.put(limited, *bodies)
    until(lambda: channel.count(queue) == len(bodies))
    assert channel.drain(queue) == bodies


def test_the_ones_that_came_back_die_in_their_order_too(channel: Channel, name: str, queue: str) -> None:
    bodies = [b"%d" % number for number in range(100)]
    limited = ttl_queue(channel, name + "-limited", 1000, **dead_lettered_to(queue))
    through = channel.client.confirming()
    for body in bodies:
        through.publish("", limited, body, {"expiration": "600"})
    through.wait_for_confirms(len(bodies))
    tags = []
    for _ in range(50):
        message = channel.get(limited, no_ack=False)
        assert message
        tags.append(message.delivery_tag)
    for tag in tags[::2] + tags[1::2]:
        channel.send("basic.reject", delivery_tag=tag, requeue=True)
    until(lambda: channel.count(queue) == len(bodies))
    assert channel.drain(queue) == bodies


@pytest.mark.flowmq_only
def test_with_lives_of_their_own_they_die_in_order_of_time(channel: Channel, name: str, queue: str) -> None:
    limited = channel.queue(name + "-limited", exclusive=True, arguments=dead_lettered_to(queue))
    for life in (300, 100, 200, 50, 250):
        channel.put(limited, b"%d" % life, properties={"expiration": str(life)})
    until(lambda: channel.count(queue) == 5)
    assert channel.drain(queue) == [b"50", b"100", b"200", b"250", b"300"]


def test_counts_follow(channel: Channel, name: str) -> None:
    limited = ttl_queue(channel, name, 300)
    channel.put(limited, *(b"x" for _ in range(50)))
    assert channel.count(limited) == 50
    for _ in range(10):
        assert channel.get(limited)
    message = channel.get(limited, no_ack=False)
    assert message
    assert message.message_count == 39
    until(lambda: channel.count(limited) == 0)
    assert channel.call("queue.purge", queue=limited).message_count == 0
    channel.put(limited, b"next")
    assert channel.call("queue.delete", queue=limited).message_count == 1


@pytest.mark.parametrize("by", ["queue", "message"])
def test_nobody_is_late(channel: Channel, name: str, queue: str, by: str) -> None:
    """From the publish to the dead letter: never early, and late by what a loaded machine takes at most."""
    life_ms = 150
    arguments = {**dead_lettered_to(queue), **({"x-message-ttl": life_ms} if by == "queue" else {})}
    limited = channel.queue(name + "-limited", exclusive=True, arguments=arguments)
    properties = {"expiration": str(life_ms)} if by == "message" else None
    channel.consume(queue, no_ack=True)
    lateness = []
    for number in range(10):
        before = time.monotonic()
        channel.put(limited, b"%d" % number, properties=properties)
        assert channel.expect("basic.deliver").body == b"%d" % number
        lateness.append((time.monotonic() - before) * 1000 - life_ms)
    assert min(lateness) > -2, lateness
    # The best of ten: what the machine does to one of them is not the broker's.
    assert sorted(lateness)[5] < LATENESS_MS_MAX, lateness


@pytest.mark.flowmq_only
def test_nobody_is_late_behind_many(channel: Channel, name: str, queue: str) -> None:
    limited = channel.queue(name + "-limited", exclusive=True, arguments=dead_lettered_to(queue))
    channel.put(limited, *(b"long" for _ in range(2000)), properties={"expiration": str(AN_HOUR)})
    channel.consume(queue, no_ack=True)
    lateness = []
    for life_ms in (200, 150, 100, 50, 20):
        before = time.monotonic()
        channel.put(limited, b"%d" % life_ms, properties={"expiration": str(life_ms)})
        assert channel.expect("basic.deliver").body == b"%d" % life_ms
        lateness.append((time.monotonic() - before) * 1000 - life_ms)
    assert min(lateness) > -2, lateness
    assert sorted(lateness)[2] < LATENESS_MS_MAX, lateness
    assert channel.count(limited) == 2000


def test_purging_leaves_nothing_to_expire(channel: Channel, name: str, queue: str) -> None:
    limited = ttl_queue(channel, name + "-limited", 60, **dead_lettered_to(queue))
    channel.put(limited, b"1", b"2")
    assert channel.call("queue.purge", queue=limited).message_count == 2
    channel.put(limited, b"3")
    until(lambda: channel.count(queue) == 1)
    assert channel.drain(queue) == [b"3"]
