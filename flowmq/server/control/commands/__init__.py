"""The commands of the control socket, a module per noun. Importing this registers them all."""

from flowmq.server.control.commands import (
    access,
    clients,
    definitions,
    exchanges,
    limits,
    memory,
    messages,
    moving,
    node,
    parameters,
    policies,
    queues,
    shovels,
)

__all__ = [
    "access",
    "clients",
    "definitions",
    "exchanges",
    "limits",
    "memory",
    "messages",
    "moving",
    "node",
    "parameters",
    "policies",
    "queues",
    "shovels",
]
