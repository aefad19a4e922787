"""aio-pika: one mode a run."""

import asyncio
import ssl
import sys
from typing import Any

import aio_pika
from aio_pika_behaviours import BEHAVIOURS, LIBRARY, check, consuming, logins, message, send, temporary
from report import TEXTS, parcel, say


async def behaviours(url: str) -> None:
    await check("connect", logins(url))
    async with await aio_pika.connect(url) as connection:
        for name, behaviour in BEHAVIOURS.items():
            async with await connection.channel() as channel:
                await check(name, behaviour(channel, connection))
    await check("heartbeat", heartbeat(url))


async def heartbeat(url: str) -> None:
    async with await aio_pika.connect(f"{url}?heartbeat=1") as idle:
        await asyncio.sleep(3.5)  # longer than either side would wait for a silent one
        await temporary(await idle.channel())


async def tls(url: str, authority: str, another: str) -> None:
    def trusting(path: str) -> Any:
        return aio_pika.connect(url, ssl_context=ssl.create_default_context(cafile=path))

    async def exchange() -> None:
        async with await trusting(authority) as connection:
            channel = await connection.channel()
            queue = await temporary(channel)
            await send(channel, queue, b"secret")
            assert (await queue.get(no_ack=True)).body == b"secret"
        refusal = "none"
        try:
            await trusting(another)
        except aio_pika.exceptions.AMQPConnectionError as error:
            refusal = str(error)
        assert "CERTIFICATE_VERIFY_FAILED" in refusal, f"a broker of an unknown authority: {refusal}"

    await check("tls", exchange())


async def publish(url: str) -> None:
    async with await aio_pika.connect(url) as connection:
        channel = await connection.channel()
        await (await channel.get_exchange("interop.parcels")).publish(message(), "")


async def consume(url: str, queue: str, count: str) -> None:
    async with await aio_pika.connect(url) as connection:
        channel = await connection.channel()
        take = await consuming(await channel.get_queue(queue))
        for _ in range(int(count)):
            got = await take()
            parcel(
                body=got.body,
                headers=got.headers,
                delivery_mode=int(got.delivery_mode),
                priority=got.priority,
                expiration=f"{got.expiration * 1000:.0f}",
                timestamp=int(got.timestamp.timestamp()),
                app_id=got.app_id,
                **{name: getattr(got, name) for name in TEXTS},
            )
            await got.ack()


async def pause(url: str) -> None:
    connection = await aio_pika.connect(f"{url}?heartbeat=1")
    closed = asyncio.Event()
    connection.close_callbacks.add(lambda *_: closed.set())
    say("ready")

    async def notice() -> None:
        await closed.wait()

    await check("paused-client", notice())


async def recover(url: str) -> None:
    connection = await aio_pika.connect_robust(url, reconnect_interval=0.2)
    channel = await connection.channel()
    queue = await channel.declare_queue(f"interop.recover.{LIBRARY}", durable=True)
    take = await consuming(queue, no_ack=True)
    await send(channel, queue, b"before")
    assert (await take()).body == b"before"
    recovered = asyncio.Event()
    connection.reconnect_callbacks.add(lambda *_: recovered.set())
    say("ready")

    async def come_back() -> None:
        await recovered.wait()
        await send(channel, queue, b"after")
        assert (await take()).body == b"after"

    await check("recovery", come_back())


if __name__ == "__main__":
    MODES = {mode.__name__: mode for mode in (behaviours, tls, publish, consume, pause, recover)}
    asyncio.run(MODES[sys.argv[1]](*sys.argv[2:]))
