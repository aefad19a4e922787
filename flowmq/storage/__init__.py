"""The data directory: its files and their names, and the tools that look at a journal while no broker runs on it."""
