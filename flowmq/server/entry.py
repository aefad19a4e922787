"""How a client has come in: what its session must know of the way before the client says anything."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Entry:
    handshake_seconds: float  # what is left of amqp.handshake_timeout
    mechanisms: Sequence[str]  # the ways to log in that its listener has
    peer: Any = None  # the addresses that a trusted proxy tells; None: those of the socket
    own: Any = None
