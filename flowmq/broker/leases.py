"""Queues that go when nobody has used them for a while (x-expires): which of them, and when.

Using is declaring, consuming and getting; publishing is not. Time is an argument. Each queue stands in the heap once,
under the time at which it is looked at next: that it was used meanwhile is seen only then.
"""

import heapq
from itertools import count

from flowmq.broker.queues import DeclaredQueue


class Look:
    """Of an entry of the heap. When it does not count any more it holds no queue, which may have gone long before."""

    __slots__ = ("declared",)

    def __init__(self, declared: DeclaredQueue) -> None:
        self.declared: DeclaredQueue | None = declared


class Leases:
    def __init__(self) -> None:
        self._used_ms: dict[DeclaredQueue, int] = {}
        self._look_of: dict[DeclaredQueue, Look] = {}
        self._looks: list[tuple[int, int, Look]] = []
        self._numbers = count()

    def begin(self, declared: DeclaredQueue, now_ms: int) -> None:
        """From now on, or anew with another time."""
        self.end(declared)
        if declared.settings.expires_ms is not None:
            self._used_ms[declared] = now_ms
            self._look_at(declared, now_ms + declared.settings.expires_ms)

    def __contains__(self, declared: DeclaredQueue) -> bool:
        return declared in self._used_ms

    def used(self, declared: DeclaredQueue, now_ms: int) -> None:
        if declared in self._used_ms:
            self._used_ms[declared] = now_ms

    def end(self, declared: DeclaredQueue) -> None:
        """The queue is gone, or stays for good; its place in the heap is found empty when its time comes."""
        self._used_ms.pop(declared, None)
        look = self._look_of.pop(declared, None)
        if look is not None:
            look.declared = None

    def over(self, now_ms: int) -> list[DeclaredQueue]:
        """Those whose time is over."""
        over = []
        while self._looks and self._looks[0][0] <= now_ms:
            declared = heapq.heappop(self._looks)[2].declared
            if declared is None or declared.settings.expires_ms is None:
                continue
            if declared.queue.consumer_count:
                self._used_ms[declared] = now_ms
            ends_ms = self._used_ms[declared] + declared.settings.expires_ms
            if ends_ms <= now_ms:
                over.append(declared)
            else:
                self._look_at(declared, ends_ms)
        return over

    def next_ms(self) -> int | None:
        """When to look next; None for never."""
        return self._looks[0][0] if self._looks else None

    def _look_at(self, declared: DeclaredQueue, at_ms: int) -> None:
        look = self._look_of[declared] = Look(declared)
        heapq.heappush(self._looks, (at_ms, next(self._numbers), look))
