"""FlowMQ's benchmark: a compiled load generator, the scenarios it plays and the table it prints.

Not part of the installed package, and shares no code with it: what measures the broker must not be the broker.
"""
