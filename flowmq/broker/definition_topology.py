"""Entries of definitions: exchanges, queues and bindings. What exists cannot be changed, only be the same."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, ClassVar, Self

import msgspec

from flowmq.amqp.errors import PreconditionFailed
from flowmq.amqp.tables import Table, decode_table
from flowmq.broker.arguments import (
    QUEUE_TYPE,
    canonical,
    check_exchange_arguments,
    check_queue_arguments,
    check_queue_type,
    queue_type,
)
from flowmq.broker.definition_entries import (
    EXCHANGES,
    QUEUES,
    VHOSTS,
    Coming,
    DefinitionError,
    Entry,
    Key,
    as_table,
    check_name,
    pairs,
    plain,
)
from flowmq.broker.exchanges import (
    BINDING_CHECKS,
    EXCHANGE_TYPES,
    PREDECLARED,
    DeclaredExchange,
    new_exchange,
    routing_type,
)
from flowmq.broker.names import RESERVED_PREFIX, octets
from flowmq.broker.queues import DeclaredQueue
from flowmq.broker.settings import CLASSIC

if TYPE_CHECKING:
    from flowmq._queue import Queue
    from flowmq._router import Exchange
    from flowmq.broker.broker import Broker

QUEUE, EXCHANGE = "queue", "exchange"


class ExchangeEntry(Entry):
    SECTION: ClassVar[str] = EXCHANGES
    KIND: ClassVar[str] = "exchange"

    name: str
    vhost: str
    type: str = "direct"
    durable: bool = True
    auto_delete: bool = False
    internal: bool = False
    arguments: Any = msgspec.field(default_factory=dict)

    def __post_init__(self) -> None:
        self.arguments = pairs(self.arguments)

    @property
    def key(self) -> Key:
        return (EXCHANGES, self.vhost, self.name)

    @property
    def where(self) -> str:
        return f"exchange '{self.name}' in vhost '{self.vhost}'"

    def needs(self) -> Iterator[Key]:
        yield VHOSTS, self.vhost

    def check(self, broker: "Broker", coming: Coming) -> None:
        check_name(self.KIND, self.name)
        table = as_table(self.arguments)
        if self.type not in EXCHANGE_TYPES:
            raise PreconditionFailed(f"unknown exchange type '{self.type}'")
        if self.name.startswith(RESERVED_PREFIX) and self.name not in PREDECLARED:
            raise DefinitionError(f"exchange name '{self.name}' contains reserved prefix 'amq.*'")
        check_exchange_arguments(self.where, table)
        new_exchange(self.vhost, self.name, self.type, self.internal, table)

    def found(self, broker: "Broker") -> Self | None:
        vhost = broker.vhosts.get(self.vhost)
        declared = None if vhost is None else vhost.declared_exchanges.get(self.name)
        if declared is None:
            return None
        declared.check_equivalent(
            self.vhost,
            type=self.type,
            durable=self.durable,
            auto_delete=self.auto_delete,
            internal=self.internal,
            arguments=as_table(self.arguments),
        )
        return self

    @classmethod
    def of(cls, vhost: str, declared: DeclaredExchange) -> Self:
        return cls(
            name=declared.name,
            vhost=vhost,
            type=declared.type,
            durable=declared.durable,
            auto_delete=declared.auto_delete,
            internal=declared.internal,
            arguments=plain(declared.arguments),
        )

    def apply(self, broker: "Broker") -> None:
        broker.existing_vhost(self.vhost).declare_exchange(
            self.name,
            self.type,
            durable=self.durable,
            auto_delete=self.auto_delete,
            internal=self.internal,
            arguments=as_table(self.arguments),
        )

    def remove(self, broker: "Broker") -> None:
        broker.existing_vhost(self.vhost).delete_exchange(self.name)


class QueueEntry(Entry):
    SECTION: ClassVar[str] = QUEUES
    KIND: ClassVar[str] = "queue"

    name: str
    vhost: str
    durable: bool = True
    auto_delete: bool = False
    arguments: Any = msgspec.field(default_factory=dict)
    type: str = ""  # as in the arguments, where it counts

    def __post_init__(self) -> None:
        self.arguments = pairs(self.arguments)
        if self.type and self.type != CLASSIC and QUEUE_TYPE not in self.arguments:
            self.arguments = {**self.arguments, QUEUE_TYPE: self.type}
        self.type = str(self.arguments.get(QUEUE_TYPE, CLASSIC))

    @property
    def key(self) -> Key:
        return (QUEUES, self.vhost, self.name)

    @property
    def where(self) -> str:
        return f"queue '{self.name}' in vhost '{self.vhost}'"

    def needs(self) -> Iterator[Key]:
        yield VHOSTS, self.vhost

    def check(self, broker: "Broker", coming: Coming) -> None:
        check_name(self.KIND, self.name)
        table = as_table(self.arguments)
        check_queue_arguments(self.where, table)
        check_queue_type(
            self.where, queue_type(table), durable=self.durable, exclusive=False, auto_delete=self.auto_delete
        )

    def found(self, broker: "Broker") -> Self | None:
        declared = self._declared(broker)
        if declared is None:
            return None
        declared.check_equivalent(
            durable=self.durable,
            exclusive=False,
            auto_delete=self.auto_delete,
            arguments=as_table(self.arguments),
        )
        return self

    def _declared(self, broker: "Broker") -> DeclaredQueue | None:
        vhost = broker.vhosts.get(self.vhost)
        return None if vhost is None else vhost.queues.get(self.name)

    @classmethod
    def of(cls, declared: DeclaredQueue) -> Self:
        return cls(
            name=declared.name,
            vhost=declared.vhost_name,
            durable=declared.durable,
            auto_delete=declared.auto_delete,
            arguments=plain(declared.arguments),
        )

    def apply(self, broker: "Broker") -> None:
        """Also one whose name a broker had given: it may come back under it."""
        if self.found(broker) is None:
            vhost = broker.existing_vhost(self.vhost)
            vhost.add_queue(vhost.make_queue(self.name, self.durable, self.auto_delete, as_table(self.arguments)))

    def remove(self, broker: "Broker") -> None:
        declared = self._declared(broker)
        if declared is not None:
            broker.vhosts[self.vhost].delete_queue(declared)

    def take_back(self, broker: "Broker") -> None:
        """Not what somebody uses already."""
        declared = self._declared(broker)
        if declared is not None and (declared.queue.published_count or declared.queue.consumer_count):
            raise DefinitionError(f"{self.where} is in use by now, and stays")
        self.remove(broker)


class BindingEntry(Entry):
    SECTION: ClassVar[str] = "bindings"
    KIND: ClassVar[str] = "binding"
    IGNORED: ClassVar[tuple[str, ...]] = ("properties_key",)

    source: str
    vhost: str
    destination: str
    destination_type: str = QUEUE
    routing_key: str = ""
    arguments: Any = msgspec.field(default_factory=dict)
    properties_key: str | None = None

    def __post_init__(self) -> None:
        self.arguments = pairs(self.arguments)

    @property
    def key(self) -> Key:
        match = canonical(self.table) if self.arguments else b""
        return (self.SECTION, self.vhost, self.source, self.destination_type, self.destination, self.routing_key, match)

    @property
    def where(self) -> str:
        return (
            f"binding from exchange '{self.source}' to {self.destination_type} '{self.destination}' "
            f"with key '{self.routing_key}' in vhost '{self.vhost}'"
        )

    @property
    def table(self) -> Table:
        return as_table(self.arguments)

    def needs(self) -> Iterator[Key]:
        yield VHOSTS, self.vhost
        yield EXCHANGES, self.vhost, self.source
        if self.destination_type in (QUEUE, EXCHANGE):
            yield QUEUES if self.destination_type == QUEUE else EXCHANGES, self.vhost, self.destination

    def check(self, broker: "Broker", coming: Coming) -> None:
        if self.destination_type not in (QUEUE, EXCHANGE):
            raise DefinitionError(f"destination_type: '{self.destination_type}' is neither queue nor exchange")
        if not self.source or (not self.destination and self.destination_type == EXCHANGE):
            raise DefinitionError("the default exchange cannot be bound")
        check_name("routing key", self.routing_key, empty=True)
        table = self.table
        vhost = broker.vhosts.get(self.vhost)
        source: Any = coming.get((EXCHANGES, self.vhost, self.source))
        if source is None and vhost is not None:
            source = vhost.declared_exchanges.get(self.source)
        kind = None if source is None else routing_type(source.type, as_table(source.arguments))
        if kind in BINDING_CHECKS:
            BINDING_CHECKS[kind](self.routing_key, table)

    def found(self, broker: "Broker") -> Self | None:
        vhost = broker.vhosts.get(self.vhost)
        source = None if vhost is None else vhost.declared_exchanges.get(self.source)
        target = self._target(broker)
        if source is None or target is None:
            return None
        match = canonical(self.table) if self.arguments else b""
        return self if source.exchange.is_bound(target, octets(self.routing_key), match) else None

    def _target(self, broker: "Broker") -> "Queue | Exchange | None":
        vhost = broker.vhosts.get(self.vhost)
        if vhost is None:
            return None
        if self.destination_type == QUEUE:
            queue = vhost.queues.get(self.destination)
            return None if queue is None else queue.queue
        exchange = vhost.declared_exchanges.get(self.destination)
        return None if exchange is None else exchange.exchange

    @classmethod
    def of(cls, vhost: str, source: str, kind: str, destination: str, key: str, match: bytes) -> Self:
        arguments = plain(decode_table(match)) if match else {}
        return cls(
            source=source,
            vhost=vhost,
            destination=destination,
            destination_type=kind,
            routing_key=key,
            arguments=arguments,
        )

    def apply(self, broker: "Broker") -> None:
        vhost = broker.existing_vhost(self.vhost)
        if self.destination_type == EXCHANGE:
            vhost.bind_exchange(self.destination, self.source, self.routing_key, self.table)
            return
        queue = vhost.queue(self.destination, None)
        vhost.bind_queue(queue, self.source, self.routing_key, self.table)

    def remove(self, broker: "Broker") -> None:
        vhost = broker.existing_vhost(self.vhost)
        if self.destination_type == EXCHANGE:
            vhost.unbind_exchange(self.destination, self.source, self.routing_key, self.table)
        elif self.destination in vhost.queues:
            vhost.unbind_queue(vhost.queues[self.destination], self.source, self.routing_key, self.table)
