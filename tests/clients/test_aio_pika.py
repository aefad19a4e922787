"""aio-pika: the documentation's program, RPC, confirms and the robust connection, on asyncio."""

import asyncio
from typing import Any

import aio_pika
import pytest
from aio_pika import DeliveryMode, ExchangeType, IncomingMessage, Message
from aio_pika.exceptions import ChannelNotFoundEntity, DeliveryError
from aio_pika.patterns import RPC

from tests.clients.program import BINDING_KEY, BODY, EXCHANGES, PROPERTIES, QUEUE
from tests.support.peer import Peer

pytestmark = pytest.mark.clients
SECONDS = 30


async def test_the_documentations_program(program: Peer) -> None:
    async with await aio_pika.connect(program.url) as connection:
        channel = await connection.channel()
        await channel.set_qos(prefetch_count=1)
        exchanges = {
            name: await channel.declare_exchange(name, ExchangeType(kind), durable=True)
            for name, kind in EXCHANGES.items()
        }
        queue = await channel.declare_queue(QUEUE, durable=True)
        await queue.bind(exchanges["orders"], BINDING_KEY)
        properties = {**PROPERTIES, "delivery_mode": DeliveryMode.PERSISTENT, "expiration": 60}
        await exchanges["orders"].publish(Message(BODY, **properties), BINDING_KEY)
        message = await queue.get(timeout=SECONDS)
        assert message
        assert message.body == BODY
        for field, value in properties.items():
            assert getattr(message, field) == value, field
        await message.ack()
        assert await queue.get(fail=False) is None


async def test_publisher_confirms_and_returns(peer: Peer) -> None:
    async with await aio_pika.connect(peer.url) as connection:
        channel = await connection.channel(publisher_confirms=True, on_return_raises=True)
        queue = await channel.declare_queue(exclusive=True)
        publish = channel.default_exchange.publish
        await asyncio.gather(*(publish(Message(b"%d" % number), queue.name) for number in range(100)))
        with pytest.raises(DeliveryError):
            await publish(Message(b"lost"), queue.name + "-nobody", mandatory=True)
        async with queue.iterator() as messages:
            bodies = set()
            async for message in messages:
                bodies.add(int(message.body))
                await message.ack()
                if len(bodies) == 100:
                    break
        assert bodies == set(range(100))


async def test_rpc_pattern(peer: Peer, name: str) -> None:
    async def square(*, number: int) -> int:
        return number * number

    async with await aio_pika.connect_robust(peer.url) as connection:
        rpc = await RPC.create(await connection.channel())
        await rpc.register(name, square, auto_delete=True)
        results = await asyncio.gather(*(rpc.call(name, kwargs={"number": number}) for number in range(10)))
        assert results == [number * number for number in range(10)]
        await rpc.close()


async def test_direct_reply_to(peer: Peer, name: str) -> None:
    async with await aio_pika.connect(peer.url) as connection:
        caller, worker = await connection.channel(), await connection.channel()
        requests = await worker.declare_queue(name, auto_delete=True)

        async def serve(message: Any) -> None:
            async with message.process():
                assert message.reply_to
                answer = Message(message.body.upper(), correlation_id=message.correlation_id)
                await worker.default_exchange.publish(answer, message.reply_to)

        await requests.consume(serve)
        replies = await caller.get_queue("amq.rabbitmq.reply-to", ensure=False)
        answered: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        await replies.consume(answered.set_result, no_ack=True)
        question = Message(b"question", reply_to="amq.rabbitmq.reply-to", correlation_id="7")
        await caller.default_exchange.publish(question, name)
        message: IncomingMessage = await asyncio.wait_for(answered, SECONDS)
        assert (message.body, message.correlation_id) == (b"QUESTION", "7")


async def test_errors_arrive_as_exceptions(peer: Peer, name: str) -> None:
    async with await aio_pika.connect(peer.url) as connection:
        channel = await connection.channel()
        with pytest.raises(ChannelNotFoundEntity):
            await channel.declare_queue(name, passive=True)


async def test_sensors_by_topic_and_notifications_to_all(peer: Peer, name: str) -> None:
    async with await aio_pika.connect(peer.url) as connection:
        channel = await connection.channel()
        sensors = await channel.declare_exchange(f"{name}-sensors", ExchangeType.TOPIC, auto_delete=True)
        everyone = await channel.declare_exchange(f"{name}-all", ExchangeType.FANOUT, auto_delete=True)
        warm, every = await channel.declare_queue(exclusive=True), await channel.declare_queue(exclusive=True)
        await warm.bind(sensors, "*.temperature.#")
        await every.bind(sensors, "#")
        for queue in (warm, every):
            await queue.bind(everyone)
        await sensors.publish(Message(b"21"), "cellar.temperature.celsius")
        await sensors.publish(Message(b"60"), "cellar.humidity")
        await everyone.publish(Message(b"all"), "")
        got = {}
        for label, queue, count in (("warm", warm, 2), ("every", every, 3)):
            got[label] = [(await queue.get(no_ack=True, timeout=SECONDS)).body for _ in range(count)]
        assert got == {"warm": [b"21", b"all"], "every": [b"21", b"60", b"all"]}
