"""Runtime parameters: what RabbitMQ's definitions say to plugins and about clusters, by component, vhost and name.

Nothing here acts on them. They are kept, and told again, because they come with people who move here.
"""

from collections.abc import Iterator
from typing import Any

from flowmq.broker.definitions import Definitions

PARAMETER, GLOBAL_PARAMETER = "parameter", "global-parameter"
# Those of other plugins are refused: nobody here could say what they are for.
COMPONENTS = ("shovel", "federation-upstream", "federation-upstream-set")


class ParameterError(ValueError):
    """A parameter that cannot be; the message is one line that says why."""


class Parameters:
    def __init__(self, definitions: Definitions) -> None:
        self.definitions = definitions
        self.by_name: dict[tuple[str, str, str], Any] = {}  # virtual host, component, name
        self.globals: dict[str, Any] = {}

    def set(self, vhost: str, component: str, name: str, value: Any) -> None:
        check_component(component)
        self.definitions.put(PARAMETER, (vhost, component, name), value)
        self.by_name[vhost, component, name] = value

    def clear(self, vhost: str, component: str, name: str) -> bool:
        """False when there was none."""
        if (vhost, component, name) not in self.by_name:
            return False
        del self.by_name[vhost, component, name]
        self.definitions.delete(PARAMETER, (vhost, component, name))
        return True

    def set_global(self, name: str, value: Any) -> None:
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

    def vhost_deleted(self, vhost: str) -> None:
        for component, name, _ in list(self.of_vhost(vhost)):
            self.clear(vhost, component, name)

    # --------------------------------------------------------------------------------------- after a restart

    def restore(self, vhost: str, component: str, name: str, value: Any) -> None:
        self.by_name[vhost, component, name] = value

    def restore_global(self, name: str, value: Any) -> None:
        self.globals[name] = value


def check_component(component: str) -> None:
    if component not in COMPONENTS:
        raise ParameterError(f"parameters of the component '{component}' are not supported")
