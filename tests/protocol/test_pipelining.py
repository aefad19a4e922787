"""Clients that do not wait: what is declared in bulk is answered in order, and nothing overtakes an answer."""

from collections.abc import Callable

import pytest

from tests.support.broker import Broker
from tests.support.peer import Peer
from tests.support.wire import Client, connect

COUNT = 500


def answers(client: Client, count: int) -> list[tuple[int, str]]:
    return [(method.channel, method.name) for method in (client.receive() for _ in range(count))]


def test_durable_queues_in_bulk(peer: Peer, name: str) -> None:
    queues = [f"{name}-{i}" for i in range(COUNT)]
    with connect(peer) as client:
        channel = client.channel()
        for queue in queues:
            channel.send("queue.declare", queue=queue, durable=True)
        assert [channel.expect("queue.declare-ok").queue for _ in queues] == queues
        for queue in queues:
            channel.send("queue.delete", queue=queue)
        for _ in queues:
            channel.expect("queue.delete-ok")


@pytest.mark.flowmq_only  # RabbitMQ's channels do not wait for each other
def test_everything_that_declares_is_answered_in_order(peer: Peer, name: str) -> None:
    """What needs the disk, what does not, and what is there already; on two channels."""
    with connect(peer) as client:
        one, other = client.channel(), client.channel()
        one.send("exchange.declare", exchange=name, type="fanout", durable=True)
        one.send("queue.declare", queue=name, durable=True)
        other.send("queue.declare", queue=name, durable=True)
        other.send("queue.declare", queue=name + "-exclusive", exclusive=True)
        one.send("queue.bind", queue=name, exchange=name)
        one.send("queue.bind", queue=name, exchange=name, nowait=True)
        one.send("queue.declare", queue=name, passive=True)
        other.send("exchange.bind", destination=name, source="amq.fanout")
        one.send("exchange.declare", exchange=name, passive=True)
        one.send("basic.get", queue=name)
        other.send("queue.delete", queue=name)
        one.send("exchange.delete", exchange=name)
        assert answers(client, 11) == [
            (one.number, "exchange.declare-ok"),
            (one.number, "queue.declare-ok"),
            (other.number, "queue.declare-ok"),
            (other.number, "queue.declare-ok"),
            (one.number, "queue.bind-ok"),
            (one.number, "queue.declare-ok"),
            (other.number, "exchange.bind-ok"),
            (one.number, "exchange.declare-ok"),
            (one.number, "basic.get-empty"),
            (other.number, "queue.delete-ok"),
            (one.number, "exchange.delete-ok"),
        ]


@pytest.mark.flowmq_only  # as above
def test_an_error_does_not_overtake_the_answers_before_it(peer: Peer, name: str) -> None:
    with connect(peer) as client:
        one, other = client.channel(), client.channel()
        one.send("queue.declare", queue=name, durable=True)
        one.send("queue.declare", queue=name, durable=False)
        one.send("queue.declare", queue=name + "-never", durable=True)
        other.send("queue.declare", queue=name, durable=True)
        assert answers(client, 3) == [
            (one.number, "queue.declare-ok"),
            (one.number, "channel.close"),
            (other.number, "queue.declare-ok"),
        ]
        other.send("queue.declare", queue=name + "-never", passive=True)
        other.expect_close(404)
        client.channel().call("queue.delete", queue=name)


def test_a_confirm_does_not_overtake_the_answer_before_it(peer: Peer, name: str) -> None:
    with connect(peer) as client:
        channel = client.channel()
        channel.call("confirm.select")
        channel.send("queue.declare", queue=name, durable=True)
        channel.publish("", name, b"body")
        channel.send("queue.declare", queue=name, durable=True)
        channel.send("basic.consume", queue=name, no_ack=True)
        names = [name for _, name in answers(client, 5)]
        assert names.index("queue.declare-ok") < min(names.index("basic.ack"), names.index("basic.deliver"))
        assert [each for each in names if each.endswith("-ok")] == [
            "queue.declare-ok",
            "queue.declare-ok",
            "basic.consume-ok",
        ]
        client.channel().call("queue.delete", queue=name)


@pytest.mark.flowmq_only
def test_a_connection_that_ends_with_answers_outstanding_is_forgotten(own_broker: Callable[..., Broker]) -> None:
    broker = own_broker()
    client = connect(broker.peer)
    channel = client.channel()
    for i in range(COUNT):
        channel.send("queue.declare", queue=f"queue-{i}", durable=True)
    client.drop()
    with connect(broker.peer) as after:
        after.channel().call("queue.declare", queue="queue-0", durable=True)
    broker.stop()
