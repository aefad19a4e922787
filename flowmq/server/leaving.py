"""The end of channels: what they held goes back to its queues a little at a time, and then whoever waits goes on."""

import time
from asyncio import AbstractEventLoop
from collections import deque
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, NamedTuple

from flowmq._channel import Channel
from flowmq._connection import set_clock
from flowmq._peer import flush
from flowmq._queue import Queue
from flowmq._returns import Returns

if TYPE_CHECKING:
    from flowmq.server.session import Session

AT_ONCE_MESSAGES = 1000  # of a connection; what goes beyond waits for its turn
TURN_SECONDS = 0.002
TURN_MESSAGES = 100  # between two looks at the clock


class Ended(NamedTuple):
    returns: Returns  # what the channels held
    queues: dict[Queue, None]  # that they consumed, in order


class Pending(NamedTuple):
    session: "Session"
    ended: Ended
    then: Callable[[], None]


def end_channels(session: "Session", channels: Iterable[Channel]) -> Ended:
    """They consume nothing any more. What they held is to be given back."""
    ended = Ended(Returns(), {})
    for channel in channels:
        ended.queues.update((consumer.queue, None) for consumer in channel.consumers.values())
        if not channel.closing:
            session.node.churn.channels_closed += 1
            session.node.broker.limits.channel_closed(session.user_name)
        channel.close(ended.returns)
        session.last_queues.pop(channel.number, None)
    return ended


def consumers_left(session: "Session", queues: Iterable[Queue]) -> None:
    """The next one gets its turn; queues that lived for their consumers go."""
    for queue in queues:
        queue.choose_active()
        if session.vhost is not None:
            session.vhost.consumer_left(queue)


class Leaving:
    def __init__(self, loop: AbstractEventLoop) -> None:
        self.loop = loop
        self.pending: deque[Pending] = deque()

    def give_back(self, session: "Session", ended: Ended, then: Callable[[], None]) -> None:
        """`then` is called when all is back. Until then nothing else on that connection is dealt with."""
        if not ended.returns.step(AT_ONCE_MESSAGES):
            consumers_left(session, ended.queues)
            then()
            return
        session.wait()
        self.pending.append(Pending(session, ended, then))
        if len(self.pending) == 1:
            self.loop.call_soon(self._go_on)

    def finish(self) -> None:
        """The broker ends: nothing is put off any more."""
        while self.pending:
            self._step()

    def _go_on(self) -> None:
        set_clock()
        ends = time.perf_counter() + TURN_SECONDS
        while self.pending:
            self._step()
            if time.perf_counter() >= ends:
                break
        flush()
        if self.pending:
            self.loop.call_soon(self._go_on)

    def _step(self) -> None:
        session, ended, then = self.pending[0]
        if ended.returns.step(TURN_MESSAGES):
            return
        self.pending.popleft()
        consumers_left(session, ended.queues)
        if session.connection.transport is not None:
            then()
        session.go_on()
