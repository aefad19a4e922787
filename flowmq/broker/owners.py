"""Exclusive queues: whose they are. They go with their owner, the first at once and the others step by step.

Until its turn comes such a queue is there, and nobody can use it. Whoever comes for its name has it go at once.
"""

import logging
from collections.abc import Callable, Iterator

from flowmq.broker.queues import DeclaredQueue

STEP_QUEUES = 5
log = logging.getLogger("flowmq")


class Owners:
    def __init__(self) -> None:
        self._owned: dict[object, dict[DeclaredQueue, None]] = {}
        self._left: set[object] = set()

    def begin(self, declared: DeclaredQueue, owner: object) -> None:
        declared.owner = owner
        self._owned.setdefault(owner, {})[declared] = None

    def end(self, declared: DeclaredQueue) -> None:
        """It is gone; also when it had no owner."""
        owned = self._owned.get(declared.owner)
        if owned is not None:
            owned.pop(declared, None)
            if not owned:
                del self._owned[declared.owner]
                self._left.discard(declared.owner)

    def has_left(self, declared: DeclaredQueue) -> bool:
        """Is its owner gone?"""
        return declared.owner in self._left

    def leave(self, owner: object, delete: Callable[[DeclaredQueue], object]) -> Iterator[None]:
        """`delete` is called for each of its queues, and calls end()."""
        # Most have none: for them there is nothing to begin.
        return self._leave(owner, delete) if owner in self._owned else iter(())

    def _leave(self, owner: object, delete: Callable[[DeclaredQueue], object]) -> Iterator[None]:
        self._left.add(owner)
        going = list(self._owned[owner])[::-1]
        while going:
            for declared in going[: -STEP_QUEUES - 1 : -1]:
                if declared in self._owned.get(owner, ()):
                    try:
                        delete(declared)
                    except Exception as error:
                        # All others go all the same.
                        log.error("%s: internal error", declared.where, exc_info=error)
            del going[-STEP_QUEUES:]
            yield
