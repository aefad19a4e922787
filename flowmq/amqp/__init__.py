"""What AMQP 0-9-1 says, as pure values: numbers, methods, field tables, properties, errors, SASL responses.

Bytes become values and values become bytes. No sockets, no state, no decisions of the broker; the methods that pass
per message are handled by the compiled modules, and stand here only so that everything of the protocol has a value.
"""
