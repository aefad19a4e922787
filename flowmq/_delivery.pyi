from flowmq._queue import Consumer, Queue

class UnackedWindow:
    count: int
    # (delivery tag, Queue, Consumer or None, sequence, delivery count, delivered when modulo 2^32 ms, body octets)
    def listed(self, from_tag: int, limit: int) -> list[tuple[int, Queue, Consumer | None, int, int, int, int]]: ...

class ConfirmLedger:
    last_sequence: int
    @property
    def unconfirmed(self) -> int: ...
