"""Queues that belong to an exchange or to another queue, and that nobody can declare, bind or consume.

In them waits what is delayed, and what is remembered. They are durable when what they belong to is.
"""

from collections.abc import Iterator
from typing import NamedTuple

from flowmq._memories import Forgetting, SeenBefore
from flowmq._queue import Queue
from flowmq._rules import QueueRules
from flowmq.broker.definitions import Definitions
from flowmq.broker.names import octets
from flowmq.broker.settings import ExchangeSettings, QueueSettings

DELAYED, HISTORY, SEEN = "delayed", "history", "seen"
DEDUPLICATION_HEADER = "x-deduplication-header"
SEEN_MESSAGES = 10_000  # when neither a number nor a time is said


class MemoryName(NamedTuple):
    kind: str  # definitions.QUEUE or EXCHANGE
    name: str  # of the queue or exchange it belongs to
    purpose: str


class Memories:
    """Those of one virtual host."""

    def __init__(self, vhost_name: str, definitions: Definitions) -> None:
        self.vhost_name = vhost_name
        self.definitions = definitions
        self.queues: dict[MemoryName, Queue] = {}
        self.seen: dict[MemoryName, SeenBefore] = {}
        self.is_restoring = False

    def make(self, name: MemoryName, *, durable: bool) -> Queue:
        queue = Queue(octets(name.name))
        self.queues[name] = queue
        if not durable:
            self.definitions.queue_in_memory(queue)
        elif not self.is_restoring:
            self.definitions.memory_made(self.vhost_name, *name, queue)
        return queue

    def of(self, kind: str, name: str) -> Iterator[MemoryName]:
        return (memory for memory in [MemoryName(kind, name, purpose) for purpose in (DELAYED, HISTORY, SEEN)])

    def forget(self, kind: str, name: str) -> None:
        """What they belong to is gone."""
        for memory in self.of(kind, name):
            self.drop(memory)

    def drop(self, memory: MemoryName) -> None:
        queue = self.queues.pop(memory, None)
        self.seen.pop(memory, None)
        if queue is not None:
            queue.delete()
            self.definitions.memory_gone(self.vhost_name, *memory)

    def seen_before(
        self, kind: str, name: str, settings: QueueSettings | ExchangeSettings, *, durable: bool
    ) -> SeenBefore | None:
        """What remembers the messages that have been there, as the settings say; None when nothing is to."""
        memory = MemoryName(kind, name, SEEN)
        if not settings.deduplication:
            self.drop(memory)
            return None
        if memory not in self.seen:
            header = settings.deduplication_header or DEDUPLICATION_HEADER
            self.seen[memory] = SeenBefore(self.make(memory, durable=durable), octets(header))
        seen = self.seen[memory]
        size, ttl_ms = settings.deduplication_cache_size, settings.deduplication_cache_ttl_ms
        if size is None and ttl_ms is None:
            size = SEEN_MESSAGES
        seen.memory.apply(QueueRules(length_max=size, ttl_ms=ttl_ms, undertaker=Forgetting(seen)))
        return seen

    def restored(self) -> None:
        """Their messages are back."""
        self.is_restoring = False
        for seen in self.seen.values():
            seen.recall()
