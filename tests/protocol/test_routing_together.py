"""Exchanges of all types bound to each other, alternate exchanges, CC and BCC, mandatory: all of it at once.

What is expected was taken from RabbitMQ 3.10.
"""

from collections.abc import Iterator

import pytest

from tests.support.topology import RETURNED, Binding, Publish, Topology
from tests.support.wire import Channel

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
