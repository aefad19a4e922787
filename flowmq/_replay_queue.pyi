from typing import NamedTuple

from flowmq._intervals import IntervalSet

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

class QueueHistory:
    queue_id: int
    gone: bool
    next_sequence: int
    delivered_up_to: int
    settled: IntervalSet
    @property
    def count(self) -> int: ...
    @property
    def body_bytes(self) -> int: ...
    def messages(self) -> list[MessageView]: ...
