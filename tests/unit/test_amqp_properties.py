"""Properties and content headers, judged by the tests' own encoder."""

import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowmq.amqp import constants
from flowmq.amqp.errors import AMQPError, FrameError, MalformedSyntax, UnexpectedFrame
from flowmq.amqp.properties import (
    BasicProperties,
    ContentHeader,
    decode_content_header,
    decode_properties,
)
from flowmq.amqp.tables import Timestamp
from tests.support import codec

TEXT = st.binary(max_size=255).map(lambda octets: octets.decode("utf-8", "surrogateescape"))
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "o": st.integers(0, 255),
    "L": st.integers(0, 2**64 - 1),
    "s": TEXT,
    "t": st.dictionaries(TEXT, st.one_of(st.integers(-(2**31), 2**31 - 1).map(lambda n: codec.Typed("l", n)), TEXT)),
}
SOME = st.fixed_dictionaries({}, optional={name: VALUES[letter] for name, letter in codec.PROPERTIES})
SAMPLES = {"o": 2, "L": 1_700_000_000, "s": "text", "t": {"a": 1}}
ALL = {name: SAMPLES[letter] for name, letter in codec.PROPERTIES}


@given(SOME)
def test_there_and_back_octet_for_octet(values: dict[str, Any]) -> None:
    octets = codec.encode_properties(values)
    properties = decode_properties(octets)
    assert {name for name, _ in codec.PROPERTIES if getattr(properties, name) is not None} == set(values)
    assert codec.decode_properties(properties.encode()) == codec.decode_properties(octets)
    assert properties.encode() == octets


@pytest.mark.parametrize("name", ALL)
def test_each_property_alone(name: str) -> None:
    octets = codec.encode_properties({name: ALL[name]})
    assert octets[:2] == struct.pack(">H", getattr(constants, f"FLAG_{name.upper()}"))
    assert decode_properties(octets) == BasicProperties(**{name: ALL[name]})


def test_a_timestamp_stays_one() -> None:
    properties = decode_properties(codec.encode_properties({"timestamp": 5}))
    assert isinstance(properties.timestamp, Timestamp)


def test_an_empty_value_is_not_a_missing_one() -> None:
    octets = codec.encode_properties({"headers": {}, "content_type": "", "priority": 0})
    properties = decode_properties(octets)
    assert (properties.headers, properties.content_type, properties.priority) == ({}, "", 0)
    assert properties.encode() == octets


def test_cut_off_anywhere_it_is_a_syntax_error() -> None:
    octets = codec.encode_properties(ALL)
    for end in range(len(octets)):
        with pytest.raises(MalformedSyntax, match="end within a value"):
            decode_properties(octets[:end])


def test_octets_behind_the_properties_are_a_syntax_error() -> None:
    with pytest.raises(MalformedSyntax, match="2 octets are left over"):
        decode_properties(codec.encode_properties(ALL) + b"ab")


@pytest.mark.parametrize("flags", [1, 2, 0x8001])
def test_flags_of_no_property_are_a_syntax_error(flags: int) -> None:
    with pytest.raises(MalformedSyntax, match=f"{flags:#06x}"):
        decode_properties(struct.pack(">H", flags) + b"\0\0\0")


@given(SOME, st.integers(0, 2**64 - 1))
def test_content_header_there_and_back(values: dict[str, Any], body_bytes: int) -> None:
    payload = struct.pack(">HHQ", 60, 0, body_bytes) + codec.encode_properties(values)
    header = decode_content_header(payload)
    assert header == ContentHeader(body_bytes, decode_properties(payload[12:]))
    assert header.encode() == payload


@pytest.mark.parametrize(
    ("payload", "error"),
    [
        (struct.pack(">HHQH", 50, 0, 1, 0), UnexpectedFrame),
        (struct.pack(">HHQH", 60, 1, 1, 0), FrameError),
        (struct.pack(">HHQ", 60, 0, 1), MalformedSyntax),
        (struct.pack(">HHI", 60, 0, 1), FrameError),
        (b"", FrameError),
    ],
)
def test_wrong_content_headers(payload: bytes, error: type[AMQPError]) -> None:
    with pytest.raises(error):
        decode_content_header(payload)


@given(st.binary(max_size=60))
def test_any_octets_are_properties_or_a_syntax_error(octets: bytes) -> None:
    try:
        properties = decode_properties(octets)
    except MalformedSyntax:
        return
    written = properties.encode()
    assert decode_properties(written).encode() == written
