"""node.*: the process itself."""

import ctypes
import gc
import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from flowmq import __version__
from flowmq._message import live_messages
from flowmq.server.control.registry import COMMANDS, Arguments, Nothing, command

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


# Of the GNU C library only; elsewhere freed memory is given back when that library likes.
malloc_trim: Callable[[int], int] = getattr(ctypes.CDLL(None), "malloc_trim", lambda keep: 0)


class Memory(Arguments):
    collect: bool = False


@command("node.memory", Memory)
def memory(node: "Node", asked: Memory) -> dict[str, int]:
    """What there is to be given back: connections, messages in memory, and Python's blocks.

    `collect`: first, what can be given back to the operating system is; that is a pause.
    """
    if asked.collect:
        gc.collect()
        malloc_trim(0)
    return {
        "connections": len(node.sessions),
        "messages": live_messages(),
        "allocated_blocks": sys.getallocatedblocks(),
    }
