"""What the functions for single methods share: whose virtual host, which queue, and whether an answer is wanted."""

from typing import TYPE_CHECKING, Any

from flowmq._channel import Channel
from flowmq.amqp.errors import NotFound
from flowmq.amqp.method import Method
from flowmq.amqp.methods import ExchangeBind, ExchangeDeclare, QueueBind, QueueDeclare
from flowmq.broker.permissions import QUEUE, READ, Access
from flowmq.broker.queues import DeclaredQueue
from flowmq.broker.vhost import VHost

if TYPE_CHECKING:
    from flowmq.server.session import Session

MESSAGE_COUNT_MAX = 0xFFFFFFFF
# What the connection goes on with while answers wait for the disk; see frame_declares() in _frame.pxd.
DECLARATIONS = (QueueDeclare, QueueBind, ExchangeDeclare, ExchangeBind)


def vhost_of(session: "Session") -> VHost:
    assert session.vhost is not None, "a channel is only opened on an open connection"
    return session.vhost


def access_of(session: "Session") -> Access:
    assert session.access is not None, "a channel is only opened on an open connection"
    return session.access


def answer(session: "Session", channel: Channel, method: Any, reply: Method) -> None:
    """The answer to a method that may have changed what is durable: only once that is on disk."""
    wanted = None if getattr(method, "nowait", False) else reply  # queue.unbind has no such field
    store = session.node.store
    commit = store.take_commit() if store is not None else 0
    if isinstance(method, DECLARATIONS):
        session.send_in_turn(commit, channel.number, wanted)
    elif commit:
        session.send_when_committed(commit, channel.number, wanted)
    elif wanted is not None:
        session.send(channel.number, wanted)


def queue_name(session: "Session", channel: Channel, name: str) -> str:
    """An empty name means the queue last declared on the channel."""
    if name:
        return name
    last = session.last_queues.get(channel.number)
    if last is None:
        raise NotFound("no previously declared queue")
    return last


def named_queue(session: "Session", channel: Channel, name: str) -> DeclaredQueue:
    return vhost_of(session).queue(queue_name(session, channel, name), session)


def readable_queue(session: "Session", channel: Channel, name: str) -> DeclaredQueue:
    """For those methods that take messages out of it. Whoever may not read it does not learn whether it exists."""
    name = queue_name(session, channel, name)
    access_of(session).check(READ, QUEUE, name)
    return vhost_of(session).queue(name, session)
