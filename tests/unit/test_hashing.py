"""Exchanges that choose one target: where keys go, how evenly, and how few move when bindings change.

Judged by a naive twin. What is hashed is in test_hashing_input.py.
"""

import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowmq._queue import Queue
from flowmq._router import Exchange
from tests.unit.hash_twin import jump_choices, modulus_choices, ring_choices, stable_hash

CONSISTENT, MODULUS, RANDOM = "x-consistent-hash", "x-modulus-hash", "x-random"
KEYS = [f"user.{number}".encode() for number in range(20_000)]

CHOICES = {
    "ring": (CONSISTENT, {}, ring_choices),
    "jump": (CONSISTENT, {"algorithm": "jump"}, jump_choices),
    "modulus": (MODULUS, {}, modulus_choices),
}

# ----------------------------------------------------------------------------------------------------- as the twin

STEPS = st.lists(st.tuples(st.integers(0, 5), st.sampled_from([1, 2, 3])), min_size=1, max_size=12)
# Past the sum of weights up to which a ring has all its points, and back, and through the middle.
HEAVY_STEPS = [(0, 2), (1, 700), (2, 700), (0, 3), (3, 4000), (0, 2), (1, 700), (3, 4000), (2, 700), (2, 1), (0, 3)]


def check_steps(kind: str, steps: list[tuple[int, int]]) -> None:
    """A step binds, or unbinds what is bound."""
    type_, options, choices = CHOICES[kind]
    exchange = Exchange(b"x", type_, table_options=options)
    queues = [Queue(name) for name in (b"a", b"b", b"shard-9", b"shard-10", b"a-long-name-of-a-queue", b"")]
    hashes = [stable_hash(key) for key in KEYS[:20]]
    bound: set[tuple[int, int]] = set()
    for step in steps:
        at, weight = step
        if step in bound:
            assert exchange.unbind(queues[at], str(weight).encode())
        else:
            assert exchange.bind(queues[at], str(weight).encode())
        bound ^= {step}
        weights: Counter[bytes] = Counter()
        for number, weight in bound:
            weights[queues[number].name] += weight if type_ == CONSISTENT else 1
        found = [[queue.name for queue in exchange.routes(key)] for key in KEYS[:20]]
        assert found == ([[name] for name in choices(weights, hashes)] if weights else [[]] * 20)
    exchange.delete()


@pytest.mark.parametrize("kind", CHOICES)
@given(steps=STEPS)
@settings(max_examples=25, deadline=None)
def test_bindings_come_and_go_as_in_the_twin(kind: str, steps: list[tuple[int, int]]) -> None:
    check_steps(kind, steps)


@pytest.mark.slow
@pytest.mark.parametrize("kind", CHOICES)
def test_great_weights_come_and_go_as_in_the_twin(kind: str) -> None:
    check_steps(kind, HEAVY_STEPS)


def bound(type_: str, weights: dict[str, int], **options: str) -> Exchange:
    exchange = Exchange(b"x", type_, table_options=options)
    for name, weight in weights.items():
        exchange.bind(Queue(name.encode()), str(weight).encode())
    return exchange


def where(exchange: Exchange, keys: list[bytes] = KEYS) -> list[bytes]:
    """The name of the one queue each key goes to."""
    found = [exchange.routes(key) for key in keys]
    assert {len(queues) for queues in found} == {1}
    return [queues[0].name for queues in found]


@pytest.mark.parametrize("kind", CHOICES)
def test_the_order_of_binding_does_not_matter(kind: str) -> None:
    type_, options, _ = CHOICES[kind]
    weights = [(f"queue-{number}", number % 3 + 1) for number in range(20)]
    expected = where(bound(type_, dict(weights), **options))
    shuffler = random.Random(4)
    for _ in range(3):
        shuffler.shuffle(weights)
        exchange = bound(type_, {**dict(weights), "passing": 5}, **options)
        [passing] = [queue for queue, _, _ in exchange.bindings() if queue.name == b"passing"]
        exchange.unbind_target(passing)
        assert where(exchange) == expected


# Which shard of eight some keys go to, and the beginning of their hashes.
FOR_EVER: dict[str, list[int]] = {
    "hash": [58922, 6845, 56253, 18053, 721],
    "ring": [1, 6, 0, 7, 2],
    "jump": [6, 6, 5, 0, 7],
    "modulus": [7, 3, 5, 7, 1],
}


def test_where_keys_go_is_the_same_for_ever() -> None:
    shards = {f"shard-{number}": 1 for number in range(8)}
    keys = [b"", b"a", b"user.1", b"user.2", b"\xff" * 255]
    assert [stable_hash(key) >> 48 for key in keys] == FOR_EVER["hash"]
    for kind in CHOICES:
        type_, options, _ = CHOICES[kind]
        assert [int(name[6:]) for name in where(bound(type_, shards, **options), keys)] == FOR_EVER[kind]


# ---------------------------------------------------------------------------------------------------- how evenly


@pytest.mark.parametrize("count", [2, 10, 50])
@pytest.mark.parametrize(("kind", "deviation"), [("ring", 0.2), ("jump", 0.2), ("modulus", 0.2)])
def test_every_queue_gets_its_share(kind: str, deviation: float, count: int) -> None:
    type_, options, _ = CHOICES[kind]
    exchange = bound(type_, {f"queue-{number}": 1 for number in range(count)}, **options)
    shares = Counter(where(exchange))
    assert len(shares) == count
    for share in shares.values():
        assert abs(share * count / len(KEYS) - 1) < deviation, shares


@pytest.mark.parametrize("algorithm", ["ring", "jump"])
@pytest.mark.parametrize("weights", [[1, 2], [1, 2, 3, 4], [10, 20, 70], [1, 1, 1, 97], [5000, 10000, 5000]])
def test_weights_are_shares(algorithm: str, weights: list[int]) -> None:
    exchange = bound(CONSISTENT, {f"queue-{at}": weight for at, weight in enumerate(weights)}, algorithm=algorithm)
    shares = Counter(where(exchange))
    for at, weight in enumerate(weights):
        share = shares[f"queue-{at}".encode()] / len(KEYS)
        assert share == pytest.approx(weight / sum(weights), rel=0.2, abs=0.002), shares


@pytest.mark.parametrize("algorithm", ["ring", "jump"])
def test_the_heaviest_weights_leave_room_and_memory(algorithm: str) -> None:
    weights = {f"heavy-{number}": 2**32 - 1 for number in range(4)}
    exchange = bound(CONSISTENT, {**weights, "light": 1}, algorithm=algorithm)
    shares = Counter(where(exchange))
    assert min(shares[name.encode()] for name in weights) > len(KEYS) / 5
    assert shares[b"light"] < 20


def test_two_bindings_of_one_queue_weigh_together() -> None:
    once, twice = bound(CONSISTENT, {"a": 3, "b": 1}), bound(CONSISTENT, {"a": 1, "b": 1})
    [queue] = [queue for queue, _, _ in twice.bindings() if queue.name == b"a"]
    twice.bind(queue, b"2")
    assert where(twice) == where(once)
    twice.unbind(queue, b"1")
    assert where(twice) == where(bound(CONSISTENT, {"a": 2, "b": 1}))


# ------------------------------------------------------------------------------------------------- how few move


@pytest.mark.parametrize("count", [1, 4, 10, 50])
def test_a_new_queue_takes_its_share_and_nothing_else_moves(count: int) -> None:
    weights = {f"queue-{number}": 1 for number in range(count)}
    exchange = bound(CONSISTENT, weights)
    before, new = where(exchange), Queue(b"new")
    exchange.bind(new, b"1")
    after = where(exchange)
    moved = [now for then, now in zip(before, after, strict=True) if then != now]
    assert set(moved) == {b"new"}
    assert len(moved) / len(KEYS) == pytest.approx(1 / (count + 1), rel=0.2)
    exchange.unbind_target(new)
    assert where(exchange) == before


def test_a_queue_that_goes_leaves_the_others_what_they_had() -> None:
    weights = {f"queue-{number}": number + 1 for number in range(6)}
    before, after = where(bound(CONSISTENT, weights)), where(bound(CONSISTENT, {**weights, "gone": 4}))
    assert all(then == now for then, now in zip(after, before, strict=True) if then != b"gone")


def test_more_weight_takes_from_others_only() -> None:
    before, after = (
        where(bound(CONSISTENT, {"a": 1, "b": 1, "c": 1})),
        where(bound(CONSISTENT, {"a": 2, "b": 1, "c": 1})),
    )
    moved = [now for then, now in zip(before, after, strict=True) if then != now]
    assert set(moved) == {b"a"}
    assert len(moved) / len(KEYS) == pytest.approx(1 / 2 - 1 / 3, rel=0.2)


def test_jump_moves_little_at_the_end_of_the_order() -> None:
    """The order is by number where names end in numbers, with or without zeros before them."""
    shards = {f"shard-{number}": 1 for number in range(10)}
    before = where(bound(CONSISTENT, shards, algorithm="jump"))
    after = where(bound(CONSISTENT, {**shards, "shard-10": 1}, algorithm="jump"))
    moved = [now for then, now in zip(before, after, strict=True) if then != now]
    assert set(moved) == {b"shard-10"}
    assert len(moved) / len(KEYS) == pytest.approx(1 / 11, rel=0.2)


# ------------------------------------------------------------------------------------------------------- by chance


@pytest.mark.parametrize("type_", [RANDOM, "x-local-random"])
def test_chance_is_fair_and_never_kept(type_: str) -> None:
    exchange = bound(type_, {"a": 1, "b": 1, "c": 1})
    assert exchange.by_message
    counts = Counter(where(exchange, [b"k"] * 3000))
    # A thousand each; two hundred off is more than seven standard deviations.
    assert all(800 < counts[name] < 1200 for name in (b"a", b"b", b"c")), counts


def test_chance_is_per_binding() -> None:
    exchange = bound(RANDOM, {"a": 1, "b": 1})
    [queue] = [queue for queue, _, _ in exchange.bindings() if queue.name == b"a"]
    exchange.bind(queue, b"another")
    assert 1750 < Counter(where(exchange, [b"k"] * 3000))[b"a"] < 2250


def test_chance_further_on_is_chance_here() -> None:
    """Behind a binding or an alternate exchange; and no longer when that way is gone."""
    last = bound(RANDOM, {"a": 1, "b": 1})
    through, before = Exchange(b"through", "direct"), Exchange(b"before", "topic")
    through.bind(last, b"k")
    before.alternate = through
    assert before.by_message
    assert through.by_message
    for exchange in (through, before):
        assert set(where(exchange, [b"k"] * 200)) == {b"a", b"b"}
    assert before.routes(b"other") == []
    before.alternate = None
    assert not before.by_message
    assert through.by_message
    through.unbind(last, b"k")
    assert not through.by_message


def test_several_keys_are_still_one_choice() -> None:
    for type_ in (CONSISTENT, MODULUS, RANDOM):
        exchange = bound(type_, {f"queue-{number}": 1 for number in range(10)})
        for key in KEYS[:50]:
            [queue] = exchange.routes(key, other_keys=[b"one", b"two", b"three"])
            if type_ != RANDOM:
                assert exchange.routes(key) == [queue]


# ------------------------------------------------------------------------------------------------- to exchanges


def test_exchanges_are_targets_and_no_target_is_the_alternate() -> None:
    exchange, other = Exchange(b"x", CONSISTENT), Exchange(b"other", "fanout")
    exchange.alternate = other
    queues = [Queue(b"%d" % number) for number in range(3)]
    other.bind(queues[0], b"")
    assert exchange.routes(b"k") == [queues[0]]
    same_name = Exchange(b"1", "fanout")  # a queue has it too
    same_name.bind(queues[2], b"")
    exchange.bind(queues[1], b"1")
    exchange.bind(same_name, b"1")
    counts = Counter(where(exchange))
    assert set(counts) == {b"1", b"2"}
    assert min(counts.values()) > len(KEYS) / 3
    for gone in (exchange, other, same_name):
        gone.delete()
    assert exchange.routes(b"k") == []


def test_a_weight_that_is_none_binds_nothing() -> None:
    exchange, queue = bound(CONSISTENT, {"a": 1}), Queue(b"q")
    for weight in (b"0", b"-1", b"x", b""):
        with pytest.raises((ValueError, OverflowError)):
            exchange.bind(queue, weight)
    assert exchange.binding_count == 1
    assert set(where(exchange)) == {b"a"}
