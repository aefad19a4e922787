"""Histories of fixed size: rates between samples, idle objects, and the age of what waits."""

import pytest

from flowmq.management.rings import Ages, Ring
from flowmq.management.sampler import History, thinned


def test_a_rate_is_what_changed_between_the_last_two_samples() -> None:
    ring = Ring(3, 2)
    assert ring.rate(0) == 0
    for at, values in ((10.0, [0, 5]), (12.0, [8, 5]), (14.0, [8, 3])):
        ring.add(at, values)
    assert (ring.rate(0), ring.rate(1)) == (0, -1)
    ring.add(15.0, [18, 3])
    assert ring.rate(0) == 10
    assert list(ring.samples(0)) == [(15.0, 18), (14.0, 8), (12.0, 8)]


def test_a_ring_keeps_its_size() -> None:
    ring = Ring(4, 1)
    for number in range(100):
        ring.add(float(number), [number])
    assert [value for _, value in ring.samples(0)] == [99, 98, 97, 96]
    assert (len(ring.times), len(ring.values)) == (4, 4)


def test_what_gets_no_sample_stands_still() -> None:
    history = History(("publish",), 5)
    for at, value in ((10.0, 0), (20.0, 100)):
        history.begin(at)
        history.note("q", [value])
    assert history.rate("q", "publish") == 10
    history.begin(30.0)
    assert history.rate("q", "publish") == 0
    history.begin(40.0)
    history.begin(50.0)
    history.note("q", [150])
    # Nothing had happened until 40, so that all of it is of the last ten seconds.
    assert history.rate("q", "publish") == 5
    assert history.rate("q", "no such") == history.rate("none", "publish") == 0


def test_what_is_idle_for_long_is_forgotten() -> None:
    history = History(("publish",), 5)
    history.begin(10.0)
    history.note("q", [1])
    history.begin(100.0)
    history.forget_idle(80.0)
    assert history.rings == {}


@pytest.mark.parametrize(
    ("age", "step", "kept"), [(100, 0, [9, 8, 7]), (1, 0, [9, 8]), (100, 2, [9, 7]), (100, 50, [9])]
)
def test_samples_are_thinned(age: float, step: float, kept: list[int]) -> None:
    found = thinned([(9.0, 9), (8.0, 8), (7.0, 7)], age, step)
    assert [sample["sample"] for sample in found] == kept


def test_the_age_of_a_message_is_that_of_the_sample_that_saw_it_first() -> None:
    ages = Ages()
    for at, next_sequence in ((10.0, 5), (20.0, 5), (30.0, 9)):
        ages.note(at, next_sequence)
    assert (ages.came_at(1), ages.came_at(4), ages.came_at(5), ages.came_at(9)) == (10.0, 10.0, 30.0, None)
    ages.forget_before(6)
    assert ages.came_at(6) == 30.0


def test_ages_keep_their_size_and_remain_in_order() -> None:
    ages = Ages()
    for number in range(1, 10_000):
        ages.note(float(number), number)
        assert len(ages.pairs) <= Ages.SIZE
    times = [at for at, _ in ages.pairs]
    assert times == sorted(times)
    assert ages.came_at(0) == 1.0
    # Of the newest everything is known.
    assert ages.came_at(9_998) == 9_999.0
