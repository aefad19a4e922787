"""The broker stays small whatever clients do: what they do not read, do not acknowledge, or never finish."""

import struct
from collections.abc import Callable

import pytest

from tests.support import codec
from tests.support.broker import Broker, resident_bytes, until
from tests.support.codec import HEADER
from tests.support.wire import Channel, Client, connect

pytestmark = [pytest.mark.flowmq_only, pytest.mark.slow, pytest.mark.timeout(180)]
OwnBroker = Callable[..., Broker]
MEGABYTE = 1 << 20
LIMIT = 16 * MEGABYTE
BODY = b"x" * (32 << 10)


def small(own_broker: OwnBroker) -> Broker:
    return own_broker(
        FLOWMQ_LIMITS__MEMORY_BYTES_MAX=str(LIMIT),
        FLOWMQ_STORAGE__SEGMENT_BYTES=str(4 * MEGABYTE),
    )


def backlog(broker: Broker, name: str, messages: int) -> int:
    """So many messages of a durable queue, almost all of them on the disk only. What the broker takes then."""
    client = connect(broker.peer)
    channel = client.channel()
    channel.queue(name, durable=True)
    for _ in range(messages // 64):
        channel.put(name, *[BODY] * 64, properties={"delivery_mode": 2})
    client.close()
    return resident_bytes(broker.pid)


class Neighbour:
    """Publishes to itself what it has read, and nothing is held back for long."""

    def __init__(self, broker: Broker) -> None:
        self.channel: Channel = connect(broker.peer).channel()
        self.queue = self.channel.queue(exclusive=True)

    def works(self) -> None:
        assert self.channel.get(self.queue) is None
        self.channel.call("queue.declare", queue="", exclusive=True, auto_delete=True)


def test_a_backlog_that_nobody_acknowledges(own_broker: OwnBroker) -> None:
    broker = small(own_broker)
    before = backlog(broker, "backlog", 2048)
    client = connect(broker.peer)
    channel = client.channel()
    channel.consume("backlog")
    received = []
    highest = before
    broker_is_full = False
    client.socket.settimeout(3)
    try:
        while len(received) < 2048:
            received.append(channel.expect("basic.deliver").delivery_tag)
            highest = max(highest, resident_bytes(broker.pid))
    except TimeoutError:
        broker_is_full = True
    client.socket.settimeout(30)
    assert broker_is_full, "it gave out 64 MiB, of which it may have 16 in memory"
    assert highest - before < 3 * LIMIT
    Neighbour(broker).works()
    # Whoever settles goes on.
    while len(received) < 2048:
        channel.ack(received[-1], multiple=True)
        received.append(channel.expect("basic.deliver").delivery_tag)
        for method in channel.take_pending():
            received.append(method.delivery_tag)
    channel.ack(received[-1], multiple=True)
    assert channel.count("backlog") == 0
    client.close()
    broker.stop()


def test_a_backlog_that_is_fetched_and_not_acknowledged(own_broker: OwnBroker) -> None:
    """The broker says that there is nothing to be had, until something of it is settled."""
    broker = small(own_broker)
    before = backlog(broker, "backlog", 2048)
    channel = connect(broker.peer).channel()
    received = 0
    while channel.get("backlog", no_ack=False) is not None:
        received += 1
    assert 100 <= received < 1024
    assert resident_bytes(broker.pid) - before < 3 * LIMIT
    Neighbour(broker).works()
    last = received
    while received < 2048:
        channel.ack(last, multiple=True)
        method = channel.get("backlog", no_ack=False)
        assert method is not None
        last = method.delivery_tag
        received += 1
    channel.client.close()
    broker.stop()


def test_many_consumers_that_each_hold_a_little(own_broker: OwnBroker) -> None:
    broker = small(own_broker)
    before = backlog(broker, "backlog", 2048)
    client = connect(broker.peer)
    for _ in range(60):
        channel = client.channel()
        channel.call("basic.qos", prefetch_count=50)
        channel.consume("backlog")
    client.socket.settimeout(3)
    try:
        while client.receive():
            pass
    except TimeoutError:
        pass
    assert resident_bytes(broker.pid) - before < 3 * LIMIT  # of the 64 MiB
    Neighbour(broker).works()
    client.drop()
    broker.stop()


def test_consumers_that_do_not_read(own_broker: OwnBroker) -> None:
    broker = small(own_broker)
    before = backlog(broker, "backlog", 2048)
    lazy = []
    for _ in range(60):
        client = connect(broker.peer)
        channel = client.channel()
        channel.send("basic.consume", queue="backlog", no_ack=True)
        lazy.append(client)
    Neighbour(broker).works()
    assert resident_bytes(broker.pid) - before < 4 * LIMIT
    for client in lazy:
        client.drop()
    broker.stop()


def test_headers_as_large_as_frames(own_broker: OwnBroker) -> None:
    broker = small(own_broker)
    before = resident_bytes(broker.pid)
    client = connect(broker.peer)
    channel = client.channel()
    queue = channel.queue()
    client.socket.settimeout(2)
    sent = 0
    try:
        for _ in range(1000):
            channel.publish("", queue, b"", {"headers": {"x": "y" * 130_000}})
            sent += 1
    except TimeoutError:
        pass
    assert sent < 500
    assert resident_bytes(broker.pid) - before < 3 * LIMIT
    client.drop()
    Neighbour(broker).works()
    broker.stop()


def test_a_channel_that_is_opened_and_closed_for_ever(own_broker: OwnBroker) -> None:
    broker = small(own_broker)
    client = connect(broker.peer)
    rounds = codec.method_frame(1, "channel.open") + codec.method_frame(
        1, "channel.close", reply_code=200, reply_text="", class_id=0, method_id=0
    )

    def turn(count: int) -> int:
        client.write(rounds * count)
        for _ in range(count):
            client.expect("channel.open-ok", channel=1)
            client.expect("channel.close-ok", channel=1)
        return resident_bytes(broker.pid)

    before = turn(2000)
    assert turn(6000) - before < 2 * MEGABYTE
    client.close()
    broker.stop()


def test_half_open_handshakes(own_broker: OwnBroker) -> None:
    broker = small(own_broker)
    before = resident_bytes(broker.pid)
    clients = [Client(broker.peer) for _ in range(400)]
    for client in clients:
        client.write(codec.PROTOCOL_HEADER + b"\1\0\0\0\0\x0f\xa0" + b"x" * 3000)  # most of a frame
    for client in clients:
        client.expect("connection.start")
    assert resident_bytes(broker.pid) - before < 400 * 64 * 1024
    for client in clients:
        client.drop()
    Neighbour(broker).works()
    broker.stop()


def test_messages_that_are_never_finished_do_not_stop_others_for_ever(own_broker: OwnBroker) -> None:
    broker = small(own_broker)
    before = resident_bytes(broker.pid)
    client = connect(broker.peer)
    numbers = [client.channel().number for _ in range(200)]
    for number in numbers:
        header = struct.pack(">HHQH", 60, 0, 100 * MEGABYTE, 0)
        client.write(codec.method_frame(number, "basic.publish", routing_key="q") + codec.frame(HEADER, number, header))
    assert resident_bytes(broker.pid) - before < 3 * LIMIT
    Neighbour(broker).works()
    client.drop()
    with connect(broker.peer) as other:
        channel = other.channel()
        queue = channel.queue(exclusive=True)
        channel.publish("", queue, b"there is room")
        until(lambda: channel.count(queue) == 1)
        other.close()
    broker.stop()
