"""The end of channels: what they held goes back to its queues a little at a time, and then whoever waits goes on."""

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, NamedTuple

from flowmq._channel import Channel
from flowmq._queue import Queue
from flowmq._returns import Returns

if TYPE_CHECKING:
    from flowmq.server.session import Session

AT_ONCE_MESSAGES = 1000  # of a connection; what goes beyond waits for its turn
TURN_MESSAGES = 100  # of a step


class Ended(NamedTuple):
    returns: Returns  # what the channels held
    queues: dict[Queue, None]  # that they consumed, in order


def end_channels(session: "Session", channels: Iterable[Channel]) -> Ended:
    """They consume nothing any more. What they held is to be given back."""
    ended = Ended(Returns(), {})
    for channel in channels:
        if channel.consumers:
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


def give_back(session: "Session", ended: Ended, then: Callable[[], None]) -> None:
    """`then` is called when all is back. Until then nothing else on that connection is dealt with."""
    if ended.returns.step(AT_ONCE_MESSAGES):
        session.wait()
        session.node.turns.begin(giving_back(session, ended, then))
    else:
        consumers_left(session, ended.queues)
        then()


def giving_back(session: "Session", ended: Ended, then: Callable[[], None]) -> Iterator[None]:
    while ended.returns.step(TURN_MESSAGES):
        yield
    consumers_left(session, ended.queues)
    if session.connection.transport is not None:
        then()
    session.go_on()
