class Segment:
    number: int
    path: str
    fd: int
    seed: int
    size: int
    end: int
    messages: int
    message_bytes: int
    live: int
    @property
    def live_bytes(self) -> int: ...
