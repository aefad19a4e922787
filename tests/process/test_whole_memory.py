"""The size of the whole process against limits.memory_bytes_max, with as much as makes a difference to it.

test_memory_limit.py has the same for small limits, which count messages alone.
"""

import socket
import threading
from collections.abc import Callable

import pytest

from tests.support import codec
from tests.support.broker import Broker, resident_bytes
from tests.support.wire import Client, connect

pytestmark = [pytest.mark.flowmq_only, pytest.mark.slow, pytest.mark.timeout(180)]
OwnBroker = Callable[..., Broker]
MEGABYTE = 1 << 20
MILLION = 1_000_000
HANDSHAKES = 10_000


def limited(own_broker: OwnBroker, limit: int, **environ: str) -> Broker:
    return own_broker(FLOWMQ_LIMITS__MEMORY_BYTES_MAX=str(limit), **environ)


class Highest:
    """The most that the process took while this watched."""

    def __init__(self, broker: Broker) -> None:
        self.pid = broker.pid
        self.bytes = resident_bytes(broker.pid)
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self._watch, daemon=True)

    def _watch(self) -> None:
        while not self.ended.wait(0.01):
            self.bytes = max(self.bytes, resident_bytes(self.pid))

    def __enter__(self) -> "Highest":
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.ended.set()
        self.thread.join()


def publish_until_it_waits(client: Client, publish: bytes, count: int) -> int:
    """How often it could be sent before the broker did not read any more."""
    client.socket.settimeout(2)
    sent = 0
    try:
        while sent < count:
            client.write(publish)
            sent += 1
    except TimeoutError:
        pass
    client.socket.settimeout(30)
    return sent


def take_all(client: Client) -> None:
    """Reads, settles nothing."""
    try:
        while client.socket.recv(1 << 20):
            pass
    except OSError:
        return


@pytest.mark.parametrize("limit", [320 * MEGABYTE, 128 * MEGABYTE])
def test_a_million_messages_that_nobody_acknowledges(own_broker: OwnBroker, limit: int) -> None:
    broker = limited(own_broker, limit)
    consumer, publisher = connect(broker.peer, frame_max=131072), connect(broker.peer, frame_max=131072)
    channel = consumer.channel()
    channel.queue("q")
    channel.consume("q")
    consumer.socket.settimeout(None)
    reader = threading.Thread(target=take_all, args=(consumer,), daemon=True)
    reader.start()
    sending = publisher.channel()
    publish = codec.method_frame(sending.number, "basic.publish", routing_key="q") + sending.content(b"x" * 16)
    with Highest(broker) as highest:
        sent = publish_until_it_waits(publisher, publish * 1000, MILLION // 1000)
    assert highest.bytes < limit, broker.log.text
    # All of them fit into the larger limit, not into the smaller one.
    assert (sent == MILLION // 1000) == ("memory alarm" not in broker.log.text) == (limit > 200 * MEGABYTE)
    consumer.socket.shutdown(socket.SHUT_RDWR)
    reader.join()
    consumer.drop()
    publisher.drop()
    broker.stop()


def test_the_alarm_ends_when_what_raised_it_has_gone(own_broker: OwnBroker) -> None:
    """Whatever the allocator keeps of it; and the next time it comes no later."""
    limit = 128 * MEGABYTE
    broker = limited(own_broker, limit)
    publisher, other = connect(broker.peer, frame_max=131072), connect(broker.peer).channel()
    sending = publisher.channel()
    for turn in range(2):
        consumer = connect(broker.peer, frame_max=131072)
        channel = consumer.channel()
        queue = channel.queue(f"q{turn}")
        channel.consume(queue)
        reader = threading.Thread(target=take_all, args=(consumer,), daemon=True)
        publish = codec.method_frame(sending.number, "basic.publish", routing_key=queue) + sending.content(b"x" * 16)
        with Highest(broker) as highest:
            reader.start()
            publish_until_it_waits(publisher, publish * 1000, MILLION // 1000)
            consumer.socket.shutdown(socket.SHUT_RDWR)
            reader.join()
            consumer.drop()
            publisher.drop()
            publisher = connect(broker.peer, frame_max=131072)
            sending = publisher.channel()
            other.call("queue.delete", queue=queue)
            broker.log.wait_for_count("memory alarm cleared", turn + 1)
        # What comes back to its queue all at once has a place in both for a moment.
        assert highest.bytes < limit, broker.log.text
    publisher.close()
    other.client.close()
    broker.stop()


def test_two_hundred_sockets_that_nobody_reads(own_broker: OwnBroker) -> None:
    limit = 128 * MEGABYTE
    broker = limited(own_broker, limit)
    lazy = [connect(broker.peer) for _ in range(200)]
    for client in lazy:
        channel = client.channel()
        queue = channel.queue(exclusive=True)
        channel.call("queue.bind", queue=queue, exchange="amq.fanout")
        channel.consume(queue, no_ack=True)
    publisher = connect(broker.peer, frame_max=131072)
    sending = publisher.channel()
    publish = codec.method_frame(sending.number, "basic.publish", exchange="amq.fanout") + sending.content(
        b"x" * 20_000
    )
    with Highest(broker) as highest:
        publish_until_it_waits(publisher, publish, 2000)
    assert highest.bytes < limit, broker.log.text
    for client in [*lazy, publisher]:
        client.drop()
    broker.stop()


def test_headers_as_large_as_frames(own_broker: OwnBroker) -> None:
    limit = 128 * MEGABYTE
    broker = limited(own_broker, limit)
    publisher = connect(broker.peer, frame_max=131072)
    sending = publisher.channel()
    queue = sending.queue()
    content = sending.content(b"", {"headers": {"x": "y" * 130_000}})
    publish = codec.method_frame(sending.number, "basic.publish", routing_key=queue) + content
    with Highest(broker) as highest:
        publish_until_it_waits(publisher, publish, 2000)
    assert highest.bytes < limit, broker.log.text
    publisher.drop()
    broker.stop()


def test_ten_thousand_half_open_handshakes(own_broker: OwnBroker) -> None:
    limit = 128 * MEGABYTE
    broker = limited(own_broker, limit)
    most_of_a_frame = codec.PROTOCOL_HEADER + b"\1\0\0\0\0\x0f\xa0" + b"x" * 3000
    clients = []
    with Highest(broker) as highest:
        for number in range(HANDSHAKES - 1):
            # So that there are ports enough.
            source = (f"127.0.0.{2 + number % 50}", 0)
            clients.append(socket.create_connection((broker.peer.host, broker.peer.port), 30, source_address=source))
            clients[-1].sendall(most_of_a_frame)
        connect(broker.peer).close()
    assert highest.bytes < limit, broker.log.text
    for client in clients:
        client.close()
    broker.stop()
