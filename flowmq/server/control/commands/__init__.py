"""The commands of the control socket, a module per noun. Importing this registers them all."""

from flowmq.server.control.commands import access, limits, node

__all__ = ["access", "limits", "node"]
