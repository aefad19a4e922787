"""Queues that belong to an exchange or to another queue, and that nobody can declare, bind or consume.

In them waits what is delayed, and what is remembered. They are durable when what they belong to is.
"""

from collections.abc import Callable
from typing import NamedTuple

from flowmq._dead_letters import Release
from flowmq._memories import Forgetting, SeenBefore, copy_messages
from flowmq._queue import Queue
from flowmq._router import Exchange
from flowmq._rules import QueueRules
from flowmq.amqp.properties import decode_content_header
from flowmq.amqp.tables import table_octets
from flowmq.broker.definitions import EXCHANGE, Definitions
from flowmq.broker.exchanges import DELAYED_MESSAGE, HISTORY_LENGTH, RECENT_HISTORY, DeclaredExchange
from flowmq.broker.names import octets
from flowmq.broker.settings import ExchangeSettings, QueueSettings

DELAYED, HISTORY, SEEN = "delayed", "history", "seen"
DEDUPLICATION_HEADER = "x-deduplication-header"
HISTORY_MESSAGES = 20
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
        self._unrecorded: dict[MemoryName, Queue] = {}  # made while restoring, and not found in the journal

    def make(self, name: MemoryName, *, durable: bool) -> Queue:
        queue = Queue(octets(name.name))
        self.queues[name] = queue
        if not durable:
            self.definitions.queue_in_memory(queue)
        elif self.is_restoring:
            self._unrecorded[name] = queue
        else:
            self.definitions.memory_made(self.vhost_name, *name, queue)
        return queue

    def equip(self, declared: DeclaredExchange, lost: Callable[[bytes, bytes], None]) -> None:
        """An exchange of a type that keeps messages gets what it needs for it."""
        exchange = declared.exchange
        if declared.type == DELAYED_MESSAGE:
            hold = self.make(MemoryName(EXCHANGE, declared.name, DELAYED), durable=declared.durable)
            hold.apply(QueueRules(delays=True, undertaker=Release(exchange, lost=lost)))
            exchange.hold = hold
        elif declared.type == RECENT_HISTORY:
            history = self.make(MemoryName(EXCHANGE, declared.name, HISTORY), durable=declared.durable)
            length = declared.arguments.get(HISTORY_LENGTH, HISTORY_MESSAGES)
            assert isinstance(length, int), "arguments are checked before"
            history.apply(QueueRules(length_max=length))
            exchange.keep_history(history)

    def repeat(self, source: DeclaredExchange, target: Queue | Exchange) -> None:
        """What has just been bound gets what the exchange remembers."""
        if source.exchange.history is None:
            return
        if isinstance(target, Queue):
            queue = target
            copy_messages(source.exchange.history, lambda key, header: [queue])
        else:
            copy_messages(source.exchange.history, lambda key, header: target.routes(key, headers_table(header)))

    def delayed(self, exchange_name: str) -> Queue | None:
        """Messages that wait in a delayed exchange: browse() lists them, withdraw() cancels or releases one."""
        return self.queues.get(MemoryName(EXCHANGE, exchange_name, DELAYED))

    def forget(self, kind: str, name: str) -> None:
        """What they belong to is gone."""
        if not self.queues:
            return
        for purpose in (DELAYED, HISTORY, SEEN):
            self.drop(MemoryName(kind, name, purpose))

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
        if not settings.deduplication:
            if self.seen:
                self.drop(MemoryName(kind, name, SEEN))
            return None
        memory = MemoryName(kind, name, SEEN)
        if memory not in self.seen:
            header = settings.deduplication_header or DEDUPLICATION_HEADER
            self.seen[memory] = SeenBefore(self.make(memory, durable=durable), octets(header))
        seen = self.seen[memory]
        size, ttl_ms = settings.deduplication_cache_size, settings.deduplication_cache_ttl_ms
        if size is None and ttl_ms is None:
            size = SEEN_MESSAGES
        seen.memory.apply(QueueRules(length_max=size, ttl_ms=ttl_ms, undertaker=Forgetting(seen)))
        return seen

    def restore(self, name: MemoryName) -> Queue | None:
        """One that the journal knows; None when nothing here wants it any more."""
        self._unrecorded.pop(name, None)
        return self.queues.get(name)

    def restored(self) -> None:
        """Their messages are back, and what is new can be written."""
        self.is_restoring = False
        for name, queue in self._unrecorded.items():
            self.definitions.memory_made(self.vhost_name, *name, queue)
        self._unrecorded.clear()
        for seen in self.seen.values():
            seen.recall()


def headers_table(content_header: bytes) -> bytes | None:
    """The headers property as an encoded field table without its length; None when there is none."""
    headers = decode_content_header(content_header).properties.headers
    return None if headers is None else table_octets(headers)
