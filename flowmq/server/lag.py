"""How late the event loop is: a timer that notes by how much it came too late. All else on the loop waited as long."""

import asyncio

INTERVAL_SECONDS = 0.05
BUCKETS = 16  # the first up to 64 microseconds, each of the others twice the one before
FIRST_US = 64


class LoopLag:
    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.counts = [0] * (BUCKETS + 1)
        self.sum_us = 0
        self.worst_us = 0
        self.timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        self.expected = self.loop.time() + INTERVAL_SECONDS
        self.timer = self.loop.call_at(self.expected, self._note)

    def stop(self) -> None:
        if self.timer is not None:
            self.timer.cancel()

    def _note(self) -> None:
        late_us = max(0, int((self.loop.time() - self.expected) * 1_000_000))
        self.sum_us += late_us
        self.worst_us = max(self.worst_us, late_us)
        self.counts[min(BUCKETS, max(0, (late_us // FIRST_US).bit_length()))] += 1
        self.start()

    def histogram(self) -> dict[str, object]:
        """How often it was at most so many microseconds late; the last are all the others."""
        return {"counts": list(self.counts), "first_us": FIRST_US, "sum_us": self.sum_us, "worst_us": self.worst_us}
