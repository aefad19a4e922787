"""Real programs in the languages of the client libraries; `python -m tests.interop` runs them all (`make interop`)."""
