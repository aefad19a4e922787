"""What all methods share: how a class of annotated fields becomes octets and comes back from them.

The fields of a class, in their order, are the layout of its arguments on the wire. What stands among them as a ClassVar
is a reserved field: read over, and written as the zero it is. The types of fields, and what is made of them, are in
fields.py; the methods themselves stand in methods.py.
"""

import struct
from collections.abc import Callable
from functools import lru_cache
from typing import ClassVar, Self, TypeVar

import msgspec

from flowmq.amqp.erlang import binary_of_numbers
from flowmq.amqp.errors import REPLY_TEXT_BYTES_MAX, AMQPError, CommandInvalid, FrameError
from flowmq.amqp.fields import Part, check_writable, decoder, encoder, layout
from flowmq.amqp.wire import Truncated

CONNECTION_CLASS = 10
REMEMBERED_METHODS = 512
REMEMBERED_BYTES_MAX = 64


class Method(msgspec.Struct, frozen=True):
    """A method as a value. Its octets are the payload of a method frame: class id, method id, arguments."""

    CLASS_ID: ClassVar[int]
    METHOD_ID: ClassVar[int]
    NAME: ClassVar[str]
    SYNCHRONOUS: ClassVar[bool]  # the sender waits for an answer, or this is the answer
    HAS_CONTENT: ClassVar[bool]  # a content header and body frames follow
    FIELDS: ClassVar[tuple[str, ...]]
    PARTS: ClassVar[tuple[Part, ...]]
    DECODE: ClassVar[Callable[[bytes], "Method"]]
    ENCODE: ClassVar[Callable[["Method"], bytes]]
    ENCODED: ClassVar[bytes | None]  # what all of them are, when there is nothing to be told apart by
    REMEMBERED: ClassVar[bool]  # is one that came before given out again? Not what holds a table, or a secret

    def encode(self) -> bytes:
        if self.ENCODED is not None:
            return self.ENCODED
        kind = type(self)
        try:
            return kind.ENCODE(self)
        except struct.error:
            check_writable(self, kind.FIELDS, kind.PARTS)
            raise

    @classmethod
    def decode(cls, arguments: bytes) -> Self:
        """The method of all these octets. FrameError where they are too few or too many."""
        try:
            return cls.DECODE(arguments)  # type: ignore[return-value]
        except (Truncated, struct.error):
            raise undecodable(arguments, cls.CLASS_ID, cls.METHOD_ID) from None
        except AMQPError as error:
            error.class_id, error.method_id = cls.CLASS_ID, cls.METHOD_ID
            raise


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


# --------------------------------------------------------------------------------------------- declaring a method

M = TypeVar("M", bound=Method)


def method(
    class_id: int, method_id: int, name: str, *, synchronous: bool = True, has_content: bool = False
) -> Callable[[type[M]], type[M]]:
    """Make a class of annotated fields the method with these ids."""

    def declare(declared: type[M]) -> type[M]:
        declared.CLASS_ID, declared.METHOD_ID, declared.NAME = class_id, method_id, name
        declared.SYNCHRONOUS, declared.HAS_CONTENT = synchronous, has_content
        declared.FIELDS = fields = declared.__struct_fields__
        declared.PARTS = parts = layout(declared.__annotations__)
        declared.DECODE = decoder(declared, fields, parts)
        declared.ENCODE = encoder((class_id, method_id), fields, parts)
        declared.ENCODED = None if fields else declared.ENCODE(declared())
        declared.REMEMBERED = class_id != CONNECTION_CLASS and not any(part.holds_table for part in parts)
        METHODS[class_id, method_id] = declared
        return declared

    return declare
