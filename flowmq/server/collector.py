"""When Python's collector of cycles looks through old objects.

By itself it looks through all that live, again and again while there come to be more: with 100 000 queues a tenth of a
second, in which no message moves. Here what has outlived a look is set aside for good (gc.freeze): each look is at what
is new since the one before. What is set aside still goes when nobody refers to it any more; only as part of a cycle it
would stay, and so all are looked at again from time to time: every ten seconds while they are so few that it takes some
milliseconds, and otherwise when they have become twice as many, or when memory is short and not because of messages.
"""

import asyncio
import gc
import threading
import time
from typing import Any

YOUNG = (700, 10)  # Python's own: new objects until a look at them; such looks until one at those a little older
# Looks at the middle generation until one at the old: some 7000 objects each, a millisecond.
LOOKS_MAX = 3
NEVER = 1 << 30
# Between two looks at all there is; so many objects take some 10 ms.
SECONDS_MIN, FEW_OBJECTS = 10.0, 100_000


def look_at_all() -> None:
    gc.unfreeze()
    gc.collect()
    gc.freeze()


class Collector:
    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.thread = threading.get_ident()
        self.is_due = False
        self.before: tuple[int, int, int] = (0, 0, 0)
        self.looked_at_all = 0.0  # when, by the monotonic clock
        self.were_left = 0  # objects, then

    def start(self) -> None:
        """What exists now lives as long as the process."""
        self.before = gc.get_threshold()
        self.look_at_all()
        gc.set_threshold(*YOUNG, NEVER)
        gc.callbacks.append(self._looked)

    def stop(self) -> None:
        gc.callbacks.remove(self._looked)
        gc.set_threshold(*self.before)

    def _looked(self, phase: str, info: dict[str, Any]) -> None:
        """Called by the collector, in whatever thread and in the midst of anything: only makes a note."""
        old_enough = phase == "stop" and info["generation"] == 1 and gc.get_count()[2] >= LOOKS_MAX
        if old_enough and not self.is_due and threading.get_ident() == self.thread:
            self.is_due = True
            self.loop.call_soon(self._look_at_old)

    def _look_at_old(self) -> None:
        self.is_due = False
        count = gc.get_freeze_count()
        is_worth_it = count <= FEW_OBJECTS or count >= 2 * self.were_left
        if is_worth_it and time.monotonic() >= self.looked_at_all + SECONDS_MIN:
            self.look_at_all()
        else:
            gc.collect()
            gc.freeze()

    def look_at_all(self) -> None:
        look_at_all()
        self.looked_at_all = time.monotonic()
        self.were_left = gc.get_freeze_count()
