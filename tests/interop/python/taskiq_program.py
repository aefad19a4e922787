"""taskiq with taskiq-aio-pika: tasks, retries, and a delay, which is a queue with TTL and dead letters."""

import asyncio
import sys
import time

from report import SECONDS, say
from taskiq import SimpleRetryMiddleware
from taskiq.api import run_receiver_task
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


async def check(name: str, kicker: AsyncKicker, *arguments: str, seconds_min: float = 0.0) -> None:
    done[name] = asyncio.Event()
    began = time.monotonic()
    try:
        await kicker.kiq(*arguments)
        await asyncio.wait_for(done[name].wait(), SECONDS)
        assert time.monotonic() - began >= seconds_min, "it came too early"
    except Exception as failure:
        say(f"FAIL {name} {failure!r}")
    else:
        say(f"ok {name}")


async def tasks() -> None:
    broker.is_worker_process = True
    await broker.startup()
    receiver = asyncio.create_task(run_receiver_task(broker))
    await check("task", work.kicker(), "task")
    await check("retry", stubborn.kicker())
    await check("dead-letter", work.kicker().with_labels(delay=1), "dead-letter", seconds_min=1.0)
    receiver.cancel()
    await asyncio.gather(receiver, return_exceptions=True)
    await broker.shutdown()


if __name__ == "__main__":
    if sys.argv[1] == "tasks":
        asyncio.run(tasks())
    else:
        say("none recovery")  # its connection is aio-pika's
        say("ready")
