from collections.abc import Iterable, Iterator

from flowmq._queue import Queue
from flowmq._rules import Deduplication

class RouteSet:
    count: int

class Exchange:
    name: bytes
    type: str
    internal: bool
    deleted: bool
    generation: int
    by_message: bool
    alternate: Exchange | None
    published_count: int
    published_bytes: int
    routed_count: int
    confirmable_count: int
    confirmed_count: int
    returned_count: int
    dropped_count: int
    # `table_options` are for x-consistent-hash: `hash_header` or `hash_property`, and `algorithm`.
    def __init__(
        self, name: bytes, type: str, *, internal: bool = False, table_options: dict[str, str] | None = None
    ) -> None: ...
    # `match` is the encoded field table (without its length) of the binding's arguments, for headers exchanges;
    # True when the binding is new / existed.
    hold: Queue | None
    history: Queue | None
    deduplication: Deduplication | None
    def keep_history(self, queue: Queue) -> None: ...
    def deduplicate(self, deduplication: Deduplication | None) -> None: ...
    def bind(self, target: Queue | Exchange, key: bytes, match: bytes = b"") -> bool: ...
    def unbind(self, target: Queue | Exchange, key: bytes, match: bytes = b"") -> bool: ...
    def is_bound(self, target: Queue | Exchange, key: bytes, match: bytes = b"") -> bool: ...
    @property
    def binding_count(self) -> int: ...
    # What of these leads to that target: (key, match).
    def targets(self) -> list[Queue | Exchange]: ...
    def has_target(self, target: Queue | Exchange) -> bool: ...
    def sources(self) -> list[Exchange]: ...
    def bindings_to(self, target: Queue | Exchange) -> list[tuple[bytes, bytes]]: ...
    def bindings(self) -> list[tuple[Queue | Exchange, bytes, bytes]]: ...
    # Drops every binding to that target; returns how many.
    def unbind_target(self, target: Queue | Exchange) -> int: ...
    # The same of a target that is not to be bound again, step by step.
    def let_go(self, target: Queue | Exchange) -> Iterator[None]: ...
    # Where a message goes; `headers` is its headers table, encoded like `match`, or `properties` all of its properties
    # as in a content header, flags first; the other keys are CC and BCC.
    def routes(
        self,
        key: bytes,
        headers: bytes | None = None,
        *,
        properties: bytes | None = None,
        other_keys: Iterable[bytes] = (),
    ) -> list[Queue]: ...
    # Drops its bindings, and the bindings and alternates that lead here. Its sources that must know (auto-delete) are
    # to be asked to unbind_target() first.
    # The steps let go of its bindings.
    def delete(self) -> Iterator[None]: ...

class DefaultExchange(Exchange):
    def __init__(self) -> None: ...
    def add(self, queue: Queue) -> None: ...
    def remove(self, queue: Queue) -> None: ...
