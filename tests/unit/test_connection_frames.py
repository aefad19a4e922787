"""The same octets in other pieces are the same session: whole, byte by byte, and cut in two at every point.

Confirms alone may come in other words: how many publishes one ack covers depends on what was read together. Names and
tags that the broker would invent do not occur.
"""

import random
import struct
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support import codec
from tests.support.codec import BODY, HEADER, HEARTBEAT, METHOD, frame, method_frame
from tests.unit.support_plane import Client, Plane, confirmed, decode, frames, handshake_octets, publish_frames

ACK, NACK = "basic.ack", "basic.nack"
DECLARE = method_frame(1, "queue.declare", queue="q")
CONSUME = method_frame(1, "basic.consume", queue="q", consumer_tag="c")
NO_ACK_CONSUME = method_frame(1, "basic.consume", queue="q", consumer_tag="c", no_ack=True)
GOODBYE = method_frame(0, "connection.close", reply_code=200, reply_text="bye")


class Scenario(NamedTuple):
    """What is sent on a connection with channels 1 and 2 open, and the names of what comes back (confirms aside)."""

    octets: bytes
    expected: str


def settle(kind: str, tag: int, **bits: bool) -> bytes:
    return method_frame(1, kind, delivery_tag=tag, **bits)


def cut_content(body: bytes, *sizes: int, number: int = 1) -> bytes:
    """A content whose body frames have these sizes, empty ones included."""
    parts, at = [frame(HEADER, number, struct.pack(">HHQH", 60, 0, len(body), 0))], 0
    for size in sizes:
        parts.append(frame(BODY, number, body[at : at + size]))
        at += size
    assert at == len(body)
    return b"".join(parts)


def publish_cut(body: bytes, *sizes: int, number: int = 1) -> bytes:
    return method_frame(number, "basic.publish", routing_key="q") + cut_content(body, *sizes, number=number)


def publishes(*sizes: int, number: int = 1, **properties: Any) -> bytes:
    return b"".join(publish_frames(number, "q", bytes([65 + size % 26]) * size, properties) for size in sizes)


def taking_turns() -> bytes:
    """A publish on each of two channels, frame by frame in turn."""
    pieces = [
        (method_frame(number, "basic.publish", routing_key="q"), content[:22], content[22:])
        for number in (1, 2)
        for content in [cut_content(b"to be cut" * number, 9 * number, number=number)]
    ]
    return b"".join(piece for pair in zip(*pieces, strict=True) for piece in pair)


SCENARIOS = {
    "declare and delete": Scenario(
        method_frame(1, "exchange.declare", exchange="e", type="topic")
        + DECLARE
        + method_frame(1, "queue.bind", queue="q", exchange="e", routing_key="a.*")
        + method_frame(2, "queue.declare", queue="q", passive=True)
        + method_frame(1, "queue.purge", queue="q")
        + method_frame(1, "queue.delete", queue="q")
        + method_frame(1, "exchange.delete", exchange="e"),
        "exchange.declare-ok queue.declare-ok queue.bind-ok queue.declare-ok queue.purge-ok queue.delete-ok "
        "exchange.delete-ok",
    ),
    "sizes to a consumer": Scenario(
        DECLARE + NO_ACK_CONSUME + publishes(0, 1, 2, 30, 255) + publishes(3, priority=7, content_type="text/plain"),
        "queue.declare-ok basic.consume-ok" + " basic.deliver" * 6,
    ),
    "bodies cut oddly": Scenario(
        DECLARE
        + NO_ACK_CONSUME
        + publish_cut(b"one", 3)
        + publish_cut(b"one by one", *[1] * 10)
        + publish_cut(b"with nothing", 0, 5, 0, 0, 6, 1)
        + publish_cut(b"seven and the rest", 7, 11, 0)
        + publish_cut(b""),
        # An empty body frame behind the whole body belongs to nothing.
        "queue.declare-ok basic.consume-ok" + " basic.deliver" * 4 + " connection.close",
    ),
    "acks": Scenario(
        DECLARE
        + method_frame(1, "basic.qos", prefetch_count=2)
        + CONSUME
        + publishes(1, 2, 3, 4, 5)
        + settle(ACK, 2)
        + settle(ACK, 3, multiple=True)
        + settle(ACK, 0, multiple=True),
        "queue.declare-ok basic.qos-ok basic.consume-ok" + " basic.deliver" * 5,
    ),
    "nacks": Scenario(
        DECLARE
        + method_frame(1, "basic.qos", prefetch_count=3)
        + CONSUME
        + publishes(1, 2, 3, 4)
        + settle(NACK, 2, requeue=True)
        + settle("basic.reject", 1, requeue=True)
        + settle(NACK, 5, multiple=True, requeue=True)
        + settle("basic.reject", 6)
        + settle(NACK, 0, multiple=True)
        + method_frame(1, "basic.cancel", consumer_tag="c"),
        "queue.declare-ok basic.qos-ok basic.consume-ok" + " basic.deliver" * 9 + " basic.cancel-ok",
    ),
    "get": Scenario(
        DECLARE
        + publishes(9, 0)
        + method_frame(1, "basic.get", queue="q")
        + method_frame(1, "basic.get", queue="q", no_ack=True)
        + method_frame(1, "basic.get", queue="q")
        + method_frame(1, "basic.recover", requeue=True)
        + method_frame(1, "basic.get", queue="q"),
        "queue.declare-ok basic.get-ok basic.get-ok basic.get-empty basic.recover-ok basic.get-ok",
    ),
    "confirms": Scenario(
        DECLARE
        + method_frame(1, "confirm.select")
        + NO_ACK_CONSUME
        + publishes(1, 0, 5)
        + publish_frames(1, "nowhere", b"back", mandatory=True)
        + publishes(2),
        "queue.declare-ok confirm.select-ok basic.consume-ok basic.deliver basic.deliver basic.deliver basic.return "
        "basic.deliver",
    ),
    "tx": Scenario(
        DECLARE
        + method_frame(1, "tx.select")
        + publishes(3, 4)
        + method_frame(1, "tx.commit")
        + CONSUME
        + settle(ACK, 1)
        + publishes(5)
        + method_frame(1, "tx.rollback")
        + settle(ACK, 1)
        + publish_frames(1, "nowhere", b"back", mandatory=True)
        + method_frame(1, "tx.commit"),
        "queue.declare-ok tx.select-ok tx.commit-ok basic.consume-ok basic.deliver basic.deliver tx.rollback-ok "
        "basic.return tx.commit-ok",
    ),
    "channels take turns": Scenario(
        DECLARE + NO_ACK_CONSUME + frame(HEARTBEAT, 0, b"") + taking_turns(),
        "queue.declare-ok basic.consume-ok basic.deliver basic.deliver",
    ),
    "a channel fails and another goes on": Scenario(
        DECLARE
        + NO_ACK_CONSUME
        + method_frame(2, "basic.publish", exchange="nonesuch")
        + cut_content(b"never taken", 5, 6, number=2)
        + publishes(2)
        + method_frame(2, "channel.close-ok")
        + method_frame(2, "channel.open")
        + publishes(3, number=2)
        + settle(ACK, 77),
        "queue.declare-ok basic.consume-ok channel.close basic.deliver channel.open-ok basic.deliver channel.close",
    ),
    "goodbye": Scenario(DECLARE + publishes(2) + GOODBYE + DECLARE, "queue.declare-ok connection.close-ok"),
    "a wrong end": Scenario(
        DECLARE + frame(METHOD, 1, b"\0\x32\0\x0a", end=0xCD) + DECLARE, "queue.declare-ok connection.close"
    ),
    "a wrong end of a body": Scenario(
        DECLARE + NO_ACK_CONSUME + publish_cut(b"body", 4)[:-1] + b"\xcd" + DECLARE,
        "queue.declare-ok basic.consume-ok connection.close",
    ),
    "a frame too large": Scenario(
        DECLARE + struct.pack(">BHI", METHOD, 1, 1 << 20) + b"x" * 20, "queue.declare-ok connection.close"
    ),
    "a frame of no known type": Scenario(DECLARE + frame(5, 1, b"what") + DECLARE, "queue.declare-ok connection.close"),
    "no such channel": Scenario(method_frame(9, "basic.publish") + DECLARE, "connection.close"),
    "content without a publish": Scenario(cut_content(b"x", 1) + DECLARE, "connection.close"),
    "a body too long": Scenario(
        DECLARE + NO_ACK_CONSUME + publish_cut(b"x", 1)[:-9] + frame(BODY, 1, b"xy"),
        "queue.declare-ok basic.consume-ok connection.close",
    ),
    "a method within a content": Scenario(
        DECLARE + method_frame(1, "basic.publish", routing_key="q") + method_frame(1, "basic.get", queue="q") + DECLARE,
        "queue.declare-ok connection.close",
    ),
}


def answers(pieces: list[bytes]) -> tuple[bytes, list[int], bool]:
    """What a connection answers to these reads: without confirms, the confirms, and whether it was closed."""
    with Plane() as plane:
        client = plane.client(1, 2)
        for piece in pieces:
            client.feed(piece)
        return (*without_confirms(client.take()), client.transport.closed)


def without_confirms(octets: bytes) -> tuple[bytes, list[int]]:
    acks, others = [], []
    for kind, number, payload in frames(octets):
        is_ack = kind == METHOD and payload.startswith(b"\0\x3c\0\x50")
        (acks if is_ack else others).append(frame(kind, number, without_excerpt(payload)))
    return b"".join(others), confirmed(decode(b"".join(acks)))


def without_excerpt(payload: bytes) -> bytes:
    """Of a body frame with a wrong end the error shows what was read last."""
    is_wrong_end = b"FRAME_ERROR - type 3" in payload and b"invalid_frame_end_marker" in payload
    return payload[:4] + payload[-26:] if is_wrong_end else payload


def names(octets: bytes) -> list[str]:
    methods = (payload[:4] for kind, _, payload in frames(octets) if kind == METHOD)
    return [codec.BY_ID[struct.unpack(">HH", method)].name for method in methods]


@pytest.mark.parametrize("name", SCENARIOS)
def test_however_it_is_cut_the_answer_is_the_same(name: str) -> None:
    scenario = SCENARIOS[name]
    octets = scenario.octets
    whole = answers([octets])
    assert names(whole[0]) == scenario.expected.split()
    assert whole[1] == ([1, 2, 3, 4, 5] if name == "confirms" else [])
    assert answers([octets[at : at + 1] for at in range(len(octets))]) == whole
    for cut in range(1, len(octets)):
        assert answers([octets[:cut], octets[cut:]]) == whole, f"cut at {cut}: {octets[:cut]!r}"


@pytest.mark.parametrize("name", SCENARIOS)
def test_in_pieces_of_any_size_the_answer_is_the_same(name: str) -> None:
    octets = SCENARIOS[name].octets
    whole = answers([octets])
    choose = random.Random(name)
    for largest in (2, 5, 9, 30, 100):
        pieces, at = [], 0
        while at < len(octets):
            size = choose.randint(1, largest)
            pieces.append(octets[at : at + size])
            at += size
        assert answers(pieces) == whole, [len(piece) for piece in pieces]


def handshake(pieces: list[bytes]) -> bytes:
    with Plane() as plane:
        client = plane.connect()
        for piece in pieces:
            client.feed(piece)
        return client.take()


def test_a_handshake_may_be_cut_anywhere() -> None:
    octets = handshake_octets() + method_frame(1, "channel.open")
    whole = handshake([octets])
    assert names(whole) == ["connection.start", "connection.tune", "connection.open-ok", "channel.open-ok"]
    assert handshake([octets[at : at + 1] for at in range(len(octets))]) == whole
    for cut in range(1, len(octets)):
        assert handshake([octets[:cut], octets[cut:]]) == whole


@pytest.mark.parametrize("header", [b"AMQP\x00\x00\x0a\x00", b"GET / HT", b"\x16\x03\x01\x02\x00\x01\x00\x01"])
def test_a_wrong_protocol_header_is_answered_with_the_right_one_however_it_is_cut(header: bytes) -> None:
    octets = header + b"TP/1.1\r\n\r\n"
    for pieces in ([octets], [octets[at : at + 1] for at in range(len(octets))], [octets[:3], octets[3:]]):
        assert handshake(pieces) == codec.PROTOCOL_HEADER


# ------------------------------------------------------------------------------------------------- sizes of frames


def test_frames_may_be_as_large_as_agreed_and_eight_octets_more() -> None:
    with Plane() as plane:
        client = plane.client(1, frame_max=4096)
        client.call(1, "queue.declare", queue="q")
        publish = method_frame(1, "basic.publish", routing_key="q")
        client.feed(publish + cut_content(b"x" * 4096, 4096))
        assert client.received() == []
        client.feed(publish + cut_content(b"x" * 4097, 4097))
        assert [(method.name, method.reply_code) for method in client.received()] == [("connection.close", 501)]


@pytest.mark.parametrize("kind", [METHOD, HEADER, BODY, HEARTBEAT])
@pytest.mark.parametrize("while_opening", [False, True])
def test_only_a_body_frame_may_be_larger_than_what_is_kept_aside(kind: int, while_opening: bool) -> None:
    """However large frames may be: there is one place for an unfinished frame, and only bodies do not need it."""
    frame_max, size = 1048576, 300_000
    handshake = handshake_octets(frame_max)
    publish = method_frame(1, "basic.publish") + frame(HEADER, 1, struct.pack(">HHQH", 60, 0, size, 0))
    with Plane(frame_max=frame_max) as plane:
        client = plane.connect(frame_max)
        if while_opening:
            client.feed(handshake.removesuffix(method_frame(0, "connection.open", virtual_host="/")))
        else:
            client.feed(handshake + method_frame(1, "channel.open") + publish)
        client.take()
        client.feed(struct.pack(">BHI", kind, 1, size) + b"y")
        if kind == BODY and not while_opening:
            assert client.received() == []
        else:
            assert [(method.name, method.reply_code) for method in client.received()] == [("connection.close", 501)]


# ---------------------------------------------------------------------------------------------------- broken octets


def judge(client: Client) -> None:
    """Whatever was sent: the connection still answers, waits for more, or says why it closes and then nothing else.

    Only a client that closes at the same time is still answered.
    """
    methods = client.received()
    ends = [method.name for method in methods if method.name in ("connection.close", "connection.close-ok")]
    assert ends == [method.name for method in methods[len(methods) - len(ends) :]]
    assert ends in ([], ["connection.close"], ["connection.close-ok"], ["connection.close", "connection.close-ok"])
    assert bool(ends) == client.connection.closing
    assert all(method.reply_code != 541 for method in methods if method.name.endswith(".close")), "an internal error"


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_a_broken_session_ends_in_order_and_harms_no_neighbour(data: st.DataObject) -> None:
    octets = bytearray(data.draw(st.sampled_from([scenario.octets for scenario in SCENARIOS.values()])))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(octets) - 1))
        octets[at] = data.draw(st.integers(0, 255))
    with Plane() as plane:
        neighbour, client = plane.client(1), plane.client(1, 2)
        neighbour.call(1, "queue.declare", queue="neighbour")
        neighbour.call(1, "basic.consume", queue="neighbour", consumer_tag="n", no_ack=True)
        client.feed(bytes(octets))
        judge(client)
        client.lose()
        neighbour.publish(1, "neighbour", b"still here")
        assert [method.body for method in neighbour.received()] == [b"still here"]


ONE_AFTER_ANOTHER = publishes(1, 2, 30) + publishes(4, reply_to="r", headers={"a": 1}) + publishes(5, expiration="9")
ONE_AFTER_ANOTHER += publish_frames(1, "nowhere", b"back", mandatory=True) + publishes(2, priority=3) + publishes(0, 1)


def without_reasons(octets: bytes) -> list[tuple[int, int, bytes]]:
    """Which of two things that are wrong with a body frame ends a connection depends on whether its end is there."""
    close = b"\0\x0a\0\x32"
    return [(kind, number, close if payload.startswith(close) else payload) for kind, number, payload in frames(octets)]


@settings(max_examples=400, deadline=None)
@given(data=st.data())
def test_broken_publishes_are_refused_alike_whole_and_octet_by_octet(data: st.DataObject) -> None:
    """What has come as a whole is not dealt with frame by frame; what is wrong with it is found in the same order."""
    octets = bytearray(ONE_AFTER_ANOTHER)
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(octets) - 1))
        octets[at] = data.draw(st.one_of(st.sampled_from([0, 1, 2, 3, 8, 0xCE, 255]), st.integers(0, 255)))
    sent = DECLARE + NO_ACK_CONSUME + bytes(octets)
    whole, _, whole_closed = answers([sent])
    cut, _, cut_closed = answers([sent[at : at + 1] for at in range(len(sent))])
    assert without_reasons(cut) == without_reasons(whole)
    assert cut_closed == whole_closed
