"""pika: the blocking connection, the callback-driven SelectConnection, and its asyncio adapter."""

import asyncio
from typing import Any

import pika
import pika.exceptions
import pytest
from pika.adapters.asyncio_connection import AsyncioConnection
from pika.adapters.blocking_connection import BlockingChannel

from tests.clients.program import BINDING_KEY, BODY, EXCHANGES, PROPERTIES, QUEUE
from tests.support.peer import Peer

pytestmark = pytest.mark.clients
SECONDS = 30


def parameters(peer: Peer, **options: Any) -> pika.ConnectionParameters:
    credentials = pika.PlainCredentials(peer.user, peer.password)
    return pika.ConnectionParameters(peer.host, peer.port, "/", credentials, **options)


def declare_program(channel: BlockingChannel) -> None:
    for exchange, kind in EXCHANGES.items():
        channel.exchange_declare(exchange=exchange, exchange_type=kind, durable=True)
    channel.queue_declare(queue=QUEUE, durable=True)
    channel.queue_bind(queue=QUEUE, exchange="orders", routing_key=BINDING_KEY)


def shown(properties: pika.BasicProperties) -> dict[str, Any]:
    return {name: value for name, value in vars(properties).items() if value is not None}


def test_the_documentations_program(program: Peer) -> None:
    with pika.BlockingConnection(parameters(program)) as connection:
        channel = connection.channel()
        declare_program(channel)
        channel.basic_publish("orders", BINDING_KEY, BODY, pika.BasicProperties(**PROPERTIES))
        channel.basic_publish("orders", "us.new", b"not bound")
        received: list[tuple[bytes, dict[str, Any]]] = []

        def on_order(channel: BlockingChannel, method: Any, properties: pika.BasicProperties, body: bytes) -> None:
            received.append((body, shown(properties)))
            assert (method.exchange, method.routing_key, method.redelivered) == ("orders", BINDING_KEY, False)
            channel.basic_ack(delivery_tag=method.delivery_tag)
            channel.stop_consuming()

        channel.basic_qos(prefetch_count=1)
        channel.basic_consume(queue=QUEUE, on_message_callback=on_order, auto_ack=False)
        channel.start_consuming()
        assert received == [(BODY, PROPERTIES)]
        assert channel.queue_declare(queue=QUEUE, passive=True).method.message_count == 0


def test_unacknowledged_order_comes_again_to_the_next_worker(program: Peer) -> None:
    with pika.BlockingConnection(parameters(program)) as connection:
        channel = connection.channel()
        declare_program(channel)
        channel.basic_publish("orders", BINDING_KEY, BODY)
        method, _, _ = channel.basic_get(QUEUE)
        assert not method.redelivered
    with pika.BlockingConnection(parameters(program)) as connection:
        channel = connection.channel()
        method, _, body = channel.basic_get(QUEUE)
        assert (method.redelivered, body) == (True, BODY)
        channel.basic_ack(method.delivery_tag)


@pytest.mark.parametrize("reply_to", ["own queue", "amq.rabbitmq.reply-to"])
def test_rpc(peer: Peer, name: str, reply_to: str) -> None:
    """A caller and a worker on connections of their own; the caller tells answers apart by correlation_id."""
    with (
        pika.BlockingConnection(parameters(peer)) as calling,
        pika.BlockingConnection(parameters(peer)) as working,
    ):
        worker, caller = working.channel(), calling.channel()
        worker.queue_declare(name, exclusive=False, auto_delete=True)
        direct = reply_to.startswith("amq.")
        replies = reply_to if direct else caller.queue_declare("", exclusive=True).method.queue
        answers: dict[str, bytes] = {}
        caller.basic_consume(
            replies, lambda _c, _m, properties, body: answers.update({properties.correlation_id: body}), auto_ack=True
        )
        for number in range(5):
            properties = pika.BasicProperties(reply_to=replies, correlation_id=str(number))
            caller.basic_publish("", name, b"%d" % number, properties)

        for served, (method, properties, body) in enumerate(worker.consume(name, inactivity_timeout=SECONDS), 1):
            assert method, "no request came"
            answer = pika.BasicProperties(correlation_id=properties.correlation_id)
            worker.basic_publish("", properties.reply_to, b"%d" % (int(body) ** 2), answer)
            worker.basic_ack(method.delivery_tag)
            if served == 5:
                break
        while len(answers) < 5:
            calling.process_data_events(time_limit=SECONDS)
        assert answers == {str(number): b"%d" % number**2 for number in range(5)}


def test_publisher_confirms(peer: Peer) -> None:
    with pika.BlockingConnection(parameters(peer)) as connection:
        channel = connection.channel()
        queue = channel.queue_declare("", exclusive=True).method.queue
        channel.confirm_delivery()
        for number in range(50):
            channel.basic_publish("", queue, b"%d" % number, mandatory=True)
        with pytest.raises(pika.exceptions.UnroutableError) as raised:
            channel.basic_publish("", queue + "-nobody", b"lost", mandatory=True)
        assert raised.value.messages[0].body == b"lost"
        assert channel.queue_declare(queue, passive=True).method.message_count == 50


def test_transactions(peer: Peer) -> None:
    with pika.BlockingConnection(parameters(peer)) as connection:
        channel = connection.channel()
        queue = channel.queue_declare("", exclusive=True).method.queue
        channel.tx_select()
        channel.basic_publish("", queue, b"1")
        channel.tx_rollback()
        channel.basic_publish("", queue, b"2")
        channel.tx_commit()
        assert channel.basic_get(queue, auto_ack=True)[2] == b"2"
        assert channel.basic_get(queue, auto_ack=True) == (None, None, None)


@pytest.mark.parametrize("arguments", [{}, {"hash-header": "customer"}])
def test_consistent_hash_keeps_a_customer_in_one_queue(peer: Peer, name: str, arguments: dict[str, str]) -> None:
    """Two workers behind x-consistent-hash: each customer's orders arrive at one of them, in order."""
    with pika.BlockingConnection(parameters(peer)) as connection:
        channel = connection.channel()
        channel.exchange_declare(name, "x-consistent-hash", auto_delete=True, arguments=arguments)
        queues = [channel.queue_declare("", exclusive=True).method.queue for _ in range(2)]
        for queue in queues:
            channel.queue_bind(queue, name, routing_key="1")
        channel.confirm_delivery()
        for number in range(100):
            customer = f"customer {number % 20}"
            properties = pika.BasicProperties(headers={"customer": customer})
            channel.basic_publish(name, "order" if arguments else customer, b"%d" % number, properties)
        customers: list[set[str]] = []
        for queue in queues:
            orders: dict[str, list[int]] = {}
            for _ in range(channel.queue_declare(queue, passive=True).method.message_count):
                _, properties, body = channel.basic_get(queue, auto_ack=True)
                orders.setdefault(properties.headers["customer"], []).append(int(body))
            for customer, numbers in orders.items():
                assert numbers == list(range(int(customer.split()[1]), 100, 20))
            customers.append(set(orders))
        assert all(customers)
        assert sorted(customers[0] | customers[1]) == sorted(f"customer {number}" for number in range(20))


def test_errors_arrive_as_pikas_exceptions(peer: Peer, name: str) -> None:
    with pika.BlockingConnection(parameters(peer)) as connection:
        channel = connection.channel()
        with pytest.raises(pika.exceptions.ChannelClosedByBroker) as raised:
            channel.queue_declare(name, passive=True)
        assert raised.value.reply_code == 404
        assert connection.channel().queue_declare("", exclusive=True).method.queue
    wrong = parameters(peer)
    wrong.credentials = pika.PlainCredentials("guest", "wrong")
    with pytest.raises(pika.exceptions.ProbableAuthenticationError):
        pika.BlockingConnection(wrong)
    nowhere = parameters(peer)
    nowhere.virtual_host = "nowhere"
    with pytest.raises(pika.exceptions.ProbableAccessDeniedError, match="530"):
        pika.BlockingConnection(nowhere)


def test_heartbeats_keep_an_idle_connection(peer: Peer) -> None:
    with pika.BlockingConnection(parameters(peer, heartbeat=1)) as connection:
        connection.process_data_events(time_limit=3.5)  # longer than the broker would wait for a silent client
        assert connection.channel().queue_declare("", exclusive=True).method.queue


def test_large_message(peer: Peer) -> None:
    with pika.BlockingConnection(parameters(peer)) as connection:
        channel = connection.channel()
        queue = channel.queue_declare("", exclusive=True).method.queue
        body = bytes(range(256)) * 20_000
        channel.basic_publish("", queue, body)
        assert channel.basic_get(queue, auto_ack=True)[2] == body


class Round:
    """Connect, declare, publish a hundred, consume and acknowledge them, close: all in callbacks."""

    def __init__(self) -> None:
        self.received: list[bytes] = []
        self.failure: object = None
        self.connection: Any = None

    def on_open(self, connection: Any) -> None:
        self.connection = connection
        connection.channel(on_open_callback=self.on_channel)

    def on_channel(self, channel: Any) -> None:
        self.channel = channel
        channel.queue_declare("", exclusive=True, callback=self.on_queue)

    def on_queue(self, frame: Any) -> None:
        self.channel.basic_qos(prefetch_count=10)
        self.channel.basic_consume(frame.method.queue, self.on_message)
        for number in range(100):
            self.channel.basic_publish("", frame.method.queue, b"%d" % number)

    def on_message(self, channel: Any, method: Any, _properties: object, body: bytes) -> None:
        self.received.append(body)
        channel.basic_ack(method.delivery_tag)
        if len(self.received) == 100:
            self.connection.close()

    def on_failure(self, _connection: object, error: object) -> None:
        self.failure = error
        self.stop()

    def on_closed(self, _connection: object, reason: Any) -> None:
        if getattr(reason, "reply_code", None) != 200:
            self.failure = reason
        self.stop()

    def stop(self) -> None:
        raise NotImplementedError

    def callbacks(self) -> dict[str, Any]:
        return {
            "on_open_callback": self.on_open,
            "on_open_error_callback": self.on_failure,
            "on_close_callback": self.on_closed,
        }

    def check(self) -> None:
        assert self.failure is None
        assert self.received == [b"%d" % number for number in range(100)]


class SelectRound(Round):
    def stop(self) -> None:
        self.loop.stop()

    def run(self, peer: Peer) -> None:
        connection = pika.SelectConnection(parameters(peer), **self.callbacks())
        self.loop = connection.ioloop
        self.loop.start()


class AsyncioRound(Round):
    def stop(self) -> None:
        self.done.set()

    async def run(self, peer: Peer) -> None:
        self.done = asyncio.Event()
        AsyncioConnection(parameters(peer), **self.callbacks())
        await asyncio.wait_for(self.done.wait(), SECONDS)


def test_select_connection(peer: Peer) -> None:
    session = SelectRound()
    session.run(peer)
    session.check()


async def test_asyncio_connection(peer: Peer) -> None:
    session = AsyncioRound()
    await session.run(peer)
    session.check()
