"""The broker as a process: how it starts, how it ends, and what many or hostile clients do to it."""
