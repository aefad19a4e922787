"""Exchanges as they were declared. Where their messages go is in flowmq._router."""

from collections.abc import Callable
from dataclasses import dataclass, field

from flowmq._router import Exchange
from flowmq.amqp.errors import PreconditionFailed
from flowmq.amqp.tables import Table
from flowmq.broker.arguments import check_equivalent, check_headers_match
from flowmq.broker.hashing import check_weight, consistent_hash_options
from flowmq.broker.names import octets


def no_options(where: str, arguments: Table) -> dict[str, str]:
    return {}


# What the table of bindings is told of the arguments an exchange is declared with; bad ones are refused.
EXCHANGE_TYPES: dict[str, Callable[[str, Table], dict[str, str]]] = {
    "direct": no_options,
    "fanout": no_options,
    "topic": no_options,
    "headers": no_options,
    "x-consistent-hash": consistent_hash_options,
    "x-modulus-hash": no_options,
    "x-random": no_options,
    "x-local-random": no_options,
}
# What is asked of a binding, by the type of its source: its key and its arguments.
BINDING_CHECKS: dict[str, Callable[[str, Table], None]] = {
    "headers": lambda key, arguments: check_headers_match(arguments),
    "x-consistent-hash": lambda key, arguments: check_weight(key),
}
ALTERNATE_EXCHANGE = "alternate-exchange"
PREDECLARED = {
    "amq.direct": "direct",
    "amq.fanout": "fanout",
    "amq.topic": "topic",
    "amq.headers": "headers",
    "amq.match": "headers",
}


def new_exchange(vhost_name: str, name: str, type: str, internal: bool, arguments: Table) -> Exchange:
    options = EXCHANGE_TYPES[type](f"exchange '{name}' in vhost '{vhost_name}'", arguments)
    return Exchange(octets(name), type, internal=internal, table_options=options)


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

    @property
    def alternate_name(self) -> str | None:
        name = self.arguments.get(ALTERNATE_EXCHANGE)
        return name if isinstance(name, str) else None

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
        check_equivalent(where, (ALTERNATE_EXCHANGE,), self.arguments, arguments)


def check_flag(where: str, name: str, received: bool, current: bool) -> None:
    if received != current:
        raise PreconditionFailed(
            f"inequivalent arg '{name}' for {where}: "
            f"received '{str(received).lower()}' but current is '{str(current).lower()}'"
        )
