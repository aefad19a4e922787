"""AMQP over WebSocket: the same connection as any other, whatever its octets are cut into; and who does not get in."""

import contextlib
import re
import socket
import struct
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from tests.support import codec
from tests.support.broker import Broker, resident_bytes
from tests.support.certificates import Authority, Files
from tests.support.peer import Peer
from tests.support.tls import tls_settings
from tests.support.websocket import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, Refused, WebSocket, frame, request
from tests.support.wire import Client, connect

pytestmark = pytest.mark.flowmq_only
OwnBroker = Callable[..., Broker]
LISTENING = r"AMQP over WebSocket listener started on 127\.0\.0\.1:(\d+)"
LISTENING_TLS = r"AMQP over secure WebSocket listener started on 127\.0\.0\.1:(\d+)"
SETTINGS = {"FLOWMQ_WEBSOCKET__LISTEN": "127.0.0.1:0"}
SHUTDOWN = "CONNECTION_FORCED - broker forced connection closure with reason 'shutdown'"


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory, server: Files) -> Iterator[Broker]:
    settings = {**SETTINGS, **tls_settings(server), "FLOWMQ_WEBSOCKET__LISTEN_TLS": "127.0.0.1:0"}
    settings["FLOWMQ_WEBSOCKET__ORIGINS"] = "https://shop.example.org"
    started = Broker(tmp_path_factory.mktemp("broker"), settings)
    try:
        yield started
        started.stop()
    finally:
        started.kill()


def web_peer(broker: Broker) -> Peer:
    return replace(broker.peer, port=int(broker.log.wait_for(LISTENING)[1]), websocket=True)


def plain_socket(broker: Broker) -> socket.socket:
    peer = web_peer(broker)
    return socket.create_connection((peer.host, peer.port), 30)


def exchange_bodies(client: Client) -> None:
    channel = client.channel()
    queue = channel.queue(exclusive=True)
    bodies = [bytes([size % 251]) * size for size in (0, 1, 125, 126, 65535, 65536, 131064, 3_000_000)]
    for body in bodies:
        channel.put(queue, body)
    assert channel.drain(queue) == bodies


def test_messages_of_all_sizes_go_through(web: Broker) -> None:
    client = connect(web_peer(web))
    exchange_bodies(client)
    client.close()


def test_and_through_tls(web: Broker, authority: Authority) -> None:
    port = int(web.log.wait_for(LISTENING_TLS)[1])
    client = connect(replace(web.peer, port=port, websocket=True, tls=authority.client_context()))
    exchange_bodies(client)
    client.close()


def test_the_close_ok_comes_before_the_goodbye(web: Broker) -> None:
    client = connect(web_peer(web))
    client.send(0, "connection.close", reply_code=200, reply_text="bye")
    assert client.receive().name == "connection.close-ok"
    assert client.socket.read_frame() == (CLOSE, struct.pack(">H", 1000))
    client.socket.socket.sendall(frame(CLOSE, struct.pack(">H", 1000)))
    assert client.socket.socket.recv(1) == b""


@pytest.mark.parametrize("piece", [1, 7, 100])
def test_where_frames_end_means_nothing(web: Broker, piece: int) -> None:
    with Client(web_peer(web)) as client:
        octets = codec.PROTOCOL_HEADER
        pieces = [octets[at : at + piece] for at in range(0, len(octets), piece)]
        raw = client.socket.socket
        raw.sendall(b"".join(frame(BINARY, part) for part in pieces))
        client.expect("connection.start")


def test_one_message_in_many_parts_with_a_ping_between(web: Broker) -> None:
    with Client(web_peer(web)) as client:
        first, *rest = (codec.PROTOCOL_HEADER[at : at + 1] for at in range(8))
        parts = [frame(BINARY, first, final=False), *(frame(CONTINUATION, part, final=False) for part in rest)]
        client.socket.socket.sendall(b"".join(parts) + frame(PING, b"are you there?") + frame(CONTINUATION, b""))
        answers = [client.socket.read_frame() for _ in range(2)]
        assert (PONG, b"are you there?") in answers
        assert {answer.opcode for answer in answers} == {PONG, BINARY}


def test_a_client_without_a_subprotocol_gets_in(web: Broker) -> None:
    websocket = WebSocket(plain_socket(web), subprotocol=None)
    assert "Sec-WebSocket-Protocol" not in websocket.head
    websocket.close()
    websocket = WebSocket(plain_socket(web), subprotocol="chat, amqp")
    assert "Sec-WebSocket-Protocol: amqp" in websocket.head
    websocket.close()


REFUSED = [
    ({"subprotocol": "mqtt"}, 400, "WebSocket refused: the subprotocol amqp is spoken here, not mqtt"),
    ({"origin": "https://evil.example"}, 403, "the origin https://evil.example is not in websocket.origins"),
]


@pytest.mark.parametrize(("wishes", "status", "line"), REFUSED)
def test_who_is_refused(web: Broker, wishes: dict[str, str], status: int, line: str) -> None:
    with pytest.raises(Refused) as refusal:
        WebSocket(plain_socket(web), **wishes)
    assert refusal.value.status == status
    web.log.wait_for(re.escape(line))


def test_a_page_of_a_listed_origin_gets_in(web: Broker) -> None:
    WebSocket(plain_socket(web), origin="https://shop.example.org").close()


def until_eof(connected: socket.socket) -> bytes:
    received = b""
    try:
        while more := connected.recv(65536):
            received += more
    except ConnectionResetError:
        pass
    return received


STRANGERS = [
    (codec.PROTOCOL_HEADER, "AMQP client without WebSocket detected on WebSocket port"),
    (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "TLS client detected on non-TLS WebSocket port"),
    (b"\x10\x20\0\x04MQTT\x04", "MQTT client detected on WebSocket port"),
    (b"POST / HTTP/1.1\r\n\r\n", "HTTP client detected on WebSocket port"),
    (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", "WebSocket refused: missing Connection header"),
    (b"GET / FTP/1.1\r\n\r\n", "WebSocket refused: did not receive a valid HTTP request"),
    (b"GET " + b"/" * 100_000, "WebSocket refused: "),
    (b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 1000, "WebSocket refused: "),
    (request() + frame(TEXT, b"AMQP"), "WebSocket broken: a text frame, and AMQP is binary"),
    (request() + b"\x82\x04AMQP", "WebSocket broken: incorrect masking"),
    (request() + frame(BINARY, b"", announced=1 << 40), "WebSocket broken: frame with 1099511627776 bytes exceeds"),
    (request() + frame(BINARY, b"", announced=16385), "WebSocket broken: frame with 16385 bytes exceeds limit of"),
    (request() + frame(0x0B, b""), "WebSocket broken: invalid opcode"),
    (request() + frame(CONTINUATION, b"AMQP"), "WebSocket broken: unexpected continuation frame"),
]


@pytest.mark.parametrize(("octets", "line"), STRANGERS)
def test_what_is_no_websocket_ends_in_one_line(web: Broker, octets: bytes, line: str) -> None:
    with plain_socket(web) as stranger:
        name = "{}:{} -> {}:{}".format(*stranger.getsockname(), *stranger.getpeername())
        stranger.sendall(octets)
        until_eof(stranger)
    web.log.wait_for(re.escape(f"warning connection {name}: {line}"))


def test_a_frame_larger_than_allowed_ends_that_connection_only(own_broker: OwnBroker) -> None:
    broker = own_broker(**SETTINGS, FLOWMQ_WEBSOCKET__FRAME_BYTES_MAX="4000000")
    large, neighbour = connect(web_peer(broker)), connect(web_peer(broker))
    large.socket.socket.sendall(frame(BINARY, b"", announced=4_000_001))
    assert large.socket.read_frame().payload[:2] == struct.pack(">H", 1009)
    broker.log.wait_for("WebSocket broken: frame with 4000001 bytes exceeds limit of 4000000 bytes")
    exchange_bodies(neighbour)
    neighbour.close()
    broker.stop()


def test_nobody_takes_longer_than_the_handshake_may(own_broker: OwnBroker) -> None:
    broker = own_broker(**SETTINGS, FLOWMQ_AMQP__HANDSHAKE_TIMEOUT="1")
    began = time.monotonic()
    silent, half, upgraded = (plain_socket(broker) for _ in range(3))
    half.sendall(b"GET / HT")
    upgraded.sendall(request() + frame(BINARY, codec.PROTOCOL_HEADER))
    for client in (silent, half, upgraded):
        until_eof(client)
    assert time.monotonic() - began < 10
    broker.log.wait_for_count("handshake timed out", 2)  # of the silent one there is no word
    broker.stop()


def ping_for_long(connected: socket.socket) -> None:
    """39 MB of pings, whose answers nobody reads; fewer when the broker does not read them either."""
    pings = frame(PING, b"p" * 125) * 1000
    connected.settimeout(0.5)
    with contextlib.suppress(TimeoutError):
        for _ in range(300):
            connected.sendall(pings)
    connected.settimeout(30)


def test_a_client_that_does_not_read_costs_little_and_gets_it_all_later(own_broker: OwnBroker) -> None:
    broker = own_broker(**SETTINGS)
    lazy, busy = connect(web_peer(broker)), connect(broker.peer)
    channel = lazy.channel()
    queue = channel.queue(durable=True)
    channel.consume(queue, no_ack=True)
    before = resident_bytes(broker.pid)
    writer = busy.channel()
    size, count = 200_000, 300
    for number in range(count):
        writer.put(queue, b"%06d" % number + b"x" * size)
    ping_for_long(lazy.socket.socket)
    assert resident_bytes(broker.pid) - before < 40 << 20  # of 57 MiB, and of the pongs
    for number in range(count):
        assert channel.expect("basic.deliver").body[:6] == b"%06d" % number
    lazy.drop()
    busy.close()
    broker.stop()


def test_stopping_says_goodbye(own_broker: OwnBroker) -> None:
    broker = own_broker(**SETTINGS)
    client = connect(web_peer(broker))
    half = plain_socket(broker)
    half.sendall(b"GET / HT")
    broker.terminate()
    client.expect_close(320, SHUTDOWN)
    assert broker.wait() == 0
    broker.check_log()
    half.close()


def test_a_client_that_leaves_gives_everything_back(own_broker: OwnBroker) -> None:
    broker = own_broker(**SETTINGS)
    goodbyes = [b"", frame(CLOSE, struct.pack(">H", 1001)), frame(CLOSE, b"x")]
    for number, goodbye in enumerate(goodbyes, 1):
        client = connect(web_peer(broker))
        client.channel().queue("of that client", exclusive=True)
        client.socket.socket.sendall(goodbye)
        if goodbye:
            assert client.socket.read_frame().opcode == CLOSE
        client.drop()
        broker.log.wait_for_count("ended: the client closed its socket without a word", number)
        other = connect(broker.peer)
        channel = other.channel()
        channel.send("queue.declare", queue="of that client", passive=True)
        channel.expect_close(404)
        other.close()
    broker.stop()


def test_what_was_sent_right_before_the_goodbye_is_not_lost(own_broker: OwnBroker) -> None:
    broker = own_broker(**SETTINGS)
    client = connect(web_peer(broker))
    channel = client.channel()
    queue = channel.queue("letters")
    publish = codec.method_frame(channel.number, "basic.publish", routing_key=queue)
    messages = b"".join(publish + channel.content(b"x" * 1000) for _ in range(500))
    client.socket.socket.sendall(frame(BINARY, messages) + frame(CLOSE, struct.pack(">H", 1000)))
    client.drop()
    broker.log.wait_for("ended: the client closed its socket without a word")
    other = connect(broker.peer)
    assert other.channel().count(queue) == 500
    other.close()
    broker.stop()
