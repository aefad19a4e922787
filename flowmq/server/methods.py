"""The methods of an open connection that do not come per message: one function each, found by a table.

A function does what its method asks by calling the model or the channel, and sends the answer. It raises AMQPError
where a rule breaks; the session turns that into a close.
"""

import secrets
from base64 import urlsafe_b64encode
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from flowmq._channel import Channel
from flowmq.amqp.errors import (
    ChannelError,
    CommandInvalid,
    NotAllowed,
    NotFound,
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
    ChannelClose,
    ChannelCloseOk,
    ChannelFlow,
    ChannelFlowOk,
    ChannelOpen,
    ChannelOpenOk,
    ConfirmSelect,
    ConfirmSelectOk,
    ConnectionClose,
    ConnectionCloseOk,
    ConnectionUpdateSecret,
    ConnectionUpdateSecretOk,
    ExchangeBind,
    ExchangeBindOk,
    ExchangeDeclare,
    ExchangeDeclareOk,
    ExchangeDelete,
    ExchangeDeleteOk,
    ExchangeUnbind,
    ExchangeUnbindOk,
    QueueBind,
    QueueBindOk,
    QueueDeclare,
    QueueDeclareOk,
    QueueDelete,
    QueueDeleteOk,
    QueuePurge,
    QueuePurgeOk,
    QueueUnbind,
    QueueUnbindOk,
    TxCommit,
    TxCommitOk,
    TxRollback,
    TxRollbackOk,
    TxSelect,
    TxSelectOk,
)
from flowmq.broker.arguments import consumer_priority
from flowmq.broker.names import octets
from flowmq.broker.queues import DeclaredQueue
from flowmq.broker.vhost import REPLY_TO, VHost

if TYPE_CHECKING:
    from flowmq.server.session import Session

MESSAGE_COUNT_MAX = 0xFFFFFFFF


def dispatch(session: "Session", number: int, method: Method) -> None:
    """A method on an open connection."""
    if number == 0:
        on_connection(session, method)
        return
    if isinstance(method, ChannelOpen):
        channel_open(session, number)
        return
    channel = session.connection.channels.get(number)
    if channel is None:
        if not isinstance(method, ChannelCloseOk):
            raise ChannelError("expected 'channel.open'")
    elif isinstance(method, ChannelCloseOk):
        session.connection.forget_channel(number)
    elif isinstance(method, ChannelClose):
        channel_close(session, channel)
    elif not channel.closing:
        on_channel(session, channel, method)


def on_connection(session: "Session", method: Method) -> None:
    match method:
        case ConnectionClose():
            session.client_closes(method)
        case ConnectionCloseOk():
            session.finish()
        case ConnectionUpdateSecret():
            update_secret(session, method)
        case _:
            raise ChannelError("unexpected method in connection state running")


def on_channel(session: "Session", channel: Channel, method: Method) -> None:
    handler = HANDLERS.get(type(method))
    if handler is None:
        raise CommandInvalid(f"unexpected method {method.NAME}")
    handler(session, channel, method)


def vhost_of(session: "Session") -> VHost:
    assert session.vhost is not None, "a channel is only opened on an open connection"
    return session.vhost


def answer(session: "Session", channel: Channel, method: Any, reply: Method) -> None:
    if not method.nowait:
        session.send(channel.number, reply)


# ------------------------------------------------------------------------------------------- connection and channel


def update_secret(session: "Session", method: ConnectionUpdateSecret) -> None:
    assert session.user is not None
    users = session.node.broker.users
    user = users.authenticate(session.user.name, method.new_secret, from_loopback=session.from_loopback)
    if isinstance(user, str):
        raise NotAllowed("New secret was refused by one of the backends")
    session.user = user
    session.send(0, ConnectionUpdateSecretOk())


def channel_open(session: "Session", number: int) -> None:
    existing = session.connection.channels.get(number)
    if existing is not None and not existing.closing:
        raise ChannelError("second 'channel.open' seen")
    opened = len(session.connection.channels) + (existing is None)
    if opened > session.channel_max:
        raise NotAllowed(
            f"number of channels opened ({opened - 1}) has reached the negotiated channel_max ({session.channel_max})"
        )
    session.connection.open_channel(number, vhost_of(session))
    session.send(number, ChannelOpenOk())


def channel_close(session: "Session", channel: Channel) -> None:
    if not channel.closing:
        channel.tell()
        session.leave_channel(channel)
        session.connection.forget_channel(channel.number)
    # When both sides close at once the channel ends with the client's close-ok to ours.
    session.send(channel.number, ChannelCloseOk())


def channel_flow(session: "Session", channel: Channel, method: ChannelFlow) -> None:
    if not method.active:
        raise NotImplementedByBroker("active=false")
    session.send(channel.number, ChannelFlowOk(True))


# --------------------------------------------------------------------------------------------------------- exchange


def exchange_declare(session: "Session", channel: Channel, method: ExchangeDeclare) -> None:
    vhost = vhost_of(session)
    if method.passive:
        vhost.check_default_untouched(method.exchange)
        vhost.exchange(method.exchange)
    else:
        vhost.declare_exchange(
            method.exchange,
            method.type,
            durable=method.durable,
            auto_delete=method.auto_delete,
            internal=method.internal,
            arguments=method.arguments,
        )
    answer(session, channel, method, ExchangeDeclareOk())


def exchange_delete(session: "Session", channel: Channel, method: ExchangeDelete) -> None:
    vhost_of(session).delete_exchange(method.exchange, if_unused=method.if_unused)
    answer(session, channel, method, ExchangeDeleteOk())


def exchange_bind(session: "Session", channel: Channel, method: ExchangeBind) -> None:
    vhost_of(session).bind_exchange(method.destination, method.source, method.routing_key, method.arguments)
    answer(session, channel, method, ExchangeBindOk())


def exchange_unbind(session: "Session", channel: Channel, method: ExchangeUnbind) -> None:
    vhost_of(session).unbind_exchange(method.destination, method.source, method.routing_key, method.arguments)
    answer(session, channel, method, ExchangeUnbindOk())


# ------------------------------------------------------------------------------------------------------------ queue


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


def queue_declare(session: "Session", channel: Channel, method: QueueDeclare) -> None:
    vhost = vhost_of(session)
    if method.queue.startswith(REPLY_TO):
        reply_queue_declare(session, channel, method)
        return
    if method.passive:
        declared = named_queue(session, channel, method.queue)
    else:
        declared = vhost.declare_queue(
            method.queue,
            session,
            durable=method.durable,
            exclusive=method.exclusive,
            auto_delete=method.auto_delete,
            arguments=method.arguments,
        )
    session.last_queues[channel.number] = declared.name
    count = min(declared.queue.message_count, MESSAGE_COUNT_MAX)
    answer(session, channel, method, QueueDeclareOk(declared.name, count, declared.queue.consumer_count))


def reply_queue_declare(session: "Session", channel: Channel, method: QueueDeclare) -> None:
    """Declaring the name that a direct reply goes to tells whether whoever asked still listens."""
    vhost = vhost_of(session)
    if method.queue != REPLY_TO and octets(method.queue) not in vhost.reply_channels:
        raise NotFound(f"no queue '{method.queue}' in vhost '{vhost.name}'")
    answer(session, channel, method, QueueDeclareOk(method.queue, 0, 1))


def queue_bind(session: "Session", channel: Channel, method: QueueBind) -> None:
    declared = named_queue(session, channel, method.queue)
    # RabbitMQ's reading of an empty queue name with an empty key: the name is the key too.
    key = method.routing_key if method.queue or method.routing_key else declared.name
    vhost_of(session).bind_queue(declared, method.exchange, key, method.arguments)
    answer(session, channel, method, QueueBindOk())


def queue_unbind(session: "Session", channel: Channel, method: QueueUnbind) -> None:
    name = queue_name(session, channel, method.queue)
    vhost = vhost_of(session)
    if name in vhost.queues:
        declared = vhost.queue(name, session)
        key = method.routing_key if method.queue or method.routing_key else name
        vhost.unbind_queue(declared, method.exchange, key, method.arguments)
    session.send(channel.number, QueueUnbindOk())


def queue_purge(session: "Session", channel: Channel, method: QueuePurge) -> None:
    dropped = named_queue(session, channel, method.queue).queue.purge()
    answer(session, channel, method, QueuePurgeOk(min(dropped, MESSAGE_COUNT_MAX)))


def queue_delete(session: "Session", channel: Channel, method: QueueDelete) -> None:
    vhost = vhost_of(session)
    name = queue_name(session, channel, method.queue)
    dropped = 0
    if name in vhost.queues:
        declared = vhost.queue(name, session)
        declared.check_deletable(if_unused=method.if_unused, if_empty=method.if_empty)
        dropped = vhost.delete_queue(declared)
    answer(session, channel, method, QueueDeleteOk(min(dropped, MESSAGE_COUNT_MAX)))


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
        raise NotAllowed(f"reached maximum ({limit}) of consumers per channel")
    if method.queue == REPLY_TO:
        consume_replies(session, channel, method, tag)
        return
    declared = named_queue(session, channel, method.queue)
    declared.check_consumable(exclusive=method.exclusive)
    consumer = channel.consume(
        declared.queue,
        tag,
        no_ack=method.no_ack,
        exclusive=method.exclusive,
        priority=consumer_priority(method.arguments),
        arguments=method.arguments,
    )
    answer(session, channel, method, BasicConsumeOk(tag.decode("utf-8", "surrogateescape")))
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


def basic_get(session: "Session", channel: Channel, method: BasicGet) -> None:
    declared = named_queue(session, channel, method.queue)
    if not channel.get(declared.queue, no_ack=method.no_ack):
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


# ------------------------------------------------------------------------------------------------- confirm and tx


def confirm_select(session: "Session", channel: Channel, method: ConfirmSelect) -> None:
    channel.confirm_select()
    answer(session, channel, method, ConfirmSelectOk())


def tx_select(session: "Session", channel: Channel, method: TxSelect) -> None:
    channel.tx_select()
    session.send(channel.number, TxSelectOk())


def tx_commit(session: "Session", channel: Channel, method: TxCommit) -> None:
    channel.tx_commit()
    session.send(channel.number, TxCommitOk())


def tx_rollback(session: "Session", channel: Channel, method: TxRollback) -> None:
    channel.tx_rollback()
    session.send(channel.number, TxRollbackOk())


HANDLERS: dict[type[Method], Callable[["Session", Channel, Any], None]] = {
    ChannelFlow: channel_flow,
    ExchangeDeclare: exchange_declare,
    ExchangeDelete: exchange_delete,
    ExchangeBind: exchange_bind,
    ExchangeUnbind: exchange_unbind,
    QueueDeclare: queue_declare,
    QueueBind: queue_bind,
    QueueUnbind: queue_unbind,
    QueuePurge: queue_purge,
    QueueDelete: queue_delete,
    BasicQos: basic_qos,
    BasicConsume: basic_consume,
    BasicCancel: basic_cancel,
    BasicGet: basic_get,
    BasicRecover: basic_recover,
    BasicRecoverAsync: basic_recover_async,
    ConfirmSelect: confirm_select,
    TxSelect: tx_select,
    TxCommit: tx_commit,
    TxRollback: tx_rollback,
}
