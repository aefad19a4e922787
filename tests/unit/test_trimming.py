"""Very many messages that are too many by a new limit go in turns: the oldest first, and others act in between."""

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from flowmq._order import set_window
from flowmq.broker import rules
from flowmq.broker.policies import Policy
from flowmq.server import turns
from tests.crash.power_cut import DurablePlane
from tests.unit.support_plane import Client, Plane, publish_frames

AT_ONCE, MESSAGES, KEPT = 1000, 1500, 10
BODIES = [b"%d" % number for number in range(MESSAGES)]
BYTES = sum(map(len, BODIES[-KEPT:]))


@pytest.fixture
def plane(monkeypatch: pytest.MonkeyPatch) -> Iterator[Plane]:
    monkeypatch.setattr(turns, "TURN_SECONDS", 0.0)
    monkeypatch.setattr(rules, "TRIMMED_MESSAGES", 50)
    with Plane() as plane:
        yield plane


def filled(plane: Plane | DurablePlane, **arguments: object) -> Client:
    client = plane.client(1)
    for name in ("q", "dead"):
        client.send(1, "queue.declare", queue=name, durable=True, arguments=arguments if name == "q" else {})
    for body in BODIES:
        client.publish(1, "q", body, delivery_mode=2)
    return client


def limit(plane: Plane | DurablePlane, **definition: object) -> None:
    named = {name.replace("_", "-"): value for name, value in definition.items()}
    plane.node.broker.vhost("/").policies.set(Policy("limit", "^q$", named))


def all_of(client: Client, queue: str) -> list[bytes]:
    client.take()
    client.send(1, "basic.consume", queue=queue, consumer_tag=queue, no_ack=True)
    return [method.body for method in client.received() if method.name == "basic.deliver"]


@pytest.mark.parametrize(("key", "value"), [("max_length", KEPT), ("max_length_bytes", BYTES)])
@pytest.mark.parametrize("priorities", [None, 2])
def test_the_oldest_go_in_turns(plane: Plane, key: str, value: int, priorities: int | None) -> None:
    client = filled(plane, **({} if priorities is None else {"x-max-priority": priorities}))
    limit(plane, **{key: value})
    counts = [plane.queue("q").message_count]
    while plane.loop.soon:
        callback, arguments = plane.loop.soon.popleft()
        callback(*arguments)
        counts.append(plane.queue("q").message_count)
    assert counts[0] == MESSAGES - AT_ONCE
    assert counts[-1] == KEPT
    assert all(0 <= before - after <= 50 for before, after in pairwise(counts))
    assert all_of(client, "q") == BODIES[-KEPT:]


def test_what_comes_meanwhile_makes_them_no_more(plane: Plane) -> None:
    client = filled(plane)
    limit(plane, max_length=KEPT)
    queue = plane.queue("q")
    before = queue.message_count
    for number in range(5):
        client.read(publish_frames(1, "q", b"later-%d" % number))
    assert MESSAGES - AT_ONCE - 10 <= queue.message_count <= before
    plane.loop.run()
    assert all_of(client, "q") == [*BODIES[-KEPT + 5 :], *(b"later-%d" % number for number in range(5))]


def test_a_limit_that_is_raised_meanwhile_keeps_what_is_there(plane: Plane) -> None:
    client = filled(plane)
    limit(plane, max_length=KEPT)
    limit(plane, max_length=MESSAGES)
    left = plane.queue("q").message_count
    plane.loop.run()
    assert plane.queue("q").message_count == left > KEPT
    assert all_of(client, "q") == BODIES[-left:]


def test_a_queue_that_is_deleted_meanwhile_is_gone(plane: Plane) -> None:
    client = filled(plane)
    limit(plane, max_length=KEPT)
    client.send(1, "queue.delete", queue="q")
    plane.loop.run()
    assert "q" not in plane.node.broker.vhost("/").queues


def test_dead_letters_arrive_in_order(plane: Plane) -> None:
    client = filled(plane)
    limit(plane, max_length=KEPT, dead_letter_exchange="", dead_letter_routing_key="dead")
    assert plane.queue("q").message_count == MESSAGES - AT_ONCE
    plane.loop.run()
    assert all_of(client, "dead") == BODIES[:-KEPT]
    assert all_of(client, "q") == BODIES[-KEPT:]


def test_a_backlog_on_disk_is_trimmed(tmp_path: Path) -> None:
    before = set_window(16, 16, 8)
    try:
        with DurablePlane(tmp_path, 1 << 20) as plane:
            filled(plane)
            plane.settle()
            limit(plane, max_length=KEPT)
            plane.node.turns.finish()
            plane.settle()
            assert plane.queue("q").message_count == KEPT
        with DurablePlane(tmp_path, 1 << 20) as plane:
            assert all_of(plane.client(1), "q") == BODIES[-KEPT:]
    finally:
        set_window(*before)
