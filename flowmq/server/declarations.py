"""exchange.* and queue.*: what is declared, bound, purged and deleted."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

from flowmq._channel import Channel
from flowmq.amqp.errors import (
    NotFound,
)
from flowmq.amqp.method import Method
from flowmq.amqp.methods import (
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
)
from flowmq.amqp.tables import Table
from flowmq.broker.arguments import with_type
from flowmq.broker.exchanges import PREDECLARED
from flowmq.broker.names import octets, server_named, without_line_breaks
from flowmq.broker.permissions import CONFIGURE, EXCHANGE, QUEUE, READ, WRITE
from flowmq.broker.queues import DeclaredQueue
from flowmq.broker.settings import CLASSIC
from flowmq.broker.vhost import REPLY_TO
from flowmq.server.asking import (
    MESSAGE_COUNT_MAX,
    access_of,
    answer,
    named_queue,
    queue_name,
    readable_queue,
    vhost_of,
)
from flowmq.server.takeover import free_if_dead

if TYPE_CHECKING:
    from flowmq.server.session import Session

ALTERNATE_EXCHANGE, DEAD_LETTER_EXCHANGE = "alternate-exchange", "x-dead-letter-exchange"

# --------------------------------------------------------------------------------------------------------- exchange


def exchange_declare(session: "Session", channel: Channel, method: ExchangeDeclare) -> None:
    vhost = vhost_of(session)
    if method.passive:
        vhost.check_default_untouched(method.exchange)
        vhost.exchange(method.exchange)
    else:
        name = without_line_breaks(method.exchange)
        vhost.check_default_untouched(name)
        check_declaration(session, EXCHANGE, name, ALTERNATE_EXCHANGE, method.arguments)
        vhost.declare_exchange(
            name,
            method.type,
            durable=method.durable,
            auto_delete=method.auto_delete,
            internal=method.internal,
            arguments=method.arguments,
        )
    answer(session, channel, method, ExchangeDeclareOk())


def check_declaration(session: "Session", kind: str, name: str, linked: str, arguments: Table) -> None:
    """What is new and names another exchange reads itself and writes there."""
    vhost, access = vhost_of(session), access_of(session)
    access.check(CONFIGURE, kind, name)
    exchange = arguments.get(linked)
    if isinstance(exchange, str) and name not in (vhost.queues if kind == QUEUE else vhost.declared_exchanges):
        access.check(READ, kind, name)
        access.check(WRITE, EXCHANGE, exchange)


def exchange_delete(session: "Session", channel: Channel, method: ExchangeDelete) -> None:
    if method.exchange and method.exchange not in PREDECLARED:
        # Of those nobody may delete the reason is another one.
        access_of(session).check(CONFIGURE, EXCHANGE, method.exchange)
    vhost_of(session).delete_exchange(method.exchange, if_unused=method.if_unused)
    answer(session, channel, method, ExchangeDeleteOk())


def exchange_bind(session: "Session", channel: Channel, method: ExchangeBind) -> None:
    check_binding(session, EXCHANGE, method.destination, method.source, method.routing_key)
    vhost_of(session).bind_exchange(method.destination, method.source, method.routing_key, method.arguments)
    answer(session, channel, method, ExchangeBindOk())


def exchange_unbind(session: "Session", channel: Channel, method: ExchangeUnbind) -> None:
    check_binding(session, EXCHANGE, method.destination, method.source, method.routing_key)
    vhost_of(session).unbind_exchange(method.destination, method.source, method.routing_key, method.arguments)
    answer(session, channel, method, ExchangeUnbindOk())


# ------------------------------------------------------------------------------------------------------------ queue


def queue_declare(session: "Session", channel: Channel, method: QueueDeclare) -> None:
    vhost = vhost_of(session)
    if method.queue.startswith(REPLY_TO):
        reply_queue_declare(session, channel, method)
        return
    if method.passive:
        declared = named_queue(session, channel, method.queue)
    else:
        name = without_line_breaks(method.queue) or server_named()
        if method.queue:
            vhost.check_not_reserved_queue(name)
        check_declaration(session, QUEUE, name, DEAD_LETTER_EXCHANGE, method.arguments)
        existing = vhost.existing_queue(name)
        kind = vhost.default_queue_type
        if kind != CLASSIC and existing is not None:  # the default may have been another one when it was declared
            kind = existing.settings.queue_type
        if method.exclusive and is_taken_over(session, channel, method, existing):
            return
        durable, exclusive, auto_delete = method.durable, method.exclusive, method.auto_delete
        declared = vhost.declare_queue(
            name,
            session,
            named_by_server=not method.queue,
            durable=durable,
            exclusive=exclusive,
            auto_delete=auto_delete,
            arguments=with_type(method.arguments, kind, durable=durable, exclusive=exclusive, auto_delete=auto_delete),
        )
    session.last_queues[channel.number] = declared.name
    count = min(declared.queue.message_count, MESSAGE_COUNT_MAX)
    answer(session, channel, method, QueueDeclareOk(declared.name, count, declared.queue.consumer_count))


def is_taken_over(session: "Session", channel: Channel, method: QueueDeclare, existing: DeclaredQueue | None) -> bool:
    """The same client's former connection may hold it and be dead: then it is declared once that is known."""
    if existing is None or existing.owner is None or existing.owner is session:
        return False

    def ended(is_gone: bool) -> None:
        try:
            if not is_gone:
                raise existing.locked()
            queue_declare(session, channel, method)
        except Exception as error:
            session.failed(channel.number, method.CLASS_ID, method.METHOD_ID, error)

    return free_if_dead(session, cast("Session", existing.owner), ended)


def reply_queue_declare(session: "Session", channel: Channel, method: QueueDeclare) -> None:
    """Declaring the name that a direct reply goes to tells whether whoever asked still listens."""
    vhost = vhost_of(session)
    if method.queue != REPLY_TO and octets(method.queue) not in vhost.reply_channels:
        raise NotFound(f"no queue '{method.queue}' in vhost '{vhost.name}'")
    answer(session, channel, method, QueueDeclareOk(method.queue, 0, 1))


def check_binding(session: "Session", kind: str, destination: str, source: str, key: str) -> None:
    """Also to unbind."""
    vhost, access = vhost_of(session), access_of(session)
    access.check(WRITE, kind, destination)
    vhost.check_default_untouched(source, *([destination] if kind == EXCHANGE else []))
    access.check(READ, EXCHANGE, source)
    exchange = vhost.declared_exchanges.get(source)
    if exchange is not None and exchange.exchange.type == "topic":
        access.check_topic(READ, source, key)


def queue_bind(session: "Session", channel: Channel, method: QueueBind) -> None:
    name = queue_name(session, channel, method.queue)
    # RabbitMQ's reading of an empty queue name with an empty key: the name is the key too.
    key = method.routing_key if method.queue or method.routing_key else name
    check_binding(session, QUEUE, name, method.exchange, key)
    declared = vhost_of(session).queue(name, session)
    vhost_of(session).bind_queue(declared, method.exchange, key, method.arguments)
    answer(session, channel, method, QueueBindOk())


def queue_unbind(session: "Session", channel: Channel, method: QueueUnbind) -> None:
    name = queue_name(session, channel, method.queue)
    vhost = vhost_of(session)
    key = method.routing_key if method.queue or method.routing_key else name
    check_binding(session, QUEUE, name, method.exchange, key)
    if vhost.existing_queue(name) is not None:
        declared = vhost.queue(name, session)
        vhost.unbind_queue(declared, method.exchange, key, method.arguments)
    answer(session, channel, method, QueueUnbindOk())


def queue_purge(session: "Session", channel: Channel, method: QueuePurge) -> None:
    declared = readable_queue(session, channel, method.queue)
    dropped = declared.queue.purge()
    reply = None if method.nowait else QueuePurgeOk(min(dropped, MESSAGE_COUNT_MAX))
    store = session.node.store
    commit = store.journal.settlements_commit() if store is not None and declared.durable else 0
    if commit:
        session.send_when_committed(commit, channel.number, reply)
    elif reply is not None:
        session.send(channel.number, reply)


def queue_delete(session: "Session", channel: Channel, method: QueueDelete) -> None:
    vhost = vhost_of(session)
    name = queue_name(session, channel, method.queue)
    access_of(session).check(CONFIGURE, QUEUE, name)
    dropped = 0
    if vhost.existing_queue(name) is not None:
        declared = vhost.queue(name, session)
        declared.check_deletable(if_unused=method.if_unused, if_empty=method.if_empty)
        dropped = vhost.delete_queue(declared)
    answer(session, channel, method, QueueDeleteOk(min(dropped, MESSAGE_COUNT_MAX)))


HANDLERS: dict[type[Method], Callable[["Session", Channel, Any], None]] = {
    ExchangeDeclare: exchange_declare,
    ExchangeDelete: exchange_delete,
    ExchangeBind: exchange_bind,
    ExchangeUnbind: exchange_unbind,
    QueueDeclare: queue_declare,
    QueueBind: queue_bind,
    QueueUnbind: queue_unbind,
    QueuePurge: queue_purge,
    QueueDelete: queue_delete,
}
