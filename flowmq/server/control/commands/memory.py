"""node.memory: what the process holds, and giving back what it does not need."""

import sys
from typing import TYPE_CHECKING

from flowmq._message import give_back_memory, live_messages
from flowmq.server.collector import look_at_all
from flowmq.server.control.registry import Arguments, command

if TYPE_CHECKING:
    from flowmq.server.node import Node


class Memory(Arguments):
    collect: bool = False


@command("node.memory", Memory)
def memory(node: "Node", asked: Memory) -> dict[str, int]:
    """What there is to be given back: connections, messages in memory, and Python's blocks.

    `collect`: first, what can be given back to the operating system is; that is a pause.
    """
    if asked.collect:
        look_at_all()
        give_back_memory()
    return {
        "connections": len(node.sessions),
        "messages": live_messages(),
        "allocated_blocks": sys.getallocatedblocks(),
    }
