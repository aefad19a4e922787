"""Work that would keep everybody waiting, done a little at a time: all of it takes but a small part of each turn."""

import time
from asyncio import AbstractEventLoop
from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING

from flowmq._busy_poll import soon
from flowmq._clock import set_clock
from flowmq._peer import flush

if TYPE_CHECKING:
    from flowmq.server.session import Session

TURN_SECONDS = 0.002


class Turns:
    def __init__(self, loop: AbstractEventLoop) -> None:
        self.loop = loop
        self.works: deque[Iterator[None]] = deque()

    def begin(self, work: Iterator[None]) -> None:
        """Each step is to take a tenth of a millisecond or so. Several works have a step each in turn."""
        self.works.append(work)
        if len(self.works) == 1:
            soon(self.loop, self._go_on)

    def finish(self) -> None:
        """The broker ends: nothing is put off any more."""
        while self.works:
            self._step()

    def _go_on(self) -> None:
        set_clock()
        ends = time.perf_counter() + TURN_SECONDS
        try:
            while self.works:
                self._step()
                if time.perf_counter() >= ends:
                    break
            flush()
        finally:
            # Also when a step has failed, which the loop tells: what others have begun must come to its end.
            if self.works:
                self.loop.call_soon(self._go_on)

    def _step(self) -> None:
        # It stands in line during its step, so that what that begins does not ask for a turn of its own.
        work = self.works[0]
        more = False
        try:
            more = next(work, self) is not self
        finally:
            self.works.popleft()
            if more:
                self.works.append(work)


def begin_waiting(
    session: "Session", work: Iterator[None], number: int = 0, class_id: int = 0, method_id: int = 0
) -> None:
    """Nothing else on that connection is dealt with until it is done. An error ends as one of the method does."""
    session.wait()
    session.node.turns.begin(waited_for(session, work, number, class_id, method_id))


def waited_for(session: "Session", work: Iterator[None], number: int, class_id: int, method_id: int) -> Iterator[None]:
    try:
        yield from work
    except Exception as error:
        session.failed(number, class_id, method_id, error)
    finally:
        session.go_on()
