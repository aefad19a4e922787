"""What a power cut could leave: the disk's side. Every change of a journal's directory in order, and states made of it.

Writes and syncs come from the trace of the commit thread, changes of names from a proxy in the place of its modules'
`os`. A cut point is a place in that order; from it follow the contents that are on disk for certain and the changes
that are not, of which any may be lost. No word here about what a client was promised: that is test_power_cut.py's.
"""

import os
import struct
from collections.abc import Callable, Iterable, Iterator
from copy import copy
from pathlib import Path
from random import Random
from typing import Any, NamedTuple, Self

from flowmq._connection import set_memory_limit
from flowmq._peer import disk_progressed, set_flush_scheduler
from flowmq.server.node import Node
from flowmq.storage.layout import DataDir
from flowmq.storage.store import Store
from tests.unit.support_plane import NO_LIMIT, Loop, Plane

ENTRY = struct.Struct("<IiQqQ")
WRITE, SYNC, DONE = 1, 2, 3
SECTOR = 512
PAGE = 4096


class Event(NamedTuple):
    """`at` is an offset in the trace: it orders events of the thread and of the loop."""

    at: int
    kind: str  # write, sync; create, resize, rename, unlink
    inode: int
    name: str = ""
    new_name: str = ""
    offset: int = 0
    data: bytes = b""
    size: int = 0


class Recorder:
    """Stands for `os` in the modules that change names in the directory, and notes each change."""

    def __init__(self, directory: Path, trace: Path) -> None:
        self.directory, self.trace = directory, trace
        self.events: list[Event] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)

    def now(self) -> int:
        return self.trace.stat().st_size if self.trace.exists() else 0

    def _note(self, kind: str, inode: int, path: str, **more: Any) -> None:
        assert Path(path).parent == self.directory, f"{kind} of {path}"
        self.events.append(Event(self.now(), kind, inode, Path(path).name, **more))

    def open(self, path: str, flags: int, *arguments: Any) -> int:
        made = bool(flags & os.O_CREAT)
        assert not made or not os.path.exists(path), f"{path} is made although it is there"
        descriptor = os.open(path, flags, *arguments)
        if made:
            self._note("create", os.fstat(descriptor).st_ino, path)
        return descriptor

    def posix_fallocate(self, descriptor: int, offset: int, size: int) -> None:
        os.posix_fallocate(descriptor, offset, size)
        self.events.append(Event(self.now(), "resize", os.fstat(descriptor).st_ino, size=offset + size))

    def rename(self, path: str, new_path: str) -> None:
        assert not os.path.exists(new_path), f"{new_path} is replaced"
        inode = os.stat(path).st_ino
        os.rename(path, new_path)
        self._note("rename", inode, path, new_name=Path(new_path).name)

    def unlink(self, path: str) -> None:
        inode = os.stat(path).st_ino
        os.unlink(path)
        self._note("unlink", inode, path)


class Trace:
    """The commit thread's trace, which may still be growing."""

    def __init__(self, path: Path) -> None:
        self.path, self.at = path, 0
        self.events: list[Event] = []
        self.done: dict[int, int] = {}  # number of a batch -> where the trace says that it was reported

    def read(self) -> None:
        """What has come since the last time, without an entry that is only half there."""
        with self.path.open("rb") as file:
            file.seek(self.at)
            octets = file.read()
        start = 0
        while start + ENTRY.size <= len(octets):
            kind, _, inode, offset, size = ENTRY.unpack_from(octets, start)
            data = octets[start + ENTRY.size : start + ENTRY.size + size]
            if len(data) < size:
                break
            start += ENTRY.size + size
            self._take(kind, inode, offset, data, self.at + start)
        self.at += start

    def _take(self, kind: int, inode: int, offset: int, data: bytes, end: int) -> None:
        if kind == DONE:
            self.done[offset] = end
        else:
            self.events.append(Event(end, {WRITE: "write", SYNC: "sync"}[kind], inode, offset=offset, data=data))

    def moment_of(self, number: int) -> int:
        """When that batch was reported as done."""
        if number not in self.done:
            self.read()
        return self.done[number]


def in_order(traced: Iterable[Event], noted: Iterable[Event]) -> list[Event]:
    """What the loop noted at an offset comes behind what the thread had traced up to there."""
    return sorted([*traced, *noted], key=lambda event: event.at)


# ------------------------------------------------------------------------------------------------ the state at a cut


class File:
    """Contents that are on disk, and changes of them that may be."""

    def __init__(self, durable: bytes = b"") -> None:
        self.durable = bytearray(durable)
        self.pending: list[tuple[int, bytes]] = []  # (offset, octets)
        self.size = len(durable)

    def sync(self) -> None:
        self.durable = self.whole()
        self.pending = []

    def whole(self) -> bytearray:
        return laid_over(self.durable, self.pending, self.size)


def laid_over(durable: bytes | bytearray, writes: Iterable[tuple[int, bytes]], size: int) -> bytearray:
    content = bytearray(durable)
    content.extend(bytes(max(0, size - len(content))))
    for offset, data in writes:
        content.extend(bytes(max(0, offset - len(content))))
        content[offset : offset + len(data)] = data
    return content


class Disk:
    """The directory at a point in the order of events."""

    def __init__(self, contents: dict[str, tuple[int, bytes]], directory_inode: int) -> None:
        self.directory_inode = directory_inode
        self.files = {inode: File(data) for inode, data in contents.values()}
        self.names = {name: self.files[inode] for name, (inode, _) in contents.items()}
        self.changes: list[tuple[Event, File]] = []  # of names, not synced

    def play(self, event: Event) -> None:
        if event.kind == "sync":
            self._sync(event.inode)
        elif event.kind == "write":
            file = self.files[event.inode]
            file.pending.append((event.offset, event.data))
            file.size = max(file.size, event.offset + len(event.data))
        elif event.kind == "resize":
            self.files[event.inode].size = max(self.files[event.inode].size, event.size)
        else:
            if event.kind == "create":
                self.files[event.inode] = File()
            self.changes.append((event, self.files[event.inode]))

    def _sync(self, inode: int) -> None:
        if inode == self.directory_inode:
            self.names = self.names_with(len(self.changes))
            self.changes = []
        else:
            self.files[inode].sync()

    def names_with(self, count: int) -> dict[str, File]:
        """After the first `count` of the changes that are not synced."""
        names = copy(self.names)
        for event, file in self.changes[:count]:
            if event.kind == "create":
                names[event.name] = file
            else:
                assert names.pop(event.name) is file, f"{event} of another file"
                if event.kind == "rename":
                    names[event.new_name] = file
        return names


# ---------------------------------------------------------------------------------------------------- legal losses

Loss = Callable[[File, Random], bytearray]


def lost(file: File, _: Random) -> bytearray:
    return bytearray(file.durable)


def kept(file: File, _: Random) -> bytearray:
    return file.whole()


def first_ones(file: File, random: Random) -> bytearray:
    """In order up to some sector in one of them."""
    count = random.randint(0, len(file.pending))
    writes = file.pending[:count]
    if count < len(file.pending):
        offset, data = file.pending[count]
        whole_sectors = (offset + random.randrange(len(data) + 1)) // SECTOR * SECTOR
        writes = [*writes, (offset, data[: max(0, whole_sectors - offset)])]
    return laid_over(file.durable, writes, size_of(file, random))


def some_writes(file: File, random: Random) -> bytearray:
    """Each whole, or not at all, or only some of its sectors."""
    writes: list[tuple[int, bytes]] = []
    for offset, data in file.pending:
        fate = random.choice(("kept", "lost", "torn"))
        if fate != "lost":
            parts = split_at(offset, data, SECTOR)
            writes.extend(part for part in parts if fate == "kept" or random.random() < 0.5)
    return laid_over(file.durable, writes, size_of(file, random))


def some_blocks(file: File, random: Random, block: int = PAGE) -> bytearray:
    """Blocks reach the disk in any order: each is as it was after any number of the writes to it."""
    parts = [part for offset, data in file.pending for part in split_at(offset, data, block)]
    seen: dict[int, int] = {}
    for offset, _ in parts:
        seen[offset // block] = seen.get(offset // block, 0) + 1
    left = {number: random.randint(0, count) for number, count in seen.items()}
    writes = []
    for offset, data in parts:
        if left[offset // block]:
            left[offset // block] -= 1
            writes.append((offset, data))
    return laid_over(file.durable, writes, size_of(file, random))


def some_sectors(file: File, random: Random) -> bytearray:
    return some_blocks(file, random, SECTOR)


def last_one_only(file: File, random: Random) -> bytearray:
    """The opposite of the order in which they were written."""
    return laid_over(file.durable, file.pending[-1:], size_of(file, random))


def size_of(file: File, random: Random) -> int:
    """A size that is not synced is there or not."""
    return random.choice((0, file.size))


def split_at(offset: int, data: bytes, block: int) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at < len(data):
        count = min(block - (offset + at) % block, len(data) - at)
        yield offset + at, data[at : at + count]
        at += count


LOSSES: tuple[Loss, ...] = (lost, kept, first_ones, some_writes, some_blocks, some_sectors, last_one_only)


class State(NamedTuple):
    contents: dict[str, bytes]
    what: str


def states(disk: Disk, random: Random) -> Iterator[State]:
    """One of each kind; changes of names are kept in their order up to a point, which is drawn."""
    for loss in LOSSES:
        changes = random.choice((0, len(disk.changes), random.randint(0, len(disk.changes))))
        if loss in (lost, kept) and random.random() < 0.5:
            changes = 0 if loss is lost else len(disk.changes)
        contents = {name: bytes(loss(file, random)) for name, file in disk.names_with(changes).items()}
        yield State(contents, f"{loss.__name__}, {changes} of {len(disk.changes)} changes of names")


# ------------------------------------------------------------------------------------ the broker on such a directory


class DurablePlane(Plane):
    """A broker with a store. `prepare` gets the store when everything is read back and nothing is written yet."""

    def __init__(self, path: Path, segment_bytes: int, prepare: Callable[[Store], None] | None = None) -> None:
        super().__init__()
        self.ended: bool | None = None
        self.loop = Loop()
        set_flush_scheduler(self.loop.call_soon)
        self.store = Store(DataDir.open_or_create(path), segment_bytes)
        self.node = Node(self.node.settings, self.loop, self.store)  # type: ignore[arg-type]
        if prepare is not None:
            prepare(self.store)
        self.node.start_store()
        self.journal = self.store.journal

    def __enter__(self) -> Self:
        return self

    def settle(self) -> None:
        """Until nothing waits for the disk; returns also when it has failed."""
        while self.journal.committed < self.journal.submitted and not self.journal.error:
            self.journal.thread.wait(self.journal.submitted)
            self.progress()

    def progress(self) -> None:
        disk_progressed()
        self.loop.run()
        for client in self.clients:
            client.feed(b"")

    def end(self) -> bool:
        """As a broker that is told to stop, once: False when the disk had failed."""
        if self.ended is not None:
            return self.ended
        for client in self.clients:
            if client.connection.transport is not None:
                client.lose()
        self.ended = self.node.stop_store()
        set_flush_scheduler(None)  # type: ignore[arg-type]
        set_memory_limit(NO_LIMIT)
        return self.ended

    def __exit__(self, kind: type | None, *_: object) -> None:
        self.end()
