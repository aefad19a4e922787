"""FlowMQ: a message broker that any AMQP 0-9-1 client can use unchanged."""

__version__ = "0.1.0"
