"""Limits that are settings: on messages, connections and consumers, each refused with the words RabbitMQ has for it."""

import time
from collections.abc import Callable, Iterator

import pytest

from flowmq.server.control.client import ControlConnection
from flowmq.server.control.place import NAME
from flowmq.server.control.registry import ControlError
from tests.support import codec
from tests.support.broker import Broker, until
from tests.support.wire import Client, connect

pytestmark = pytest.mark.flowmq_only
OwnBroker = Callable[..., Broker]


def test_message_size(own_broker: OwnBroker) -> None:
    broker = own_broker(FLOWMQ_LIMITS__MESSAGE_BYTES_MAX="10000")
    with connect(broker.peer) as client:
        channel = client.channel()
        queue = channel.queue()
        channel.put(queue, b"x" * 10_000)
        channel.publish("", queue, b"x" * 10_001)
        text = "PRECONDITION_FAILED - message size 10001 is larger than configured max size 10000"
        channel.expect_close(406, text, (60, 40))
        channel.call("channel.open")
        assert channel.count(queue) == 1
        client.close()
    broker.stop()


def test_number_of_connections(own_broker: OwnBroker) -> None:
    broker = own_broker(FLOWMQ_LIMITS__CONNECTIONS_MAX="2")
    first, second = connect(broker.peer), connect(broker.peer)
    with Client(broker.peer) as third:
        third.start()
        third.start_ok()
        third.tune()
        third.send(0, "connection.open", virtual_host="/")
        third.expect_close(530, "NOT_ALLOWED - connection refused: node connection limit (2) is reached")
    first.close()
    with connect(broker.peer) as instead:
        instead.close()
    second.close()
    broker.stop()


def test_consumers_of_a_channel(own_broker: OwnBroker) -> None:
    broker = own_broker(FLOWMQ_LIMITS__CONSUMERS_PER_CHANNEL_MAX="3")
    with connect(broker.peer) as client:
        channel, other = client.channel(), client.channel()
        queue = channel.queue()
        tags = [channel.consume(queue) for _ in range(3)]
        other.consume(queue)
        channel.call("basic.cancel", consumer_tag=tags[0])
        channel.consume(queue)
        channel.send("basic.consume", queue=queue)
        client.expect_close(530, "NOT_ALLOWED - reached maximum (3) of consumers per channel")
    broker.stop()


class Limited:
    """A broker and its control socket."""

    def __init__(self, broker: Broker) -> None:
        self.broker = broker
        self.control = ControlConnection(broker.data_dir / NAME)

    def set(self, of: str, name: str, limit: str, value: int) -> None:
        self.control.call("limit.set", of=of, name=name, limit=limit, value=value)

    def refused(self) -> dict[str, int]:
        refused: dict[str, int] = self.control.call("limit.refused")
        return refused

    def refuses_connection(self, text: str) -> None:
        with Client(self.broker.peer) as client:
            client.start()
            client.start_ok()
            client.tune()
            client.send(0, "connection.open", virtual_host="/")
            client.expect_close(530, f"NOT_ALLOWED - {text}")


@pytest.fixture
def limited(own_broker: OwnBroker) -> Iterator[Limited]:
    found = Limited(own_broker())
    yield found
    found.broker.stop()


def test_connections_of_a_vhost(limited: Limited) -> None:
    first = connect(limited.broker.peer)
    limited.set("vhost", "/", "max-connections", 1)
    text = "access to vhost '/' refused for user 'guest': connection limit (1) is reached"
    limited.refuses_connection(text)
    first.channel()  # whoever is there stays
    first.close()
    with connect(limited.broker.peer) as instead:
        limited.refuses_connection(text)
        instead.close()
    limited.control.call("limit.clear", of="vhost", name="/", limit="max-connections")
    with connect(limited.broker.peer) as one, connect(limited.broker.peer) as two:
        one.close()
        two.close()
    assert limited.refused() == {"vhost_connections": 2}


def test_connections_of_a_user(limited: Limited) -> None:
    limited.set("user", "guest", "max-connections", 0)
    limited.refuses_connection("connection refused for user 'guest': user connection limit (0) is reached")
    limited.set("user", "guest", "max-connections", -1)
    with connect(limited.broker.peer) as client:
        client.close()
    assert limited.refused() == {"user_connections": 1}


def test_channels_of_a_user_over_all_connections(limited: Limited) -> None:
    limited.set("user", "guest", "max-channels", 3)
    one, two = connect(limited.broker.peer), connect(limited.broker.peer)
    one.channel()
    two.channel()
    closing = two.channel()
    closing.send("queue.declare", queue="nothing", passive=True)
    closing.expect_close(404)  # a channel that has ended does not count
    two.channel()
    one.send(9, "channel.open")
    text = "number of channels opened for user 'guest' has reached the maximum allowed user limit of (3)"
    one.expect_close(530, f"NOT_ALLOWED - {text}")
    two.channel()  # in place of those that went with the connection
    two.close()
    assert limited.refused() == {"user_channels": 1}


def test_queues_of_a_vhost(limited: Limited) -> None:
    limited.set("vhost", "/", "max-queues", 2)
    with connect(limited.broker.peer) as client:
        channel = client.channel()
        first = channel.queue("first", durable=True)
        channel.queue("second", exclusive=True)
        channel.send("queue.declare", queue="third")
        text = "cannot declare queue 'third': queue limit in vhost '/' (2) is reached"
        channel.expect_close(406, f"PRECONDITION_FAILED - {text}", (50, 10))
        channel.call("channel.open")
        channel.queue("first", durable=True)  # is there already
        channel.call("queue.delete", queue=first)
        channel.queue("third")
        client.close()
    assert limited.refused() == {"vhost_queues": 1}


def test_limits_are_kept_over_a_kill_and_go_with_what_they_limit(own_broker: OwnBroker) -> None:
    limited = Limited(own_broker())
    limited.set("vhost", "/", "max-queues", 7)
    limited.set("user", "guest", "max-channels", 9)
    limited.control.call("vhost.add", name="going")
    limited.set("vhost", "going", "max-queues", 1)
    limited.control.call("vhost.delete", name="going")
    limited.broker.kill()
    again = Limited(limited.broker.again())
    assert list(again.control.rows("limit.list", of="vhost")) == [{"name": "/", "limits": {"max-queues": 7}}]
    assert list(again.control.rows("limit.list", of="user")) == [{"name": "guest", "limits": {"max-channels": 9}}]
    again.broker.stop()


@pytest.mark.parametrize(
    ("of", "name", "limit", "value"),
    [
        ("vhost", "/", "max-channels", 1),
        ("user", "guest", "max-queues", 1),
        ("vhost", "nowhere", "max-queues", 1),
        ("user", "nobody", "max-channels", 1),
        ("vhost", "/", "max-queues", 2**31),
    ],
)
def test_limits_that_cannot_be_set(limited: Limited, of: str, name: str, limit: str, value: int) -> None:
    with pytest.raises(ControlError):
        limited.set(of, name, limit, value)
    assert list(limited.control.rows("limit.list", of=of)) == []


def test_settings_count_where_nothing_is_set(own_broker: OwnBroker) -> None:
    limited = Limited(own_broker(FLOWMQ_LIMITS__VHOST_QUEUES_MAX="1", FLOWMQ_LIMITS__USER_CONNECTIONS_MAX="1"))
    client = connect(limited.broker.peer)
    limited.refuses_connection("connection refused for user 'guest': user connection limit (1) is reached")
    channel = client.channel()
    channel.queue()
    channel.send("queue.declare", queue="second")
    channel.expect_close(406)
    limited.set("vhost", "/", "max-queues", -1)
    channel.call("channel.open")
    channel.queue("second")
    client.close()
    limited.broker.stop()


def test_header_size(own_broker: OwnBroker) -> None:
    broker = own_broker(FLOWMQ_LIMITS__HEADER_BYTES_MAX="1000")
    with connect(broker.peer) as client:
        channel = client.channel()
        queue = channel.queue()
        channel.put(queue, b"", properties={"headers": {"x": "y" * 900}})
        channel.publish("", queue, b"body", {"headers": {"x": "y" * 1000}})
        close = channel.expect_close(406)
        assert "is larger than configured max size 1000" in close.reply_text
        channel.call("channel.open")
        assert channel.count(queue) == 1
        client.close()
    broker.stop()


def test_octets_before_the_log_in(own_broker: OwnBroker) -> None:
    broker = own_broker(FLOWMQ_LIMITS__UNAUTHENTICATED_BYTES_MAX="5000")
    with Client(broker.peer) as client:
        client.start()
        heartbeat = codec.frame(8, 0, b"")
        for _ in range(1000):
            client.write(heartbeat)
        client.expect_close(501, "FRAME_ERROR - more than 5000 octets before connection.open")
    with connect(broker.peer) as other:
        other.channel().put(other.channel().queue(), b"x" * 10_000)  # afterwards nobody counts
        other.close()
    broker.stop()


def test_clients_before_their_log_in(own_broker: OwnBroker) -> None:
    limited = Limited(own_broker(FLOWMQ_LIMITS__HANDSHAKES_MAX="5"))
    opened = [connect(limited.broker.peer) for _ in range(8)]  # do not count
    half_open = [Client(limited.broker.peer) for _ in range(5)]
    for client in half_open:
        client.start()
    with Client(limited.broker.peer) as one_too_many:
        assert one_too_many.read_until_eof() == b""
    half_open.pop().drop()
    until(lambda: limited.control.call("limit.refused") == {"handshakes": 1})
    until(lambda: can_connect(limited.broker))
    for client in half_open:
        client.drop()
    for client in opened:
        client.close()
    limited.broker.stop()


def can_connect(broker: Broker) -> bool:
    try:
        with connect(broker.peer) as client:
            client.close()
    except (AssertionError, OSError):
        return False
    return True


def test_clients_that_come_too_fast_wait_for_their_turn(own_broker: OwnBroker) -> None:
    broker = own_broker(FLOWMQ_LIMITS__ACCEPTS_PER_SECOND_MAX="10")
    began = time.monotonic()
    clients = [Client(broker.peer) for _ in range(20)]
    for client in clients:
        client.start()
    assert time.monotonic() - began > 0.8  # ten at once, and another ten in the second that follows
    for client in clients:
        client.drop()
    broker.stop()
