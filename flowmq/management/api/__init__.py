"""The routes of the HTTP API, a module per noun. Importing this registers them all."""

from flowmq.management.api import (
    access,
    bindings,
    clients,
    definitions,
    exchanges,
    health,
    limits,
    messages,
    node,
    parameters,
    policies,
    queues,
    shovels,
)

__all__ = [
    "access",
    "bindings",
    "clients",
    "definitions",
    "exchanges",
    "health",
    "limits",
    "messages",
    "node",
    "parameters",
    "policies",
    "queues",
    "shovels",
]
