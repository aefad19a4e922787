"""Reading a journal back: what lives in it, where it ends, and that nothing damaged is ever taken for good."""

import random
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from flowmq._replay import CorruptJournal, Replay
from tests.support import journal_writer as write
from tests.support.journal_writer import Segment

Files = list[tuple[int, Path]]


def read(files: Files, *, skip_corrupt: bool = False) -> Replay:
    replay = Replay()
    replay.read(files, skip_corrupt=skip_corrupt)
    return replay


def read_segments(directory: Path, segments: Iterable[Segment], *, skip_corrupt: bool = False) -> Replay:
    return read([segment.write(directory) for segment in segments], skip_corrupt=skip_corrupt)


def read_records(directory: Path, *records: write.Record) -> Replay:
    segment = Segment(1)
    segment.batch(1, records)
    return read_segments(directory, [segment])


def sequences(replay: Replay, queue_id: int = 1) -> list[int]:
    return [found.sequence for found in replay.messages(queue_id)]


# ------------------------------------------------------------------------------------------------------- what lives


def test_a_journal_without_segments_is_empty() -> None:
    replay = read([])
    assert (replay.queues(), replay.segments(), replay.definitions()) == ({}, [], [])
    assert (replay.end_segment, replay.end_offset, replay.batch_number, replay.cut_octets) == (0, 0, 0, 0)


def test_a_segment_without_batches_is_empty(tmp_path: Path) -> None:
    replay = read_segments(tmp_path, [Segment(1)])
    assert (replay.queues(), replay.end_segment, replay.end_offset, replay.cut_octets) == ({}, 1, 64, 0)


def test_a_message_has_its_place_and_its_facts(tmp_path: Path) -> None:
    segment = Segment(9, 8, 500)
    record = write.message(4, 77, b"body", returned=2, expires=123456789012, flags=1, exchange=b"x", key=b"")
    [_, offset] = segment.batch(12, [write.definition(b"d"), record])
    replay = read_segments(tmp_path, [segment])
    [found] = replay.messages(4)
    octets = write.record_octets(record)
    assert found == (77, 9, offset, offset, octets, 4, 2, True, 123456789012)
    [seen] = replay.segments()
    assert (seen.number, seen.end, seen.batches, seen.records, seen.live_targets) == (9, segment.end, 1, 2, 1)
    assert (seen.record_octets, seen.live_octets) == (octets + 13, octets)
    assert (replay.batch_number, replay.end_segment, replay.end_offset) == (12, 9, segment.end)
    assert replay.queues()[4].next_sequence == 78


def test_a_target_points_to_the_message_and_its_body_counts_once(tmp_path: Path) -> None:
    segment = Segment(1)
    record = write.message(1, 5, b"shared")
    offset = segment.next_offset()
    offsets = segment.batch(1, [record, write.target(2, 8, offset), write.target(3, 1, offset, flags=1)])
    segment.batch(2, [write.settled(1, 5)])
    replay = read_segments(tmp_path, [segment])
    assert replay.messages(1) == []
    assert replay.messages(2) == [(8, 1, offsets[1], offset, write.record_octets(record), 6, 0, False, 0)]
    assert replay.messages(3) == [(1, 1, offsets[2], offset, write.record_octets(record), 6, 1, True, 0)]
    [seen] = replay.segments()
    assert (seen.live_targets, seen.live_octets) == (2, write.record_octets(record) + 2 * 52)


def test_settled_counts_wherever_it_stands(tmp_path: Path) -> None:
    records = [write.message(1, number) for number in range(1, 8)]
    replay = read_records(tmp_path, write.settled(1, 2), *records, write.settled(1, 4, 5), write.settled(2, 1, 9))
    assert sequences(replay) == [1, 3, 6, 7]
    assert replay.queues()[1].settled.ranges() == [(2, 2), (4, 5)]
    assert replay.queues()[2].next_sequence == 10


def test_of_a_message_written_twice_the_later_counts(tmp_path: Path) -> None:
    first = Segment(1)
    first.batch(1, [write.message(1, number, b"old") for number in (1, 2, 3, 4)])
    second = first.follower()
    second.batch(2, [write.message(1, 5), write.message(1, 3, b"newer"), write.message(1, 2, b"new")])
    third = second.follower()
    third.batch(3, [write.message(1, 3, b"newest"), write.message(1, 6)])
    replay = read_segments(tmp_path, [first, second, third])
    assert [(found.sequence, found.segment, found.body_bytes) for found in replay.messages(1)] == [
        *((1, 1, 3), (2, 2, 3), (3, 3, 6), (4, 1, 3), (5, 2, 0), (6, 3, 0))
    ]
    assert [seen.live_targets for seen in replay.segments()] == [2, 2, 2]


def test_what_was_handed_out_or_came_back_is_redelivered(tmp_path: Path) -> None:
    messages = [write.message(1, 1), write.message(1, 2, flags=1), write.message(1, 3, returned=4, flags=1)]
    messages += [write.message(1, number) for number in (4, 5, 6)]
    marks = [write.delivered(1, 1), write.returned(1, 5, 2), write.returned(1, 5, 3), write.returned(1, 3, 2)]
    replay = read_records(tmp_path, *messages, *marks)
    assert [(found.sequence, found.delivery_count, found.redelivered) for found in replay.messages(1)] == [
        *((1, 1, True), (2, 1, True), (3, 4, True), (4, 0, False), (5, 3, True), (6, 0, False))
    ]


def test_no_number_that_was_ever_named_is_given_again(tmp_path: Path) -> None:
    records = [write.delivered(1, 10), write.returned(2, 20, 1), write.settled(3, 5, 30), write.state(4, 41, 7)]
    replay = read_records(tmp_path, *records)
    assert {key: queue.next_sequence for key, queue in replay.queues().items()} == {1: 11, 2: 21, 3: 31, 4: 41}


def test_a_queue_state_is_as_good_as_the_records_it_replaces(tmp_path: Path) -> None:
    messages = [write.message(1, number) for number in range(1, 10)]
    replay = read_records(tmp_path, *messages, write.state(1, 50, 6, [(1, 2), (5, 7)]), write.settled(1, 8))
    assert [(found.sequence, found.redelivered) for found in replay.messages(1)] == [(3, True), (4, True), (9, False)]
    assert replay.queues()[1].next_sequence == 50


def test_a_queue_that_has_gone_has_no_messages(tmp_path: Path) -> None:
    replay = read_records(tmp_path, write.message(1, 1), write.message(2, 1), write.gone(1), write.message(1, 2))
    assert (sequences(replay, 1), sequences(replay, 2)) == ([], [1])
    assert replay.queues()[1].gone


def test_definitions_begin_with_the_last_snapshot(tmp_path: Path) -> None:
    changes = [write.definition(b"a"), write.definitions(b"all"), write.definition(b"b"), write.definition(b"c")]
    assert read_records(tmp_path, *changes).definitions() == [(8, b"all"), (7, b"b"), (7, b"c")]


def test_a_body_that_looks_like_a_batch_is_a_body(tmp_path: Path) -> None:
    inner = Segment(1, seed=99)
    inner.batch(7, [write.message(1, 9)], (1, 4000))
    replay = read_records(tmp_path, write.message(1, 1, bytes(inner.octets[64 : inner.end])))
    assert (sequences(replay), replay.batch_number) == ([1], 1)


def test_ten_thousand_settled_out_of_order(tmp_path: Path) -> None:
    numbers = list(range(1, 3001))
    random.Random(4).shuffle(numbers)
    segment = Segment(1, size=400_000)
    segment.batch(1, [write.message(1, number, header=b"") for number in range(1, 3001)])
    segment.batch(2, [write.settled(1, number) for number in numbers[:2990]])
    assert sequences(read_segments(tmp_path, [segment])) == sorted(numbers[2990:])


# ------------------------------------------------------------------------------------------------------ where it ends


def two_batches(size: int = 600) -> Segment:
    """The second says that the first was on disk."""
    segment = Segment(1, size=size)
    segment.batch(5, [write.message(1, 1, b"first"), write.definition(b"d")])
    segment.batch(6, [write.message(1, 2, b"second"), write.settled(1, 1)], (1, segment.end))
    return segment


@pytest.mark.parametrize("garbage", [b"\0", b"\xff", b"BTCH"])
def test_a_batch_torn_anywhere_is_cut_whole_and_reported(tmp_path: Path, garbage: bytes) -> None:
    whole = two_batches()
    begin, end = whole.batches[1], whole.end
    for torn in range(begin, end):
        segment = two_batches()
        segment.octets[torn:] = (garbage * len(segment.octets))[: len(segment.octets) - torn]
        if segment.octets[:end] == whole.octets[:end]:
            continue
        replay = read_segments(tmp_path, [segment])
        assert sequences(replay) == [1]
        assert (replay.end_segment, replay.end_offset, replay.batch_number) == (1, begin, 5)
        if segment.octets[begin : begin + 40] == whole.octets[begin : begin + 40]:
            assert (replay.cut_octets, replay.batch_number_seen) == (end - begin, 6)
        elif torn >= begin + 16:
            assert replay.cut_octets == 40


def test_a_file_that_ends_within_a_batch_is_torn(tmp_path: Path) -> None:
    for size in range(two_batches().batches[1], two_batches().end):
        segment = two_batches()
        del segment.octets[size:]
        replay = read_segments(tmp_path, [segment])
        assert (sequences(replay), replay.end_offset) == ([1], segment.batches[1])


def test_unsynced_batches_behind_a_torn_one_are_cut_with_it(tmp_path: Path) -> None:
    segment = two_batches()
    segment.batch(7, [write.message(1, 3)], (1, segment.batches[1]))
    segment.octets[segment.batches[1] + 60] ^= 1
    replay = read_segments(tmp_path, [segment])
    assert (sequences(replay), replay.end_offset) == ([1], segment.batches[1])
    assert (replay.cut_octets, replay.batch_number_seen) == (segment.end - segment.batches[1], 7)


def test_what_an_earlier_cut_left_is_not_read_again(tmp_path: Path) -> None:
    """After a cut at the second batch, new ones of higher numbers were written over the place; older ones follow."""
    segment = Segment(1)
    segment.batch(5, [write.message(1, 1)])
    begin = segment.end
    segment.batch(6, [write.message(1, 2)])
    segment.batch(7, [write.message(1, 3)], (1, begin))
    segment.end = begin
    segment.batch(8, [write.message(1, 2)], (1, begin))
    replay = read_segments(tmp_path, [segment])
    assert (sequences(replay), replay.batch_number, replay.end_offset) == ([1, 2], 8, segment.end)
    assert replay.cut_octets == 0


def test_what_another_segment_left_in_the_file_is_nothing(tmp_path: Path) -> None:
    older = Segment(1, seed=1)
    for number in range(1, 20):
        older.batch(number, [write.message(1, number)], (1, older.end))
    segment = Segment(30, 29, 700, seed=2)
    segment.octets[64:] = older.octets[64:]
    assert sequences(read_segments(tmp_path, [segment])) == []
    segment.batch(40, [write.message(1, 100)])
    replay = read_segments(tmp_path, [segment])
    assert (sequences(replay), replay.end_offset, replay.cut_octets) == ([100], segment.end, 0)


def test_a_segment_whose_header_never_reached_the_disk_was_never_begun(tmp_path: Path) -> None:
    first = two_batches()
    recycled = Segment(2, 1, first.end)
    older = Segment(1, seed=3)
    older.batch(1, [write.message(1, 50)])
    older.batch(2, [write.message(1, 51)], (1, older.end))
    for octets in (bytes(4096), b"", bytes(older.octets), b"FLOWMQ\x00\x01" + bytes(600)):
        recycled.octets = bytearray(octets)
        replay = read_segments(tmp_path, [first, recycled])
        assert (sequences(replay), replay.end_segment, replay.end_offset) == ([2], 1, first.end)
        assert replay.abandoned == [tmp_path / "0000000000000002.segment"]


def unsynced_segments() -> list[Segment]:
    """Three in a row, begun one after the other before any of them was on disk."""
    first = two_batches()
    second = first.follower(size=600)
    second.batch(7, [write.message(1, 3)])
    third = second.follower(seed=0xBEEF, size=600)
    third.batch(8, [write.message(1, 4)])
    return [first, second, third]


@pytest.mark.parametrize(("torn", "left"), [(0, [1]), (1, [2]), (2, [2, 3])])
def test_a_cut_before_a_segment_was_on_disk_leaves_out_those_behind_it(
    tmp_path: Path, torn: int, left: list[int]
) -> None:
    segments = unsynced_segments()
    end = segments[torn].batches[-1]
    segments[torn].octets[end + 50] ^= 1
    replay = read_segments(tmp_path, segments)
    assert (sequences(replay), replay.end_segment, replay.end_offset) == (left, torn + 1, end)
    assert replay.abandoned == [tmp_path / f"{segment.number:016x}.segment" for segment in segments[torn + 1 :]]
    assert replay.cut_octets == sum(segment.end - 64 for segment in segments[torn + 1 :]) + segments[torn].end - end
    assert replay.batch_number_seen == 8


def test_a_cut_before_a_header_was_on_disk_leaves_out_those_behind_it(tmp_path: Path) -> None:
    segments = unsynced_segments()
    segments[1].octets[:64] = bytes(64)
    replay = read_segments(tmp_path, segments)
    assert (sequences(replay), replay.end_segment, len(replay.abandoned)) == ([2], 1, 2)


def test_one_word_that_it_was_on_disk_makes_it_corrupt(tmp_path: Path) -> None:
    for torn in (0, 1):
        segments = unsynced_segments()
        segments[2].batch(9, [], (torn + 1, segments[torn].end))
        segments[torn].octets[segments[torn].batches[-1] + 50] ^= 1
        with pytest.raises(CorruptJournal, match=f"{torn + 1:016x}"):
            read_segments(tmp_path, segments)


# --------------------------------------------------------------------------------------------------------- corruption


def damaged(segments: list[Segment], at: int, change: Callable[[bytearray], None]) -> list[Segment]:
    change(segments[at].octets)
    return segments


def three_segments() -> list[Segment]:
    first = two_batches()
    second = first.follower(size=600)
    second.batch(7, [write.message(1, 3), write.delivered(1, 2), write.returned(1, 2, 1)], (1, first.end))
    second.batch(8, [write.state(1, 4, 2, [(1, 1)]), write.gone(9), write.definitions(b"x")], (2, second.end))
    third = second.follower(seed=0xBEEF, size=600)
    offset = third.next_offset()
    third.batch(9, [write.message(2, 1, b"shared"), write.target(3, 1, offset)], (2, second.end))
    third.batch(10, [write.message(2, 2)], (3, third.end))
    return [first, second, third]


def test_the_three_segments_are_sound(tmp_path: Path) -> None:
    replay = read_segments(tmp_path, three_segments())
    assert (sequences(replay, 1), sequences(replay, 2), sequences(replay, 3)) == ([2, 3], [1, 2], [1])


@pytest.mark.parametrize("index", [0, 1, 2])
def test_every_flipped_bit_is_found_and_named(tmp_path: Path, index: int) -> None:
    sound = three_segments()
    files = [segment.write(tmp_path) for segment in sound]
    path = files[index][1]
    # In the last segment: everything that the last batch says was on disk.
    protected = sound[index].end if index < 2 else sound[index].batches[-1]
    for at in range(protected):
        for bit in range(8):
            octets = bytearray(sound[index].octets)
            octets[at] ^= 1 << bit
            path.write_bytes(octets)
            with pytest.raises(CorruptJournal) as found:
                read(files)
            assert found.value.path == path
            batch = max((begin for begin in (0, *sound[index].batches) if begin <= at), default=0)
            assert batch <= found.value.offset <= at
            assert found.value.octets > 0
            assert str(path) in str(found.value)


def test_the_last_batch_damaged_is_cut_never_delivered(tmp_path: Path) -> None:
    sound = three_segments()
    files = [segment.write(tmp_path) for segment in sound]
    for at in range(sound[2].batches[-1], sound[2].end):
        for bit in range(8):
            octets = bytearray(sound[2].octets)
            octets[at] ^= 1 << bit
            files[2][1].write_bytes(octets)
            replay = read(files)
            assert (sequences(replay, 2), replay.end_offset) == ([1], sound[2].batches[-1])


def test_a_missing_segment_is_refused(tmp_path: Path) -> None:
    first, _, third = three_segments()
    with pytest.raises(CorruptJournal, match=r"segment 0000000000000002, which goes before this one, is missing"):
        read_segments(tmp_path, [first, third])


def test_segments_missing_at_the_front_were_recycled(tmp_path: Path) -> None:
    _, second, third = three_segments()
    assert sequences(read_segments(tmp_path, [second, third])) == [3]


def test_a_segment_that_ends_early_is_refused(tmp_path: Path) -> None:
    segments = three_segments()
    del segments[0].octets[segments[0].end - 1 :]
    with pytest.raises(CorruptJournal, match="goes beyond the end"):
        read_segments(tmp_path, segments)
    del segments[0].octets[segments[0].batches[1] :]
    with pytest.raises(CorruptJournal, match="no batch with a valid head begins here"):
        read_segments(tmp_path, segments)


MALFORMED = [
    (200, b""),
    (write.MESSAGE, bytes(47)),
    (write.MESSAGE, write.message(1, 1, b"body")[1][:-1]),
    (write.TARGET, write.target(1, 1, 2**40)[1]),
    (write.TARGET, write.target(1, 1, 70)[1]),
    (write.SETTLED, write.settled(1, 3, 2)[1]),
    (write.DELIVERED, bytes(15)),
    (write.RETURNED, bytes(17)),
    (write.STATE, write.state(1, 1, 1, [(1, 1)])[1][:-1]),
    (write.STATE, write.state(1, 1, 1, [(5, 4)])[1]),
    (write.GONE, b""),
]


@pytest.mark.parametrize("record", MALFORMED)
def test_a_record_that_checks_and_makes_no_sense_is_never_cut_as_torn(tmp_path: Path, record: write.Record) -> None:
    with pytest.raises(CorruptJournal):
        read_records(tmp_path, record)


# ------------------------------------------------------------------------------------------------- going on after it


def test_skipping_goes_on_at_the_next_batch_that_checks(tmp_path: Path) -> None:
    segments = three_segments()
    segments[0].octets[70] ^= 1
    replay = read_segments(tmp_path, segments, skip_corrupt=True)
    assert sequences(replay) == [2, 3]
    [gap] = replay.skipped
    assert (gap.what, gap.number, gap.offset, gap.offset + gap.octets) == ("batch", 1, 64, segments[0].batches[1])


def test_skipping_reads_on_behind_a_damaged_header(tmp_path: Path) -> None:
    for index in range(3):
        for at in range(64):
            segments = three_segments()
            segments[index].octets[at] ^= 0x40
            replay = read_segments(tmp_path, segments, skip_corrupt=True)
            assert (sequences(replay, 1), sequences(replay, 2), sequences(replay, 3)) == ([2, 3], [1, 2], [1])
            assert [gap.what for gap in replay.skipped] == ["header"]


def test_skipping_goes_over_a_missing_segment(tmp_path: Path) -> None:
    first, _, third = three_segments()
    replay = read_segments(tmp_path, [first, third], skip_corrupt=True)
    assert (sequences(replay, 1), sequences(replay, 2)) == ([2], [1, 2])


def test_a_target_is_lost_with_its_message(tmp_path: Path) -> None:
    segment = Segment(1)
    offset = segment.next_offset()
    segment.batch(1, [write.message(1, 1, b"body")])
    segment.batch(2, [write.target(2, 1, offset), write.message(2, 2)], (1, segment.end))
    segment.batch(3, [write.message(2, 3)], (1, segment.end))
    segment.octets[offset + 20] ^= 1
    replay = read_segments(tmp_path, [segment], skip_corrupt=True)
    assert (sequences(replay, 1), sequences(replay, 2)) == ([], [2, 3])
    assert [gap.what for gap in replay.skipped] == ["batch", "record"]
