"""Properties of messages as octets: what comes goes on as it came.

The library would read the properties of every message and write them again, and change them a little by that: numbers
with fractions lose them, texts that are no UTF-8 become octets. Here they stay the octets that they were, unless the
shovel is told to change them; then they are read and written with the types that every value came with.
"""

import time
from typing import TYPE_CHECKING

import pika
import pika.spec

from flowmq.amqp.properties import BasicProperties, decode_properties
from flowmq.amqp.tables import Array, Table, Timestamp

if TYPE_CHECKING:
    from flowmq.broker.shovels import Shovel

SHOVELLED, SHOVELLED_TIMESTAMP = "x-shovelled", "x-shovelled-timestamp"


class RawProperties(pika.BasicProperties):  # type: ignore[misc]
    """Flags and properties, as they lie behind the header's first twelve octets."""

    def __init__(self, octets: bytes = b"\0\0") -> None:
        super().__init__()
        self.octets = octets

    def decode(self, encoded: bytes, offset: int = 0) -> "RawProperties":
        self.octets = bytes(encoded[offset:])
        return self

    def encode(self) -> list[bytes]:
        return [self.octets]


def keep_octets() -> None:
    """From now on the library makes these of all headers that come."""
    pika.spec.props[pika.BasicProperties.INDEX] = RawProperties


class Changes:
    """What a shovel does to the properties of the messages that it moves."""

    def __init__(self, shovel: "Shovel", told: dict[str, str]) -> None:
        self.properties = {
            name: Timestamp(value) if name == "timestamp" else value
            for name, value in shovel.dest_publish_properties.items()
        }
        self.told = Table(dict(told)) if shovel.dest_add_forward_headers else None
        self.with_timestamp = shovel.dest_add_timestamp_header

    def applied(self, octets: bytes) -> bytes:
        """MalformedSyntax for what no client may send."""
        if not self.properties and self.told is None and not self.with_timestamp:
            return octets
        properties = decode_properties(octets)
        for name, value in self.properties.items():
            setattr(properties, name, value)
        if self.told is not None:
            tell(properties, SHOVELLED, self._forwarded(properties))
        if self.with_timestamp:
            tell(properties, SHOVELLED_TIMESTAMP, int(time.time()))
        return properties.encode()

    def _forwarded(self, properties: BasicProperties) -> Array:
        """Before what other shovels have written there."""
        before = None if properties.headers is None else properties.headers.get(SHOVELLED)
        return Array([self.told, *(before if isinstance(before, list) else ())])


def tell(properties: BasicProperties, name: str, value: object) -> None:
    headers = Table() if properties.headers is None else properties.headers.copy()
    headers[name] = value
    headers.types.pop(name, None)
    properties.headers = headers
