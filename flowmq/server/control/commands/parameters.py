"""parameter.* and global_parameter.*: runtime parameters. Listings show them without passwords."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from flowmq.broker.parameters import ParameterError, check_settable
from flowmq.broker.shovels import ShovelError, read_shovel, shown
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


class ShowParameter(ParameterName, kw_only=True):
    with_passwords: bool = False  # who asks may export them anyway


class SetParameter(ParameterName, kw_only=True):
    value: Any
    user: str | None = None  # who asks; None: an operator
    is_kept: bool = True  # a user of the broker; others are what their token says


class GlobalName(Arguments):
    name: str


class SetGlobal(GlobalName, kw_only=True):
    value: Any


def row(vhost: str, component: str, name: str, value: Any) -> dict[str, Any]:
    return {"vhost": vhost, "component": component, "name": name, "value": shown(value)}


@command("parameter.list", Listed)
def list_parameters(node: "Node", asked: Listed) -> Iterator[Any]:
    """Parameters of virtual hosts, all or those of one component."""
    for host in hosts_of(node, asked.vhosts):
        for component, name, value in node.broker.parameters.of_vhost(host.name):
            if asked.component in (None, component):
                yield row(host.name, component, name, value)


@command("parameter.show", ShowParameter)
def show_parameter(node: "Node", asked: ShowParameter) -> dict[str, Any]:
    """One parameter."""
    host_named(node, asked.vhost)
    key = (asked.vhost, asked.component, asked.name)
    if key not in node.broker.parameters.by_name:
        raise no_such(asked)
    value = node.broker.parameters.by_name[key]
    return {**row(*key, value), "value": value} if asked.with_passwords else row(*key, value)


@command("parameter.set", SetParameter)
def set_parameter(node: "Node", asked: SetParameter) -> dict[str, bool]:
    """Set a parameter; says whether it is a new one."""
    host_named(node, asked.vhost)
    check_settable(asked.component)
    if asked.user is not None:
        check_may_enter(node, asked.user, asked.value, is_kept=asked.is_kept)
    parameters = node.broker.parameters
    existed = (asked.vhost, asked.component, asked.name) in parameters.by_name
    parameters.set(asked.vhost, asked.component, asked.name, asked.value, asked.user)
    return {"created": not existed}


def check_may_enter(node: "Node", name: str, value: Any, *, is_kept: bool) -> None:
    """Where its URIs are of this broker, a shovel may do what the user may who has set it."""
    try:
        vhosts = read_shovel(value).vhosts_here
    except ShovelError as error:
        raise ParameterError(str(error)) from error
    # Somebody else may have the name that a token gives.
    user = node.broker.users.by_name.get(name) if is_kept else None
    for vhost in sorted(vhosts):
        if user is None:
            raise ParameterError(
                f"user '{name}' is not kept by this broker, so that a URI without a host cannot be entered as them: "
                "give one with host, user and password"
            )
        if vhost not in node.broker.vhosts or user.permission(vhost) is None:
            raise ParameterError(f'user "{name}" may not connect to vhost "{vhost}"')


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


@command("global_parameter.set", SetGlobal)
def set_global_parameter(node: "Node", asked: SetGlobal) -> dict[str, bool]:
    """Set a parameter of the whole broker; says whether it is a new one."""
    existed = asked.name in node.broker.parameters.globals
    node.broker.parameters.set_global(asked.name, asked.value)
    return {"created": not existed}


@command("global_parameter.delete", GlobalName)
def delete_global_parameter(node: "Node", asked: GlobalName) -> None:
    """Delete a parameter of the whole broker."""
    if not node.broker.parameters.clear_global(asked.name):
        raise not_found(f"no global parameter '{asked.name}'")
