"""What is refused, with which code and which words: one row each, and the neighbours notice nothing.

Programs branch on the code, people and tests search for the words: both are RabbitMQ's. `{q}` is a queue that exists,
`{x}` an exchange that exists, `{no}` a name that does not. Where a topic has a file of its own (arguments of queues,
properties, transactions, ...), its refusals are tested there.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from tests.support import codec
from tests.support.wire import Channel, Client

CHANNEL, CONNECTION = "channel", "connection"
NO_QUEUE = "NOT_FOUND - no queue '{no}' in vhost '/'"
NO_EXCHANGE = "NOT_FOUND - no exchange '{no}' in vhost '/'"
DEFAULT_EXCHANGE = "ACCESS_REFUSED - operation not permitted on the default exchange"


class Row(NamedTuple):
    trigger: str
    fields: dict[str, Any]
    closes: str
    code: int
    text: str
    marks: tuple[pytest.MarkDecorator, ...] = ()


TABLE = [
    Row("queue.declare", {"queue": "{no}", "passive": True}, CHANNEL, 404, NO_QUEUE),
    Row("basic.consume", {"queue": "{no}"}, CHANNEL, 404, NO_QUEUE),
    Row("basic.get", {"queue": "{no}"}, CHANNEL, 404, NO_QUEUE),
    Row("queue.purge", {"queue": "{no}"}, CHANNEL, 404, NO_QUEUE),
    Row("queue.bind", {"queue": "{no}", "exchange": "{x}"}, CHANNEL, 404, NO_QUEUE),
    Row("queue.bind", {"queue": "{q}", "exchange": "{no}"}, CHANNEL, 404, NO_EXCHANGE),
    Row("exchange.declare", {"exchange": "{no}", "passive": True}, CHANNEL, 404, NO_EXCHANGE),
    Row("exchange.bind", {"source": "{no}", "destination": "{x}"}, CHANNEL, 404, NO_EXCHANGE),
    Row("exchange.bind", {"source": "{x}", "destination": "{no}"}, CHANNEL, 404, NO_EXCHANGE),
    Row("basic.publish", {"exchange": "{no}"}, CHANNEL, 404, NO_EXCHANGE),
    Row(
        "exchange.declare",
        {"exchange": "{no}", "type": "foo"},
        CHANNEL,
        406,
        "PRECONDITION_FAILED - unknown exchange type 'foo'",
        (pytest.mark.newer,),
    ),
    Row(
        "queue.declare",
        {"queue": "amq.{no}"},
        CHANNEL,
        403,
        "ACCESS_REFUSED - queue name 'amq.{no}' contains reserved prefix 'amq.*'",
    ),
    Row(
        "exchange.declare",
        {"exchange": "amq.{no}", "type": "direct"},
        CHANNEL,
        403,
        "ACCESS_REFUSED - exchange name 'amq.{no}' contains reserved prefix 'amq.*'",
    ),
    Row(
        "exchange.delete",
        {"exchange": "amq.direct"},
        CHANNEL,
        403,
        "ACCESS_REFUSED - deletion of system exchange 'amq.direct' in vhost '/' not allowed",
    ),
    Row("exchange.declare", {"exchange": "", "type": "direct", "durable": True}, CHANNEL, 403, DEFAULT_EXCHANGE),
    Row("exchange.declare", {"exchange": "", "passive": True}, CHANNEL, 403, DEFAULT_EXCHANGE),
    Row("exchange.delete", {"exchange": ""}, CHANNEL, 403, DEFAULT_EXCHANGE),
    Row("exchange.bind", {"source": "", "destination": "{x}"}, CHANNEL, 403, DEFAULT_EXCHANGE),
    Row("exchange.bind", {"source": "{x}", "destination": ""}, CHANNEL, 403, DEFAULT_EXCHANGE),
    Row("exchange.unbind", {"source": "", "destination": "{x}"}, CHANNEL, 403, DEFAULT_EXCHANGE),
    Row("queue.bind", {"queue": "{q}", "exchange": "", "routing_key": "k"}, CHANNEL, 403, DEFAULT_EXCHANGE),
    Row("queue.unbind", {"queue": "{q}", "exchange": "", "routing_key": "k"}, CHANNEL, 403, DEFAULT_EXCHANGE),
    Row(
        "queue.bind",
        {"queue": "{q}", "exchange": "amq.headers", "arguments": {"x-match": "foo"}},
        CHANNEL,
        406,
        'PRECONDITION_FAILED - Invalid x-match field value <<"foo">>; expected all, any, all-with-x, or any-with-x',
    ),
    Row(
        "queue.bind",
        {"queue": "{q}", "exchange": "amq.headers", "arguments": {"x-match": 5}},
        CHANNEL,
        406,
        "PRECONDITION_FAILED - Invalid x-match field type signedint (value 5); expected longstr",
    ),
    Row("basic.ack", {"delivery_tag": 99}, CHANNEL, 406, "PRECONDITION_FAILED - unknown delivery tag 99"),
    Row("basic.nack", {"delivery_tag": 99}, CHANNEL, 406, "PRECONDITION_FAILED - unknown delivery tag 99"),
    Row("basic.reject", {"delivery_tag": 99}, CHANNEL, 406, "PRECONDITION_FAILED - unknown delivery tag 99"),
    Row("basic.ack", {"delivery_tag": 0}, CHANNEL, 406, "PRECONDITION_FAILED - unknown delivery tag 0"),
    Row("basic.qos", {"prefetch_size": 10}, CONNECTION, 540, "NOT_IMPLEMENTED - prefetch_size!=0 (10)"),
    Row("basic.publish", {"exchange": "", "immediate": True}, CONNECTION, 540, "NOT_IMPLEMENTED - immediate=true"),
    Row("basic.recover", {"requeue": False}, CONNECTION, 540, "NOT_IMPLEMENTED - requeue=false"),
    Row("basic.recover-async", {"requeue": False}, CONNECTION, 540, "NOT_IMPLEMENTED - requeue=false"),
    Row("channel.flow", {"active": False}, CONNECTION, 540, "NOT_IMPLEMENTED - active=false"),
    Row("channel.open", {}, CONNECTION, 504, "CHANNEL_ERROR - second 'channel.open' seen"),
    *(
        Row(name, {}, CONNECTION, 503, "COMMAND_INVALID - unimplemented method")
        for name in (
            "channel.open-ok",
            "channel.flow-ok",
            "channel.close-ok",
            "exchange.declare-ok",
            "queue.declare-ok",
            "basic.consume-ok",
            "basic.get-empty",
            "confirm.select-ok",
            "tx.commit-ok",
        )
    ),
]


def filled(value: Any, places: dict[str, str]) -> Any:
    if isinstance(value, str):
        for place, name in places.items():
            value = value.replace(f"{{{place}}}", name)
    return value


@pytest.mark.parametrize(
    "row", [pytest.param(row, marks=row.marks, id=f"{row.trigger}-{row.code}-{row.text[:40]}") for row in TABLE]
)
def test_refusal(client: Client, other: Client, names: Iterator[str], row: Row) -> None:
    queue, exchange, nothing, neighbour = (next(names) for _ in range(4))
    channel, bystander = client.channel(), client.channel()
    observer = other.channel()
    observer.queue(neighbour, exclusive=True)
    channel.queue(queue, exclusive=True)
    channel.call("exchange.declare", exchange=exchange, type="direct", auto_delete=True)
    places = {"q": queue, "x": exchange, "no": nothing}

    channel.send(row.trigger, **{key: filled(value, places) for key, value in row.fields.items()})
    if row.trigger == "basic.publish":
        client.write(channel.content(b"body"))

    text, layout = filled(row.text, places), codec.BY_NAME[row.trigger]
    if row.closes == CHANNEL:
        channel.expect_close(row.code, text, (layout.class_id, layout.method_id))
        assert bystander.count(queue) == 0  # the connection and its other channels live on
        channel.call("channel.open")
        assert channel.count(queue) == 0
    else:
        close = client.expect_close(row.code, text)
        assert (close.class_id, close.method_id) == (layout.class_id, layout.method_id)
    observer.put(neighbour, b"undisturbed")
    assert observer.drain(neighbour) == [b"undisturbed"]


def test_closed_channel_ignores_everything_but_close_ok(client: Client, channel: Channel, queue: str) -> None:
    channel.send("queue.declare", queue=queue + "-no", passive=True)
    channel.publish("", queue, b"ignored")
    channel.send("basic.ack", delivery_tag=77)
    channel.send("basic.qos", prefetch_size=10)
    channel.expect_close(404)
    channel.call("channel.open")
    assert channel.get(queue) is None


def test_close_may_cross_a_close(client: Client, channel: Channel, queue: str) -> None:
    """Both sides close at once: the peer answers ours and still waits for the answer to its own."""
    channel.send("queue.declare", queue=queue + "-no", passive=True)
    channel.send("channel.close", reply_code=200, reply_text="bye")
    closing = [channel.expect("channel.close", "channel.close-ok") for _ in range(2)]
    assert [method.name for method in closing] == ["channel.close", "channel.close-ok"]
    channel.send("channel.close-ok")
    channel.call("channel.open")
    assert channel.get(queue) is None


def test_reply_text_is_cut_to_255_octets(channel: Channel) -> None:
    channel.send("queue.declare", queue="n" * 250, passive=True)
    close = channel.expect_close(404)
    assert close.reply_text == ("NOT_FOUND - no queue '" + "n" * 250)[:252] + "..."


def test_flow_active_is_answered(channel: Channel) -> None:
    assert channel.call("channel.flow", active=True).active is True
