"""Where a message goes: bindings of every exchange type, exchange to exchange, alternate exchanges."""

import itertools
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.codec import Typed
from tests.support.wire import Channel


def declare_exchange(channel: Channel, exchange: str, kind: str, **fields: Any) -> str:
    channel.call("exchange.declare", exchange=exchange, type=kind, auto_delete=True, **fields)
    return exchange


def routed(channel: Channel, queues: dict[str, str], exchange: str, key: str, **publish: Any) -> list[str]:
    """The labels of the queues a message reaches, once for each copy."""
    channel.publish(exchange, key, b"x", **publish)
    return [label for label, queue in queues.items() for _ in channel.drain(queue)]


def test_default_exchange_routes_by_queue_name(channel: Channel, queue: str) -> None:
    channel.publish("", queue, b"here")
    message = channel.get(queue)
    assert message
    assert (message.exchange, message.routing_key, message.body) == ("", queue, b"here")


def test_direct_key_must_be_equal(channel: Channel, names: Iterator[str]) -> None:
    exchange = declare_exchange(channel, next(names), "direct")
    queues = {key: channel.queue(next(names), exclusive=True) for key in ("a", "a.b", "A", "")}
    for key, queue in queues.items():
        channel.call("queue.bind", queue=queue, exchange=exchange, routing_key=key)
    assert channel.call("queue.bind", queue=queues["a"], exchange=exchange, routing_key="ä").name == "queue.bind-ok"
    for key, expected in (("a", ["a"]), ("a.b", ["a.b"]), ("A", ["A"]), ("", [""]), ("ä", ["a"]), ("b", [])):
        assert routed(channel, queues, exchange, key) == expected


def test_fanout_ignores_the_key(channel: Channel, names: Iterator[str]) -> None:
    exchange = declare_exchange(channel, next(names), "fanout")
    queues = {label: channel.queue(next(names), exclusive=True) for label in "abc"}
    for label, queue in queues.items():
        channel.call("queue.bind", queue=queue, exchange=exchange, routing_key=label)
    assert routed(channel, queues, exchange, "whatever") == ["a", "b", "c"]


TOPIC_PATTERNS = ["a.b.c", "a.*.c", "a.#", "#", "*", "*.*", "#.c", "a.#.c", "*.#", "", "a..c", "#.b.#"]
TOPIC_KEYS = {
    "a.b.c": {"a.b.c", "a.*.c", "a.#", "#", "#.c", "a.#.c", "*.#", "#.b.#"},
    "a": {"a.#", "#", "*", "*.#"},
    "a.c": {"a.#", "#", "*.*", "#.c", "a.#.c", "*.#"},
    "a..c": {"a.*.c", "a.#", "#", "#.c", "a.#.c", "*.#", "a..c"},
    "": {"#", ""},
    "b": {"#", "*", "*.#", "#.b.#"},
    "c": {"#", "*", "#.c", "*.#"},
    ".": {"#", "*.*", "*.#"},
    "a.b.b.c": {"a.#", "#", "#.c", "a.#.c", "*.#", "#.b.#"},
}


@pytest.fixture(scope="module")
def topic(peer: Any) -> Iterator[tuple[Channel, str, dict[str, str]]]:
    from tests.support.wire import connect

    with connect(peer) as client:
        channel = client.channel()
        exchange = declare_exchange(channel, f"topic-{channel.queue(exclusive=True)[-22:]}", "topic")
        queues = {pattern: channel.queue(exclusive=True) for pattern in TOPIC_PATTERNS}
        for pattern, queue in queues.items():
            channel.call("queue.bind", queue=queue, exchange=exchange, routing_key=pattern)
        yield channel, exchange, queues


@pytest.mark.parametrize("key", TOPIC_KEYS)
def test_topic_patterns(topic: tuple[Channel, str, dict[str, str]], key: str) -> None:
    channel, exchange, queues = topic
    assert sorted(routed(channel, queues, exchange, key)) == sorted(TOPIC_KEYS[key])


def test_one_copy_whatever_the_number_of_matching_bindings(channel: Channel, names: Iterator[str]) -> None:
    exchange = declare_exchange(channel, next(names), "topic")
    queues = {"q": channel.queue(next(names), exclusive=True)}
    for pattern in ("#", "a.*", "*.b", "a.b"):
        channel.call("queue.bind", queue=queues["q"], exchange=exchange, routing_key=pattern)
    assert routed(channel, queues, exchange, "a.b") == ["q"]


def test_unbinding_one_of_two_patterns_leaves_the_other(channel: Channel, names: Iterator[str]) -> None:
    exchange = declare_exchange(channel, next(names), "topic")
    queues = {"q": channel.queue(next(names), exclusive=True)}
    for pattern in ("a.#", "#.b"):
        channel.call("queue.bind", queue=queues["q"], exchange=exchange, routing_key=pattern)
    assert routed(channel, queues, exchange, "a.b") == ["q"]
    channel.call("queue.unbind", queue=queues["q"], exchange=exchange, routing_key="a.#")
    assert routed(channel, queues, exchange, "a.b") == ["q"]
    assert routed(channel, queues, exchange, "a.c") == []


def test_binding_twice_is_binding_once(channel: Channel, queue: str, name: str) -> None:
    exchange = declare_exchange(channel, f"{name}-x", "direct")
    channel.call("queue.bind", queue=queue, exchange=exchange, routing_key="k")
    channel.call("queue.bind", queue=queue, exchange=exchange, routing_key="k")
    assert routed(channel, {"q": queue}, exchange, "k") == ["q"]
    channel.call("queue.unbind", queue=queue, exchange=exchange, routing_key="k")
    channel.call("exchange.declare", exchange=exchange, type="direct")  # the last binding was gone, and so was it
    assert routed(channel, {"q": queue}, exchange, "k") == []


def test_binding_arguments_belong_to_its_identity(channel: Channel, queue: str, name: str) -> None:
    exchange = declare_exchange(channel, f"{name}-x", "headers")
    for value in (1, 2):
        channel.call("queue.bind", queue=queue, exchange=exchange, arguments={"v": value})
    channel.call("queue.unbind", queue=queue, exchange=exchange, arguments={"v": 1})
    assert routed(channel, {"q": queue}, exchange, "", properties={"headers": {"v": 1}}) == []
    assert routed(channel, {"q": queue}, exchange, "", properties={"headers": {"v": 2}}) == ["q"]


def test_unbinding_what_is_not_bound_succeeds(channel: Channel, queue: str, name: str) -> None:
    exchange = declare_exchange(channel, f"{name}-x", "direct")
    channel.call("queue.unbind", queue=queue, exchange=exchange, routing_key="k")


HEADERS: list[tuple[str, dict[str, Any], dict[str, Any], bool]] = [
    ("all by default", {"a": 1, "b": "two"}, {"a": 1, "b": "two", "c": 3}, True),
    ("all: one missing", {"x-match": "all", "a": 1, "b": "two"}, {"a": 1}, False),
    ("all: one different", {"x-match": "all", "a": 1, "b": "two"}, {"a": 1, "b": "three"}, False),
    ("all: no arguments match everything", {"x-match": "all"}, {"a": 1}, True),
    ("all: no arguments match no headers", {}, {}, True),
    ("any: one of two", {"x-match": "any", "a": 1, "b": "two"}, {"b": "two"}, True),
    ("any: none", {"x-match": "any", "a": 1, "b": "two"}, {"c": 1}, False),
    ("any: no arguments match nothing", {"x-match": "any"}, {"a": 1}, False),
    ("all ignores x- keys", {"x-match": "all", "a": 1, "x-b": 2}, {"a": 1}, True),
    ("any ignores x- keys", {"x-match": "any", "x-b": 2}, {"x-b": 2}, False),
    ("all-with-x compares x- keys", {"x-match": "all-with-x", "a": 1, "x-b": 2}, {"a": 1}, False),
    ("all-with-x matches x- keys", {"x-match": "all-with-x", "a": 1, "x-b": 2}, {"a": 1, "x-b": 2}, True),
    ("any-with-x matches x- keys", {"x-match": "any-with-x", "a": 1, "x-b": 2}, {"x-b": 2}, True),
    ("void means present", {"a": None}, {"a": "anything"}, True),
    ("void does not mean absent", {"a": None}, {"b": 1}, False),
    ("integer widths do not matter", {"a": Typed("b", 5)}, {"a": Typed("l", 5)}, True),
    ("text is not a number", {"a": "1"}, {"a": 1}, False),
    ("true is not one", {"a": True}, {"a": 1}, False),
    ("true is true", {"a": True}, {"a": True}, True),
    ("tables compare", {"a": {"b": 1}}, {"a": {"b": 1}}, True),
    ("arrays compare", {"a": [1, 2]}, {"a": [2, 1]}, False),
]


@pytest.mark.parametrize(("arguments", "headers", "matches"), [row[1:] for row in HEADERS], ids=[r[0] for r in HEADERS])
def test_headers(
    channel: Channel, queue: str, name: str, arguments: dict[str, Any], headers: dict[str, Any], matches: bool
) -> None:
    exchange = declare_exchange(channel, f"{name}-x", "headers")
    channel.call("queue.bind", queue=queue, exchange=exchange, arguments=arguments)
    reached = routed(channel, {"q": queue}, exchange, "ignored", properties={"headers": headers})
    assert reached == (["q"] if matches else [])


def test_headers_exchange_takes_a_message_without_headers(channel: Channel, queue: str, name: str) -> None:
    exchange = declare_exchange(channel, f"{name}-x", "headers")
    channel.call("queue.bind", queue=queue, exchange=exchange, arguments={"a": 1})
    assert routed(channel, {"q": queue}, exchange, "") == []
    channel.call("queue.bind", queue=queue, exchange=exchange)
    assert routed(channel, {"q": queue}, exchange, "") == ["q"]


# exchange to exchange


def test_exchange_to_exchange(channel: Channel, names: Iterator[str]) -> None:
    source = declare_exchange(channel, next(names), "topic")
    target = declare_exchange(channel, next(names), "direct")
    queues = {"q": channel.queue(next(names), exclusive=True)}
    channel.call("queue.bind", queue=queues["q"], exchange=target, routing_key="a.b")
    channel.call("exchange.bind", destination=target, source=source, routing_key="a.*")
    assert routed(channel, queues, source, "a.b") == ["q"]
    assert routed(channel, queues, source, "a.c") == []
    assert routed(channel, queues, source, "b.b") == []
    channel.call("exchange.unbind", destination=target, source=source, routing_key="a.*")
    channel.call("exchange.declare", exchange=source, type="topic")
    assert routed(channel, queues, source, "a.b") == []


def test_bindings_further_down_take_effect_at_once(channel: Channel, names: Iterator[str]) -> None:
    chain = [declare_exchange(channel, next(names), "fanout") for _ in range(4)]
    for source, target in itertools.pairwise(chain):
        channel.call("exchange.bind", destination=target, source=source)
    queues = {label: channel.queue(next(names), exclusive=True) for label in "ab"}
    assert routed(channel, queues, chain[0], "") == []
    for expected, queue in (["a"], queues["a"]), (["a", "b"], queues["b"]):
        channel.call("queue.bind", queue=queue, exchange=chain[-1])
        assert routed(channel, queues, chain[0], "") == expected
    channel.call("queue.delete", queue=queues["a"])
    del queues["a"]
    assert routed(channel, queues, chain[0], "") == ["b"]


def test_circle_of_exchanges_delivers_once(channel: Channel, names: Iterator[str]) -> None:
    circle = [declare_exchange(channel, next(names), "fanout") for _ in range(3)]
    queues = {label: channel.queue(next(names), exclusive=True) for label in "abc"}
    for index, queue in enumerate(queues.values()):
        channel.call("queue.bind", queue=queue, exchange=circle[index])
        channel.call("exchange.bind", destination=circle[(index + 1) % 3], source=circle[index])
    for exchange in circle:
        assert routed(channel, queues, exchange, "k") == ["a", "b", "c"]


def test_exchange_binding_to_nothing_is_refused(channel: Channel, name: str) -> None:
    for fields in ({"source": name, "destination": "amq.direct"}, {"source": "amq.direct", "destination": name}):
        channel.send("exchange.bind", **fields)
        channel.expect_close(404, f"NOT_FOUND - no exchange '{name}' in vhost '/'", (40, 30))
        channel.call("channel.open")


def test_queue_binding_to_nothing_is_refused(channel: Channel, queue: str, name: str) -> None:
    channel.send("queue.bind", queue=queue, exchange=f"{name}-x")
    channel.expect_close(404, f"NOT_FOUND - no exchange '{name}-x' in vhost '/'", (50, 20))
    channel.call("channel.open")
    channel.send("queue.bind", queue=f"{name}-q", exchange="amq.direct")
    channel.expect_close(404, f"NOT_FOUND - no queue '{name}-q' in vhost '/'", (50, 20))


# internal and alternate exchanges


def test_internal_exchange_is_reached_by_binding_only(channel: Channel, names: Iterator[str]) -> None:
    source = declare_exchange(channel, next(names), "fanout")
    inside = declare_exchange(channel, next(names), "fanout", internal=True)
    queues = {"q": channel.queue(next(names), exclusive=True)}
    channel.call("queue.bind", queue=queues["q"], exchange=inside)
    channel.call("exchange.bind", destination=inside, source=source)
    assert routed(channel, queues, source, "") == ["q"]
    channel.publish(inside, "", b"x")
    text = f"ACCESS_REFUSED - cannot publish to internal exchange '{inside}' in vhost '/'"
    channel.expect_close(403, text, (60, 40))


def test_alternate_exchange_takes_what_matches_nothing(channel: Channel, names: Iterator[str]) -> None:
    alternate = declare_exchange(channel, next(names), "fanout")
    exchange = declare_exchange(channel, next(names), "direct", arguments={"alternate-exchange": alternate})
    queues = {label: channel.queue(next(names), exclusive=True) for label in ("found", "lost")}
    channel.call("queue.bind", queue=queues["found"], exchange=exchange, routing_key="k")
    channel.call("queue.bind", queue=queues["lost"], exchange=alternate)
    assert routed(channel, queues, exchange, "k", mandatory=True) == ["found"]
    assert routed(channel, queues, exchange, "other", mandatory=True) == ["lost"]
    channel.call("queue.unbind", queue=queues["lost"], exchange=alternate)
    channel.publish(exchange, "other", b"x", mandatory=True)
    assert channel.expect("basic.return").reply_code == 312


def test_alternate_exchange_may_come_later_and_may_form_circles(channel: Channel, names: Iterator[str]) -> None:
    first, second, queue = next(names), next(names), next(names)
    declare_exchange(channel, first, "direct", arguments={"alternate-exchange": second})
    channel.publish(first, "k", b"x", mandatory=True)
    assert channel.expect("basic.return").exchange == first
    declare_exchange(channel, second, "direct", arguments={"alternate-exchange": first})
    channel.publish(first, "k", b"x", mandatory=True)
    assert channel.expect("basic.return").exchange == first
    queues = {"q": channel.queue(queue, exclusive=True)}
    channel.call("queue.bind", queue=queue, exchange=second, routing_key="k")
    assert routed(channel, queues, first, "k") == ["q"]


def test_bound_exchange_that_leads_nowhere_still_counts_as_a_match(channel: Channel, names: Iterator[str]) -> None:
    alternate = declare_exchange(channel, next(names), "fanout")
    exchange = declare_exchange(channel, next(names), "fanout", arguments={"alternate-exchange": alternate})
    nowhere = declare_exchange(channel, next(names), "fanout")
    queues = {"lost": channel.queue(next(names), exclusive=True)}
    channel.call("queue.bind", queue=queues["lost"], exchange=alternate)
    channel.call("exchange.bind", destination=nowhere, source=exchange)
    assert routed(channel, queues, exchange, "") == []


def test_bindings_go_with_the_queue_and_the_exchange(channel: Channel, names: Iterator[str]) -> None:
    exchange, queue = next(names), next(names)
    channel.call("exchange.declare", exchange=exchange, type="direct")
    channel.queue(queue, exclusive=True)
    channel.call("queue.bind", queue=queue, exchange=exchange, routing_key="k")
    channel.call("queue.delete", queue=queue)
    channel.queue(queue, exclusive=True)
    assert routed(channel, {"q": queue}, exchange, "k") == []
    channel.call("queue.bind", queue=queue, exchange=exchange, routing_key="k")
    channel.call("exchange.delete", exchange=exchange)
    declare_exchange(channel, exchange, "direct")
    assert routed(channel, {"q": queue}, exchange, "k") == []


def test_nowait_binds_without_an_answer(channel: Channel, queue: str, names: Iterator[str]) -> None:
    source, target = (declare_exchange(channel, next(names), "fanout") for _ in range(2))
    channel.send("queue.bind", queue=queue, exchange=target, nowait=True)
    channel.send("exchange.bind", destination=target, source=source, nowait=True)
    assert routed(channel, {"q": queue}, source, "") == ["q"]
    channel.send("exchange.unbind", destination=target, source=source, nowait=True)
    channel.call("exchange.declare", exchange=source, type="fanout")
    assert routed(channel, {"q": queue}, source, "") == []
