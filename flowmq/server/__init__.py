"""The process: command line, settings, logs, listeners, handshake, cold methods, signals and drain."""
