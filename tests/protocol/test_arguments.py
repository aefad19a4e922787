"""Arguments of queue.declare, exchange.declare and basic.consume: what is refused in which words, and what is equal.

Each table is what RabbitMQ showed. FlowMQ knows some arguments on every type of queue that RabbitMQ knows on one type
only; those rows are FlowMQ's own.
"""

from decimal import Decimal
from typing import Any

import pytest

from tests.support.codec import Typed
from tests.support.wire import Channel, Client

QUORUM = {"x-queue-type": "quorum"}
TOO_LARGE = 315_360_000_001
own = pytest.mark.flowmq_only


def own_rows(*rows: tuple[Any, ...]) -> list[Any]:
    return [pytest.param(*row, marks=own) for row in rows]


# ------------------------------------------------------------------------------------------------------------- values

BAD_VALUES: list[Any] = [
    ("x-message-ttl", -1, "{value_negative,-1}"),
    ("x-message-ttl", TOO_LARGE, "{value_too_large,315360000001}"),
    ("x-message-ttl", "60", '"expected integer, got longstr"'),
    ("x-message-ttl", True, '"expected integer, got bool"'),
    ("x-message-ttl", None, '"expected integer, got void"'),
    ("x-message-ttl", Typed("f", 1.0), '"expected integer, got float"'),
    ("x-message-ttl", Typed("T", 5), '"expected integer, got timestamp"'),
    ("x-message-ttl", b"5", '"expected integer, got binary"'),
    ("x-message-ttl", Typed("D", Decimal(5)), '"expected integer, got decimal"'),
    ("x-expires", -1, "{value_negative,-1}"),
    ("x-expires", 0, "{value_zero,0}"),
    ("x-expires", TOO_LARGE, "{value_too_large,315360000001}"),
    ("x-expires", "1", '"expected integer, got longstr"'),
    ("x-max-length", -1, "{value_negative,-1}"),
    ("x-max-length", "1", '"expected integer, got longstr"'),
    ("x-max-length-bytes", -5, "{value_negative,-5}"),
    ("x-max-length-bytes", False, '"expected integer, got bool"'),
    ("x-max-priority", -1, "{value_negative,-1}"),
    ("x-max-priority", 256, "{max_value_exceeded,256}"),
    ("x-max-priority", "9", '"expected integer, got longstr"'),
    ("x-overflow", "nonsense", "invalid_overflow"),
    ("x-overflow", "", "invalid_overflow"),
    ("x-overflow", 1, "{unacceptable_type,signedint}"),
    ("x-dead-letter-routing-key", "k", "routing_key_but_no_dlx_defined"),
    ("x-dead-letter-routing-key", 1, "{unacceptable_type,signedint}"),
    ("x-single-active-consumer", 1, "{unacceptable_type,signedint}"),
    ("x-single-active-consumer", "true", "{unacceptable_type,longstr}"),
    ("x-queue-type", "foo", "\"unsupported queue type 'foo'\""),
    ("x-queue-type", "", "\"unsupported queue type ''\""),
    ("x-queue-type", 1, "{unacceptable_type,signedint}"),
    ("x-queue-type", None, "{unacceptable_type,void}"),
    ("x-queue-mode", "foo", "\"unsupported queue mode 'foo'\""),
    ("x-queue-mode", 1, "{unacceptable_type,signedint}"),
    ("x-queue-version", 3, "\"unsupported queue version '3'\""),
    ("x-queue-version", -1, "{value_negative,-1}"),
    ("x-queue-version", "2", '"expected integer, got longstr"'),
    *own_rows(
        ("x-queue-type", "stream", "\"queue type 'stream' is not supported by this broker yet\""),
        ("x-delivery-limit", -2, "{value_negative,-2}"),
        ("x-delivery-limit", "3", '"expected integer, got longstr"'),
        ("x-dead-letter-strategy", "foo", "invalid_dlx_strategy"),
        ("x-delayed-retry-type", "never", "invalid_delayed_retry_type"),
        ("x-delayed-retry-type", 1, "{unacceptable_type,signedint}"),
        ("x-delayed-retry-min", -1, "{value_negative,-1}"),
        ("x-delayed-retry-max", TOO_LARGE, "{value_too_large,315360000001}"),
        ("x-consumer-timeout", 0, "{value_zero,0}"),
        ("x-consumer-timeout", "1s", '"expected integer, got longstr"'),
        ("x-message-deduplication", "true", "{unacceptable_type,longstr}"),
        ("x-cache-size", 0, "{value_zero,0}"),
        ("x-cache-ttl", -1, "{value_negative,-1}"),
        ("x-deduplication-header", 7, "{unacceptable_type,signedint}"),
    ),
]
BAD_VALUES_OF_QUORUM: list[Any] = [
    ("x-dead-letter-strategy", "foo", "invalid_dlx_strategy"),
    ("x-dead-letter-strategy", 1, "{unacceptable_type,signedint}"),
    ("x-queue-leader-locator", "foo", "invalid_queue_locator_arg"),
    ("x-queue-leader-locator", True, "{unacceptable_type,bool}"),
    ("x-quorum-initial-group-size", 0, "{value_zero,0}"),
    ("x-quorum-initial-group-size", -1, "{value_negative,-1}"),
    ("x-max-in-memory-length", -1, "{value_negative,-1}"),
    ("x-max-in-memory-bytes", "1", '"expected integer, got longstr"'),
    ("x-message-ttl", -1, "{value_negative,-1}"),
    *own_rows(("x-delivery-limit", -2, "{value_negative,-2}")),
]


def check_refused(channel: Channel, name: str, arguments: dict[str, Any], text: str, **fields: Any) -> None:
    """The declaration closes the channel with this text, and leaves no queue behind."""
    channel.send("queue.declare", queue=name, arguments=arguments, **fields)
    channel.expect_close(406, f"PRECONDITION_FAILED - {text}", (50, 10))
    channel.call("channel.open")
    channel.send("queue.declare", queue=name, passive=True)
    channel.expect_close(404, f"NOT_FOUND - no queue '{name}' in vhost '/'")


@pytest.mark.parametrize(("argument", "value", "reason"), BAD_VALUES)
def test_bad_values_are_refused(channel: Channel, name: str, argument: str, value: object, reason: str) -> None:
    text = f"invalid arg '{argument}' for queue '{name}' in vhost '/': {reason}"
    check_refused(channel, name, {argument: value}, text)


@pytest.mark.parametrize(("argument", "value", "reason"), BAD_VALUES_OF_QUORUM)
def test_bad_values_of_quorum_queues_are_refused(
    channel: Channel, name: str, argument: str, value: object, reason: str
) -> None:
    text = f"invalid arg '{argument}' for queue '{name}' in vhost '/': {reason}"
    check_refused(channel, name, {**QUORUM, argument: value}, text, durable=True)


@pytest.mark.parametrize(
    ("value", "kind"), [(1, "signedint"), (True, "bool"), (None, "void"), (Typed("l", 1), "long"), (b"x", "binary")]
)
def test_a_dead_letter_exchange_is_a_name(channel: Channel, name: str, value: object, kind: str) -> None:
    text = f"invalid type '{kind}' for arg 'x-dead-letter-exchange' in queue '{name}' in vhost '/'"
    # It is looked at before everything else.
    check_refused(channel, name, {"x-message-ttl": -1, "x-dead-letter-exchange": value}, text)


@pytest.mark.parametrize(
    ("arguments", "kind", "argument"),
    [
        ({}, "classic", "x-max-age"),
        ({"x-queue-type": "classic"}, "classic", "x-stream-max-segment-size-bytes"),
        ({}, "classic", "x-initial-cluster-size"),
        (QUORUM, "quorum", "x-max-age"),
    ],
)
def test_arguments_of_streams_are_refused_elsewhere(
    channel: Channel, name: str, arguments: dict[str, Any], kind: str, argument: str
) -> None:
    text = f"invalid arg '{argument}' for queue '{name}' in vhost '/' of queue type rabbit_{kind}_queue"
    check_refused(channel, name, {**arguments, argument: "1h"}, text, durable=True)


GOOD_VALUES: list[Any] = [
    {"x-message-ttl": 0, "x-max-length": 0, "x-max-length-bytes": 0, "x-max-priority": 0},
    {"x-message-ttl": TOO_LARGE - 1, "x-expires": TOO_LARGE - 1, "x-max-length": 2**62, "x-max-priority": 255},
    {"x-message-ttl": Typed("b", 1), "x-expires": Typed("u", 60000), "x-max-length": Typed("i", 1)},
    {"x-dead-letter-exchange": "nowhere-at-all", "x-dead-letter-routing-key": ""},
    {"x-dead-letter-exchange": ""},
    {"x-overflow": "drop-head"},
    {"x-overflow": "reject-publish"},
    {"x-overflow": "reject-publish-dlx"},
    {"x-single-active-consumer": True},
    {"x-single-active-consumer": False},
    {"x-queue-type": "classic", "x-queue-mode": "lazy", "x-queue-version": 2},
    {"x-member-placement-tag": 1, "x-nobody-knows": {"a": [1, "b"]}},
]
OWN_VALUES: list[Any] = [
    {"x-delivery-limit": -1},
    {"x-delivery-limit": 0},
    {"x-dead-letter-strategy": "at-least-once"},
    {"x-delayed-retry-type": "failed", "x-delayed-retry-min": 0, "x-delayed-retry-max": TOO_LARGE - 1},
    {"x-consumer-timeout": 1},
    {"x-message-deduplication": True, "x-cache-size": 1, "x-cache-ttl": 1, "x-deduplication-header": "id"},
    {"x-queue-leader-locator": "balanced", "x-queue-master-locator": "min-masters"},
    {"x-quorum-initial-group-size": 3, "x-max-in-memory-length": 0},
]


@pytest.mark.parametrize("arguments", [*GOOD_VALUES, *(pytest.param(values, marks=own) for values in OWN_VALUES)])
def test_good_values_are_accepted(channel: Channel, name: str, arguments: dict[str, Any]) -> None:
    channel.queue(name, exclusive=True, arguments=arguments)
    channel.queue(name, exclusive=True, arguments=arguments)


# -------------------------------------------------------------------------------------------------------- quorum queues


@pytest.mark.parametrize(
    ("fields", "refused"),
    [
        ({"durable": False}, "non-durable"),
        ({"durable": True, "exclusive": True}, "exclusive-owner"),
        ({"durable": True, "auto_delete": True}, "auto-delete"),
        ({"durable": False, "auto_delete": True, "exclusive": True}, "auto-delete"),
        ({"durable": False, "exclusive": True}, "exclusive-owner"),
    ],
)
def test_quorum_queues_are_for_everyone_and_for_good(
    channel: Channel, name: str, fields: dict[str, Any], refused: str
) -> None:
    check_refused(channel, name, QUORUM, f"invalid property '{refused}' for queue '{name}' in vhost '/'", **fields)


def test_quorum_queues_take_and_give_messages(channel: Channel, name: str) -> None:
    arguments = {
        **QUORUM,
        "x-quorum-initial-group-size": 1,
        "x-queue-leader-locator": "client-local",
        "x-dead-letter-strategy": "at-most-once",
        "x-delivery-limit": -1,
    }
    channel.call("queue.declare", queue=name, durable=True, arguments=arguments)
    channel.call("queue.declare", queue=name, durable=True, arguments=arguments)
    channel.put(name, b"1", b"2")
    channel.consume(name, "c")
    assert [channel.expect("basic.deliver").body for _ in range(2)] == [b"1", b"2"]
    channel.call("basic.cancel", consumer_tag="c")
    channel.call("queue.delete", queue=name)


def test_a_quorum_queue_has_no_consumers_under_a_global_prefetch(channel: Channel, other: Client, name: str) -> None:
    channel.call("queue.declare", queue=name, durable=True, arguments=QUORUM)
    channel.call("basic.qos", prefetch_count=10, global_=True)
    channel.send("basic.consume", queue=name)
    text = f"NOT_IMPLEMENTED - queue '{name}' in vhost '/' does not support global qos"
    channel.client.expect_close(540, text)
    other.channel().call("queue.delete", queue=name)


def test_a_global_prefetch_of_none_or_later_is_no_obstacle(channel: Channel, name: str) -> None:
    channel.call("queue.declare", queue=name, durable=True, arguments=QUORUM)
    channel.call("basic.qos", prefetch_count=0, global_=True)
    channel.consume(name, "c")
    channel.call("basic.qos", prefetch_count=10, global_=True)
    channel.call("basic.cancel", consumer_tag="c")
    channel.call("queue.delete", queue=name)


# ----------------------------------------------------------------------------------------------------------- the same

DIFFERENCES: list[tuple[str, dict[str, Any], dict[str, Any], str]] = [
    ("x-max-length", {"x-max-length": 10}, {"x-max-length": 11}, "received '11' but current is '10'"),
    ("x-max-length", {"x-max-length": 10}, {}, "received none but current is the value '10' of type 'signedint'"),
    (
        "x-max-length",
        {},
        {"x-max-length": Typed("l", 10)},
        "received the value '10' of type 'long' but current is none",
    ),
    # What is there is compared before what is new is judged.
    ("x-max-length", {"x-max-length": 1}, {"x-max-length": -1}, "received '-1' but current is '1'"),
    ("x-max-length", {"x-max-length": 1}, {"x-max-length": "a"}, "received 'a' but current is '1'"),
    ("x-max-length", {"x-max-length": 1}, {"x-max-length": True}, "received 'true' but current is '1'"),
    (
        "x-dead-letter-exchange",
        {},
        {"x-dead-letter-exchange": "dead"},
        "received the value 'dead' of type 'longstr' but current is none",
    ),
    (
        "x-single-active-consumer",
        {},
        {"x-single-active-consumer": True},
        "received the value 'true' of type 'bool' but current is none",
    ),
    (
        "x-single-active-consumer",
        {"x-single-active-consumer": True},
        {"x-single-active-consumer": False},
        "received 'false' but current is 'true'",
    ),
    (
        "x-overflow",
        {"x-overflow": "drop-head"},
        {},
        "received none but current is the value 'drop-head' of type 'longstr'",
    ),
    (
        "x-queue-mode",
        {},
        {"x-queue-mode": "default"},
        "received the value 'default' of type 'longstr' but current is none",
    ),
    (
        "x-queue-version",
        {"x-queue-version": 1},
        {},
        "received none but current is the value '1' of type 'signedint'",
    ),
    (
        "x-queue-type",
        {},
        {"x-queue-type": "quorum"},
        "received the value 'quorum' of type 'longstr' but current is none",
    ),
    (
        "x-queue-type",
        QUORUM,
        {},
        "received none but current is the value 'quorum' of type 'longstr'",
    ),
    (
        "x-delivery-limit",
        QUORUM,
        {**QUORUM, "x-delivery-limit": 3},
        "received the value '3' of type 'signedint' but current is none",
    ),
    (
        "x-quorum-initial-group-size",
        QUORUM,
        {**QUORUM, "x-quorum-initial-group-size": 1},
        "received the value '1' of type 'signedint' but current is none",
    ),
]
OWN_DIFFERENCES: list[tuple[str, dict[str, Any], dict[str, Any], str]] = [
    ("x-delivery-limit", {"x-delivery-limit": 3}, {"x-delivery-limit": 4}, "received '4' but current is '3'"),
    (
        "x-consumer-timeout",
        {"x-consumer-timeout": 1},
        {},
        "received none but current is the value '1' of type 'signedint'",
    ),
    (
        "x-message-deduplication",
        {},
        {"x-message-deduplication": True},
        "received the value 'true' of type 'bool' but current is none",
    ),
]


@pytest.mark.parametrize(("argument", "first", "second", "text"), [*DIFFERENCES, *own_rows(*OWN_DIFFERENCES)])
def test_declaring_again_with_other_arguments_is_refused(
    channel: Channel, name: str, argument: str, first: dict[str, Any], second: dict[str, Any], text: str
) -> None:
    channel.call("queue.declare", queue=name, durable=True, arguments=first)
    channel.send("queue.declare", queue=name, durable=True, arguments=second)
    expected = f"PRECONDITION_FAILED - inequivalent arg '{argument}' for queue '{name}' in vhost '/': {text}"
    channel.expect_close(406, expected, (50, 10))
    channel.call("channel.open")
    channel.call("queue.delete", queue=name)


SAME: list[Any] = [
    ({"x-max-length": 10}, {"x-max-length": Typed("l", 10)}),
    ({"x-max-length": Typed("b", 10)}, {"x-max-length": Typed("s", 10)}),
    ({"x-message-ttl": Typed("B", 200)}, {"x-message-ttl": Typed("u", 200)}),
    ({}, {"x-queue-type": "classic"}),
    ({"x-queue-type": "classic"}, {}),
    ({"x-unknown": 1}, {"x-unknown": 2}),
    ({"x-unknown": 1}, {}),
    # Arguments that this type of queue does not know are not looked at when it is there already.
    ({}, {"x-max-age": "1h"}),
]


@pytest.mark.parametrize(("first", "second"), SAME)
def test_declaring_again_with_the_same_is_accepted(
    channel: Channel, name: str, first: dict[str, Any], second: dict[str, Any]
) -> None:
    channel.call("queue.declare", queue=name, exclusive=True, arguments=first)
    channel.call("queue.declare", queue=name, exclusive=True, arguments=second)


# ------------------------------------------------------------------------------------------- exchanges and consumers


@pytest.mark.parametrize(("value", "kind"), [(1, "signedint"), (True, "bool"), (None, "void")])
def test_an_alternate_exchange_is_a_name(channel: Channel, name: str, value: object, kind: str) -> None:
    channel.send("exchange.declare", exchange=name, type="direct", arguments={"alternate-exchange": value})
    text = f"invalid type '{kind}' for arg 'alternate-exchange' in exchange '{name}' in vhost '/'"
    channel.expect_close(406, f"PRECONDITION_FAILED - {text}", (40, 10))


@pytest.mark.flowmq_only
@pytest.mark.parametrize(
    ("argument", "value", "reason"),
    [
        ("x-message-deduplication", 1, "{unacceptable_type,signedint}"),
        ("x-cache-size", 0, "{value_zero,0}"),
        ("x-cache-ttl", "1s", '"expected integer, got longstr"'),
        ("x-deduplication-header", True, "{unacceptable_type,bool}"),
    ],
)
def test_bad_values_of_exchanges_are_refused(
    channel: Channel, name: str, argument: str, value: object, reason: str
) -> None:
    channel.send("exchange.declare", exchange=name, type="direct", arguments={argument: value})
    text = f"invalid arg '{argument}' for exchange '{name}' in vhost '/': {reason}"
    channel.expect_close(406, f"PRECONDITION_FAILED - {text}", (40, 10))


@pytest.mark.parametrize(
    ("argument", "value", "reason"),
    [
        ("x-priority", "high", ': "expected integer, got longstr"'),
        ("x-priority", True, ': "expected integer, got bool"'),
        ("x-priority", None, ': "expected integer, got void"'),
        ("x-priority", Typed("f", 1.0), ': "expected integer, got float"'),
        ("x-cancel-on-ha-failover", 1, ": {unacceptable_type,signedint}"),
        ("x-cancel-on-ha-failover", "true", ": {unacceptable_type,longstr}"),
        ("x-stream-offset", "first", " of queue type rabbit_classic_queue"),
        *own_rows(
            ("x-consumer-timeout", 0, ": {value_zero,0}"),
            ("x-consumer-timeout", -1, ": {value_negative,-1}"),
            ("x-consumer-timeout", "1s", ': "expected integer, got longstr"'),
        ),
    ],
)
def test_bad_values_of_consumers_are_refused(
    channel: Channel, queue: str, argument: str, value: object, reason: str
) -> None:
    channel.send("basic.consume", queue=queue, arguments={argument: value})
    text = f"PRECONDITION_FAILED - invalid arg '{argument}' for queue '{queue}' in vhost '/'{reason}"
    channel.expect_close(406, text, (60, 20))


@pytest.mark.parametrize(
    "arguments",
    [
        {"x-priority": -1},
        {"x-priority": Typed("l", 2**40)},
        {"x-cancel-on-ha-failover": True, "x-consumer-timeout": 60000, "x-nobody-knows": [1]},
    ],
)
def test_good_values_of_consumers_are_accepted(channel: Channel, queue: str, arguments: dict[str, Any]) -> None:
    channel.consume(queue, "c", arguments=arguments)
