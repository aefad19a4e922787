"""FastStream: subscribers that ask for a message again, or refuse it."""

import asyncio
import sys

from aiormq.exceptions import AMQPError, ChannelInvalidStateError
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
    if body == "again":
        done["recovery"].set_result(True)
    if body == "stubborn":
        attempts.append(body)
        if len(attempts) < 3:
            raise NackMessage
        done["retry"].set_result(message.raw_message.redelivered)
    return body.upper()


@broker.subscriber(RabbitQueue(DEAD, durable=True))
async def bury(message: RabbitMessage) -> None:
    done["dead-letter"].set_result(message.headers["x-death"][0]["reason"])


async def publish_when_back(body: str) -> None:
    """Its connection tries again every five seconds; until then publishing fails."""
    for _ in range(SECONDS):
        try:
            await broker.publish(body, QUEUE)
            return
        except (AMQPError, ChannelInvalidStateError):
            await asyncio.sleep(1)
    raise AssertionError("it never came back")


async def check(name: str, expected: object, body: str) -> None:
    done[name] = asyncio.get_running_loop().create_future()
    try:
        if name == "recovery":
            await publish_when_back(body)
        elif name == "task":
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


async def recover() -> None:
    async with broker:
        await broker.start()
        await broker.request("before", QUEUE, timeout=SECONDS)
        say("ready")
        await asyncio.to_thread(sys.stdin.readline)
        await check("recovery", True, "again")


if __name__ == "__main__":
    if sys.argv[1] == "tasks":
        asyncio.run(tasks())
    else:
        asyncio.run(recover())
