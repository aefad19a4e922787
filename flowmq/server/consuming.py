"""basic.* but for what comes per message: qos, consume, cancel, get, recover."""

import logging
import secrets
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from flowmq._channel import Channel
from flowmq._order import told_ms
from flowmq._rules import use_timeouts
from flowmq.amqp.errors import (
    NotAllowed,
    NotImplementedByBroker,
    PreconditionFailed,
)
from flowmq.amqp.method import Method
from flowmq.amqp.methods import (
    BasicCancel,
    BasicCancelOk,
    BasicConsume,
    BasicConsumeOk,
    BasicGet,
    BasicGetEmpty,
    BasicQos,
    BasicQosOk,
    BasicRecover,
    BasicRecoverAsync,
    BasicRecoverOk,
)
from flowmq.broker.arguments import check_consumer_arguments, consumer_priority, consumer_timeout_ms
from flowmq.broker.names import octets, text
from flowmq.broker.permissions import QUEUE, READ
from flowmq.broker.vhost import REPLY_TO
from flowmq.server.asking import access_of, answer, readable_queue, vhost_of
from flowmq.server.turns import begin_waiting

if TYPE_CHECKING:
    from flowmq.server.session import Session

SETTLED_MESSAGES = 200  # in one step
OVERDUE_MESSAGES = 20  # the same; each is told in the log
log = logging.getLogger("flowmq")

# ------------------------------------------------------------------------------------------------------------ basic


def basic_qos(session: "Session", channel: Channel, method: BasicQos) -> None:
    if method.prefetch_size:
        raise NotImplementedByBroker(f"prefetch_size!=0 ({method.prefetch_size})")
    # The answer first: a higher limit lets deliveries begin at once.
    session.send(channel.number, BasicQosOk())
    channel.set_prefetch(method.prefetch_count, for_channel=method.global_)


def basic_consume(session: "Session", channel: Channel, method: BasicConsume) -> None:
    tag = octets(method.consumer_tag) or new_consumer_tag()
    if tag in channel.consumers or (channel.reply_consumer is not None and channel.reply_consumer.tag == tag):
        raise NotAllowed(f"attempt to reuse consumer tag '{method.consumer_tag}'")
    limit = session.node.settings.limits.consumers_per_channel_max
    if limit and len(channel.consumers) >= limit:
        raise NotAllowed(f"reached maximum ({limit}) of consumers per channel", limit="channel_consumers")
    if method.queue == REPLY_TO:
        consume_replies(session, channel, method, tag)
        return
    declared = readable_queue(session, channel, method.queue)
    check_consumer_arguments(declared.where, method.arguments, declared.settings.queue_type)
    declared.check_consumable(exclusive=method.exclusive)
    declared.check_prefetch(for_channel=channel.global_prefetch_count > 0)
    timeout_ms = consumer_timeout_ms(method.arguments)
    if timeout_ms is not None:
        use_timeouts()
    consumer = channel.consume(
        declared.queue,
        tag,
        no_ack=method.no_ack,
        exclusive=method.exclusive,
        priority=consumer_priority(method.arguments),
        arguments=method.arguments,
        timeout_ms=timeout_ms or 0,
    )
    if not method.nowait:
        session.send(channel.number, BasicConsumeOk(tag.decode("utf-8", "surrogateescape")))
    # Only now: no delivery may come before the consumer knows its tag.
    declared.queue.start(consumer)


def consume_replies(session: "Session", channel: Channel, method: BasicConsume, tag: bytes) -> None:
    if not method.no_ack:
        raise PreconditionFailed("reply consumer cannot acknowledge")
    key = f"{REPLY_TO}.{new_token()}".encode("ascii")
    channel.consume_replies(tag, key)
    answer(session, channel, method, BasicConsumeOk(tag.decode("utf-8", "surrogateescape")))


def new_token() -> str:
    return urlsafe_b64encode(secrets.token_bytes(16)).decode("ascii").rstrip("=")


def new_consumer_tag() -> bytes:
    return f"amq.ctag-{new_token()}".encode("ascii")


def basic_cancel(session: "Session", channel: Channel, method: BasicCancel) -> None:
    """Cancelling what does not consume is fine."""
    consumer = channel.cancel(octets(method.consumer_tag))
    answer(session, channel, method, BasicCancelOk(method.consumer_tag))
    if consumer is not None:
        vhost_of(session).consumer_left(consumer.queue)


def cancel_unreadable(session: "Session") -> None:
    """Permissions have changed: the consumers of what may not be read any more go."""
    access, vhost = access_of(session), vhost_of(session)
    for channel in list(session.connection.channels.values()):
        for tag, consumer in list(channel.consumers.items()):
            name = text(consumer.queue.name)
            if access.allows(READ, QUEUE, name):
                continue
            log.warning(
                "connection %s: channel %d: consumer '%s' is cancelled: user '%s' may not read queue '%s' any more",
                session.name,
                channel.number,
                text(tag),
                session.user_name,
                name,
            )
            channel.cancel(tag)
            session.consumer_cancelled(channel, tag)
            vhost.consumer_left(consumer.queue)


def basic_get(session: "Session", channel: Channel, method: BasicGet) -> None:
    declared = readable_queue(session, channel, method.queue)
    declared.check_gettable()
    vhost_of(session).leases.used(declared, told_ms())
    if not channel.get(declared.queue, no_ack=method.no_ack):
        declared.check_readable()
        session.send(channel.number, BasicGetEmpty())


def basic_recover(session: "Session", channel: Channel, method: BasicRecover) -> None:
    if not method.requeue:
        raise NotImplementedByBroker("requeue=false")
    # The answer first: what comes back is delivered again at once.
    session.send(channel.number, BasicRecoverOk())
    channel.recover()


def basic_recover_async(session: "Session", channel: Channel, method: BasicRecoverAsync) -> None:
    if not method.requeue:
        raise NotImplementedByBroker("requeue=false")
    channel.recover()


HANDLERS: dict[type[Method], Callable[["Session", Channel, Any], None]] = {
    BasicQos: basic_qos,
    BasicConsume: basic_consume,
    BasicCancel: basic_cancel,
    BasicGet: basic_get,
    BasicRecover: basic_recover,
    BasicRecoverAsync: basic_recover_async,
}


def return_overdue(session: "Session") -> Iterator[None]:
    """Messages that consumers of this connection have held for too long go back to their queues, a few in each step.

    An error of ours ends this connection, and no other one has to wait.
    """
    try:
        yield from overdue_returned(session)
    except Exception as error:
        session.failed(0, 0, 0, error)


def overdue_returned(session: "Session") -> Iterator[None]:
    for channel in list(session.connection.channels.values()):
        while channel.unacked_count and (overdue := channel.return_overdue(OVERDUE_MESSAGES)):
            for delivery_tag, held_ms in overdue:
                log.warning(
                    "connection %s: channel %d: delivery %d was not settled within %d ms, it is back in its queue",
                    session.name,
                    channel.number,
                    delivery_tag,
                    held_ms,
                )
            yield


def go_on_settling(session: "Session", channel: Channel) -> None:
    """One method settles more than can be done at once. Nothing else on that connection is dealt with meanwhile."""
    begin_waiting(session, settle_rest(channel))


def settle_rest(channel: Channel) -> Iterator[None]:
    while channel.settle_more(SETTLED_MESSAGES):
        yield
