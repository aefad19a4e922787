"""From the first octet to connection.open-ok, and every way it can go wrong."""

import time
from collections.abc import Callable

import pytest

from tests.support import codec
from tests.support.broker import Broker
from tests.support.peer import Peer
from tests.support.wire import Client, amqplain, connect

NINE = {
    "publisher_confirms",
    "exchange_exchange_bindings",
    "basic.nack",
    "consumer_cancel_notify",
    "connection.blocked",
    "consumer_priorities",
    "authentication_failure_close",
    "per_consumer_qos",
    "direct_reply_to",
}
REFUSED = "ACCESS_REFUSED - Login was refused using authentication mechanism {}. For details see the broker logfile."


def fresh(peer: Peer) -> Client:
    return Client(peer)


def test_start_offers_what_clients_look_for(peer: Peer) -> None:
    with fresh(peer) as client:
        start = client.start()
        assert (start.version_major, start.version_minor) == (0, 9)
        assert {b"PLAIN", b"AMQPLAIN"} <= set(start.mechanisms.split(b" "))
        assert b"en_US" in start.locales.split(b" ")
        properties = start.server_properties
        capabilities = properties["capabilities"]
        assert {name for name in NINE if capabilities.get(name) is True} == NINE
        for name in ("cluster_name", "copyright", "information", "platform", "product", "version"):
            assert isinstance(properties[name], str), name


def test_tune_offers_the_usual_limits(peer: Peer) -> None:
    with connect(peer) as client:
        assert client.tuned
        assert (client.tuned.channel_max, client.tuned.frame_max, client.tuned.heartbeat) == (2047, 131072, 60)
        client.close()


HEADERS = [b"AMQP\0\0\x09\0", b"AMQP\0\0\x08\0", b"AMQP\0\x01\0\0", b"AMQP\x03\x01\0\0", b"GET / HT", b"\0" * 8]


@pytest.mark.parametrize("header", HEADERS, ids=repr)
def test_wrong_header_is_answered_with_the_right_one(peer: Peer, header: bytes) -> None:
    with fresh(peer) as client:
        client.write(header)
        assert client.read_until_eof() == codec.PROTOCOL_HEADER


def test_header_of_0_9_is_taken_for_0_9_1(peer: Peer) -> None:
    with fresh(peer) as client:
        client.write(b"AMQP\x01\x01\x00\x09")
        client.expect("connection.start")


@pytest.mark.parametrize("mechanism", ["PLAIN", "AMQPLAIN"])
def test_mechanisms(peer: Peer, mechanism: str) -> None:
    with connect(peer, mechanism=mechanism) as client:
        client.channel()
        client.close()


def test_amqplain_takes_fields_in_any_order(peer: Peer) -> None:
    with fresh(peer) as client:
        client.start()
        fields = codec.table_fields({"extra": 1, "PASSWORD": peer.password, "LOGIN": peer.user})
        client.start_ok(mechanism="AMQPLAIN", response=fields)
        client.tune()
        client.open()


@pytest.mark.parametrize("mechanism", ["PLAIN", "AMQPLAIN"])
@pytest.mark.parametrize(("user", "password"), [("guest", "wrong"), ("nobody", "guest"), ("", ""), ("guest", "")])
def test_refused_login_says_so_without_a_reason(peer: Peer, mechanism: str, user: str, password: str) -> None:
    with fresh(peer) as client:
        client.start()
        client.start_ok(user, password, mechanism)
        close = client.expect("connection.close")
        assert (close.reply_code, close.reply_text) == (403, REFUSED.format(mechanism))
        assert (close.class_id, close.method_id) == (0, 0)


@pytest.mark.parametrize("capabilities", [{}, {"authentication_failure_close": False}])
def test_refused_login_without_the_capability_ends_in_silence_after_a_while(
    peer: Peer, capabilities: dict[str, bool]
) -> None:
    with fresh(peer) as client:
        client.start()
        before = time.monotonic()
        client.start_ok("guest", "wrong", capabilities=capabilities)
        assert client.read_until_eof() == b""
        assert time.monotonic() - before > 2.0  # guessing passwords is made slow


@pytest.mark.flowmq_only  # RabbitMQ 3.10 closes without a word
def test_malformed_plain_response(peer: Peer) -> None:
    with fresh(peer) as client:
        client.start()
        client.start_ok(response=b"\0guest")
        assert client.expect("connection.close").reply_code == 502


@pytest.mark.flowmq_only  # RabbitMQ 3.10 closes without a word
def test_unknown_mechanism(peer: Peer) -> None:
    with fresh(peer) as client:
        client.start()
        client.start_ok(mechanism="FOO", response=b"")
        close = client.expect("connection.close")
        assert close.reply_code == 503
        assert close.reply_text == "COMMAND_INVALID - unknown authentication mechanism 'FOO'"


# tune


@pytest.mark.parametrize(("channel_max", "frame_max"), [(1, 131072), (2047, 4096), (100, 8192), (2047, 131072)])
def test_lower_limits_are_accepted(peer: Peer, channel_max: int, frame_max: int) -> None:
    with connect(peer, channel_max=channel_max, frame_max=frame_max) as client:
        channel = client.channel()
        queue = channel.queue(exclusive=True)
        channel.publish("", queue, b"x" * 10_000)
        message = channel.get(queue)
        assert message
        assert message.body == b"x" * 10_000
        client.close()


LIMITS = [
    ("frame_max", 1000, "negotiated frame_max = 1000 is lower than the minimum allowed value (4096)"),
    ("frame_max", 4095, "negotiated frame_max = 4095 is lower than the minimum allowed value (4096)"),
    ("frame_max", 0, "negotiated frame_max = 0 is higher than the maximum allowed value (131072)"),
    ("frame_max", 131073, "negotiated frame_max = 131073 is higher than the maximum allowed value (131072)"),
    ("channel_max", 60000, "negotiated channel_max = 60000 is higher than the maximum allowed value (2047)"),
    ("channel_max", 0, "negotiated channel_max = 0 is higher than the maximum allowed value (2047)"),
]


@pytest.mark.flowmq_only  # RabbitMQ 3.10 closes without a word
@pytest.mark.parametrize(("limit", "value", "text"), LIMITS)
def test_limits_out_of_bounds_are_refused(peer: Peer, limit: str, value: int, text: str) -> None:
    with fresh(peer) as client:
        client.start()
        client.start_ok()
        client.tune(**{limit: value})
        client.send(0, "connection.open", virtual_host="/")
        close = client.expect("connection.close")
        assert (close.reply_code, close.class_id, close.method_id) == (530, 10, 30)
        assert value == 0 or close.reply_text == f"NOT_ALLOWED - {text}"


@pytest.mark.parametrize("heartbeat", [0, 1, 60, 65535])
def test_any_heartbeat_is_accepted(peer: Peer, heartbeat: int) -> None:
    with connect(peer, heartbeat=heartbeat) as client:
        client.close()


# open


def test_unknown_vhost(peer: Peer) -> None:
    with fresh(peer) as client:
        client.start()
        client.start_ok()
        client.tune()
        client.send(0, "connection.open", virtual_host="nonesuch")
        client.expect_close(530, "NOT_ALLOWED - vhost nonesuch not found", 10)


# the way it arrives


def test_whole_handshake_in_one_write(peer: Peer) -> None:
    """Clients may write ahead: header, start-ok, tune-ok, open and the first channel.open at once."""
    with fresh(peer) as client:
        start_ok = codec.method_frame(
            0,
            "connection.start-ok",
            client_properties={},
            mechanism="AMQPLAIN",
            response=amqplain(peer.user, peer.password),
            locale="en_US",
        )
        tune_ok = codec.method_frame(0, "connection.tune-ok", channel_max=2047, frame_max=131072, heartbeat=0)
        client.write(
            codec.PROTOCOL_HEADER
            + start_ok
            + tune_ok
            + codec.method_frame(0, "connection.open", virtual_host="/")
            + codec.method_frame(1, "channel.open")
        )
        for name in ("connection.start", "connection.tune", "connection.open-ok"):
            client.expect(name)
        client.expect("channel.open-ok", channel=1)


def test_whole_session_byte_by_byte(peer: Peer, name: str) -> None:
    with fresh(peer) as client:
        plain_write = client.write

        def write(data: bytes) -> None:
            for at in range(len(data)):
                plain_write(data[at : at + 1])

        client.write = write  # type: ignore[method-assign]
        client.start()
        client.start_ok()
        client.tune()
        client.open()
        channel = client.channel()
        channel.queue(name, exclusive=True)
        channel.consume(name)
        channel.publish("", name, b"body", {"headers": {"a": [1, {"b": None}]}, "message_id": "m"})
        delivered = channel.expect("basic.deliver")
        assert delivered.body == b"body"
        channel.ack(delivered.delivery_tag)
        assert channel.count(name) == 0
        client.close()


@pytest.mark.flowmq_only
def test_silent_clients_are_closed(own_broker: Callable[..., Broker]) -> None:
    """Whoever does not finish the handshake in time is let go, however far it came; the others stay."""
    broker = own_broker(FLOWMQ_AMQP__HANDSHAKE_TIMEOUT="1.0")
    neighbour = connect(broker.peer)
    stages = [fresh(broker.peer) for _ in range(5)]
    stages[1].write(codec.PROTOCOL_HEADER[:5])
    for client in stages[2:]:
        client.start()
    for client in stages[3:]:
        client.start_ok()
    stages[4].tune()
    for client in stages:
        client.read_until_eof()
    channel = neighbour.channel()
    assert channel.queue(exclusive=True)
    neighbour.close()
    broker.stop()
