from flowmq._summary import Summary

class Segment:
    number: int
    path: str
    fd: int
    seed: int
    size: int
    end: int
    live: int
    summary: Summary | None
    summary_at: int
    trusted: bool
    damaged: bool
    @property
    def live_bytes(self) -> int: ...
