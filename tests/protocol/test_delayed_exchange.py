"""Exchanges of type x-delayed-message: a message with a header x-delay goes on after so many milliseconds.

As the plugin of that name does for RabbitMQ (its node here does not have it). Exact times and the list of what waits:
unit/test_delayed_messages.py.
"""

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.support.channel import Channel
from tests.support.codec import Typed

pytestmark = pytest.mark.flowmq_only
LONG_MS = 3_600_000
Exchange = Callable[..., str]


@pytest.fixture
def delayed(channel: Channel, names: Iterator[str]) -> Exchange:
    """Makes delayed exchanges that go with the test."""

    def made(type: str = "direct", **more: Any) -> str:
        name = next(names)
        arguments = {"x-delayed-type": type, **more.pop("arguments", {})}
        more = {"auto_delete": True, **more}
        channel.call("exchange.declare", exchange=name, type="x-delayed-message", arguments=arguments, **more)
        return name

    return made


def bind(channel: Channel, exchange: str, queue: str, key: str = "", **arguments: Any) -> None:
    channel.call("queue.bind", queue=queue, exchange=exchange, routing_key=key, arguments=arguments)


def send(channel: Channel, exchange: str, key: str, body: bytes, delay: Any = None, **more: Any) -> None:
    headers = more.pop("headers", {})
    if delay is not None:
        headers["x-delay"] = delay
    channel.publish(exchange, key, body, {"headers": headers, **more})


@pytest.mark.parametrize(
    ("type", "bound", "key", "arguments", "headers"),
    [
        ("direct", "a.b", "a.b", {}, {}),
        ("topic", "a.#", "a.b.c", {}, {}),
        ("fanout", "", "whatever", {}, {}),
        ("headers", "", "whatever", {"x-match": "all", "colour": "red"}, {"colour": "red"}),
    ],
)
def test_it_routes_as_its_inner_type_says_when_the_time_has_come(
    channel: Channel,
    queue: str,
    names: Iterator[str],
    delayed: Exchange,
    type: str,
    bound: str,
    key: str,
    arguments: dict[str, Any],
    headers: dict[str, Any],
) -> None:
    exchange = delayed(type)
    bind(channel, exchange, queue, bound, **arguments)
    channel.consume(queue, no_ack=True)
    begun = time.monotonic()
    send(channel, exchange, key, b"late", 150, headers=dict(headers))
    send(channel, exchange, key, b"now", headers=dict(headers))
    first = channel.expect("basic.deliver")
    second = channel.expect("basic.deliver")
    assert time.monotonic() - begun >= 0.145
    assert (first.body, second.body) == (b"now", b"late")
    assert (second.exchange, second.routing_key, second.redelivered) == (exchange, key, False)
    assert second.properties["headers"] == {**headers, "x-delay": -150}


def test_bindings_count_when_the_time_has_come(
    channel: Channel, queue: str, names: Iterator[str], delayed: Exchange
) -> None:
    exchange = delayed(auto_delete=False)
    later = channel.queue(next(names), exclusive=True)
    bind(channel, exchange, queue, "k")
    send(channel, exchange, "k", b"m", 150)
    channel.call("queue.unbind", queue=queue, exchange=exchange, routing_key="k")
    bind(channel, exchange, later, "k")
    channel.consume(later, no_ack=True)
    assert channel.expect("basic.deliver").body == b"m"
    assert channel.count(queue) == 0
    channel.call("exchange.delete", exchange=exchange)


@pytest.mark.parametrize("arguments", [{}, {"x-delayed-type": "nonesuch"}, {"x-delayed-type": "x-delayed-message"}])
def test_without_an_inner_type_that_exists_it_is_refused(
    channel: Channel, name: str, arguments: dict[str, Any]
) -> None:
    channel.send("exchange.declare", exchange=name, type="x-delayed-message", arguments=arguments)
    channel.expect_close(
        406, "PRECONDITION_FAILED - Invalid argument, 'x-delayed-type' must be an existing exchange type"
    )


def test_the_inner_type_is_part_of_its_declaration(channel: Channel, name: str) -> None:
    fields = {"exchange": name, "type": "x-delayed-message", "auto_delete": True}
    channel.call("exchange.declare", arguments={"x-delayed-type": "direct"}, **fields)
    channel.call("exchange.declare", arguments={"x-delayed-type": "direct"}, **fields)
    other = channel.client.channel()
    other.send("exchange.declare", arguments={"x-delayed-type": "topic"}, **fields)
    other.expect_close(406)
    channel.call("exchange.delete", exchange=name)


def test_mixed_delays_come_in_the_order_of_their_times(channel: Channel, queue: str, delayed: Exchange) -> None:
    exchange = delayed()
    bind(channel, exchange, queue, "k")
    channel.consume(queue, no_ack=True)
    delays = [400, 100, 300, 0, 200, 100]
    for at, delay in enumerate(delays):
        send(channel, exchange, "k", b"%d" % at, delay)
    bodies = [channel.expect("basic.deliver").body for _ in delays]
    assert bodies == [b"3", b"1", b"5", b"4", b"2", b"0"]


@pytest.mark.parametrize(
    "delay",
    [None, 0, -5, "100", 2.5, True, Typed("V", None)],
    ids=["none", "0", "negative", "text", "float", "bool", "void"],
)
def test_what_is_no_delay_passes_at_once_and_unchanged(
    channel: Channel, queue: str, delayed: Exchange, delay: Any
) -> None:
    exchange = delayed()
    bind(channel, exchange, queue, "k")
    through = channel.client.confirming()
    headers = {} if delay is None else {"x-delay": delay}
    through.publish(exchange, "k", b"m", {"headers": headers})
    through.wait_for_confirms(1)
    message = channel.get(queue)
    assert message is not None
    expected = {name: value.value if isinstance(value, Typed) else value for name, value in headers.items()}
    assert message.properties["headers"] == expected


@pytest.mark.parametrize("letter", ["b", "B", "s", "u", "I", "i", "l"])
def test_a_delay_of_any_width(channel: Channel, queue: str, delayed: Exchange, letter: str) -> None:
    exchange = delayed()
    bind(channel, exchange, queue, "k")
    channel.consume(queue, no_ack=True)
    send(channel, exchange, "k", b"m", Typed(letter, 100))
    assert channel.settle(queue) == []
    assert channel.expect("basic.deliver").properties["headers"] == {"x-delay": -100}


@pytest.mark.parametrize("name_of_keys", ["CC", "BCC"])
def test_further_keys_are_kept_for_when_it_goes_on(
    channel: Channel, queue: str, names: Iterator[str], delayed: Exchange, name_of_keys: str
) -> None:
    exchange = delayed()
    other = channel.queue(next(names), exclusive=True)
    bind(channel, exchange, queue, "k")
    bind(channel, exchange, other, "copy")
    channel.consume(queue, "1", no_ack=True)
    channel.consume(other, "2", no_ack=True)
    send(channel, exchange, "k", b"m", 50, headers={name_of_keys: ["copy"]})
    deliveries = [channel.expect("basic.deliver") for _ in range(2)]
    assert {delivery.consumer_tag for delivery in deliveries} == {"1", "2"}
    for delivery in deliveries:
        assert delivery.routing_key == "k"
        assert ("BCC" in delivery.properties["headers"]) is False
        assert delivery.properties["headers"].get("CC") == (["copy"] if name_of_keys == "CC" else None)


def test_expiration_counts_from_when_it_goes_on(channel: Channel, names: Iterator[str], delayed: Exchange) -> None:
    """It lives for 150 ms, but only once it has waited for 300."""
    exchange = delayed()
    dead = channel.queue(next(names), exclusive=True)
    arguments = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": dead}
    queue = channel.queue(next(names), exclusive=True, arguments=arguments)
    bind(channel, exchange, queue, "k")
    channel.consume(dead, no_ack=True)
    begun = time.monotonic()
    send(channel, exchange, "k", b"m", 300, expiration="150")
    letter = channel.expect("basic.deliver")
    assert time.monotonic() - begun >= 0.445
    (death,) = letter.properties["headers"]["x-death"]
    assert (death["queue"], death["reason"], death["original-expiration"]) == (queue, "expired", "150")


def test_mandatory_is_content_with_a_message_that_waits(channel: Channel, delayed: Exchange) -> None:
    """Whether anything will be bound by then nobody can know; without a delay the rule is the usual one."""
    exchange = delayed(auto_delete=False)
    channel.call("confirm.select")
    channel.publish(exchange, "k", b"m", {"headers": {"x-delay": LONG_MS}}, mandatory=True)
    assert channel.expect("basic.return", "basic.ack").name == "basic.ack"
    channel.publish(exchange, "k", b"m", {"headers": {"x-delay": 0}}, mandatory=True)
    assert channel.expect("basic.return").reply_text == "NO_ROUTE"
    channel.call("exchange.delete", exchange=exchange) if channel.expect("basic.ack") else None


def test_from_another_exchange_and_on_to_another(
    channel: Channel, queue: str, names: Iterator[str], delayed: Exchange
) -> None:
    first, last = next(names), next(names)
    exchange = delayed("fanout")
    for plain in (first, last):
        channel.call("exchange.declare", exchange=plain, type="fanout", auto_delete=True)
    channel.call("exchange.bind", destination=last, source=exchange)
    bind(channel, last, queue)
    channel.call("exchange.bind", destination=exchange, source=first)
    channel.consume(queue, no_ack=True)
    begun = time.monotonic()
    send(channel, first, "k", b"m", 150)
    delivery = channel.expect("basic.deliver")
    assert time.monotonic() - begun >= 0.145
    assert (delivery.exchange, delivery.properties["headers"]) == (first, {"x-delay": -150})


def test_in_a_row_of_delayed_exchanges_it_waits_once(channel: Channel, queue: str, delayed: Exchange) -> None:
    first, second = delayed("fanout"), delayed("fanout")
    channel.call("exchange.bind", destination=second, source=first)
    bind(channel, second, queue)
    channel.consume(queue, no_ack=True)
    send(channel, first, "", b"m", 100)
    assert channel.expect("basic.deliver").properties["headers"] == {"x-delay": -100}


def test_what_waits_goes_with_its_exchange(
    channel: Channel, queue: str, names: Iterator[str], delayed: Exchange
) -> None:
    exchange, clock = delayed(auto_delete=False), delayed()
    ticked = channel.queue(next(names), exclusive=True)
    bind(channel, exchange, queue, "k")
    bind(channel, clock, ticked, "k")
    send(channel, exchange, "k", b"lost", 100)
    channel.call("exchange.delete", exchange=exchange)
    channel.call(
        "exchange.declare", exchange=exchange, type="x-delayed-message", arguments={"x-delayed-type": "direct"}
    )
    bind(channel, exchange, queue, "k")
    channel.consume(ticked, no_ack=True)
    send(channel, clock, "k", b"tick", 200)
    assert channel.expect("basic.deliver").body == b"tick"
    assert channel.count(queue) == 0
    channel.call("exchange.delete", exchange=exchange)


def test_what_reaches_nothing_in_the_end_goes_to_the_alternate_exchange(
    channel: Channel, queue: str, names: Iterator[str], delayed: Exchange
) -> None:
    alternate = next(names)
    channel.call("exchange.declare", exchange=alternate, type="fanout", auto_delete=True)
    bind(channel, alternate, queue)
    exchange = delayed(arguments={"alternate-exchange": alternate}, auto_delete=False)
    channel.consume(queue, no_ack=True)
    send(channel, exchange, "nowhere", b"m", 100)
    delivery = channel.expect("basic.deliver")
    assert (delivery.body, delivery.properties["headers"]) == (b"m", {"x-delay": -100})
    channel.call("exchange.delete", exchange=exchange)


def test_a_confirm_comes_at_once(channel: Channel, queue: str, delayed: Exchange) -> None:
    exchange = delayed()
    bind(channel, exchange, queue, "k")
    channel.call("confirm.select")
    send(channel, exchange, "k", b"m", LONG_MS, delivery_mode=2)
    assert channel.expect("basic.ack").delivery_tag == 1
    assert channel.count(queue) == 0


def test_dead_letters_can_be_delayed(channel: Channel, names: Iterator[str], delayed: Exchange) -> None:
    """The old way to try again later: their header says how long."""
    exchange = delayed("fanout")
    again = channel.queue(next(names), exclusive=True)
    queue = channel.queue(next(names), exclusive=True, arguments={"x-dead-letter-exchange": exchange})
    bind(channel, exchange, again)
    channel.consume(again, no_ack=True)
    channel.put(queue, b"m", properties={"headers": {"x-delay": 150}})
    message = channel.get(queue, no_ack=False)
    assert message is not None
    begun = time.monotonic()
    channel.send("basic.reject", delivery_tag=message.delivery_tag, requeue=False)
    letter = channel.expect("basic.deliver")
    assert time.monotonic() - begun >= 0.145
    headers = letter.properties["headers"]
    assert (headers["x-delay"], headers["x-death"][0]["queue"]) == (-150, queue)


def test_blind_keys_are_kept_on_the_way_by_another_exchange(
    channel: Channel, queue: str, names: Iterator[str], delayed: Exchange
) -> None:
    """An exchange in front leads to the one that delays; what it knew of keys is not lost there."""
    front, exchange = next(names), delayed()
    channel.call("exchange.declare", exchange=front, type="fanout", auto_delete=True)
    channel.call("exchange.bind", source=front, destination=exchange)
    bind(channel, exchange, queue, "copy")
    channel.consume(queue, no_ack=True)
    send(channel, front, "k", b"m", 50, headers={"BCC": ["copy"]})
    delivery = channel.expect("basic.deliver")
    assert (delivery.routing_key, delivery.properties["headers"]) == ("k", {"x-delay": -50})
