"""What became of every message, as its publisher and its consumers saw it, and the verdict on what a restart gave back.

Pure bookkeeping: no sockets, no files, no clock. Threads write into it as things happen; each copy of a message belongs
to one publisher before its confirm and to one consumer after its delivery, so plain attributes will do. A fault is one
sentence; an empty list of them is the verdict everybody hopes for.

A message is its name, `RUN.CHANNEL.NUMBER`: body and properties follow from it, so that whoever gets one can tell
whether it came unchanged. A copy is a message in a queue.
"""

import enum
import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

# (share of 256, octets at most): mostly small, some of several frames, some none at all.
SIZES = ((8, 0), (180, 200), (56, 4_000), (10, 40_000), (2, 300_000))
FAULTS_SHOWN = 20


class Sure(enum.IntEnum):
    """How much speaks for it that the broker remembers an ack, or that it has handed something out."""

    NOT = 0
    SEEN = 1  # the ack was about to be written, the delivery came: nothing was asked since
    ANSWERED = 2  # a call behind it on the same channel was answered
    SYNCED = 3  # ... a call whose answer waits for the disk
    NEVER = 4


@dataclass(frozen=True)
class Promises:
    """From when on the broker under test says it remembers."""

    acks: Sure = Sure.ANSWERED
    marks: Sure = Sure.SEEN
    marked_unseen_max: int = 100  # per queue: what a consumer's prefetch lets be on its way unseen


@dataclass
class Copy:
    queue: str
    message: str
    persistent: bool
    confirmed: bool = False
    in_hand: bool = False
    handed_out: Sure = Sure.NOT
    settled: Sure = Sure.NOT
    gone: bool = False

    @property
    def stream(self) -> tuple[str, str]:
        """Copies of one stream keep their order: one channel's messages in one queue."""
        return self.queue, self.message.rpartition(".")[0]

    @property
    def number(self) -> int:
        return int(self.message.rpartition(".")[2])

    def __str__(self) -> str:
        return f"message {self.message} in {self.queue}"


class Taken(NamedTuple):
    """A copy as it came out of a queue."""

    queue: str
    body: bytes
    properties: dict[str, Any]
    redelivered: bool


def is_persistent(message: str) -> bool:
    """One message in eight is transient."""
    return hashlib.blake2b(message.encode(), digest_size=1).digest()[0] % 8 != 0


def body_of(message: str) -> bytes:
    dice = hashlib.blake2b(message.encode(), digest_size=6, key=b"size").digest()
    choice, size = dice[0], int.from_bytes(dice[1:], "big")
    for share, most in SIZES:
        if choice < share:
            return hashlib.shake_128(message.encode()).digest(size % (most + 1))
        choice -= share
    raise AssertionError("the shares do not add up")


def properties_of(message: str) -> dict[str, Any]:
    return {
        "headers": {"number": int(message.rpartition(".")[2])},
        "delivery_mode": 2 if is_persistent(message) else 1,
        "message_id": message,
    }


@dataclass
class History:
    promises: Promises = field(default_factory=Promises)
    copies: dict[tuple[str, str], Copy] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    newest: dict[tuple[str, str], int] = field(default_factory=dict)
    marked_unseen: dict[str, int] = field(default_factory=dict)

    def fault(self, text: str) -> None:
        self.faults.append(text)

    # what the publisher does and sees

    def published(self, message: str, queues: Iterable[str]) -> list[Copy]:
        """About to be written to the socket."""
        copies = [Copy(queue, message, is_persistent(message)) for queue in queues]
        self.copies.update({(copy.queue, copy.message): copy for copy in copies})
        return copies

    # what a consumer does and sees

    def taken(self, taken: Taken) -> Copy | None:
        message = str(taken.properties.get("message_id"))
        copy = self.copies.get((taken.queue, message))
        if copy is None:
            self.fault(f"message {message!r} came out of {taken.queue}, where nobody had published it")
            return None
        self._check_content(copy, taken)
        self._check_right_to_come(copy)
        self._check_mark(copy, taken.redelivered)
        self._check_order(copy, taken.redelivered)
        copy.handed_out = max(copy.handed_out, Sure.SEEN)
        copy.settled = Sure.NOT  # it has come back: from now on it is owed again
        copy.in_hand = True
        return copy

    def _check_content(self, copy: Copy, taken: Taken) -> None:
        if taken.body != body_of(copy.message):
            self.fault(f"{copy}: the body changed ({len(taken.body)} octets came)")
        if taken.properties != properties_of(copy.message):
            self.fault(f"{copy}: the properties changed: {taken.properties}")

    def _check_right_to_come(self, copy: Copy) -> None:
        if copy.in_hand:
            self.fault(f"{copy} was handed out a second time while the first was neither settled nor given up")
        elif copy.gone:
            self.fault(f"{copy} came back after it had not been there any more")
        elif copy.settled >= self.promises.acks:
            self.fault(f"{copy} came back after its acknowledgement")

    def _check_mark(self, copy: Copy, redelivered: bool) -> None:
        if copy.handed_out >= self.promises.marks and not redelivered:
            self.fault(f"{copy} came back without being marked as redelivered")
        if redelivered and not copy.handed_out:
            self.marked_unseen[copy.queue] = self.marked_unseen.get(copy.queue, 0) + 1

    def _check_order(self, copy: Copy, redelivered: bool) -> None:
        if redelivered or copy.handed_out:
            return
        before = self.newest.get(copy.stream, 0)
        if copy.number <= before:
            self.fault(f"{copy} came after number {before} of its channel")
        self.newest[copy.stream] = max(before, copy.number)

    def given_up(self, copies: Iterable[Copy]) -> None:
        """Requeued, or in the hands of a connection that has ended."""
        for copy in copies:
            copy.in_hand = False

    def acknowledging(self, copies: Iterable[Copy]) -> None:
        """About to be written to the socket."""
        for copy in copies:
            copy.in_hand = False
            copy.settled = Sure.SEEN

    @staticmethod
    def answered(acknowledged: Iterable[Copy], handed_out: Iterable[Copy], sure: Sure) -> None:
        """A call behind these acks and deliveries was answered."""
        for copy in acknowledged:
            copy.settled = max(copy.settled, sure)
        for copy in handed_out:
            copy.handed_out = max(copy.handed_out, sure)

    # the verdict

    def broker_died(self) -> None:
        """Every connection is gone. What was transient must not come back, whatever had been confirmed."""
        self.marked_unseen.clear()
        for copy in self.copies.values():
            copy.in_hand = False
            copy.gone = copy.gone or not copy.persistent

    def drained(self, present: set[tuple[str, str]]) -> None:
        """All that the queues held was taken out of them (and told to `taken`): what is missing?"""
        for key, copy in self.copies.items():
            if key in present or copy.gone:
                continue
            copy.gone = True
            if copy.confirmed and copy.settled is Sure.NOT:
                self.fault(f"{copy} is lost: confirmed, never acknowledged, not there")
        self._check_marked_unseen()

    def _check_marked_unseen(self) -> None:
        for queue, count in self.marked_unseen.items():
            if count > self.promises.marked_unseen_max:
                self.fault(f"{queue}: {count} messages marked as redelivered that nobody had been given")

    def waiting(self) -> Iterator[Copy]:
        return (copy for copy in self.copies.values() if not copy.gone)

    def report(self) -> str:
        shown = self.faults[:FAULTS_SHOWN]
        more = len(self.faults) - len(shown)
        return "\n".join([f"{len(self.faults)} faults:", *shown, *([f"... and {more} more"] if more else [])])

    def check(self) -> None:
        assert not self.faults, self.report()
