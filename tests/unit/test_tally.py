"""The counters: each says what a client did, and sums never fall."""

import pytest

from flowmq._message import message_sizes
from flowmq._tally import (
    EXCHANGE_COUNTERS,
    QUEUE_COUNTERS,
    QueueTally,
    exchange_counts,
    queue_counts,
    sequences,
    was_active,
)
from flowmq.broker.vhost import VHost
from tests.support.codec import method_frame
from tests.unit.support_plane import Plane, publish_frames


def vhost_of(plane: Plane) -> VHost:
    return plane.node.broker.vhosts["/"]


def counts_of(plane: Plane, name: str) -> dict[str, int]:
    """Those that are not 0."""
    found = zip(QUEUE_COUNTERS, queue_counts(vhost_of(plane).queues[name].queue), strict=True)
    return {name: count for name, count in found if count}


def exchange_of(plane: Plane, name: str) -> dict[str, int]:
    found = zip(EXCHANGE_COUNTERS, exchange_counts(vhost_of(plane).declared_exchanges[name].exchange), strict=True)
    return {name: count for name, count in found if count}


def test_messages_that_wait() -> None:
    with Plane() as plane:
        client = plane.client(1)
        client.call(1, "queue.declare", queue="q")
        client.feed(publish_frames(1, "q", b"abc") * 5)
        assert counts_of(plane, "q") == {"ready": 5, "ready_bytes": 15, "publish": 5, "publish_bytes": 15}
        assert exchange_of(plane, "") == {"publish_in": 5, "publish_in_bytes": 15, "publish_out": 5}
        assert sequences(vhost_of(plane).queues["q"].queue) == (1, 6)


@pytest.mark.parametrize(("no_ack", "kind"), [(True, "deliver_no_ack"), (False, "deliver")])
def test_deliveries_by_how_they_are_acknowledged(no_ack: bool, kind: str) -> None:
    with Plane() as plane:
        client = plane.client(1)
        client.call(1, "queue.declare", queue="q")
        client.call(1, "basic.consume", queue="q", consumer_tag="c", no_ack=no_ack)
        client.feed(publish_frames(1, "q", b"abc") * 3)
        found = counts_of(plane, "q")
        assert (found[kind], found["publish"], found["consumers"]) == (3, 3, 1)
        assert ("unacked" in found) is not no_ack
        if not no_ack:
            assert (found["unacked"], found["unacked_bytes"]) == (3, 9)


def test_what_becomes_of_deliveries() -> None:
    with Plane() as plane:
        client = plane.client(1)
        client.call(1, "queue.declare", queue="q")
        client.feed(publish_frames(1, "q", b"abc") * 4)
        for _ in range(4):
            client.call(1, "basic.get", queue="q")
        client.feed(method_frame(1, "basic.ack", delivery_tag=1))
        client.feed(method_frame(1, "basic.reject", delivery_tag=2, requeue=False))
        client.feed(method_frame(1, "basic.nack", delivery_tag=3, requeue=True))
        client.call(1, "basic.get", queue="q", no_ack=True)
        client.send(1, "basic.get", queue="q", no_ack=True)
        assert counts_of(plane, "q") == {
            "publish": 4,
            "publish_bytes": 12,
            "get": 4,
            "get_no_ack": 1,
            "get_empty": 1,
            "ack": 1,
            "rejected": 1,
            "requeue": 1,
            "redeliver": 1,
            "unacked": 1,
            "unacked_bytes": 3,
        }


def test_what_reaches_no_queue() -> None:
    with Plane() as plane:
        client = plane.client(1)
        client.call(1, "confirm.select")
        client.feed(publish_frames(1, "nowhere", b"") * 2 + publish_frames(1, "nowhere", b"", mandatory=True))
        assert exchange_of(plane, "") == {
            "publish_in": 3,
            "confirmable": 3,
            "confirm": 3,
            "return_unroutable": 1,
            "drop_unroutable": 2,
        }


def test_what_a_transaction_sent_nowhere() -> None:
    with Plane() as plane:
        client = plane.client(1)
        client.call(1, "tx.select")
        client.feed(publish_frames(1, "nowhere", b"") + publish_frames(1, "nowhere", b"", mandatory=True))
        client.send(1, "tx.commit")
        assert exchange_of(plane, "") == {"publish_in": 2, "return_unroutable": 1, "drop_unroutable": 1}


def test_refused_publishes_say_of_which_exchange_and_why() -> None:
    with Plane() as plane:
        client = plane.client(1)
        client.call(1, "queue.declare", queue="q", arguments={"x-max-length": 1, "x-overflow": "reject-publish"})
        client.call(1, "queue.bind", queue="q", exchange="amq.fanout", routing_key="")
        client.feed(publish_frames(1, "q", b"") * 3 + publish_frames(1, "", b"", exchange="amq.fanout"))
        queue = vhost_of(plane).queues["q"].queue
        assert queue.refusals == {(b"", "max-length"): 2, (b"amq.fanout", "max-length"): 1}
        assert counts_of(plane, "q")["refused"] == 3


def test_activity_is_told_once() -> None:
    with Plane() as plane:
        client = plane.client(1)
        client.call(1, "queue.declare", queue="q")
        queue = vhost_of(plane).queues["q"].queue
        assert was_active(queue)
        assert not was_active(queue)
        client.feed(publish_frames(1, "q", b""))
        assert was_active(queue)
        assert not was_active(queue)


def test_what_goes_leaves_its_counts() -> None:
    with Plane() as plane:
        client = plane.client(1)
        client.call(1, "queue.declare", queue="q")
        client.feed(publish_frames(1, "q", b"abc") * 2)
        client.call(1, "queue.delete", queue="q")
        tally = QueueTally()
        tally.merge(vhost_of(plane).queues_gone)
        assert {name: count for name, count in tally.values().items() if count} == {"publish": 2, "publish_bytes": 6}


def test_sizes_are_counted_by_their_magnitude() -> None:
    before = dict(message_sizes())
    with Plane() as plane:
        client = plane.client(1)
        for size in (0, 100, 101, 5000):
            client.feed(publish_frames(1, "q", b"x" * size))
    added = {limit: count - before[limit] for limit, count in message_sizes() if count != before[limit]}
    assert added == {100: 2, 1000: 1, 10000: 1}
