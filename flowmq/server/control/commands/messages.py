"""message.*: single messages, published, taken, or only looked at."""

import asyncio
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from msgspec import Meta

from flowmq._order import Order, told_ms
from flowmq._queue import Queue
from flowmq.amqp.methods import BasicGet, BasicNack, BasicPublish, BasicReject, ConfirmSelect
from flowmq.amqp.properties import decode_content_header
from flowmq.broker.names import text
from flowmq.broker.patterns import Pattern, PatternError
from flowmq.broker.permissions import EXCHANGE, QUEUE, READ, WRITE
from flowmq.server.control.commands.clients import sessions_of
from flowmq.server.control.commands.exchanges import exchange_named
from flowmq.server.control.commands.queues import OnBehalf, queue_named
from flowmq.server.control.inner import InnerClient, Received, check_access, check_no_alarm
from flowmq.server.control.registry import SKIPPED, Arguments, bad_request, command, not_found
from flowmq.server.control.values import body_of, payload, plain_properties, properties_of
from flowmq.server.control.views import channel_name

if TYPE_CHECKING:
    from flowmq.server.node import Node

Encoding = str
GET_MAX = 10_000
GET_BYTES_MAX = 64 * 1024 * 1024  # of bodies; then fewer than were asked for are enough
GOT_AT_A_TIME = BROWSED_AT_A_TIME = 20
LARGE_BYTES = 65536  # a body; such messages are looked at one by one
RETURNS = 0xFFFF  # of a delivery count, how often the message came back


class Publish(OnBehalf, kw_only=True):
    exchange: str
    routing_key: str
    payload: str
    vhost: str = "/"
    payload_encoding: str = "string"
    properties: dict[str, Any] = msgspec.field(default_factory=dict)


@command("message.publish", Publish)
async def publish(node: "Node", asked: Publish) -> dict[str, bool]:
    """Publish one message; says whether it reached a queue, and answers when it is as safe as a confirm makes it."""
    check_no_alarm(node)
    body = body_of(asked.payload, asked.payload_encoding)
    async with InnerClient(node, asked.vhost, asked.user) as client:
        await client.call(ConfirmSelect())
        client.send(
            BasicPublish(asked.exchange, asked.routing_key, mandatory=True), properties_of(asked.properties), body
        )
        answer = await client.answer()
        returned = any(received.method.NAME == "basic.return" for received in client.methods)
    return {"routed": not returned and not isinstance(answer.method, BasicNack)}


class Get(OnBehalf, kw_only=True):
    name: str
    vhost: str = "/"
    count: Annotated[int, Meta(ge=1, le=GET_MAX)] = 1
    ackmode: str = "ack_requeue_true"
    encoding: str = "auto"
    truncate: int | None = None


# Whether the broker is to forget the message at once, and what becomes of it otherwise.
ACK_MODES = {
    "ack_requeue_false": (True, False),
    "ack_requeue_true": (False, True),
    "reject_requeue_true": (False, True),
    "reject_requeue_false": (False, False),
}


@command("message.get", Get)
async def get(node: "Node", asked: Get) -> list[dict[str, Any]]:
    """Take messages out of a queue, and put them back or not, as `ackmode` says."""
    if asked.ackmode not in ACK_MODES:
        raise bad_request(f"ackmode: {asked.ackmode!r} is none of {', '.join(ACK_MODES)}")
    no_ack, requeue = ACK_MODES[asked.ackmode]
    found: list[Received] = []
    body_bytes = 0
    async with InnerClient(node, asked.vhost, asked.user) as client:
        while len(found) < asked.count and body_bytes < GET_BYTES_MAX:
            received = await client.call(BasicGet(asked.name, no_ack))
            if received.method.NAME != "basic.get-ok":
                break
            found.append(received)
            body_bytes += len(received.body)
            if len(found) % GOT_AT_A_TIME == 0:
                await asyncio.sleep(0)
        if not no_ack:
            for received in reversed(found):
                client.send(BasicReject(received.method.delivery_tag, requeue))
    return [
        {
            **payload(received.body, asked.encoding, asked.truncate),
            "redelivered": received.method.redelivered,
            "exchange": received.method.exchange,
            "routing_key": received.method.routing_key,
            "message_count": received.method.message_count,
            "properties": plain_properties(received.properties),
        }
        for received in found
    ]


# ------------------------------------------------------------------------------------------- looking without touching


class Browse(OnBehalf, kw_only=True):
    """From that sequence number on. Filters are regular expressions; `headers` are values to be equal."""

    name: str
    vhost: str = "/"
    after: int = 0
    limit: Annotated[int, Meta(ge=1, le=GET_MAX)] = 100
    routing_key: str = ""
    body: str = ""
    headers: dict[str, Any] = msgspec.field(default_factory=dict)
    encoding: str = "auto"
    truncate: int | None = None


def pattern(name: str, given: str) -> Pattern:
    try:
        return Pattern(given)
    except PatternError as error:
        raise bad_request(f"{name}: no regular expression: {error}") from None


def lanes_of(queue: Any) -> list[Order]:
    """The orders of a queue: one, or one per priority, the highest first."""
    if queue.priority_max is None:
        return [queue]
    return [queue.lane(level) for level in range(queue.priority_max, -1, -1)]


def browsed(order: Order, after: int) -> Iterator[tuple[int, int, int, bytes, bytes, bytes, bytes]]:
    """Ready messages behind that number, read a few at a time while others get their turn."""
    count = 1
    while some := order.browse(after + 1, count):
        yield from some
        after = some[-1][0]
        count = BROWSED_AT_A_TIME if all(len(message[6]) < LARGE_BYTES for message in some) else 1


@command("message.browse", Browse)
def browse(node: "Node", asked: Browse) -> Iterator[Any]:
    """Look at ready messages without taking them: nothing changes, no redelivered flag either.

    `after` is the cursor: the sequence number of the last one seen. Where there are priorities, it is per priority.
    """
    queue = queue_named(node, asked.vhost, asked.name).declared.queue
    check_access(node, asked.vhost, asked.user, READ, QUEUE, asked.name)
    return looked_at(queue, asked)


def looked_at(queue: Queue, asked: Browse) -> Iterator[Any]:
    key, body = pattern("routing_key", asked.routing_key), pattern("body", asked.body)
    found = 0
    for order in lanes_of(queue):
        for at, message in enumerate(browsed(order, asked.after)):
            row = message_row(message, asked)
            if fits(row, message, asked, key, body):
                found += 1
                yield row
                if found >= asked.limit:
                    return
            elif at % BROWSED_AT_A_TIME == 0:
                yield SKIPPED


def fits(row: dict[str, Any], message: Any, asked: Browse, key: Pattern, body: Pattern) -> bool:
    if asked.routing_key and not key.found_in(row["routing_key"]):
        return False
    if asked.body and not body.found_in(message[6]):
        return False
    headers = row["properties"].get("headers", {})
    return all(str(headers.get(name)) == str(value) for name, value in asked.headers.items())


def message_row(message: tuple[int, int, int, bytes, bytes, bytes, bytes], asked: Any) -> dict[str, Any]:
    sequence, expires_at_ms, delivery_count, exchange, key, header, body = message
    return {
        "sequence": sequence,
        **payload(body, asked.encoding, asked.truncate),
        "exchange": text(exchange),
        "routing_key": text(key),
        "delivery_count": delivery_count & RETURNS,
        "redelivered": bool(delivery_count & RETURNS),
        "expires_at": expires_at_ms or None,
        "properties": plain_properties(decode_content_header(header).properties),
    }


class Unacked(Arguments):
    """Of one queue, or of all in a virtual host, or everywhere."""

    vhost: str | None = None
    name: str | None = None
    limit: Annotated[int, Meta(ge=1, le=GET_MAX)] = 1000


@command("message.unacked", Unacked)
def unacked(node: "Node", asked: Unacked) -> Iterator[Any]:
    """Messages that consumers hold: who, since when, and how often they came back before."""
    found = 0
    now_ms = told_ms()
    for session in sessions_of(node, None if asked.vhost is None else [asked.vhost]):
        for channel in list(session.connection.channels.values()):
            yield SKIPPED
            for tag, queue, consumer, sequence, deliveries, delivered_at_ms, body_bytes in channel.window.listed(
                0, asked.limit
            ):
                name = text(queue.name)
                if asked.name is not None and name != asked.name:
                    continue
                yield {
                    "queue": name,
                    "vhost": "" if session.vhost is None else session.vhost.name,
                    "delivery_tag": tag,
                    "consumer_tag": "" if consumer is None else text(consumer.tag),
                    "channel": channel_name(session, channel),
                    "connection": session.name,
                    "user": session.user_name,
                    "age_ms": (now_ms - delivered_at_ms) % 2**32,
                    "delivery_count": deliveries & RETURNS,
                    "sequence": sequence,
                    "body_bytes": body_bytes,
                }
                found += 1
                if found >= asked.limit:
                    return


# ---------------------------------------------------------------------------------------------------- delayed messages


class Delayed(OnBehalf, kw_only=True):
    """Those that wait in an exchange of type x-delayed-message."""

    exchange: str
    vhost: str = "/"
    after: int = 0
    limit: Annotated[int, Meta(ge=1, le=GET_MAX)] = 100
    encoding: str = "auto"
    truncate: int | None = None


def hold_of(node: "Node", vhost: str, exchange: str) -> Order:
    found = exchange_named(node, vhost, exchange)
    hold = found.vhost.memories.delayed(exchange)
    if hold is None:
        raise not_found(f"exchange '{exchange}' in vhost '{vhost}' delays no messages")
    return hold


@command("delayed.list", Delayed)
def list_delayed(node: "Node", asked: Delayed) -> Iterator[Any]:
    """Messages that wait for their time; `due_at` is when they go on, in milliseconds since 1970."""
    hold = hold_of(node, asked.vhost, asked.exchange)
    check_access(node, asked.vhost, asked.user, READ, EXCHANGE, asked.exchange)
    return waiting_in(hold, asked)


def waiting_in(hold: Order, asked: Delayed) -> Iterator[Any]:
    for at, message in enumerate(browsed(hold, asked.after)):
        if at >= asked.limit:
            return
        row = message_row(message, asked)
        row["due_at"] = row.pop("expires_at")
        yield row


class DelayedMessage(OnBehalf, kw_only=True):
    exchange: str
    sequence: int
    vhost: str = "/"


def withdraw(node: "Node", asked: DelayedMessage, *, release: bool) -> None:
    hold = hold_of(node, asked.vhost, asked.exchange)
    check_access(node, asked.vhost, asked.user, WRITE, EXCHANGE, asked.exchange)
    if not hold.withdraw(asked.sequence, release):
        raise not_found(f"no message {asked.sequence} waits in exchange '{asked.exchange}'")


@command("delayed.cancel", DelayedMessage)
def cancel_delayed(node: "Node", asked: DelayedMessage) -> None:
    """Drop a message that waits for its time."""
    withdraw(node, asked, release=False)


@command("delayed.release", DelayedMessage)
def release_delayed(node: "Node", asked: DelayedMessage) -> None:
    """Let a message go on whose time has not come."""
    withdraw(node, asked, release=True)
