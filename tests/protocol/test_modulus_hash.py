"""x-modulus-hash: the binding whose number is the hash of the routing key modulo how many there are."""

from collections.abc import Iterator

import pytest

from tests.support.wire import Channel


def declare(channel: Channel, name: str) -> str:
    channel.call("exchange.declare", exchange=name, type="x-modulus-hash", auto_delete=True)
    return name


def bind(channel: Channel, exchange: str, queue: str, key: str = "") -> str:
    channel.call("queue.bind", exchange=exchange, queue=queue, routing_key=key)
    return queue


def counts(channel: Channel, exchange: str, queues: list[str], keys: list[str]) -> list[int]:
    if not channel.confirmed:
        channel.call("confirm.select")
    for key in keys:
        channel.publish(exchange, key, b"x")
    channel.wait_for_confirms(len(keys))
    return [len(channel.drain(queue)) for queue in queues]


def test_equal_keys_go_one_way_and_different_ones_everywhere(channel: Channel, names: Iterator[str]) -> None:
    exchange = declare(channel, next(names))
    queues = [bind(channel, exchange, channel.queue(next(names), exclusive=True), "anything") for _ in range(4)]
    found = counts(channel, exchange, queues, [f"key {number}" for number in range(400)])
    assert sum(found) == 400
    assert min(found) > 50
    assert sorted(counts(channel, exchange, queues, ["k"] * 20)) == [0, 0, 0, 20]


def test_every_binding_counts(channel: Channel, names: Iterator[str]) -> None:
    exchange = declare(channel, next(names))
    queues = [channel.queue(next(names), exclusive=True) for _ in range(2)]
    for key in ("1", "2", "3"):
        bind(channel, exchange, queues[0], key)
    bind(channel, exchange, queues[1], "1")
    found = counts(channel, exchange, queues, [f"key {number}" for number in range(400)])
    assert sum(found) == 400
    assert 250 < found[0] < 350


def test_exchanges_are_destinations(channel: Channel, queue: str, names: Iterator[str]) -> None:
    exchange, fanout = declare(channel, next(names)), next(names)
    channel.call("exchange.declare", exchange=fanout, type="fanout", auto_delete=True)
    channel.call("queue.bind", exchange=fanout, queue=queue)
    channel.call("exchange.bind", source=exchange, destination=fanout)
    assert counts(channel, exchange, [queue], ["a", "b", "c"]) == [3]


def test_without_a_binding_nothing_is_reached(channel: Channel, name: str) -> None:
    exchange = declare(channel, name)
    channel.publish(exchange, "k", b"x", mandatory=True)
    assert channel.expect("basic.return").reply_code == 312
    channel.call("exchange.delete", exchange=exchange)


@pytest.mark.flowmq_only
def test_of_several_routing_keys_the_first_decides(channel: Channel, names: Iterator[str]) -> None:
    """RabbitMQ hashes all of them together; either way it is one queue."""
    exchange = declare(channel, next(names))
    queues = [bind(channel, exchange, channel.queue(next(names), exclusive=True)) for _ in range(4)]
    channel.call("confirm.select")
    for number in range(40):
        channel.publish(exchange, "k", b"x", {"headers": {"CC": [f"a{number}"], "BCC": ["b", "c"]}})
    channel.wait_for_confirms(40)
    assert sorted(len(channel.drain(queue)) for queue in queues) == [0, 0, 0, 40]
