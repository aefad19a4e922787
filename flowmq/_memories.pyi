from collections.abc import Callable, Iterable

from flowmq._queue import Queue
from flowmq._rules import Deduplication, Undertaker

class SeenBefore(Deduplication):
    memory: Queue
    header: bytes
    seen: dict[bytes, int]
    def __init__(self, memory: Queue, header: bytes) -> None: ...
    def forget(self, value: bytes, sequence: int) -> None: ...
    def recall(self) -> None: ...

class Forgetting(Undertaker):
    def __init__(self, seen_before: SeenBefore) -> None: ...

def copy_messages(source: Queue, find_targets: Callable[[bytes, bytes], Iterable[Queue]]) -> None: ...
