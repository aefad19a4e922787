"""What the broker keeps on disk: the directory, the journal in it, and the definitions that the journal carries.

Opening reads everything back; restore() puts it into a broker's model; start() begins to write. Definitions are records
of one change each, `[kind, name, value]`; what they add up to is in defined.py.
"""

import logging
import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from flowmq._compaction import Compaction
from flowmq._journal import Journal
from flowmq._order import Order
from flowmq._queue import Queue
from flowmq._replay import Replay
from flowmq._restore import restore_queue
from flowmq._verification import Verification
from flowmq.amqp.tables import Table, decode_table, table_octets
from flowmq.broker.broker import FIRST, PROMISE, Broker
from flowmq.broker.definitions import EXCHANGE, QUEUE, VHOST, Definitions
from flowmq.broker.limits import USER_LIMITS, VHOST_LIMITS
from flowmq.broker.memories import MemoryName
from flowmq.broker.parameters import GLOBAL_PARAMETER, PARAMETER
from flowmq.broker.policies import OPERATOR_POLICY, POLICY, Policy
from flowmq.broker.steps import all_at_once, begin_at_once
from flowmq.broker.users import PERMISSION, TOPIC_PERMISSION, USER
from flowmq.storage.defined import BINDING, Defined, Name, record_of
from flowmq.storage.layout import DataDir

MEMORY = "memory"
IN_A_VHOST = (QUEUE, EXCHANGE, MEMORY, POLICY, OPERATOR_POLICY, PARAMETER)  # those whose names begin with one
# Batch numbers go on well above what was seen: what a torn tail left behind must never look like a continuation.
BATCH_NUMBER_GAP = 1_000_000
SEGMENT_NUMBER = slice(16, 24)  # in the header of a segment
# From here on ids belong to queues that are not durable, and mean nothing after a restart.
FIRST_PAGING_ID = 0x80000000
log = logging.getLogger("flowmq")


def number_inside(path: Path) -> int:
    """Of the segment that a file was last, as its header says; see docs/format.md."""
    with path.open("rb") as file:
        return int.from_bytes(file.read(SEGMENT_NUMBER.stop)[SEGMENT_NUMBER], "little")


class Store(Definitions):
    """The durable side of a broker. `begin` has work done step by step; a Node has it done in turns."""

    begin: Callable[[Iterator[None]], None] = staticmethod(all_at_once)

    def __init__(self, data_dir: DataDir, segment_bytes: int) -> None:
        self.data_dir = data_dir
        self.defined = Defined()
        self.waited_for = 0
        self.orphans: list[tuple[Any, ...]] = []  # memories of nothing, to be given up
        self.replay = Replay()
        self.replay.read([(file.number, os.fspath(file.path)) for file in data_dir.segments()], trust=True)
        self._report()
        for record_type, payload in self.replay.definitions():
            self.defined.read(record_type, payload)
        seen = (queue_id for queue_id in self.replay.queues() if queue_id < FIRST_PAGING_ID)
        self.next_queue_id = max([0, *seen, *self._ids()]) + 1
        self.journal = Journal(os.fspath(data_dir.journal), segment_bytes, self.defined.snapshot)
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
        for spare in self.data_dir.spares():
            if number_inside(spare.path) == spare.number:
                self.journal.spares.append((os.fspath(spare.path), 0))
            else:
                # A power cut has undone its new name and nothing else: what was in the segment that it had become, and
                # was confirmed to nobody, must not come back once it gets that name again.
                os.unlink(spare.path)

    # ----------------------------------------------------------------------------------------------- at the start

    def restore_access(self, broker: Broker) -> None:
        """Virtual hosts, users and permissions: before anything is put into a virtual host."""
        restoring: dict[str, Callable[..., None]] = {
            FIRST: broker.restore_first,
            VHOST: broker.restore_vhost,
            USER: broker.users.restore,
            PERMISSION: broker.users.restore_permission,
            TOPIC_PERMISSION: broker.users.restore_topic_permission,
            PROMISE: broker.restore_promise,
            PARAMETER: broker.parameters.restore,
            GLOBAL_PARAMETER: broker.parameters.restore_global,
            VHOST_LIMITS: partial(broker.limits.restore, VHOST_LIMITS),
            USER_LIMITS: partial(broker.limits.restore, USER_LIMITS),
        }
        for wanted, restore in restoring.items():
            for name, value in self.defined.all_of(wanted):
                restore(*name, value)

    def restore(self, broker: Broker) -> int:
        """Declare again what was durable, and give queues their messages; returns how many. After restore_access()."""
        for host in broker.vhosts.values():
            host.memories.is_restoring = True
        for kind in (POLICY, OPERATOR_POLICY):
            for (vhost, policy), value in self.defined.all_of(kind):
                broker.vhost(vhost).policies.restore(kind, policy, value)
        for (vhost, exchange), value in self.defined.all_of(EXCHANGE):
            broker.vhost(vhost).restore_exchange(
                exchange, value["type"], value["auto_delete"], value["internal"], decode_table(value["arguments"])
            )
        restoring = {QUEUE: self._restore_queue, MEMORY: self._restore_memory}
        messages = sum(
            restore(broker, name, value)
            for kind, restore in restoring.items()
            for name, value in self.defined.all_of(kind)
        )
        for vhost, source, destination_kind, destination, key, arguments in self.defined.all_bindings():
            broker.vhost(vhost).restore_binding(source, destination_kind, destination, key, decode_table(arguments))
        return messages

    def _restore_queue(self, broker: Broker, name: tuple[Any, ...], value: dict[str, Any]) -> int:
        vhost, queue_name = name
        declared = broker.vhost(vhost).restore_queue(queue_name, value["auto_delete"], decode_table(value["arguments"]))
        return self._restore_messages(declared.queue, value["id"])

    def _restore_memory(self, broker: Broker, name: tuple[Any, ...], value: dict[str, Any]) -> int:
        vhost, *memory = name
        queue = broker.vhost(vhost).memories.restore(MemoryName(*memory))
        if queue is None:
            # A policy that is not there any more had it made.
            self.orphans.append(name)
            return 0
        return self._restore_messages(queue, value["id"])

    def _restore_messages(self, queue: Queue, queue_id: int) -> int:
        if queue.priority_max is None:
            return restore_queue(queue, self.journal.log(queue, queue_id), self.replay)
        logs = {}
        known = self.replay.queues()

        def lane_made(level: int, lane: Order) -> None:
            logs[level] = self.journal.log(lane, queue_id + level)

        queue.tell_lanes(lane_made)
        levels = [level for level in range(queue.priority_max + 1) if queue_id + level in known]
        return sum(restore_queue(queue.lane(level), logs[level], self.replay) for level in levels)

    def start(self, broker: Broker) -> None:
        """Begin to write; what was read back is not needed any more."""
        # The last one first: a power cut must not leave a gap in the numbers.
        for path in reversed(self.replay.abandoned):
            assert not isinstance(path, int), "segments are read by their paths here"
            os.unlink(path)
        self.journal.start(max(self.replay.batch_number, self.replay.batch_number_seen) + BATCH_NUMBER_GAP)
        del self.replay
        for orphan in self.orphans:
            self._change(MEMORY, orphan, None)
        for host in broker.vhosts.values():
            host.memories.restored()

    def start_definitions(self) -> None:
        """Begin to write definitions only: what there is in queues stays as it is, and nobody looks at it."""
        self.journal.start(max(self.replay.batch_number, self.replay.batch_number_seen) + BATCH_NUMBER_GAP)

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
        queue_id = self._take_ids(queue)
        value: dict[str, object] = {
            "id": queue_id,
            "auto_delete": auto_delete,
            "arguments": table_octets(arguments),
        }
        if queue.priority_max is not None:
            value["lanes"] = queue.priority_max + 1
        self._put(QUEUE, (vhost, name), value)
        self._log(queue, queue_id)

    def _ids(self) -> Iterator[int]:
        """Of every queue there is."""
        for kind in (QUEUE, MEMORY):
            for _, value in self.defined.all_of(kind):
                yield from ids_in(value)

    def _take_ids(self, queue: Queue) -> int:
        """An id, or as many as it can have lanes: the first of them."""
        first = self.next_queue_id
        self.next_queue_id += 1 if queue.priority_max is None else queue.priority_max + 1
        return first

    def _log(self, queue: Queue, queue_id: int) -> None:
        """Its messages are durable; those of a queue with priorities by lane, when there are any."""
        if queue.priority_max is None:
            self.journal.log(queue, queue_id)
        else:
            queue.tell_lanes(lambda level, lane: self.journal.log(lane, queue_id + level))

    def queue_in_memory(self, queue: Queue) -> None:
        queue.page_with(self.journal)

    def queue_deleted(self, vhost: str, name: str) -> None:
        for queue_id in ids_in(self.defined.value(QUEUE, (vhost, name))):
            if self.journal.knows(queue_id):
                self.journal.forget(queue_id)
        self._delete(QUEUE, (vhost, name))

    def memory_made(self, vhost: str, kind: str, name: str, purpose: str, queue: Queue) -> None:
        value = {"id": self._take_ids(queue)}
        self._put(MEMORY, (vhost, kind, name, purpose), value)
        self._log(queue, value["id"])

    def memory_gone(self, vhost: str, kind: str, name: str, purpose: str) -> None:
        memory = (vhost, kind, name, purpose)
        if self.defined.has(MEMORY, memory):
            self.journal.forget(self.defined.value(MEMORY, memory)["id"])
            self._delete(MEMORY, memory)

    def exchange_declared(
        self, vhost: str, name: str, *, type: str, auto_delete: bool, internal: bool, arguments: Table
    ) -> None:
        value = {
            "type": type,
            "auto_delete": auto_delete,
            "internal": internal,
            "arguments": table_octets(arguments),
        }
        self._put(EXCHANGE, (vhost, name), value)

    def exchange_deleted(self, vhost: str, name: str) -> None:
        self._change(EXCHANGE, (vhost, name), None)  # also one that is not kept, but may have bindings that are

    def bound(self, vhost: str, source: str, kind: str, destination: str, key: str, arguments: bytes) -> None:
        self._put(BINDING, (vhost, source, kind, destination, key, arguments), True)

    def unbound(self, vhost: str, source: str, kind: str, destination: str, key: str, arguments: bytes) -> None:
        self._delete(BINDING, (vhost, source, kind, destination, key, arguments))

    def put(self, kind: str, name: tuple[str, ...], value: object) -> None:
        self._put(kind, name, value)

    def delete(self, kind: str, name: tuple[str, ...]) -> None:
        self._delete(kind, name)

    def vhost_emptied(self, vhost: str) -> None:
        """What the model does not know of goes too: without a broker it has no queues."""
        for kind, name in self.defined.in_vhost(vhost, IN_A_VHOST):
            if kind in (QUEUE, MEMORY):
                for queue_id in ids_in(self.defined.value(kind, name)):
                    if not self.journal.knows(queue_id):
                        self.journal.log(Queue(b""), queue_id)
                    self.journal.forget(queue_id)
            self._change(kind, name, None)
        self._delete(VHOST, (vhost,))

    def policy_set(self, policy: Policy) -> None:
        self._put(policy.kind, (policy.vhost, policy.name), policy.as_record())

    def policy_deleted(self, policy: Policy) -> None:
        self._delete(policy.kind, (policy.vhost, policy.name))

    def _put(self, kind: str, name: Name, value: object) -> None:
        self._change(kind, name, value)

    def _delete(self, kind: str, name: Name) -> None:
        if self.defined.has(kind, name):
            self._change(kind, name, None)

    def _change(self, kind: str, name: Name, value: object) -> None:
        record = record_of(kind, name, value)
        self.journal.define(record)
        begin_at_once(self.defined.apply(kind, name, None if value is None else record), self.begin)


def ids_in(value: dict[str, Any]) -> range:
    """The ids of a queue, of which one with priorities has many."""
    return range(value["id"], value["id"] + value.get("lanes", 1))
