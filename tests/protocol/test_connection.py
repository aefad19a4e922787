"""The connection itself: closing, channels and their numbers, frames that are wrong."""

import re
import socket
import struct
from typing import Any

import pytest

from tests.support import codec
from tests.support.codec import BODY, HEADER, HEARTBEAT, METHOD
from tests.support.peer import Peer
from tests.support.wire import Channel, Client, connect


def test_client_closes(client: Client) -> None:
    client.channel()
    client.send(0, "connection.close", reply_code=200, reply_text="bye")
    client.expect("connection.close-ok")
    client.socket.shutdown(socket.SHUT_WR)
    assert client.read_until_eof() == b""


@pytest.mark.flowmq_only  # RabbitMQ takes it for an unexpected method
def test_client_closes_during_the_handshake(peer: Peer) -> None:
    with Client(peer) as client:
        client.start()
        client.start_ok()
        client.tune()
        client.send(0, "connection.close", reply_code=200, reply_text="bye")
        client.expect("connection.close-ok")
        client.socket.shutdown(socket.SHUT_WR)
        assert client.read_until_eof() == b""


def test_client_closes_a_channel_and_opens_it_again(channel: Channel, queue: str) -> None:
    for _ in range(3):
        channel.close()
        channel.call("channel.open")
    assert channel.count(queue) == 0


def test_close_ok_out_of_the_blue_on_a_channel_never_opened_does_no_harm(client: Client) -> None:
    client.send(7, "channel.close-ok")
    client.close()


def test_frames_after_close_are_ignored(client: Client, channel: Channel) -> None:
    client.write(
        codec.method_frame(0, "connection.close", reply_code=200, reply_text="bye")
        + codec.method_frame(1, "basic.qos", prefetch_size=1)
        + codec.frame(HEARTBEAT, 0, b"")
    )
    client.expect("connection.close-ok")
    client.socket.shutdown(socket.SHUT_WR)
    assert client.read_until_eof() == b""


def test_update_secret(client: Client) -> None:
    client.send(0, "connection.update-secret", new_secret="guest", reason="renewed")
    client.expect("connection.update-secret-ok")
    client.channel()
    client.close()


# channels


def test_as_many_channels_as_agreed(peer: Peer) -> None:
    with connect(peer, channel_max=20) as client:
        for _ in range(20):
            client.channel()
        client.send(21, "channel.open")
        text = "NOT_ALLOWED - number of channels opened (20) has reached the negotiated channel_max (20)"
        client.expect_close(530, text)


def test_channel_numbers_are_free(client: Client) -> None:
    """The limit is on the count. Numbers beyond it are what some clients use."""
    for number in (5000, 65535, 3):
        channel = client.channel(number)
        assert channel.queue(exclusive=True)
    client.close()


def test_closed_channels_do_not_count(peer: Peer) -> None:
    with connect(peer, channel_max=2) as client:
        for _ in range(10):
            client.channel().close()
        client.close()


def test_method_on_a_channel_not_open(client: Client) -> None:
    client.send(9, "basic.qos")
    client.expect_close(504, "CHANNEL_ERROR - expected 'channel.open'")


# frames

SMALL_METHOD = codec.method_payload("basic.qos")
PUBLISH = codec.method_frame(1, "basic.publish", routing_key="nobody")
HEADER_OF = {size: codec.frame(HEADER, 1, struct.pack(">HHQH", 60, 0, size, 0)) for size in (0, 4)}

BAD_FRAMES: list[tuple[str, bytes, int, str]] = [
    ("unknown type", codec.frame(7, 1, b"x"), 501, 'FRAME_ERROR - type 7, all octets = <<"x">>: unknown_frame'),
    (
        "unknown type, long",
        codec.frame(7, 1, b"x" * 20),
        501,
        'FRAME_ERROR - type 7, first 16 octets = <<"xxxxxxxxxxxxxxxx">>: unknown_frame',
    ),
    (
        "wrong end",
        codec.frame(METHOD, 1, SMALL_METHOD, end=0),
        501,
        "FRAME_ERROR - type 1, all octets = <<0,60,0,10,0,0,0,0,0,0,0>>: {invalid_frame_end_marker,0}",
    ),
    (
        "wrong end, long",
        codec.frame(BODY, 1, b"y" * 17, end=65),
        501,
        'FRAME_ERROR - type 3, first 16 octets = <<"yyyyyyyyyyyyyyyy">>: {invalid_frame_end_marker,65}',
    ),
    (
        "too large",
        struct.pack(">BHI", BODY, 1, 200_000),
        501,
        "FRAME_ERROR - type 3, all octets = <<>>: {frame_too_large,200000,131064}",
    ),
    (
        "far too large",
        struct.pack(">BHI", METHOD, 1, 2**32 - 1),
        501,
        "FRAME_ERROR - type 1, all octets = <<>>: {frame_too_large,4294967295,131064}",
    ),
    (
        "heartbeat on a channel",
        codec.frame(HEARTBEAT, 1, b""),
        505,
        "UNEXPECTED_FRAME - type 8, all octets = <<>>",
    ),
    (
        "header on channel 0",
        codec.frame(HEADER, 0, struct.pack(">HHQH", 60, 0, 4, 0)),
        505,
        "UNEXPECTED_FRAME - type 2, all octets = <<0,60,0,0,0,0,0,0,0,0,0,4,0,0>>",
    ),
    (
        "body without a method",
        codec.frame(BODY, 1, b"x"),
        505,
        "UNEXPECTED_FRAME - expected method frame, got non method frame instead",
    ),
    (
        "header without a method",
        HEADER_OF[4],
        505,
        "UNEXPECTED_FRAME - expected method frame, got non method frame instead",
    ),
    (
        "method in place of a header",
        PUBLISH + codec.frame(METHOD, 1, SMALL_METHOD),
        505,
        "UNEXPECTED_FRAME - expected content header for class 60, got non content header frame instead",
    ),
    (
        "body in place of a header",
        PUBLISH + codec.frame(BODY, 1, b"x"),
        505,
        "UNEXPECTED_FRAME - expected content header for class 60, got non content header frame instead",
    ),
    (
        "header of another class",
        PUBLISH + codec.frame(HEADER, 1, struct.pack(">HHQH", 50, 0, 4, 0)),
        505,
        "UNEXPECTED_FRAME - expected content header for class 60, got one for class 50 instead",
    ),
    (
        "method in place of a body",
        PUBLISH + HEADER_OF[4] + codec.frame(METHOD, 1, SMALL_METHOD),
        505,
        "UNEXPECTED_FRAME - expected content body, got non content body frame instead",
    ),
    (
        "second header in place of a body",
        PUBLISH + HEADER_OF[4] + HEADER_OF[4],
        505,
        "UNEXPECTED_FRAME - expected content body, got non content body frame instead",
    ),
    (
        "empty body frame after the end of a body",
        PUBLISH + HEADER_OF[4] + codec.frame(BODY, 1, b"abcd") + codec.frame(BODY, 1, b""),
        505,
        "UNEXPECTED_FRAME - expected method frame, got non method frame instead",
    ),
    (
        "body of an empty content",
        PUBLISH + HEADER_OF[0] + codec.frame(BODY, 1, b""),
        505,
        "UNEXPECTED_FRAME - expected method frame, got non method frame instead",
    ),
    (
        "method without an id",
        codec.frame(METHOD, 1, b"\0"),
        501,
        "FRAME_ERROR - type 1, all octets = <<0>>: unknown_frame",
    ),
    (
        "empty method",
        codec.frame(METHOD, 1, b""),
        501,
        "FRAME_ERROR - type 1, all octets = <<>>: unknown_frame",
    ),
    (
        "header too short",
        codec.frame(HEADER, 1, b"abc"),
        501,
        'FRAME_ERROR - type 2, all octets = <<"abc">>: unknown_frame',
    ),
    (
        "cut method",
        codec.frame(METHOD, 1, SMALL_METHOD[:-1]),
        501,
        "FRAME_ERROR - cannot decode <<0,0,0,0,0,0>>",
    ),
]

FLOWMQ_FRAMES: list[tuple[str, bytes, int, str]] = [
    (
        "unknown method",
        codec.frame(METHOD, 1, struct.pack(">HH", 60, 999)),
        503,
        "COMMAND_INVALID - unknown method {60,999}",
    ),
    (
        "unknown class",
        codec.frame(METHOD, 1, struct.pack(">HH", 999, 10)),
        503,
        "COMMAND_INVALID - unknown method {999,10}",
    ),
    (
        "body longer than announced",
        PUBLISH + HEADER_OF[4] + codec.frame(BODY, 1, b"abcde"),
        501,
        "FRAME_ERROR - content body frame exceeds remaining content size",
    ),
]


@pytest.mark.parametrize(
    ("data", "code", "text"),
    [pytest.param(*row[1:], id=row[0]) for row in BAD_FRAMES]
    + [pytest.param(*row[1:], id=row[0], marks=pytest.mark.flowmq_only) for row in FLOWMQ_FRAMES],
)
def test_bad_frame(client: Client, channel: Channel, other: Client, data: bytes, code: int, text: str) -> None:
    neighbour = other.channel()
    client.write(data)
    close = client.expect_close(code)
    assert re.sub(r"\n *", "", close.reply_text) == text  # RabbitMQ breaks long lines, which is no part of the meaning
    assert neighbour.queue(exclusive=True)
    other.close()


@pytest.mark.parametrize(
    ("mistake", "code"),
    [
        (codec.frame(7, 1, b"x"), 501),
        (codec.method_frame(9, "basic.qos"), 504),
        (codec.method_frame(1, "basic.qos", prefetch_size=1), 540),
        (codec.frame(HEADER, 1, b""), 501),
    ],
)
def test_nothing_follows_connection_close(
    client: Client, channel: Channel, queue: str, mistake: bytes, code: int
) -> None:
    """Not even the confirms of what was published in the same write, before the mistake."""
    channel.call("confirm.select")
    publish = codec.method_frame(1, "basic.publish", exchange="", routing_key=queue) + channel.content(b"x")
    client.write(publish * 10 + mistake + publish)
    while (method := client.receive()).name != "connection.close":
        assert method.name == "basic.ack", str(method)
    assert method.reply_code == code
    client.socket.shutdown(socket.SHUT_WR)
    assert client.read_until_eof() == b""


def test_connection_with_a_broken_frame_does_not_linger(client: Client) -> None:
    """After it no answer can be made out any more, so waiting long for one is of no use."""
    client.write(codec.frame(7, 1, b"x"))
    client.socket.settimeout(15)
    assert client.expect("connection.close").reply_code == 501
    client.send(0, "connection.close-ok")
    assert client.read_until_eof() == b""


@pytest.mark.parametrize(
    ("method", "fields"),
    [("basic.qos", {}), ("channel.open", {}), ("connection.open", {"virtual_host": "/"}), ("connection.start-ok", {})],
)
def test_what_has_no_place_on_channel_0(client: Client, method: str, fields: dict[str, Any]) -> None:
    client.send(0, method, **fields)
    client.expect_close(504, "CHANNEL_ERROR - unexpected method in connection state running")


def test_bad_frame_split_at_every_octet_is_found_all_the_same(peer: Peer) -> None:
    for at in range(1, 8):
        with connect(peer) as client:
            client.channel()
            bad = codec.frame(7, 1, b"x")
            client.write(bad[:at])
            client.write(bad[at:])
            client.expect_close(501)


@pytest.mark.flowmq_only
@pytest.mark.parametrize("data", [b"\x01\0\0\0\0\0\x05hello\xce", b"\x09" * 100, b"\x01\0\0\xff\xff\xff\xff"])
def test_garbage_before_the_login_ends_the_connection(peer: Peer, other: Client, data: bytes) -> None:
    with Client(peer) as client:
        client.start()
        client.write(data)
        client.socket.shutdown(socket.SHUT_WR)
        rest = client.read_until_eof()
        assert rest == b"" or codec.decode_method(rest[7:-1]).name == "connection.close"
    other.channel()
    other.close()


def test_close_without_close_ok_still_ends(peer: Peer, name: str) -> None:
    """A client that leaves without an answer loses its exclusive queues all the same."""
    with connect(peer) as client:
        channel = client.channel()
        channel.queue(name, exclusive=True)
        channel.send("channel.open")
        assert client.expect("connection.close").reply_code == 504
    with connect(peer) as again:
        again.channel().queue(name, exclusive=True)
        again.close()
