"""What pika's BlockingConnection must be able to do, each on a channel of its own."""

import datetime
import time
from collections.abc import Callable
from typing import Any

import pika
from pika.exceptions import (
    ChannelClosedByBroker,
    ProbableAccessDeniedError,
    ProbableAuthenticationError,
    UnroutableError,
)
from report import BODY, HEADERS, SECONDS, TEXTS

LIBRARY = "pika"
PROPERTIES = pika.BasicProperties(
    headers=HEADERS, delivery_mode=2, priority=7, expiration="3600000", timestamp=1_700_000_000, app_id=LIBRARY, **TEXTS
)


def connect(url: str, **changes: Any) -> pika.BlockingConnection:
    parameters = pika.URLParameters(url)
    for name, value in changes.items():
        setattr(parameters, name, value)
    return pika.BlockingConnection(parameters)


def temporary(channel: Any, **arguments: Any) -> str:
    return channel.queue_declare("", exclusive=True, arguments=arguments).method.queue


def ready(channel: Any, queue: str) -> int:
    return channel.queue_declare(queue, passive=True).method.message_count


def only(channel: Any, queue: str, body: bytes) -> None:
    method, _, got = channel.basic_get(queue, auto_ack=True)
    assert got == body, f"got {got!r:.40}"
    assert method.message_count == 0


class Deliveries:
    """A consumer whose deliveries are taken one by one."""

    def __init__(self, channel: Any, queue: str, auto_ack: bool = False) -> None:
        self.channel, self.arrived = channel, []
        channel.basic_consume(queue, lambda *delivery: self.arrived.append(delivery[1:]), auto_ack=auto_ack)

    def next(self) -> tuple[Any, Any, bytes]:
        deadline = time.monotonic() + SECONDS
        while not self.arrived and time.monotonic() < deadline:
            self.channel.connection.process_data_events(time_limit=1)
        return self.arrived.pop(0)


def logins(url: str) -> None:
    for expected, changes in (
        (ProbableAuthenticationError, {"credentials": pika.PlainCredentials("guest", "wrong")}),
        (ProbableAccessDeniedError, {"virtual_host": "nowhere"}),
    ):
        try:
            connect(url, **changes)
        except expected:
            continue
        raise AssertionError(f"{changes} were accepted")


def exchange(kind: str, binding: str, hit: str, miss: str) -> Callable[[Any], None]:
    def behaviour(channel: Any) -> None:
        name, queue = f"interop.{LIBRARY}.{kind}", temporary(channel)
        channel.exchange_declare(name, kind, auto_delete=True)
        channel.queue_bind(queue, name, binding)
        if miss:
            channel.basic_publish(name, miss, b"miss")
        channel.basic_publish(name, hit, b"hit")
        only(channel, queue, b"hit")

    return behaviour


def headers_exchange(channel: Any) -> None:
    name, queue = f"interop.{LIBRARY}.headers", temporary(channel)
    channel.exchange_declare(name, "headers", auto_delete=True)
    channel.queue_bind(queue, name, "", {"x-match": "all", "kind": "report", "year": 2024})
    for year in (2023, 2024):
        channel.basic_publish(name, "", b"%d" % year, pika.BasicProperties(headers={"kind": "report", "year": year}))
    only(channel, queue, b"2024")


def durable_queue(channel: Any) -> None:
    name = f"interop.{LIBRARY}.durable"
    channel.exchange_declare(name, durable=True)
    channel.queue_declare(name, durable=True, arguments={"x-max-length": 10})
    channel.queue_bind(name, name, "key")
    channel.basic_publish(name, "key", b"kept", pika.BasicProperties(delivery_mode=2))
    channel.queue_unbind(name, name, "key")
    assert channel.queue_purge(name).method.message_count == 1
    channel.queue_delete(name, if_unused=True, if_empty=True)
    channel.exchange_delete(name, if_unused=True)


def every_property(channel: Any) -> None:
    queue = temporary(channel)
    channel.basic_publish("", queue, BODY, PROPERTIES)
    _, properties, body = channel.basic_get(queue, auto_ack=True)
    assert (properties, body) == (PROPERTIES, BODY), properties


def mandatory_return(channel: Any) -> None:
    channel.confirm_delivery()
    try:
        channel.basic_publish("amq.direct", "nobody", b"lost", mandatory=True)
    except UnroutableError as error:
        (message,) = error.messages
    else:
        raise AssertionError("it did not come back")
    assert (message.method.reply_code, message.method.reply_text, message.body) == (312, "NO_ROUTE", b"lost")


def confirm_single(channel: Any) -> None:
    queue = f"interop.{LIBRARY}.confirms"
    channel.queue_declare(queue, durable=True)
    channel.confirm_delivery()
    for _ in range(10):
        channel.basic_publish("", queue, b"1", pika.BasicProperties(delivery_mode=2))
    assert channel.queue_delete(queue).method.message_count == 10


def manual_ack(channel: Any) -> None:
    queue = temporary(channel)
    deliveries = Deliveries(channel, queue)
    for body in (b"0", b"1", b"2"):
        channel.basic_publish("", queue, body)
    got = [deliveries.next() for _ in range(3)]
    assert [body for _, _, body in got] == [b"0", b"1", b"2"]
    channel.basic_ack(got[-1][0].delivery_tag, multiple=True)
    channel.basic_recover(requeue=True)
    channel.basic_publish("", queue, b"new")
    assert deliveries.next()[2] == b"new"


def requeued(settle: str) -> Callable[[Any], None]:
    def behaviour(channel: Any) -> None:
        queue = temporary(channel)
        deliveries = Deliveries(channel, queue)
        channel.basic_publish("", queue, b"again")
        method = deliveries.next()[0]
        assert not method.redelivered
        getattr(channel, settle)(method.delivery_tag, requeue=True)
        assert deliveries.next()[0].redelivered

    return behaviour


def prefetch(channel: Any) -> None:
    queue = temporary(channel)
    for body in (b"0", b"1", b"2", b"3", b"4"):
        channel.basic_publish("", queue, body)
    channel.basic_qos(prefetch_count=2)
    deliveries = Deliveries(channel, queue)
    first, _ = deliveries.next(), deliveries.next()
    assert ready(channel, queue) == 3
    channel.basic_ack(first[0].delivery_tag)
    assert deliveries.next()[2] == b"2"
    assert ready(channel, queue) == 2


def cancel_notify(channel: Any) -> None:
    queue = temporary(channel)
    cancelled: list[Any] = []
    channel.add_on_cancel_callback(cancelled.append)
    tag = channel.basic_consume(queue, lambda *_: None)
    channel.queue_delete(queue)
    deadline = time.monotonic() + SECONDS
    while not cancelled and time.monotonic() < deadline:
        channel.connection.process_data_events(time_limit=1)
    assert cancelled[0].method.consumer_tag == tag


def rpc(direct: bool) -> Callable[[Any], None]:
    def behaviour(caller: Any) -> None:
        reply_to = "amq.rabbitmq.reply-to" if direct else temporary(caller)
        replies = Deliveries(caller, reply_to, auto_ack=True)
        worker = caller.connection.channel()
        queue = temporary(worker)

        def serve(_channel: Any, _method: Any, asked: Any, body: bytes) -> None:
            answer = pika.BasicProperties(correlation_id=asked.correlation_id)
            worker.basic_publish("", asked.reply_to, body.upper(), answer)

        worker.basic_consume(queue, serve, auto_ack=True)
        caller.basic_publish("", queue, b"question", pika.BasicProperties(reply_to=reply_to, correlation_id="7"))
        _, properties, body = replies.next()
        assert (body, properties.correlation_id) == (b"QUESTION", "7")
        worker.close()

    return behaviour


def dead_letters(channel: Any) -> None:
    dead = temporary(channel)
    arguments = {"x-message-ttl": 50, "x-dead-letter-exchange": "", "x-dead-letter-routing-key": dead}
    queue = temporary(channel, **arguments)
    deliveries = Deliveries(channel, dead)
    channel.basic_publish("", queue, b"late")
    _, properties, body = deliveries.next()
    death = properties.headers["x-death"][0]
    assert (body, death["reason"], death["queue"], death["count"]) == (b"late", "expired", queue, 1)


def body_of(content: bytes) -> Callable[[Any], None]:
    def behaviour(channel: Any) -> None:
        queue = temporary(channel)
        channel.basic_publish("", queue, content)
        only(channel, queue, content)

    return behaviour


def header_types(channel: Any) -> None:
    queue = temporary(channel)
    headers = {
        **HEADERS,
        "time": datetime.datetime.fromtimestamp(1_700_000_000, datetime.UTC),
        "octets": b"\x00\x01\xff",
        "deep": [1, [2, {"three": [None, {"four": -(2**40)}]}]],
        "long text": "x" * 70_000,
    }
    channel.basic_publish("", queue, b"", pika.BasicProperties(headers=headers))
    _, properties, _ = channel.basic_get(queue, auto_ack=True)
    if properties.headers["time"].tzinfo is None:  # pika hands out UTC without saying so
        properties.headers["time"] = properties.headers["time"].replace(tzinfo=datetime.UTC)
    assert properties.headers == headers, properties.headers


def transactions(channel: Any) -> None:
    queue = temporary(channel)
    channel.tx_select()
    channel.basic_publish("", queue, b"rolled back")
    channel.tx_rollback()
    channel.basic_publish("", queue, b"committed")
    assert ready(channel, queue) == 0
    channel.tx_commit()
    only(channel, queue, b"committed")


def refused(code: int, refusal: Callable[[Any], object]) -> Callable[[Any], None]:
    def behaviour(channel: Any) -> None:
        try:
            refusal(channel)
        except ChannelClosedByBroker as error:
            got = error.reply_code
        else:
            raise AssertionError("it was accepted")
        assert got == code, got
        assert channel.is_closed

    return behaviour


def inequivalent(channel: Any) -> None:
    for length in (10, 11):
        channel.queue_declare(f"interop.{LIBRARY}.inequivalent", exclusive=True, arguments={"x-max-length": length})


BEHAVIOURS: dict[str, Callable[[Any], None]] = {
    "direct-exchange": exchange("direct", "eu", "eu", "us"),
    "topic-exchange": exchange("topic", "*.new.#", "eu.new.a.b", "eu.old"),
    "fanout-exchange": exchange("fanout", "", "anything", ""),
    "headers-exchange": headers_exchange,
    "durable-queue": durable_queue,
    "every-property": every_property,
    "mandatory-return": mandatory_return,
    "confirm-single": confirm_single,
    "manual-ack": manual_ack,
    "nack": requeued("basic_nack"),
    "reject": requeued("basic_reject"),
    "prefetch": prefetch,
    "cancel-notify": cancel_notify,
    "direct-reply-to": rpc(direct=True),
    "reply-queue": rpc(direct=False),
    "dead-letters": dead_letters,
    "large-body": body_of(b"0123456789abcdef" * (5 * 1024 * 1024 // 16)),
    "empty-body": body_of(b""),
    "header-types": header_types,
    "transactions": transactions,
    "declare-406": refused(406, inequivalent),
    "passive-404": refused(404, lambda channel: channel.queue_declare("interop.nothing", passive=True)),
}
