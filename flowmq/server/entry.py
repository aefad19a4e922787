"""How a client has come in: what its session must know of the way before the client says anything."""

from collections.abc import Callable, Sequence
from typing import Any

from msgspec import Struct

from flowmq.broker.users import User


class Entry(Struct, frozen=True):
    handshake_seconds: float  # what is left of amqp.handshake_timeout
    mechanisms: Sequence[str]  # the ways to log in that its listener has
    peer: Any = None  # the addresses that a trusted proxy tells; None: those of the socket
    own: Any = None
    has_had_turn: bool = False  # its listener has let it wait for its turn already
    by_ticket: Callable[[str], User | str] | None = None  # what stands in the place of passwords: see shovels.py
