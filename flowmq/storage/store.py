"""What the broker keeps on disk: the directory, the journal in it, and the definitions that the journal carries.

Opening reads everything back; restore() puts it into a broker's model; start() begins to write. Definitions are records
of one change each, `[kind, name, value]`; what they add up to is kept here, since the journal writes it anew when it
frees the segment where it stood.
"""

import logging
import os
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import msgpack

from flowmq._compaction import Compaction
from flowmq._journal import Journal
from flowmq._queue import Queue
from flowmq._replay import Replay
from flowmq._restore import restore_queue
from flowmq._verification import Verification
from flowmq.amqp.tables import Table, decode_table, encode_table
from flowmq.broker.broker import Broker
from flowmq.broker.definitions import EXCHANGE, QUEUE, Definitions
from flowmq.broker.names import octets, text
from flowmq.storage.layout import DataDir

BINDING = "binding"
# Batch numbers go on well above what was seen: what a torn tail left behind must never look like a continuation.
BATCH_NUMBER_GAP = 1_000_000
# From here on ids belong to queues that are not durable, and mean nothing after a restart.
FIRST_PAGING_ID = 0x80000000
log = logging.getLogger("flowmq")

Key = tuple[str, tuple[Any, ...]]


def pack(value: object) -> bytes:
    return bytes(msgpack.packb(value))


class Store(Definitions):
    """The durable side of a broker."""

    def __init__(self, data_dir: DataDir, segment_bytes: int) -> None:
        self.data_dir = data_dir
        self.items: dict[Key, Any] = {}
        self.bindings_of: defaultdict[tuple[Any, ...], set[Key]] = defaultdict(set)  # (vhost, kind, name) of either end
        self.queue_ids: dict[tuple[str, str], int] = {}
        self.waited_for = 0
        self.replay = Replay()
        self.replay.read([(file.number, os.fspath(file.path)) for file in data_dir.segments()], trust=True)
        self._report()
        for record_type, payload in self.replay.definitions():
            content = msgpack.unpackb(payload, use_list=True)
            for item in content if record_type == 8 else [content]:
                self._apply(*item)
        seen = (queue_id for queue_id in self.replay.queues() if queue_id < FIRST_PAGING_ID)
        self.next_queue_id = max([0, *seen, *self.queue_ids.values()]) + 1
        self.journal = Journal(os.fspath(data_dir.journal), segment_bytes, self.snapshot)
        self.compaction = Compaction(self.journal)
        self._adopt()
        self.verification = Verification(self.journal)

    def _report(self) -> None:
        if self.replay.cut_octets:
            log.warning(
                "journal: %d octets of a write that was cut short are dropped at the end of segment %d; "
                "nothing in them was ever confirmed",
                self.replay.cut_octets,
                self.replay.end_segment,
            )
        for path in self.replay.abandoned:
            log.warning("journal: %s is dropped: nothing in it was ever confirmed", path)

    def _adopt(self) -> None:
        paths = {file.number: os.fspath(file.path) for file in self.data_dir.segments()}
        for segment in self.replay.adoptable():
            path = paths[segment.number]
            self.journal.adopt(segment, path, os.open(path, os.O_RDWR | os.O_CLOEXEC))
        self.journal.spares.extend((os.fspath(spare.path), 0) for spare in self.data_dir.spares())

    # ----------------------------------------------------------------------------------------------- at the start

    def restore(self, broker: Broker) -> int:
        """Declare again what was durable, and give queues their messages; returns how many messages."""
        for (kind, name), value in self.items.items():
            if kind == EXCHANGE:
                vhost, exchange = name
                broker.vhost(vhost).restore_exchange(
                    exchange, value["type"], value["auto_delete"], value["internal"], decode_table(value["arguments"])
                )
        messages = sum(
            self._restore_queue(broker, name, value) for (kind, name), value in self.items.items() if kind == QUEUE
        )
        for kind, name in self.items:
            if kind == BINDING:
                vhost, source, destination_kind, destination, key, arguments = name
                broker.vhost(vhost).restore_binding(source, destination_kind, destination, key, decode_table(arguments))
        return messages

    def _restore_queue(self, broker: Broker, name: tuple[Any, ...], value: dict[str, Any]) -> int:
        vhost, queue_name = name
        declared = broker.vhost(vhost).restore_queue(queue_name, value["auto_delete"], decode_table(value["arguments"]))
        queue_log = self.journal.log(declared.queue, value["id"])
        return restore_queue(declared.queue, queue_log, self.replay)

    def start(self) -> None:
        """Begin to write; what was read back is not needed any more."""
        # The last one first: a power cut must not leave a gap in the numbers.
        for path in reversed(self.replay.abandoned):
            assert not isinstance(path, int), "segments are read by their paths here"
            os.unlink(path)
        self.journal.start(max(self.replay.batch_number, self.replay.batch_number_seen) + BATCH_NUMBER_GAP)
        del self.replay

    def close(self) -> None:
        self.journal.close()
        self.data_dir.close()

    def take_commit(self) -> int:
        """The commit of what was defined since this was asked last; 0 when there is nothing to wait for."""
        if self.journal.definition_count == self.waited_for:
            return 0
        self.waited_for = self.journal.definition_count
        return self.journal.definition_commit

    def when_committed(self, commit: int, callback: Callable[[bool], None]) -> None:
        self.journal.when_committed(commit, callback)

    # ------------------------------------------------------------------------------------------------ definitions

    def queue_declared(self, vhost: str, name: str, queue: Queue, *, auto_delete: bool, arguments: Table) -> None:
        queue_id = self.next_queue_id
        self.next_queue_id += 1
        value = {"id": queue_id, "auto_delete": auto_delete, "arguments": encode_table(arguments)[4:]}
        self._put(QUEUE, (vhost, name), value)
        self.journal.log(queue, queue_id)

    def queue_in_memory(self, queue: Queue) -> None:
        queue.page_with(self.journal)

    def queue_deleted(self, vhost: str, name: str) -> None:
        self.journal.forget(self.queue_ids[vhost, name])
        self._delete_with_bindings(QUEUE, vhost, name)

    def exchange_declared(
        self, vhost: str, name: str, *, type: str, auto_delete: bool, internal: bool, arguments: Table
    ) -> None:
        value = {
            "type": type,
            "auto_delete": auto_delete,
            "internal": internal,
            "arguments": encode_table(arguments)[4:],
        }
        self._put(EXCHANGE, (vhost, name), value)

    def exchange_deleted(self, vhost: str, name: str) -> None:
        self._delete_with_bindings(EXCHANGE, vhost, name)

    def bound(self, vhost: str, source: str, kind: str, destination: str, key: str, arguments: bytes) -> None:
        self._put(BINDING, (vhost, source, kind, destination, key, arguments), True)

    def unbound(self, vhost: str, source: str, kind: str, destination: str, key: str, arguments: bytes) -> None:
        self._delete(BINDING, (vhost, source, kind, destination, key, arguments))

    def snapshot(self) -> bytes:
        """Everything defined, as the payload of one record."""
        return pack([[kind, encoded(name), value] for (kind, name), value in self.items.items()])

    def _put(self, kind: str, name: tuple[Any, ...], value: object) -> None:
        self._change(kind, encoded(name), value)

    def _delete(self, kind: str, name: tuple[Any, ...]) -> None:
        if (kind, name) in self.items:
            self._change(kind, encoded(name), None)

    def _delete_with_bindings(self, kind: str, vhost: str, name: str) -> None:
        for binding_kind, binding in list(self.bindings_of.get((vhost, kind, name), ())):
            self._delete(binding_kind, binding)
        self._delete(kind, (vhost, name))

    def _change(self, kind: str, name: list[Any], value: object) -> None:
        self.journal.define(pack([kind, name, value]))
        self._apply(kind, name, value)

    def _apply(self, kind: str, encoded_name: list[Any], value: Any) -> None:
        name = decoded(encoded_name)
        key = (kind, name)
        if value is None:
            self.items.pop(key, None)
        else:
            self.items[key] = value
        if kind == BINDING:
            vhost, source, destination_kind, destination = name[:4]
            for end in ((vhost, EXCHANGE, source), (vhost, destination_kind, destination)):
                (self.bindings_of[end].discard if value is None else self.bindings_of[end].add)(key)
        elif kind == QUEUE:
            if value is None:
                self.queue_ids.pop((name[0], name[1]), None)
            else:
                self.queue_ids[name[0], name[1]] = value["id"]


def encoded(name: tuple[Any, ...]) -> list[bytes]:
    """Names are any octets: MessagePack's text is UTF-8 only."""
    return [octets(part) if isinstance(part, str) else part for part in name]


def decoded(name: list[bytes]) -> tuple[Any, ...]:
    """All parts are text, but the arguments of a binding, its sixth."""
    return tuple(part if at == 5 else text(part) for at, part in enumerate(name))
