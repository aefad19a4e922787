"""The fields of methods as octets: how each type stands on the wire, and the functions that are made from that.

A method's fields, in their order, are its layout. For each class a decoder and an encoder are written here as Python
text and compiled once, when the class is declared: a loop over fields that asks each for its type takes four times as
long. Numbers that follow one another, and the length of a string or table behind them, are one format of struct:

    def decode(data):                                   # of queue.declare
        _, queue_octets = numbers_0(data, 0)            # ">HB"
        end = 3 + queue_octets
        queue = data[3:end].decode("utf-8", "surrogateescape")
        bits, arguments_octets = numbers_1(data, end)   # ">BI"
        ...

Octets that are too few end in struct.error, those that a length promises in vain in Truncated: a string that would end
beyond the end is noticed behind it, since nothing can be read there. Not here: what a method is (method.py).
"""

import struct
from collections.abc import Callable
from itertools import count
from typing import Annotated, Any, ClassVar, NamedTuple, get_args, get_origin

from flowmq.amqp import wire
from flowmq.amqp.tables import Table, decode_table, encode_table, table_octets
from flowmq.amqp.wire import Truncated

BITS_OF_OCTET = 8


class Wire(NamedTuple):
    """How the values of one type are read and written."""

    code: str  # struct's, of the number that it is; or of the length that stands in front of it
    write: Callable[[Any], bytes]  # one by itself: where it does not fit, the error says what is wrong
    read_part: str = ""  # Python text: its value of the octets {part}; none for a number
    write_part: str = ""  # and its octets of the value {value}


def _number(code: str, write: Callable[[int], bytes]) -> Wire:
    return Wire(code, write)


def _text(code: str, write: Callable[[str], bytes]) -> Wire:
    errors = '"utf-8", "surrogateescape"'
    return Wire(code, write, f"{{part}}.decode({errors})", f"{{value}}.encode({errors})")


Bit = Annotated[bool, None]  # no octets of its own
Octet = Annotated[int, _number("B", wire.write_octet)]
Short = Annotated[int, _number("H", wire.write_short)]
Long = Annotated[int, _number("I", wire.write_long)]
LongLong = Annotated[int, _number("Q", wire.write_longlong)]
ShortString = Annotated[str, _text("B", wire.write_short_string)]
LongString = Annotated[str, _text("I", wire.write_long_string)]
LongOctets = Annotated[bytes, Wire("I", wire.write_long_octets, "{part}", "{value}")]
FieldTable = Annotated[Table, Wire("I", encode_table, "decode_table({part})", "table_octets({value})")]


class Part(NamedTuple):
    """One field of the wire, or up to eight bits in an octet (wire is None). Reserved fields have no value."""

    names: tuple[str, ...]
    wire: Wire | None

    @property
    def holds_table(self) -> bool:
        return self.wire is not None and self.wire.write is encode_table


def layout(annotations: dict[str, Any]) -> tuple[Part, ...]:
    """Neighbouring bits share an octet, the lowest bit first."""
    parts: list[Part] = []
    for name, annotation in annotations.items():
        of_wire = _wire_of(annotation)
        if of_wire is None and parts and parts[-1].wire is None and len(parts[-1].names) < BITS_OF_OCTET:
            parts[-1] = Part((*parts[-1].names, name), None)
        else:
            parts.append(Part((name,), of_wire))
    return tuple(parts)


def _wire_of(annotation: Any) -> Wire | None:
    plain = get_args(annotation)[0] if get_origin(annotation) is ClassVar else annotation
    found: Wire | None = plain.__metadata__[0]
    return found


class Text:
    """A function that is being written, and the names that it needs."""

    def __init__(self, first_line: str) -> None:
        self.lines = [first_line]
        self.names: dict[str, Any] = {"decode_table": decode_table, "table_octets": table_octets}
        self.numbers = count()

    def add(self, line: str) -> None:
        self.lines.append(f"    {line}")

    def named(self, name: str, value: Any) -> str:
        """A name for it that the function knows."""
        self.names[name] = value
        return name

    def compiled(self) -> Any:
        exec(compile("\n".join(self.lines), "<fields of a method>", "exec"), self.names)
        return self.names[self.lines[0].split("(")[0].removeprefix("def ")]


# ------------------------------------------------------------------------------------------------------------ decoder


def decoder(kind: Callable[..., Any], fields: tuple[str, ...], parts: tuple[Part, ...]) -> Callable[[bytes], Any]:
    """A function of all arguments as octets; `fields` are those that `kind` is called with, in their order."""
    text = Text("def decode(data):")
    at, codes = "0", ">"
    targets: list[str] = []
    values: dict[str, str] = {}

    def read_numbers() -> None:
        nonlocal at, codes
        if targets:
            numbers = struct.Struct(codes)
            unpack = text.named(f"numbers_{next(text.numbers)}", numbers.unpack_from)
            text.add(f"{', '.join(targets)}, = {unpack}(data, {at})")
            at, codes = sum_of(at, numbers.size), ">"
            targets.clear()

    for part in parts:
        name = part.names[0]
        if part.wire is None:
            octet = f"bits_{name}"
            targets.append(octet)
            codes += "B"
            values |= {bit: f"{octet} & {1 << position} != 0" for position, bit in enumerate(part.names)}
            continue
        codes += part.wire.code
        if not part.wire.read_part:
            targets.append(name)
            values[name] = name
            continue
        targets.append(f"{name}_octets")
        read_numbers()
        text.add(f"end_of_{name} = {at} + {name}_octets")
        if part.holds_table:
            # What is wrong with a table must not be said before it is known that all of it is there.
            text.add(f"if end_of_{name} > len(data): raise Truncated")
        if name in fields:
            text.add(f"{name} = {part.wire.read_part.format(part=f'data[{at}:end_of_{name}]')}")
            values[name] = name
        at = f"end_of_{name}"
    read_numbers()
    text.add(f"if {at} != len(data): raise Truncated")
    text.add(f"return {text.named('kind', kind)}({', '.join(values[name] for name in fields)})")
    text.named("Truncated", Truncated)
    found: Callable[[bytes], Any] = text.compiled()
    return found


def sum_of(position: str, more: int) -> str:
    """Positions are written as numbers where they are known, and else as a name and a number."""
    name, _, number = position.partition(" + ") if not position.isdigit() else ("", "", position)
    total = int(number or 0) + more
    return f"{name} + {total}" if name else str(total)


# ------------------------------------------------------------------------------------------------------------ encoder


def encoder(ids: tuple[int, int], fields: tuple[str, ...], parts: tuple[Part, ...]) -> Callable[[Any], bytes]:
    """A function of a method: class and method id, and its arguments. struct.error where a number does not fit."""
    text = Text("def encode(method):")
    codes, numbers = ">HH", [str(number) for number in ids]
    pieces: list[str] = []

    def write_numbers() -> None:
        nonlocal codes
        if numbers:
            pack = text.named(f"numbers_{next(text.numbers)}", struct.Struct(codes).pack)
            pieces.append(f"{pack}({', '.join(numbers)})")
            codes = ">"
            numbers.clear()

    for part in parts:
        name = part.names[0]
        if part.wire is None:
            codes += "B"
            bits = [f"({1 << at} if method.{bit} else 0)" for at, bit in enumerate(part.names) if bit in fields]
            numbers.append(" | ".join(bits) or "0")
            continue
        codes += part.wire.code
        if name not in fields:
            numbers.append("0")  # a number, or the length of nothing
        elif not part.wire.write_part:
            numbers.append(f"method.{name}")
        else:
            text.add(f"{name} = {part.wire.write_part.format(value=f'method.{name}')}")
            numbers.append(f"len({name})")
            write_numbers()
            pieces.append(name)
    write_numbers()
    text.add(f"return {' + '.join(pieces)}")
    found: Callable[[Any], bytes] = text.compiled()
    return found


def check_writable(method: object, fields: tuple[str, ...], parts: tuple[Part, ...]) -> None:
    """Raises what says which value does not fit into its field."""
    for part in parts:
        if part.wire is not None and part.names[0] in fields:
            part.wire.write(getattr(method, part.names[0]))
