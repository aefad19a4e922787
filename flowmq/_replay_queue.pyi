from flowmq._intervals import IntervalSet

class QueueHistory:
    queue_id: int
    gone: bool
    next_sequence: int
    delivered_up_to: int
    settled: IntervalSet
    returned: dict[int, int]
    live: IntervalSet
    body_bytes: int
    @property
    def count(self) -> int: ...
