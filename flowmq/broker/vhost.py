"""A virtual host: the names of exchanges and queues, and what is bound to what.

All rules about declaring, binding and deleting are here. Who asks, and how an answer looks, is the server's; `owner`
is whoever an exclusive queue belongs to, compared by identity only.
"""

import logging
from collections.abc import Callable, Iterator

from flowmq._order import told_ms
from flowmq._queue import Consumer, Queue
from flowmq._router import DefaultExchange, Exchange
from flowmq._tally import ExchangeTally, QueueTally
from flowmq.amqp.errors import AccessRefused, NotFound, PreconditionFailed
from flowmq.amqp.tables import Table
from flowmq.broker.alternates import Alternates
from flowmq.broker.arguments import (
    canonical,
    check_exchange_arguments,
    check_queue_arguments,
    check_queue_type,
    queue_type,
)
from flowmq.broker.definitions import EXCHANGE, QUEUE, Definitions
from flowmq.broker.exchanges import BINDING_CHECKS, EXCHANGE_TYPES, PREDECLARED, DeclaredExchange, new_exchange
from flowmq.broker.leases import Leases
from flowmq.broker.limits import Limits
from flowmq.broker.memories import Memories
from flowmq.broker.names import RESERVED_PREFIX, octets, server_named, text, without_line_breaks
from flowmq.broker.owners import Owners
from flowmq.broker.queues import DeclaredQueue, forget_source
from flowmq.broker.rules import VHostRules
from flowmq.broker.settings import CLASSIC, ExchangeSettings, queue_settings
from flowmq.broker.steps import all_at_once, attempt, begin_at_once
from flowmq.broker.vhost_policies import VHostPolicies

REPLY_TO = "amq.rabbitmq.reply-to"
NO_ARGUMENTS = Table()  # of every queue that was declared without any
log = logging.getLogger("flowmq")


def no_one_to_tell(consumer: Consumer) -> None:
    """For a broker without a server, as in tests."""


class VHost:
    """`consumer_cancelled` is told of every consumer that loses its queue; `begin` has work done step by step."""

    def __init__(
        self,
        name: str,
        consumer_cancelled: Callable[[Consumer], None] = no_one_to_tell,
        definitions: Definitions | None = None,
        limits: Limits | None = None,
        begin: Callable[[Iterator[None]], None] = all_at_once,
    ) -> None:
        self.name = name
        self.limits = limits or Limits()
        self.description, self.default_queue_type = "", CLASSIC
        self.tags: tuple[str, ...] = ()
        self.definitions = definitions or Definitions()
        self.consumer_cancelled = consumer_cancelled
        self.exchanges: dict[bytes, Exchange] = {}  # what channels publish to
        self.reply_channels: dict[bytes, object] = {}  # routing key -> Channel that waits for direct replies
        self.declared_exchanges: dict[str, DeclaredExchange] = {}
        self.alternates = Alternates()
        self.queues: dict[str, DeclaredQueue] = {}
        self.begin = begin
        self.policies = VHostPolicies(self, begin)
        self.rules = VHostRules(self)
        self.settings_changed = self.rules.settings_changed  # made once for all queues
        self.leases = Leases()
        self.owners = Owners()
        self.memories = Memories(name, self.definitions)
        # What those counted that are not there any more.
        self.queues_gone, self.exchanges_gone = QueueTally(), ExchangeTally()
        self.queues_declared = self.queues_created = self.queues_deleted = 0
        self.default_exchange = DefaultExchange()
        self._add_exchange(DeclaredExchange("", self.default_exchange, "direct"))
        for exchange_name, kind in PREDECLARED.items():
            self._add_exchange(DeclaredExchange(exchange_name, Exchange(octets(exchange_name), kind), kind))

    # ------------------------------------------------------------------------------------------------ exchanges

    def exchange(self, name: str) -> DeclaredExchange:
        declared = self.declared_exchanges.get(name)
        if declared is None:
            raise NotFound(f"no exchange '{name}' in vhost '{self.name}'")
        return declared

    def declare_exchange(
        self,
        name: str,
        type: str,
        *,
        durable: bool = False,
        auto_delete: bool = False,
        internal: bool = False,
        arguments: Table | None = None,
    ) -> DeclaredExchange:
        name = without_line_breaks(name)
        arguments = Table() if arguments is None else arguments
        self._check_not_default(name)
        if type not in EXCHANGE_TYPES:
            raise PreconditionFailed(f"unknown exchange type '{type}'")
        existing = self.declared_exchanges.get(name)
        if existing is not None:
            existing.check_equivalent(
                self.name, type=type, durable=durable, auto_delete=auto_delete, internal=internal, arguments=arguments
            )
            return existing
        self._check_not_reserved("exchange", name)
        check_exchange_arguments(f"exchange '{name}' in vhost '{self.name}'", arguments)
        exchange = new_exchange(self.name, name, type, internal, arguments)
        if durable:
            self.definitions.exchange_declared(
                self.name, name, type=type, auto_delete=auto_delete, internal=internal, arguments=arguments
            )
        return self._add_exchange(DeclaredExchange(name, exchange, type, durable, auto_delete, internal, arguments))

    def delete_exchange(self, name: str, *, if_unused: bool = False) -> None:
        """Deleting what does not exist is fine."""
        self._check_not_default(name)
        if name in PREDECLARED:
            raise AccessRefused(f"deletion of system exchange '{name}' in vhost '{self.name}' not allowed")
        declared = self.declared_exchanges.get(name)
        if declared is None:
            return
        if if_unused and declared.exchange.binding_count:
            raise PreconditionFailed(f"exchange '{name}' in vhost '{self.name}' in use")
        self.remove_exchange(declared)

    def check_default_untouched(self, *names: str) -> None:
        """The default exchange is bound to every queue and to nothing else, for ever."""
        for name in names:
            self._check_not_default(name)

    def _add_exchange(self, declared: DeclaredExchange) -> DeclaredExchange:
        self.declared_exchanges[declared.name] = declared
        self.exchanges[octets(declared.name)] = declared.exchange
        self.memories.equip(declared, self.rules.letter_lost)
        self.apply_to_exchange(declared, self.policies.exchange_settings(declared.name, declared.arguments))
        self._link_alternates_to(declared)
        return declared

    def apply_to_exchange(self, declared: DeclaredExchange, settings: ExchangeSettings) -> None:
        self.alternates.forget(declared)
        declared.apply(settings)
        self.alternates.note(declared)
        name = declared.alternate_name
        alternate = None if name is None else self.declared_exchanges.get(name)
        declared.exchange.alternate = None if alternate is None else alternate.exchange
        declared.exchange.deduplicate(
            self.memories.seen_before(EXCHANGE, declared.name, settings, durable=declared.durable)
        )

    def _link_alternates_to(self, added: DeclaredExchange) -> None:
        """An alternate exchange may be declared after those that name it, or anew."""
        for other in self.alternates.of(added.name):
            other.exchange.alternate = added.exchange

    def remove_exchange(self, declared: DeclaredExchange) -> None:
        """Auto-delete exchanges that lose their last binding by it go too, and so on: chains can be long."""
        going = [declared]
        while going:
            exchange = going.pop()
            if self.declared_exchanges.get(exchange.name) is exchange:
                going.extend(source for source in self._unlink_exchange(exchange) if source.is_left_over)

    def _unlink_exchange(self, declared: DeclaredExchange) -> list[DeclaredExchange]:
        """Take one exchange out of everything; returns those that had bindings to it."""
        del self.declared_exchanges[declared.name]
        del self.exchanges[octets(declared.name)]
        begin_at_once(forget_source(self.queues, declared, declared.exchange.targets()), self.begin)
        # Some have it as their alternate only, and one of them may be it.
        upstream = [self.declared_exchanges.get(text(source.name)) for source in declared.exchange.sources()]
        sources = [source for source in upstream if source and source.exchange.has_target(declared.exchange)]
        for source in sources:
            begin_at_once(source.exchange.let_go(declared.exchange), self.begin)
        self.alternates.forget(declared)
        for other in self.alternates.of(declared.name):
            other.exchange.alternate = None
        begin_at_once(declared.exchange.delete(), self.begin)
        self.exchanges_gone.add(declared.exchange)
        self.memories.forget(EXCHANGE, declared.name)
        if declared.durable:
            self.definitions.exchange_deleted(self.name, declared.name)
        return sources

    def check_not_reserved_queue(self, name: str) -> None:
        """One that is there already may have such a name."""
        if name not in self.queues:
            self._check_not_reserved("queue", name)

    def _check_not_default(self, name: str) -> None:
        if not name:
            raise AccessRefused("operation not permitted on the default exchange")

    def _check_not_reserved(self, kind: str, name: str) -> None:
        if name.startswith(RESERVED_PREFIX):
            raise AccessRefused(f"{kind} name '{name}' contains reserved prefix 'amq.*'")

    # --------------------------------------------------------------------------------------------------- queues

    def queue(self, name: str, owner: object) -> DeclaredQueue:
        """A queue that `owner` may use."""
        declared = self.existing_queue(name)
        if declared is None:
            raise NotFound(f"no queue '{name}' in vhost '{self.name}'")
        declared.check_access(owner)
        return declared

    def existing_queue(self, name: str) -> DeclaredQueue | None:
        """One that its owner has left behind goes now."""
        declared = self.queues.get(name)
        if declared is not None and self.owners.has_left(declared):
            self.delete_queue(declared)
            return None
        return declared

    def declare_queue(
        self,
        name: str,
        owner: object,
        *,
        named_by_server: bool = False,
        durable: bool = False,
        exclusive: bool = False,
        auto_delete: bool = False,
        arguments: Table | None = None,
    ) -> DeclaredQueue:
        name = without_line_breaks(name)
        arguments = Table() if arguments is None else arguments
        self.queues_declared += 1
        existing = self.existing_queue(name)
        if existing is not None:
            existing.check_access(owner)
            existing.check_equivalent(
                durable=durable, exclusive=exclusive, auto_delete=auto_delete, arguments=arguments
            )
            self.leases.used(existing, told_ms())
            return existing
        if name and not named_by_server:
            self._check_not_reserved("queue", name)
        name = name or server_named()
        self.limits.check_queue(self.name, name, len(self.queues))
        if arguments:
            where, kind = f"queue '{name}' in vhost '{self.name}'", queue_type(arguments)
            check_queue_arguments(where, arguments)
            check_queue_type(where, kind, durable=durable, exclusive=exclusive, auto_delete=auto_delete)
        declared = self.make_queue(name, durable and not exclusive, auto_delete, arguments)
        if exclusive:
            self.owners.begin(declared, owner)
        return self.add_queue(declared)

    def add_queue(self, declared: DeclaredQueue) -> DeclaredQueue:
        """One that has not been there."""
        if declared.durable:
            self.definitions.queue_declared(
                self.name,
                declared.name,
                declared.queue,
                auto_delete=declared.auto_delete,
                arguments=declared.arguments,
            )
        else:
            self.definitions.queue_in_memory(declared.queue)
        return self._add_queue(declared)

    def make_queue(self, name: str, durable: bool, auto_delete: bool, arguments: Table) -> DeclaredQueue:
        settings = queue_settings(arguments, None, None)
        queue = Queue(octets(name), priority_max=settings.max_priority, single_active=settings.single_active_consumer)
        return DeclaredQueue(
            name,
            queue,
            self.name,
            durable,
            auto_delete,
            None,
            arguments or NO_ARGUMENTS,
            settings_changed=self.settings_changed,
        )

    def _add_queue(self, declared: DeclaredQueue) -> DeclaredQueue:
        self.queues[declared.name] = declared
        self.queues_created += 1
        self.default_exchange.add(declared.queue)
        declared.apply(self.policies.queue_settings(declared.name, declared.arguments))
        return declared

    def delete_queue(self, declared: DeclaredQueue) -> int:
        """Returns how many ready messages went with it."""
        del self.queues[declared.name]
        self.default_exchange.remove(declared.queue)
        sources = list(declared.sources)
        for source in sources:
            begin_at_once(source.exchange.let_go(declared.queue), self.begin)
        dropped = declared.queue.delete()
        self.queues_gone.keep(declared.queue)
        self.queues_deleted += 1
        self.leases.end(declared)
        self.owners.end(declared)
        self.memories.forget(QUEUE, declared.name)
        if declared.durable:
            self.definitions.queue_deleted(self.name, declared.name)
        for consumer in declared.queue.consumers:
            self.consumer_cancelled(consumer)
        for source in sources:
            if source.is_left_over:
                self.remove_exchange(source)
        return dropped

    def consumer_left(self, queue: Queue) -> None:
        """An auto-delete queue goes when its last consumer goes."""
        declared = self.queues.get(text(queue.name))
        if declared is None or declared.queue is not queue or queue.consumer_count:
            return
        if declared.auto_delete:
            self.delete_queue(declared)
        else:
            self.leases.used(declared, told_ms())

    def delete_unused(self, now_ms: int) -> None:
        """Queues with x-expires that nobody has used for as long as that."""
        for declared in self.leases.over(now_ms):
            log.info("%s expired: nobody has used it for %d ms", declared.where, declared.settings.expires_ms)
            attempt(declared.where, self.delete_queue, declared)

    def owner_left(self, owner: object) -> None:
        begin_at_once(self.owners.leave(owner, self.delete_queue), self.begin)

    # ------------------------------------------------------------------------------------------------- bindings

    def bind_queue(self, queue: DeclaredQueue, exchange_name: str, key: str, arguments: Table) -> None:
        self._check_not_default(exchange_name)
        source = self.exchange(exchange_name)
        is_new = self._bind(source, queue.queue, key, arguments)
        if is_new:
            self.memories.repeat(source, queue.queue)
        if is_new and source.durable and queue.durable:
            self.definitions.bound(self.name, source.name, QUEUE, queue.name, key, canonical(arguments))
        queue.sources |= {source}

    def unbind_queue(self, queue: DeclaredQueue, exchange_name: str, key: str, arguments: Table) -> None:
        """Unbinding what is not bound is fine."""
        self._check_not_default(exchange_name)
        source = self.declared_exchanges.get(exchange_name)
        if source is None:
            return
        if source.durable and queue.durable:
            self.definitions.unbound(self.name, source.name, QUEUE, queue.name, key, canonical(arguments))
        self._unbind(source, queue.queue, key, arguments)
        if not source.exchange.has_target(queue.queue):
            queue.sources -= {source}

    def bind_exchange(self, destination: str, source: str, key: str, arguments: Table) -> None:
        self.check_default_untouched(source, destination)
        origin, target = self.exchange(source), self.exchange(destination)
        is_new = self._bind(origin, target.exchange, key, arguments)
        if is_new:
            self.memories.repeat(origin, target.exchange)
        if is_new and origin.durable and target.durable:
            self.definitions.bound(self.name, source, EXCHANGE, destination, key, canonical(arguments))

    def unbind_exchange(self, destination: str, source: str, key: str, arguments: Table) -> None:
        self.check_default_untouched(source, destination)
        origin, target = self.declared_exchanges.get(source), self.declared_exchanges.get(destination)
        if origin is None or target is None:
            return
        if origin.durable and target.durable:
            self.definitions.unbound(self.name, source, EXCHANGE, destination, key, canonical(arguments))
        self._unbind(origin, target.exchange, key, arguments)

    def _bind(self, source: DeclaredExchange, target: Queue | Exchange, key: str, arguments: Table) -> bool:
        if source.exchange.type in BINDING_CHECKS:
            BINDING_CHECKS[source.exchange.type](key, arguments)
        return source.exchange.bind(target, octets(key), canonical(arguments))

    def _unbind(self, source: DeclaredExchange, target: Queue | Exchange, key: str, arguments: Table) -> None:
        if source.exchange.unbind(target, octets(key), canonical(arguments)) and source.is_left_over:
            self.remove_exchange(source)

    # ------------------------------------------------------------------------------------------- after a restart

    def restore_exchange(self, name: str, type: str, auto_delete: bool, internal: bool, arguments: Table) -> None:
        exchange = new_exchange(self.name, name, type, internal, arguments)
        self._add_exchange(DeclaredExchange(name, exchange, type, True, auto_delete, internal, arguments))

    def restore_queue(self, name: str, auto_delete: bool, arguments: Table) -> DeclaredQueue:
        declared = self.make_queue(name, True, auto_delete, arguments)
        return self._add_queue(declared)

    def restore_binding(self, source: str, kind: str, destination: str, key: str, arguments: Table) -> None:
        origin = self.exchange(source)
        if kind == EXCHANGE:
            self._bind(origin, self.exchange(destination).exchange, key, arguments)
            return
        queue = self.queues[destination]
        self._bind(origin, queue.queue, key, arguments)
        queue.sources |= {origin}
