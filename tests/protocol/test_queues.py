"""queue.declare, purge and delete: names, properties, redeclaration, exclusivity, automatic deletion."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.peer import Peer
from tests.support.wire import Channel, Client, connect

LOCKED = (
    "RESOURCE_LOCKED - cannot obtain exclusive access to locked queue '{}' in vhost '/'. It could be originally "
    "declared on another connection or the exclusive property value does not match that of the original declaration."
)


def gone(channel: Channel, queue: str) -> bool:
    """Whether the queue does not exist. The channel is usable afterwards."""
    channel.send("queue.declare", queue=queue, passive=True)
    answer = channel.expect("queue.declare-ok", "channel.close")
    if answer.name == "queue.declare-ok":
        return False
    assert answer.reply_code == 404, str(answer)
    channel.send("channel.close-ok")
    channel.call("channel.open")
    return True


def test_declare_answers_name_and_counts(channel: Channel, name: str) -> None:
    first = channel.call("queue.declare", queue=name, exclusive=True)
    assert (first.queue, first.message_count, first.consumer_count) == (name, 0, 0)
    channel.put(name, b"1", b"2")
    again = channel.call("queue.declare", queue=name, exclusive=True)
    assert (again.queue, again.message_count, again.consumer_count) == (name, 2, 0)


def test_declare_counts_ready_messages_and_consumers(channel: Channel, queue: str) -> None:
    channel.put(queue, b"1", b"2", b"3")
    assert channel.get(queue, no_ack=False)
    channel.call("basic.qos", prefetch_count=1)
    channel.consume(queue)
    channel.expect("basic.deliver")
    answer = channel.call("queue.declare", queue=queue, passive=True)
    assert (answer.message_count, answer.consumer_count) == (1, 1)


def test_server_named_queues_differ(channel: Channel) -> None:
    first, second = channel.queue(exclusive=True), channel.queue(exclusive=True)
    assert first != second
    for queue in (first, second):
        assert queue.startswith("amq.gen-")
        assert len(queue) == len("amq.gen-") + 22


def test_line_ends_are_stripped_from_names(channel: Channel, name: str) -> None:
    assert channel.queue(f"\r{name}\n", exclusive=True) == name
    assert channel.count(name) == 0


def test_empty_name_means_the_queue_declared_last_on_the_channel(channel: Channel, names: Iterator[str]) -> None:
    first, last, exchange = next(names), next(names), next(names)
    channel.queue(first, exclusive=True)
    channel.queue(last, exclusive=True)
    channel.call("exchange.declare", exchange=exchange, type="direct", auto_delete=True)
    channel.call("queue.bind", exchange=exchange)  # the key of an empty bind is the queue's name, too
    channel.publish(exchange, last, b"for the last")
    assert channel.drain("") == [b"for the last"]
    channel.put(last, b"1")
    assert channel.call("queue.purge").message_count == 1
    channel.call("basic.cancel", consumer_tag=channel.consume(""))
    channel.call("queue.delete")
    assert gone(channel, last)
    assert not gone(channel, first)


def test_empty_name_before_any_declare_is_refused(client: Client) -> None:
    for method in ("queue.bind", "basic.consume", "basic.get", "queue.purge", "queue.delete"):
        channel = client.channel()
        fields = {"exchange": "amq.direct"} if method == "queue.bind" else {}
        channel.send(method, **fields)
        channel.expect_close(404, "NOT_FOUND - no previously declared queue")


def test_passive_declare_of_nothing_is_refused(channel: Channel, name: str) -> None:
    channel.send("queue.declare", queue=name, passive=True)
    channel.expect_close(404, f"NOT_FOUND - no queue '{name}' in vhost '/'", (50, 10))


def test_passive_declare_ignores_every_other_field(channel: Channel, name: str) -> None:
    channel.queue(name, exclusive=True)
    channel.call(
        "queue.declare", queue=name, passive=True, durable=True, auto_delete=True, arguments={"x-max-length": 1}
    )


DIFFERENCES: list[tuple[str, dict[str, Any], dict[str, Any], str]] = [
    ("durable", {}, {"durable": True}, "received 'true' but current is 'false'"),
    ("durable", {"durable": True}, {}, "received 'false' but current is 'true'"),
    ("auto_delete", {}, {"auto_delete": True}, "received 'true' but current is 'false'"),
]


@pytest.mark.parametrize(("field", "first", "second", "text"), DIFFERENCES)
def test_declaring_again_differently_is_refused(
    channel: Channel, name: str, field: str, first: dict[str, Any], second: dict[str, Any], text: str
) -> None:
    channel.call("queue.declare", queue=name, **first)
    channel.send("queue.declare", queue=name, **second)
    expected = f"PRECONDITION_FAILED - inequivalent arg '{field}' for queue '{name}' in vhost '/': {text}"
    channel.expect_close(406, expected, (50, 10))
    channel.call("channel.open")
    channel.call("queue.delete", queue=name)


@pytest.mark.parametrize(
    ("method", "fields"),
    [
        ("queue.declare", {"passive": True}),
        ("queue.declare", {"exclusive": True}),
        ("queue.declare", {}),
        ("basic.consume", {}),
        ("basic.get", {}),
        ("queue.purge", {}),
        ("queue.bind", {"exchange": "amq.direct", "routing_key": "k"}),
        ("queue.delete", {}),
    ],
)
def test_exclusive_queue_is_locked_for_other_connections(
    channel: Channel, other: Client, queue: str, method: str, fields: dict[str, Any]
) -> None:
    stranger = other.channel()
    stranger.send(method, queue=queue, **fields)
    stranger.expect_close(405, LOCKED.format(queue))
    assert channel.count(queue) == 0


def test_exclusive_is_compared_before_durable(channel: Channel, name: str) -> None:
    channel.call("queue.declare", queue=name)
    channel.send("queue.declare", queue=name, exclusive=True, durable=True)
    channel.expect_close(405, LOCKED.format(name), (50, 10))
    channel.call("channel.open")
    channel.call("queue.delete", queue=name)


def test_exclusive_durable_is_stored_as_not_durable(channel: Channel, name: str) -> None:
    channel.call("queue.declare", queue=name, exclusive=True, durable=True)
    channel.call("queue.declare", queue=name, exclusive=True, durable=True)
    channel.call("queue.declare", queue=name, exclusive=True, durable=False)


def test_exclusive_queue_is_gone_before_close_ok(client: Client, other: Client, name: str) -> None:
    client.channel().queue(name, exclusive=True)
    client.close()
    assert gone(other.channel(), name)


def test_exclusive_queue_goes_with_a_lost_connection(peer: Peer, channel: Channel, name: str) -> None:
    other = connect(peer)
    other.channel().queue(name, exclusive=True)
    other.drop()
    while True:  # until the peer has noticed: it says locked as long as it has not
        channel.send("queue.declare", queue=name, passive=True)
        code = channel.expect("channel.close").reply_code
        channel.send("channel.close-ok")
        channel.call("channel.open")
        assert code in (404, 405)
        if code == 404:
            return


@pytest.mark.parametrize("how", ["cancel", "channel", "connection"])
def test_auto_delete_queue_goes_with_its_last_consumer(channel: Channel, other: Client, name: str, how: str) -> None:
    first, second = other.channel(), other.channel()
    first.queue(name, auto_delete=True)
    first.consume(name, "first")
    second.consume(name, "second")
    first.call("basic.cancel", consumer_tag="first")
    assert not gone(channel, name)
    if how == "cancel":
        second.call("basic.cancel", consumer_tag="second")
    elif how == "channel":
        second.close()
    else:
        other.close()
    while not gone(channel, name):
        pass


def test_auto_delete_queue_without_a_consumer_stays(channel: Channel, name: str, other: Client) -> None:
    other.channel().queue(name, auto_delete=True)
    other.close()
    assert not gone(channel, name)
    channel.call("queue.delete", queue=name)


def test_purge_takes_the_ready_and_leaves_the_unacknowledged(channel: Channel, queue: str) -> None:
    channel.put(queue, b"1", b"2", b"3")
    held = channel.get(queue, no_ack=False)
    assert held
    assert channel.call("queue.purge", queue=queue).message_count == 2
    assert channel.call("queue.purge", queue=queue).message_count == 0
    channel.call("basic.recover", requeue=True)
    assert channel.drain(queue) == [b"1"]


def test_purge_and_delete_nowait(channel: Channel, queue: str) -> None:
    channel.put(queue, b"1")
    channel.send("queue.purge", queue=queue, nowait=True)
    assert channel.count(queue) == 0
    channel.send("queue.delete", queue=queue, nowait=True)
    assert gone(channel, queue)


def test_declare_nowait(channel: Channel, name: str) -> None:
    channel.send("queue.declare", queue=name, exclusive=True, nowait=True)
    assert channel.count(name) == 0


def test_delete_answers_the_number_of_messages(channel: Channel, queue: str) -> None:
    channel.put(queue, b"1", b"2")
    assert channel.call("queue.delete", queue=queue).message_count == 2
    assert channel.call("queue.delete", queue=queue).message_count == 0


def test_delete_if_empty_and_if_unused(channel: Channel, queue: str) -> None:
    channel.put(queue, b"1")
    channel.send("queue.delete", queue=queue, if_empty=True)
    channel.expect_close(406, f"PRECONDITION_FAILED - queue '{queue}' in vhost '/' not empty", (50, 40))
    channel.call("channel.open")
    channel.consume(queue, "c", no_ack=True)
    channel.expect("basic.deliver")
    channel.send("queue.delete", queue=queue, if_unused=True)
    channel.expect_close(406, f"PRECONDITION_FAILED - queue '{queue}' in vhost '/' in use", (50, 40))
    channel.call("channel.open")
    channel.call("queue.delete", queue=queue, if_empty=True, if_unused=True)


@pytest.mark.parametrize("queue_name", ["ünïcödé-☃", "with space", "a" * 255, "slash/and.dots#*"])
def test_names_are_any_text_up_to_255_octets(channel: Channel, queue_name: str) -> None:
    assert channel.queue(queue_name, exclusive=True) == queue_name
    channel.put(queue_name, b"x")
    assert channel.drain(queue_name) == [b"x"]


def test_reserved_prefix(channel: Channel, name: str) -> None:
    channel.send("queue.declare", queue=f"amq.{name}")
    text = f"ACCESS_REFUSED - queue name 'amq.{name}' contains reserved prefix 'amq.*'"
    channel.expect_close(403, text, (50, 10))


def test_server_named_queue_may_be_asked_for_by_name(channel: Channel) -> None:
    queue = channel.queue(exclusive=True)
    assert channel.queue(queue, passive=True) == queue
