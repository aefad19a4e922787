from collections.abc import Callable, Mapping

from flowmq._message_log import LogSource
from flowmq._order import Order
from flowmq._rules import QueueRules

class Outlet: ...

class Consumer:
    queue: Queue
    outlet: Outlet
    tag: bytes
    no_ack: bool
    exclusive: bool
    priority: int
    prefetch_count: int
    arguments: Mapping[str, object]
    delivered: int
    active: bool
    def __init__(
        self,
        queue: Queue,
        outlet: Outlet,
        channel: int,
        tag: bytes,
        *,
        no_ack: bool,
        exclusive: bool,
        priority: int,
        prefetch_count: int,
        arguments: Mapping[str, object],
        timeout_ms: int = 0,
    ) -> None: ...
    @property
    def unacked_count(self) -> int: ...

class Queue(Order):
    name: bytes
    deleted: bool
    single_active: bool
    rules: QueueRules | None
    unacked_count: int
    unacked_bytes: int
    published_count: int
    delivered_count: int
    refused_count: int
    refusals: dict[tuple[bytes, str], int] | None
    duplicate_count: int
    def __init__(self, name: bytes, *, priority_max: int | None = None, single_active: bool = False) -> None: ...
    @property
    def message_count(self) -> int: ...
    @property
    def ready_bytes(self) -> int: ...
    @property
    def aside_count(self) -> int: ...
    @property
    def buried_counts(self) -> dict[str, int]: ...
    @property
    def expired_count(self) -> int: ...
    @property
    def priority_max(self) -> int | None: ...
    @property
    def consumer_count(self) -> int: ...
    @property
    def is_exclusively_consumed(self) -> bool: ...
    @property
    def consumers(self) -> list[Consumer]: ...
    def add_consumer(self, consumer: Consumer) -> None: ...
    def start(self, consumer: Consumer) -> None: ...
    def remove_consumer(self, consumer: Consumer) -> None: ...
    def choose_active(self) -> None: ...
    def apply(self, rules: QueueRules | None) -> None: ...
    def page_with(self, pager: LogSource) -> None: ...
    def tell_lanes(self, made: Callable[[int, Order], object]) -> None: ...
    def lane(self, level: int) -> Order: ...
    def purge(self) -> int: ...
    def delete(self) -> int: ...
