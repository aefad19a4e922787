"""A message comes out as it went in: properties byte for byte, bodies of any size in frames of any size.

What a header may not be ends in a close with the code for it, and costs no memory: neither does a size that is only
announced.
"""

import struct
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowmq._message import live_message_bytes
from tests.support import codec
from tests.support.codec import BODY, HEADER, Typed, frame, method_frame
from tests.unit.support_plane import Client, Plane, publish_frames

MIB = 1048576
TEXT = st.text(max_size=20) | st.just("x" * 255)
NUMBERS = {"b": 8, "s": 16, "I": 32, "l": 64}
SIGNED = [
    st.integers(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1).map(lambda v, k=k: Typed(k, v)) for k, bits in NUMBERS.items()
]
UNSIGNED = [
    st.integers(0, 2**bits - 1).map(lambda v, k=k: Typed(k, v))
    for k, bits in (("B", 8), ("u", 16), ("i", 32), ("T", 64))
]
VALUES = st.recursive(
    st.one_of(*SIGNED, *UNSIGNED, st.none(), st.booleans(), st.floats(), TEXT, st.binary(max_size=40)),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT.map(lambda text: text[:40]), inner, max_size=4),
    max_leaves=12,
)
HEADERS = st.dictionaries(
    TEXT.map(lambda text: text[:40]).filter(lambda key: key not in ("CC", "BCC")), VALUES, max_size=5
)
SCALARS = {"s": TEXT, "t": HEADERS, "o": st.integers(0, 255), "L": st.integers(0, 2**64 - 1)}
ONE_OF_ITS_KIND = {"expiration": st.sampled_from(["0", "1", "60000", "315360000000"]), "user_id": st.just("guest")}
PROPERTIES = st.fixed_dictionaries(
    {}, optional={name: ONE_OF_ITS_KIND.get(name, SCALARS[letter]) for name, letter in codec.PROPERTIES}
).filter(lambda values: all(len(codec.octets(v)) < 256 for v in values.values() if isinstance(v, str)))
EVERY_PROPERTY = {
    **{name: name for name, letter in codec.PROPERTIES if letter == "s"},
    "headers": {"a": 1, "t": {"b": [True, None]}},
    "delivery_mode": 2,
    "priority": 9,
    "timestamp": 1 << 40,
    "expiration": "60000",
    "user_id": "guest",
}
CONTENT_START = struct.pack(">HHQ", 60, 0, 1)


def consuming(plane: Plane, exchange: str = "", frame_max: int = 131072) -> Client:
    client = plane.client(1, frame_max=frame_max)
    client.call(1, "queue.declare", queue="q")
    client.call(1, "basic.consume", queue="q", consumer_tag="c", no_ack=True)
    if exchange:
        client.call(1, "queue.bind", queue="q", exchange=exchange)
    return client


def publish_header(payload: bytes, exchange: str = "") -> bytes:
    """A publish with this content header payload, and one octet of body."""
    method = method_frame(1, "basic.publish", exchange=exchange, routing_key="q")
    return method + frame(HEADER, 1, payload) + frame(BODY, 1, b"x")


# --------------------------------------------------------------------------------------------------------- properties


@settings(max_examples=150, deadline=None)
@given(properties=PROPERTIES, exchange=st.sampled_from(["", "amq.headers"]))
def test_any_properties_come_out_byte_for_byte(properties: dict[str, Any], exchange: str) -> None:
    header = CONTENT_START + codec.encode_properties(properties)
    with Plane() as plane:
        client = consuming(plane, exchange)
        client.feed(publish_header(header, exchange) + method_frame(1, "basic.get", queue="q"))
        delivery, empty = client.received()
        assert (delivery.name, delivery.header, delivery.body) == ("basic.deliver", header, b"x")
        assert (delivery.exchange, delivery.routing_key, empty.name) == (exchange, "q", "basic.get-empty")


@settings(max_examples=150, deadline=None)
@given(table=st.binary(max_size=60) | HEADERS.map(lambda fields: codec.table_fields(fields)[:-1]))
def test_a_headers_table_is_not_looked_into_without_need(table: bytes) -> None:
    """Octets that are no table at all pass too, as long as their length is right."""
    header = CONTENT_START + codec.encode_properties({"headers": table, "priority": 5})
    with Plane() as plane:
        client = consuming(plane)
        client.feed(publish_header(header))
        (method,) = client.received()
        if method.name == "channel.close":
            assert (method.reply_code, b"CC" in table) == (406, True)
        else:
            assert (method.name, method.header) == ("basic.deliver", header)


@settings(max_examples=150, deadline=None)
@given(table=st.binary(max_size=60) | HEADERS.map(lambda fields: codec.table_fields({**fields, "z": 1})[:-1]))
def test_where_headers_decide_a_broken_table_matches_nothing_wrong(table: bytes) -> None:
    """Routing by headers must get through any octets, also when the queue wants a header that is not there."""
    header = CONTENT_START + codec.encode_properties({"headers": table})
    with Plane() as plane:
        client = consuming(plane)
        arguments = {"x-match": "all", "no such name in any table": "at all"}
        client.call(1, "queue.bind", queue="q", exchange="amq.headers", arguments=arguments)
        client.feed(publish_header(header, "amq.headers"))
        methods = client.received()
        assert [(method.name, method.reply_code, b"CC" in table) for method in methods] in (
            [],
            [("channel.close", 406, True)],
        )


@pytest.mark.parametrize("headers", [{"CC": ["other"]}, {"BCC": ["other"], "n": 1}, {"CC": [], "BCC": []}])
def test_only_bcc_is_taken_out_of_the_headers(headers: dict[str, Any]) -> None:
    with Plane() as plane:
        client = consuming(plane)
        client.call(1, "queue.declare", queue="other")
        properties = {**EVERY_PROPERTY, "headers": headers}
        client.publish(1, "q", b"body", **properties)
        (delivery,) = client.received()
        kept = {name: value for name, value in headers.items() if name != "BCC"}
        assert delivery.header[12:] == codec.encode_properties({**properties, "headers": kept})
        assert plane.queue("other").message_count == ("other" in headers.get("CC", []) + headers.get("BCC", []))


def judge_malformed(octets: bytes) -> None:
    with Plane() as plane:
        client = consuming(plane)
        client.feed(octets)
        (close,) = client.received()
        assert (close.name, close.reply_code in (501, 502)) == ("connection.close", True), str(close)
        assert plane.live() == 0


def test_a_header_that_ends_too_early_is_an_error_wherever_it_ends() -> None:
    whole = CONTENT_START + codec.encode_properties(EVERY_PROPERTY)
    for end in range(len(whole)):
        judge_malformed(publish_header(whole[:end]))


@pytest.mark.parametrize("name", [name for name, _ in codec.PROPERTIES])
def test_each_property_may_not_end_early_nor_be_followed_by_more(name: str) -> None:
    whole = CONTENT_START + codec.encode_properties({name: EVERY_PROPERTY[name]})
    for octets in [*(whole[:end] for end in range(14, len(whole))), whole + b"\0", whole + b"more"]:
        judge_malformed(publish_header(octets))


@pytest.mark.parametrize("size", [2**31, 2**32 - 1, 2**32 - 5, 100])
def test_a_headers_table_may_not_be_longer_than_its_frame(size: int) -> None:
    octets = CONTENT_START + struct.pack(">HI", 1 << 13, size) + codec.table_fields({"a": 1})
    judge_malformed(publish_header(octets))


# ------------------------------------------------------------------------------------------------------------ bodies


def edges() -> list[int]:
    """Sizes around those of the blocks that messages live in, around frames, and around what a size alone reserves."""
    around = [
        at for block in (128, 192, 256, 384, 512, 768, 1024, 1536, 2048, 4096) for at in range(block - 130, block, 13)
    ]
    frames = [at + by for at in (4088, 2 * 4088, 131064) for by in (-1, 0, 1)]
    return sorted({0, 1, *(size for size in around if size > 0), *frames, MIB - 1, MIB, MIB + 1, 3 * MIB})


@pytest.mark.parametrize("frame_maxes", [(131072, 4096), (4096, 131072), (4096, 4096), (8192, 4097)])
def test_bodies_of_any_size_through_frames_of_any_size(frame_maxes: tuple[int, int]) -> None:
    before = live_message_bytes()
    with Plane() as plane:
        publisher = plane.client(1, frame_max=frame_maxes[0])
        consumer = consuming(plane, frame_max=frame_maxes[1])
        for size in edges():
            body = (b"%08d" % size) * (size // 8 + 1)
            octets = publish_frames(1, "q", body[:size], {"priority": 1}, frame_max=frame_maxes[0])
            publisher.feed(octets)
            written = consumer.take()
            assert written.endswith(octets_of_content(body[:size], frame_maxes[1])), size
            assert written.count(b"\x00\x3c\x00\x3c\x01c") == 1
    assert live_message_bytes() == before


def octets_of_content(body: bytes, frame_max: int) -> bytes:
    return codec.content_frames(1, body, {"priority": 1}, frame_max)


@pytest.mark.parametrize("channels", [(1, 1), (1, 65535), (300, 2)])
def test_a_message_goes_to_channels_of_other_numbers(channels: tuple[int, int]) -> None:
    """Every frame of a delivery carries the receiver's channel number, again and again from the same message."""
    with Plane() as plane:
        receivers = [plane.client(number) for number in channels]
        for client, number in zip(receivers, channels, strict=True):
            client.session.channel_max = 65535
            client.call(number, "queue.declare", queue=f"q{id(client)}")
            client.call(number, "queue.bind", queue=f"q{id(client)}", exchange="amq.fanout")
            client.call(number, "basic.consume", queue=f"q{id(client)}", consumer_tag="c")
        publisher = plane.client(7)
        publisher.publish(7, "key", b"body", exchange="amq.fanout", priority=3)
        assert plane.live() == 1
        for client, number in zip(receivers, channels, strict=True):
            (delivery,) = client.received()
            assert (delivery.channel, delivery.body, delivery.properties) == (number, b"body", {"priority": 3})
            client.send(number, "basic.ack", delivery_tag=1)
        assert plane.live() == 0


# ------------------------------------------------------------------------------------------------------- what it costs


def test_a_size_that_is_only_announced_costs_little() -> None:
    before = live_message_bytes()
    with Plane() as plane:
        clients = [plane.client(1) for _ in range(20)]
        for client in clients:
            client.feed(publish_header(struct.pack(">HHQH", 60, 0, 128 * MIB, 0))[:-1])
        assert plane.live() == 20
        assert live_message_bytes() - before < 20 * (MIB + 1024)
    assert live_message_bytes() == before


def test_a_message_larger_than_allowed_is_refused_before_it_comes() -> None:
    with Plane(message_bytes_max=1000) as plane:
        client = consuming(plane)
        client.publish(1, "q", b"x" * 1000)
        assert [method.name for method in client.received()] == ["basic.deliver"]
        client.publish(1, "q", b"x" * 1001)
        (close,) = client.received()
        assert (close.name, close.reply_code) == ("channel.close", 406)
        assert close.reply_text == "PRECONDITION_FAILED - message size 1001 is larger than configured max size 1000"


def test_memory_is_given_back_to_the_octet_whatever_the_sizes_were() -> None:
    with Plane() as plane:
        client = plane.client(1)
        client.call(1, "queue.declare", queue="q")
        sizes = edges()

        def fill() -> None:
            for size in sizes:
                client.publish(1, "q", b"x" * size)

        fill()
        client.call(1, "queue.purge", queue="q")
        before = live_message_bytes()  # with the place for so many messages, which the queue keeps
        fill()
        held = live_message_bytes() - before
        assert sum(sizes) < held < 2 * sum(sizes)
        assert plane.queue("q").ready_bytes == sum(sizes)
        assert client.call(1, "queue.purge", queue="q").message_count == len(sizes)
        assert (plane.queue("q").ready_bytes, live_message_bytes()) == (0, before)


def test_the_places_of_many_messages_count_and_are_given_back() -> None:
    """A queue's ring has 32 octets for each, the window of what is not acknowledged 56."""
    with Plane() as plane:
        client = plane.client(1)
        client.call(1, "queue.declare", queue="q")
        before = live_message_bytes()
        count = 20_000
        for _ in range(count):
            client.publish(1, "q", b"x")
        waiting = live_message_bytes() - before
        assert waiting > count * (128 + 32)
        client.send(1, "basic.consume", queue="q")
        client.take()
        delivered = live_message_bytes() - before
        assert delivered > count * (128 + 56)
        client.send(1, "basic.ack", delivery_tag=0, multiple=True)
        assert live_message_bytes() - before < 4096
