"""parameter.*: runtime parameters that came with definitions. They are kept and told; nothing here acts on them."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from flowmq.server.control.commands.exchanges import hosts_of
from flowmq.server.control.commands.policies import host_named
from flowmq.server.control.registry import Arguments, Nothing, command, not_found

if TYPE_CHECKING:
    from flowmq.server.node import Node


class Listed(Arguments):
    vhosts: list[str] | None = None
    component: str | None = None


class ParameterName(Arguments):
    component: str
    name: str
    vhost: str = "/"


class GlobalName(Arguments):
    name: str


@command("parameter.list", Listed)
def list_parameters(node: "Node", asked: Listed) -> Iterator[Any]:
    """Parameters of virtual hosts, all or those of one component."""
    for host in hosts_of(node, asked.vhosts):
        for component, name, value in node.broker.parameters.of_vhost(host.name):
            if asked.component in (None, component):
                yield {"vhost": host.name, "component": component, "name": name, "value": value}


@command("parameter.show", ParameterName)
def show_parameter(node: "Node", asked: ParameterName) -> dict[str, Any]:
    """One parameter."""
    host_named(node, asked.vhost)
    key = (asked.vhost, asked.component, asked.name)
    if key not in node.broker.parameters.by_name:
        raise no_such(asked)
    return {
        "vhost": asked.vhost,
        "component": asked.component,
        "name": asked.name,
        "value": node.broker.parameters.by_name[key],
    }


@command("parameter.delete", ParameterName)
def delete_parameter(node: "Node", asked: ParameterName) -> None:
    """Delete a parameter."""
    host_named(node, asked.vhost)
    if not node.broker.parameters.clear(asked.vhost, asked.component, asked.name):
        raise no_such(asked)


def no_such(asked: ParameterName) -> Exception:
    return not_found(f"no parameter '{asked.name}' of the component '{asked.component}' in vhost '{asked.vhost}'")


@command("global_parameter.list", Nothing)
def list_global_parameters(node: "Node", asked: Nothing) -> Iterator[Any]:
    """Parameters of the whole broker."""
    for name, value in list(node.broker.parameters.globals.items()):
        yield {"name": name, "value": value}


@command("global_parameter.show", GlobalName)
def show_global_parameter(node: "Node", asked: GlobalName) -> dict[str, Any]:
    """One parameter of the whole broker."""
    if asked.name not in node.broker.parameters.globals:
        raise not_found(f"no global parameter '{asked.name}'")
    return {"name": asked.name, "value": node.broker.parameters.globals[asked.name]}


@command("global_parameter.delete", GlobalName)
def delete_global_parameter(node: "Node", asked: GlobalName) -> None:
    """Delete a parameter of the whole broker."""
    if not node.broker.parameters.clear_global(asked.name):
        raise not_found(f"no global parameter '{asked.name}'")
