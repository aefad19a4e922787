"""The properties of a message and the content header that carries them, as values.

For the few places that look at all of them (management, tests). On a message's way nothing is decoded: the header goes
out as the octets that came in.

    class id    2 octets, 60
    weight      2 octets, 0
    body size   8 octets
    flags       2 octets, one bit per property that is present, content-type the highest
    properties  those that are present, in the order of their flags
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from flowmq.amqp import constants, wire
from flowmq.amqp.constants import CLASS_BASIC
from flowmq.amqp.errors import FrameError, MalformedSyntax, UnexpectedFrame
from flowmq.amqp.tables import Table, Timestamp, encode_table, read_table
from flowmq.amqp.wire import Reader, Truncated


@dataclass(slots=True)
class BasicProperties:
    """The fourteen properties, in the order of the wire. None is one that is not there."""

    content_type: str | None = None
    content_encoding: str | None = None
    headers: Table | None = None
    delivery_mode: int | None = None
    priority: int | None = None
    correlation_id: str | None = None
    reply_to: str | None = None
    expiration: str | None = None
    message_id: str | None = None
    timestamp: Timestamp | None = None
    type: str | None = None
    user_id: str | None = None
    app_id: str | None = None
    cluster_id: str | None = None

    def encode(self) -> bytes:
        """Flags and properties."""
        flags, values = 0, b""
        for name, kind in PROPERTIES.items():
            value = getattr(self, name)
            if value is not None:
                flags |= kind.flag
                values += kind.write(value)
        return wire.write_short(flags) + values


def decode_properties(data: bytes) -> BasicProperties:
    """Flags and properties; MalformedSyntax where they are not exactly that."""
    reader = Reader(data)
    try:
        properties = _read_properties(reader)
    except Truncated:
        raise MalformedSyntax("the properties end within a value") from None
    if not reader.done:
        raise MalformedSyntax(f"{reader.end - reader.position} octets are left over behind the properties")
    return properties


def _read_properties(reader: Reader) -> BasicProperties:
    flags = reader.short()
    if flags & constants.FLAGS_WITHOUT_PROPERTY:
        raise MalformedSyntax(f"property flags {flags:#06x} name properties that do not exist")
    present = {name: kind.read(reader) for name, kind in PROPERTIES.items() if flags & kind.flag}
    return BasicProperties(**present)


class ContentHeader(NamedTuple):
    body_bytes: int
    properties: BasicProperties

    def encode(self) -> bytes:
        """The payload of a content header frame."""
        start = wire.write_short(CLASS_BASIC) + wire.write_short(0) + wire.write_longlong(self.body_bytes)
        return start + self.properties.encode()


def decode_content_header(payload: bytes) -> ContentHeader:
    reader = Reader(payload)
    try:
        class_id, weight, body_bytes = reader.short(), reader.short(), reader.longlong()
    except Truncated:
        raise FrameError("a content header ends before the properties") from None
    if class_id != CLASS_BASIC:
        raise UnexpectedFrame(f"expected content header for class {CLASS_BASIC}, got one for class {class_id} instead")
    if weight:
        raise FrameError(f"the weight {weight} of a content header is not 0")
    return ContentHeader(body_bytes, decode_properties(payload[reader.position :]))


class PropertyType(NamedTuple):
    flag: int
    read: Callable[[Reader], Any]
    write: Callable[[Any], bytes]


def _read_timestamp(reader: Reader) -> Timestamp:
    return Timestamp(reader.longlong())


def _short_string(flag: int) -> PropertyType:
    return PropertyType(flag, Reader.short_string, wire.write_short_string)


def _octet(flag: int) -> PropertyType:
    return PropertyType(flag, Reader.octet, wire.write_octet)


# In the order of the wire, which is that of the fields too.
PROPERTIES = {
    "content_type": _short_string(constants.FLAG_CONTENT_TYPE),
    "content_encoding": _short_string(constants.FLAG_CONTENT_ENCODING),
    "headers": PropertyType(constants.FLAG_HEADERS, read_table, encode_table),
    "delivery_mode": _octet(constants.FLAG_DELIVERY_MODE),
    "priority": _octet(constants.FLAG_PRIORITY),
    "correlation_id": _short_string(constants.FLAG_CORRELATION_ID),
    "reply_to": _short_string(constants.FLAG_REPLY_TO),
    "expiration": _short_string(constants.FLAG_EXPIRATION),
    "message_id": _short_string(constants.FLAG_MESSAGE_ID),
    "timestamp": PropertyType(constants.FLAG_TIMESTAMP, _read_timestamp, wire.write_longlong),
    "type": _short_string(constants.FLAG_TYPE),
    "user_id": _short_string(constants.FLAG_USER_ID),
    "app_id": _short_string(constants.FLAG_APP_ID),
    "cluster_id": _short_string(constants.FLAG_CLUSTER_ID),
}
