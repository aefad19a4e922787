"""Entries of definitions: policies of both kinds, parameters."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, ClassVar, Self

from flowmq.broker.definition_entries import (
    VHOSTS,
    Coming,
    Entry,
    Key,
    pairs,
)
from flowmq.broker.parameters import CLUSTER_NAME, KEPT_COMPONENTS, check_value
from flowmq.broker.policies import OPERATOR_POLICY, POLICY, Policy
from flowmq.broker.policy_keys import keys_without_effect

if TYPE_CHECKING:
    from flowmq.broker.broker import Broker

OPERATOR_POLICY_COMPONENT = "operator_policy"


class PolicyEntry(Entry, rename={"apply_to": "apply-to"}):
    SECTION: ClassVar[str] = "policies"
    KIND: ClassVar[str] = POLICY
    OPERATOR: ClassVar[bool] = False

    vhost: str
    name: str
    pattern: str
    definition: Any
    apply_to: str = "all"
    priority: int = 0

    def __post_init__(self) -> None:
        self.definition = pairs(self.definition)

    @property
    def key(self) -> Key:
        return (self.SECTION, self.vhost, self.name)

    @property
    def where(self) -> str:
        return f"{self.KIND.replace('-', ' ')} '{self.name}' in vhost '{self.vhost}'"

    @property
    def policy(self) -> Policy:
        return Policy(
            self.name,
            self.pattern,
            self.definition,
            vhost=self.vhost,
            apply_to=self.apply_to,
            priority=self.priority,
            operator=self.OPERATOR,
        )

    def needs(self) -> Iterator[Key]:
        yield VHOSTS, self.vhost

    def check(self, broker: "Broker", coming: Coming) -> None:
        self.policy  # noqa: B018 - it is checked by being made

    def fixed(self, broker: "Broker") -> str | None:
        vhost = broker.vhosts.get(self.vhost)
        is_fixed = vhost is not None and self.name in vhost.policies.sets[self.KIND].configured
        return "it is set by the configuration file" if is_fixed else None

    def found(self, broker: "Broker") -> Self | None:
        vhost = broker.vhosts.get(self.vhost)
        known = None if vhost is None else vhost.policies.sets[self.KIND].stored.get(self.name)
        return None if known is None else self.of(known)

    @classmethod
    def of(cls, policy: Policy) -> Self:
        return cls(
            vhost=policy.vhost,
            name=policy.name,
            pattern=policy.pattern,
            definition=dict(policy.definition),
            apply_to=policy.apply_to,
            priority=policy.priority,
        )

    def warnings(self) -> list[str]:
        names = keys_without_effect(self.definition)
        return [f"without effect here: {', '.join(names)}"] if names else []

    def apply(self, broker: "Broker") -> None:
        broker.existing_vhost(self.vhost).policies.set(self.policy)

    def remove(self, broker: "Broker") -> None:
        broker.existing_vhost(self.vhost).policies.delete(self.name, self.KIND)


class OperatorPolicyEntry(PolicyEntry):
    SECTION: ClassVar[str] = "operator_policies"
    KIND: ClassVar[str] = OPERATOR_POLICY
    OPERATOR: ClassVar[bool] = True

    def as_entry(self, *, with_vhost: bool = True) -> dict[str, Any]:
        """Among the parameters, where RabbitMQ has it."""
        value = super().as_entry(with_vhost=with_vhost)
        named: dict[str, Any] = {name: value.pop(name) for name in ("vhost", "name") if name in value}
        return {**named, "component": OPERATOR_POLICY_COMPONENT, "value": value}


class ParameterEntry(Entry):
    SECTION: ClassVar[str] = "parameters"
    KIND: ClassVar[str] = "parameter"

    vhost: str
    component: str
    name: str
    value: Any

    @property
    def key(self) -> Key:
        return (self.SECTION, self.vhost, self.component, self.name)

    @property
    def where(self) -> str:
        return f"{self.component} '{self.name}' in vhost '{self.vhost}'"

    def needs(self) -> Iterator[Key]:
        yield VHOSTS, self.vhost

    def check(self, broker: "Broker", coming: Coming) -> None:
        broker.parameters.check(self.component, self.name, self.value)

    def found(self, broker: "Broker") -> Self | None:
        values = broker.parameters.by_name
        name = (self.vhost, self.component, self.name)
        if name not in values:
            return None
        return type(self)(vhost=self.vhost, component=self.component, name=self.name, value=values[name])

    def warnings(self) -> list[str]:
        return [f"kept, and without effect here: {self.component}"] if self.component in KEPT_COMPONENTS else []

    def apply(self, broker: "Broker") -> None:
        broker.existing_vhost(self.vhost)
        broker.parameters.set(self.vhost, self.component, self.name, self.value)

    def remove(self, broker: "Broker") -> None:
        broker.parameters.clear(self.vhost, self.component, self.name)


class GlobalParameterEntry(Entry):
    SECTION: ClassVar[str] = "global_parameters"
    KIND: ClassVar[str] = "global parameter"

    name: str
    value: Any

    @property
    def key(self) -> Key:
        return (self.SECTION, self.name)

    @property
    def where(self) -> str:
        return f"global parameter '{self.name}'"

    def check(self, broker: "Broker", coming: Coming) -> None:
        check_value(self.KIND, self.name, self.value)

    def found(self, broker: "Broker") -> Self | None:
        values = broker.parameters.globals
        return type(self)(name=self.name, value=values[self.name]) if self.name in values else None

    def warnings(self) -> list[str]:
        return [] if self.name == CLUSTER_NAME else ["kept, and without effect here"]

    def apply(self, broker: "Broker") -> None:
        broker.parameters.set_global(self.name, self.value)

    def remove(self, broker: "Broker") -> None:
        broker.parameters.clear_global(self.name)
