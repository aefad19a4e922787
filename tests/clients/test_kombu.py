"""kombu on py-amqp, which is what Celery stands on, and py-amqp itself."""

import socket
from typing import Any

import amqp
import amqp.exceptions
import pytest
from kombu import Connection, Consumer, Exchange, Producer, Queue
from kombu.pools import producers

from tests.clients.program import BINDING_KEY, EXCHANGES, PROPERTIES, QUEUE
from tests.support.peer import Peer

pytestmark = pytest.mark.clients
SECONDS = 30


def url(peer: Peer) -> str:
    return f"pyamqp://{peer.user}:{peer.password}@{peer.host}:{peer.port}//"


def test_the_documentations_program(program: Peer) -> None:
    exchanges = {name: Exchange(name, type=kind, durable=True) for name, kind in EXCHANGES.items()}
    queue = Queue(QUEUE, exchange=exchanges["orders"], routing_key=BINDING_KEY, durable=True)
    order = {"order": 4711, "customer": "Müller"}
    received: list[tuple[Any, dict[str, Any], dict[str, Any]]] = []

    def on_order(body: Any, message: Any) -> None:
        received.append((body, message.properties, message.headers))
        message.ack()

    with Connection(url(program)) as connection:
        channel = connection.channel()
        for exchange in exchanges.values():
            exchange(channel).declare()
        sent = {key: value for key, value in PROPERTIES.items() if key not in ("content_type", "expiration")}
        producer = Producer(channel, exchanges["orders"], serializer="json")
        producer.publish(order, routing_key=BINDING_KEY, declare=[queue], expiration=60, **sent)
        with Consumer(channel, queue, callbacks=[on_order], accept=["json"], prefetch_count=1):
            while not received:
                connection.drain_events(timeout=SECONDS)
    body, properties, headers = received[0]
    assert body == order
    assert headers == PROPERTIES["headers"]
    for field in ("delivery_mode", "priority", "correlation_id", "reply_to", "message_id", "app_id", "expiration"):
        assert properties[field] == PROPERTIES[field], field


def test_confirms_through_a_pool(peer: Peer, name: str) -> None:
    with Connection(url(peer), transport_options={"confirm_publish": True}) as connection:
        queue = Queue(name, auto_delete=True)
        with producers[connection].acquire(block=True) as producer:
            for number in range(50):
                producer.publish({"number": number}, routing_key=name, declare=[queue], retry=True)
            simple = connection.SimpleQueue(queue)
            assert [simple.get(timeout=SECONDS).payload["number"] for _ in range(50)] == list(range(50))
            simple.close()


def test_reject_and_requeue(peer: Peer, name: str) -> None:
    with Connection(url(peer)) as connection:
        queue = Queue(name, exclusive=True)(connection.default_channel)
        queue.declare()
        Producer(connection.default_channel).publish({"n": 1}, routing_key=name)
        first = queue.get()
        first.requeue()
        second = queue.get()
        assert second.delivery_info["redelivered"]
        second.reject()
        assert queue.get() is None


def test_py_amqp_itself(peer: Peer) -> None:
    with amqp.Connection(f"{peer.host}:{peer.port}", peer.user, peer.password, confirm_publish=True) as connection:
        channel = connection.channel()
        queue = channel.queue_declare(exclusive=True).queue
        sent = amqp.Message("body", **{**PROPERTIES, "application_headers": PROPERTIES["headers"], "headers": None})
        channel.basic_publish(sent, routing_key=queue)
        message = channel.basic_get(queue)
        assert message.body == "body"
        assert message.headers == PROPERTIES["headers"]
        for field, value in PROPERTIES.items():
            assert field == "headers" or getattr(message, field) == value, field
        channel.basic_ack(message.delivery_tag)
        with pytest.raises(amqp.exceptions.NotFound):
            channel.queue_declare(queue + "-no", passive=True)


def test_py_amqp_refused_login(peer: Peer) -> None:
    connection = amqp.Connection(f"{peer.host}:{peer.port}", peer.user, "wrong")
    with pytest.raises(amqp.exceptions.AccessRefused):
        connection.connect()


def test_py_amqp_heartbeat(peer: Peer) -> None:
    with amqp.Connection(f"{peer.host}:{peer.port}", peer.user, peer.password, heartbeat=1) as connection:
        for _ in range(10):  # longer than the broker would wait for a silent client
            with pytest.raises(socket.timeout):
                connection.drain_events(timeout=0.4)
            connection.heartbeat_tick()
        assert connection.channel().queue_declare(exclusive=True).queue
