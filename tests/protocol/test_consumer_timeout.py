"""A consumer that holds a message for too long (x-consumer-timeout): it goes back to its queue, and that is all.

FlowMQ looks about once a second. Nothing of it closes a channel, and an acknowledgement that comes too late is taken
without a word, once.
"""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.support.codec import Method
from tests.support.wire import Channel, Client

pytestmark = [pytest.mark.flowmq_only, pytest.mark.slow]
TIMEOUT_MS = 1000  # so much time has a test to go on before what was delivered again is overdue too
LONG_MS = 3_600_000
Start = Callable[..., str]


@pytest.fixture(params=["queue", "consumer"])
def consume(request: pytest.FixtureRequest, channel: Channel, name: str) -> Start:
    """Declares the queue and consumes it on a channel, with the time-out where the parameter says."""

    def start(through: Channel, **queue_arguments: Any) -> str:
        # A consumer's own counts, be it longer or shorter.
        of_queue = TIMEOUT_MS if request.param == "queue" else LONG_MS
        channel.queue(name, auto_delete=True, arguments={**queue_arguments, "x-consumer-timeout": of_queue})
        own = {} if request.param == "queue" else {"x-consumer-timeout": TIMEOUT_MS}
        through.call("basic.consume", queue=name, consumer_tag="slow", arguments=own)
        return name

    return start


def deliveries(channel: Channel, count: int) -> list[Method]:
    return [channel.expect("basic.deliver") for _ in range(count)]


def test_it_goes_to_another_consumer_and_the_channel_stays(channel: Channel, other: Client, consume: Start) -> None:
    slow = other.channel()
    slow.call("basic.qos", prefetch_count=1)
    queue = consume(slow)
    channel.put(queue, b"m")
    (held,) = deliveries(slow, 1)
    channel.call("basic.qos", prefetch_count=1)
    channel.consume(queue, "quick", arguments={"x-priority": 1})
    (again,) = deliveries(channel, 1)
    assert (again.body, again.redelivered) == (b"m", True)
    channel.ack(again.delivery_tag)
    slow.ack(held.delivery_tag)  # too late: taken, and counts for nothing
    channel.call("basic.cancel", consumer_tag="quick")
    channel.put(queue, b"next")
    assert deliveries(slow, 1)[0].body == b"next", "its prefetch is free again, and the channel works"


def test_too_late_is_tolerated_once(channel: Channel, consume: Start) -> None:
    channel.call("basic.qos", prefetch_count=1)
    queue = consume(channel)
    channel.put(queue, b"m")
    held, again = deliveries(channel, 2)
    assert (again.delivery_tag, again.redelivered) == (held.delivery_tag + 1, True)
    channel.ack(held.delivery_tag)
    channel.ack(again.delivery_tag)
    assert channel.settle(queue) == []
    channel.ack(held.delivery_tag)
    channel.expect_close(406, f"PRECONDITION_FAILED - unknown delivery tag {held.delivery_tag}")


@pytest.mark.parametrize("way", ["basic.nack", "basic.reject"])
@pytest.mark.parametrize("requeue", [False, True])
def test_too_late_to_refuse(channel: Channel, name: str, way: str, requeue: bool) -> None:
    channel.queue(name, exclusive=True, arguments={"x-consumer-timeout": TIMEOUT_MS})
    channel.call("basic.qos", prefetch_count=1)
    channel.consume(name)
    channel.put(name, b"m")
    held, again = deliveries(channel, 2)
    channel.send(way, delivery_tag=held.delivery_tag, requeue=requeue)
    channel.ack(again.delivery_tag)
    channel.call("basic.cancel", consumer_tag="slow")
    assert channel.settle(name) == []
    assert channel.count(name) == 0


def test_only_what_was_held_too_long_goes_back(channel: Channel, other: Client, consume: Start) -> None:
    slow = other.channel()
    slow.call("basic.qos", prefetch_count=3)
    queue = consume(slow)
    patient = channel.client.channel()
    patient.call("basic.consume", queue=queue, consumer_tag="patient", arguments={"x-consumer-timeout": LONG_MS})
    channel.put(queue, b"1", b"2", b"3", b"4")
    kept = deliveries(patient, 2)
    deliveries(slow, 2)
    again = deliveries(patient, 1)
    assert again[0].redelivered
    for delivery in kept:
        patient.ack(delivery.delivery_tag)
    assert all(method.name == "basic.deliver" for method in patient.settle(queue))


def test_multiple_covers_what_is_overdue(channel: Channel, consume: Start) -> None:
    """Acknowledging all up to an overdue one settles the others before it."""
    channel.call("basic.qos", prefetch_count=2)
    queue = consume(channel)
    channel.put(queue, b"1", b"2")
    _, second = deliveries(channel, 2)
    again = deliveries(channel, 2)
    assert sorted(delivery.body for delivery in again) == [b"1", b"2"]
    channel.ack(second.delivery_tag, multiple=True)
    assert channel.settle(queue) == []
    channel.ack(again[-1].delivery_tag, multiple=True)
    channel.call("basic.recover", requeue=True)
    assert channel.settle(queue) == [], "nothing is left to recover"


def test_a_time_out_is_no_failure(channel: Channel, consume: Start) -> None:
    queue = consume(channel, **{"x-delivery-limit": 0})
    channel.put(queue, b"m")
    _, again = deliveries(channel, 2)
    assert again.properties["headers"] == {"x-delivery-count": 0, "x-acquired-count": 1}


def test_messages_got_by_basic_get_have_no_time_out(channel: Channel, names: Iterator[str]) -> None:
    queue, witness = (
        channel.queue(next(names), exclusive=True, arguments={"x-consumer-timeout": TIMEOUT_MS}) for _ in range(2)
    )
    channel.put(queue, b"m")
    assert channel.get(queue, no_ack=False) is not None
    channel.call("basic.qos", prefetch_count=1)
    channel.consume(witness, "witness")
    channel.put(witness, b"w")
    deliveries(channel, 2)  # the witness's time has been over: so would have been that of the other
    assert channel.count(queue) == 0


def test_a_settlement_that_a_transaction_has_staged_is_in_time(channel: Channel, names: Iterator[str]) -> None:
    queue = channel.queue(next(names), exclusive=True, arguments={"x-consumer-timeout": TIMEOUT_MS})
    tx = channel.client.channel()
    tx.call("tx.select")
    tx.call("basic.qos", prefetch_count=2)
    tx.consume(queue, "slow")
    channel.put(queue, b"staged", b"held")
    staged, held = deliveries(tx, 2)
    tx.ack(staged.delivery_tag)
    (again,) = deliveries(tx, 1)
    assert again.body == held.body == b"held"
    tx.call("tx.commit")
    tx.ack(again.delivery_tag)
    tx.call("tx.commit")
    tx.call("basic.cancel", consumer_tag="slow")
    assert channel.count(queue) == 0


def test_without_an_argument_there_is_none(channel: Channel, queue: str, names: Iterator[str]) -> None:
    witness = channel.queue(next(names), exclusive=True, arguments={"x-consumer-timeout": TIMEOUT_MS})
    channel.call("basic.qos", prefetch_count=1)
    channel.consume(queue, "patient")
    channel.consume(witness, "witness")
    channel.put(queue, b"m")
    channel.put(witness, b"w")
    seen = [delivery.consumer_tag for delivery in deliveries(channel, 4)]
    assert seen.count("patient") == 1


@pytest.mark.parametrize("value", [0, -1, "long"])
def test_a_wrong_value_is_refused(channel: Channel, queue: str, value: Any) -> None:
    channel.send("basic.consume", queue=queue, arguments={"x-consumer-timeout": value})
    channel.expect_close(406)
