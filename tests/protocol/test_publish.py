"""basic.publish: contents of every size in every cut, properties byte for byte, returns, CC and BCC, checks."""

import struct
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest

from tests.support import codec
from tests.support.codec import BODY, HEADER, Typed
from tests.support.peer import Peer
from tests.support.wire import Channel, Client, connect

DEEP: dict[str, Any] = {"end": True}
for _ in range(20):
    DEEP = {"table": DEEP, "array": [DEEP.get("end"), [1, {"in": "array"}]]}

EVERY_TYPE: dict[str, Any] = {
    "text": "text ü",
    "empty text": "",
    "true": True,
    "false": False,
    "int8": Typed("b", -128),
    "uint8": Typed("B", 255),
    "int16": Typed("s", -32768),
    "uint16": Typed("u", 65535),
    "int32": Typed("I", -(2**31)),
    "uint32": Typed("i", 2**32 - 1),
    "int64": Typed("l", -(2**63)),
    "float": Typed("f", 1.5),
    "double": Typed("d", -1e300),
    "decimal": Typed("D", Decimal("-12.345")),
    "timestamp": Typed("T", 2**40),
    "octets": Typed("x", bytes(range(256))),
    "void": None,
    "table": {"a": 1, "b": {"c": [1, "two", None, {"d": 3.0}]}},
    "empty table": {},
    "array": [Typed("B", 1), "two", [], {}],
    "deep": DEEP,
    "": "an empty key",
    "k" * 255: "a long key",
}

PROPERTIES: list[dict[str, Any]] = [
    {},
    {"content_type": "application/json"},
    {"content_encoding": "gzip", "cluster_id": "c"},
    {"headers": {}},
    {"headers": EVERY_TYPE},
    {"delivery_mode": 1, "priority": 0},
    {"delivery_mode": 2, "priority": 255},
    {"correlation_id": "c" * 255, "reply_to": "somewhere", "expiration": "3600000", "message_id": "m", "type": "t"},
    {"timestamp": 2**63 + 5, "app_id": "a"},
    {
        "content_type": "text/plain",
        "content_encoding": "utf-8",
        "headers": EVERY_TYPE,
        "delivery_mode": 2,
        "priority": 5,
        "correlation_id": "correlation",
        "reply_to": "reply",
        "expiration": "100000",
        "message_id": "message",
        "timestamp": 1700000000,
        "type": "type",
        "user_id": "guest",
        "app_id": "app",
        "cluster_id": "cluster",
    },
]


@pytest.mark.parametrize("properties", PROPERTIES, ids=lambda properties: "+".join(properties)[:40] or "none")
def test_properties_arrive_byte_for_byte(channel: Channel, queue: str, properties: dict[str, Any]) -> None:
    channel.publish("", queue, b"body", properties)
    message = channel.get(queue)
    assert message
    assert message.header[12:] == codec.encode_properties(properties)
    channel.consume(queue, no_ack=True)
    channel.publish("", queue, b"body", properties)
    assert channel.expect("basic.deliver").header == message.header


@pytest.mark.flowmq_only  # who decodes numbers fails here: RabbitMQ ends the connection with 541
def test_odd_numbers_keep_their_octets(channel: Channel, queue: str) -> None:
    """What a decoder and encoder in between would change: a signalling NaN, minus zero, a doubled key."""
    odd = b"\x01nf" + b"\x7f\xa0\x00\x01" + b"\x01zd" + struct.pack(">d", -0.0) + b"\x01nI\x00\x00\x00\x01"
    header = struct.pack(">H", 1 << 13) + codec.long_string(odd)
    channel.publish("", queue, b"", header)
    message = channel.get(queue)
    assert message
    assert message.header[12:] == header


SIZES = [0, 1, 2, 4087, 4088, 4089, 8175, 8176, 8177, 131063, 131064, 131065, 262128, 500_000, 1 << 20]


@pytest.mark.parametrize("size", SIZES)
def test_bodies_of_every_size(channel: Channel, queue: str, size: int) -> None:
    body = (struct.pack(">Q", size) * (size // 8 + 1))[:size]
    channel.put(queue, body)
    message = channel.get(queue)
    assert message
    assert message.body == body
    channel.consume(queue, no_ack=True)
    channel.publish("", queue, body)
    assert channel.expect("basic.deliver").body == body


@pytest.mark.parametrize("frame_max", [4096, 8192, 100_000])
def test_frames_sent_respect_the_receivers_limit(peer: Peer, channel: Channel, queue: str, frame_max: int) -> None:
    body = bytes(range(256)) * 2000
    with connect(peer, frame_max=frame_max) as small:
        reader = small.channel()
        name = reader.queue(exclusive=True)
        channel.publish("", name, body)
        reader.settle(name)
        reader.consume(name, no_ack=True)
        sizes = []
        received = b""
        while len(received) < len(body):
            frame = small.read_frame()
            sizes.append(len(frame.payload) + 8)
            received += frame.payload if frame.kind == BODY else b""
        assert received == body
        assert max(sizes) == frame_max


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_body_of_64_mib(channel: Channel, queue: str) -> None:
    body = bytes(range(256)) * (64 * 4096)
    channel.put(queue, body)
    message = channel.get(queue)
    assert message
    assert message.body == body


CUTS: list[list[int]] = [[1] * 20, [0, 20], [0, 0, 10, 0, 10], [19, 1], [1, 19], [10, 0, 0, 0, 10]]


@pytest.mark.parametrize("cut", CUTS, ids=lambda cut: "-".join(map(str, cut)))
def test_body_in_any_number_of_frames(channel: Channel, queue: str, cut: list[int]) -> None:
    body = bytes(range(20))
    data = codec.method_frame(channel.number, "basic.publish", exchange="", routing_key=queue)
    data += codec.frame(HEADER, channel.number, struct.pack(">HHQH", 60, 0, len(body), 0))
    at = 0
    for size in cut:
        data += codec.frame(BODY, channel.number, body[at : at + size])
        at += size
    channel.client.write(data)
    channel.put(queue, b"after")
    assert channel.drain(queue) == [body, b"after"]


def test_contents_of_two_channels_may_interleave(client: Client) -> None:
    first, second = client.channel(), client.channel()
    queues = [first.queue(exclusive=True), first.queue(exclusive=True)]
    parts: list[list[bytes]] = []
    for channel, queue in zip((first, second), queues, strict=True):
        number = channel.number
        parts.append(
            [
                codec.method_frame(number, "basic.publish", exchange="", routing_key=queue),
                codec.frame(HEADER, number, struct.pack(">HHQH", 60, 0, 6, 0)),
                codec.frame(BODY, number, b"abc"),
                codec.frame(BODY, number, queue[-3:].encode()),
            ]
        )
    client.write(b"".join(a + b for a, b in zip(*parts, strict=True)))
    for channel, queue in zip((first, second), queues, strict=True):
        channel.count(queue)
        assert channel.drain(queue) == [b"abc" + queue[-3:].encode()]


def test_publishes_in_one_write_keep_their_order(channel: Channel, queue: str) -> None:
    bodies = [str(number).encode() for number in range(2000)]
    publish = codec.method_frame(channel.number, "basic.publish", exchange="", routing_key=queue)
    channel.client.write(b"".join(publish + channel.content(body) for body in bodies))
    assert channel.drain(queue) == bodies


# mandatory


def test_unroutable_mandatory_message_comes_back_whole(channel: Channel, name: str) -> None:
    body, properties = b"b" * 10_000, {"headers": EVERY_TYPE, "message_id": "m"}
    channel.publish("amq.direct", name, body, properties, mandatory=True)
    returned = channel.expect("basic.return")
    assert (returned.reply_code, returned.reply_text) == (312, "NO_ROUTE")
    assert (returned.exchange, returned.routing_key) == ("amq.direct", name)
    assert returned.body == body
    assert returned.header[12:] == codec.encode_properties(properties)


def test_routable_or_not_mandatory_messages_do_not_come_back(channel: Channel, queue: str, name: str) -> None:
    channel.publish("", queue, b"kept", mandatory=True)
    channel.publish("", f"{name}-nobody", b"dropped")
    assert channel.settle(queue) == []
    assert channel.drain(queue) == [b"kept"]


def test_returns_come_before_their_confirms(channel: Channel, queue: str, name: str) -> None:
    channel.call("confirm.select")
    for number in range(1, 21):
        channel.publish("", queue if number % 2 else f"{name}-nobody", b"%d" % number, mandatory=True)
    returned: list[int] = []
    confirmed: set[int] = set()
    while len(confirmed) < 20:
        method = channel.expect("basic.return", "basic.ack")
        if method.name == "basic.return":
            returned.append(int(method.body))
            assert returned[-1] not in confirmed
            continue
        below = range(1, method.delivery_tag + 1) if method.multiple else [method.delivery_tag]
        confirmed.update(below)
        assert all(number in returned for number in confirmed if number % 2 == 0)
    assert returned == list(range(2, 21, 2))


# CC and BCC


def test_cc_and_bcc_route_like_the_key(channel: Channel, names: Iterator[str]) -> None:
    key, copy, blind = (channel.queue(next(names), exclusive=True) for _ in range(3))
    headers = {"CC": [copy, key], "BCC": [blind], "other": 1}
    channel.publish("", key, b"x", {"headers": headers})
    for queue in (key, copy, blind):
        message = channel.get(queue)
        assert message
        assert message.message_count == 0
        assert message.routing_key == key
        assert message.properties["headers"] == {"CC": [copy, key], "other": 1}


def test_bcc_alone_leaves_an_empty_header_table(channel: Channel, queue: str, name: str) -> None:
    channel.publish("", f"{name}-nobody", b"x", {"headers": {"BCC": [queue]}, "message_id": "m"})
    message = channel.get(queue)
    assert message
    assert message.properties == {"headers": {}, "message_id": "m"}


def test_copies_make_a_message_routable(channel: Channel, queue: str, name: str) -> None:
    channel.publish("", f"{name}-nobody", b"x", {"headers": {"CC": [queue]}}, mandatory=True)
    assert channel.settle(queue) == []
    assert channel.drain(queue) == [b"x"]


# checks


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"expiration": "abc"}, "invalid expiration 'abc': no_integer"),
    ({"expiration": ""}, "invalid expiration '': no_integer"),
    ({"expiration": "-1"}, "invalid expiration '-1': {value_negative,-1}"),
    ({"expiration": "1.5"}, "invalid expiration '1.5': {leftover_string,\".5\"}"),
    ({"expiration": "315360000001"}, "invalid expiration '315360000001': {value_too_large,315360000001}"),
    ({"user_id": "bob"}, "user_id property set to 'bob' but authenticated user was 'guest'"),
    ({"headers": {"CC": "text"}}, 'invalid message: {unacceptable_type_in_header,"CC",longstr}'),
    ({"headers": {"BCC": 5}}, 'invalid message: {unacceptable_type_in_header,"BCC",signedint}'),
]


@pytest.mark.parametrize(("properties", "text"), REFUSED, ids=[row[1][:40] for row in REFUSED])
def test_refused_properties(channel: Channel, other: Client, queue: str, properties: dict[str, Any], text: str) -> None:
    channel.publish("", queue, b"x", properties)
    channel.expect_close(406, f"PRECONDITION_FAILED - {text}", (60, 40))
    channel.call("channel.open")
    assert channel.count(queue) == 0


def test_true_user_id_is_accepted(channel: Channel, queue: str, peer: Peer) -> None:
    channel.put(queue, b"x", properties={"user_id": peer.user})
    assert channel.drain(queue) == [b"x"]


def test_contents_after_a_refused_publish_are_ignored(channel: Channel, queue: str, name: str) -> None:
    """What was under way when the channel closed is dropped, the answer to the close opens the way again."""
    for _ in range(50):
        channel.publish(f"{name}-no-exchange", "k", b"x" * 1000)
        channel.publish("", queue, b"y" * 1000)
    channel.expect_close(404, f"NOT_FOUND - no exchange '{name}-no-exchange' in vhost '/'", (60, 40))
    channel.call("channel.open")
    assert channel.count(queue) == 0


def test_delivery_modes_make_no_difference_to_order(channel: Channel, queue: str) -> None:
    for number in range(20):
        channel.publish("", queue, b"%d" % number, {"delivery_mode": 1 + number % 2})
    channel.count(queue)
    assert channel.drain(queue) == [b"%d" % number for number in range(20)]
