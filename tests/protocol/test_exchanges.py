"""exchange.declare and exchange.delete: what may be declared, again, passively, and how it goes away."""

from collections.abc import Iterator

import pytest

from tests.support.wire import Channel, Client

BUILT_IN = {
    "": "direct",
    "amq.direct": "direct",
    "amq.fanout": "fanout",
    "amq.topic": "topic",
    "amq.headers": "headers",
    "amq.match": "headers",
}


@pytest.mark.parametrize("kind", ["direct", "fanout", "topic", "headers"])
def test_every_type_can_be_declared_again_and_deleted(channel: Channel, name: str, kind: str) -> None:
    channel.call("exchange.declare", exchange=name, type=kind)
    channel.call("exchange.declare", exchange=name, type=kind)
    channel.call("exchange.declare", exchange=name, passive=True)
    channel.call("exchange.delete", exchange=name)
    channel.send("exchange.declare", exchange=name, passive=True)
    channel.expect_close(404, f"NOT_FOUND - no exchange '{name}' in vhost '/'", (40, 10))


@pytest.mark.parametrize("exchange", [name for name in BUILT_IN if name])
def test_built_in_exchanges_are_there_and_durable(channel: Channel, exchange: str) -> None:
    channel.call("exchange.declare", exchange=exchange, passive=True)
    channel.call("exchange.declare", exchange=exchange, type=BUILT_IN[exchange], durable=True)


def test_deleting_what_does_not_exist_succeeds(channel: Channel, name: str) -> None:
    channel.call("exchange.delete", exchange=name)
    channel.call("exchange.delete", exchange=name, if_unused=True)


DIFFERENCES = [
    ("type", {"type": "topic"}, "received 'topic' but current is 'direct'"),
    ("durable", {"durable": True}, "received 'true' but current is 'false'"),
    ("auto_delete", {"auto_delete": True}, "received 'true' but current is 'false'"),
    ("internal", {"internal": True}, "received 'true' but current is 'false'"),
    (
        "alternate-exchange",
        {"arguments": {"alternate-exchange": "other"}},
        "received the value 'other' of type 'longstr' but current is none",
    ),
]


@pytest.mark.parametrize(("field", "changed", "text"), DIFFERENCES, ids=[row[0] for row in DIFFERENCES])
def test_declaring_again_differently_is_refused(
    channel: Channel, name: str, field: str, changed: dict[str, object], text: str
) -> None:
    channel.call("exchange.declare", exchange=name, type="direct")
    channel.send("exchange.declare", **{"exchange": name, "type": "direct", **changed})
    expected = f"PRECONDITION_FAILED - inequivalent arg '{field}' for exchange '{name}' in vhost '/': {text}"
    channel.expect_close(406, expected, (40, 10))


def test_alternate_exchange_is_compared_by_value(channel: Channel, name: str) -> None:
    arguments = {"alternate-exchange": "one"}
    channel.call("exchange.declare", exchange=name, type="direct", arguments=arguments)
    channel.call("exchange.declare", exchange=name, type="direct", arguments=arguments)
    channel.send("exchange.declare", exchange=name, type="direct", arguments={"alternate-exchange": "two"})
    text = (
        f"inequivalent arg 'alternate-exchange' for exchange '{name}' in vhost '/': received 'two' but current is 'one'"
    )
    channel.expect_close(406, "PRECONDITION_FAILED - " + text)


def test_unknown_arguments_are_accepted_and_not_compared(channel: Channel, name: str) -> None:
    channel.call("exchange.declare", exchange=name, type="direct", arguments={"x-ours": 1})
    channel.call("exchange.declare", exchange=name, type="direct", arguments={"x-ours": 2})


def test_nowait_declares_without_an_answer(channel: Channel, name: str) -> None:
    channel.send("exchange.declare", exchange=name, type="direct", nowait=True)
    channel.call("exchange.declare", exchange=name, passive=True)
    channel.send("exchange.delete", exchange=name, nowait=True)
    channel.send("exchange.declare", exchange=name, passive=True)
    channel.expect_close(404)


def test_if_unused_keeps_an_exchange_with_bindings(channel: Channel, queue: str, name: str) -> None:
    channel.call("exchange.declare", exchange=name, type="direct")
    channel.call("queue.bind", queue=queue, exchange=name, routing_key="k")
    channel.send("exchange.delete", exchange=name, if_unused=True)
    channel.expect_close(406, f"PRECONDITION_FAILED - exchange '{name}' in vhost '/' in use", (40, 20))
    channel.call("channel.open")
    channel.call("queue.unbind", queue=queue, exchange=name, routing_key="k")
    channel.call("exchange.delete", exchange=name, if_unused=True)


def test_auto_delete_exchange_goes_with_its_last_binding(channel: Channel, queue: str, name: str) -> None:
    channel.call("exchange.declare", exchange=name, type="direct", auto_delete=True)
    channel.call("exchange.declare", exchange=name, passive=True)
    for key in ("one", "two"):
        channel.call("queue.bind", queue=queue, exchange=name, routing_key=key)
    channel.call("queue.unbind", queue=queue, exchange=name, routing_key="one")
    channel.call("exchange.declare", exchange=name, passive=True)
    channel.call("queue.unbind", queue=queue, exchange=name, routing_key="two")
    channel.send("exchange.declare", exchange=name, passive=True)
    channel.expect_close(404)


def test_auto_delete_exchange_goes_with_the_queue_it_fed(channel: Channel, queue: str, name: str) -> None:
    channel.call("exchange.declare", exchange=name, type="fanout", auto_delete=True)
    channel.call("queue.bind", queue=queue, exchange=name)
    channel.call("queue.delete", queue=queue)
    channel.send("exchange.declare", exchange=name, passive=True)
    channel.expect_close(404)


def test_being_a_destination_does_not_keep_an_auto_delete_exchange(channel: Channel, names: Iterator[str]) -> None:
    source, target, queue = next(names), next(names), next(names)
    channel.call("exchange.declare", exchange=source, type="fanout", auto_delete=True)
    channel.call("exchange.declare", exchange=target, type="fanout", auto_delete=True)
    channel.queue(queue, exclusive=True)
    channel.call("exchange.bind", destination=target, source=source)
    channel.call("queue.bind", queue=queue, exchange=target)
    channel.call("queue.unbind", queue=queue, exchange=target)  # the last one from `target`, which feeds `source` away
    for exchange in (target, source):
        channel.send("exchange.declare", exchange=exchange, passive=True)
        channel.expect_close(404)
        channel.call("channel.open")


def test_exchange_outlives_its_connection(channel: Channel, name: str, other: Client) -> None:
    channel.call("exchange.declare", exchange=name, type="direct")
    channel.client.close()
    neighbour = other.channel()
    neighbour.call("exchange.declare", exchange=name, passive=True)
    neighbour.call("exchange.delete", exchange=name)
