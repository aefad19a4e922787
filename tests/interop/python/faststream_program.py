"""FastStream: subscribers that ask for a message again, or refuse it."""

import asyncio
import sys

from faststream.exceptions import NackMessage, RejectMessage
from faststream.rabbit import RabbitBroker, RabbitMessage, RabbitQueue
from report import SECONDS, say

DEAD = "interop.faststream.dead"
QUEUE = RabbitQueue(
    "interop.faststream",
    durable=True,
    arguments={"x-dead-letter-exchange": "", "x-dead-letter-routing-key": DEAD},
)
broker = RabbitBroker(sys.argv[2])
done: dict[str, "asyncio.Future[object]"] = {}
attempts: list[str] = []


@broker.subscriber(QUEUE)
async def work(body: str, message: RabbitMessage) -> str:
    if body == "hopeless":
        raise RejectMessage
    if body == "stubborn":
        attempts.append(body)
        if len(attempts) < 3:
            raise NackMessage
        done["retry"].set_result(message.raw_message.redelivered)
    return body.upper()


@broker.subscriber(RabbitQueue(DEAD, durable=True))
async def bury(message: RabbitMessage) -> None:
    done["dead-letter"].set_result(message.headers["x-death"][0]["reason"])


async def check(name: str, expected: object, body: str) -> None:
    done[name] = asyncio.get_running_loop().create_future()
    try:
        if name == "task":
            done[name].set_result(await (await broker.request(body, QUEUE, timeout=SECONDS)).decode())
        else:
            await broker.publish(body, QUEUE)
        got = await asyncio.wait_for(done[name], SECONDS)
        assert got == expected, got
    except Exception as failure:
        say(f"FAIL {name} {failure!r}")
    else:
        say(f"ok {name}")


async def tasks() -> None:
    async with broker:
        await broker.start()
        await check("task", "WORK", "work")
        await check("retry", True, "stubborn")
        await check("dead-letter", "rejected", "hopeless")


if __name__ == "__main__":
    if sys.argv[1] == "tasks":
        asyncio.run(tasks())
    else:
        say("none recovery")  # its connection is aio-pika's
        say("ready")
