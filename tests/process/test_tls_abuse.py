"""Who comes to a TLS port with something else, or with too much time: one line in the log, and nobody else notices."""

import re
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.broker import Broker, resident_bytes, until
from tests.support.certificates import Authority, Files
from tests.support.peer import Peer
from tests.support.tls import tls_peer, tls_settings
from tests.support.wire import connect

pytestmark = pytest.mark.flowmq_only
OwnBroker = Callable[..., Broker]
CLIENT_HELLO = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"h" * 32  # the beginning of one

ON_THE_TLS_PORT = [
    (b"AMQP\0\0\x09\x01", "AMQP client without TLS detected on TLS port"),
    (b"AMQP", "AMQP client without TLS detected on TLS port"),
    (b"GET / HTTP/1.1\r\n\r\n", "HTTP client detected on TLS port"),
    (b"\x10\x20\0\x04MQTT\x04", "MQTT client detected on TLS port"),
    (b"PROXY TCP4 10.0.0.1 10.0.0.2 1 2\r\n", "PROXY protocol header detected on TLS port"),
    (b"\0" * 20, r"unsupported protocol header b'\\x00"),
    (b"\x16" + b"\0" * 20, "TLS handshake failed: "),
    (b"\x16\x03\x01\x00\x05nonse", "TLS handshake failed: "),
]
ON_THE_PLAIN_PORT = [
    (CLIENT_HELLO, "TLS client detected on non-TLS AMQP port"),
    (b"GET / HTTP/1.1\r\n\r\n", "HTTP client detected on AMQP port"),
    (b"AMQP\0\x01\0\0", "AMQP 1.0 client detected on AMQP port"),
    (b"AMQP\x03\x01\0\0", "AMQP 1.0 client detected on AMQP port"),
    (b"\x10\x20\0\x04MQTT\x04", "MQTT client detected on AMQP port"),
    (b"PROXY TCP4 10.0.0.1 10.0.0.2 1 2\r\n", "PROXY protocol header detected on AMQP port"),
    (b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c", "PROXY protocol header detected on AMQP port"),
]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, server: Files) -> object:
    started = Broker(tmp_path_factory.mktemp("broker"), tls_settings(server))
    yield started
    started.stop()


def say(peer: Peer, octets: bytes) -> str:
    """Say that, wait for the end of the connection, and return how the log names it."""
    with socket.create_connection((peer.host, peer.port), 30) as client:
        name = "{}:{} -> {}:{}".format(*client.getsockname(), *client.getpeername())
        client.sendall(octets)
        try:
            while client.recv(4096):
                pass
        except ConnectionResetError:
            pass
    return name


@pytest.mark.parametrize(("octets", "line"), ON_THE_TLS_PORT)
def test_what_comes_to_the_tls_port(shared: Broker, authority: Authority, octets: bytes, line: str) -> None:
    peer = tls_peer(shared, authority.client_context())
    name = say(peer, octets)
    shared.log.wait_for(f"warning connection {re.escape(name)}: {line}")


@pytest.mark.parametrize(("octets", "line"), ON_THE_PLAIN_PORT)
def test_what_comes_to_the_plain_port(shared: Broker, octets: bytes, line: str) -> None:
    name = say(shared.peer, octets)
    shared.log.wait_for(f"warning connection {re.escape(name)}: {line}")


def drip(client: socket.socket) -> None:
    for number in range(10_000):
        client.sendall(CLIENT_HELLO[number : number + 1] or b"h")
        time.sleep(0.02)


def test_nobody_takes_longer_than_the_handshake_may(own_broker: OwnBroker, authority: Authority, server: Files) -> None:
    """Silence, half a hello, hello and silence, octet by octet: each ends at the same time after its beginning."""
    broker = own_broker(FLOWMQ_AMQP__HANDSHAKE_TIMEOUT="1", **tls_settings(server))
    peer = tls_peer(broker, authority.client_context())
    began = time.monotonic()
    silent, half, slow, secured = (socket.create_connection((peer.host, peer.port), 30) for _ in range(4))
    half.sendall(CLIENT_HELLO)
    assert peer.tls
    secured = peer.tls.wrap_socket(secured, server_hostname="localhost")
    secured.sendall(b"AMQP\0\0\x09\x01")
    with pytest.raises(OSError, match=r"reset|Broken pipe"):
        drip(slow)
    for client in (silent, half, secured):
        client.settimeout(30)
        try:
            while client.recv(4096):
                pass
        except ConnectionResetError:
            pass
    assert time.monotonic() - began < 10
    broker.log.wait_for_count("handshake timed out", 3)  # of the silent one there is no word
    connect(peer).close()
    broker.stop()


def descriptors(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def test_failed_handshakes_leave_nothing_behind(own_broker: OwnBroker, authority: Authority, server: Files) -> None:
    broker = own_broker(**tls_settings(server))
    peer = tls_peer(broker, authority.client_context())
    working = connect(peer)
    before = descriptors(broker.pid)
    half_open = [socket.create_connection((peer.host, peer.port), 30) for _ in range(200)]
    for number, client in enumerate(half_open):
        client.sendall((b"", CLIENT_HELLO, b"nonsense", b"\x16nonsense")[number % 4])
    channel = working.channel()
    channel.put(channel.queue(exclusive=True), b"meanwhile")
    for client in half_open:
        client.close()
    until(lambda: descriptors(broker.pid) <= before)
    working.close()
    broker.stop()


@pytest.mark.slow
@pytest.mark.usefixtures("many_files")
def test_handshakes_that_do_not_end_take_a_bounded_amount_of_memory(
    own_broker: OwnBroker, authority: Authority, server: Files
) -> None:
    """Who comes while there are too many waits, and gets in when they have gone."""
    broker = own_broker(FLOWMQ_AMQP__HANDSHAKE_TIMEOUT="20", **tls_settings(server))
    peer = tls_peer(broker, authority.client_context())
    working = connect(peer)
    before = resident_bytes(broker.pid)
    half_open = [socket.create_connection((peer.host, peer.port), 30) for _ in range(2000)]
    for client in half_open:
        client.sendall(CLIENT_HELLO)
    until(lambda: descriptors(broker.pid) >= 2000)
    channel = working.channel()
    channel.put(channel.queue(exclusive=True), b"meanwhile")
    assert resident_bytes(broker.pid) - before < 90 << 20  # of the 110 that all of them would take
    for client in half_open:
        client.close()
    connect(peer).close()
    working.close()
    broker.stop()


def test_garbage_in_an_open_session_ends_that_session_only(
    own_broker: OwnBroker, authority: Authority, server: Files
) -> None:
    broker = own_broker(**tls_settings(server))
    peer = tls_peer(broker, authority.client_context())
    spoiled, neighbour = connect(peer), connect(peer)
    channel = spoiled.channel()
    channel.queue("of the spoiled one", exclusive=True)
    raw = socket.socket(fileno=spoiled.socket.detach())
    raw.sendall(b"\x17\x03\x03\x00\x10" + b"g" * 16)
    broker.log.wait_for("ended: the client closed its socket without a word")
    other = neighbour.channel()
    other.send("queue.declare", queue="of the spoiled one", passive=True)
    other.expect_close(404)
    neighbour.close()
    broker.stop()


@pytest.mark.skipif(not shutil.which("openssl"), reason="Python's ssl module cannot ask for it")
def test_renegotiation_is_refused(own_broker: OwnBroker, authority: Authority, server: Files) -> None:
    broker = own_broker(**tls_settings(server))
    peer = tls_peer(broker, authority.client_context())
    neighbour = connect(peer)
    where = f"{peer.host}:{peer.port}"
    ended = subprocess.run(
        ["openssl", "s_client", "-connect", where, "-tls1_2", "-CAfile", str(authority.path)],
        input=b"R\n",
        capture_output=True,
        timeout=30,
        check=False,
    )
    assert b"RENEGOTIATING" in ended.stdout + ended.stderr
    assert b"no renegotiation" in ended.stderr
    channel = neighbour.channel()
    channel.put(channel.queue(exclusive=True), b"not disturbed")
    neighbour.close()
    broker.stop()


def test_stopping_does_not_wait_for_those_at_the_door(
    own_broker: OwnBroker, authority: Authority, server: Files
) -> None:
    broker = own_broker(**tls_settings(server))
    peer = tls_peer(broker, authority.client_context())
    half = socket.create_connection((peer.host, peer.port), 30)
    half.sendall(CLIENT_HELLO)
    secured = ssl.create_default_context(cafile=str(authority.path)).wrap_socket(
        socket.create_connection((peer.host, peer.port), 30), server_hostname="localhost"
    )
    began = time.monotonic()
    broker.terminate()
    assert broker.wait() == 0
    assert time.monotonic() - began < 8  # less than any of the times they are given
    broker.check_log()
    half.close()
    secured.close()
