"""Exchanges as they were declared. Where their messages go is in flowmq._router."""

from dataclasses import dataclass, field

from flowmq._router import Exchange
from flowmq.amqp.errors import PreconditionFailed
from flowmq.amqp.tables import Table
from flowmq.broker.arguments import EXCHANGE_ARGUMENTS, check_equivalent
from flowmq.broker.settings import PLAIN_EXCHANGE, ExchangeSettings

EXCHANGE_TYPES = ("direct", "fanout", "topic", "headers")
PREDECLARED = {
    "amq.direct": "direct",
    "amq.fanout": "fanout",
    "amq.topic": "topic",
    "amq.headers": "headers",
    "amq.match": "headers",
}


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


def check_flag(where: str, name: str, received: bool, current: bool) -> None:
    if received != current:
        raise PreconditionFailed(
            f"inequivalent arg '{name}' for {where}: "
            f"received '{str(received).lower()}' but current is '{str(current).lower()}'"
        )
