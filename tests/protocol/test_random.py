"""x-random: any one of the bindings, chosen anew for every message however it comes there."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.wire import Channel

COUNT = 200  # of two queues one stays empty once in 2 ** 199 runs


def declare(channel: Channel, name: str, kind: str, **fields: Any) -> str:
    channel.call("exchange.declare", exchange=name, type=kind, auto_delete=True, **fields)
    return name


def bind(channel: Channel, exchange: str, queue: str, key: str = "") -> str:
    channel.call("queue.bind", exchange=exchange, queue=queue, routing_key=key)
    return queue


@pytest.fixture
def chance(channel: Channel, names: Iterator[str]) -> tuple[str, list[str]]:
    """An x-random exchange and two queues bound to it."""
    exchange = declare(channel, next(names), "x-random")
    return exchange, [bind(channel, exchange, channel.queue(next(names), exclusive=True), "k") for _ in range(2)]


def counts(channel: Channel, exchange: str, queues: list[str], key: str = "same", **publish: Any) -> list[int]:
    if not channel.confirmed:
        channel.call("confirm.select")
    for _ in range(COUNT):
        channel.publish(exchange, key, b"x", **publish)
    channel.wait_for_confirms(COUNT)
    return [len(channel.drain(queue)) for queue in queues]


def check_spread(found: list[int]) -> None:
    assert sum(found) == COUNT
    assert min(found) > 30, found  # ten standard deviations from the middle


def test_every_message_anew(channel: Channel, chance: tuple[str, list[str]]) -> None:
    check_spread(counts(channel, *chance))


@pytest.mark.newer
def test_local_random_is_the_same_on_one_node(channel: Channel, names: Iterator[str]) -> None:
    exchange = declare(channel, next(names), "x-local-random")
    queues = [bind(channel, exchange, channel.queue(next(names), exclusive=True)) for _ in range(2)]
    check_spread(counts(channel, exchange, queues))


def test_further_routing_keys_are_no_further_copies(channel: Channel, chance: tuple[str, list[str]]) -> None:
    check_spread(counts(channel, *chance, properties={"headers": {"CC": ["a", "b"], "BCC": ["c"]}}))


@pytest.mark.parametrize("kind", ["direct", "fanout", "topic", "headers"])
def test_behind_a_binding(channel: Channel, names: Iterator[str], chance: tuple[str, list[str]], kind: str) -> None:
    exchange, queues = chance
    before = declare(channel, next(names), kind)
    channel.call("exchange.bind", source=before, destination=exchange, routing_key="same")
    check_spread(counts(channel, before, queues))


def test_behind_an_alternate_exchange(channel: Channel, names: Iterator[str], chance: tuple[str, list[str]]) -> None:
    exchange, queues = chance
    first = declare(channel, next(names), "direct", arguments={"alternate-exchange": exchange})
    check_spread(counts(channel, first, queues))
    channel.call("exchange.delete", exchange=first)


def test_a_binding_that_comes_later_makes_chance_of_what_was_certain(
    channel: Channel, names: Iterator[str], chance: tuple[str, list[str]]
) -> None:
    exchange, queues = chance
    before, always = declare(channel, next(names), "direct"), channel.queue(next(names), exclusive=True)
    bind(channel, before, always, "same")
    assert counts(channel, before, [*queues, always]) == [0, 0, COUNT]
    channel.call("exchange.bind", source=before, destination=exchange, routing_key="same")
    *found, certain = counts(channel, before, [*queues, always])
    assert certain == COUNT
    check_spread(found)
    channel.call("exchange.unbind", source=before, destination=exchange, routing_key="same")
    assert counts(channel, before, [*queues, always]) == [0, 0, COUNT]


def test_in_a_transaction(channel: Channel, chance: tuple[str, list[str]]) -> None:
    exchange, queues = chance
    channel.call("tx.select")
    for _ in range(COUNT):
        channel.publish(exchange, "same", b"x")
    channel.call("tx.commit")
    check_spread([len(channel.drain(queue)) for queue in queues])


def test_without_a_binding_nothing_is_reached(channel: Channel, name: str) -> None:
    exchange = declare(channel, name, "x-random")
    channel.publish(exchange, "k", b"x", mandatory=True)
    assert channel.expect("basic.return").reply_code == 312
    channel.call("exchange.delete", exchange=exchange)
