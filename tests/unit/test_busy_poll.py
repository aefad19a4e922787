"""Busy polling: what comes in quick succession keeps the loop looking, and silence ends it."""

from collections.abc import Iterator

import pytest

from flowmq._busy_poll import look_again, set_busy_poll
from tests.support import codec
from tests.unit.support_plane import Client, Plane

LONG_NS = 3600 * 10**9  # longer than any test
QUICK_READS = 50  # enough for the average to be that of these alone


@pytest.fixture
def plane() -> Iterator[Plane]:
    with Plane() as made:
        yield made
        set_busy_poll(made.loop.call_soon, 0)


def looks(client: Client) -> int:
    """How many looks the loop was asked for, after that many reads in quick succession."""
    for _ in range(QUICK_READS):
        client.read(codec.method_frame(1, "basic.qos", prefetch_count=1))
    return sum(callback is look_again for callback, _ in client.plane.loop.soon)


def test_quick_succession_keeps_the_loop_awake(plane: Plane) -> None:
    client = plane.client(1)
    set_busy_poll(plane.loop.call_soon, LONG_NS)
    assert looks(client) == 1
    plane.loop.soon.clear()
    for _ in range(3):
        look_again()
        assert [callback for callback, _ in plane.loop.soon] == [look_again]
        plane.loop.soon.clear()


def test_one_read_alone_does_not(plane: Plane) -> None:
    client = plane.client(1)
    set_busy_poll(plane.loop.call_soon, LONG_NS)
    client.read(codec.method_frame(1, "basic.qos", prefetch_count=1))
    assert look_again not in [callback for callback, _ in plane.loop.soon]


def test_silence_ends_it_and_the_next_rush_begins_it_again(plane: Plane) -> None:
    client = plane.client(1)
    set_busy_poll(plane.loop.call_soon, LONG_NS)
    assert looks(client) == 1
    plane.loop.soon.clear()
    set_busy_poll(plane.loop.call_soon, 1)  # a nanosecond: every silence is longer
    look_again()
    plane.loop.soon.clear()
    look_again()
    assert not plane.loop.soon
    set_busy_poll(plane.loop.call_soon, LONG_NS)
    assert looks(client) == 1


def test_switched_off(plane: Plane) -> None:
    client = plane.client(1)
    set_busy_poll(plane.loop.call_soon, 0)
    assert looks(client) == 0


def test_an_error_of_a_look_is_not_the_last_look(plane: Plane) -> None:
    def fail(_: int) -> None:
        raise RuntimeError("ours")

    client = plane.client(1)
    set_busy_poll(plane.loop.call_soon, LONG_NS, fail)
    assert looks(client) == 1
    plane.loop.soon.clear()
    with pytest.raises(RuntimeError, match="ours"):
        look_again()
    assert [callback for callback, _ in plane.loop.soon] == [look_again]
