"""Any exchanges with any bindings and alternates, CC and BCC: routed as a naive twin does.

The twin is judged by RabbitMQ whenever these tests run against it.
"""

import random
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.topology import RETURNED, Binding, Publish, Topology
from tests.support.wire import Channel

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
