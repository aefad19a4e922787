from array import array

from flowmq._intervals import IntervalSet

class Part:
    queue_id: int
    count: int
    last: int
    record_bytes: int
    expires_next_ms: int

class Facts:
    gone: bool
    next_sequence: int
    delivered_up_to: int
    settled: IntervalSet
    returned: dict[int, int]

class Summary:
    parts: dict[int, list[Part]]
    facts: dict[int, Facts]
    definitions: array[int]
    batches: int
    records: int
    record_octets: int
    messages: int
    message_bytes: int
    part_count: int
    stream_bytes: int
    def octets(self) -> bytes: ...
    def counts(self) -> dict[int, int]: ...
