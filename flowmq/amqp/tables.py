"""Field tables: names with values of sixteen types, nested at will. Octets to Table and back.

A Table is a dict of plain Python values that also remembers under which type letter each value came, so that it can be
written again exactly as it was read and an error text can name the type. A letter is only kept as long as the value
fits it: a value that was replaced is written under the type that suits it.

    letter  type           Python         letter  type           Python         letter  type       Python
    b B     8 bit integer  int            f d     float, double  float          F       table      Table
    s u     16 bit         int            D       decimal        Decimal        A       array      Array
    I i     32 bit         int            S       text           str            T       time       Timestamp
    l       64 bit         int            x       octets         bytes          t V     bool void  bool, None

Where a name stands in a table twice, its first value counts; a bool is true whatever its octet, and written as 1.
Not here: what any table means.
"""

import calendar
import struct
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from decimal import Decimal
from types import NoneType
from typing import Any, NamedTuple, TypeGuard

from flowmq.amqp.errors import MalformedSyntax
from flowmq.amqp.wire import (
    Reader,
    Truncated,
    write_long_octets,
    write_long_string,
    write_longlong,
    write_octet,
    write_short_string,
)

DEPTH_MAX = 64  # tables and arrays within one another
DECIMAL_SCALE_MAX = 255
DECIMAL_DIGITS_MAX = 10  # of a number of 32 bits

TYPE_NAMES = {
    "b": "byte",
    "B": "unsignedbyte",
    "s": "short",
    "u": "unsignedshort",
    "I": "signedint",
    "i": "unsignedint",
    "l": "long",
    "f": "float",
    "d": "double",
    "D": "decimal",
    "S": "longstr",
    "x": "binary",
    "F": "table",
    "A": "array",
    "T": "timestamp",
    "t": "bool",
    "V": "void",
}
INTEGER_TYPE_NAMES = frozenset(TYPE_NAMES[letter] for letter in "bBsuIil")


class Timestamp(int):
    """Seconds since 1970, and a type of its own: a plain number must not turn into a time."""

    __slots__ = ()


class Table(dict[str, object]):
    """A field table: names to values, and the type letter each value came with."""

    __slots__ = ("types",)

    def __init__(self, fields: Mapping[str, object] | None = None, types: Mapping[str, str] | None = None) -> None:
        self.types: dict[str, str]
        if fields is None:
            # Of declarations the most usual one.
            self.types = {} if types is None else dict(types)
            return
        super().__init__(fields)
        kept = fields.types if types is None and isinstance(fields, Table) else types
        self.types = dict(kept or {})

    def copy(self) -> "Table":
        return Table(self)

    def __reduce__(self) -> tuple[type["Table"], tuple[dict[str, object], dict[str, str]]]:
        return Table, (dict(self), self.types)

    def letter(self, name: str) -> str:
        """The type under which this value came, or will be written."""
        return _letter(self[name], self.types.get(name))

    def type_name(self, name: str) -> str:
        return TYPE_NAMES[self.letter(name)]


class Array(list[object]):
    """A field array: values, and the type letters they came with."""

    __slots__ = ("types",)

    def __init__(self, items: Iterable[object] = (), types: Iterable[str] | None = None) -> None:
        super().__init__(items)
        kept = items.types if types is None and isinstance(items, Array) else types
        self.types: list[str] = list(kept or ())

    def copy(self) -> "Array":
        return Array(self)

    def __reduce__(self) -> tuple[type["Array"], tuple[list[object], list[str]]]:
        return Array, (list(self), self.types)

    def letter(self, index: int) -> str:
        """The type under which this item came, or will be written; letters count for an array of their length."""
        return _letter(self[index], self.types[index] if len(self.types) == len(self) else None)

    def type_name(self, index: int) -> str:
        return TYPE_NAMES[self.letter(index)]


def type_name(value: object) -> str:
    """The name of the type under which a value without a letter of its own is written."""
    return TYPE_NAMES[_natural_letter(value)]


# ------------------------------------------------------------------------------------------------------- reading


def decode_table(data: bytes) -> Table:
    """A table of all these octets, without the length that stands in front of it on the wire."""
    if not data:
        return Table()
    try:
        return _read_table(Reader(data), 1)
    except Truncated:
        raise MalformedSyntax("a field table ends within a value") from None


def decode_table_at(data: bytes, offset: int = 0) -> tuple[Table, int]:
    """A table with its length in front, and where it ends."""
    reader = Reader(data, offset)
    try:
        table = _read_table(reader.part(), 1)
    except Truncated:
        raise MalformedSyntax("a field table ends within a value") from None
    return table, reader.position


def read_table(reader: Reader) -> Table:
    """A table with its length; Truncated only when the octets end before it, MalformedSyntax for all within it."""
    part = reader.part()
    return decode_table(part.data[part.position : part.end])


def _read_table(reader: Reader, depth: int) -> Table:
    table = Table()
    types = table.types
    while reader.position != reader.end:
        name = reader.short_string()
        letter, value = _read_value(reader, depth)
        if name not in types:
            table[name] = value
            types[name] = letter
    return table


def _read_array(reader: Reader, depth: int) -> Array:
    array = Array()
    while not reader.done:
        letter, value = _read_value(reader, depth)
        array.append(value)
        array.types.append(letter)
    return array


def _read_value(reader: Reader, depth: int) -> tuple[str, object]:
    letter = chr(reader.octet())
    if letter in "FA":
        if depth == DEPTH_MAX:
            raise MalformedSyntax(f"field tables are nested deeper than {DEPTH_MAX}")
        return letter, (_read_table if letter == "F" else _read_array)(reader.part(), depth + 1)
    kind = FIELD_TYPES.get(letter)
    if kind is None:
        raise MalformedSyntax(f"unknown type {ord(letter)} of a value in a field table")
    return letter, kind.read(reader)


# ------------------------------------------------------------------------------------------------------- writing


def encode_table(table: Mapping[str, object]) -> bytes:
    """The table with its length in front. ValueError or TypeError for what no field table can hold."""
    return write_long_octets(table_octets(table))


def table_octets(table: Mapping[str, object], depth: int = 1) -> bytes:
    """The same without the length."""
    _check_depth(depth)
    if not table:
        return b""
    types = table.types if isinstance(table, Table) else {}
    return b"".join(
        [write_short_string(name) + _write_value(value, types.get(name), depth) for name, value in table.items()]
    )


def _array_octets(items: list[object] | tuple[object, ...], depth: int) -> bytes:
    _check_depth(depth)
    array = items if isinstance(items, Array) else Array(items)
    return b"".join([_write_value(value, array.letter(index), depth) for index, value in enumerate(array)])


def _check_depth(depth: int) -> None:
    if depth > DEPTH_MAX:
        raise ValueError(f"field tables are nested deeper than {DEPTH_MAX}")


def _write_value(value: Any, kept: str | None, depth: int) -> bytes:
    letter = _letter(value, kept)
    if letter in "FA":
        nested = table_octets(value, depth + 1) if letter == "F" else _array_octets(value, depth + 1)
        return letter.encode() + write_long_octets(nested)
    return letter.encode() + FIELD_TYPES[letter].write(value)


# --------------------------------------------------------------------------------------------------------- types


def _letter(value: object, kept: str | None) -> str:
    """The letter the value came with, where it still fits, and else the one that suits the value."""
    return kept if kept is not None and _fits(value, kept) else _natural_letter(value)


def _fits(value: object, letter: str) -> bool:
    if letter in INTEGER_LIMITS:
        lowest, highest = INTEGER_LIMITS[letter]
        return _is_number(value) and lowest <= value <= highest
    if letter == "f":
        return isinstance(value, float) and _is_single(value)
    return isinstance(value, PYTHON_TYPES[letter])


def _is_number(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool | Timestamp)


def _is_single(value: float) -> bool:
    """A float of 32 bits holds it without loss; not-a-number, which equals nothing, counts as held."""
    try:
        return bool(value != value or struct.unpack(">f", struct.pack(">f", value))[0] == value)
    except OverflowError:
        return False


def _natural_letter(value: object) -> str:
    if _is_number(value):
        return _integer_letter(value)
    for letter, kinds in PYTHON_TYPES.items():
        if isinstance(value, kinds):
            return letter
    raise TypeError(f"a field table cannot hold a {type(value).__name__}")


def _integer_letter(value: int) -> str:
    for letter in "Il":
        if _fits(value, letter):
            return letter
    raise ValueError(f"a field table cannot hold {value}: it takes more than 64 bits")


class FieldType(NamedTuple):
    read: Callable[[Reader], object]
    write: Callable[[Any], bytes]


def _packed(code: str) -> FieldType:
    layout = struct.Struct(">" + code)
    return FieldType(lambda reader: layout.unpack(reader.take(layout.size))[0], layout.pack)


def _read_decimal(reader: Reader) -> Decimal:
    scale = reader.octet()
    number = int.from_bytes(reader.take(4), signed=True)
    return Decimal((int(number < 0), tuple(map(int, str(abs(number)))), -scale))


def _write_decimal(value: Decimal) -> bytes:
    sign, digits, exponent = value.as_tuple()
    if not isinstance(exponent, int) or not -DECIMAL_SCALE_MAX <= exponent < DECIMAL_DIGITS_MAX:
        raise ValueError(f"a field table cannot hold the decimal {value}")
    number = int(Decimal((sign, digits, max(exponent, 0))))
    if not _fits(number, "I"):
        raise ValueError(f"a field table cannot hold the decimal {value}: it takes more than 32 bits")
    return write_octet(max(-exponent, 0)) + number.to_bytes(4, signed=True)


def _write_time(value: datetime | Timestamp) -> bytes:
    """Seconds of UTC, which a datetime without a zone is taken for."""
    return write_longlong(calendar.timegm(value.utctimetuple()) if isinstance(value, datetime) else value)


INTEGER_LIMITS = {
    "b": (-(1 << 7), (1 << 7) - 1),
    "B": (0, (1 << 8) - 1),
    "s": (-(1 << 15), (1 << 15) - 1),
    "u": (0, (1 << 16) - 1),
    "I": (-(1 << 31), (1 << 31) - 1),
    "i": (0, (1 << 32) - 1),
    "l": (-(1 << 63), (1 << 63) - 1),
}
# What a value of each type is in Python; the first that fits is the type of a value without a letter.
PYTHON_TYPES: dict[str, type | tuple[type, ...]] = {
    "t": bool,
    "T": (Timestamp, datetime),
    "S": str,
    "x": (bytes, bytearray),
    "d": float,
    "D": Decimal,
    "F": Mapping,
    "A": (list, tuple),
    "V": NoneType,
}
FIELD_TYPES = {
    "b": _packed("b"),
    "B": _packed("B"),
    "s": _packed("h"),
    "u": _packed("H"),
    "I": _packed("i"),
    "i": _packed("I"),
    "l": _packed("q"),
    "f": _packed("f"),
    "d": _packed("d"),
    "t": _packed("?"),
    "D": FieldType(_read_decimal, _write_decimal),
    "S": FieldType(Reader.long_string, write_long_string),
    "x": FieldType(Reader.long_octets, write_long_octets),
    "T": FieldType(lambda reader: Timestamp(reader.longlong()), _write_time),
    "V": FieldType(lambda reader: None, lambda value: b""),
}
