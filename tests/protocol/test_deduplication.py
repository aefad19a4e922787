"""Messages that have been there before: an exchange or a queue drops what has a header it has seen."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.support.channel import Channel
from tests.support.codec import Typed

pytestmark = pytest.mark.flowmq_only
HEADER = "x-deduplication-header"
Target = tuple[str, str, str]  # exchange, routing key, queue
Make = Callable[..., Target]


@pytest.fixture(params=["exchange", "queue"])
def deduplicating(request: pytest.FixtureRequest, channel: Channel, names: Iterator[str]) -> Make:
    """Where to publish, and the queue where it arrives; one of the two has the arguments."""

    def make(**arguments: Any) -> Target:
        arguments = {
            "x-message-deduplication": True,
            **{f"x-{key.replace('_', '-')}": arguments[key] for key in arguments},
        }
        of_exchange, of_queue = (arguments, {}) if request.param == "exchange" else ({}, arguments)
        exchange = next(names)
        channel.call("exchange.declare", exchange=exchange, type="fanout", auto_delete=True, arguments=of_exchange)
        queue = channel.queue(next(names), exclusive=True, arguments=of_queue)
        channel.call("queue.bind", queue=queue, exchange=exchange)
        return exchange, "", queue

    return make


def put(channel: Channel, target: Target, body: bytes, value: Any, header: str = HEADER, **more: Any) -> None:
    """Returns when it is confirmed, which a duplicate is as well."""
    through = channel.client.confirming()
    through.publish(target[0], target[1], body, {"headers": {header: value}}, **more)
    through.wait_for_confirms(1)


def test_of_the_same_value_only_the_first_counts(channel: Channel, deduplicating: Make) -> None:
    target = deduplicating()
    for at, value in enumerate(["a", "b", "a", "a", "c", "b"]):
        put(channel, target, b"%d" % at, value)
    assert channel.drain(target[2]) == [b"0", b"1", b"4"]


def test_it_is_remembered_when_the_message_is_gone(channel: Channel, deduplicating: Make) -> None:
    target = deduplicating()
    put(channel, target, b"1", "a")
    assert channel.drain(target[2]) == [b"1"]
    put(channel, target, b"2", "a")
    assert channel.drain(target[2]) == []


def test_without_the_header_every_message_counts(channel: Channel, deduplicating: Make) -> None:
    target = deduplicating()
    through = channel.client.confirming()
    for properties in (None, {"headers": {}}, {"headers": {"other": 1}}, {"message_id": "1"}, {"message_id": "1"}):
        through.publish(target[0], target[1], b"m", properties)
    through.wait_for_confirms(5)
    assert channel.count(target[2]) == 5


def test_another_header(channel: Channel, deduplicating: Make) -> None:
    target = deduplicating(deduplication_header="my-id")
    for body, header in ((b"1", "my-id"), (b"2", "my-id"), (b"3", HEADER), (b"4", HEADER)):
        put(channel, target, body, "a", header)
    assert channel.drain(target[2]) == [b"1", b"3", b"4"]


def test_values_of_different_types_differ(channel: Channel, deduplicating: Make) -> None:
    target = deduplicating()
    values = [
        *("1", Typed("x", b"1"), Typed("b", 1), Typed("B", 1), Typed("s", 1), Typed("I", 1), Typed("l", 1)),
        *(Typed("d", 1.0), Typed("f", 1.0), True, False, Typed("V", None), Typed("T", 1)),
        *([], ["1"], {}, {"1": 1}, ""),
    ]
    for _ in range(2):
        for at, value in enumerate(values):
            put(channel, target, b"%d" % at, value)
    assert channel.drain(target[2]) == [b"%d" % at for at in range(len(values))]


def test_it_remembers_so_many_and_forgets_the_oldest(channel: Channel, deduplicating: Make) -> None:
    target = deduplicating(cache_size=2)
    for value in ("a", "b", "c"):
        put(channel, target, value.encode(), value)
    for value in ("b", "c", "a", "b"):
        put(channel, target, value.upper().encode(), value)
    assert channel.drain(target[2]) == [b"a", b"b", b"c", b"A", b"B"]


def test_it_remembers_for_so_long(channel: Channel, deduplicating: Make) -> None:
    target = deduplicating(cache_ttl=200)
    put(channel, target, b"1", "a")
    begun = time.monotonic()
    at = 1
    while channel.count(target[2]) == 1:
        at += 1
        put(channel, target, b"%d" % at, "a")
        assert time.monotonic() - begun < 30
        time.sleep(0.02)
    assert time.monotonic() - begun > 0.15
    assert channel.drain(target[2]) == [b"1", b"%d" % at]


@pytest.mark.parametrize("mandatory", [False, True])
def test_for_its_publisher_a_duplicate_is_as_good_as_taken(
    channel: Channel, deduplicating: Make, mandatory: bool
) -> None:
    target = deduplicating()
    channel.call("confirm.select")
    for _ in range(3):
        channel.publish(target[0], target[1], b"m", {"headers": {HEADER: "a"}}, mandatory=mandatory)
    channel.wait_for_confirms(3)
    assert channel.settle(target[2]) == []
    assert channel.drain(target[2]) == [b"m"]


def test_a_consumer_gets_it_once(channel: Channel, deduplicating: Make) -> None:
    target = deduplicating()
    channel.consume(target[2], no_ack=True)
    for value in ("a", "a", "b"):
        put(channel, target, value.encode(), value)
    assert [channel.expect("basic.deliver").body for _ in range(2)] == [b"a", b"b"]
    assert channel.settle(target[2]) == []


def test_one_that_comes_back_is_no_duplicate(channel: Channel, deduplicating: Make) -> None:
    target = deduplicating()
    put(channel, target, b"m", "a")
    for _ in range(3):
        message = channel.get(target[2], no_ack=False)
        assert message is not None
        channel.send("basic.nack", delivery_tag=message.delivery_tag, requeue=True)
    assert channel.count(target[2]) == 1


@pytest.mark.parametrize("end", ["tx.commit", "tx.rollback"])
def test_a_transaction_is_remembered_with_its_commit(channel: Channel, deduplicating: Make, end: str) -> None:
    target = deduplicating()
    tx = channel.client.channel()
    tx.call("tx.select")
    for body in (b"1", b"2"):
        tx.publish(target[0], target[1], body, {"headers": {HEADER: "a"}})
    tx.call(end)
    put(channel, target, b"3", "a")
    assert channel.drain(target[2]) == [b"1" if end == "tx.commit" else b"3"]


def test_a_queue_that_refuses_has_not_seen_it(channel: Channel, name: str) -> None:
    arguments = {"x-message-deduplication": True, "x-max-length": 1, "x-overflow": "reject-publish"}
    queue = channel.queue(name, exclusive=True, arguments=arguments)
    through = channel.client.confirming()
    answers = []
    for value in ("a", "b"):
        through.publish("", queue, value.encode(), {"headers": {HEADER: value}})
        answers.append(through.expect("basic.ack", "basic.nack").name)
    assert answers == ["basic.ack", "basic.nack"]
    assert channel.drain(queue) == [b"a"]
    through.publish("", queue, b"b", {"headers": {HEADER: "b"}})
    assert through.expect("basic.ack", "basic.nack").name == "basic.ack"
    assert channel.drain(queue) == [b"b"]


def test_each_exchange_and_queue_remembers_for_itself(channel: Channel, names: Iterator[str]) -> None:
    arguments = {"x-message-deduplication": True}
    queues = [channel.queue(next(names), exclusive=True, arguments=arguments) for _ in range(2)]
    for queue in queues:
        for _ in range(2):
            put(channel, ("", queue, queue), b"m", "a")
    assert [channel.count(queue) for queue in queues] == [1, 1]


def test_deleted_and_declared_anew_it_has_seen_nothing(channel: Channel, name: str) -> None:
    for _ in range(2):
        queue = channel.queue(name, exclusive=True, arguments={"x-message-deduplication": True})
        put(channel, ("", queue, queue), b"m", "a")
        assert channel.count(queue) == 1
        channel.call("queue.delete", queue=queue)


@pytest.mark.parametrize(
    "arguments", [{"x-message-deduplication": "yes"}, {"x-cache-size": 0}, {"x-cache-ttl": -1}, {HEADER: 5}]
)
def test_a_wrong_argument_is_refused(channel: Channel, name: str, arguments: dict[str, Any]) -> None:
    fields = {"x-message-deduplication": True, **arguments}
    channel.send("queue.declare", queue=name, arguments=fields)
    channel.expect_close(406)


def test_what_reached_no_queue_has_not_been_there(channel: Channel, names: Iterator[str]) -> None:
    exchange, arguments = next(names), {"x-message-deduplication": True}
    channel.call("exchange.declare", exchange=exchange, type="fanout", arguments=arguments)
    queue = channel.queue(next(names), exclusive=True)
    put(channel, (exchange, "", queue), b"1", "a")
    channel.call("queue.bind", queue=queue, exchange=exchange)
    put(channel, (exchange, "", queue), b"2", "a")
    put(channel, (exchange, "", queue), b"3", "a")
    assert channel.drain(queue) == [b"2"]
    channel.call("exchange.delete", exchange=exchange)
