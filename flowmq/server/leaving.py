"""The end of channels: their consumers leave their queues, what they held goes back to its queues, and then whoever
waits goes on. Each a little at a time when there are many."""

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, NamedTuple, ParamSpec

from flowmq._channel import Channel
from flowmq._queue import Queue
from flowmq._returns import Returns
from flowmq.server.turns import begin_waiting

if TYPE_CHECKING:
    from flowmq.server.session import Session

Given = ParamSpec("Given")
AT_ONCE_MESSAGES = 1000  # of a connection; what goes beyond waits for its turn
TURN_MESSAGES = 100  # of a step
AT_ONCE_CONSUMERS = 200
TURN_CONSUMERS = 50


class Ended(NamedTuple):
    channels: list[Channel]  # whose consumers have not left yet
    returns: Returns  # what the channels held
    queues: dict[Queue, None]  # that they consumed, in order


def end_channels(session: "Session", channels: Iterable[Channel]) -> Ended:
    """They consume nothing any more. What they held is to be given back."""
    ended = Ended([], Returns(), {})
    for channel in channels:
        if not channel.closing:
            session.node.churn.channels_closed += 1
            session.node.broker.limits.channel_closed(session.user_name)
        if channel.consumers:
            ended.channels.append(channel)
        session.last_queues.pop(channel.number, None)
        attempt(session, channel.close, ended.returns)
    attempt(session, leave_queues, ended, AT_ONCE_CONSUMERS)
    return ended


def attempt(session: "Session", act: Callable[Given, object], *given: Given.args, **named: Given.kwargs) -> None:
    """An error of ours ends the connection, and keeps nothing else of it from ending."""
    try:
        act(*given, **named)
    except Exception as error:
        session.failed(0, 0, 0, error)


def leave_queues(ended: Ended, limit: int) -> bool:
    """So many of the consumers at most; are there more?"""
    while ended.channels and limit > 0:
        queues = ended.channels[0].leave_queues(limit)
        ended.queues.update(dict.fromkeys(queues))
        limit -= len(queues)
        if not ended.channels[0].consumers:
            del ended.channels[0]
    return bool(ended.channels)


def consumers_left(session: "Session", queues: Iterable[Queue]) -> None:
    """The next one gets its turn; queues that lived for their consumers go."""
    for queue in queues:
        attempt(session, consumer_left, session, queue)


def consumer_left(session: "Session", queue: Queue) -> None:
    queue.choose_active()
    if session.vhost is not None:
        session.vhost.consumer_left(queue)


def give_back(session: "Session", ended: Ended, then: Callable[[], None]) -> None:
    """`then` is called when all is back. Until then nothing else on that connection is dealt with."""
    try:
        is_more = ended.channels or ended.returns.step(AT_ONCE_MESSAGES)
    except Exception as error:
        session.failed(0, 0, 0, error)
        is_more = True
    if is_more:
        begin_waiting(session, giving_back(session, ended, then))
    else:
        consumers_left(session, ended.queues)
        then()


def giving_back(session: "Session", ended: Ended, then: Callable[[], None]) -> Iterator[None]:
    is_over = False
    while not is_over:
        before = what_is_left(ended)
        try:
            yield from given_back(ended)
            is_over = True
        except Exception as error:
            # It was about one of them, which is done with: all others go back all the same.
            session.failed(0, 0, 0, error)
            is_over = what_is_left(ended) == before
    queues = list(ended.queues)
    for start in range(0, len(queues), TURN_CONSUMERS):
        if start:
            yield
        consumers_left(session, queues[start : start + TURN_CONSUMERS])
    if session.connection.transport is not None:
        then()


def given_back(ended: Ended) -> Iterator[None]:
    while leave_queues(ended, TURN_CONSUMERS):
        yield
    while ended.returns.step(TURN_MESSAGES):
        yield


def what_is_left(ended: Ended) -> tuple[int, int]:
    """Of consumers and of messages."""
    return sum(len(channel.consumers) for channel in ended.channels), ended.returns.message_count
