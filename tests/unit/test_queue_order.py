"""Who gets which message: turns, priorities, and the places that messages return to.

Cases by hand; that nothing is lost, doubled or held back by any mixture of them is judged in test_queue.py.
"""

import random
from typing import Any

import pytest

from tests.support.codec import Method, method_frame
from tests.unit.support_plane import Client, Plane

QUEUE = "q"


def consuming(plane: Plane, *consumers: dict[str, Any]) -> tuple[Client, list[Client]]:
    """A publisher, and a client per consumer with its prefetch and priority."""
    publisher = plane.client(1)
    publisher.call(1, "queue.declare", queue=QUEUE)
    clients = [plane.client(1) for _ in consumers]
    for client, consumer in zip(clients, consumers, strict=True):
        client.call(1, "basic.qos", prefetch_count=consumer.get("prefetch", 0))
        arguments = {"x-priority": consumer["priority"]} if "priority" in consumer else {}
        client.call(1, "basic.consume", queue=QUEUE, consumer_tag="c", arguments=arguments)
    return publisher, clients


def put(publisher: Client, *bodies: str) -> None:
    for body in bodies:
        publisher.publish(1, QUEUE, body.encode())


def bodies(client: Client) -> str:
    """One letter per message."""
    return "".join(method.body.decode() for method in client.received())


@pytest.mark.parametrize(
    ("consumers", "shares"),
    [
        ([{}, {}, {}], ["adg", "beh", "cfi"]),
        ([{"prefetch": 1}, {}, {"prefetch": 2}], ["a", "bdfghi", "ce"]),
        ([{"priority": -1}, {"priority": 5, "prefetch": 2}, {"prefetch": 3}], ["fghi", "ab", "cde"]),
        ([{"priority": 1, "prefetch": 2}, {"priority": 1, "prefetch": 2}, {}], ["ac", "bd", "efghi"]),
    ],
)
def test_consumers_take_turns_by_priority_while_they_can(consumers: list[dict[str, Any]], shares: list[str]) -> None:
    with Plane() as plane:
        publisher, clients = consuming(plane, *consumers)
        put(publisher, *"abcdefghi")
        assert [bodies(client) for client in clients] == shares


def test_a_preferred_consumer_is_preferred_again_once_it_can_take_messages() -> None:
    with Plane() as plane:
        publisher, (usual, preferred) = consuming(plane, {}, {"priority": 1, "prefetch": 1})
        put(publisher, *"abc")
        assert (bodies(usual), bodies(preferred)) == ("bc", "a")
        preferred.send(1, "basic.ack", delivery_tag=1)
        put(publisher, *"de")
        assert (bodies(usual), bodies(preferred)) == ("e", "d")


@pytest.mark.parametrize("returned", [[1], [3, 1, 2], [2], [4, 2], [4, 3, 2, 1], []])
def test_what_comes_back_returns_to_its_place(returned: list[int]) -> None:
    """Tags 1 to 4 are a to d, taken with basic.get; e and f were never taken; what does not return stays out."""
    with Plane() as plane:
        client, _ = consuming(plane)
        put(client, *"abcdef")
        take_all(client, 4)
        for tag in returned:
            client.send(1, "basic.reject", delivery_tag=tag, requeue=True)
        expected = sorted("abcd"[tag - 1] for tag in returned)
        answers = take_all(client, len(expected) + 2)
        assert [answer.body.decode() for answer in answers] == [*expected, "e", "f"]
        assert [answer.redelivered for answer in answers] == [True] * len(expected) + [False] * 2


def take_all(client: Client, count: int) -> list[Method]:
    client.take()
    client.feed(method_frame(1, "basic.get", queue=QUEUE) * count)
    answers = client.received()
    assert [answer.name for answer in answers] == ["basic.get-ok"] * count
    return answers


@pytest.mark.parametrize("size", [2, 17, 5000])
def test_a_crowd_of_returns_in_any_order_comes_out_in_order(size: int) -> None:
    with Plane() as plane:
        client, _ = consuming(plane)
        put(client, *(f"{at}" for at in range(size)))
        for turn in range(3):
            tags = [answer.delivery_tag for answer in take_all(client, size)]
            assert tags == list(range(turn * size + 1, turn * size + size + 1))
            random.Random(turn).shuffle(tags)
            client.feed(b"".join(method_frame(1, "basic.reject", delivery_tag=tag, requeue=True) for tag in tags))
            assert plane.queue(QUEUE).message_count == size
        assert [int(answer.body) for answer in take_all(client, size)] == list(range(size))


def test_one_multiple_settles_deliveries_of_several_queues() -> None:
    with Plane() as plane:
        client = plane.client(1)
        for name in "xyz":
            client.call(1, "queue.declare", queue=name)
            client.call(1, "basic.consume", queue=name, consumer_tag=name)
        for turn in range(6):
            client.publish(1, "xyz"[turn % 3], b"%d" % turn)
        client.take()
        client.send(1, "basic.nack", delivery_tag=4, multiple=True, requeue=True)
        again = client.received()
        assert sorted((method.consumer_tag, method.body) for method in again) == [
            *(("x", b"0"), ("x", b"3"), ("y", b"1"), ("z", b"2"))
        ]
        assert all(method.redelivered for method in again)
        client.send(1, "basic.ack", delivery_tag=0, multiple=True)
        assert [plane.queue(name).unacked_count for name in "xyz"] == [0, 0, 0]
        assert plane.live() == 0
