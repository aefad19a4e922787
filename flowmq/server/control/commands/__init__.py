"""The commands of the control socket, a module per noun. Importing this registers them all."""

from flowmq.server.control.commands import access, definitions, node

__all__ = ["access", "definitions", "node"]
