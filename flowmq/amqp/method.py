"""What all methods share: how a dataclass of annotated fields becomes octets and comes back from them.

The fields of a class, in their order, are the layout of its arguments on the wire. What stands among them as a ClassVar
is a reserved field: read over, and written as the zero it is. Neighbouring bits share an octet, the lowest bit first.
The methods themselves stand in methods.py.
"""

import dataclasses
from collections.abc import Callable
from functools import lru_cache
from operator import attrgetter
from typing import Annotated, Any, ClassVar, NamedTuple, Self, TypeVar, dataclass_transform, get_args, get_origin

from flowmq.amqp import wire
from flowmq.amqp.erlang import binary_of_numbers
from flowmq.amqp.errors import REPLY_TEXT_BYTES_MAX, AMQPError, CommandInvalid, FrameError
from flowmq.amqp.tables import Table, encode_table, read_table
from flowmq.amqp.wire import Reader, Truncated

BITS_OF_OCTET = 8
CONNECTION_CLASS = 10
REMEMBERED_METHODS = 512
REMEMBERED_BYTES_MAX = 64


class Wire(NamedTuple):
    """How the values of one type are read and written."""

    read: Callable[[Reader], Any]
    write: Callable[[Any], bytes]


Bit = Annotated[bool, None]  # no octets of its own
Octet = Annotated[int, Wire(Reader.octet, wire.write_octet)]
Short = Annotated[int, Wire(Reader.short, wire.write_short)]
Long = Annotated[int, Wire(Reader.long, wire.write_long)]
LongLong = Annotated[int, Wire(Reader.longlong, wire.write_longlong)]
ShortString = Annotated[str, Wire(Reader.short_string, wire.write_short_string)]
LongString = Annotated[str, Wire(Reader.long_string, wire.write_long_string)]
LongOctets = Annotated[bytes, Wire(Reader.long_octets, wire.write_long_octets)]
FieldTable = Annotated[Table, Wire(read_table, encode_table)]


ReadPart = Callable[[Reader, list[Any]], None]  # adds the values of the fields that it reads
WritePart = Callable[[Any], bytes]  # of a method


class Method:
    """A method as a value. Its octets are the payload of a method frame: class id, method id, arguments."""

    __slots__ = ()

    CLASS_ID: ClassVar[int]
    METHOD_ID: ClassVar[int]
    NAME: ClassVar[str]
    SYNCHRONOUS: ClassVar[bool]  # the sender waits for an answer, or this is the answer
    HAS_CONTENT: ClassVar[bool]  # a content header and body frames follow
    FIELDS: ClassVar[tuple[str, ...]]
    IDS: ClassVar[bytes]  # class and method, in front of the arguments
    READERS: ClassVar[tuple[ReadPart, ...]]
    WRITERS: ClassVar[tuple[WritePart, ...]]
    ENCODED: ClassVar[bytes | None]  # what all of them are, when there is nothing to be told apart by
    REMEMBERED: ClassVar[bool]  # is one that came before given out again? Not what holds a table, or a secret

    def encode(self) -> bytes:
        return self.ENCODED or self.IDS + b"".join([write(self) for write in self.WRITERS])

    @classmethod
    def decode(cls, arguments: bytes) -> Self:
        """The method of all these octets. FrameError where they are too few or too many."""
        try:
            return cls._read(Reader(arguments))
        except Truncated:
            raise undecodable(arguments, cls.CLASS_ID, cls.METHOD_ID) from None
        except AMQPError as error:
            error.class_id, error.method_id = cls.CLASS_ID, cls.METHOD_ID
            raise

    @classmethod
    def _read(cls, reader: Reader) -> Self:
        values: list[Any] = []
        for read in cls.READERS:
            read(reader, values)
        if not reader.done:
            raise Truncated
        return cls(*values)


METHODS: dict[tuple[int, int], type[Method]] = {}


def decode_method(class_id: int, method_id: int, arguments: bytes) -> Method:
    """CommandInvalid for a method that does not exist, FrameError for one that cannot be decoded."""
    kind = METHODS.get((class_id, method_id))
    if kind is None:
        raise CommandInvalid(f"unknown method {{{class_id},{method_id}}}", class_id=class_id, method_id=method_id)
    if kind.REMEMBERED and len(arguments) <= REMEMBERED_BYTES_MAX:
        return _decoded(class_id, method_id, arguments)
    return kind.decode(arguments)


@lru_cache(maxsize=REMEMBERED_METHODS)
def _decoded(class_id: int, method_id: int, arguments: bytes) -> Method:
    """Clients say the same again and again: open and close a channel, set a prefetch."""
    return METHODS[class_id, method_id].decode(arguments)


def undecodable(octets: bytes, class_id: int = 0, method_id: int = 0) -> FrameError:
    """The error for octets that are too few or too many. It shows their beginning: a reply text holds no more."""
    shown = binary_of_numbers(octets[:REPLY_TEXT_BYTES_MAX])
    return FrameError(f"cannot decode {shown}", class_id=class_id, method_id=method_id)


def _field_reader(read: Callable[[Reader], Any], is_reserved: bool) -> ReadPart:
    if is_reserved:
        return lambda reader, _: read(reader)
    return lambda reader, values: values.append(read(reader))


def _bits_reader(wanted: tuple[int, ...]) -> ReadPart:
    """Up to eight bits in an octet, of which some may be reserved."""

    def read(reader: Reader, values: list[Any]) -> None:
        octet = reader.octet()
        values.extend([bool(octet >> bit & 1) for bit in wanted])

    return read


def _field_writer(write: Callable[[Any], bytes], name: str) -> WritePart:
    value_of = attrgetter(name)
    return lambda values: write(value_of(values))


def _bits_writer(names: tuple[str, ...]) -> WritePart:
    def write(values: Method) -> bytes:
        return wire.write_octet(sum(bool(getattr(values, name)) << bit for bit, name in enumerate(names)))

    return write


# --------------------------------------------------------------------------------------------- declaring a method

M = TypeVar("M", bound=Method)


@dataclass_transform(frozen_default=True, field_specifiers=(dataclasses.field,))
def method(
    class_id: int, method_id: int, name: str, *, synchronous: bool = True, has_content: bool = False
) -> Callable[[type[M]], type[M]]:
    """Make a frozen dataclass of annotated fields the method with these ids."""

    def declare(fields: type[M]) -> type[M]:
        declared = dataclasses.dataclass(frozen=True, slots=True)(fields)
        declared.CLASS_ID, declared.METHOD_ID, declared.NAME = class_id, method_id, name
        declared.SYNCHRONOUS, declared.HAS_CONTENT = synchronous, has_content
        declared.FIELDS = tuple(field.name for field in dataclasses.fields(declared))  # type: ignore[arg-type]
        declared.IDS = wire.write_short(class_id) + wire.write_short(method_id)
        parts = _layout(fields.__annotations__)
        declared.READERS = tuple(_reader(part, declared.FIELDS) for part in parts)
        declared.WRITERS = tuple(_writer(part) for part in parts)
        declared.ENCODED = None
        if not declared.FIELDS:
            declared.ENCODED = declared().encode()
        holds_table = any(part.wire is not None and part.wire.read is read_table for part in parts)
        declared.REMEMBERED = class_id != CONNECTION_CLASS and not holds_table
        METHODS[class_id, method_id] = declared
        return declared

    return declare


class Part(NamedTuple):
    """One field of the wire, or up to eight bits in an octet (wire is None)."""

    names: tuple[str, ...]
    wire: Wire | None


def _reader(part: Part, fields: tuple[str, ...]) -> ReadPart:
    if part.wire is None:
        return _bits_reader(tuple(bit for bit, name in enumerate(part.names) if name in fields))
    return _field_reader(part.wire.read, part.names[0] not in fields)


def _writer(part: Part) -> WritePart:
    return _bits_writer(part.names) if part.wire is None else _field_writer(part.wire.write, part.names[0])


def _layout(annotations: dict[str, Any]) -> tuple[Part, ...]:
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
