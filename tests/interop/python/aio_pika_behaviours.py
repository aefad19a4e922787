"""What aio-pika must be able to do, each on a channel of its own."""

import asyncio
import datetime
from collections.abc import Awaitable, Callable
from typing import Any

import aio_pika
from aio_pika import DeliveryMode, ExchangeType, Message
from aio_pika.exceptions import (
    ChannelNotFoundEntity,
    ChannelPreconditionFailed,
    DeliveryError,
    ProbableAuthenticationError,
)
from aiormq.exceptions import InvalidFrameError
from report import BODY, HEADERS, SECONDS, TEXTS, say

LIBRARY = "aio-pika"
MOMENT = datetime.datetime.fromtimestamp(1_700_000_000, datetime.UTC)
Behaviour = Callable[[Any, Any], Awaitable[None]]


async def check(name: str, behaviour: Awaitable[None]) -> None:
    try:
        await asyncio.wait_for(behaviour, 2 * SECONDS)
    except Exception as failure:
        say(f"FAIL {name} {failure!r}")
    else:
        say(f"ok {name}")


def message() -> Message:
    return Message(
        BODY,
        headers=HEADERS,
        delivery_mode=DeliveryMode.PERSISTENT,
        priority=7,
        expiration=3600,
        timestamp=MOMENT,
        app_id=LIBRARY,
        **TEXTS,
    )


async def temporary(channel: Any, **arguments: Any) -> Any:
    return await channel.declare_queue(exclusive=True, arguments=arguments)


async def send(channel: Any, queue: Any, *bodies: bytes) -> None:
    for body in bodies:
        await channel.default_exchange.publish(Message(body), queue.name)


async def ready(channel: Any, queue: Any) -> int:
    return (await channel.declare_queue(queue.name, passive=True)).declaration_result.message_count


async def only(queue: Any, body: bytes) -> None:
    got = await queue.get(no_ack=True, timeout=SECONDS)
    assert got.body == body
    assert await queue.get(no_ack=True, fail=False) is None


async def consuming(queue: Any, no_ack: bool = False) -> Callable[[], Awaitable[Any]]:
    arrived: asyncio.Queue[Any] = asyncio.Queue()
    await queue.consume(arrived.put, no_ack=no_ack)
    return lambda: asyncio.wait_for(arrived.get(), SECONDS)


async def logins(url: str) -> None:
    for wrong, expected in (
        (url.replace("guest:guest", "guest:wrong"), ProbableAuthenticationError),
        (url.rsplit("/", 1)[0] + "/nowhere", InvalidFrameError),  # for any close in place of open-ok
    ):
        try:
            await aio_pika.connect(wrong)
        except expected:
            continue
        raise AssertionError(f"{wrong} was accepted")


def exchange(kind: ExchangeType, binding: str, hit: str, miss: str) -> Behaviour:
    async def behaviour(channel: Any, _connection: Any) -> None:
        declared = await channel.declare_exchange(f"interop.{LIBRARY}.{kind.value}", kind, auto_delete=True)
        queue = await temporary(channel)
        await queue.bind(declared, binding)
        if miss:
            await declared.publish(Message(b"miss"), miss, mandatory=False)
        await declared.publish(Message(b"hit"), hit)
        await only(queue, b"hit")

    return behaviour


async def headers_exchange(channel: Any, _connection: Any) -> None:
    declared = await channel.declare_exchange(f"interop.{LIBRARY}.headers", ExchangeType.HEADERS, auto_delete=True)
    queue = await temporary(channel)
    await queue.bind(declared, "", arguments={"x-match": "all", "kind": "report", "year": 2024})
    for year in (2023, 2024):
        found = Message(b"%d" % year, headers={"kind": "report", "year": year})
        await declared.publish(found, "", mandatory=False)
    await only(queue, b"2024")


async def durable_queue(channel: Any, _connection: Any) -> None:
    name = f"interop.{LIBRARY}.durable"
    declared = await channel.declare_exchange(name, durable=True)
    queue = await channel.declare_queue(name, durable=True, arguments={"x-max-length": 10})
    await queue.bind(declared, "key")
    await declared.publish(Message(b"kept", delivery_mode=2), "key")
    assert await ready(channel, queue) == 1
    await queue.unbind(declared, "key")
    assert (await queue.purge()).message_count == 1
    await queue.delete()
    await declared.delete(if_unused=True)


async def every_property(channel: Any, _connection: Any) -> None:
    queue = await temporary(channel)
    sent = message()
    await channel.default_exchange.publish(sent, queue.name)
    got = await queue.get(no_ack=True, timeout=SECONDS)
    names = (*TEXTS, "body", "headers", "delivery_mode", "priority", "expiration", "timestamp", "app_id")
    assert {name: getattr(got, name) for name in names} == {name: getattr(sent, name) for name in names}


async def mandatory_return(_channel: Any, connection: Any) -> None:
    channel = await connection.channel(on_return_raises=True)
    try:
        await (await channel.get_exchange("amq.direct")).publish(Message(b"lost"), "nobody")
    except DeliveryError as error:
        returned = error.message
    else:
        raise AssertionError("it did not come back")
    assert returned.delivery.reply_code == 312, returned.delivery
    assert returned.body == b"lost"


def confirms(batches: int, size: int) -> Behaviour:
    async def behaviour(channel: Any, _connection: Any) -> None:
        queue = await channel.declare_queue(f"interop.{LIBRARY}.confirms.{size}", durable=True)
        publish = channel.default_exchange.publish
        for _ in range(batches):
            await asyncio.gather(*(publish(Message(b"1", delivery_mode=2), queue.name) for _ in range(size)))
        assert (await queue.delete(if_empty=False)).message_count == batches * size

    return behaviour


async def manual_ack(channel: Any, _connection: Any) -> None:
    queue = await temporary(channel)
    take = await consuming(queue)
    await send(channel, queue, b"0", b"1", b"2")
    got = [await take() for _ in range(3)]
    assert [each.body for each in got] == [b"0", b"1", b"2"]
    await got[-1].ack(multiple=True)
    assert await ready(channel, queue) == 0
    await channel.close()


def requeued(settle: str) -> Behaviour:
    async def behaviour(channel: Any, _connection: Any) -> None:
        queue = await temporary(channel)
        take = await consuming(queue)
        await send(channel, queue, b"again")
        first = await take()
        assert not first.redelivered
        await getattr(first, settle)(requeue=True)
        assert (await take()).redelivered

    return behaviour


async def prefetch(channel: Any, _connection: Any) -> None:
    queue = await temporary(channel)
    await send(channel, queue, b"0", b"1", b"2", b"3", b"4")
    await channel.set_qos(prefetch_count=2)
    take = await consuming(queue)
    first, _ = await take(), await take()
    assert await ready(channel, queue) == 3
    await first.ack()
    assert (await take()).body == b"2"
    assert await ready(channel, queue) == 2


async def cancel_notify(channel: Any, _connection: Any) -> None:
    queue = await temporary(channel)
    cancelled = asyncio.Event()
    underlay = await channel.get_underlay_channel()
    underlay.on_consumer_cancel_callbacks.add(lambda *_: cancelled.set())
    await queue.consume(lambda _: None)
    await queue.delete(if_unused=False, if_empty=False)
    await asyncio.wait_for(cancelled.wait(), SECONDS)


def rpc(direct: bool) -> Behaviour:
    async def behaviour(caller: Any, connection: Any) -> None:
        replies = await caller.get_queue("amq.rabbitmq.reply-to", ensure=False) if direct else await temporary(caller)
        take = await consuming(replies, no_ack=True)
        worker = await connection.channel()
        requests = await temporary(worker)

        async def serve(asked: Any) -> None:
            answer = Message(asked.body.upper(), correlation_id=asked.correlation_id)
            await worker.default_exchange.publish(answer, asked.reply_to)

        await requests.consume(serve, no_ack=True)
        question = Message(b"question", reply_to=replies.name, correlation_id="7")
        await caller.default_exchange.publish(question, requests.name)
        answer = await take()
        assert (answer.body, answer.correlation_id) == (b"QUESTION", "7")

    return behaviour


async def dead_letters(channel: Any, _connection: Any) -> None:
    dead = await temporary(channel)
    arguments = {"x-message-ttl": 50, "x-dead-letter-exchange": "", "x-dead-letter-routing-key": dead.name}
    queue = await temporary(channel, **arguments)
    take = await consuming(dead)
    await send(channel, queue, b"late")
    death = (await take()).headers["x-death"][0]
    assert (death["reason"], death["queue"], death["count"]) == ("expired", queue.name, 1)


def body_of(content: bytes) -> Behaviour:
    async def behaviour(channel: Any, _connection: Any) -> None:
        queue = await temporary(channel)
        await send(channel, queue, content)
        await only(queue, content)

    return behaviour


async def header_types(channel: Any, _connection: Any) -> None:
    queue = await temporary(channel)
    headers = {
        **HEADERS,
        "time": MOMENT,
        "double": 2.25,
        "octets": bytearray(b"\x00\x01\xff"),
        "deep": [1, [2, {"three": [None, {"four": -(2**40)}]}]],
        "long text": "x" * 70_000,
    }
    await channel.default_exchange.publish(Message(b"", headers=headers), queue.name)
    got = (await queue.get(no_ack=True, timeout=SECONDS)).headers
    assert got == headers, got


async def transactions(_channel: Any, connection: Any) -> None:
    channel = await connection.channel(publisher_confirms=False)
    queue = await temporary(channel)
    transaction = channel.transaction()
    await transaction.select()
    await send(channel, queue, b"rolled back")
    await transaction.rollback()
    await send(channel, queue, b"committed")
    assert await ready(channel, queue) == 0
    await transaction.commit()
    await only(queue, b"committed")


def refused(expected: type[Exception], refusal: Callable[[Any], Awaitable[object]]) -> Behaviour:
    async def behaviour(channel: Any, _connection: Any) -> None:
        try:
            await refusal(channel)
        except expected:
            return
        raise AssertionError("it was accepted")

    return behaviour


async def inequivalent(channel: Any) -> None:
    for length in (10, 11):
        name = f"interop.{LIBRARY}.inequivalent"
        await channel.declare_queue(name, exclusive=True, arguments={"x-max-length": length})


BEHAVIOURS: dict[str, Behaviour] = {
    "direct-exchange": exchange(ExchangeType.DIRECT, "eu", "eu", "us"),
    "topic-exchange": exchange(ExchangeType.TOPIC, "*.new.#", "eu.new.a.b", "eu.old"),
    "fanout-exchange": exchange(ExchangeType.FANOUT, "", "anything", ""),
    "headers-exchange": headers_exchange,
    "durable-queue": durable_queue,
    "every-property": every_property,
    "mandatory-return": mandatory_return,
    "confirm-single": confirms(10, 1),
    "confirm-batch": confirms(5, 200),
    "manual-ack": manual_ack,
    "nack": requeued("nack"),
    "reject": requeued("reject"),
    "prefetch": prefetch,
    "cancel-notify": cancel_notify,
    "direct-reply-to": rpc(direct=True),
    "reply-queue": rpc(direct=False),
    "dead-letters": dead_letters,
    "large-body": body_of(b"0123456789abcdef" * (5 * 1024 * 1024 // 16)),
    "empty-body": body_of(b""),
    "header-types": header_types,
    "transactions": transactions,
    "declare-406": refused(ChannelPreconditionFailed, inequivalent),
    "passive-404": refused(ChannelNotFoundEntity, lambda channel: channel.declare_queue("interop.no", passive=True)),
}
