from collections.abc import Mapping

from flowmq._message_log import LogSource

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
    ) -> None: ...
    @property
    def unacked_count(self) -> int: ...

class Queue:
    name: bytes
    deleted: bool
    ready_bytes: int
    unacked_count: int
    published_count: int
    delivered_count: int
    expired_count: int
    expires_next_ms: int
    def __init__(self, name: bytes) -> None: ...
    @property
    def message_count(self) -> int: ...
    @property
    def consumer_count(self) -> int: ...
    @property
    def is_exclusively_consumed(self) -> bool: ...
    @property
    def consumers(self) -> list[Consumer]: ...
    def add_consumer(self, consumer: Consumer) -> None: ...
    def start(self, consumer: Consumer) -> None: ...
    def remove_consumer(self, consumer: Consumer) -> None: ...
    def page_with(self, pager: LogSource) -> None: ...
    def purge(self) -> int: ...
    def delete(self) -> int: ...
    def expire(self) -> int: ...
