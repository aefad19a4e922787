"""The commands of the control socket, a module per noun. Importing this registers them all."""

from flowmq.server.control.commands import clients, exchanges, messages, node, policies, queues

__all__ = ["clients", "exchanges", "messages", "node", "policies", "queues"]
