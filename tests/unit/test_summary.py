"""Summaries of segments: what they say, when a start believes them, and that reading whole segments says the same."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowmq._replay import CorruptJournal, Replay
from tests.support import journal_writer as write
from tests.support.journal_writer import Segment, SummaryReader

NOW_MS = 1_700_000_000_000
EXPIRIES = st.one_of(st.just(0), st.integers(NOW_MS, NOW_MS + 5), st.integers(1, 2**62))


def summary_of(directory: Path, segment: Segment) -> bytes:
    """As it is made when the segment is left."""
    replay = Replay()
    replay.read([segment.write(directory)])
    [adoptable] = replay.adoptable()
    assert adoptable.summary is not None
    return adoptable.summary.octets()


# ----------------------------------------------------------------------------------------------------- what it says


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(1, 3), st.integers(1, 40), EXPIRIES, st.binary(max_size=3), st.sampled_from((0, 2))),
        max_size=60,
        unique_by=lambda message: message[:2],
    )
)
def test_every_message_is_there_with_its_place(
    tmp_path_factory: pytest.TempPathFactory, messages: list[tuple[int, int, int, bytes, int]]
) -> None:
    segment = Segment(1, size=20_000)
    expected: dict[int, list[tuple[int, ...]]] = {}
    expiries: dict[int, list[int]] = {}
    for number, (queue, sequence, expires, body, flags) in enumerate(messages):
        record = write.message(queue, sequence, body, expires=expires, flags=flags)
        [offset, target_at] = segment.batch(
            number + 1, [record, write.target(queue + 10, sequence, segment.next_offset(), expires=expires)]
        )
        octets = write.record_octets(record) - len(body)
        expected.setdefault(queue, []).append((sequence, offset, len(body), flags, octets))
        expected.setdefault(queue + 10, []).append((sequence, target_at, len(body), 1, target_at - offset))
        expiries.setdefault(queue, []).append(expires)
    found = SummaryReader(summary_of(tmp_path_factory.mktemp("summary"), segment))
    assert {queue: sorted(each) for queue, each in found.messages.items()} == {
        queue: sorted(each) for queue, each in expected.items()
    }
    for queue, wanted in expiries.items():
        parts = found.expiries[queue]
        assert min([first for first, _, _ in parts if first], default=0) == min(filter(None, wanted), default=0)
        if len(parts) == 1:
            in_order = [wanted[0], *(max(two) for two in pairwise(wanted))]
            even = wanted in ([0] * len(wanted), in_order) and (wanted[0] > 0 or not any(wanted))
            assert parts[0][1:] == (wanted[-1], not even)


def test_facts_of_queues_and_places_of_definitions(tmp_path: Path) -> None:
    segment = Segment(1)
    records = [
        *(write.definition(b"a"), write.definitions(b"all"), write.definition(b"b")),
        *(write.settled(1, 3, 5), write.settled(1, 6), write.settled(1, 9), write.delivered(1, 20)),
        *(write.returned(1, 7, 2), write.aside(1, 8, 3, NOW_MS), write.aside(1, 7, 4, NOW_MS), write.returned(1, 7, 5)),
        *(write.state(2, 100, 7, [(1, 2)]), write.gone(3)),
    ]
    offsets = segment.batch(1, records)
    found = SummaryReader(summary_of(tmp_path, segment))
    assert found.definitions == offsets[1:3]
    assert (found.batches, found.records) == (1, len(records))
    assert found.facts == {
        1: (False, 21, 20, {3, 4, 5, 6, 9}, {7: (5, NOW_MS), 8: (3, NOW_MS)}),
        2: (False, 100, 7, {1, 2}, {}),
        3: (True, 0, 0, set(), {}),
    }


def test_a_usual_backlog_costs_next_to_nothing(tmp_path: Path) -> None:
    segment = Segment(1, size=1_000_000)
    for batch in range(50):
        segment.batch(batch + 1, [write.message(1, 100 * batch + number + 1, b"body") for number in range(100)])
    assert len(summary_of(tmp_path, segment)) < 5000 // 5


# ----------------------------------------------------------------------------------------------- when it is believed


def sealed(directory: Path, *, vouched: bool = True, says: bytes | None = None) -> list[Segment]:
    """A segment with a summary, and the one behind it, which says that the first was on disk, or does not."""
    first = Segment(1)
    first.batch(1, [write.definition(b"d"), write.message(1, 1, b"body"), write.message(1, 2), write.settled(1, 2)])
    octets = summary_of(directory, first) if says is None else says
    summary_at = first.end
    first.batch(2, [write.summary(octets)])
    second = Segment(2, 1, first.end, previous_summary=summary_at, seed=0xF00D)
    second.batch(3, [write.message(1, 3)], (1, first.end) if vouched else (0, 0))
    return [first, second]


def read(directory: Path, segments: list[Segment], **how: Any) -> Replay:
    replay = Replay()
    replay.read([segment.write(directory) for segment in segments], **how)
    return replay


def sequences(replay: Replay) -> list[int]:
    return [message.sequence for message in replay.messages(1)]


def test_a_segment_that_was_on_disk_is_read_by_its_summary(tmp_path: Path) -> None:
    replay = read(tmp_path, sealed(tmp_path), trust=True)
    assert [segment.trusted for segment in replay.segments()] == [True, False]
    assert (sequences(replay), replay.definitions()) == ([1, 3], [(7, b"d")])
    whole = read(tmp_path, sealed(tmp_path), skip_corrupt=True)
    assert [segment._replace(trusted=False) for segment in replay.segments()] == whole.segments()
    assert not whole.skipped


def test_what_need_not_be_on_disk_is_read_whole(tmp_path: Path) -> None:
    segments = sealed(tmp_path, vouched=False)
    assert [segment.trusted for segment in read(tmp_path, segments, trust=True).segments()] == [False, False]
    segments[0].octets[segments[0].batches[0] + 100] ^= 1
    replay = read(tmp_path, segments, trust=True)
    assert (sequences(replay), replay.end_segment, len(replay.abandoned)) == ([], 1, 1)


def test_a_damaged_summary_is_never_believed(tmp_path: Path) -> None:
    sound = sealed(tmp_path)
    for at in range(sound[0].batches[-1], sound[0].end):
        segments = sealed(tmp_path)
        segments[0].octets[at] ^= 0x10
        with pytest.raises(CorruptJournal, match=r"0000000000000001\.segment: corrupt at offset"):
            read(tmp_path, segments, trust=True)


def test_a_damaged_definition_is_found_though_the_summary_is_sound(tmp_path: Path) -> None:
    segments = sealed(tmp_path)
    segments[0].octets[64 + 40 + 12] ^= 1
    with pytest.raises(CorruptJournal, match="the definition that stands here does not check"):
        read(tmp_path, segments, trust=True)


@pytest.mark.parametrize(
    "says", [b"", b"\x80", bytes(6), b"\x01\x04\x00\x00\x01\x01\x05\x00\x00\x00\x00\x00\x02\xff\xff"]
)
def test_a_summary_that_makes_no_sense_is_passed_over_and_named(tmp_path: Path, says: bytes) -> None:
    segments = sealed(tmp_path, says=says)
    whole = read(tmp_path, segments, skip_corrupt=True)
    assert sequences(whole) == [1, 3]
    assert [gap.what for gap in whole.skipped] == ["summary"]
    if says != bytes(6):  # which says that there is nothing
        assert sequences(read(tmp_path, segments, trust=True)) == [1, 3]
