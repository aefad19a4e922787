from collections.abc import Callable

from flowmq._journal import Journal

class Peer:
    body_frame_bytes: int
    message_bytes_max: int
    outgoing_bytes_max: int
    user: bytes
    paused: bool
    closing: bool

def set_flush_scheduler(schedule: Callable[[Callable[[], None]], object]) -> None: ...
def flush() -> None: ...
def set_journal(journal: Journal | None) -> None: ...
def disk_progressed() -> None: ...
