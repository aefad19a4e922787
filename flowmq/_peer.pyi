from collections.abc import Callable

from flowmq._journal import Journal

class Peer:
    body_frame_bytes: int
    message_bytes_max: int
    outgoing_bytes_max: int
    user: bytes
    paused: bool
    starved: bool
    sparing: bool
    closing: bool

def set_flush_scheduler(schedule: Callable[[Callable[[], None]], object]) -> None: ...
def flush() -> None: ...
def set_due_timer(arm: Callable[[], object] | None) -> None: ...
def due_timer_ended() -> None: ...
def set_journal(journal: Journal | None) -> None: ...
def disk_progressed() -> None: ...
