"""Values of AMQP as JSON and MessagePack know them, and back."""

import base64
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

from flowmq.amqp.properties import PROPERTIES, BasicProperties
from flowmq.amqp.tables import Array, Table, Timestamp, encode_table
from flowmq.server.control.registry import bad_request

INTEGER_MAX, INTEGER_MIN = 2**63 - 1, -(2**63)


def plain(value: Any) -> Any:
    """A field's value without AMQP's types."""
    if isinstance(value, dict):
        return {name: plain(item) for name, item in value.items()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, bytes):
        return value.decode("utf-8", "surrogateescape")
    if isinstance(value, Timestamp | bool | int | str) or value is None:
        return int(value) if isinstance(value, Timestamp) else value
    if isinstance(value, Decimal | datetime):
        return str(value)
    return value


def table(value: Mapping[str, Any]) -> Table:
    """A field table of what JSON can say."""
    made = Table({name: field(item) for name, item in value.items()})
    try:
        encode_table(made)
    except Exception as error:
        raise bad_request(f"arguments: {error}") from error
    return made


def field(value: Any) -> Any:
    if isinstance(value, dict):
        return Table({name: field(item) for name, item in value.items()})
    if isinstance(value, list):
        return Array([field(item) for item in value])
    if isinstance(value, int) and not INTEGER_MIN <= value <= INTEGER_MAX:
        raise bad_request(f"arguments: {value} has more than 64 bits")
    return value


def plain_properties(properties: BasicProperties) -> dict[str, Any]:
    """Those that are there."""
    found = {name: getattr(properties, name) for name in PROPERTIES}
    return {name: plain(value) for name, value in found.items() if value is not None}


def properties_of(given: Mapping[str, Any]) -> BasicProperties:
    kept: dict[str, Any] = {}
    for name, value in given.items():
        if name not in PROPERTIES:
            continue  # clients of RabbitMQ's API send others, and get away with it
        if name == "headers":
            kept[name] = table(value if isinstance(value, dict) else {})
        elif name in ("delivery_mode", "priority"):
            kept[name] = whole_number(name, value, 255)
        elif name == "timestamp":
            kept[name] = Timestamp(whole_number(name, value, 2**64 - 1))
        elif isinstance(value, str) and len(value.encode("utf-8", "surrogateescape")) <= 255:
            kept[name] = value
        else:
            raise bad_request(f"property {name}: must be a text of at most 255 octets")
    return BasicProperties(**kept)


def whole_number(name: str, value: Any, highest: int) -> int:
    try:
        number = int(value)
    except (TypeError, ValueError):
        number = -1
    if not 0 <= number <= highest:
        raise bad_request(f"property {name}: must be a number from 0 to {highest}")
    return number


def payload(body: bytes, encoding: str, truncate: int | None) -> dict[str, Any]:
    """A body as text if it is one, or in base64."""
    shown = body if truncate is None else body[:truncate]
    if encoding == "auto":
        try:
            return {"payload": shown.decode("utf-8"), "payload_encoding": "string", "payload_bytes": len(body)}
        except UnicodeDecodeError:
            pass
    return {"payload": base64.b64encode(shown).decode(), "payload_encoding": "base64", "payload_bytes": len(body)}


def body_of(text: str, encoding: str) -> bytes:
    if encoding == "string":
        return text.encode("utf-8", "surrogateescape")
    try:
        return base64.b64decode(text, validate=True)
    except ValueError as error:
        raise bad_request(f"payload: not base64: {error}") from None
