"""The collector of cycles looks at what is new, and at nothing twice."""

import asyncio
import gc
import weakref
from collections.abc import Iterator

import pytest

from flowmq.server import collector as module
from flowmq.server.collector import LOOKS_MAX, YOUNG, Collector

# So many lists are created before an old look is due: whole looks at the middle generation.
ENOUGH = YOUNG[0] * YOUNG[1] * (LOOKS_MAX + 2)


class Node:
    """May be part of a cycle, and can be watched."""

    def __init__(self) -> None:
        self.other: Node | None = None


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    made = asyncio.new_event_loop()
    yield made
    made.close()
    gc.unfreeze()


@pytest.fixture
def collector(loop: asyncio.AbstractEventLoop) -> Iterator[Collector]:
    started = Collector(loop)
    started.start()
    yield started
    started.stop()


def turn(loop: asyncio.AbstractEventLoop) -> None:
    loop.run_until_complete(asyncio.sleep(0))


def test_what_lives_is_set_aside_in_small_parts(loop: asyncio.AbstractEventLoop, collector: Collector) -> None:
    before, looks = gc.get_freeze_count(), gc.get_stats()[2]["collections"]
    kept: list[list[object]] = []
    for _ in range(10):
        kept += [[None] for _ in range(ENOUGH)]
        turn(loop)
    assert gc.get_freeze_count() - before > 9 * ENOUGH
    # Each part once, at the turn of the loop behind it.
    assert 9 <= gc.get_stats()[2]["collections"] - looks <= 11
    assert len(gc.get_objects()) < 3 * ENOUGH


def test_what_is_set_aside_still_goes_when_nobody_refers_to_it(
    loop: asyncio.AbstractEventLoop, collector: Collector
) -> None:
    node = Node()
    seen = weakref.ref(node)
    collector._look_at_old()
    del node
    assert seen() is None


@pytest.mark.parametrize("few", [1 << 30, 0])
def test_old_cycles_are_collected_in_the_end(
    loop: asyncio.AbstractEventLoop, collector: Collector, monkeypatch: pytest.MonkeyPatch, few: int
) -> None:
    """Every so many seconds while objects are few, otherwise when there are twice as many."""
    monkeypatch.setattr(module, "FEW_OBJECTS", few)
    one, other = Node(), Node()
    one.other, other.other = other, one
    seen = weakref.ref(one)
    collector._look_at_old()
    del one, other
    collector._look_at_old()
    assert seen() is not None, "it was looked at all a moment ago"
    collector.looked_at_all -= module.SECONDS_MIN
    collector._look_at_old()
    assert (seen() is None) == bool(few)
    kept = [[None] for _ in range(collector.were_left)]
    collector._look_at_old()
    collector.looked_at_all -= module.SECONDS_MIN
    collector._look_at_old()
    assert seen() is None
    assert kept


def test_new_cycles_are_collected(loop: asyncio.AbstractEventLoop, collector: Collector) -> None:
    one, other = Node(), Node()
    one.other, other.other = other, one
    seen = weakref.ref(one)
    del one, other
    kept = [[None] for _ in range(ENOUGH)]
    turn(loop)
    assert seen() is None
    assert len(kept) == ENOUGH


def test_afterwards_python_does_as_before(loop: asyncio.AbstractEventLoop) -> None:
    thresholds, callbacks = gc.get_threshold(), list(gc.callbacks)
    collector = Collector(loop)
    collector.start()
    assert gc.get_threshold()[:2] == YOUNG
    collector.stop()
    assert (gc.get_threshold(), list(gc.callbacks)) == (thresholds, callbacks)
