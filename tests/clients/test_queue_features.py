"""TTL, dead letters, limits, priorities, single active consumers: through pika and aio-pika as programs use them."""

import asyncio
from collections.abc import Iterator
from typing import Any

import aio_pika
import pika
import pika.exceptions
import pytest
from pika.adapters.blocking_connection import BlockingChannel, BlockingConnection

from tests.clients.test_pika import parameters
from tests.support.peer import Peer

pytestmark = pytest.mark.clients
SECONDS = 30


@pytest.fixture
def connection(peer: Peer) -> Iterator[BlockingConnection]:
    with pika.BlockingConnection(parameters(peer)) as opened:
        yield opened


@pytest.fixture
def channel(connection: BlockingConnection) -> BlockingChannel:
    return connection.channel()


def take(channel: BlockingChannel, queue: str, count: int) -> list[tuple[bytes, pika.BasicProperties]]:
    """So many messages, acknowledged as they come."""
    taken: list[tuple[bytes, pika.BasicProperties]] = []
    for method, properties, body in channel.consume(queue, inactivity_timeout=SECONDS):
        assert method is not None, f"{len(taken)} of {count} messages came"
        channel.basic_ack(method.delivery_tag)
        taken.append((body, properties))
        if len(taken) == count:
            break
    channel.cancel()
    return taken


def test_a_retry_queue(channel: BlockingChannel, name: str) -> None:
    """What fails waits in a queue with a TTL and comes back; the third time it is kept aside. As everyone builds it."""
    work, retry, failed = f"{name}-work", f"{name}-retry", f"{name}-failed"
    dead = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": retry}
    channel.queue_declare(work, exclusive=True, arguments=dead)
    back = {"x-message-ttl": 30, "x-dead-letter-exchange": "", "x-dead-letter-routing-key": work}
    channel.queue_declare(retry, exclusive=True, arguments=back)
    channel.queue_declare(failed, exclusive=True)
    channel.basic_publish("", work, b"job", pika.BasicProperties(headers={"id": 7}))
    for attempts, (method, properties, body) in enumerate(channel.consume(work, inactivity_timeout=SECONDS), 1):
        assert method is not None, f"it did not come back for attempt {attempts}"
        deaths = properties.headers.get("x-death", [])
        counts = {(death["queue"], death["reason"]): death["count"] for death in deaths}
        assert counts == ({} if attempts == 1 else {(work, "rejected"): attempts - 1, (retry, "expired"): attempts - 1})
        if attempts == 4:
            channel.basic_publish("", failed, body, properties)
            channel.basic_ack(method.delivery_tag)
            break
        channel.basic_nack(method.delivery_tag, requeue=False)
    channel.cancel()
    ((body, properties),) = take(channel, failed, 1)
    assert (body, properties.headers["id"]) == (b"job", 7)


def test_a_full_queue_refuses_and_the_publisher_knows(channel: BlockingChannel, name: str) -> None:
    channel.queue_declare(name, exclusive=True, arguments={"x-max-length": 2, "x-overflow": "reject-publish"})
    channel.confirm_delivery()
    for body in (b"1", b"2"):
        channel.basic_publish("", name, body, mandatory=True)
    with pytest.raises(pika.exceptions.NackError):
        channel.basic_publish("", name, b"3", mandatory=True)
    assert [body for body, _ in take(channel, name, 2)] == [b"1", b"2"]
    channel.basic_publish("", name, b"4", mandatory=True)


def test_the_newest_are_kept(channel: BlockingChannel, name: str) -> None:
    channel.queue_declare(name, exclusive=True, arguments={"x-max-length": 10})
    channel.confirm_delivery()
    for number in range(100):
        channel.basic_publish("", name, b"%d" % number)
    assert [body for body, _ in take(channel, name, 10)] == [b"%d" % number for number in range(90, 100)]


def test_priorities(channel: BlockingChannel, name: str) -> None:
    channel.queue_declare(name, exclusive=True, arguments={"x-max-priority": 10})
    channel.confirm_delivery()
    for number in range(30):
        channel.basic_publish("", name, b"%d" % number, pika.BasicProperties(priority=number % 3))
    channel.basic_qos(prefetch_count=1)
    expected = [b"%d" % number for level in (2, 1, 0) for number in range(level, 30, 3)]
    assert [body for body, _ in take(channel, name, 30)] == expected


def test_a_single_active_consumer_takes_over(peer: Peer, channel: BlockingChannel, name: str) -> None:
    arguments = {"x-single-active-consumer": True}
    channel.queue_declare(name, arguments=arguments, auto_delete=True)
    with pika.BlockingConnection(parameters(peer)) as second:
        heard: list[bytes] = []

        def on_message(waiting: BlockingChannel, method: Any, properties: Any, body: bytes) -> None:
            heard.append(body)
            waiting.basic_ack(method.delivery_tag)
            if len(heard) == 3:
                waiting.stop_consuming()

        with pika.BlockingConnection(parameters(peer)) as first:
            active = first.channel()
            active.basic_consume(name, lambda *message: None)
            waiting = second.channel()
            waiting.basic_consume(name, on_message)
            channel.confirm_delivery()
            for body in (b"1", b"2", b"3"):
                channel.basic_publish("", name, body)
            assert not heard
        waiting.start_consuming()
        assert heard == [b"1", b"2", b"3"]


def test_a_lease_runs_out(connection: BlockingConnection, channel: BlockingChannel, name: str) -> None:
    channel.queue_declare(name, arguments={"x-expires": 50})
    gone = None
    for _ in range(100_000):
        asking = connection.channel()
        try:
            asking.queue_bind(name, "amq.direct", name)
        except pika.exceptions.ChannelClosedByBroker as closed:
            gone = closed
            break
        asking.close()
    assert gone
    assert gone.reply_code == 404


async def test_expired_in_order_of_their_lives(peer: Peer, name: str) -> None:
    async with await aio_pika.connect(peer.url) as connection:
        channel = await connection.channel()
        dead = await channel.declare_queue(f"{name}-dead", exclusive=True)
        arguments = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": dead.name, "x-message-ttl": 100}
        queue = await channel.declare_queue(name, exclusive=True, arguments=arguments)
        publish = channel.default_exchange.publish
        for number in range(10):
            await publish(aio_pika.Message(b"%d" % number, expiration=0.02 + number / 1000), queue.name)
        bodies = []
        async with asyncio.timeout(SECONDS), dead.iterator() as messages:
            async for message in messages:
                bodies.append(message.body)
                (death,) = message.headers["x-death"]  # type: ignore[misc,union-attr]
                assert (death["queue"], death["reason"]) == (name, "expired")  # type: ignore[index,call-overload]
                await message.ack()
                if len(bodies) == 10:
                    break
        assert bodies == [b"%d" % number for number in range(10)]


async def test_rejected_messages_tell_where_they_were(peer: Peer, name: str) -> None:
    async with await aio_pika.connect(peer.url) as connection:
        channel = await connection.channel()
        graveyard = await channel.declare_exchange(f"{name}-dlx", aio_pika.ExchangeType.TOPIC, auto_delete=True)
        dead = await channel.declare_queue(exclusive=True)
        await dead.bind(graveyard, "#.failed")
        arguments = {"x-dead-letter-exchange": graveyard.name, "x-dead-letter-routing-key": "work.failed"}
        queue = await channel.declare_queue(name, exclusive=True, arguments=arguments)
        await channel.default_exchange.publish(aio_pika.Message(b"x"), queue.name)
        message = await queue.get(timeout=SECONDS)
        assert message
        await message.reject(requeue=False)
        async with asyncio.timeout(SECONDS), dead.iterator() as messages:
            async for letter in messages:
                assert (letter.exchange, letter.routing_key) == (graveyard.name, "work.failed")
                assert letter.headers["x-first-death-queue"] == name
                assert letter.headers["x-first-death-reason"] == "rejected"
                await letter.ack()
                break
