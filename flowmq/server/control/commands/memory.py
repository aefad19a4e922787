"""node.memory: what the process holds, and giving back what it does not need."""

import ctypes
import gc
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from flowmq._message import live_messages
from flowmq.server.control.registry import Arguments, command

if TYPE_CHECKING:
    from flowmq.server.node import Node

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
