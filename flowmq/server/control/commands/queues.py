"""queue.*: what there is, and what is done to a queue as a whole."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import msgspec

from flowmq._channel import Channel
from flowmq._queue import Consumer
from flowmq._tally import queue_counts, sequences, was_active
from flowmq.amqp.methods import QueueDeclare, QueueDelete, QueuePurge
from flowmq.broker.queues import DeclaredQueue
from flowmq.server.control.inner import InnerClient
from flowmq.server.control.listing import Listing, listed
from flowmq.server.control.registry import SKIPPED, Arguments, command, not_found
from flowmq.server.control.values import table
from flowmq.server.control.views import CONSUMER_VIEW, QUEUE_VIEW, InVHost, RunningConsumer

if TYPE_CHECKING:
    from flowmq.server.node import Node

LOOKED_AT_A_TIME = 200


class QueueName(Arguments, kw_only=True):
    name: str
    vhost: str = "/"


class OnBehalf(Arguments):
    """`user` None is the operator."""

    user: str | None = None


def queue_named(node: "Node", vhost: str, name: str) -> InVHost:
    host = node.broker.vhosts.get(vhost)
    declared = None if host is None else host.queues.get(name)
    if host is None or declared is None:
        raise not_found(f"no queue '{name}' in vhost '{vhost}'")
    return InVHost(host, declared)


def queues_of(node: "Node", vhosts: list[str] | None) -> Iterator[InVHost]:
    """As they are when it begins, without those that are deleted meanwhile."""
    for name, host in list(node.broker.vhosts.items()):
        if vhosts is None or name in vhosts:
            for declared in list(host.queues.values()):
                if not declared.queue.deleted:
                    yield InVHost(host, declared)


@command("queue.list", Listing)
def list_queues(node: "Node", asked: Listing) -> Iterator[Any]:
    """Queues, a page of them or all."""
    return listed(queues_of(node, asked.vhosts), QUEUE_VIEW, asked, lambda found: found.declared.name)


def consumers_of(found: InVHost) -> list[Consumer]:
    """But for those whose channel has ended, which are about to leave."""
    return [one for one in found.declared.queue.consumers if isinstance(one.outlet, Channel) and not one.outlet.closing]


@command("queue.show", QueueName)
def show_queue(node: "Node", asked: QueueName) -> dict[str, Any]:
    """One queue, with its consumers."""
    found = queue_named(node, asked.vhost, asked.name)
    row = {name: column(found) for name, column in QUEUE_VIEW.items()}
    consumers = [RunningConsumer(found.vhost, found.declared, one) for one in consumers_of(found)]
    row["consumer_details"] = [{name: column(one) for name, column in CONSUMER_VIEW.items()} for one in consumers]
    return row


@command("queue.activity")
def activity(node: "Node", asked: Arguments) -> Iterator[Any]:
    """The counters of the queues where something happened since this was asked last, for the one who samples.

    A row is [vhost, name, counters, sequence number of the oldest message, next sequence number].
    """
    for at, found in enumerate(queues_of(node, None)):
        if was_active(found.declared.queue):
            queue = found.declared.queue
            yield [found.vhost.name, found.declared.name, queue_counts(queue), *sequences(queue)]
        elif at % LOOKED_AT_A_TIME == 0:
            yield SKIPPED


class Declare(OnBehalf, kw_only=True):
    name: str
    vhost: str = "/"
    durable: bool = True
    auto_delete: bool = False
    arguments: dict[str, Any] = msgspec.field(default_factory=dict)


@command("queue.declare", Declare)
async def declare(node: "Node", asked: Declare) -> dict[str, Any]:
    """Declare a queue; says whether it is a new one."""
    host = node.broker.vhosts.get(asked.vhost)
    existed = host is not None and asked.name in host.queues
    method = QueueDeclare(
        queue=asked.name,
        durable=asked.durable,
        auto_delete=asked.auto_delete,
        arguments=table(asked.arguments),
    )
    async with InnerClient(node, asked.vhost, asked.user) as client:
        answer = await client.call(method)
    return {"name": answer.method.queue, "created": not existed}


class Delete(OnBehalf, kw_only=True):
    name: str
    vhost: str = "/"
    if_empty: bool = False
    if_unused: bool = False


@command("queue.delete", Delete)
async def delete(node: "Node", asked: Delete) -> dict[str, int]:
    """Delete a queue and its messages."""
    found = queue_named(node, asked.vhost, asked.name)
    if asked.user is None:
        # An operator's hand reaches exclusive queues too.
        found.declared.check_deletable(if_unused=asked.if_unused, if_empty=asked.if_empty)
        return {"messages": found.vhost.delete_queue(found.declared)}
    async with InnerClient(node, asked.vhost, asked.user) as client:
        answer = await client.call(QueueDelete(asked.name, asked.if_unused, asked.if_empty))
    return {"messages": answer.method.message_count}


class Purge(OnBehalf, kw_only=True):
    name: str
    vhost: str = "/"


@command("queue.purge", Purge)
async def purge(node: "Node", asked: Purge) -> dict[str, int]:
    """Drop every ready message of a queue."""
    if asked.user is None:
        return {"messages": queue_named(node, asked.vhost, asked.name).declared.queue.purge()}
    async with InnerClient(node, asked.vhost, asked.user) as client:
        answer = await client.call(QueuePurge(asked.name))
    return {"messages": answer.method.message_count}


@command("queue.pause", QueueName)
def pause(node: "Node", asked: QueueName) -> None:
    """Consumers of the queue get nothing until it is resumed, or the broker is started anew."""
    queue_named(node, asked.vhost, asked.name).declared.queue.pause()


@command("queue.resume", QueueName)
def resume(node: "Node", asked: QueueName) -> None:
    """Consumers of a paused queue get messages again."""
    queue_named(node, asked.vhost, asked.name).declared.queue.resume()


class Refusals(Arguments):
    vhosts: list[str] | None = None


@command("queue.refusals", Refusals)
def refusals(node: "Node", asked: Refusals) -> Iterator[Any]:
    """Why publishes were refused: by queue, exchange and reason."""
    for at, found in enumerate(queues_of(node, asked.vhosts)):
        declared: DeclaredQueue = found.declared
        if at % LOOKED_AT_A_TIME == 0:
            yield SKIPPED
        for (exchange, reason), count in (declared.queue.refusals or {}).items():
            yield {
                "vhost": found.vhost.name,
                "queue": declared.name,
                "exchange": exchange.decode("utf-8", "surrogateescape"),
                "reason": reason,
                "count": count,
            }


class Consumers(Listing):
    queue: str | None = None


@command("consumer.list", Consumers)
def list_consumers(node: "Node", asked: Consumers) -> Iterator[Any]:
    """Consumers, of all queues or of one."""

    def running() -> Iterator[Any]:
        for found in queues_of(node, asked.vhosts):
            if asked.queue is None or found.declared.name == asked.queue:
                for consumer in consumers_of(found):
                    yield RunningConsumer(found.vhost, found.declared, consumer)

    return listed(running(), CONSUMER_VIEW, asked, lambda found: found.consumer.tag.decode("utf-8", "surrogateescape"))
