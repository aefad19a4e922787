"""x-consistent-hash: which arguments and weights are taken, what decides, and that keys keep their queues."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.support.codec import Typed
from tests.support.wire import Channel

KIND = "x-consistent-hash"


def declare(channel: Channel, name: str, arguments: dict[str, Any] | None = None, **fields: Any) -> str:
    channel.call("exchange.declare", exchange=name, type=KIND, arguments=arguments or {}, **fields)
    return name


def bind(channel: Channel, exchange: str, queue: str, weight: str = "1", **fields: Any) -> str:
    channel.call("queue.bind", exchange=exchange, queue=queue, routing_key=weight, **fields)
    return queue


def four_queues(channel: Channel, exchange: str, names: Iterator[str]) -> list[str]:
    return [bind(channel, exchange, channel.queue(next(names), exclusive=True)) for _ in range(4)]


def publish_all(channel: Channel, exchange: str, messages: list[tuple[str, dict[str, Any] | None]]) -> None:
    """Returns when they are in their queues."""
    if not channel.confirmed:
        channel.call("confirm.select")
    for number, (key, properties) in enumerate(messages):
        channel.publish(exchange, key, str(number).encode(), properties)
    channel.wait_for_confirms(len(messages))


def spread(
    channel: Channel, exchange: str, queues: list[str], messages: list[tuple[str, dict[str, Any] | None]]
) -> list[list[int]]:
    """The numbers of the messages that each queue got; each message once."""
    publish_all(channel, exchange, messages)
    found = [[int(body) for body in channel.drain(queue)] for queue in queues]
    assert sorted(number for numbers in found for number in numbers) == list(range(len(messages)))
    return found


REFUSED_ARGUMENTS = [
    ({"hash-header": "h", "hash-property": "message_id"}, "hash-header and hash-property are mutually exclusive"),
    *(
        ({"hash-property": name}, f"Unsupported property: {name}")
        for name in ("type", "user_id", "message-id", "content_type", "")
    ),
]
OUR_REFUSED_ARGUMENTS = [
    ({"x-hash-on": "h", "hash-property": "message_id"}, "x-hash-on and hash-property are mutually exclusive"),
    ({"hash-header": "h", "x-hash-on": "h"}, "hash-header and x-hash-on are mutually exclusive"),
    ({"hash-header": 5}, "invalid arg 'hash-header' for exchange '{}' in vhost '/': expected longstr, got signedint"),
    ({"hash-property": True}, "invalid arg 'hash-property' for exchange '{}' in vhost '/': expected longstr, got bool"),
    ({"x-hash-on": ["h"]}, "invalid arg 'x-hash-on' for exchange '{}' in vhost '/': expected longstr, got array"),
    ({"x-algorithm": 1}, "invalid arg 'x-algorithm' for exchange '{}' in vhost '/': expected longstr, got signedint"),
    (
        {"x-algorithm": "maglev"},
        "invalid arg 'x-algorithm' for exchange '{}' in vhost '/': 'maglev', expected ring or jump",
    ),
]


@pytest.mark.parametrize(("arguments", "text"), REFUSED_ARGUMENTS)
def test_refused_arguments(channel: Channel, name: str, arguments: dict[str, Any], text: str) -> None:
    channel.send("exchange.declare", exchange=name, type=KIND, arguments=arguments)
    channel.expect_close(406, f"PRECONDITION_FAILED - {text}", (40, 10))
    channel.call("channel.open")
    channel.send("exchange.declare", exchange=name, passive=True)
    channel.expect_close(404)


@pytest.mark.flowmq_only
@pytest.mark.parametrize(("arguments", "text"), OUR_REFUSED_ARGUMENTS)
def test_refused_arguments_of_our_own(channel: Channel, name: str, arguments: dict[str, Any], text: str) -> None:
    test_refused_arguments(channel, name, arguments, text.format(name))


def test_declaring_again_compares_no_argument_of_the_hash(channel: Channel, name: str) -> None:
    declare(channel, name, {"hash-header": "h"})
    for arguments in ({"hash-header": "other"}, {}, {"hash-header": "h", "hash-property": "message_id"}):
        declare(channel, name, arguments)
    channel.send("exchange.declare", exchange=name, type=KIND, arguments={"alternate-exchange": "x"})
    text = f"inequivalent arg 'alternate-exchange' for exchange '{name}' in vhost '/': "
    channel.expect_close(
        406, f"PRECONDITION_FAILED - {text}received the value 'x' of type 'longstr' but current is none", (40, 10)
    )
    channel.call("channel.open")
    channel.call("exchange.delete", exchange=name)


WEIGHTS = [
    ("0", "The binding key must be greater than 0"),
    ("-1", "The binding key must be greater than 0"),
    ("", "The binding key must be an integer: <<>>"),
    *(
        (key, f'The binding key must be an integer: <<"{key}">>')
        for key in ("abc", "1.5", " 3", "3 ", "1e3", "1_0", "0x10", "+", "--1")
    ),
]


@pytest.mark.parametrize(("weight", "text"), WEIGHTS)
def test_refused_weights(channel: Channel, queue: str, name: str, weight: str, text: str) -> None:
    exchange = declare(channel, f"{name}-x")
    channel.send("queue.bind", exchange=exchange, queue=queue, routing_key=weight)
    channel.expect_close(406, f"PRECONDITION_FAILED - {text}", (50, 20))
    channel.call("channel.open")
    channel.call("exchange.bind", source="amq.fanout", destination=exchange)
    channel.send("exchange.bind", source=exchange, destination="amq.fanout", routing_key=weight)
    channel.expect_close(406, f"PRECONDITION_FAILED - {text}", (40, 30))
    channel.call("channel.open")
    channel.call("queue.unbind", exchange=exchange, queue=queue, routing_key=weight)
    channel.call("exchange.delete", exchange=exchange, if_unused=True)


@pytest.mark.flowmq_only
def test_a_weight_has_a_greatest_value(channel: Channel, queue: str, name: str) -> None:
    exchange = declare(channel, f"{name}-x", auto_delete=True)
    bind(channel, exchange, queue, "4294967295")
    channel.send("queue.bind", exchange=exchange, queue=queue, routing_key="4294967296")
    channel.expect_close(406, "PRECONDITION_FAILED - The binding key must not be greater than 4294967295", (50, 20))


@pytest.mark.parametrize("weight", ["1", "+5", "007", "20"])
def test_weights_that_are_taken(channel: Channel, queue: str, name: str, weight: str) -> None:
    exchange = declare(channel, f"{name}-x", auto_delete=True)
    bind(channel, exchange, queue, weight)
    assert spread(channel, exchange, [queue], [("k", None)]) == [[0]]


def test_equal_keys_go_one_way_and_different_ones_everywhere(channel: Channel, names: Iterator[str]) -> None:
    exchange = declare(channel, next(names), auto_delete=True)
    queues = four_queues(channel, exchange, names)
    found = spread(channel, exchange, queues, [(f"user.{number % 200}", None) for number in range(400)])
    for numbers in found:
        assert len(numbers) > 30
        assert len(numbers) == 2 * len({number % 200 for number in numbers})


def test_without_a_binding_nothing_is_reached(channel: Channel, name: str) -> None:
    exchange = declare(channel, name)
    channel.publish(exchange, "k", b"x", mandatory=True)
    assert channel.expect("basic.return").reply_code == 312
    channel.call("exchange.delete", exchange=exchange)


HASHED: list[tuple[dict[str, Any], Callable[[int], dict[str, Any]]]] = [
    ({"hash-header": "h"}, lambda n: {"headers": {"x": n, "h": f"value {n}"}}),
    ({"hash-header": "h"}, lambda n: {"headers": {"h": n}}),
    ({"hash-header": "h"}, lambda n: {"headers": {"h": [n, n + 1]}}),
    ({"hash-property": "message_id"}, lambda n: {"message_id": f"id-{n}", "type": "t"}),
    ({"hash-property": "correlation_id"}, lambda n: {"content_type": "text/plain", "correlation_id": f"{n}"}),
    ({"hash-property": "timestamp"}, lambda n: {"headers": {"h": 1}, "timestamp": 1_700_000_000 + n}),
]
OUR_HASHED: list[tuple[dict[str, Any], Callable[[int], dict[str, Any]]]] = [
    ({"x-hash-on": "h"}, lambda n: {"headers": {"h": f"value {n}"}}),
    ({"x-hash-on": "h", "x-algorithm": "ring"}, lambda n: {"headers": {"h": f"value {n}"}}),
    ({"x-hash-on": "h", "x-algorithm": "Jump"}, lambda n: {"headers": {"h": f"value {n}"}}),
]


@pytest.mark.parametrize(("arguments", "properties"), HASHED)
def test_headers_and_properties_decide(
    channel: Channel,
    names: Iterator[str],
    arguments: dict[str, Any],
    properties: Callable[[int], dict[str, Any]],
) -> None:
    exchange = declare(channel, next(names), arguments, auto_delete=True)
    queues = four_queues(channel, exchange, names)
    found = spread(channel, exchange, queues, [(str(n), properties(n % 100)) for n in range(200)])
    for numbers in found:
        assert len(numbers) > 10
        assert len(numbers) == 2 * len({number % 100 for number in numbers})
    without = spread(channel, exchange, queues, [(str(n), {"app_id": str(n)}) for n in range(50)])
    assert sorted(map(len, without)) == [0, 0, 0, 50]


@pytest.mark.flowmq_only
@pytest.mark.parametrize(("arguments", "properties"), OUR_HASHED)
def test_the_other_spelling(
    channel: Channel,
    names: Iterator[str],
    arguments: dict[str, Any],
    properties: Callable[[int], dict[str, Any]],
) -> None:
    test_headers_and_properties_decide(channel, names, arguments, properties)


@pytest.mark.flowmq_only
def test_the_width_of_a_number_in_a_header_does_not_matter(channel: Channel, names: Iterator[str]) -> None:
    exchange = declare(channel, next(names), {"hash-header": "h"}, auto_delete=True)
    queues = four_queues(channel, exchange, names)
    messages = [("k", {"headers": {"h": Typed(letter, 7)}}) for letter in "bBsuIil"]
    assert sorted(map(len, spread(channel, exchange, queues, messages))) == [0, 0, 0, 7]


def test_of_several_routing_keys_the_first_decides(channel: Channel, names: Iterator[str]) -> None:
    exchange = declare(channel, next(names), auto_delete=True)
    queues = four_queues(channel, exchange, names)
    messages = [("k", {"headers": {"CC": [f"a{n}"], "BCC": [f"b{n}", f"c{n}"]}}) for n in range(40)]
    found = spread(channel, exchange, queues, messages)
    assert sorted(map(len, found)) == [0, 0, 0, 40]
    alone = spread(channel, exchange, queues, [("k", None)])
    assert [bool(numbers) for numbers in alone] == [bool(numbers) for numbers in found]


def test_exchanges_are_destinations(channel: Channel, names: Iterator[str]) -> None:
    exchange = declare(channel, next(names), auto_delete=True)
    queues = [channel.queue(next(names), exclusive=True) for _ in range(3)]
    bind(channel, exchange, queues[0])
    fanout = next(names)
    channel.call("exchange.declare", exchange=fanout, type="fanout", auto_delete=True)
    channel.call("exchange.bind", source=exchange, destination=fanout, routing_key="2")
    for queue in queues[1:]:
        channel.call("queue.bind", exchange=fanout, queue=queue)
    publish_all(channel, exchange, [(f"key {number}", None) for number in range(300)])
    direct, first, second = [channel.drain(queue) for queue in queues]
    assert first == second
    assert sorted(map(int, direct + first)) == list(range(300))
    assert 50 < len(direct) < 150


def test_a_queue_that_goes_leaves_the_others_their_keys(channel: Channel, names: Iterator[str]) -> None:
    exchange = declare(channel, next(names))
    queues = four_queues(channel, exchange, names)
    messages: list[tuple[str, dict[str, Any] | None]] = [(f"user.{number}", None) for number in range(200)]
    before = spread(channel, exchange, queues, messages)
    channel.call("queue.delete", queue=queues[3])
    after = spread(channel, exchange, queues[:3], messages)
    assert all(set(then) <= set(now) for then, now in zip(before[:3], after, strict=True))
    channel.call("exchange.delete", exchange=exchange)
