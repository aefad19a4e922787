"""The PROXY protocol: what a proxy in front of the broker says of the client, before the client says anything.

Versions 1 (a line of text) and 2 (binary). Only the header's own octets are read, never one more: what follows may be
TLS. Of version 2's further fields none is looked at. Who may be believed is decided elsewhere.
"""

import ipaddress
import socket
import struct
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, NamedTuple

LINE_BYTES_MAX = 107
BEGINNING_BYTES = 12  # enough to tell the versions apart, and no header is shorter
SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
ADDRESSES_BYTES_MAX = 4096
VERSION_2_LOCAL, VERSION_2_PROXY = 0x20, 0x21
FAMILIES = {0x11: (socket.AF_INET, 4), 0x21: (socket.AF_INET6, 16)}
NO_ADDRESSES = {0x00, 0x31, 0x32}  # unspecified, and local sockets
TEXT_FAMILIES = {"TCP4": 4, "TCP6": 6}

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
ReadExactly = Callable[[int], Awaitable[bytes]]


class WrongHeader(Exception):
    """What a trusted proxy sent is no header."""


class Addresses(NamedTuple):
    peer: tuple[str, int]
    own: tuple[str, int]


class Trusted:
    """The networks whose word is taken for it. Nobody in them gets in without a header."""

    def __init__(self, networks: Iterable[str]) -> None:
        self.networks = [network(text) for text in networks]

    def __contains__(self, peer: Any) -> bool:
        if not self.networks or not isinstance(peer, tuple):
            return False
        address = ipaddress.ip_address(peer[0].partition("%")[0])
        address = getattr(address, "ipv4_mapped", None) or address
        return any(address in network for network in self.networks)


def network(text: str) -> Network:
    try:
        return ipaddress.ip_network(text)
    except ValueError as error:
        raise ValueError(f"{text!r} is not a network such as 10.0.0.0/8: {error}") from error


async def read_header(read_exactly: ReadExactly) -> Addresses | None:
    """Whom the proxy speaks for; None when it speaks for itself, as for a health check."""
    beginning = await read_exactly(BEGINNING_BYTES)
    if beginning == SIGNATURE:
        command, family, count = struct.unpack(">BBH", await read_exactly(4))
        if count > ADDRESSES_BYTES_MAX:
            raise WrongHeader(f"{count} octets of addresses, at most {ADDRESSES_BYTES_MAX} are read")
        return parse_binary(command, family, await read_exactly(count))
    if not beginning.startswith(b"PROXY "):
        raise WrongHeader(f"no PROXY protocol header, but {beginning!r}")
    line = beginning
    while not line.endswith(b"\n"):
        if len(line) == LINE_BYTES_MAX:
            raise WrongHeader(f"a line of more than {LINE_BYTES_MAX} octets")
        line += await read_exactly(1)
    return parse_line(line)


def parse_binary(command: int, family: int, rest: bytes) -> Addresses | None:
    if command == VERSION_2_LOCAL:
        return None
    if command != VERSION_2_PROXY:
        raise WrongHeader(f"unknown version and command {command:#04x}")
    if family in NO_ADDRESSES:
        return None
    if family not in FAMILIES:
        raise WrongHeader(f"unknown family and transport {family:#04x}")
    kind, length = FAMILIES[family]
    if len(rest) < 2 * length + 4:
        raise WrongHeader(f"{len(rest)} octets of addresses, {2 * length + 4} are needed")
    peer, own = (socket.inet_ntop(kind, rest[at : at + length]) for at in (0, length))
    peer_port, own_port = struct.unpack_from(">HH", rest, 2 * length)
    return Addresses((peer, peer_port), (own, own_port))


def parse_line(line: bytes) -> Addresses | None:
    if not line.endswith(b"\r\n") or not line.isascii():
        raise WrongHeader(f"{line!r} is not a line")
    _, family, *rest = line[:-2].decode("ascii").split(" ")
    if family == "UNKNOWN":
        return None
    if family not in TEXT_FAMILIES or len(rest) != 4:
        raise WrongHeader(f"{line!r} is not PROXY TCP4|TCP6 and two addresses and ports")
    try:
        peer, own = (ipaddress.ip_address(text) for text in rest[:2])
        ports = [int(text) for text in rest[2:] if text.isdigit()]
    except ValueError as error:
        raise WrongHeader(f"{line!r}: {error}") from error
    if {peer.version, own.version} != {TEXT_FAMILIES[family]} or len(ports) != 2 or max(ports) > 65535:
        raise WrongHeader(f"{line!r}: addresses or ports do not fit")
    return Addresses((str(peer), ports[0]), (str(own), ports[1]))
