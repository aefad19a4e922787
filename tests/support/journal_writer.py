"""Writes journals as docs/format.md says, in plain Python: the judge shares no code with the judged.

A Segment is the octets of one file with a cursor; its records are functions that return octets. Nothing here is fast,
and nothing checks what it is told to write: broken journals are written with it too.
"""

import struct
from collections.abc import Iterable, Iterator
from pathlib import Path

HEADER_OCTETS, BATCH_HEAD_OCTETS, RECORD_HEAD_OCTETS = 64, 40, 12
MESSAGE, TARGET, SETTLED, DELIVERED, RETURNED, STATE, DEFINITION, DEFINITIONS, GONE, SUMMARY, ASIDE = range(1, 12)


def checksum_table() -> list[int]:
    table = []
    for octet in range(256):
        for _ in range(8):
            octet = octet >> 1 ^ (0x82F63B78 if octet & 1 else 0)
        table.append(octet)
    return table


TABLE = checksum_table()


def checksum(seed: int, octets: bytes) -> int:
    state = seed ^ 0xFFFFFFFF
    for octet in octets:
        state = TABLE[(state ^ octet) & 0xFF] ^ state >> 8
    return state ^ 0xFFFFFFFF


# ------------------------------------------------------------------------------------------------------ the records
# Each is (type, payload).

Record = tuple[int, bytes]


def message(
    queue: int,
    sequence: int,
    body: bytes = b"",
    *,
    returned: int = 0,
    expires: int = 0,
    flags: int = 0,
    exchange: bytes = b"",
    key: bytes = b"k",
    header: bytes = b"header",
) -> Record:
    names = bytes([len(exchange)]) + exchange + bytes([len(key)]) + key
    fixed = struct.pack(
        "<IIQQB3xIIIQ", queue, returned, sequence, expires, flags, len(names), len(header), 0, len(body)
    )
    return MESSAGE, fixed + names + header + body


def target(queue: int, sequence: int, offset: int, *, returned: int = 0, expires: int = 0, flags: int = 0) -> Record:
    return TARGET, struct.pack("<IIQQB3xIQ", queue, returned, sequence, expires, flags, 0, offset)


def settled(queue: int, first: int, last: int | None = None) -> Record:
    return SETTLED, struct.pack("<IIQQ", queue, 0, first, first if last is None else last)


def delivered(queue: int, sequence: int) -> Record:
    return DELIVERED, struct.pack("<IIQ", queue, 0, sequence)


def returned(queue: int, sequence: int, count: int) -> Record:
    return RETURNED, struct.pack("<IIQ", queue, count, sequence)


def aside(queue: int, sequence: int, count: int, ready_at_ms: int) -> Record:
    return ASIDE, struct.pack("<IIQQ", queue, count, sequence, ready_at_ms)


def state(queue: int, next_sequence: int, delivered: int, ranges: Iterable[tuple[int, int]] = ()) -> Record:
    intervals = list(ranges)
    fixed = struct.pack("<IIQQ", queue, len(intervals), next_sequence, delivered)
    return STATE, fixed + b"".join(struct.pack("<QQ", *interval) for interval in intervals)


def definition(payload: bytes) -> Record:
    return DEFINITION, payload


def definitions(payload: bytes) -> Record:
    return DEFINITIONS, payload


def gone(queue: int) -> Record:
    return GONE, struct.pack("<II", queue, 0)


def summary(octets: bytes) -> Record:
    return SUMMARY, octets


def encode_record(seed: int, record: Record) -> bytes:
    kind, payload = record
    size, behind = struct.pack("<I", len(payload)), struct.pack("<B3x", kind)
    return size + struct.pack("<I", checksum(seed, size + behind + payload)) + behind + payload


# ------------------------------------------------------------------------------------------------------ the summary


class SummaryReader:
    """What a summary says: (sequence, offset, body, flags, extra) of the messages of each queue, and facts."""

    def __init__(self, octets: bytes) -> None:
        self.octets, self.at = octets, 0
        self.batches, self.records, self.record_octets = self.number(), self.number(), self.number()
        self.definitions: list[int] = []
        for _ in range(self.number()):
            self.definitions.append(sum(self.definitions[-1:]) + self.number())
        self.expiries: dict[int, list[tuple[int, int, bool]]] = {}  # of each part: first, newest, unevenly
        self.messages: dict[int, list[tuple[int, ...]]] = {}
        for _ in range(self.number()):
            self._part()
        self.facts = dict(self._facts() for _ in range(self.number()))
        assert self.at == len(octets)

    def number(self) -> int:
        value = shift = 0
        while True:
            octet = self.octets[self.at]
            self.at += 1
            value |= (octet & 0x7F) << shift
            shift += 7
            if octet < 0x80:
                return value

    def _part(self) -> None:
        queue, count, last, last_offset, record_octets, expires, flags, size = (self.number() for _ in range(8))
        expires_last = self.number()
        end, found = self.at + size, list(self._groups(self.at + size))
        assert self.at == end
        assert (len(found), found[-1][:2]) == (count, (last, last_offset))
        assert sum(body + extra if not kind & 1 else 52 for _, _, body, kind, extra in found) == record_octets
        assert {flags | kind for _, _, _, kind, _ in found} == {flags}
        self.expiries.setdefault(queue, []).append((expires, expires_last, bool(flags & 4)))
        self.messages.setdefault(queue, []).extend(found)

    def _groups(self, end: int) -> Iterator[tuple[int, ...]]:
        sequence = offset = 0
        while self.at < end:
            repeat_and_kind, sequence_step, offset_step, body, extra = (self.number() for _ in range(5))
            for _ in range(repeat_and_kind >> 2):
                sequence, offset = sequence + sequence_step, offset + offset_step
                yield sequence, offset, body, repeat_and_kind & 3, extra

    def _facts(self) -> tuple[int, tuple[object, ...]]:
        queue_and_gone, next_sequence, delivered = self.number(), self.number(), self.number()
        settled, returned, last = set(), {}, 0
        for _ in range(self.number()):
            first = last + self.number()
            last = first + self.number()
            settled.update(range(first, last + 1))
        sequence = 0
        for _ in range(self.number()):
            sequence += self.number()
            returned[sequence] = (self.number(), self.number())
        return queue_and_gone >> 1, (bool(queue_and_gone & 1), next_sequence, delivered, settled, returned)


# ------------------------------------------------------------------------------------------------------ the segments


class Segment:
    def __init__(
        self,
        number: int,
        previous: int = 0,
        previous_end: int = 0,
        *,
        previous_summary: int = 0,
        seed: int = 0x5EED,
        size: int = 4096,
    ):
        self.number, self.seed = number, seed
        numbers = (1, seed, number, previous, previous_end, size, previous_summary)
        fixed = b"FLOWMQ\x00\x01" + struct.pack("<IIQQQQQ4x", *numbers)
        self.octets = bytearray(fixed + struct.pack("<I", checksum(0, fixed))).ljust(size, b"\0")
        self.end = HEADER_OCTETS
        self.batches: list[int] = []

    def batch(self, number: int, records: Iterable[Record], durable: tuple[int, int] = (0, 0)) -> list[int]:
        """Appends one; returns where its records stand."""
        start, offsets, encoded = self.end, [], b""
        for record in records:
            offsets.append(start + BATCH_HEAD_OCTETS + len(encoded))
            encoded += encode_record(self.seed, record)
        fixed = struct.pack("<QIIQQ", number, len(encoded), len(offsets), *durable)
        octets = b"BTCH" + struct.pack("<I", checksum(self.seed, fixed)) + fixed + encoded
        self.end = start + len(octets)
        if self.end > len(self.octets):
            raise ValueError(f"segment {self.number} is full")
        self.octets[start : self.end] = octets
        self.batches.append(start)
        return offsets

    def next_offset(self) -> int:
        """Where the first record of the next batch will stand."""
        return self.end + BATCH_HEAD_OCTETS

    def follower(self, *, seed: int = 0xF00D, size: int = 4096) -> "Segment":
        return Segment(self.number + 1, self.number, self.end, seed=seed, size=size)

    def write(self, directory: Path) -> tuple[int, Path]:
        path = directory / f"{self.number:016x}.segment"
        path.write_bytes(self.octets)
        return self.number, path


def record_octets(record: Record) -> int:
    return RECORD_HEAD_OCTETS + len(record[1])


def write_data_dir(path: Path, segments: Iterable[Segment]) -> list[tuple[int, Path]]:
    (path / "journal").mkdir(parents=True, exist_ok=True)
    (path / "FORMAT").write_text("FlowMQ data directory, format 1\n")
    return [segment.write(path / "journal") for segment in segments]
