"""IntervalSet: judged by a plain set of numbers; its storage by what it takes."""

import sys
from itertools import pairwise
from random import Random

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from flowmq._intervals import IntervalSet

HIGHEST = (1 << 64) - 1
INTERVAL_BYTES = 16
EMPTY_BYTES = sys.getsizeof(IntervalSet())


def storage_bytes(intervals: IntervalSet) -> int:
    return sys.getsizeof(intervals) - EMPTY_BYTES


def ranges_of(numbers: set[int]) -> list[tuple[int, int]]:
    starts = sorted(number for number in numbers if number - 1 not in numbers)
    ends = sorted(number for number in numbers if number + 1 not in numbers)
    return list(zip(starts, ends, strict=True))


def filled(ranges: list[tuple[int, int]]) -> IntervalSet:
    intervals = IntervalSet()
    for first, last in ranges:
        assert intervals.insert_range(first, last)
    return intervals


# ------------------------------------------------------------------------------------------------ against a plain set


class AgainstASet(RuleBasedStateMachine):
    """Few numbers, so that ranges meet; at both ends of what a sequence number can be and in between."""

    def __init__(self) -> None:
        super().__init__()
        self.intervals = IntervalSet()
        self.numbers: set[int] = set()

    @rule(base=st.sampled_from([0, 1000, HIGHEST - 150]), start=st.integers(0, 150), length=st.integers(1, 12))
    def add(self, base: int, start: int, length: int) -> None:
        first = base + start
        last = min(first + length - 1, HIGHEST)
        added = set(range(first, last + 1))
        assert self.intervals.insert_range(first, last) == (not added <= self.numbers)
        self.numbers |= added

    @rule(start=st.integers(0, 140), count=st.integers(1, 30), step=st.integers(-3, 3))
    def add_in_steps(self, start: int, count: int, step: int) -> None:
        for number in (start + turn * step for turn in range(count)):
            if number >= 0:
                assert self.intervals.insert_range(number, number) == (number not in self.numbers)
                self.numbers.add(number)

    @rule(first=st.integers(0, 200), length=st.integers(50, 150))
    def add_a_long_one(self, first: int, length: int) -> None:
        self.intervals.insert_range(first, first + length - 1)
        self.numbers |= set(range(first, first + length))

    @rule(base=st.sampled_from([0, 1000, HIGHEST - 150]), offset=st.integers(0, 150))
    def ask(self, base: int, offset: int) -> None:
        assert (base + offset in self.intervals) == (base + offset in self.numbers)

    @rule(start=st.integers(0, 200), count=st.integers(1, 60), step=st.sampled_from([-1, 1, 2]))
    def ask_in_steps(self, start: int, count: int, step: int) -> None:
        for number in (start + turn * step for turn in range(count)):
            if number >= 0:
                assert (number in self.intervals) == (number in self.numbers)

    @rule()
    def erase(self) -> None:
        self.intervals.erase()
        self.numbers.clear()

    @invariant()
    def holds_the_same(self) -> None:
        expected = ranges_of(self.numbers)
        assert self.intervals.ranges() == expected
        assert self.intervals.count == len(expected)
        assert self.intervals.total == len(self.numbers)


TestAgainstASet = AgainstASet.TestCase
TestAgainstASet.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)


@pytest.mark.parametrize("seed", range(5))
def test_thousands_in_any_order_become_one(seed: int) -> None:
    random = Random(seed)
    order = list(range(3000))
    random.shuffle(order)
    intervals, numbers = IntervalSet(), set[int]()
    for turn, number in enumerate(order):
        assert intervals.insert_range(number, number)
        numbers.add(number)
        assert number in intervals
        asked = random.randrange(3000)
        assert (asked in intervals) == (asked in numbers)
        if turn % 250 == 0:
            assert intervals.ranges() == ranges_of(numbers)
    assert intervals.ranges() == [(0, 2999)]
    assert intervals.total == 3000


@pytest.mark.parametrize("seed", range(5))
def test_nearly_in_order(seed: int) -> None:
    """As consumers settle: a moving window, in it any order, and some that never come."""
    random = Random(seed)
    intervals, numbers = IntervalSet(), set[int]()
    window = list(range(200))
    for upcoming in range(200, 8000):
        number = window.pop(random.randrange(len(window)))
        window.append(upcoming)
        if number % 97:
            assert intervals.insert_range(number, number)
            numbers.add(number)
    assert intervals.ranges() == ranges_of(numbers)
    assert intervals.total == len(numbers)
    assert all((number in intervals) == (number in numbers) for number in range(8300))


@pytest.mark.parametrize("seed", range(8))
def test_ranges_of_any_length_among_thousands(seed: int) -> None:
    """So many that they lie in many chunks, of which a long one swallows several; also asked in between."""
    random = Random(seed)
    numbers = set(range(0, 20000, 2))
    order = list(numbers)
    random.shuffle(order)
    intervals = filled([(number, number) for number in order])
    for _ in range(60):
        first = random.randrange(20000)
        last = first + random.choice([0, 1, 5, 300, 700, 3000])
        added = set(range(first, last + 1))
        assert intervals.insert_range(first, last) == (not added <= numbers)
        numbers |= added
        for asked in (first - 1, last + 1, random.randrange(24000)):
            assert (max(0, asked) in intervals) == (max(0, asked) in numbers)
        assert intervals.total == len(numbers)
        assert intervals.ranges() == ranges_of(numbers)
        assert storage_bytes(intervals) <= max(4, 4 * intervals.count) * INTERVAL_BYTES
    for number in random.sample(range(23000), 23000):
        intervals.insert_range(number, number)
        numbers.add(number)
    assert intervals.ranges() == ranges_of(numbers)
    intervals.erase()
    assert (intervals.ranges(), storage_bytes(intervals)) == ([], 0)


# ------------------------------------------------------------------------------------------------------- the edges


def test_a_new_set_is_empty() -> None:
    intervals = IntervalSet()
    assert (intervals.count, intervals.total, intervals.ranges()) == (0, 0, [])
    assert 0 not in intervals
    assert HIGHEST not in intervals


MERGES = [
    ((12, 18), [(10, 20), (30, 40), (50, 60)], False),
    ((10, 20), [(10, 20), (30, 40), (50, 60)], False),
    ((5, 8), [(5, 8), (10, 20), (30, 40), (50, 60)], True),
    ((5, 9), [(5, 20), (30, 40), (50, 60)], True),
    ((21, 21), [(10, 21), (30, 40), (50, 60)], True),
    ((22, 28), [(10, 20), (22, 28), (30, 40), (50, 60)], True),
    ((21, 29), [(10, 40), (50, 60)], True),
    ((35, 50), [(10, 20), (30, 60)], True),
    ((15, 55), [(10, 60)], True),
    ((0, 100), [(0, 100)], True),
    ((61, 70), [(10, 20), (30, 40), (50, 70)], True),
    ((62, 70), [(10, 20), (30, 40), (50, 60), (62, 70)], True),
]


@pytest.mark.parametrize("touched", [10, 30, 50])
@pytest.mark.parametrize(("added", "expected", "new"), MERGES)
def test_merging(added: tuple[int, int], expected: list[tuple[int, int]], new: bool, touched: int) -> None:
    intervals = filled([(10, 20), (30, 40), (50, 60)])
    assert touched in intervals  # whichever was found last, the answer is the same
    assert intervals.insert_range(*added) is new
    assert intervals.ranges() == expected
    assert intervals.total == sum(last - first + 1 for first, last in expected)


def test_the_ends_of_what_a_number_can_be() -> None:
    intervals = filled([(HIGHEST, HIGHEST), (0, 0)])
    assert intervals.ranges() == [(0, 0), (HIGHEST, HIGHEST)]
    assert 1 not in intervals
    assert HIGHEST - 1 not in intervals
    assert intervals.insert_range(2, HIGHEST - 2)
    assert intervals.total == HIGHEST - 1
    assert intervals.insert_range(0, HIGHEST)
    assert intervals.ranges() == [(0, HIGHEST)]
    assert not intervals.insert_range(0, HIGHEST)
    assert intervals.total == 0  # 2^64 of them


def test_a_range_backwards_changes_nothing() -> None:
    intervals = filled([(10, 20)])
    with pytest.raises(ValueError, match="from 9 to 8"):
        intervals.insert_range(9, 8)
    assert intervals.ranges() == [(10, 20)]


@pytest.mark.parametrize("number", [-1, HIGHEST + 1])
def test_other_numbers_are_refused(number: int) -> None:
    intervals = IntervalSet()
    with pytest.raises(OverflowError):
        intervals.insert_range(number, number)
    with pytest.raises(OverflowError):
        number in intervals  # noqa: B015


# ---------------------------------------------------------------------------------------------------------- storage


def test_without_ranges_there_is_no_storage() -> None:
    intervals = filled([(number, number) for number in range(0, 1000, 2)])
    assert storage_bytes(intervals) >= 500 * INTERVAL_BYTES
    intervals.erase()
    assert storage_bytes(intervals) == 0
    assert intervals.insert_range(7, 7)
    assert intervals.ranges() == [(7, 7)]


@pytest.mark.parametrize("step", [2, -2])
def test_storage_follows_the_number_of_ranges(step: int) -> None:
    intervals = IntervalSet()
    for number in range(0, 20000, 2)[:: step // 2]:
        intervals.insert_range(number, number)
        assert intervals.count * INTERVAL_BYTES <= storage_bytes(intervals)
        assert storage_bytes(intervals) <= max(4, 4 * intervals.count) * INTERVAL_BYTES
    for number in range(1, 20000, 2)[:: step // 2]:
        intervals.insert_range(number, number)
        assert storage_bytes(intervals) <= max(4, 4 * intervals.count) * INTERVAL_BYTES
    assert intervals.ranges() == [(0, 19999)]
    assert storage_bytes(intervals) == 4 * INTERVAL_BYTES


def test_one_long_range_takes_what_one_number_takes() -> None:
    intervals = IntervalSet()
    for first, _ in pairwise(range(0, 100000, 10)):
        intervals.insert_range(first, first + 9)
    assert intervals.ranges() == [(0, 99989)]
    assert storage_bytes(intervals) == storage_bytes(filled([(5, 5)]))
