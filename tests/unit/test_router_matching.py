"""Routing by binding key, in one exchange and through whole topologies, judged by naive matching."""

import random
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from flowmq._binding_keys import live_nodes
from flowmq._queue import Queue
from flowmq._router import DefaultExchange, Exchange
from tests.support.codec import table_fields


@pytest.fixture(autouse=True)
def no_node_is_lost() -> Iterator[None]:
    before = live_nodes()
    yield
    assert live_nodes() == before


def names(queues: list[Queue]) -> list[str]:
    found = sorted(queue.name.decode() for queue in queues)
    assert len(found) == len(set(found)), f"a queue twice: {found}"
    return found


def topic_matches(pattern: list[bytes], words: list[bytes]) -> bool:
    if not pattern:
        return not words
    if pattern[0] == b"#":
        return topic_matches(pattern[1:], words) or (bool(words) and topic_matches(pattern, words[1:]))
    return bool(words) and pattern[0] in (b"*", words[0]) and topic_matches(pattern[1:], words[1:])


def words_of(key: bytes) -> list[bytes]:
    return key.split(b".") if key else []


# ----------------------------------------------------------------------------------------------- direct and fanout


def test_direct_takes_the_exact_key_only() -> None:
    exchange = Exchange(b"orders", "direct")
    for name, key in (("a", b"eu.new"), ("b", b"eu.new"), ("c", b"eu.*"), ("d", b"")):
        assert exchange.bind(Queue(name.encode()), key)
    assert names(exchange.routes(b"eu.new")) == ["a", "b"]
    assert names(exchange.routes(b"eu.*")) == ["c"]
    assert names(exchange.routes(b"")) == ["d"]
    assert names(exchange.routes(b"eu.ne")) == []
    assert names(exchange.routes(b"eu.new.")) == []


@pytest.mark.parametrize("kind", ["direct", "topic"])
@pytest.mark.parametrize("length", [*range(25), 254, 255, 1000])
def test_keys_of_every_length_are_told_from_their_neighbours(kind: str, length: int) -> None:
    exchange = Exchange(b"", kind)
    key = bytes(65 + position % 26 for position in range(length))
    exchange.bind(Queue(b"here"), key)
    others = {key + b"A", key[:-1], *(key[:at] + b"\x00" + key[at + 1 :] for at in range(length))} - {key}
    for _ in range(2):
        assert names(exchange.routes(key)) == ["here"]
        assert [other for other in others if exchange.routes(other)] == []


def test_the_default_exchange_knows_every_queue_by_its_name() -> None:
    exchange, queue = DefaultExchange(), Queue(b"work")
    exchange.add(queue)
    exchange.add(queue)
    assert (exchange.name, exchange.type) == (b"", "direct")
    assert exchange.routes(b"work") == [queue]
    assert exchange.routes(b"wor") == []
    exchange.remove(queue)
    assert exchange.routes(b"work") == []
    exchange.remove(queue)


def test_fanout_takes_every_key() -> None:
    exchange = Exchange(b"notifications", "fanout")
    one, other = Queue(b"one"), Queue(b"other")
    for key in (b"", b"x"):
        exchange.bind(one, key)
        exchange.bind(other, key)
    assert names(exchange.routes(b"anything")) == ["one", "other"]
    exchange.unbind(one, b"x")
    assert names(exchange.routes(b"anything")) == ["one", "other"]
    exchange.unbind(one, b"")
    assert names(exchange.routes(b"anything")) == ["other"]


@pytest.mark.parametrize("kind", ["fanout", "direct", "topic"])
@pytest.mark.parametrize("seed", range(20))
def test_many_targets_come_and_go_in_any_order(kind: str, seed: int) -> None:
    """Around the number from which on they have an index; each bound up to four times, as far as the type allows."""
    choose = random.Random(seed)
    exchange = Exchange(b"", kind)
    queues = [Queue(b"q%d" % number) for number in range(choose.choice([3, 33, 40, 150]))]
    keys = [b"k", b"other"] if kind == "fanout" else [b"k"]
    bindings = [(queue, key, match) for queue in queues for key in keys for match in (b"", b"x")]
    bound = dict.fromkeys(choose.sample(bindings, len(bindings) * 3 // 4))
    for binding in bound:
        assert exchange.bind(*binding)
    for share in (0.5, 0.9, 0.1, 0.0):
        for _ in range(len(bindings)):
            binding = choose.choice(bindings)
            queue = binding[0]
            if choose.random() < share:
                assert exchange.bind(*binding) is (binding not in bound)
                bound[binding] = None
            elif choose.random() < 0.2:
                gone = [one for one in bound if one[0] is queue]
                assert exchange.unbind_target(queue) == len(gone)
                for one in gone:
                    del bound[one]
            else:
                assert exchange.unbind(*binding) is (binding in bound)
                bound.pop(binding, None)
            assert names(exchange.routes(b"k")) == sorted({one[0].name.decode() for one in bound})


# ----------------------------------------------------------------------------------------------------------- topic

TOPICS = [
    (b"a.b", b"a.b", True),
    (b"a.b", b"a.b.", False),
    (b"*", b"a", True),
    (b"*", b"", False),
    (b"*", b"*", True),
    (b"a", b"*", False),
    (b"a", b"#", False),
    (b"*.*", b".", True),
    (b"*", b"a.b", False),
    (b"#", b"", True),
    (b"#", b"a.b.c", True),
    (b"", b"", True),
    (b"", b"a", False),
    (b"a.#", b"a", True),
    (b"a.#", b"a.", True),
    (b"a.#", b"b", False),
    (b"#.a", b"a", True),
    (b"#.a", b"b.a.c.a", True),
    (b"#.a.#", b"b.a.c", True),
    (b"#.*", b"", False),
    (b"#.*.#", b"x", True),
    (b"a.#.b", b"a.b", True),
    (b"a.#.b", b"a.x.y.b", True),
    (b"a.#.b", b"a.x.y.b.c", False),
    (b"a..b", b"a..b", True),
    (b"a.*.b", b"a..b", True),
    (b"a..b", b"a.b", False),
    (b"a*.b", b"ab.b", False),
    (b"a*.b", b"a*.b", True),
    (b"##", b"##", True),
    (b"##", b"a", False),
]


@pytest.mark.parametrize(("pattern", "key", "matches"), TOPICS)
def test_topic(pattern: bytes, key: bytes, matches: bool) -> None:
    exchange, queue = Exchange(b"sensors", "topic"), Queue(b"q")
    exchange.bind(queue, pattern)
    assert exchange.routes(key) == [queue] * matches
    assert topic_matches(words_of(pattern), words_of(key)) is matches


WORD = st.sampled_from([b"a", b"b", b"c", b"", b"long-word-of-a-routing-key"])
KEY = st.lists(WORD, max_size=6).map(b".".join)
PATTERN = st.lists(st.one_of(WORD, st.sampled_from([b"*", b"#"])), max_size=6).map(b".".join)


@settings(max_examples=300, deadline=None)
@given(patterns=st.lists(PATTERN, max_size=40), keys=st.lists(KEY, min_size=1, max_size=10), data=st.data())
def test_topic_agrees_with_the_naive_matcher(patterns: list[bytes], keys: list[bytes], data: st.DataObject) -> None:
    before = live_nodes()
    exchange = Exchange(b"sensors", "topic")
    bound = {}
    for number, pattern in enumerate(patterns):
        bound[Queue(f"{number % 7}".encode()) if number >= 7 else Queue(f"{number}".encode()), pattern] = None
    for queue, pattern in bound:
        assert exchange.bind(queue, pattern)
    dropped = data.draw(st.sets(st.sampled_from(sorted(range(len(bound)))) if bound else st.nothing()))
    for _ in range(2):
        for key in keys:
            expected = {queue for queue, pattern in bound if topic_matches(words_of(pattern), words_of(key))}
            found = exchange.routes(key)
            assert set(found) == expected
            assert len(found) == len(expected)
        for queue, pattern in [pair for number, pair in enumerate(list(bound)) if number in dropped]:
            assert exchange.unbind(queue, pattern)
            del bound[queue, pattern]
        dropped = set()
    assert exchange.binding_count == len(bound)
    exchange.delete()
    assert live_nodes() == before


def test_a_queue_reached_by_many_patterns_gets_the_message_once() -> None:
    exchange, queue = Exchange(b"", "topic"), Queue(b"q")
    for pattern in (b"#", b"a.#", b"a.*", b"#.b", b"a.b", b"#.#", b"*.*", b"#.a.#.b.#"):
        exchange.bind(queue, pattern)
    assert exchange.routes(b"a.b") == [queue]


def test_no_binding_keys_make_a_match_explode() -> None:
    exchange, queue = Exchange(b"", "topic"), Queue(b"q")
    exchange.bind(queue, b".".join([b"#"] * 100 + [b"end"]))
    exchange.bind(queue, b".".join([b"#.a"] * 60 + [b"end"]))
    exchange.bind(queue, b".".join([b"#.*"] * 60 + [b"end"]))
    assert exchange.routes(b".".join([b"a"] * 120)) == []
    assert exchange.routes(b".".join([b"a"] * 120 + [b"end"])) == [queue]


def test_nodes_go_with_the_last_binding_that_needs_them() -> None:
    before = live_nodes()
    exchange, queue, other = Exchange(b"", "topic"), Queue(b"q"), Queue(b"other")
    exchange.bind(queue, b"a.*.#")
    exchange.bind(other, b"a.*")
    assert live_nodes() == before + 3
    exchange.unbind(queue, b"a.*.#")
    assert live_nodes() == before + 2
    assert exchange.routes(b"a.b") == [other]
    exchange.unbind_target(other)
    assert live_nodes() == before


# ------------------------------------------------------------------------------------------------ whole topologies

KINDS = ["direct", "fanout", "topic", "headers"]
SMALL_KEY = st.sampled_from([b"", b"a", b"a.b", b"b.b", b"#", b"*.b", b"a.#"])
PLACE = st.integers(0, 4)


class Topology(RuleBasedStateMachine):
    """Five exchanges and five queues bound at random, asked between the changes, so that every cache is warm."""

    @initialize(kinds=st.lists(st.sampled_from(KINDS), min_size=5, max_size=5))
    def declare(self, kinds: list[str]) -> None:
        self.exchanges = [Exchange(f"x{number}".encode(), kind) for number, kind in enumerate(kinds)]
        self.queues = [Queue(f"q{number}".encode()) for number in range(5)]
        self.bound: dict[tuple[Exchange, Any, bytes], None] = {}
        self.alternates: dict[Exchange, Exchange] = {}

    def target(self, number: int) -> Any:
        return self.queues[number] if number < 5 else self.exchanges[number - 5]

    @rule(source=PLACE, number=st.integers(0, 9), key=SMALL_KEY)
    def bind(self, source: int, number: int, key: bytes) -> None:
        binding = (self.exchanges[source], self.target(number), key)
        new = self.exchanges[source].bind(self.target(number), key, table_fields({"a": len(key)}))
        assert new is (binding not in self.bound)
        self.bound[binding] = None

    @rule(source=PLACE, number=st.integers(0, 9), key=SMALL_KEY)
    def unbind(self, source: int, number: int, key: bytes) -> None:
        binding = (self.exchanges[source], self.target(number), key)
        existed = self.exchanges[source].unbind(self.target(number), key, table_fields({"a": len(key)}))
        assert existed is (binding in self.bound)
        self.bound.pop(binding, None)

    @rule(source=PLACE, number=st.integers(0, 9))
    def unbind_target(self, source: int, number: int) -> None:
        gone = [b for b in self.bound if b[0] is self.exchanges[source] and b[1] is self.target(number)]
        assert self.exchanges[source].unbind_target(self.target(number)) == len(gone)
        for binding in gone:
            del self.bound[binding]

    @rule(source=PLACE, alternate=st.none() | PLACE)
    def set_alternate(self, source: int, alternate: int | None) -> None:
        exchange = self.exchanges[source]
        self.alternates.pop(exchange, None)
        exchange.alternate = None if alternate is None else self.exchanges[alternate]
        if exchange.alternate is not None:
            self.alternates[exchange] = exchange.alternate

    @rule(place=PLACE, kind=st.sampled_from(KINDS))
    def delete_and_declare_again(self, place: int, kind: str) -> None:
        gone = self.exchanges[place]
        gone.delete()
        assert gone.deleted
        self.exchanges[place] = Exchange(gone.name, kind)
        self.bound = {b: None for b in self.bound if gone not in b}
        self.alternates = {x: to for x, to in self.alternates.items() if gone not in (x, to)}

    def matched(self, exchange: Exchange, keys: list[bytes], number: int) -> list[Any]:
        def fits(bound_key: bytes, key: bytes) -> bool:
            if exchange.type == "headers":
                return len(bound_key) == number
            if exchange.type == "topic":
                return topic_matches(words_of(bound_key), words_of(key))
            return exchange.type == "fanout" or bound_key == key

        return [to for source, to, bound in self.bound if source is exchange and any(fits(bound, key) for key in keys)]

    def expected(self, exchange: Exchange, keys: list[bytes], number: int) -> set[Queue]:
        met, waiting, found = {exchange}, [exchange], set()
        while waiting:
            exchange = waiting.pop()
            targets = self.matched(exchange, keys, number)
            if not targets and exchange in self.alternates:
                targets = [self.alternates[exchange]]
            found |= {target for target in targets if isinstance(target, Queue)}
            new = {target for target in targets if isinstance(target, Exchange)} - met
            met |= new
            waiting += new
        return found

    @rule(source=PLACE, keys=st.lists(SMALL_KEY, min_size=1, max_size=3), number=st.integers(0, 3))
    def ask(self, source: int, keys: list[bytes], number: int) -> None:
        exchange = self.exchanges[source]
        routes = exchange.routes(keys[0], table_fields({"a": number}), other_keys=keys[1:])
        assert set(routes) == self.expected(exchange, keys, number)
        assert len(routes) == len(set(routes))

    @invariant()
    def every_exchange_answers_right(self) -> None:
        for exchange in getattr(self, "exchanges", ()):
            assert set(exchange.routes(b"a.b", table_fields({"a": 3}))) == self.expected(exchange, [b"a.b"], 3)
            assert exchange.binding_count == len(exchange.bindings())

    def teardown(self) -> None:
        for exchange in getattr(self, "exchanges", ()):
            exchange.delete()
            assert (exchange.binding_count, exchange.routes(b"a.b")) == (0, [])


TestTopology = Topology.TestCase
TestTopology.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
