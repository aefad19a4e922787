"""taskiq with taskiq-aio-pika: tasks, retries, and a delay, which is a queue with TTL and dead letters."""

import asyncio
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from report import SECONDS, say
from taskiq import SimpleRetryMiddleware
from taskiq.api import run_receiver_task
from taskiq.exceptions import SendTaskError
from taskiq.kicker import AsyncKicker
from taskiq_aio_pika import AioPikaBroker, Queue

broker = AioPikaBroker(sys.argv[2], delay_queue=Queue(name="interop.taskiq.delay")).with_middlewares(
    SimpleRetryMiddleware()
)
done: dict[str, asyncio.Event] = {}
attempts: list[float] = []


@broker.task(task_name="interop:work")
async def work(name: str) -> None:
    done[name].set()


@broker.task(task_name="interop:stubborn", retry_on_error=True, max_retries=5)
async def stubborn() -> None:
    attempts.append(time.monotonic())
    if len(attempts) < 3:
        raise ValueError("not yet")
    done["retry"].set()


async def kick(kicker: AsyncKicker, *arguments: str) -> None:
    """Its connection tries again every five seconds; until then sending fails."""
    for _ in range(SECONDS):
        try:
            await kicker.kiq(*arguments)
            return
        except SendTaskError as failure:
            last = failure
            await asyncio.sleep(1)
    raise last


async def check(name: str, kicker: AsyncKicker, *arguments: str, seconds_min: float = 0.0) -> None:
    done[name] = asyncio.Event()
    began = time.monotonic()
    try:
        await kick(kicker, *arguments)
        await asyncio.wait_for(done[name].wait(), SECONDS)
        assert time.monotonic() - began >= seconds_min, "it came too early"
    except Exception as failure:
        say(f"FAIL {name} {failure!r}")
    else:
        say(f"ok {name}")


@asynccontextmanager
async def worker() -> AsyncIterator[None]:
    broker.is_worker_process = True
    await broker.startup()
    receiver = asyncio.create_task(run_receiver_task(broker))
    yield
    receiver.cancel()
    await asyncio.gather(receiver, return_exceptions=True)
    await broker.shutdown()


async def tasks() -> None:
    async with worker():
        await check("task", work.kicker(), "task")
        await check("retry", stubborn.kicker())
        await check("dead-letter", work.kicker().with_labels(delay=1), "dead-letter", seconds_min=1.0)


async def recover() -> None:
    async with worker():
        done["before"] = asyncio.Event()
        await work.kiq("before")
        await done["before"].wait()
        say("ready")
        await asyncio.to_thread(sys.stdin.readline)
        await check("recovery", work.kicker(), "recovery")


if __name__ == "__main__":
    if sys.argv[1] == "tasks":
        asyncio.run(tasks())
    else:
        asyncio.run(recover())
