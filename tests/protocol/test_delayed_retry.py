"""Messages that come back and wait before they are ready again (x-delayed-retry-type, -min, -max)."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.support.codec import Method
from tests.support.wire import Channel, Client

pytestmark = pytest.mark.newer
LONG_MS = 3_600_000
SHORT_MS = 150
Declare = Callable[..., str]


@pytest.fixture(params=["transient", "durable", "quorum"])
def declare(request: pytest.FixtureRequest, channel: Channel, name: str) -> Iterator[Declare]:
    kind = request.param

    def made(retry: str, least: int | None = None, most: int | None = None, **more: Any) -> str:
        arguments: dict[str, Any] = {"x-delayed-retry-type": retry, **more}
        limits = {"x-delayed-retry-min": least, "x-delayed-retry-max": most}
        arguments |= {key: value for key, value in limits.items() if value is not None}
        if kind == "quorum":
            arguments["x-queue-type"] = "quorum"
        return channel.queue(name, durable=kind != "transient", arguments=arguments)

    yield made
    channel.client.channel().call("queue.delete", queue=name)


def get(channel: Channel, queue: str) -> Method:
    message = channel.get(queue, no_ack=False)
    assert message is not None
    return message


def send_back(channel: Channel, message: Method, way: str) -> None:
    channel.send(f"basic.{way}", delivery_tag=message.delivery_tag, requeue=True)


@pytest.mark.parametrize(
    ("retry", "way", "waits"),
    [
        ("all", "reject", True),
        ("all", "nack", True),
        ("failed", "reject", True),
        ("failed", "nack", False),
        ("returned", "reject", False),
        ("returned", "nack", True),
        ("disabled", "reject", False),
        ("disabled", "nack", False),
    ],
)
def test_which_messages_wait(channel: Channel, declare: Declare, retry: str, way: str, waits: bool) -> None:
    queue = declare(retry, LONG_MS)
    channel.put(queue, b"m")
    send_back(channel, get(channel, queue), way)
    assert channel.count(queue) == int(not waits)


def test_without_a_minimum_nothing_waits(channel: Channel, declare: Declare) -> None:
    queue = declare("all")
    channel.put(queue, b"m")
    send_back(channel, get(channel, queue), "reject")
    assert get(channel, queue).redelivered


def test_it_comes_back_to_a_consumer_after_its_time_and_not_before(channel: Channel, declare: Declare) -> None:
    queue = declare("all", SHORT_MS)
    channel.consume(queue)
    channel.put(queue, b"1", b"2")
    first, second = (channel.expect("basic.deliver") for _ in range(2))
    assert (first.body, second.body) == (b"1", b"2")
    begun = time.monotonic()
    send_back(channel, first, "reject")
    again = channel.expect("basic.deliver")
    assert time.monotonic() - begun >= (SHORT_MS - 2) / 1000
    assert (again.body, again.redelivered) == (b"1", True)


def test_it_waits_longer_each_time_up_to_the_maximum(channel: Channel, declare: Declare) -> None:
    """150 ms, 300 ms, and then 350 ms instead of 450."""
    queue = declare("all", SHORT_MS, 350)
    channel.consume(queue)
    channel.put(queue, b"m")
    waits = []
    message = channel.expect("basic.deliver")
    for _ in range(4):
        begun = time.monotonic()
        send_back(channel, message, "nack")
        message = channel.expect("basic.deliver")
        waits.append(time.monotonic() - begun)
    for wait, least in zip(waits, (0.15, 0.3, 0.35, 0.35), strict=True):
        assert wait >= least - 0.002


def test_others_are_not_held_up_and_it_returns_to_its_place(channel: Channel, declare: Declare) -> None:
    queue = declare("failed", SHORT_MS)
    channel.put(queue, b"1", b"2", b"3")
    send_back(channel, get(channel, queue), "reject")
    assert get(channel, queue).body == b"2"
    wait_for_count(channel, queue, 2)
    assert channel.drain(queue) == [b"1", b"3"]


def test_messages_with_different_waits_come_back_in_order_of_time(channel: Channel, declare: Declare) -> None:
    """One that came back twice waits twice as long as one that came back once after it."""
    queue = declare("all", SHORT_MS)
    channel.put(queue, b"twice", b"once")
    send_back(channel, get(channel, queue), "reject")
    wait_for_count(channel, queue, 2)
    twice, once = get(channel, queue), get(channel, queue)
    assert (twice.body, once.body) == (b"twice", b"once")
    send_back(channel, twice, "reject")
    send_back(channel, once, "reject")
    channel.consume(queue, no_ack=True)
    assert [channel.expect("basic.deliver").body for _ in range(2)] == [b"once", b"twice"]


def test_a_consumer_that_dies_makes_its_message_wait(channel: Channel, other: Client, declare: Declare) -> None:
    queue = declare("failed", LONG_MS)
    channel.put(queue, b"1", b"2")
    victim = other.channel()
    victim.consume(queue)
    assert [victim.expect("basic.deliver").body for _ in range(2)] == [b"1", b"2"]
    victim.close()
    assert channel.drain(queue) == [b"2"], "only the oldest has failed"


def test_over_the_delivery_limit_it_does_not_wait(channel: Channel, declare: Declare, names: Iterator[str]) -> None:
    dead = channel.queue(next(names), exclusive=True)
    more = {"x-delivery-limit": 0, "x-dead-letter-exchange": "", "x-dead-letter-routing-key": dead}
    queue = declare("all", LONG_MS, **more)
    channel.put(queue, b"m")
    send_back(channel, get(channel, queue), "reject")
    assert channel.drain(dead) == [b"m"]


def test_its_time_to_live_goes_on(channel: Channel, declare: Declare, names: Iterator[str]) -> None:
    """It expires when it is ready again, or before; it is not delivered, and nobody waits for more."""
    dead = channel.queue(next(names), exclusive=True)
    queue = declare("all", 300, **{"x-dead-letter-exchange": "", "x-dead-letter-routing-key": dead})
    channel.consume(dead, "dead", no_ack=True)
    channel.put(queue, b"m", properties={"expiration": "100"})
    send_back(channel, get(channel, queue), "reject")
    letter = channel.expect("basic.deliver")
    assert letter.properties["headers"]["x-first-death-reason"] == "expired"
    assert channel.count(queue) == 0


def test_purge_leaves_what_waits_and_delete_does_not(channel: Channel, declare: Declare) -> None:
    queue = declare("all", SHORT_MS)
    channel.put(queue, b"1", b"2")
    send_back(channel, get(channel, queue), "reject")
    assert channel.call("queue.purge", queue=queue).message_count == 1
    wait_for_count(channel, queue, 1)
    message = get(channel, queue)
    assert message.body == b"1"
    send_back(channel, message, "reject")
    assert channel.call("queue.delete", queue=queue).message_count == 0
    queue = declare("disabled")
    assert channel.settle(queue) == []
    assert channel.count(queue) == 0


def wait_for_count(channel: Channel, queue: str, count: int) -> None:
    """Ask until the time has come; the test's own time-out ends it otherwise."""
    deadline = time.monotonic() + 30
    while channel.count(queue) != count:
        assert time.monotonic() < deadline, f"never {count} messages"
        time.sleep(0.01)
