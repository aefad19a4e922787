"""The AMQP model and its rules: virtual hosts, exchanges, queues, bindings, their arguments, users.

No sockets, no files, no clock. What happens per message is in the compiled modules; this is what is declared.
"""
