from collections.abc import Callable

from flowmq._queue import Queue
from flowmq._router import Exchange
from flowmq._rules import Undertaker

def set_burial_scheduler(schedule: Callable[[], None] | None) -> None: ...
def set_burials_in_turn(count: int) -> int: ...
def is_anyone_unburied() -> bool: ...
def bury_next(limit: int) -> bool: ...

class DeadLetters(Undertaker):
    exchange: bytes | None
    routing_key: bytes | None
    moved_count: int
    lost_count: int
    def __init__(
        self,
        exchanges: dict[bytes, Exchange],
        exchange: bytes | None,
        routing_key: bytes | None = None,
        *,
        park: Callable[[], Queue] | None = None,
        lost: Callable[[bytes, bytes], None] | None = None,
    ) -> None: ...

class Release(Undertaker):
    exchange: Exchange
    def __init__(self, exchange: Exchange, *, lost: Callable[[bytes, bytes], None] | None = None) -> None: ...
