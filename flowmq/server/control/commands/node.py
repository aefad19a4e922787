"""node.*: the process itself."""

import os
from typing import TYPE_CHECKING, Any

from flowmq import __version__
from flowmq.server.control.registry import COMMANDS, Nothing, command

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flowmq.server.node import Node


@command("node.ping")
def ping(node: "Node", asked: Nothing) -> dict[str, Any]:
    """Is it there?"""
    return {"product": "FlowMQ", "version": __version__, "pid": os.getpid()}


@command("node.commands")
def list_commands(node: "Node", asked: Nothing) -> "Iterator[dict[str, Any]]":
    """What can be asked over this socket."""
    for found in COMMANDS.values():
        yield {"name": found.name, "help": found.help, "arguments": list(found.arguments.__struct_fields__)}
