"""PROXY protocol headers, octet by octet: whom they name, what is refused, and that nothing behind them is read."""

import asyncio
import ipaddress
import socket
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowmq.server.proxy_protocol import SIGNATURE, Addresses, Trusted, WrongHeader, read_header

BEHIND = b"\x16\x03\x01 what follows"


class CutShort(Exception):
    pass


def read(octets: bytes) -> tuple[Addresses | None, bytes]:
    """What the header says, and what is left behind it."""
    rest = octets

    async def read_exactly(count: int) -> bytes:
        nonlocal rest
        if len(rest) < count:
            raise CutShort
        taken, rest = rest[:count], rest[count:]
        return taken

    return asyncio.run(read_header(read_exactly)), rest


def binary(command: int, family: int, addresses: bytes, announced: int | None = None) -> bytes:
    length = len(addresses) if announced is None else announced
    return SIGNATURE + struct.pack(">BBH", command, family, length) + addresses


V4 = ipaddress.ip_address("192.0.2.1").packed + ipaddress.ip_address("198.51.100.2").packed + struct.pack(">HH", 1, 2)
V6 = ipaddress.ip_address("2001:db8::1").packed + ipaddress.ip_address("2001:db8::2").packed + struct.pack(">HH", 3, 4)
FROM_V4 = Addresses(("192.0.2.1", 1), ("198.51.100.2", 2))
FROM_V6 = Addresses(("2001:db8::1", 3), ("2001:db8::2", 4))

UNDERSTOOD = [
    (b"PROXY TCP4 192.0.2.1 198.51.100.2 1 2\r\n", FROM_V4),
    (b"PROXY TCP6 2001:db8::1 2001:db8::2 3 4\r\n", FROM_V6),
    (b"PROXY UNKNOWN\r\n", None),
    (b"PROXY UNKNOWN ffff:f...f:ffff whatever 65535 65535\r\n", None),
    (binary(0x21, 0x11, V4), FROM_V4),
    (binary(0x21, 0x21, V6), FROM_V6),
    (binary(0x21, 0x11, V4 + b"\x03\x00\x04\x01\x02\x03\x04"), FROM_V4),  # with a further field
    (binary(0x21, 0x00, b""), None),
    (binary(0x21, 0x31, b"p" * 216), None),
    (binary(0x20, 0x00, b""), None),
    (binary(0x20, 0x11, V4), None),  # LOCAL: what stands there means nothing
]
REFUSED = [
    (b"AMQP\0\0\x09\x01 and more", "no PROXY protocol header"),
    (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\x00", "no PROXY protocol header"),
    (b"PROXY TCP4 192.0.2.1 198.51.100.2 1\r\n", "is not PROXY TCP4"),
    (b"PROXY TCP4  192.0.2.1 198.51.100.2 1 2\r\n", "is not PROXY TCP4"),
    (b"PROXY UDP4 192.0.2.1 198.51.100.2 1 2\r\n", "is not PROXY TCP4"),
    (b"PROXY TCP4 192.0.2.256 198.51.100.2 1 2\r\n", "192.0.2.256"),
    (b"PROXY TCP4 2001:db8::1 2001:db8::2 1 2\r\n", "do not fit"),
    (b"PROXY TCP6 192.0.2.1 198.51.100.2 1 2\r\n", "do not fit"),
    (b"PROXY TCP4 192.0.2.1 198.51.100.2 1 65536\r\n", "do not fit"),
    (b"PROXY TCP4 192.0.2.1 198.51.100.2 -1 2\r\n", "do not fit"),
    (b"PROXY TCP4 192.0.2.1 198.51.100.2 1 2\n", "is not a line"),
    (b"PROXY TCP4 192.0.2.1 198.51.100.2 1 \xb2\r\n", "is not a line"),
    (b"PROXY TCP4 " + b"1" * 200 + b"\r\n", "more than 107 octets"),
    (binary(0x22, 0x11, V4), "unknown version and command 0x22"),
    (binary(0x11, 0x11, V4), "unknown version and command 0x11"),
    (binary(0x21, 0x12, V4), "unknown family and transport 0x12"),
    (binary(0x21, 0x11, V4[:11]), "11 octets of addresses, 12 are needed"),
    (binary(0x21, 0x21, V4), "12 octets of addresses, 36 are needed"),
    (binary(0x21, 0x11, V4, announced=65535), "65535 octets of addresses, at most 4096"),
]


@pytest.mark.parametrize(("header", "expected"), UNDERSTOOD)
def test_what_a_header_says(header: bytes, expected: Addresses | None) -> None:
    assert read(header + BEHIND) == (expected, BEHIND)


@pytest.mark.parametrize(("header", "complaint"), REFUSED)
def test_what_is_refused(header: bytes, complaint: str) -> None:
    with pytest.raises(WrongHeader, match=complaint):
        read(header + BEHIND)


@pytest.mark.parametrize(("header", "_"), UNDERSTOOD)
def test_a_header_that_is_cut_short_says_nothing(header: bytes, _: object) -> None:
    for length in range(len(header)):
        with pytest.raises(CutShort):
            read(header[:length])


@given(st.one_of(st.binary(), st.binary().map(SIGNATURE.__add__), st.binary().map(b"PROXY TCP4 ".__add__)))
def test_any_octets_are_understood_refused_or_too_few(octets: bytes) -> None:
    try:
        _, rest = read(octets)
    except (WrongHeader, CutShort):
        return
    assert octets.endswith(rest)


@given(st.ip_addresses(), st.integers(0, 65535))
def test_both_versions_say_the_same(address: ipaddress.IPv4Address | ipaddress.IPv6Address, port: int) -> None:
    family, code = ("TCP4", 0x11) if address.version == 4 else ("TCP6", 0x21)
    line = f"PROXY {family} {address} {address} {port} {port}\r\n".encode()
    packed = binary(0x21, code, address.packed * 2 + struct.pack(">HH", port, port))
    [(from_line, _), (from_packed, _)] = read(line), read(packed)
    assert from_line
    assert from_packed
    assert [ipaddress.ip_address(peer[0]) for peer in (from_line.peer, from_packed.peer)] == [address] * 2
    assert from_line.own[1] == from_packed.own[1] == port


def test_who_is_trusted() -> None:
    trusted = Trusted(["10.0.0.0/8", "2001:db8::/32"])
    assert ("10.1.2.3", 5) in trusted
    assert ("::ffff:10.1.2.3", 5, 0, 0) in trusted
    assert ("2001:db8::1", 5, 0, 0) in trusted
    assert ("11.1.2.3", 5) not in trusted
    assert ("2001:db9::1%eth0", 5, 0, 0) not in trusted
    assert "a local socket" not in trusted
    assert ("10.1.2.3", 5) not in Trusted([])


def test_a_network_that_is_none() -> None:
    for text in ("10.0.0.1/8", "nonsense", "10.0.0.0/33", ""):
        with pytest.raises(ValueError, match="is not a network such as"):
            Trusted([text])


def test_addresses_are_written_as_the_system_writes_them() -> None:
    addresses, _ = read(b"PROXY TCP6 2001:0DB8:0:0:0:0:0:1 ::1 3 4\r\n")
    assert addresses
    assert addresses.peer[0] == socket.inet_ntop(socket.AF_INET6, ipaddress.ip_address("2001:db8::1").packed)
