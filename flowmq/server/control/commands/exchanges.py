"""exchange.* and binding.*: where messages go."""

from collections.abc import Iterator
from itertools import chain
from typing import TYPE_CHECKING, Any

import msgspec

from flowmq._queue import Queue
from flowmq._tally import exchange_counts
from flowmq.amqp.methods import (
    ExchangeBind,
    ExchangeDeclare,
    ExchangeDelete,
    ExchangeUnbind,
    QueueBind,
    QueueUnbind,
)
from flowmq.amqp.tables import decode_table
from flowmq.broker.exchanges import EXCHANGE_TYPES
from flowmq.broker.names import text
from flowmq.broker.vhost import VHost
from flowmq.server.control.commands.queues import OnBehalf
from flowmq.server.control.inner import InnerClient
from flowmq.server.control.listing import Listing, listed
from flowmq.server.control.registry import Arguments, Nothing, bad_request, command, not_found
from flowmq.server.control.values import table
from flowmq.server.control.views import BINDING_VIEW, EXCHANGE_VIEW, Binding, InVHost, properties_key

if TYPE_CHECKING:
    from flowmq.server.node import Node

QUEUE, EXCHANGE = "queue", "exchange"


class ExchangeName(Arguments, kw_only=True):
    name: str
    vhost: str = "/"


def exchange_named(node: "Node", vhost: str, name: str) -> InVHost:
    host = node.broker.vhosts.get(vhost)
    declared = None if host is None else host.declared_exchanges.get(name)
    if host is None or declared is None:
        raise not_found(f"no exchange '{name}' in vhost '{vhost}'")
    return InVHost(host, declared)


def hosts_of(node: "Node", vhosts: list[str] | None) -> list[VHost]:
    return [host for name, host in node.broker.vhosts.items() if vhosts is None or name in vhosts]


def exchanges_of(node: "Node", vhosts: list[str] | None) -> Iterator[InVHost]:
    for host in hosts_of(node, vhosts):
        for declared in list(host.declared_exchanges.values()):
            if not declared.exchange.deleted:
                yield InVHost(host, declared)


@command("exchange.list", Listing)
def list_exchanges(node: "Node", asked: Listing) -> Iterator[Any]:
    """Exchanges, a page of them or all."""
    return listed(exchanges_of(node, asked.vhosts), EXCHANGE_VIEW, asked, lambda found: found.declared.name)


@command("exchange.show", ExchangeName)
def show_exchange(node: "Node", asked: ExchangeName) -> dict[str, Any]:
    """One exchange."""
    found = exchange_named(node, asked.vhost, asked.name)
    return {name: column(found) for name, column in EXCHANGE_VIEW.items()}


@command("exchange.types", Nothing)
def exchange_types(node: "Node", asked: Nothing) -> Iterator[Any]:
    """The types an exchange may have."""
    for name in EXCHANGE_TYPES:
        yield {"name": name, "description": f"FlowMQ's exchange type {name}", "enabled": True}


@command("exchange.activity")
def activity(node: "Node", asked: Arguments) -> Iterator[Any]:
    """The counters of exchanges that were used at all, for the one who samples: [vhost, name, counters]."""
    for found in exchanges_of(node, None):
        if found.declared.exchange.published_count:
            yield [found.vhost.name, found.declared.name, exchange_counts(found.declared.exchange)]


class Declare(OnBehalf, kw_only=True):
    name: str
    vhost: str = "/"
    type: str = "direct"
    durable: bool = True
    auto_delete: bool = False
    internal: bool = False
    arguments: dict[str, Any] = msgspec.field(default_factory=dict)


@command("exchange.declare", Declare)
async def declare(node: "Node", asked: Declare) -> dict[str, Any]:
    """Declare an exchange; says whether it is a new one."""
    host = node.broker.vhosts.get(asked.vhost)
    existed = host is not None and asked.name in host.declared_exchanges
    method = ExchangeDeclare(
        exchange=asked.name,
        type=asked.type,
        durable=asked.durable,
        auto_delete=asked.auto_delete,
        internal=asked.internal,
        arguments=table(asked.arguments),
    )
    async with InnerClient(node, asked.vhost, asked.user) as client:
        await client.call(method)
    return {"created": not existed}


class Delete(OnBehalf, kw_only=True):
    name: str
    vhost: str = "/"
    if_unused: bool = False


@command("exchange.delete", Delete)
async def delete(node: "Node", asked: Delete) -> None:
    """Delete an exchange and the bindings from and to it."""
    exchange_named(node, asked.vhost, asked.name)
    async with InnerClient(node, asked.vhost, asked.user) as client:
        await client.call(ExchangeDelete(asked.name, asked.if_unused))


# ---------------------------------------------------------------------------------------------------------- bindings


class Bindings(Listing):
    """Of everything, or of what is named."""

    source: str | None = None
    destination: str | None = None
    destination_type: str = ""


def bindings_of(host: VHost, asked: Bindings) -> Iterator[Binding]:
    sources = list(host.declared_exchanges.values())
    if asked.source is not None:
        sources = [declared for declared in sources if declared.name == asked.source]
    for declared in sources:
        for target in targets_of(host, declared.exchange, asked):
            kind = QUEUE if isinstance(target, Queue) else EXCHANGE
            name = text(target.name)
            for key, match in declared.exchange.bindings_to(target):
                yield Binding(host.name, declared.name, name, kind, text(key), match)


def targets_of(host: VHost, exchange: Any, asked: Bindings) -> list[Any]:
    """The one that is asked for, without a look at all the others."""
    if asked.destination is None:
        return list(exchange.targets())
    found: list[Any] = []
    queue = host.queues.get(asked.destination)
    other = host.declared_exchanges.get(asked.destination)
    if queue is not None and asked.destination_type != EXCHANGE:
        found.append(queue.queue)
    if other is not None and asked.destination_type != QUEUE:
        found.append(other.exchange)
    return found


def bindings_of_nothing(node: "Node", asked: Bindings) -> Iterator[Binding]:
    """A queue that is not there has the binding that one of its name would have: RabbitMQ does not look.

    Who asks for the bindings of queue after queue of a list counts on it, since one may have gone meanwhile: Datadog's
    check takes an error here for a broker that is down.
    """
    if asked.source is None and asked.destination is not None and asked.destination_type == QUEUE:
        for host in hosts_of(node, asked.vhosts):
            if asked.destination not in host.queues:
                yield Binding(host.name, "", asked.destination, QUEUE, asked.destination, b"")


@command("binding.list", Bindings)
def list_bindings(node: "Node", asked: Bindings) -> Iterator[Any]:
    """Bindings, those of the default exchange to every queue included. Nobody looks whether what is named is there."""
    found = (binding for host in hosts_of(node, asked.vhosts) for binding in bindings_of(host, asked))
    return listed(
        chain(found, bindings_of_nothing(node, asked)), BINDING_VIEW, asked, lambda binding: binding.destination
    )


class Bind(OnBehalf, kw_only=True):
    source: str
    destination: str
    destination_type: str = QUEUE
    vhost: str = "/"
    routing_key: str = ""
    arguments: dict[str, Any] = msgspec.field(default_factory=dict)


@command("binding.add", Bind)
async def bind(node: "Node", asked: Bind) -> dict[str, str]:
    """Bind a queue or an exchange to an exchange; says what names the binding from now on."""
    kind = {QUEUE: QueueBind, EXCHANGE: ExchangeBind}.get(asked.destination_type)
    if kind is None:
        raise bad_request(f"destination_type: {asked.destination_type!r} is neither queue nor exchange")
    arguments = table(asked.arguments)
    async with InnerClient(node, asked.vhost, asked.user) as client:
        if kind is QueueBind:
            await client.call(QueueBind(asked.destination, asked.source, asked.routing_key, arguments=arguments))
        else:
            await client.call(ExchangeBind(asked.destination, asked.source, asked.routing_key, arguments=arguments))
    host = node.broker.vhosts[asked.vhost]
    wanted = Bindings(source=asked.source, destination=asked.destination, destination_type=asked.destination_type)
    made = (one for one in bindings_of(host, wanted) if one.key == asked.routing_key)
    same = (one for one in made if decode_table(one.match) == arguments)
    return {"properties_key": next((properties_key(one) for one in same), "~")}


class Unbind(OnBehalf, kw_only=True):
    """By the name of the binding."""

    source: str
    destination: str
    properties_key: str
    destination_type: str = QUEUE
    vhost: str = "/"


def plain_key(binding: Binding) -> str | None:
    """What clients of RabbitMQ's API may write as well: the routing key as it is."""
    return None if binding.match or not binding.key or "~" in binding.key else binding.key


def binding_named(node: "Node", asked: Unbind) -> Binding:
    host = node.broker.vhosts.get(asked.vhost)
    wanted = Bindings(source=asked.source, destination=asked.destination, destination_type=asked.destination_type)
    for binding in bindings_of(host, wanted) if host is not None else ():
        if asked.properties_key in (properties_key(binding), plain_key(binding)):
            return binding
    raise not_found(f"no such binding from '{asked.source}' to '{asked.destination}' in vhost '{asked.vhost}'")


@command("binding.show", Unbind)
def show_binding(node: "Node", asked: Unbind) -> dict[str, Any]:
    """One binding."""
    binding = binding_named(node, asked)
    return {name: column(binding) for name, column in BINDING_VIEW.items()}


@command("binding.delete", Unbind)
async def unbind(node: "Node", asked: Unbind) -> None:
    """Delete one binding."""
    binding = binding_named(node, asked)
    arguments = decode_table(binding.match)
    async with InnerClient(node, asked.vhost, asked.user) as client:
        if binding.kind == QUEUE:
            await client.call(QueueUnbind(binding.destination, binding.source, binding.key, arguments))
        else:
            await client.call(ExchangeUnbind(binding.destination, binding.source, binding.key, arguments=arguments))
