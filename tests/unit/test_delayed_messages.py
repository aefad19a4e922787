"""Delayed messages by a clock that the test tells: when exactly, in which order, and the list of those that wait."""

from collections.abc import Iterator
from random import Random
from typing import Any

import pytest

from flowmq._clock import stop_clock
from flowmq._order import deal_with_due
from flowmq._peer import flush
from flowmq._queue import Queue
from tests.support.codec import Typed
from tests.unit.support_plane import Client, Plane

BEGIN_MS = 1_900_000_000_000


@pytest.fixture
def clock() -> Iterator[None]:
    stop_clock(BEGIN_MS)
    yield
    stop_clock(0)


class Delayed:
    """A delayed exchange `x` with queue `q` bound to it, and a client that consumes."""

    def __init__(self, plane: Plane) -> None:
        self.plane, self.client = plane, plane.client(1)
        self.client.call(
            1, "exchange.declare", exchange="x", type="x-delayed-message", arguments={"x-delayed-type": "fanout"}
        )
        self.client.call(1, "queue.declare", queue="q")
        self.client.call(1, "queue.bind", queue="q", exchange="x")
        self.client.call(1, "basic.consume", queue="q", no_ack=True)

    def send(self, body: bytes, delay: Any, **more: Any) -> None:
        self.client.publish(1, "k", body, exchange="x", headers={"x-delay": delay}, **more)

    def at(self, milliseconds: int, limit: int = 1000) -> list[bytes]:
        """What comes when it is so long after the beginning."""
        stop_clock(BEGIN_MS + milliseconds)
        while deal_with_due(limit) == 0:
            flush()
        flush()
        self.plane.loop.run()
        return [method.body for method in self.client.received()]

    @property
    def waiting(self) -> Queue:
        queue = self.plane.node.broker.vhosts["/"].memories.delayed("x")
        assert queue is not None
        return queue

    def close(self, client: Client) -> None:
        client.call(1, "exchange.delete", exchange="x")


@pytest.fixture
def delayed(clock: None) -> Iterator[Delayed]:
    with Plane() as plane:
        made = Delayed(plane)
        yield made
        made.close(made.client)


def test_it_goes_on_in_its_millisecond(delayed: Delayed) -> None:
    delayed.send(b"m", 1000)
    assert delayed.at(999) == []
    assert delayed.at(1000) == [b"m"]
    assert delayed.waiting.message_count == 0


@pytest.mark.parametrize("limit", [1, 7, 1000])
def test_thousands_with_any_delays_come_in_order_of_time_and_then_of_arrival(delayed: Delayed, limit: int) -> None:
    random = Random(7)
    delays = [random.randrange(1, 500) for _ in range(3000)]
    for at, delay in enumerate(delays):
        delayed.send(b"%d" % at, delay)
    expected = [b"%d" % at for _, at in sorted((delay, at) for at, delay in enumerate(delays))]
    came = delayed.at(100, limit)
    assert came == expected[: sum(delay <= 100 for delay in delays)]
    came += delayed.at(250, limit) + delayed.at(10_000, limit)
    assert came == expected


def test_a_delay_beyond_32_bits(delayed: Delayed) -> None:
    years = 2**32 * 1000
    delayed.send(b"m", years)
    assert delayed.at(years - 1) == []
    assert delayed.at(years) == [b"m"]


@pytest.mark.parametrize("delay", [2**63 - 1, 2**62])
def test_the_longest_delay_is_for_ever_and_does_no_harm(delayed: Delayed, delay: int) -> None:
    delayed.send(b"never", delay)
    delayed.send(b"soon", 5)
    assert delayed.at(10**14) == [b"soon"]
    assert delayed.waiting.message_count == 1


def test_a_negative_one_of_64_bits_passes(delayed: Delayed) -> None:
    delayed.send(b"m", Typed("l", -(2**63)))
    assert delayed.at(0) == [b"m"]


def test_the_list_of_what_waits(delayed: Delayed) -> None:
    delayed.send(b"later", 2000, expiration="5")
    delayed.send(b"sooner", 1000)
    views = delayed.waiting.browse(0, 10)
    assert [(view[1] - BEGIN_MS, view[3], view[4], view[6]) for view in views] == [
        (2000, b"x", b"k", b"later"),
        (1000, b"x", b"k", b"sooner"),
    ]
    assert [view[6] for view in delayed.waiting.browse(views[1][0], 10)] == [b"sooner"]
    assert [view[6] for view in delayed.waiting.browse(0, 1)] == [b"later"]
    assert delayed.waiting.message_count == 2, "looking changes nothing"


def test_cancelled_it_never_comes(delayed: Delayed) -> None:
    delayed.send(b"1", 1000)
    delayed.send(b"2", 1000)
    first, second = (view[0] for view in delayed.waiting.browse(0, 10))
    assert delayed.waiting.withdraw(first, False)
    assert not delayed.waiting.withdraw(first, False), "it is not there any more"
    assert not delayed.waiting.withdraw(second + 1, False), "it was never there"
    assert delayed.at(5000) == [b"2"]
    assert not delayed.waiting.withdraw(second, True)


def test_released_it_comes_at_once(delayed: Delayed) -> None:
    delayed.send(b"1", 1000)
    delayed.send(b"2", 2000)
    _, second = (view[0] for view in delayed.waiting.browse(0, 10))
    assert delayed.waiting.withdraw(second, True)
    flush()
    delayed.plane.loop.run()
    (delivery,) = delayed.client.received()
    assert (delivery.body, delivery.properties["headers"]) == (b"2", {"x-delay": -2000})
    assert delayed.at(5000) == [b"1"]


def test_expiration_counts_from_the_release(delayed: Delayed) -> None:
    delayed.client.call(1, "queue.declare", queue="slow")
    delayed.client.call(1, "queue.bind", queue="slow", exchange="x")
    delayed.send(b"m", 1000, expiration="10")
    delayed.at(1005)
    slow = delayed.plane.queue("slow")
    assert slow.message_count == 1
    delayed.at(1014)
    assert slow.message_count == 1, "its time to live began when it went on"
    delayed.at(1015)
    assert slow.message_count == 0


def test_a_message_goes_with_its_exchange_and_leaves_nothing_behind(clock: None) -> None:
    with Plane() as plane:
        delayed = Delayed(plane)
        delayed.send(b"m", 1000)
        delayed.close(delayed.client)
        assert delayed.at(5000) == []
        assert plane.live() == 0
