"""A consumer that does not read costs bounded memory and nobody else's time; later it gets everything."""

import os
import socket

import pytest

from tests.support import codec
from tests.support.broker import resident_bytes
from tests.support.peer import Peer
from tests.support.wire import connect

MIB = 1 << 20
pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]


def test_consumer_that_does_not_read(peer: Peer, name: str) -> None:
    """Fanout to a lazy and a brisk consumer: 48 MiB that the lazy one leaves waiting in the broker.

    The messages themselves have to be somewhere, once; what must not grow is a second copy of them in the buffer of
    the lazy one's connection.
    """
    body, count = os.urandom(16 * 1024), 3 * 1024
    with connect(peer) as publisher, connect(peer) as lazy, connect(peer) as brisk:
        lazy.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)
        channel = publisher.channel()
        channel.call("exchange.declare", exchange=name, type="fanout", auto_delete=True)
        readers = [lazy.channel(), brisk.channel()]
        queues = [reader.queue(exclusive=True) for reader in readers]
        for reader, queue in zip(readers, queues, strict=True):
            reader.call("queue.bind", queue=queue, exchange=name)
            reader.consume(queue, no_ack=True)
        channel.call("confirm.select")
        before = resident_bytes(peer.pid) if peer.pid else 0
        publish = codec.method_frame(channel.number, "basic.publish", exchange=name)
        for number in range(count):
            publisher.write(publish + channel.content(number.to_bytes(8, "big") + body))
            assert int.from_bytes(readers[1].expect("basic.deliver").body[:8], "big") == number
        channel.wait_for_confirms(count)
        # The address sanitizer keeps what was freed for a while: there memory says nothing.
        if peer.pid and "asan" not in os.environ.get("LD_PRELOAD", ""):
            grown = resident_bytes(peer.pid) - before
            assert grown < len(body) * count * 1.25 + 16 * MIB, f"{grown / MIB:.0f} MiB"
        for number in range(count):
            delivered = readers[0].expect("basic.deliver")
            assert delivered.body == number.to_bytes(8, "big") + body
        for opened in (publisher, lazy, brisk):
            opened.close()


def test_publisher_and_consumer_at_full_speed_lose_nothing(peer: Peer, name: str) -> None:
    """Everything is written before anything is read: the broker must neither block nor drop."""
    body = b"x" * 1000
    with connect(peer) as client, connect(peer) as publisher:
        reader, writer = client.channel(), publisher.channel()
        reader.queue(name, auto_delete=True)
        reader.call("basic.qos", prefetch_count=100)
        reader.consume(name)
        publish = codec.method_frame(writer.number, "basic.publish", exchange="", routing_key=name)
        batch = 100
        for start in range(0, 5000, batch):
            publisher.write(
                b"".join(publish + writer.content(n.to_bytes(8, "big") + body) for n in range(start, start + batch))
            )
        for number in range(5000):
            delivered = reader.expect("basic.deliver")
            assert delivered.body[:8] == number.to_bytes(8, "big")
            if number % 10 == 9:
                reader.ack(delivered.delivery_tag, multiple=True)
        client.close()
        publisher.close()
