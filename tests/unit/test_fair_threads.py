"""Work for many sources: in turns by source, a cancelled piece is passed over, errors come back."""

import asyncio
import os
import threading

import pytest

from flowmq.server.fair_threads import NICENESS, NICENESS_MAX, Busy, FairThreads, source_of


def one_thread(waiting_max: int = 1000, source_waiting_max: int = 1000) -> FairThreads:
    return FairThreads(
        asyncio.get_running_loop(), 1, "test", waiting_max=waiting_max, source_waiting_max=source_waiting_max
    )


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
    threads = one_thread()
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
    threads = one_thread()
    may_begin, done = threading.Event(), []
    first = threads.submit("a", may_begin.wait)
    given_up, kept = threads.submit("a", lambda: done.append("no")), threads.submit("a", lambda: done.append("yes"))
    given_up.cancel()
    may_begin.set()
    await asyncio.gather(first, kept)
    assert done == ["yes"]
    threads.close()


async def test_an_error_comes_back_and_the_next_goes_on() -> None:
    threads = one_thread()
    wrong, right = threads.submit("a", lambda: 1 // 0), threads.submit("a", lambda: 1)
    with pytest.raises(ZeroDivisionError):
        await wrong
    assert await right == 1
    threads.close()


async def test_what_cannot_be_done_in_time_is_refused() -> None:
    threads = one_thread(waiting_max=5, source_waiting_max=2)
    may_begin = threading.Event()
    first = threads.submit("a", may_begin.wait)
    kept = [threads.submit("a", int) for _ in range(2)]
    with pytest.raises(Busy):
        threads.submit("a", int)
    kept += [threads.submit(source, int) for source in ("b", "c", "d")]
    with pytest.raises(Busy):
        threads.submit("e", int)
    kept[0].cancel()
    await asyncio.sleep(0)
    kept[0] = threads.submit("e", int)  # there is a place again
    kept += [threads.submit("known", int, preferred=True) for _ in range(2)]
    with pytest.raises(Busy):
        threads.submit("known", int, preferred=True)
    kept.append(threads.submit("known", int, preferred=True, bounded=False))
    may_begin.set()
    await asyncio.gather(first, *kept)
    threads.close()


async def test_who_is_preferred_has_every_other_turn() -> None:
    threads = one_thread()
    may_begin, done = threading.Event(), []
    first = threads.submit("a", may_begin.wait)
    others = [threads.submit(f"{number}", lambda: done.append("other")) for number in range(6)]
    known = [threads.submit("known", lambda: done.append("known"), preferred=True) for _ in range(3)]
    may_begin.set()
    await asyncio.gather(first, *others, *known)
    assert [done[at : at + 2].count("known") for at in (0, 2, 4, 6)] == [1, 1, 1, 0]
    threads.close()


async def test_threads_that_may_not_step_back_work_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """A filter of system calls, such as a systemd unit's, may forbid it."""

    def forbidden(*_: int) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "setpriority", forbidden)
    threads = one_thread()
    assert await threads.submit("a", lambda: 1) == 1
    threads.close()


async def test_the_event_loop_comes_first() -> None:
    """Also where the whole process has stepped back for others."""
    threads = one_thread()
    nice = await threads.submit("a", lambda: os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))
    own = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
    assert nice == min(own + NICENESS, NICENESS_MAX)
    threads.close()
