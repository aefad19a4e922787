from collections.abc import Mapping

from flowmq._content import ContentReceiver
from flowmq._delivery import ConfirmLedger, UnackedWindow
from flowmq._peer import Peer
from flowmq._queue import Consumer, Queue
from flowmq._returns import Returns

class Channel(ContentReceiver):
    window: UnackedWindow
    number: int
    peer: Peer
    ledger: ConfirmLedger | None
    closing: bool
    consumers: dict[bytes, Consumer]
    prefetch_count: int
    global_prefetch_count: int
    published_count: int
    returned_count: int
    dropped_count: int
    get_count: int
    get_no_ack_count: int
    get_empty_count: int
    automatic_before: int
    next_delivery_tag: int
    transactional: bool
    def __init__(self, peer: Peer, number: int, vhost: object) -> None: ...
    @property
    def unacked_count(self) -> int: ...
    @property
    def confirming(self) -> bool: ...
    def confirm_select(self) -> None: ...
    def tx_select(self) -> None: ...
    def tx_commit(self) -> int: ...
    def tx_rollback(self) -> None: ...
    def set_prefetch(self, prefetch_count: int, *, for_channel: bool) -> None: ...
    def consume(
        self,
        queue: Queue,
        tag: bytes,
        *,
        no_ack: bool,
        exclusive: bool,
        priority: int,
        arguments: Mapping[str, object],
        timeout_ms: int = 0,
    ) -> Consumer: ...
    def cancel(self, tag: bytes) -> Consumer | None: ...
    def consume_replies(self, tag: bytes, key: bytes) -> None: ...
    def get(self, queue: Queue, *, no_ack: bool) -> bool: ...
    def recover(self) -> None: ...
    def return_overdue(self) -> list[tuple[int, int]]: ...
    def tell(self) -> None: ...
    def close(self, returns: Returns) -> None: ...
