"""Clients behind a proxy that says who they are, on plain, TLS and WebSocket listeners; and who is not believed."""

import re
import socket
import time
from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.support import codec
from tests.support.broker import Broker
from tests.support.certificates import Authority, Files
from tests.support.exchange import say
from tests.support.tls import tls_peer, tls_settings
from tests.support.wire import Client, connect

pytestmark = pytest.mark.flowmq_only
OwnBroker = Callable[..., Broker]
HEADER = b"PROXY TCP4 192.0.2.1 198.51.100.2 1111 5672\r\n"
BINARY = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\x00\x02\x01\xc6\x33\x64\x02\x04\x57\x16\x28"
LOCAL = b"\r\n\r\n\0\r\nQUIT\n\x20\x00\0\x00"
NAMED = re.escape("connection 192.0.2.1:1111 -> 198.51.100.2:5672")
NOT_ONLY_LOOPBACK = {"FLOWMQ_LIMITS__DEFAULT_USER_LOOPBACK_ONLY": "false"}
TRUSTING = {"FLOWMQ_AMQP__PROXY_PROTOCOL_FROM": "10.0.0.0/8,127.0.0.0/8", **NOT_ONLY_LOOPBACK}


@pytest.mark.parametrize("header", [HEADER, BINARY])
def test_a_connection_has_the_addresses_that_the_proxy_names(own_broker: OwnBroker, header: bytes) -> None:
    broker = own_broker(**TRUSTING)
    client = connect(replace(broker.peer, greeting=header))
    broker.log.wait_for(f"{NAMED} opened: user 'guest'")
    client.close()
    broker.stop()


def test_the_default_user_is_judged_by_the_address_behind_the_proxy(own_broker: OwnBroker) -> None:
    broker = own_broker(FLOWMQ_AMQP__PROXY_PROTOCOL_FROM="127.0.0.1/32")
    with Client(replace(broker.peer, greeting=HEADER)) as client:
        client.start()
        client.start_ok()
        client.expect_close(403)
    broker.log.wait_for(f"{NAMED}: log-in of user 'guest' refused: ")
    connect(replace(broker.peer, greeting=LOCAL)).close()  # the proxy itself is on this machine
    broker.stop()


def test_with_tls_and_with_websockets_the_header_comes_first(
    own_broker: OwnBroker, authority: Authority, server: Files
) -> None:
    everywhere = {f"FLOWMQ_{section}__PROXY_PROTOCOL_FROM": "127.0.0.1/32" for section in ("TLS", "WEBSOCKET")}
    broker = own_broker(
        **tls_settings(server), **everywhere, **NOT_ONLY_LOOPBACK, FLOWMQ_WEBSOCKET__LISTEN_TLS="127.0.0.1:0"
    )
    secured = replace(tls_peer(broker, authority.client_context()), greeting=BINARY)
    port = int(broker.log.wait_for(r"AMQP over secure WebSocket listener started on 127\.0\.0\.1:(\d+)")[1])
    for peer in (secured, replace(secured, port=port, websocket=True)):
        client = connect(peer)
        channel = client.channel()
        channel.put(channel.queue(exclusive=True), b"x" * 100_000)
        client.close()
    broker.log.wait_for_count("connection 192.0.2.1:1111 -> 198.51.100.2:5672 opened", 2)
    connect(broker.peer).close()  # where nothing was said of proxies, none is expected
    broker.stop()


def test_a_trusted_proxy_must_say_whom_it_speaks_for(own_broker: OwnBroker) -> None:
    broker = own_broker(**TRUSTING)
    complaint = "warning connection .*: PROXY protocol expected from a trusted proxy: "
    for octets, why in (
        (codec.PROTOCOL_HEADER + b"\0\0\0\0", "no PROXY protocol header, but b'AMQP"),
        (HEADER[:20], "the header is cut short"),
        (BINARY[:20], "the header is cut short"),
        (BINARY[:12] + b"\x21\x11\xff\xff", "65535 octets of addresses, at most 4096 are read"),
        (b"PROXY TCP4 " + b"1" * 1000, "a line of more than 107 octets"),
    ):
        assert say(broker.peer.host, broker.peer.port, octets) == b""
        broker.log.wait_for(complaint + why)
    broker.stop()


def test_others_are_not_believed_and_get_in_as_before(own_broker: OwnBroker) -> None:
    broker = own_broker(FLOWMQ_AMQP__PROXY_PROTOCOL_FROM="10.0.0.0/8")
    connect(broker.peer).close()
    assert say(broker.peer.host, broker.peer.port, HEADER) == codec.PROTOCOL_HEADER
    broker.log.wait_for(r"warning connection 127\.0\.0\.1:\d+ .*PROXY protocol header detected on AMQP port, from a")
    broker.stop()


def test_half_a_header_does_not_last(own_broker: OwnBroker) -> None:
    broker = own_broker(**TRUSTING, FLOWMQ_AMQP__HANDSHAKE_TIMEOUT="1")
    began = time.monotonic()
    halves = [socket.create_connection((broker.peer.host, broker.peer.port), 30) for _ in range(4)]
    for half, octets in zip(halves, (b"", HEADER[:5], HEADER[:-1], BINARY[:20]), strict=True):
        half.sendall(octets)
    for half in halves:
        assert half.recv(1) == b""
    assert time.monotonic() - began < 10
    broker.log.wait_for_count("handshake timed out", 3)  # of the silent one there is no word
    broker.stop()
