"""Work for many sources: in turns by source, a cancelled piece is passed over, errors come back."""

import asyncio
import threading

import pytest

from flowmq.server.fair_threads import FairThreads, source_of


@pytest.mark.parametrize(
    ("peer", "source"),
    [
        (("192.0.2.1", 4000), "192.0.2.1"),
        (("::ffff:192.0.2.1", 4000, 0, 0), "192.0.2.1"),
        (("2001:db8:1:2:3:4:5:6", 4000, 0, 0), "2001:db8:1:2::/64"),
        (("fe80::1%eth0", 4000, 0, 2), "fe80::/64"),
        ("/run/socket", ""),
        (None, ""),
    ],
)
def test_sources(peer: object, source: str) -> None:
    assert source_of(peer) == source


async def test_a_flood_of_one_source_is_no_queue_for_another() -> None:
    threads = FairThreads(asyncio.get_running_loop(), 1, "test")
    may_begin, done = threading.Event(), []
    first = threads.submit("flood", may_begin.wait)
    flood = [threads.submit("flood", lambda: done.append("flood")) for _ in range(100)]
    others = [threads.submit(source, lambda: done.append("other")) for source in ("one", "two")]
    may_begin.set()
    await asyncio.gather(first, *flood, *others)
    assert done[:4] == ["flood", "other", "other", "flood"]
    assert len(done) == 102
    threads.close()


async def test_what_was_cancelled_is_not_begun() -> None:
    threads = FairThreads(asyncio.get_running_loop(), 1, "test")
    may_begin, done = threading.Event(), []
    first = threads.submit("a", may_begin.wait)
    given_up, kept = threads.submit("a", lambda: done.append("no")), threads.submit("a", lambda: done.append("yes"))
    given_up.cancel()
    may_begin.set()
    await asyncio.gather(first, kept)
    assert done == ["yes"]
    threads.close()


async def test_an_error_comes_back_and_the_next_goes_on() -> None:
    threads = FairThreads(asyncio.get_running_loop(), 1, "test")
    wrong, right = threads.submit("a", lambda: 1 // 0), threads.submit("a", lambda: 1)
    with pytest.raises(ZeroDivisionError):
        await wrong
    assert await right == 1
    threads.close()
