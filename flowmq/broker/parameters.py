"""Runtime parameters, by component, virtual host and name: shovels; and those of the whole broker, by name.

A shovel is checked before it is taken. Upstreams of federations come with people's definitions only: they are kept and
told again, and do nothing. Parameters of the whole broker mean nothing here either, they are a place where programs
keep what they like, as in RabbitMQ.

    journal     {"value": the value, "user": who has set it, or null: an operator}
"""

from collections.abc import Callable, Iterator
from typing import Any

from flowmq.broker.definition_entries import DefinitionError, check_name, check_texts
from flowmq.broker.definitions import Definitions
from flowmq.broker.shovels import SHOVEL, ShovelError, check_hosts, read_shovel

PARAMETER, GLOBAL_PARAMETER = "parameter", "global-parameter"
CLUSTER_NAME, CLUSTER_NAME_CHARACTERS_MAX = "cluster_name", 255  # a global parameter that has an effect; what is shown
# Those of other plugins are refused: nobody here could say what they are for.
KEPT_COMPONENTS = ("federation-upstream", "federation-upstream-set")
RECORDED = {"value", "user"}


class ParameterError(ValueError):
    """A parameter that cannot be; the message is one line that says why, without passwords."""


def nothing_happens(vhost: str, component: str, name: str) -> None:
    """For a broker without a server, as in tests."""


def nothing_is_missing() -> str:
    return ""


class Parameters:
    def __init__(self, definitions: Definitions) -> None:
        self.definitions = definitions
        self.by_name: dict[tuple[str, str, str], Any] = {}  # virtual host, component, name
        self.users: dict[tuple[str, str, str], str | None] = {}  # who has set it; None: an operator
        self.globals: dict[str, Any] = {}
        self.changed: Callable[[str, str, str], None] = nothing_happens  # is told of every one
        self.shovel_hosts: list[str] = ["*"]  # where they may connect to
        self.shovels_need: Callable[[], str] = nothing_is_missing  # what is missing for them, in words

    @property
    def cluster_name(self) -> str:
        """What monitoring and clients are told; empty when nobody has set it."""
        given = self.globals.get(CLUSTER_NAME)
        return given[:CLUSTER_NAME_CHARACTERS_MAX] if isinstance(given, str) else ""

    def check(self, component: str, name: str, value: Any) -> None:
        """ParameterError when it cannot be set, or imported."""
        check_component(component)
        check_value("parameter", name, value)
        if component == SHOVEL:
            try:
                check_hosts(read_shovel(value), self.shovel_hosts)
            except ShovelError as error:
                raise ParameterError(str(error)) from error
            if missing := self.shovels_need():
                raise ParameterError(missing)

    def set(self, vhost: str, component: str, name: str, value: Any, user: str | None = None) -> None:
        self.check(component, name, value)
        self.definitions.put(PARAMETER, (vhost, component, name), {"value": value, "user": user})
        self.by_name[vhost, component, name], self.users[vhost, component, name] = value, user
        self.changed(vhost, component, name)

    def clear(self, vhost: str, component: str, name: str) -> bool:
        """False when there was none."""
        if (vhost, component, name) not in self.by_name:
            return False
        del self.by_name[vhost, component, name], self.users[vhost, component, name]
        self.definitions.delete(PARAMETER, (vhost, component, name))
        self.changed(vhost, component, name)
        return True

    def set_global(self, name: str, value: Any) -> None:
        check_value("global parameter", name, value)
        self.definitions.put(GLOBAL_PARAMETER, (name,), value)
        self.globals[name] = value

    def clear_global(self, name: str) -> bool:
        if name not in self.globals:
            return False
        del self.globals[name]
        self.definitions.delete(GLOBAL_PARAMETER, (name,))
        return True

    def of_vhost(self, vhost: str) -> Iterator[tuple[str, str, Any]]:
        """Component, name, value."""
        for (of, component, name), value in list(self.by_name.items()):
            if of == vhost:
                yield component, name, value

    def shovels(self) -> Iterator[tuple[str, str, Any]]:
        """Virtual host, name, value."""
        for (vhost, component, name), value in list(self.by_name.items()):
            if component == SHOVEL:
                yield vhost, name, value

    def vhost_deleted(self, vhost: str) -> None:
        for component, name, _ in list(self.of_vhost(vhost)):
            self.clear(vhost, component, name)

    # --------------------------------------------------------------------------------------- after a restart

    def restore(self, vhost: str, component: str, name: str, value: Any) -> None:
        recorded = value if isinstance(value, dict) and value.keys() == RECORDED else {"value": value, "user": None}
        self.by_name[vhost, component, name] = recorded["value"]
        self.users[vhost, component, name] = recorded["user"]

    def restore_global(self, name: str, value: Any) -> None:
        self.globals[name] = value


def check_component(component: str) -> None:
    if component not in (SHOVEL, *KEPT_COMPONENTS):
        raise ParameterError(f"parameters of the component '{component}' are not supported")


def check_settable(component: str) -> None:
    """By itself, and not as part of definitions."""
    if component != SHOVEL:
        raise ParameterError(f"parameters of the component '{component}' are not supported: only '{SHOVEL}' is")


def check_value(kind: str, name: str, value: Any) -> None:
    try:
        check_name(kind, name)
        check_texts(value)
    except (DefinitionError, RecursionError) as error:
        raise ParameterError(str(error) or "the value is nested too deeply") from error
    if value is None:
        raise ParameterError("the value must not be null")
