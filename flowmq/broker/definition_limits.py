"""Limits in definitions: those of a virtual host are a parameter in RabbitMQ's form, those of a user part of it."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, ClassVar, Self

from flowmq.broker.definition_entries import VHOSTS, Coming, Entry, Key, pairs
from flowmq.broker.limits import VHOST_LIMITS, Limits, Values

if TYPE_CHECKING:
    from flowmq.broker.broker import Broker

LIMIT_COMPONENT = "vhost-limits"
NAME = "limits"


def check_limits(kind: str, values: dict[str, Any]) -> None:
    """By setting them where they count for nobody."""
    tried = Limits()
    for name, value in values.items():
        tried.set(kind, "", name, value)


def set_limits(limits: Limits, kind: str, owner: str, values: Values) -> None:
    """These in place of all others."""
    for name in [name for name in limits.all(kind).get(owner, {}) if name not in values]:
        limits.clear(kind, owner, name)
    for name, value in values.items():
        limits.set(kind, owner, name, value)


class VHostLimitsEntry(Entry):
    SECTION: ClassVar[str] = "vhost_limits"
    KIND: ClassVar[str] = "limits of a vhost"

    vhost: str
    value: Any
    name: str = NAME

    def __post_init__(self) -> None:
        self.value = pairs(self.value)

    @property
    def key(self) -> Key:
        return (self.SECTION, self.vhost)

    @property
    def where(self) -> str:
        return f"limits of vhost '{self.vhost}'"

    def needs(self) -> Iterator[Key]:
        yield VHOSTS, self.vhost

    def check(self, broker: "Broker", coming: Coming) -> None:
        check_limits(VHOST_LIMITS, self.value)

    def found(self, broker: "Broker") -> Self | None:
        values = broker.limits.all(VHOST_LIMITS).get(self.vhost)
        # None at all is what no entry and one without values both say.
        return type(self)(vhost=self.vhost, value=values or {}) if values or not self.value else None

    def differs(self, found: Self) -> list[str]:
        return [] if self.value == found.value else [NAME]

    def apply(self, broker: "Broker") -> None:
        broker.existing_vhost(self.vhost)
        set_limits(broker.limits, VHOST_LIMITS, self.vhost, self.value)

    def remove(self, broker: "Broker") -> None:
        broker.limits.clear(VHOST_LIMITS, self.vhost)

    def as_entry(self, *, with_vhost: bool = True) -> dict[str, Any]:
        """Among the parameters, where RabbitMQ has it."""
        where = {"vhost": self.vhost} if with_vhost else {}
        return {**where, "component": LIMIT_COMPONENT, "name": NAME, "value": self.value}
