"""A long listing is told in slices of the loop, none of which takes long: sorted, filtered, at its end too."""

import gc
import time
from collections.abc import Iterator

import pytest

from flowmq._message import is_freed_memory_kept
from flowmq.server.control.listing import Listing, listed
from flowmq.server.control.service import SLICE_SECONDS, take

# Under the address sanitizer everything takes several times as long.
SLICES_MAX = 40 if is_freed_memory_kept() else 4
COUNT = 100_000
VIEW = {"name": lambda item: item[0], "size": lambda item: item[1]}
Item = tuple[str, int]


@pytest.fixture(autouse=True)
def _without_collector() -> Iterator[None]:
    """What it does in the broker is server/collector.py's affair; here it would look through all of the tests."""
    gc.disable()
    yield
    gc.enable()


def slices(asked: Listing) -> tuple[list[dict[str, object]], float]:
    """The rows, and the most processor time that one slice took."""
    items: Iterator[Item] = ((f"item-{number}", number * 7919 % COUNT) for number in range(COUNT))
    rows, longest, end = listed(items, VIEW, asked, lambda item: item[0]), 0.0, None
    told: list[dict[str, object]] = []
    while end is None:
        before = time.thread_time()
        part, end = take(rows)
        longest = max(longest, time.thread_time() - before)
        told += part
    return told, longest


@pytest.mark.parametrize(
    ("asked", "first"),
    [
        (Listing(sort="size", page=3, page_size=100), 200),
        (Listing(sort="size", reverse=True, page=1, page_size=100), COUNT - 1),
        (Listing(sort="nothing", page=1, page_size=100), 0),
    ],
)
def test_no_slice_of_a_sorted_page_takes_long(asked: Listing, first: int) -> None:
    told, longest = slices(asked)
    assert (len(told), told[0]["size"]) == (100, first)
    assert longest < SLICES_MAX * SLICE_SECONDS, longest


def test_no_slice_of_a_filtered_list_takes_long() -> None:
    told, longest = slices(Listing(name="999", columns=["name"]))
    assert len(told) == 280
    assert longest < SLICES_MAX * SLICE_SECONDS, longest
