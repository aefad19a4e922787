from collections.abc import Callable, Iterable

from flowmq._commit import CommitThread
from flowmq._queue import Queue
from flowmq._queue_log import QueueLog, RecordWriter
from flowmq._segment import Segment
from flowmq._summary import Summary

class CommitWaiter: ...

class Journal(RecordWriter):
    directory: str
    segment_bytes: int
    committed: int
    submitted: int
    error: int
    damaged: bool
    spares: list[tuple[str, int]]
    appended_count: int
    definition_commit: int
    thread: CommitThread
    definition_count: int
    def __init__(self, directory: str, segment_bytes: int, definitions_snapshot: Callable[[], bytes]) -> None: ...
    @property
    def wake_fd(self) -> int: ...
    def adopt(
        self,
        number: int,
        path: str,
        fd: int,
        seed: int,
        size: int,
        end: int,
        summary_at: int,
        trusted: bool,
        queue_ids: Iterable[int],
        has_definitions: bool,
        summary: Summary | None,
    ) -> None: ...
    def damage_found(self, segment: Segment, what: str) -> None: ...
    def start(self, next_number: int) -> None: ...
    def log(self, queue: Queue, queue_id: int) -> QueueLog: ...
    def forget(self, queue_id: int) -> int: ...
    def define(self, payload: bytes) -> int: ...
    def settlements_commit(self) -> int: ...
    def when_committed(self, number: int, callback: Callable[[bool], None]) -> None: ...
    def submit(self) -> None: ...
    def completed(self) -> None: ...
    def close(self) -> None: ...
