"""Durable queues that come and go leave next to nothing in memory, and do not wait for the collector of cycles."""

import gc
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from flowmq.amqp.tables import Table
from tests.crash.power_cut import DurablePlane

SEGMENT_BYTES = 1 << 20
QUEUES = 500
LEFT_MAX = 10  # that the last commands still refer to


@pytest.fixture
def without_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def alive() -> Counter[str]:
    return Counter(type(found).__name__ for found in gc.get_objects())


@pytest.mark.usefixtures("without_collector")
@pytest.mark.parametrize(
    ("messages", "arguments"), [(0, {}), (1, {}), (0, {"x-expires": 1_000_000_000}), (1, {"x-max-priority": 3})]
)
def test_what_they_were_made_of_goes(tmp_path: Path, messages: int, arguments: dict[str, int]) -> None:
    with DurablePlane(tmp_path, SEGMENT_BYTES) as plane:
        client = plane.client(1)
        before = alive()
        for number in range(QUEUES):
            name = f"queue-{number}"
            client.send(1, "queue.declare", queue=name, durable=True, arguments=arguments)
            client.send(1, "queue.bind", queue=name, exchange="amq.direct", routing_key=name)
            plane.settle()
            for _ in range(messages):
                client.publish(1, name, b"body", delivery_mode=2)
            client.send(1, "queue.delete", queue=name)
            plane.settle()
            client.take()
        left = alive() - before
        assert left["Queue"] <= LEFT_MAX
        assert left["DeclaredQueue"] <= LEFT_MAX
        assert left["QueueLog"] <= LEFT_MAX
        assert not plane.store.defined.ends
        # What a segment says of a queue that never had a message is that it is gone.
        assert messages or left["Facts"] <= LEFT_MAX


def test_they_are_gone_after_a_start_and_others_are_not(tmp_path: Path) -> None:
    with DurablePlane(tmp_path, SEGMENT_BYTES) as plane:
        vhost = plane.node.broker.vhost("/")
        for number in range(20):
            vhost.declare_queue(f"queue-{number}", None, durable=True)
        client = plane.client(1)
        for number in range(0, 20, 2):
            client.publish(1, f"queue-{number}", b"body", delivery_mode=2)
        for number in range(0, 20, 3):
            client.send(1, "queue.delete", queue=f"queue-{number}")
            plane.settle()
    kept = {f"queue-{number}" for number in range(20) if number % 3}
    for _ in range(2):
        with DurablePlane(tmp_path, SEGMENT_BYTES) as plane:
            assert set(plane.node.broker.vhost("/").queues) == kept
            counts = {name: plane.queue(name).message_count for name in kept}
            assert counts == {name: int(name.removeprefix("queue-")) % 2 == 0 for name in kept}


@pytest.mark.parametrize("what", ["queue", "exchange"])
def test_very_many_bindings_go_with_one_record_and_in_steps(tmp_path: Path, what: str) -> None:
    """A crash at any time finds all of them or none, and none once the deletion was on disk."""
    with DurablePlane(tmp_path, SEGMENT_BYTES) as plane:
        vhost, steps = plane.node.broker.vhost("/"), list[Iterator[None]]()
        vhost.begin = plane.store.begin = steps.append
        vhost.declare_exchange("x", "topic", durable=True)
        for name in ("q", "other"):
            queue = vhost.declare_queue(name, None, durable=True)
            for number in range(5000 if name == "q" else 1):
                vhost.bind_queue(queue, "x" if name == "q" else "amq.topic", f"key.{number}", Table())
        plane.settle()
        before = plane.store.journal.definition_count
        if what == "queue":
            vhost.delete_queue(vhost.queue("q", None))
        else:
            vhost.delete_exchange("x")
        assert plane.store.journal.definition_count <= before + 2  # also that the messages of the queue are gone
        assert list(plane.store.defined.all_bindings()) == [("/", "amq.topic", "queue", "other", "key.0", b"")]
        assert sum(1 for work in steps for _ in work) > 50
        assert len(plane.store.defined.bindings) == 1
        plane.settle()
    with DurablePlane(tmp_path, SEGMENT_BYTES) as plane:
        vhost = plane.node.broker.vhost("/")
        assert vhost.queues.keys() == {"other"} | ({"q"} if what == "exchange" else set())
        assert sum(exchange.exchange.binding_count for name, exchange in vhost.declared_exchanges.items() if name) == 1
