"""Routing: bindings, the way from exchange to exchange, alternates, the cache and what it keeps alive.

What matches what is in test_router_matching.py and test_router_headers.py.
"""

import gc
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from flowmq._binding_keys import live_nodes
from flowmq._queue import Queue
from flowmq._router import Exchange
from tests.support.codec import table_fields

CACHED_ROUTES_MAX = 32768
CACHED_TARGETS_MAX = 262144


@pytest.fixture(autouse=True)
def no_node_is_lost() -> Iterator[None]:
    gc.collect()  # what other tests left is not to go meanwhile
    before = live_nodes()
    yield
    assert live_nodes() == before


def names(queues: list[Queue]) -> list[str]:
    found = sorted(queue.name.decode() for queue in queues)
    assert len(found) == len(set(found)), f"a queue twice: {found}"
    return found


# --------------------------------------------------------------------------------------------------- the bindings


@pytest.mark.parametrize("kind", ["direct", "fanout", "topic", "headers"])
def test_bindings_are_told_apart_by_target_key_and_arguments(kind: str) -> None:
    exchange, queue = Exchange(b"x", kind), Queue(b"q")
    one, other = table_fields({"a": 1}), table_fields({"a": 2})
    assert exchange.bind(queue, b"k", one)
    assert not exchange.bind(queue, b"k", bytes(bytearray(one)))
    assert exchange.bind(queue, b"k", other)
    assert exchange.bind(queue, b"other", one)
    assert exchange.binding_count == 3
    assert sorted(exchange.bindings()) == sorted([(queue, b"k", one), (queue, b"k", other), (queue, b"other", one)])
    assert exchange.routes(b"k", one) == [queue]
    assert exchange.unbind(queue, b"k", one)
    assert not exchange.unbind(queue, b"k", one)
    assert exchange.routes(b"k", other) == [queue]
    assert exchange.unbind_target(queue) == 2
    assert exchange.unbind_target(queue) == 0
    assert exchange.routes(b"k", other) == []
    assert (exchange.binding_count, exchange.bindings()) == (0, [])


def test_what_cannot_be_bound() -> None:
    exchange = Exchange(b"x", "direct")
    wrong: Any = "queue"
    with pytest.raises(TypeError):
        exchange.bind(wrong, b"")
    deleted = Queue(b"q")
    deleted.delete()
    with pytest.raises(ValueError, match="deleted"):
        exchange.bind(deleted, b"")
    exchange.delete()
    with pytest.raises(ValueError, match="deleted"):
        exchange.bind(Queue(b"q"), b"")
    with pytest.raises(ValueError, match="unknown exchange type"):
        Exchange(b"x", "x-unknown")


@pytest.mark.parametrize("kind", ["direct", "fanout", "topic", "headers"])
def test_a_thousand_targets_come_and_go(kind: str) -> None:
    exchange = Exchange(b"x", kind)
    queues = [Queue(f"{number}".encode()) for number in range(1000)]
    for queue in queues:
        exchange.bind(queue, b"k")
    assert set(exchange.routes(b"k")) == set(queues)
    for queue in queues[::3]:
        exchange.unbind_target(queue)
    assert set(exchange.routes(b"k")) == set(queues) - set(queues[::3])
    exchange.delete()
    assert exchange.routes(b"k") == []


# --------------------------------------------------------------------------------------- from exchange to exchange


def test_a_message_goes_on_by_its_own_key_from_exchange_to_exchange() -> None:
    entry, topic, fanout = Exchange(b"entry", "direct"), Exchange(b"topic", "topic"), Exchange(b"fanout", "fanout")
    near, far, everywhere = Queue(b"near"), Queue(b"far"), Queue(b"everywhere")
    entry.bind(near, b"a.b")
    entry.bind(topic, b"a.b")
    topic.bind(far, b"a.*")
    topic.bind(fanout, b"#")
    for exchange in (entry, topic, fanout):
        exchange.bind(everywhere, b"a.b")
    assert names(entry.routes(b"a.b")) == ["everywhere", "far", "near"]
    assert names(entry.routes(b"a.c")) == []
    for exchange in (entry, topic, fanout):
        exchange.delete()


def test_a_cycle_of_exchanges_ends() -> None:
    ring = [Exchange(f"{number}".encode(), "fanout") for number in range(4)]
    queues = [Queue(f"{number}".encode()) for number in range(4)]
    for number, exchange in enumerate(ring):
        exchange.bind(queues[number], b"")
        exchange.bind(ring[(number + 1) % 4], b"")
        exchange.bind(exchange, b"")
    for exchange in ring:
        assert set(exchange.routes(b"")) == set(queues)
    ring[2].delete()
    assert names(ring[0].routes(b"")) == ["0", "1"]
    assert names(ring[3].routes(b"")) == ["0", "1", "3"]
    for exchange in ring:
        exchange.delete()


def test_the_alternate_takes_what_matches_nothing() -> None:
    orders, stray, lost = Exchange(b"orders", "direct"), Exchange(b"stray", "topic"), Exchange(b"lost", "fanout")
    matched, strayed, last = Queue(b"matched"), Queue(b"strayed"), Queue(b"last")
    orders.bind(matched, b"new")
    stray.bind(strayed, b"old.#")
    lost.bind(last, b"")
    orders.alternate, stray.alternate, lost.alternate = stray, lost, orders
    assert orders.alternate is stray
    assert orders.routes(b"new") == [matched]
    assert orders.routes(b"old.one") == [strayed]
    assert orders.routes(b"else") == [last]
    lost.unbind(last, b"")
    assert orders.routes(b"else") == []
    orders.alternate = None
    assert orders.alternate is None
    assert orders.routes(b"old.one") == []
    for exchange in (orders, stray, lost):
        exchange.delete()


def test_an_alternate_is_not_for_what_a_bound_exchange_lost() -> None:
    entry, dead_end, stray = (Exchange(name, "fanout") for name in (b"entry", b"dead end", b"stray"))
    queue = Queue(b"q")
    stray.bind(queue, b"")
    entry.alternate = stray
    assert entry.routes(b"") == [queue]
    entry.bind(dead_end, b"")
    assert entry.routes(b"") == []
    dead_end.alternate = stray
    assert entry.routes(b"") == [queue]
    for exchange in (entry, dead_end, stray):
        exchange.delete()


def test_several_keys_are_one_question() -> None:
    exchange, stray = Exchange(b"x", "direct"), Exchange(b"stray", "fanout")
    one, other, last = Queue(b"one"), Queue(b"other"), Queue(b"last")
    exchange.bind(one, b"1")
    exchange.bind(other, b"2")
    exchange.bind(one, b"2")
    stray.bind(last, b"")
    exchange.alternate = stray
    assert names(exchange.routes(b"1", other_keys=[b"2"])) == ["one", "other"]
    assert names(exchange.routes(b"0", other_keys=[b"2"])) == ["one", "other"]
    assert names(exchange.routes(b"1", other_keys=[b"0"])) == ["one"]
    assert names(exchange.routes(b"0", other_keys=[b"00", b"000"])) == ["last"]
    exchange.delete()


def test_a_change_anywhere_on_the_way_moves_the_generation_upstream() -> None:
    first, second, third, aside = (Exchange(name, "fanout") for name in (b"1", b"2", b"3", b"aside"))
    queue = Queue(b"q")
    first.bind(second, b"")
    second.alternate = third
    aside.bind(queue, b"")

    def moved(change: Any) -> list[bytes]:
        before = {exchange: exchange.generation for exchange in (first, second, third, aside)}
        change()
        return [exchange.name for exchange, generation in before.items() if exchange.generation != generation]

    assert moved(lambda: third.bind(queue, b"")) == [b"1", b"2", b"3"]
    assert moved(lambda: third.bind(queue, b"")) == []
    assert first.routes(b"") == [queue]
    assert moved(lambda: second.bind(queue, b"")) == [b"1", b"2"]
    assert moved(lambda: first.bind(queue, b"")) == [b"1"]
    assert moved(lambda: third.unbind(queue, b"")) == [b"1", b"2", b"3"]
    assert moved(lambda: second.unbind_target(queue)) == [b"1", b"2"]
    assert moved(lambda: third.delete()) == [b"1", b"2", b"3"]
    assert moved(lambda: third.delete()) == [b"3"]
    assert second.alternate is None
    assert moved(lambda: second.delete()) == [b"1", b"2"]


def test_headers_anywhere_on_the_way_are_known_upstream() -> None:
    first, second, headers = Exchange(b"1", "direct"), Exchange(b"2", "fanout"), Exchange(b"3", "headers")
    queue = Queue(b"q")
    headers.bind(queue, b"", table_fields({"a": 1}))
    assert [exchange.by_message for exchange in (first, second, headers)] == [False, False, True]
    first.bind(second, b"k")
    assert first.routes(b"k", table_fields({"a": 1})) == []
    second.alternate = headers
    assert [exchange.by_message for exchange in (first, second)] == [True, True]
    assert first.routes(b"k", table_fields({"a": 1})) == [queue]
    assert first.routes(b"k", table_fields({"a": 2})) == []
    assert first.routes(b"k") == []
    second.alternate = None
    assert [exchange.by_message for exchange in (first, second)] == [False, False]
    first.delete()


# ------------------------------------------------------------------------------------------------ cache and memory


def test_more_keys_than_the_cache_holds() -> None:
    exchange = Exchange(b"x", "topic")
    queues = [Queue(f"{number}".encode()) for number in range(7)]
    for number, queue in enumerate(queues):
        exchange.bind(queue, f"{number}.*".encode())
    before = [sys.getrefcount(queue) for queue in queues]
    for _ in range(2):
        for number in range(3 * CACHED_ROUTES_MAX):
            assert exchange.routes(f"{number % 7}.{number}".encode()) == [queues[number % 7]]
    kept = sum(map(sys.getrefcount, queues)) - sum(before)
    assert CACHED_ROUTES_MAX // 2 < kept <= CACHED_ROUTES_MAX


def test_a_cache_of_large_answers_is_bounded_too() -> None:
    exchange = Exchange(b"x", "topic")
    queues = [Queue(f"{number}".encode()) for number in range(512)]
    for queue in queues:
        exchange.bind(queue, b"#")
    before = sys.getrefcount(queues[0])
    for number in range(1200):
        exchange.routes(f"{number}".encode())
        kept = sys.getrefcount(queues[0]) - before
        assert 0 < kept <= CACHED_TARGETS_MAX // 512
    assert set(exchange.routes(b"1")) == set(queues)


def test_a_fanout_keeps_one_answer_whatever_the_keys() -> None:
    first, second, queue = Exchange(b"1", "fanout"), Exchange(b"2", "fanout"), Queue(b"q")
    first.bind(second, b"")
    second.bind(queue, b"")
    before = sys.getrefcount(queue)
    for number in range(100):
        assert first.routes(f"{number}".encode()) == [queue]
    assert sys.getrefcount(queue) == before + 1
    first.delete()


def test_nothing_holds_a_queue_after_its_exchange_is_deleted() -> None:
    exchange, source, queue = Exchange(b"x", "topic"), Exchange(b"source", "fanout"), Queue(b"q")
    before = sys.getrefcount(queue), sys.getrefcount(exchange)
    source.bind(exchange, b"")
    exchange.bind(source, b"loop")
    exchange.bind(queue, b"#")
    exchange.alternate = source
    for number in range(100):
        assert source.routes(f"{number}".encode()) == [queue]
    exchange.delete()
    assert (sys.getrefcount(queue), sys.getrefcount(exchange)) == before
    assert (source.binding_count, source.routes(b"1"), exchange.routes(b"1")) == (0, [], [])


class WatchedQueue(Queue):
    """What a Python function called on a target would look like."""

    def __hash__(self) -> int:
        return 1

    def __eq__(self, other: object) -> bool:
        return self is other


def python_calls(act: Any) -> list[str]:
    calls: list[str] = []

    def watch(frame: Any, event: str, argument: Any) -> None:
        # A build with line tracing shows compiled functions as well.
        if event in ("call", "c_call") and not frame.f_code.co_filename.endswith(".pyx"):
            calls.append(argument.__name__ if event == "c_call" else frame.f_code.co_name)

    sys.setprofile(watch)
    try:
        act()
    finally:
        sys.setprofile(None)
    return [name for name in calls if name not in ("<lambda>", "setprofile")]


def test_a_route_enters_no_python_function() -> None:
    entry, headers, stray = Exchange(b"entry", "topic"), Exchange(b"headers", "headers"), Exchange(b"stray", "fanout")
    queue, table = WatchedQueue(b"q"), table_fields({"a": 1})
    headers.alternate = stray
    headers.bind(queue, b"", table)
    entry.bind(headers, b"a.#")
    entry.bind(queue, b"a.*")
    stray.bind(queue, b"")
    assert "__hash__" in python_calls(lambda: entry.bind(queue, b"#.b"))
    for exchange in (entry, stray, headers):
        for _ in range(2):
            assert python_calls(lambda asked=exchange: asked.routes(b"a.b", table)) == []
            assert python_calls(lambda asked=exchange: asked.routes(b"a.b")) == []
    assert entry.routes(b"a.b", table) == [queue]
    for exchange in (entry, headers, stray):
        exchange.delete()


def test_an_exchange_knows_what_leads_to_it() -> None:
    """By a binding, or as an alternate; however often, each once."""
    target, bound, other, stranger = (Exchange(name, "direct") for name in (b"t", b"b", b"o", b"s"))
    for key in (b"1", b"2"):
        bound.bind(target, key, b"")
    other.alternate = target
    stranger.bind(bound, b"", b"")
    assert set(target.sources()) == {bound, other}
    assert bound.has_target(target)
    bound.unbind(target, b"1", b"")
    assert (bound.has_target(target), set(target.sources())) == (True, {bound, other})
    bound.unbind(target, b"2", b"")
    assert (bound.has_target(target), target.sources()) == (False, [other])
    other.alternate = None
    assert target.sources() == []
    stranger.delete()


# --------------------------------------------------------------------------------------- what goes, step by step


def keys_for(kind: str, count: int) -> list[tuple[bytes, bytes]]:
    """Different bindings that the messages of routed() match."""
    if kind == "x-consistent-hash":
        return [(b"%d" % (number + 1), b"") for number in range(count)]
    return [(b"k" if number == 0 else b"k%d" % number, table_fields({"a": number})) for number in range(count)]


def routed(exchange: Exchange) -> list[str]:
    return names(exchange.routes(b"k", table_fields({"a": 0})))


@pytest.mark.parametrize("kind", ["direct", "topic", "fanout", "headers", "x-consistent-hash"])
def test_a_target_that_is_let_go_gets_nothing_from_then_on(kind: str) -> None:
    exchange, going, staying, lost = Exchange(b"x", kind), Queue(b"going"), Queue(b"staying"), Queue(b"lost")
    alternate = Exchange(b"alternate", "fanout")
    alternate.bind(lost, b"")
    exchange.alternate = alternate
    for key, match in keys_for(kind, 1000):
        exchange.bind(going, key, match)
    steps = exchange.let_go(going)
    assert (routed(exchange), exchange.binding_count, exchange.targets()) == (["lost"], 0, [])
    next(steps)
    assert routed(exchange) == ["lost"]
    key, match = keys_for(kind, 1)[0]
    exchange.bind(staying, key, match)
    before = exchange.generation
    for _ in steps:
        assert routed(exchange) == ["staying"]
    assert (routed(exchange), exchange.generation, exchange.binding_count) == (["staying"], before, 1)
    references = sys.getrefcount(going)
    exchange.bind(going, key, match)
    exchange.unbind_target(going)
    assert sys.getrefcount(going) == references == 2
    exchange.delete()  # it and its alternate know each other


def test_more_targets_are_let_go_than_can_be_at_once() -> None:
    exchange, staying = Exchange(b"x", "direct"), Queue(b"staying")
    queues = [Queue(b"q%d" % number) for number in range(40)]
    for queue in [staying, *queues]:
        for key, _ in keys_for("direct", 300):
            exchange.bind(queue, key)
    waiting = [exchange.let_go(queue) for queue in queues]
    while waiting:
        assert routed(exchange) == ["staying"]
        waiting = [steps for steps in waiting if next(steps, waiting) is not waiting]
    assert (routed(exchange), exchange.binding_count) == (["staying"], 300)


def test_steps_that_nobody_takes_are_taken() -> None:
    exchange, nodes = Exchange(b"x", "topic"), live_nodes()
    queue = Queue(b"q")
    for key, _ in keys_for("topic", 1000):
        exchange.bind(queue, key)
    steps = exchange.let_go(queue)
    next(steps)
    assert live_nodes() > nodes
    del steps, queue
    assert live_nodes() == nodes
    exchange.bind(Queue(b"another"), b"k")
    assert routed(exchange) == ["another"]


def test_an_exchange_is_deleted_while_it_lets_go_of_a_target() -> None:
    exchange, going = Exchange(b"x", "topic"), Queue(b"going")
    for queue in (going, Queue(b"other")):
        for key, _ in keys_for("topic", 1000):
            exchange.bind(queue, key)
    steps = exchange.let_go(going)
    next(steps)
    rest = exchange.delete()
    assert routed(exchange) == []
    assert sum(1 for _ in rest) > 10
    assert sum(1 for _ in steps) == 9  # one was taken


def test_an_exchange_is_let_go_with_all_its_links() -> None:
    source, target, queue = Exchange(b"source", "direct"), Exchange(b"target", "fanout"), Queue(b"q")
    target.bind(queue, b"")
    for key, _ in keys_for("direct", 500):
        source.bind(target, key)
    assert routed(source) == ["q"]
    steps = source.let_go(target)
    assert (routed(source), target.sources()) == ([], [])
    assert sum(1 for _ in steps) == 5
