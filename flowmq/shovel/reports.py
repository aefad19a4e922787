"""What shovels have to tell the broker: gathered for a moment, so that a fast one does not tell every message."""

import asyncio
from typing import TYPE_CHECKING

from flowmq.server.control.client import AsyncControlConnection

if TYPE_CHECKING:
    from flowmq.shovel.worker import Worker

GATHER_SECONDS = 0.2


class Reports:
    def __init__(self, control: AsyncControlConnection) -> None:
        self.control = control
        self.workers: set[Worker] = set()  # those with something to tell
        self.news = asyncio.Event()

    def changed(self, worker: "Worker") -> None:
        self.workers.add(worker)
        self.news.set()

    async def run(self) -> None:
        while True:
            await self.news.wait()
            await self.tell()
            await asyncio.sleep(GATHER_SECONDS)

    async def tell(self) -> None:
        self.news.clear()
        rows = [worker.report() for worker in self.workers]
        self.workers.clear()
        if rows:
            await self.control.call("shovel.report", rows=rows)
