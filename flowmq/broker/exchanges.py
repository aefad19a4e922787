"""Exchanges as they were declared. Where their messages go is in flowmq._router."""

from collections.abc import Callable
from dataclasses import dataclass, field

from flowmq._router import Exchange
from flowmq.amqp.errors import PreconditionFailed
from flowmq.amqp.tables import Table
from flowmq.broker.arguments import EXCHANGE_ARGUMENTS, check_equivalent, check_headers_match
from flowmq.broker.hashing import check_weight, consistent_hash_options
from flowmq.broker.names import octets
from flowmq.broker.settings import PLAIN_EXCHANGE, ExchangeSettings


def no_options(where: str, arguments: Table) -> dict[str, str]:
    return {}


# What the table of bindings is told of the arguments an exchange is declared with; bad ones are refused.
ROUTING_TYPES: dict[str, Callable[[str, Table], dict[str, str]]] = {
    "direct": no_options,
    "fanout": no_options,
    "topic": no_options,
    "headers": no_options,
    "x-consistent-hash": consistent_hash_options,
    "x-modulus-hash": no_options,
    "x-random": no_options,
    "x-local-random": no_options,
}
# What is asked of a binding, by the routing type of its source: its key and its arguments.
BINDING_CHECKS: dict[str, Callable[[str, Table], None]] = {
    "headers": lambda key, arguments: check_headers_match(arguments),
    "x-consistent-hash": lambda key, arguments: check_weight(key),
}
DELAYED_MESSAGE, RECENT_HISTORY = "x-delayed-message", "x-recent-history"
EXCHANGE_TYPES = (*ROUTING_TYPES, DELAYED_MESSAGE, RECENT_HISTORY)
DELAYED_TYPE, HISTORY_LENGTH = "x-delayed-type", "x-recent-history-length"
PREDECLARED = {
    "amq.direct": "direct",
    "amq.fanout": "fanout",
    "amq.topic": "topic",
    "amq.headers": "headers",
    "amq.match": "headers",
}


def new_exchange(vhost_name: str, name: str, type: str, internal: bool, arguments: Table) -> Exchange:
    kind = routing_type(type, arguments)
    options = ROUTING_TYPES[kind](f"exchange '{name}' in vhost '{vhost_name}'", arguments)
    return Exchange(octets(name), kind, internal=internal, table_options=options)


@dataclass(slots=True, eq=False)
class DeclaredExchange:
    name: str
    exchange: Exchange
    type: str
    durable: bool = True
    auto_delete: bool = False
    internal: bool = False
    arguments: Table = field(default_factory=Table)
    had_bindings: bool = False
    settings: ExchangeSettings = PLAIN_EXCHANGE

    @property
    def alternate_name(self) -> str | None:
        return self.settings.alternate_exchange

    @property
    def is_left_over(self) -> bool:
        """Does it go now that a binding from it has gone?"""
        return self.auto_delete and not self.exchange.binding_count

    def apply(self, settings: ExchangeSettings) -> None:
        """From now on do what these say, which is what its arguments and policies add up to."""
        self.settings = settings

    def check_equivalent(
        self, vhost_name: str, *, type: str, durable: bool, auto_delete: bool, internal: bool, arguments: Table
    ) -> None:
        """A declaration of what exists must say the same."""
        where = f"exchange '{self.name}' in vhost '{vhost_name}'"
        if type != self.type:
            raise PreconditionFailed(
                f"inequivalent arg 'type' for {where}: received '{type}' but current is '{self.type}'"
            )
        received = {"durable": durable, "auto_delete": auto_delete, "internal": internal}
        for name, value in received.items():
            check_flag(where, name, value, getattr(self, name))
        check_equivalent(where, EXCHANGE_ARGUMENTS, self.arguments, arguments)


def routing_type(type: str, arguments: Table) -> str:
    """By which type's rules an exchange finds its queues."""
    if type == RECENT_HISTORY:
        return "fanout"
    if type != DELAYED_MESSAGE:
        return type
    delayed_type = arguments.get(DELAYED_TYPE)
    if not isinstance(delayed_type, str) or delayed_type not in ROUTING_TYPES:
        raise PreconditionFailed(f"Invalid argument, '{DELAYED_TYPE}' must be an existing exchange type")
    return delayed_type


def check_flag(where: str, name: str, received: bool, current: bool) -> None:
    if received != current:
        raise PreconditionFailed(
            f"inequivalent arg '{name}' for {where}: "
            f"received '{str(received).lower()}' but current is '{str(current).lower()}'"
        )
