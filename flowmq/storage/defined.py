"""What the definitions of a journal add up to: of each thing that is there its record, as it was written.

Records are kept instead of values, so that all of them can be written anew at once without holding anybody up: that is
due whenever the segment is given back where they stood. A value is decoded when somebody asks for it, which is at the
start.

A queue or exchange that goes takes its bindings with it, by one record. They do not count from then on; that they are
let go of, one by one, is what the steps are for that apply() returns.
"""

from collections import defaultdict
from collections.abc import Iterator
from itertools import chain
from typing import Any

import msgpack

from flowmq.broker.definitions import EXCHANGE, QUEUE
from flowmq.broker.names import octets, text

BINDING = "binding"
WITH_BINDINGS = frozenset({QUEUE, EXCHANGE})
DEFINITIONS_TYPE = 8  # of a record that has everything; any other one has a single change
STEP_BINDINGS = 100
PACKER = msgpack.Packer()  # made once: that takes longer than what it does
ARRAY_32 = b"\xdd"  # MessagePack: an array, and in four octets of how many

Name = tuple[Any, ...]


class End:
    """A queue or exchange with bindings to or from it."""

    __slots__ = ("is_gone", "name", "records")

    def __init__(self, name: Name) -> None:
        self.name = name  # virtual host, kind and name
        self.records: set[bytes] = set()
        self.is_gone = False


class Defined:
    def __init__(self) -> None:
        self.items: defaultdict[str, dict[Name, bytes]] = defaultdict(dict)  # kind -> name -> record; not the bindings
        self.bindings: dict[bytes, tuple[End, End]] = {}  # in the order in which they were made; source, destination
        self.ends: dict[Name, End] = {}  # by their names
        self.leaving = 0  # ends that are gone, with bindings that have still to be let go of

    # ------------------------------------------------------------------------------------------------- what is there

    def has(self, kind: str, name: Name) -> bool:
        return name in self.items[kind] or (kind == BINDING and self._is_bound(record_of(kind, name, True)))

    def value(self, kind: str, name: Name) -> Any:
        """Not of a binding. A KeyError when it is not there."""
        return value_in(self.items[kind][name])

    def all_of(self, kind: str) -> Iterator[tuple[Name, Any]]:
        """Name and value of each, in the order in which they came."""
        for name, record in self.items[kind].items():
            yield name, value_in(record)

    def all_bindings(self) -> Iterator[Name]:
        for record in self._records_of_bindings():
            yield decoded(msgpack.unpackb(record)[1])

    def in_vhost(self, vhost: str, kinds: tuple[str, ...]) -> list[tuple[str, Name]]:
        """Kind and name of each, also of what is not defined itself and has bindings."""
        ends = ((kind, (of, name)) for of, kind, name in self.ends if name not in self.items[kind])
        items = ((kind, name) for kind in kinds for name in self.items[kind])
        return [(kind, name) for kind, name in chain(items, ends) if name[0] == vhost]

    def snapshot(self) -> bytes:
        """All of it, as the payload of one record."""
        records = list(chain(*(named.values() for named in self.items.values()), self._records_of_bindings()))
        return b"".join([ARRAY_32, len(records).to_bytes(4, "big"), *records])

    def _records_of_bindings(self) -> Iterator[bytes]:
        if not self.leaving:
            return iter(self.bindings)
        return (record for record, ends in self.bindings.items() if not any_is_gone(ends))

    def _is_bound(self, record: bytes) -> bool:
        ends = self.bindings.get(record)
        return ends is not None and not any_is_gone(ends)

    # -------------------------------------------------------------------------------------------------- what changes

    def read(self, record_type: int, payload: bytes) -> None:
        """A record of the journal."""
        if record_type != DEFINITIONS_TYPE:
            self._read(payload, msgpack.unpackb(payload))
            return
        unpacker = msgpack.Unpacker(max_buffer_size=len(payload))
        unpacker.feed(payload)
        count, begin = unpacker.read_array_header(), unpacker.tell()
        for _ in range(count):
            change = unpacker.unpack()
            end = unpacker.tell()
            self._read(payload[begin:end], change)
            begin = end

    def _read(self, record: bytes, change: list[Any]) -> None:
        kind, name, value = change
        for _ in self.apply(kind, decoded(name), None if value is None else record):
            pass  # nobody waits for anything else yet

    def apply(self, kind: str, name: Name, record: bytes | None) -> Iterator[None]:
        """It is there from now on, or with None it is not. What is returned has to be gone through, some time."""
        if kind == BINDING:
            if record is None:
                self._unbind(record_of(kind, name, True))
            else:
                self._bind(name, record)
        elif record is not None:
            self.items[kind][name] = record
        else:
            self.items[kind].pop(name, None)
            end = self.ends.pop((name[0], kind, name[1]), None) if kind in WITH_BINDINGS else None
            if end is not None:
                end.is_gone = True
                self.leaving += 1
                return self._let_go(end)
        return iter(())

    def _bind(self, name: Name, record: bytes) -> None:
        if self._is_bound(record):
            return
        vhost, source, kind, destination = name[:4]
        both = (self._end(vhost, EXCHANGE, source), self._end(vhost, kind, destination))
        self.bindings.pop(record, None)  # one of ends that are gone, and had the same names
        self.bindings[record] = both
        for end in both:
            end.records.add(record)

    def _end(self, *name: str) -> End:
        end = self.ends.get(name)
        if end is None:
            end = self.ends[name] = End(name)
        return end

    def _unbind(self, record: bytes) -> None:
        if self._is_bound(record):
            for end in self.bindings.pop(record):
                self._without(end, record)

    def _without(self, end: End, record: bytes) -> None:
        end.records.discard(record)
        if not end.records and not end.is_gone:
            # Of queues and exchanges that come and go, the names are always new ones.
            self.ends.pop(end.name, None)

    def _let_go(self, end: End) -> Iterator[None]:
        while end.records:
            for _ in range(min(len(end.records), STEP_BINDINGS)):
                record = end.records.pop()
                both = self.bindings.get(record)
                if both is not None and end in both:
                    del self.bindings[record]
                    for other in both:
                        self._without(other, record)
            yield
        self.leaving -= 1


def any_is_gone(ends: tuple[End, End]) -> bool:
    return ends[0].is_gone or ends[1].is_gone


def record_of(kind: str, name: Name, value: object) -> bytes:
    record: bytes = PACKER.pack((kind, encoded(name), value))
    return record


def value_in(record: bytes) -> Any:
    return msgpack.unpackb(record, use_list=True)[2]


def encoded(name: Name) -> list[bytes]:
    """Names are any octets: MessagePack's text is UTF-8 only."""
    return [octets(part) if isinstance(part, str) else part for part in name]


def decoded(name: list[bytes]) -> Name:
    """All parts are text, but the arguments of a binding, its sixth."""
    return tuple(part if at == 5 else text(part) for at, part in enumerate(name))
