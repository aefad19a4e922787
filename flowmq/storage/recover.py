"""flowmq recover: makes a journal readable again whose disk has lost or changed some of it, without what was lost.

Nothing moves inside a segment, since targets and headers name offsets: a copy of the damaged file is written in which
a batch of one meaningless record stands where the damage was. The copies are read back as a whole before the first of
them takes its place, and the damaged files are kept in journal/corrupt-N/.
"""

import os
import shutil
import struct
from collections.abc import Iterable
from pathlib import Path

from flowmq._checksum import crc32c
from flowmq._replay import Replay, SegmentView, Skipped
from flowmq.storage.inspect import read_journal
from flowmq.storage.layout import DataDir, NumberedFile, StorageError, storage_errors, sync_directory, write_file

BATCH_HEAD_OCTETS, RECORD_HEAD_OCTETS = 40, 12
NEW_SUFFIX = ".new"


def recover(directory: DataDir) -> Path:
    """Needs the lock held. Returns where the damaged files are kept."""
    replay = read_journal(directory, skip_corrupt=True)
    with storage_errors(directory.journal):
        repaired = write_repaired(directory, replay)
        try:
            check_repaired(directory, replay, repaired)
        except BaseException:
            for path in repaired.values():
                path.unlink()
            raise
        return put_in_place(directory, replay, repaired)


def damage_by_segment(replay: Replay) -> dict[int, list[Skipped]]:
    damage: dict[int, list[Skipped]] = {}
    for gap in replay.skipped:
        damage.setdefault(gap.number, []).append(gap)
    return damage


# ------------------------------------------------------------------------------------------------------- the new files


def write_repaired(directory: DataDir, replay: Replay) -> dict[int, Path]:
    """By segment number, beside the damaged files."""
    damage, repaired = damage_by_segment(replay), {}
    before: SegmentView | None = None
    for segment in replay.segments():
        if segment.number in damage:
            path = directory.segment_path(segment.number)
            octets = repaired_octets(path.read_bytes(), segment, before, damage[segment.number])
            repaired[segment.number] = path.with_suffix(NEW_SUFFIX)
            write_file(repaired[segment.number], octets)
        before = segment
    return repaired


def repaired_octets(octets: bytes, segment: SegmentView, before: SegmentView | None, gaps: Iterable[Skipped]) -> bytes:
    repaired = bytearray(octets)
    for gap in gaps:
        if gap.what == "header":
            put(repaired, 0, header(segment, before))
        elif gap.what == "batch":
            put(repaired, gap.offset, filler(segment.seed, gap))
        elif gap.what == "record":
            put(repaired, gap.offset, nothing(segment.seed, gap.octets - RECORD_HEAD_OCTETS))
    if segment.summary_at:
        # It tells of what is lost, too: without it the segment is read whole.
        put(repaired, segment.summary_at, filler(segment.seed, summary_gap(segment, repaired)))
    return bytes(repaired)


def put(into: bytearray, offset: int, octets: bytes) -> None:
    if len(into) < offset:
        into.extend(bytes(offset - len(into)))
    into[offset : offset + len(octets)] = octets


def header(segment: SegmentView, before: SegmentView | None) -> bytes:
    previous, previous_end = (0, 0) if before is None else (before.number, before.end)
    previous_summary = 0 if before is None else before.summary_at
    numbers = (1, segment.seed, segment.number, previous, previous_end, segment.file_octets, previous_summary)
    octets = b"FLOWMQ\x00\x01" + struct.pack("<IIQQQQQ4x", *numbers)
    return octets + struct.pack("<I", crc32c(octets))


def filler(seed: int, gap: Skipped) -> bytes:
    """A batch that holds nothing, as long as the gap. It vouches for nothing: its durable position is 0, 0."""
    records_octets = gap.octets - BATCH_HEAD_OCTETS
    if records_octets != 0 and records_octets < RECORD_HEAD_OCTETS:
        raise StorageError(f"segment {gap.number:016x}: a gap of {gap.octets} octets at {gap.offset} cannot be closed")
    records = nothing(seed, records_octets - RECORD_HEAD_OCTETS) if records_octets else b""
    said = struct.pack("<QIIQQ", gap.batch_number, records_octets, 1 if records else 0, 0, 0)
    return b"BTCH" + struct.pack("<I", crc32c(said, seed)) + said + records


def summary_gap(segment: SegmentView, octets: bytes | bytearray) -> Skipped:
    (batch_number,) = struct.unpack_from("<Q", octets, segment.summary_at + 8)
    return Skipped("summary", segment.number, segment.summary_at, segment.summary_octets, "", batch_number)


def nothing(seed: int, payload_octets: int) -> bytes:
    """A record of type 0."""
    size, behind = struct.pack("<I", payload_octets), bytes(4 + payload_octets)
    return size + struct.pack("<I", crc32c(size + behind, seed)) + behind


# ----------------------------------------------------------------------------------------------------- their places


def check_repaired(directory: DataDir, replay: Replay, repaired: dict[int, Path]) -> None:
    """The journal as it will be reads without a fault and says what was reported, or nothing is changed."""
    readable = {segment.number for segment in replay.segments()}
    files = [NumberedFile(file.number, repaired.get(file.number, file.path)) for file in directory.segments()]
    new = Replay()
    new.read([file for file in files if file.number in readable])
    found, expected = ({key: each.count for key, each in one.queues().items()} for one in (new, replay))
    if found != expected:
        raise StorageError(
            f"{directory.journal}: the repaired journal does not hold what was expected; nothing changed"
        )


def put_in_place(directory: DataDir, replay: Replay, repaired: dict[int, Path]) -> Path:
    kept = new_directory(directory.journal)
    damaged = sorted(damage_by_segment(replay))
    for number in damaged:
        keep(directory.segment_path(number), kept)
    sync_directory(kept)
    sync_directory(directory.journal)
    for number in damaged:
        path = directory.segment_path(number)
        if number in repaired:
            os.rename(repaired[number], path)
        elif path.exists():
            path.unlink()
    sync_directory(directory.journal)
    return kept


def new_directory(journal: Path) -> Path:
    number = 1
    while (journal / f"corrupt-{number}").exists():
        number += 1
    kept = journal / f"corrupt-{number}"
    kept.mkdir()
    return kept


def keep(path: Path, kept: Path) -> None:
    """A second name where the file system has those: the octets as they are, without room for a copy."""
    try:
        os.link(path, kept / path.name)
    except OSError:
        copy = kept / path.name
        shutil.copyfile(path, copy)
        with open(copy, "rb") as file:
            os.fsync(file.fileno())
