"""How a client has come in: what its session must know of the way before the client says anything."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Entry:
    handshake_seconds: float  # what is left of amqp.handshake_timeout
    peer: Any = None  # the addresses that a trusted proxy tells; None: those of the socket
    own: Any = None
