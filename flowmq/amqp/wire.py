"""AMQP's basic types as octets: a reader that knows its end, and one small writer per type.

Not here: field tables (tables.py), what a missing octet means (the caller's business: it differs between a method,
a table and a SASL response).
"""

import struct

SHORT_STRING_BYTES_MAX = 255


class Truncated(Exception):
    """A value would end beyond the end of the octets. The caller turns it into one of AMQP's errors."""


class Reader:
    """Takes values off the front of octets, up to an end that may lie before theirs."""

    __slots__ = ("data", "end", "position")

    def __init__(self, data: bytes, position: int = 0, end: int | None = None) -> None:
        self.data = data
        self.position = position
        self.end = len(data) if end is None else end

    @property
    def done(self) -> bool:
        return self.position == self.end

    def skip(self, count: int) -> int:
        """Move on over so many octets, and say where they began."""
        start = self.position
        if count > self.end - start:
            raise Truncated
        self.position = start + count
        return start

    def take(self, count: int) -> bytes:
        # As skip(), of which most of the time would be its call.
        start = self.position
        if count > self.end - start:
            raise Truncated
        self.position = start + count
        return self.data[start : self.position]

    def part(self) -> "Reader":
        """A reader of the part of the octets behind a length of four octets."""
        start = self.skip(self.long())
        return Reader(self.data, start, self.position)

    def octet(self) -> int:
        start = self.position
        if start >= self.end:
            raise Truncated
        self.position = start + 1
        return self.data[start]

    def short(self) -> int:
        return int.from_bytes(self.take(2))

    def long(self) -> int:
        return int.from_bytes(self.take(4))

    def longlong(self) -> int:
        return int.from_bytes(self.take(8))

    def short_string(self) -> str:
        # In one piece: names make up most of a field table.
        start = self.position + 1
        if start > self.end:
            raise Truncated
        end = start + self.data[start - 1]
        if end > self.end:
            raise Truncated
        self.position = end
        return self.data[start:end].decode("utf-8", "surrogateescape")

    def long_string(self) -> str:
        return text(self.long_octets())

    def long_octets(self) -> bytes:
        return self.take(self.long())


def text(data: bytes) -> str:
    """Octets as text that turns back into the same octets, also where they are no utf-8."""
    return data.decode("utf-8", "surrogateescape")


def octets(value: str) -> bytes:
    return value.encode("utf-8", "surrogateescape")


def write_octet(value: int) -> bytes:
    return _number(value, 1)


def write_short(value: int) -> bytes:
    return _number(value, 2)


def write_long(value: int) -> bytes:
    return _number(value, 4)


def write_longlong(value: int) -> bytes:
    return _number(value, 8)


def _number(value: int, size: int) -> bytes:
    try:
        return value.to_bytes(size)
    except OverflowError:
        raise ValueError(f"{value} does not fit into {size * 8} bits without a sign") from None


def write_short_string(value: str) -> bytes:
    data = octets(value)
    if len(data) > SHORT_STRING_BYTES_MAX:
        raise ValueError(f"a short string holds {SHORT_STRING_BYTES_MAX} octets, not {len(data)}")
    return bytes((len(data),)) + data


def write_long_string(value: str) -> bytes:
    return write_long_octets(octets(value))


def write_long_octets(value: bytes) -> bytes:
    return struct.pack(">I", len(value)) + value
