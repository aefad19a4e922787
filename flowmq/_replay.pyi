from collections.abc import Iterable
from os import PathLike
from typing import NamedTuple

from flowmq._replay_queue import QueueHistory
from flowmq._summary import Summary
from flowmq.storage.layout import StorageError

class CorruptJournal(StorageError):
    path: str | PathLike[str] | int
    offset: int
    reason: str
    octets: int
    def __init__(self, path: str | PathLike[str] | int, offset: int, reason: str, octets: int) -> None: ...

class Skipped(NamedTuple):
    what: str
    number: int
    offset: int
    octets: int
    reason: str
    batch_number: int

class SegmentView(NamedTuple):
    number: int
    file_octets: int
    end: int
    batches: int
    records: int
    record_octets: int
    live_octets: int
    live_targets: int
    seed: int
    summary_at: int
    summary_octets: int
    trusted: bool

class MessageView(NamedTuple):
    sequence: int
    segment: int
    offset: int
    message_offset: int
    record_octets: int
    body_bytes: int
    delivery_count: int
    redelivered: bool
    expires_at_ms: int

class Adoptable(NamedTuple):
    number: int
    seed: int
    file_octets: int
    end: int
    summary_at: int
    trusted: bool
    queue_ids: list[int]
    has_definitions: bool
    summary: Summary | None

class Replay:
    batch_number: int
    batch_number_seen: int
    end_segment: int
    end_offset: int
    cut_octets: int
    abandoned: list[str | PathLike[str] | int]
    skipped: list[Skipped]
    # Each segment is its number and its path, or an open descriptor.
    def read(
        self,
        segments: Iterable[tuple[int, str | PathLike[str] | int]],
        *,
        skip_corrupt: bool = False,
        trust: bool = False,
    ) -> None: ...
    def queues(self) -> dict[int, QueueHistory]: ...
    # (record type, payload): 8 is a list of what 7 holds one of, and comes first if at all.
    def definitions(self) -> list[tuple[int, bytes]]: ...
    def messages(self, queue_id: int) -> list[MessageView]: ...
    def segments(self) -> list[SegmentView]: ...
    def adoptable(self) -> list[Adoptable]: ...
