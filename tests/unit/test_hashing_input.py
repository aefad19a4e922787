"""What x-consistent-hash hashes: the routing key, a header, a property."""

from typing import Any

import pytest

from flowmq._router import Exchange
from tests.support.codec import Typed, table_fields
from tests.unit.test_hashing import CONSISTENT, bound

SHARDS = {f"shard-{number}": 1 for number in range(64)}


def choice(exchange: Exchange, key: bytes, headers: dict[str, Any] | None = None, **rest: Any) -> bytes:
    [queue] = exchange.routes(key, None if headers is None else table_fields(headers), **rest)
    return queue.name


def test_the_routing_key_alone_decides_and_answers_are_kept() -> None:
    exchange = bound(CONSISTENT, SHARDS)
    assert not exchange.by_message
    assert {choice(exchange, b"k", {"n": n}, other_keys=[b"%d" % n]) for n in range(50)} == {choice(exchange, b"k")}


def test_a_header_decides() -> None:
    exchange = bound(CONSISTENT, SHARDS, hash_header="customer")
    by_key = bound(CONSISTENT, SHARDS)
    assert exchange.by_message
    for value in ("", "a", "Jörg", "c" * 300):
        for key in (b"k", b"other"):
            headers = {"first": [1, {"x": None}], "customer": value, "last": 1}
            assert choice(exchange, key, headers) == choice(by_key, value.encode())
    absent = choice(exchange, b"k")
    assert {choice(exchange, b"a", {"other": n}) for n in range(50)} == {absent}
    assert choice(exchange, b"a", {"customer": None}) != absent


@pytest.mark.parametrize("type_", [CONSISTENT])
def test_equal_values_of_a_header_go_the_same_way(type_: str) -> None:
    exchange = bound(type_, SHARDS, hash_header="h")
    for equal in (
        [Typed(letter, 5) for letter in "bBsuIilT"],
        [Typed(letter, -5) for letter in "bsIl"],
        [Typed("S", "text"), Typed("x", b"text")],
    ):
        assert len({choice(exchange, b"", {"h": value}) for value in equal}) == 1
    values = [*range(-50, 50), True, False, None, 0.5, [1], [2], {"a": 1}, {"a": 2}, *map(str, range(100))]
    assert len({choice(exchange, b"", {"h": value}) for value in values}) > 60


def test_a_malformed_table_has_no_header() -> None:
    exchange = bound(CONSISTENT, SHARDS, hash_header="h")
    [queue] = exchange.routes(b"", table_fields({"h": "value"}) + b"\x01a")
    assert queue.name == choice(exchange, b"")
    first = table_fields({"h": "value"})
    [queue] = exchange.routes(b"", first + table_fields({"h": "other"}))
    assert queue.name == choice(exchange, b"", {"h": "value"})


ALL_FLAGS = 0xFFFC
PROPERTY_OCTETS = {
    0x8000: b"\x04text",
    0x4000: b"\x00",
    0x2000: b"\x00\x00\x00\x04" + table_fields({"t": True}),
    0x1000: b"\x02",
    0x0800: b"\x09",
    0x0400: b"\x0bcorrelation",
    0x0200: b"\x05reply",
    0x0100: b"\x0210",
    0x0080: b"\x07message",
    0x0040: bytes(range(8)),
    0x0020: b"\x04type",
    0x0010: b"\x00",
    0x0008: b"\x03app",
    0x0004: b"\x00",
}
HASHED = {
    "correlation_id": (0x0400, b"correlation"),
    "message_id": (0x0080, b"message"),
    "timestamp": (0x0040, bytes(range(8))),
}


@pytest.mark.parametrize("name", HASHED)
def test_a_property_decides_whatever_stands_before_it(name: str) -> None:
    exchange, by_key = bound(CONSISTENT, SHARDS, hash_property=name), bound(CONSISTENT, SHARDS)
    flag, value = HASHED[name]
    assert exchange.by_message
    for missing in (0, *PROPERTY_OCTETS):
        flags = ALL_FLAGS & ~missing
        octets = b"".join(part for at, part in PROPERTY_OCTETS.items() if flags & at)
        found = choice(exchange, b"k", properties=flags.to_bytes(2, "big") + octets)
        assert found == choice(by_key, b"" if missing == flag else value), hex(missing)
    assert choice(exchange, b"k") == choice(by_key, b"")


def test_malformed_properties_are_no_message() -> None:
    with pytest.raises(ValueError, match="malformed"):
        bound(CONSISTENT, SHARDS).routes(b"", properties=b"\x80\x00\x05x")
