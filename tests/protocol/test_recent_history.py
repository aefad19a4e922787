"""Exchanges of type x-recent-history: a fanout that gives what is newly bound its latest messages.

Compared with RabbitMQ's plugin rabbitmq_recent_history_exchange, which the node must have enabled.
"""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.support.channel import Channel
from tests.support.codec import Typed

History = Callable[..., str]


@pytest.fixture
def history(channel: Channel, names: Iterator[str]) -> Iterator[History]:
    made: list[str] = []

    def make(length: Any = None, **fields: Any) -> str:
        made.append(next(names))
        arguments = {} if length is None else {"x-recent-history-length": length}
        channel.call("exchange.declare", exchange=made[-1], type="x-recent-history", arguments=arguments, **fields)
        return made[-1]

    yield make
    for name in made:
        channel.call("exchange.delete", exchange=name)


def put(channel: Channel, exchange: str, *bodies: bytes, key: str = "", **properties: Any) -> None:
    through = channel.client.confirming()
    for body in bodies:
        through.publish(exchange, key, body, properties)
    through.wait_for_confirms(len(bodies))


def numbered(first: int, last: int) -> list[bytes]:
    return [b"%d" % at for at in range(first, last + 1)]


def bound(channel: Channel, exchange: str, queue: str, key: str = "") -> list[bytes]:
    """What a queue has right after it was bound."""
    channel.call("queue.bind", queue=queue, exchange=exchange, routing_key=key)
    channel.settle(queue)
    return channel.drain(queue)


@pytest.mark.parametrize(("length", "kept"), [(None, 20), (1, 1), (3, 3), (Typed("l", 25), 25)])
def test_what_is_newly_bound_gets_the_latest_in_their_order(
    channel: Channel, queue: str, history: History, length: Any, kept: int
) -> None:
    exchange = history(length)
    put(channel, exchange, *numbered(1, 30))
    assert bound(channel, exchange, queue) == numbered(31 - kept, 30)


def test_it_is_a_fanout_for_what_is_bound_already(channel: Channel, queue: str, history: History) -> None:
    exchange = history(2)
    assert bound(channel, exchange, queue, "some.key") == []
    put(channel, exchange, *numbered(1, 5), key="other")
    assert channel.drain(queue) == numbered(1, 5)


def test_everyone_gets_them_and_nobody_takes_them_away(
    channel: Channel, names: Iterator[str], history: History
) -> None:
    exchange = history(2)
    put(channel, exchange, *numbered(1, 3))
    for _ in range(3):
        assert bound(channel, exchange, channel.queue(next(names), exclusive=True)) == numbered(2, 3)


def test_bound_once_more_it_gets_them_once_more_only_under_another_key(
    channel: Channel, queue: str, history: History
) -> None:
    exchange = history(2)
    put(channel, exchange, b"1")
    assert bound(channel, exchange, queue, "a") == [b"1"]
    assert bound(channel, exchange, queue, "a") == []
    assert bound(channel, exchange, queue, "b") == [b"1"]


def test_they_are_as_they_were_published(channel: Channel, queue: str, history: History) -> None:
    exchange = history()
    put(channel, exchange, b"body", key="the.key", headers={"a": 1}, message_id="id", delivery_mode=2)
    channel.call("queue.bind", queue=queue, exchange=exchange, routing_key="x")
    channel.settle(queue)
    message = channel.get(queue)
    assert message is not None
    assert (message.body, message.exchange, message.routing_key) == (b"body", exchange, "the.key")
    assert message.properties == {"headers": {"a": 1}, "message_id": "id", "delivery_mode": 2}
    assert not message.redelivered


def test_a_message_may_say_that_it_is_not_to_be_kept(channel: Channel, queue: str, history: History) -> None:
    exchange = history()
    put(channel, exchange, b"kept")
    put(channel, exchange, b"not kept", headers={"x-recent-history-no-store": True})
    put(channel, exchange, b"kept too", headers={"x-recent-history-no-store": False})
    assert bound(channel, exchange, queue) == [b"kept", b"kept too"]


@pytest.mark.flowmq_only  # RabbitMQ 3.10 ends the connection with 541
def test_a_bound_exchange_passes_them_on(channel: Channel, queue: str, names: Iterator[str], history: History) -> None:
    exchange, topic = history(), next(names)
    channel.call("exchange.declare", exchange=topic, type="topic", auto_delete=True)
    channel.call("queue.bind", queue=queue, exchange=topic, routing_key="a.#")
    put(channel, exchange, b"1", key="a.b")
    put(channel, exchange, b"2", key="b.a")
    channel.call("exchange.bind", destination=topic, source=exchange)
    channel.settle(queue)
    assert channel.drain(queue) == [b"1"]


def test_what_comes_by_way_of_another_exchange_is_kept(
    channel: Channel, queue: str, names: Iterator[str], history: History
) -> None:
    exchange, first = history(), next(names)
    channel.call("exchange.declare", exchange=first, type="fanout", auto_delete=True)
    channel.call("exchange.bind", destination=exchange, source=first)
    put(channel, first, b"1")
    assert bound(channel, exchange, queue) == [b"1"]


def test_mandatory_asks_for_a_queue_and_not_for_a_memory(channel: Channel, queue: str, history: History) -> None:
    exchange = history()
    channel.call("confirm.select")
    channel.publish(exchange, "", b"m", mandatory=True)
    assert channel.expect("basic.return").reply_text == "NO_ROUTE"
    channel.expect("basic.ack")
    assert bound(channel, exchange, queue) == [b"m"]


def test_deleted_and_declared_anew_it_knows_nothing(channel: Channel, queue: str, history: History) -> None:
    exchange = history()
    put(channel, exchange, b"1")
    channel.call("exchange.delete", exchange=exchange)
    channel.call("exchange.declare", exchange=exchange, type="x-recent-history")
    assert bound(channel, exchange, queue) == []


@pytest.mark.parametrize("length", [0, -1, "many"])
def test_a_length_must_be_a_positive_number(channel: Channel, name: str, length: Any) -> None:
    channel.send(
        "exchange.declare", exchange=name, type="x-recent-history", arguments={"x-recent-history-length": length}
    )
    channel.expect_close(406)


@pytest.mark.flowmq_only
def test_bound_to_itself_it_repeats_what_it_has_once(channel: Channel, queue: str, history: History) -> None:
    exchange = history(3)
    put(channel, exchange, *numbered(1, 5))
    channel.call("exchange.bind", source=exchange, destination=exchange)
    assert sorted(bound(channel, exchange, queue)) == numbered(3, 5)
