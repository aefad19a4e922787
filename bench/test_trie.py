"""What a route costs, by the number of bindings and with and without the cache: `pytest bench --benchmark-enable`.

A round routes 1 000 keys through the method the tests use, which makes a list of every answer: some 40 ns per key that
a published message does not pay. Compare rows, and see how little the bindings cost that do not match.
"""

import itertools
from collections.abc import Callable
from typing import Any

import pytest

from bench.scenarios import topic_bindings, topic_key

queue_module = pytest.importorskip("flowmq._queue", reason="flowmq._queue is not built")
router = pytest.importorskip("flowmq._router", reason="flowmq._router is not built")

QUEUES = 10
KEYS_PER_ROUND = 1000
COLD_KEYS = 100_000  # far more than a route cache holds

Benchmark = Callable[..., Any]


def bound(exchange_type: str, bindings: list[tuple[int, str]]) -> Any:
    queues = [queue_module.Queue(f"queue-{i}".encode()) for i in range(QUEUES)]
    exchange = router.Exchange(b"bench", exchange_type)
    for i, key in bindings:
        exchange.bind(queues[i], key.encode())
    return exchange


def topic(count: int) -> Any:
    return bound("topic", [(binding.queue, binding.key) for binding in topic_bindings(count, QUEUES)])


def route_all(exchange: Any, keys: list[bytes]) -> int:
    routes = exchange.routes
    return sum(len(routes(key)) for key in keys)


@pytest.mark.parametrize("bindings", [1000, 100_000])
def test_topic_with_few_keys(benchmark: Benchmark, bindings: int) -> None:
    """100 keys over and over: what a busy publisher does."""
    exchange = topic(bindings)
    keys = [topic_key(i % 100).encode() for i in range(KEYS_PER_ROUND)]
    assert benchmark(route_all, exchange, keys) == KEYS_PER_ROUND


@pytest.mark.parametrize("bindings", [1000, 100_000])
def test_topic_with_ever_new_keys(benchmark: Any, bindings: int) -> None:
    """A different thousand every round: each key walks the trie."""
    # All match a `plant1.#`, `plant6.#`, ..., which leaves the rest of the key free.
    keys = [f"plant{i % bindings // 5 * 5 + 1}.{i}.new".encode() for i in range(COLD_KEYS)]
    assert route_rounds(benchmark, topic(bindings), keys) == KEYS_PER_ROUND


@pytest.mark.parametrize("bindings", [1000, 100_000])
def test_topic_without_a_match(benchmark: Any, bindings: int) -> None:
    """Ever new keys as well, none of which any binding matches."""
    keys = [f"nowhere{i}.x.y".encode() for i in range(COLD_KEYS)]
    assert route_rounds(benchmark, topic(bindings), keys) == 0


def route_rounds(benchmark: Any, exchange: Any, keys: list[bytes]) -> int:
    """Five times through all keys, a thousand to a round; what the last round matched."""
    rounds = [keys[start : start + KEYS_PER_ROUND] for start in range(0, len(keys), KEYS_PER_ROUND)] * 5
    turn = itertools.cycle(rounds)
    matched = benchmark.pedantic(route_all, setup=lambda: ((exchange, next(turn)), {}), rounds=len(rounds))
    assert isinstance(matched, int)
    return matched


@pytest.mark.parametrize("algorithm", ["ring", "jump"])
@pytest.mark.parametrize("bindings", [10, 1000])
def test_consistent_hash_with_ever_new_keys(benchmark: Any, bindings: int, algorithm: str) -> None:
    """As with a user or an order for a key: none is in the cache. As many queues as bindings."""
    exchange = router.Exchange(b"bench", "x-consistent-hash", table_options={"algorithm": algorithm})
    for i in range(bindings):
        exchange.bind(queue_module.Queue(f"queue-{i}".encode()), b"1")
    keys = [f"user.{i}".encode() for i in range(COLD_KEYS)]
    assert route_rounds(benchmark, exchange, keys) == KEYS_PER_ROUND


@pytest.mark.parametrize("bindings", [10, 1000])
def test_bindings_of_a_ring_come_and_go(benchmark: Any, bindings: int) -> None:
    exchange = router.Exchange(b"bench", "x-consistent-hash")
    for i in range(bindings):
        exchange.bind(queue_module.Queue(f"queue-{i}".encode()), b"1")
    one_more = queue_module.Queue(b"one-more")

    def come_and_go() -> bool:
        exchange.bind(one_more, b"1")
        return bool(exchange.unbind(one_more, b"1"))

    assert benchmark(come_and_go)


@pytest.mark.parametrize("exchange_type", ["direct", "fanout"])
def test_other_types(benchmark: Benchmark, exchange_type: str) -> None:
    exchange = bound(exchange_type, [(i, f"key-{i}") for i in range(QUEUES)])
    keys = [f"key-{i % QUEUES}".encode() for i in range(KEYS_PER_ROUND)]
    matches = QUEUES if exchange_type == "fanout" else 1
    assert benchmark(route_all, exchange, keys) == KEYS_PER_ROUND * matches
