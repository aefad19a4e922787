"""The control socket: how the command line and the management process talk to a running broker.

A Unix stream socket in the data directory. What can be asked is one table of named commands (registry.py); whoever may
connect may ask all of it. Not for AMQP clients, and never for a network.
"""
