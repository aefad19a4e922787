"""limit.*: what a virtual host or a user may have at most, and what limits have refused."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Literal

from flowmq.broker.limits import USER_LIMITS, VHOST_LIMITS, LimitError
from flowmq.server.control.registry import Arguments, Nothing, bad_request, command

if TYPE_CHECKING:
    from flowmq.server.node import Node

KINDS = {"vhost": VHOST_LIMITS, "user": USER_LIMITS}


class Of(Arguments):
    of: Literal["vhost", "user"]


class Where(Of):
    name: str
    limit: str


class NewLimit(Where):
    value: int


@command("limit.list", Of)
def list_limits(node: "Node", asked: Of) -> Iterator[dict[str, Any]]:
    """Of all virtual hosts, or of all users, that have limits of their own."""
    for name, values in node.broker.limits.all(KINDS[asked.of]).items():
        yield {"name": name, "limits": values}


@command("limit.set", NewLimit)
def set_limit(node: "Node", asked: NewLimit) -> None:
    """Counts for what comes from now on. A negative one is no limit."""
    check_exists(node, asked)
    try:
        node.broker.limits.set(KINDS[asked.of], asked.name, asked.limit, asked.value)
    except LimitError as error:
        raise bad_request(str(error)) from error


@command("limit.clear", Where)
def clear_limit(node: "Node", asked: Where) -> None:
    """As if it had never been set."""
    check_exists(node, asked)
    node.broker.limits.clear(KINDS[asked.of], asked.name, asked.limit)


@command("limit.refused", Nothing)
def refused(node: "Node", asked: Nothing) -> dict[str, int]:
    """How often each limit has refused something since the start."""
    return dict(node.broker.limits.refused)


def check_exists(node: "Node", asked: Where) -> None:
    if asked.of == "vhost":
        node.broker.existing_vhost(asked.name)
    else:
        node.broker.users.user(asked.name)
