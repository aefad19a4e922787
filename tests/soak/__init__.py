"""Clients that come, go, misbehave and are killed for as long as one likes; the broker stays as small as it was, and
forgets nothing that it has confirmed."""
