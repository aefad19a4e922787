"""Exchanges of all types bound to each other, alternate exchanges, CC and BCC, mandatory: all of it at once.

A topology is written with one letter for each thing: capitals are exchanges, small letters queues. What is expected
was taken from RabbitMQ 3.10; the twin at the end is judged by it too whenever these tests run against it.
"""

import random
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from tests.support.wire import Channel

RETURNED = "returned"


class Binding(NamedTuple):
    source: str
    target: str
    key: str = ""
    arguments: dict[str, Any] = {}  # noqa: RUF012 - never changed


class Publish(NamedTuple):
    exchange: str
    key: str
    expected: str  # the queues, each as often as it got a copy; or RETURNED
    headers: dict[str, Any] = {}  # noqa: RUF012 - never changed


class Topology:
    """Declared under names of this test's own."""

    def __init__(self, channel: Channel, names: Iterator[str], exchanges: dict[str, str], queues: str) -> None:
        """`exchanges` is the type of each, with "> Y" behind it when its alternate exchange is Y."""
        self.channel, self.names, self.exchanges = channel, names, exchanges
        self.named = {label: next(names) for label in [*exchanges, *queues]}
        for label in exchanges:
            self.declare_exchange(label)
        for label in queues:
            channel.queue(self.named[label], exclusive=True)
        self.queues = queues
        channel.call("confirm.select")

    def declare_exchange(self, label: str) -> None:
        kind, _, alternate = self.exchanges[label].partition(" > ")
        arguments = {"alternate-exchange": self.named.get(alternate, "nobody")} if alternate else {}
        self.channel.call("exchange.declare", exchange=self.named[label], type=kind, arguments=arguments)

    def bind(self, binding: Binding, method: str = "bind") -> None:
        fields = {"routing_key": binding.key, "arguments": binding.arguments}
        source, target = self.named[binding.source], self.named[binding.target]
        if binding.target in self.exchanges:
            self.channel.call(f"exchange.{method}", source=source, destination=target, **fields)
        else:
            self.channel.call(f"queue.{method}", exchange=source, queue=target, **fields)

    def publish(self, publish: Publish) -> str:
        """What became of it."""
        properties = {"headers": publish.headers} if publish.headers else None
        exchange = self.named[publish.exchange]
        self.channel.publish(exchange, publish.key, b"body", properties, mandatory=True)
        answer = self.channel.expect("basic.return", "basic.ack")
        if answer.name == "basic.return":
            assert (answer.reply_code, answer.exchange, answer.routing_key) == (312, exchange, publish.key)
            self.channel.expect("basic.ack")
        reached = ""
        for label in self.queues:
            while (message := self.channel.get(self.named[label])) is not None:
                assert (message.exchange, message.routing_key, message.body) == (exchange, publish.key, b"body")
                reached += label
        assert not (reached and answer.name == "basic.return")
        return RETURNED if answer.name == "basic.return" else reached

    def delete(self) -> None:
        for label in self.exchanges:
            self.channel.call("exchange.delete", exchange=self.named[label])


CASES: dict[str, tuple[dict[str, str], str, list[Binding], list[Publish]]] = {
    "each key is tried at each exchange on the way": (
        {"D": "direct", "T": "topic"},
        "ab",
        [Binding("D", "T", "to-topic"), Binding("T", "a", "x.*"), Binding("D", "b", "direct")],
        [
            Publish("D", "to-topic", RETURNED),
            Publish("D", "to-topic", "a", {"CC": ["x.y"]}),
            Publish("D", "x.y", "a", {"BCC": ["to-topic"]}),
            Publish("D", "nobody", "ab", {"CC": ["direct", "to-topic"], "BCC": ["x.1", "x.2"]}),
            Publish("D", "nobody", RETURNED, {"CC": ["x.1"]}),
        ],
    ),
    "a headers exchange does not mind the keys": (
        {"H": "headers", "D": "direct"},
        "ab",
        [
            Binding("H", "a", "k", {"h": 1}),
            Binding("H", "D", "k", {"x-match": "any", "g": "z"}),
            Binding("D", "b", "cc"),
        ],
        [
            Publish("H", "anything", "a", {"h": 1, "CC": ["k", "l"]}),
            Publish("H", "k", RETURNED, {"h": 2, "CC": ["cc"]}),
            Publish("H", "k", "b", {"g": "z", "CC": ["cc"]}),
            Publish("H", "k", RETURNED, {"g": "z"}),
            Publish("H", "cc", "ab", {"g": "z", "h": 1}),
        ],
    ),
    "CC and BCC are headers like others where headers are compared": (
        {"H": "headers"},
        "ab",
        [Binding("H", "a", "", {"CC": ["one"]}), Binding("H", "b", "", {"BCC": None})],
        [
            Publish("H", "", "a", {"CC": ["one"]}),
            Publish("H", "", RETURNED, {"CC": ["two"]}),
            Publish("H", "", RETURNED, {"BCC": ["one"]}),
        ],
    ),
    "one key that matches keeps all of them from the alternate": (
        {"D": "direct > F", "F": "fanout"},
        "af",
        [Binding("D", "a", "a"), Binding("F", "f")],
        [
            Publish("D", "a", "a"),
            Publish("D", "b", "f"),
            Publish("D", "b", "a", {"CC": ["a"]}),
            Publish("D", "b", "a", {"BCC": ["c", "a"]}),
            Publish("D", "b", "f", {"CC": ["c"], "BCC": ["d"]}),
        ],
    ),
    "an alternate exchange gets all keys too": (
        {"H": "headers > D", "D": "direct > T", "T": "topic"},
        "hdt",
        [Binding("H", "h", "", {"h": 1}), Binding("D", "d", "cc"), Binding("T", "t", "*.*")],
        [
            Publish("H", "k", "h", {"h": 1, "CC": ["cc", "a.b"]}),
            Publish("H", "k", "d", {"CC": ["cc", "a.b"]}),
            Publish("H", "k", "t", {"CC": ["dd"], "BCC": ["a.b"]}),
            Publish("H", "k", RETURNED, {"CC": ["dd"], "BCC": ["a.b.c"]}),
        ],
    ),
    "an alternate on the way counts only for the exchange it belongs to": (
        {"F": "fanout > A", "D": "direct > B", "A": "fanout", "B": "fanout"},
        "qab",
        [Binding("F", "D"), Binding("D", "q", "k"), Binding("A", "a"), Binding("B", "b")],
        [Publish("F", "k", "q"), Publish("F", "other", "b"), Publish("D", "other", "b"), Publish("A", "x", "a")],
    ),
    "where several ways meet there is one copy": (
        {"F": "fanout", "D": "direct > A", "H": "headers > A", "T": "topic > A", "A": "fanout"},
        "aq",
        [
            *(Binding("F", target) for target in "DHT"),
            Binding("A", "a"),
            Binding("D", "q", "k"),
            Binding("T", "q", "#.k"),
            Binding("H", "q", "", {"h": 1}),
        ],
        [
            Publish("F", "k", "aq"),
            Publish("F", "k", "q", {"h": 1}),
            Publish("F", "x", "a"),
            Publish("F", "x", "aq", {"h": 1}),
            Publish("F", "x", "aq", {"CC": ["k"]}),
        ],
    ),
    "circles of bindings and alternates": (
        {"D": "direct > T", "T": "topic > H", "H": "headers > D"},
        "dth",
        [
            Binding("D", "d", "d"),
            Binding("D", "T", "round"),
            Binding("T", "D", "round"),
            Binding("T", "t", "t.#"),
            Binding("H", "h", "", {"h": 1}),
        ],
        [
            Publish("D", "d", "d"),
            Publish("D", "t", "t"),
            Publish("D", "x", "h", {"h": 1}),
            Publish("T", "d", "d"),
            Publish("H", "t.x", "t"),
            Publish("D", "x", RETURNED),
            Publish("D", "round", RETURNED),
            Publish("T", "round", "dt", {"CC": ["d"], "BCC": ["t"]}),
        ],
    ),
    "an alternate exchange that is not there": (
        {"D": "direct > Z", "F": "fanout"},
        "q",
        [Binding("D", "q", "k"), Binding("F", "D")],
        [Publish("D", "k", "q"), Publish("D", "x", RETURNED), Publish("F", "x", RETURNED)],
    ),
    "an exchange may be its own alternate": (
        {"D": "direct > D"},
        "q",
        [Binding("D", "q", "k")],
        [Publish("D", "k", "q"), Publish("D", "x", RETURNED), Publish("D", "x", "q", {"CC": ["k"]})],
    ),
    "equal bindings by other keys and to other kinds of targets": (
        {"T": "topic", "D": "direct"},
        "q",
        [*(Binding("T", "q", key) for key in ("#", "a.*", "*.b")), Binding("T", "D", "#"), Binding("D", "q", "a.b")],
        [Publish("T", "a.b", "q"), Publish("T", "a.b", "q", {"CC": ["a.b", "b.b"], "BCC": ["a.b"]})],
    ),
    "what chooses one target chooses it for all keys": (
        {"C": "x-consistent-hash > A", "R": "x-random", "M": "x-modulus-hash", "A": "fanout"},
        "ra",
        [Binding("R", "C"), Binding("M", "R", "1"), Binding("C", "r", "1"), Binding("A", "a")],
        [Publish("M", "k", "r", {"CC": ["a", "b"]}), Publish("C", "k", "r", {"BCC": ["c"]}), Publish("A", "", "a")],
    ),
    "what chooses one target has an alternate for when there is none": (
        {"C": "x-consistent-hash > R", "R": "x-random > M", "M": "x-modulus-hash > D", "D": "direct"},
        "q",
        [Binding("D", "q", "k")],
        [Publish("C", "k", "q"), Publish("R", "x", "q", {"CC": ["k"]}), Publish("M", "x", RETURNED)],
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_where_a_message_goes(
    channel: Channel,
    names: Iterator[str],
    case: tuple[dict[str, str], str, list[Binding], list[Publish]],
) -> None:
    exchanges, queues, bindings, publishes = case
    topology = Topology(channel, names, exchanges, queues)
    for binding in bindings:
        topology.bind(binding)
    found = [publish._replace(expected=topology.publish(publish)) for publish in publishes]
    topology.delete()
    assert found == publishes


CHANGING = {"D": "direct > A", "H": "headers", "A": "fanout"}
CHANGING_BINDINGS = [Binding("D", "H", "k"), Binding("H", "q", "", {"h": 1}), Binding("A", "a")]


def test_changes_on_the_way_take_effect_at_once(channel: Channel, names: Iterator[str]) -> None:
    """Between publishes of one channel, which remembers where its last message went."""
    topology = Topology(channel, names, CHANGING, "qa")
    for binding in CHANGING_BINDINGS:
        topology.bind(binding)
    with_h, without, through = {"h": 1}, Publish("D", "k", RETURNED), Publish("D", "x", RETURNED, {"CC": ["k"]})

    def found() -> list[str]:
        publishes = [
            without,
            without._replace(headers=with_h),
            through,
            through._replace(headers=with_h | {"CC": ["k"]}),
        ]
        return [topology.publish(publish) for publish in publishes]

    assert found() == [RETURNED, "q", RETURNED, "q"]
    topology.bind(CHANGING_BINDINGS[0], "unbind")
    assert found() == ["a"] * 4
    topology.bind(CHANGING_BINDINGS[0])
    topology.bind(CHANGING_BINDINGS[1], "unbind")
    assert found() == [RETURNED] * 4
    channel.call("exchange.delete", exchange=topology.named["H"])
    assert found() == ["a"] * 4
    channel.call("exchange.delete", exchange=topology.named["A"])
    assert found() == [RETURNED] * 4
    for label in "AH":
        topology.declare_exchange(label)
    topology.bind(CHANGING_BINDINGS[2])
    assert found() == ["a"] * 4
    for binding in CHANGING_BINDINGS[:2]:
        topology.bind(binding)
    assert found() == [RETURNED, "q", RETURNED, "q"]
    channel.call("queue.delete", queue=topology.named["q"])
    topology.queues = "a"
    assert found() == [RETURNED] * 4
    topology.delete()


# ---------------------------------------------------------------------------------------------------- a naive twin

KEYS = ["a", "b", "a.b", "b.c", ""]
PATTERNS = [*KEYS, "#", "*", "a.#", "*.b", "#.c"]
ARGUMENTS: list[dict[str, Any]] = [
    {},
    {"x-match": "any", "h": 1},
    {"h": 1},
    {"h": 1, "g": "z"},
    {"x-match": "any", "h": None, "g": "z"},
]
HEADERS: list[dict[str, Any]] = [{}, {"h": 1}, {"g": "z"}, {"h": 1, "g": "z"}, {"h": 2}]


def topic_matches(pattern: list[str], words: list[str]) -> bool:
    if not pattern:
        return not words
    if pattern[0] == "#":
        return any(topic_matches(pattern[1:], words[at:]) for at in range(len(words) + 1))
    return bool(words) and pattern[0] in ("*", words[0]) and topic_matches(pattern[1:], words[1:])


def headers_match(arguments: dict[str, Any], headers: dict[str, Any]) -> bool:
    wanted = {name: value for name, value in arguments.items() if name != "x-match"}
    fits = [name in headers and value in (None, headers[name]) for name, value in wanted.items()]
    return any(fits) if arguments.get("x-match") == "any" else all(fits)


def matches(kind: str, binding: Binding, keys: list[str], headers: dict[str, Any]) -> bool:
    if kind == "headers":
        return headers_match(binding.arguments, headers)
    if kind == "topic":
        return any(topic_matches(words(binding.key), words(key)) for key in keys)
    return kind == "fanout" or binding.key in keys


def words(key: str) -> list[str]:
    return key.split(".") if key else []


def twin(exchanges: dict[str, str], bindings: list[Binding], publish: Publish) -> str:
    keys = [publish.key, *publish.headers.get("CC", []), *publish.headers.get("BCC", [])]
    found = [publish.exchange]
    for label in found:
        if label in exchanges:
            kind, _, alternate = exchanges[label].partition(" > ")
            targets = [b.target for b in bindings if b.source == label and matches(kind, b, keys, publish.headers)]
            if not targets and alternate in exchanges:
                targets = [alternate]
            found += [target for target in dict.fromkeys(targets) if target not in found]
    reached = "".join(sorted(label for label in found if label not in exchanges))
    return reached or RETURNED


def random_topology(chance: random.Random) -> tuple[dict[str, str], str, list[Binding]]:
    labels, queues = "DEFGH"[: chance.randint(2, 5)], "pqrs"[: chance.randint(1, 4)]
    exchanges = {}
    for label in labels:
        alternate = chance.choice(["", "", *labels, "Z"])
        exchanges[label] = chance.choice(["direct", "topic", "fanout", "headers"]) + (alternate and f" > {alternate}")
    bindings = []
    for _ in range(chance.randint(3, 12)):
        source = chance.choice(labels)
        target = chance.choice(labels if chance.random() < 0.4 else queues)
        arguments = chance.choice(ARGUMENTS) if exchanges[source].startswith("headers") else {}
        key = chance.choice(PATTERNS if exchanges[source].startswith("topic") else KEYS)
        bindings.append(Binding(source, target, key, arguments))
    return exchanges, queues, bindings


def random_publish(chance: random.Random, labels: str) -> Publish:
    headers = dict(chance.choice(HEADERS))
    for name in ("CC", "BCC"):
        if chance.random() < 0.5:
            headers[name] = chance.sample(KEYS, chance.randint(0, 2))
    return Publish(chance.choice(labels), chance.choice(KEYS), "", headers)


@pytest.mark.parametrize("seed", range(25))
def test_any_topology_routes_as_the_twin_does(channel: Channel, names: Iterator[str], seed: int) -> None:
    chance = random.Random(seed)
    exchanges, queues, bindings = random_topology(chance)
    topology = Topology(channel, names, exchanges, queues)
    bound: list[Binding] = []
    for binding in bindings:
        topology.bind(binding)
        bound.append(binding)
        publish = random_publish(chance, "".join(exchanges))
        assert topology.publish(publish) == twin(exchanges, bound, publish), (exchanges, bound, publish)
    for binding in chance.sample(bindings, len(bindings) // 2):
        topology.bind(binding, "unbind")
        bound = [other for other in bound if other != binding]
        publish = random_publish(chance, "".join(exchanges))
        assert topology.publish(publish) == twin(exchanges, bound, publish), (exchanges, bound, publish)
    topology.delete()
