"""The management process: the HTTP API and the metrics, beside the broker.

It asks the broker over the control socket, like the command line does, and keeps what the broker does not: samples of
counters, from which rates and short histories come. Nothing here runs in the broker's process.
"""
