"""A process of the broker's own, started again when it ends: neither a slow nor a dead one is noticed by messages."""

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Callable
from typing import NamedTuple

END_SECONDS = 5.0
AGAIN_SECONDS_MIN, AGAIN_SECONDS_MAX = 0.2, 30.0
LASTED_SECONDS = 60.0  # one that ran so long may be started again at once
log = logging.getLogger("flowmq")


class Start(NamedTuple):
    """What it is started with: arguments of its module, and descriptors that it gets."""

    arguments: list[str]
    descriptors: list[int]


def nothing_happens() -> None:
    """For one whose end changes nothing for others."""


class Child:
    def __init__(
        self,
        title: str,
        module: str,
        start: Callable[[], Start],
        ended: Callable[[], None] = nothing_happens,
    ) -> None:
        self.title, self.module = title, module
        self._start, self._ended = start, ended
        self.process: asyncio.subprocess.Process | None = None
        self.watching: asyncio.Task[None] | None = None

    def start(self) -> None:
        if self.watching is None:
            self.watching = asyncio.ensure_future(self._watch())

    async def _watch(self) -> None:
        loop = asyncio.get_running_loop()
        again_seconds = AGAIN_SECONDS_MIN
        while True:
            started = loop.time()
            try:
                self.process = await self._spawn()
            except OSError as error:
                what = f"could not be started ({error.strerror})"
            else:
                what = f"ended with code {await self.process.wait()}"
                self._ended()
            lasted = loop.time() - started
            again_seconds = AGAIN_SECONDS_MIN if lasted > LASTED_SECONDS else min(again_seconds * 2, AGAIN_SECONDS_MAX)
            log.error("the %s process %s; it is started again in %.1f s", self.title, what, again_seconds)
            await asyncio.sleep(again_seconds)

    async def _spawn(self) -> asyncio.subprocess.Process:
        start = self._start()
        return await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", self.module, *start.arguments),
            stdin=asyncio.subprocess.DEVNULL,
            pass_fds=start.descriptors,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
            start_new_session=True,  # what a terminal sends to all of a foreground group is for the broker to act on
        )

    def hang_up(self) -> None:
        """Tell it to read again what it has read from files."""
        if self.process is not None and self.process.returncode is None:
            self.process.send_signal(signal.SIGHUP)

    async def stop(self) -> None:
        if self.watching is not None:
            self.watching.cancel()
            await asyncio.gather(self.watching, return_exceptions=True)
            self.watching = None
        if self.process is not None and self.process.returncode is None:
            self.process.terminate()
            try:
                await asyncio.wait_for(self.process.wait(), END_SECONDS)
            except TimeoutError:
                log.warning("the %s process did not end within %.0f s: killed", self.title, END_SECONDS)
                self.process.kill()
                await self.process.wait()
