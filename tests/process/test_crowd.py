"""Many clients at once, and those who misbehave: each is closed with the right code while a neighbour works on."""

import socket
import struct
from collections.abc import Callable

import pytest

from tests.support import codec
from tests.support.broker import Broker
from tests.support.codec import METHOD
from tests.support.wire import Channel, Client, connect

CONNECTIONS = 1000


@pytest.mark.flowmq_only
@pytest.mark.slow
@pytest.mark.timeout(180)
@pytest.mark.usefixtures("many_files")
def test_a_thousand_connections_with_a_channel_each(own_broker: Callable[..., Broker]) -> None:
    broker = own_broker()
    clients = [connect(broker.peer) for _ in range(CONNECTIONS)]
    channels = [client.channel() for client in clients]
    queue = channels[0].queue(auto_delete=True)
    for channel in channels:
        channel.consume(queue, no_ack=True)
    channels[0].put(queue, *(b"%d" % number for number in range(CONNECTIONS)))
    received = {int(channel.expect("basic.deliver").body) for channel in channels}
    assert received == set(range(CONNECTIONS))  # one each
    for client in clients:
        client.close()
    broker.stop()


@pytest.mark.flowmq_only
@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.usefixtures("many_files")
def test_a_thousand_connections_lost_at_once(own_broker: Callable[..., Broker]) -> None:
    broker = own_broker()
    neighbour = connect(broker.peer).channel()
    queue = neighbour.queue()  # one that goes with its consumers could go before the next one comes
    clients = [connect(broker.peer) for _ in range(CONNECTIONS)]
    for client in clients:
        client.channel().consume(queue)
    neighbour.put(queue, *(b"%d" % number for number in range(CONNECTIONS)))
    for client in clients:  # an abrupt end: reset, not closed
        client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.drop()
    neighbour.consume(queue)
    received = {int(neighbour.expect("basic.deliver").body) for _ in range(CONNECTIONS)}
    assert received == set(range(CONNECTIONS))
    neighbour.client.close()
    broker.stop()


class Neighbour:
    """Somebody else's session: publishes to itself and reads it back, and nothing may ever go wrong with it."""

    def __init__(self, client: Client) -> None:
        self.channel: Channel = client.channel()
        self.queue = self.channel.queue(exclusive=True)
        self.channel.consume(self.queue, no_ack=True)
        self.turn = 0

    def works(self) -> None:
        self.turn += 1
        body = b"turn %d" % self.turn
        self.channel.publish("", self.queue, body)
        assert self.channel.expect("basic.deliver").body == body


@pytest.fixture
def neighbour(other: Client) -> Neighbour:
    return Neighbour(other)


GARBAGE: list[tuple[str, bytes, int]] = [
    ("noise", bytes(range(255, 100, -1)) * 4, 501),
    ("text", b"GET / HTTP/1.1\r\nHost: broker\r\n\r\n", 501),
    ("endless frame", struct.pack(">BHI", 3, 1, 2**31), 501),
    ("half a method", codec.frame(METHOD, 1, b"\0\x32\0"), 501),
    ("table without an end", codec.frame(METHOD, 1, bytes.fromhex("0032000a0000017100ffffffff")), 501),
]


@pytest.mark.parametrize(("data", "code"), [row[1:] for row in GARBAGE], ids=[row[0] for row in GARBAGE])
def test_garbage_after_the_handshake(client: Client, neighbour: Neighbour, data: bytes, code: int) -> None:
    client.channel()
    neighbour.works()
    client.write(data + b"\0" * 8)
    neighbour.works()
    client.expect_close(code)
    neighbour.works()


def test_half_a_frame_and_then_nothing(client: Client, neighbour: Neighbour) -> None:
    channel = client.channel()
    publish = codec.method_frame(1, "basic.publish", routing_key=neighbour.queue)
    whole = publish + channel.content(b"half")
    client.write(whole[:-3])
    neighbour.works()
    client.write(whole[-3:])  # the rest may come at any time
    assert neighbour.channel.expect("basic.deliver").body == b"half"
    client.write(whole[: len(publish) + 5])
    client.drop()
    neighbour.works()


@pytest.mark.parametrize("octets", [0, 1, 7, 8])
def test_connections_that_say_little_and_leave(neighbour: Neighbour, octets: int) -> None:
    for _ in range(20):
        with Client(neighbour.channel.client.peer) as client:
            client.write(codec.PROTOCOL_HEADER[:octets])
    neighbour.works()


@pytest.mark.flowmq_only
def test_client_silent_after_the_handshake_is_let_go_by_heartbeat(
    own_broker: Callable[..., Broker],
) -> None:
    broker = own_broker()
    lively = connect(broker.peer)
    working = Neighbour(lively)
    with connect(broker.peer, heartbeat=1) as silent:
        silent.channel()
        working.works()
        rest = silent.read_until_eof()
        assert rest.replace(codec.frame(8, 0, b""), b"") == b""
    working.works()
    lively.close()
    broker.stop()
