"""AMQP 0-9-1 in bytes, written for the tests alone: methods, field tables, properties, frames.

It deliberately shares no code with the broker, so that the judge cannot make the judged one's mistakes, and it is
deliberately not strict: a test must be able to encode what no sane client sends.
"""

import struct
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, NamedTuple

METHOD, HEADER, BODY, HEARTBEAT = 1, 2, 3, 8
END = 0xCE
PROTOCOL_HEADER = b"AMQP\x00\x00\x09\x01"

# class, method, name, then fields as name:type; o octet, h short, l long, L longlong, b bit, s short string,
# S long string, t table. A leading underscore is a field of the wire that carries nothing.
SPEC = """
10 10 connection.start version_major:o version_minor:o server_properties:t mechanisms:S locales:S
10 11 connection.start-ok client_properties:t mechanism:s response:S locale:s
10 20 connection.secure challenge:S
10 21 connection.secure-ok response:S
10 30 connection.tune channel_max:h frame_max:l heartbeat:h
10 31 connection.tune-ok channel_max:h frame_max:l heartbeat:h
10 40 connection.open virtual_host:s _1:s _2:b
10 41 connection.open-ok _1:s
10 50 connection.close reply_code:h reply_text:s class_id:h method_id:h
10 51 connection.close-ok
10 60 connection.blocked reason:s
10 61 connection.unblocked
10 70 connection.update-secret new_secret:S reason:s
10 71 connection.update-secret-ok
20 10 channel.open _1:s
20 11 channel.open-ok _1:S
20 20 channel.flow active:b
20 21 channel.flow-ok active:b
20 40 channel.close reply_code:h reply_text:s class_id:h method_id:h
20 41 channel.close-ok
40 10 exchange.declare _1:h exchange:s type:s passive:b durable:b auto_delete:b internal:b nowait:b arguments:t
40 11 exchange.declare-ok
40 20 exchange.delete _1:h exchange:s if_unused:b nowait:b
40 21 exchange.delete-ok
40 30 exchange.bind _1:h destination:s source:s routing_key:s nowait:b arguments:t
40 31 exchange.bind-ok
40 40 exchange.unbind _1:h destination:s source:s routing_key:s nowait:b arguments:t
40 51 exchange.unbind-ok
50 10 queue.declare _1:h queue:s passive:b durable:b exclusive:b auto_delete:b nowait:b arguments:t
50 11 queue.declare-ok queue:s message_count:l consumer_count:l
50 20 queue.bind _1:h queue:s exchange:s routing_key:s nowait:b arguments:t
50 21 queue.bind-ok
50 30 queue.purge _1:h queue:s nowait:b
50 31 queue.purge-ok message_count:l
50 40 queue.delete _1:h queue:s if_unused:b if_empty:b nowait:b
50 41 queue.delete-ok message_count:l
50 50 queue.unbind _1:h queue:s exchange:s routing_key:s arguments:t
50 51 queue.unbind-ok
60 10 basic.qos prefetch_size:l prefetch_count:h global_:b
60 11 basic.qos-ok
60 20 basic.consume _1:h queue:s consumer_tag:s no_local:b no_ack:b exclusive:b nowait:b arguments:t
60 21 basic.consume-ok consumer_tag:s
60 30 basic.cancel consumer_tag:s nowait:b
60 31 basic.cancel-ok consumer_tag:s
60 40 basic.publish _1:h exchange:s routing_key:s mandatory:b immediate:b
60 50 basic.return reply_code:h reply_text:s exchange:s routing_key:s
60 60 basic.deliver consumer_tag:s delivery_tag:L redelivered:b exchange:s routing_key:s
60 70 basic.get _1:h queue:s no_ack:b
60 71 basic.get-ok delivery_tag:L redelivered:b exchange:s routing_key:s message_count:l
60 72 basic.get-empty _1:s
60 80 basic.ack delivery_tag:L multiple:b
60 90 basic.reject delivery_tag:L requeue:b
60 100 basic.recover-async requeue:b
60 110 basic.recover requeue:b
60 111 basic.recover-ok
60 120 basic.nack delivery_tag:L multiple:b requeue:b
85 10 confirm.select nowait:b
85 11 confirm.select-ok
90 10 tx.select
90 11 tx.select-ok
90 20 tx.commit
90 21 tx.commit-ok
90 30 tx.rollback
90 31 tx.rollback-ok
"""

PROPERTIES = (  # from flag bit 15 downwards
    ("content_type", "s"),
    ("content_encoding", "s"),
    ("headers", "t"),
    ("delivery_mode", "o"),
    ("priority", "o"),
    ("correlation_id", "s"),
    ("reply_to", "s"),
    ("expiration", "s"),
    ("message_id", "s"),
    ("timestamp", "L"),
    ("type", "s"),
    ("user_id", "s"),
    ("app_id", "s"),
    ("cluster_id", "s"),
)


class Layout(NamedTuple):
    class_id: int
    method_id: int
    name: str
    fields: tuple[tuple[str, str], ...]


def _read_spec() -> list[Layout]:
    rows = [line.split() for line in SPEC.strip().splitlines()]
    split = [tuple(field.split(":")) for row in rows for field in row[3:]]
    assert all(len(pair) == 2 for pair in split)
    return [Layout(int(r[0]), int(r[1]), r[2], tuple((f.split(":")[0], f.split(":")[1]) for f in r[3:])) for r in rows]


LAYOUTS = _read_spec()
BY_NAME = {layout.name: layout for layout in LAYOUTS}
BY_ID = {(layout.class_id, layout.method_id): layout for layout in LAYOUTS}
WITH_CONTENT = {"basic.publish", "basic.return", "basic.deliver", "basic.get-ok"}


class Typed(NamedTuple):
    """A table value with the wire letter it must travel under."""

    letter: str
    value: Any


@dataclass
class Method:
    """A method as it came, its content with it; fields are attributes too."""

    name: str
    fields: dict[str, Any]
    channel: int = 0
    header: bytes = b""
    body: bytes = b""

    def __getattr__(self, name: str) -> Any:
        try:
            return self.__dict__["fields"][name]
        except KeyError:
            raise AttributeError(name) from None

    @property
    def properties(self) -> dict[str, Any]:
        return decode_properties(self.header[12:])

    def __str__(self) -> str:
        shown = ", ".join(f"{key}={value!r}" for key, value in self.fields.items() if not key.startswith("_"))
        return f"{self.name}({shown})" + (f" with {len(self.body)} octets" if self.header else "")


# --- writing -------------------------------------------------------------------------------------------------------


def octets(value: str | bytes) -> bytes:
    return value if isinstance(value, bytes) else value.encode("utf-8", "surrogateescape")


def short_string(value: str | bytes) -> bytes:
    data = octets(value)
    return bytes([len(data)]) + data


def long_string(value: str | bytes) -> bytes:
    data = octets(value)
    return struct.pack(">I", len(data)) + data


def _guess(value: Any) -> Typed:
    if isinstance(value, Typed):
        return value
    if isinstance(value, bool):
        return Typed("t", value)
    if isinstance(value, int):
        return Typed("I" if -(2**31) <= value < 2**31 else "l", value)
    letters = ((float, "d"), (str, "S"), (bytes, "x"), (Decimal, "D"), (dict, "F"), (list, "A"), (type(None), "V"))
    return Typed(next(letter for kind, letter in letters if isinstance(value, kind)), value)


def _decimal(value: Decimal) -> bytes:
    sign, digits, exponent = value.as_tuple()
    number = int("".join(map(str, digits))) * (-1 if sign else 1)
    return struct.pack(">Bi", -int(exponent), number)


NUMBERS = {"b": "b", "B": "B", "s": "h", "u": "H", "I": "i", "i": "I", "l": "q", "T": "Q", "f": "f", "d": "d", "t": "?"}
WRITERS: dict[str, Callable[[Any], bytes]] = {
    "S": long_string,
    "x": long_string,
    "F": lambda value: table(value),
    "A": lambda value: long_string(b"".join(field_value(item) for item in value)),
    "D": _decimal,
    "V": lambda value: b"",
}


def field_value(value: Any) -> bytes:
    letter, plain = _guess(value)
    data = struct.pack(">" + NUMBERS[letter], plain) if letter in NUMBERS else WRITERS[letter](plain)
    return letter.encode() + data


def table_fields(fields: dict[str, Any]) -> bytes:
    return b"".join(short_string(key) + field_value(value) for key, value in fields.items())


def table(fields: dict[str, Any] | bytes) -> bytes:
    return long_string(fields if isinstance(fields, bytes) else table_fields(fields))


PLAIN = {"o": "B", "h": "H", "l": "I", "L": "Q"}
ZERO: dict[str, Any] = {"o": 0, "h": 0, "l": 0, "L": 0, "b": False, "s": "", "S": "", "t": {}}
STRINGS: dict[str, Callable[[Any], bytes]] = {"s": short_string, "S": long_string, "t": table}


def _scalar(letter: str, value: Any) -> bytes:
    return struct.pack(">" + PLAIN[letter], value) if letter in PLAIN else STRINGS[letter](value)


def encode_arguments(layout: Layout, values: dict[str, Any]) -> bytes:
    unknown = set(values) - {name for name, _ in layout.fields}
    assert not unknown, f"{layout.name} has no field {unknown}"
    parts, bits, count = [], 0, 0
    for name, letter in (*layout.fields, ("", "")):
        if letter == "b":
            bits |= bool(values.get(name)) << count
            count += 1
            continue
        if count:
            parts.append(bytes([bits]))
            bits = count = 0
        if letter:
            parts.append(_scalar(letter, values.get(name, ZERO[letter])))
    return b"".join(parts)


def method_payload(name: str, **values: Any) -> bytes:
    layout = BY_NAME[name]
    return struct.pack(">HH", layout.class_id, layout.method_id) + encode_arguments(layout, values)


def frame(kind: int, channel: int, payload: bytes, end: int = END) -> bytes:
    return struct.pack(">BHI", kind, channel, len(payload)) + payload + bytes([end])


def method_frame(channel: int, name: str, **values: Any) -> bytes:
    return frame(METHOD, channel, method_payload(name, **values))


def encode_properties(values: dict[str, Any]) -> bytes:
    """Property flags and list, as they stand in a content header."""
    assert not set(values) - {name for name, _ in PROPERTIES}, values
    flags = sum(1 << (15 - index) for index, (name, _) in enumerate(PROPERTIES) if name in values)
    present = [_scalar(letter, values[name]) for name, letter in PROPERTIES if name in values]
    return struct.pack(">H", flags) + b"".join(present)


def content_frames(
    channel: int, body: bytes, properties: dict[str, Any] | bytes | None = None, frame_max: int = 131072
) -> bytes:
    data = properties if isinstance(properties, bytes) else encode_properties(properties or {})
    header = frame(HEADER, channel, struct.pack(">HHQ", 60, 0, len(body)) + data)
    step = frame_max - 8
    return header + b"".join(frame(BODY, channel, body[at : at + step]) for at in range(0, len(body), step))


# --- reading -------------------------------------------------------------------------------------------------------


class Cursor:
    """Reads values one after another and fails loudly where octets are missing."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    @property
    def done(self) -> bool:
        return self.at == len(self.data)

    def take(self, count: int) -> bytes:
        piece = self.data[self.at : self.at + count]
        assert len(piece) == count, f"{count} octets wanted, {len(piece)} left in {self.data!r}"
        self.at += count
        return piece

    def number(self, code: str) -> Any:
        return struct.unpack(">" + code, self.take(struct.calcsize(">" + code)))[0]

    def short_string(self) -> str:
        return self.take(self.number("B")).decode("utf-8", "surrogateescape")

    def long_string(self) -> bytes:
        return self.take(self.number("I"))

    def value(self) -> Any:
        letter = chr(self.number("B"))
        if letter in NUMBERS:
            return self.number(NUMBERS[letter])
        if letter == "D":
            scale, number = self.number("B"), self.number("i")
            return Decimal(number).scaleb(-scale)
        if letter == "V":
            return None
        data = self.long_string()
        if letter == "S":
            return data.decode("utf-8", "surrogateescape")
        if letter == "x":
            return data
        assert letter in "FA", f"table value of type {letter!r}"
        return decode_table(data) if letter == "F" else decode_array(data)

    def scalar(self, letter: str) -> Any:
        if letter in PLAIN:
            return self.number(PLAIN[letter])
        if letter == "s":
            return self.short_string()
        return decode_table(self.long_string()) if letter == "t" else self.long_string()


def decode_table(data: bytes) -> dict[str, Any]:
    cursor, fields = Cursor(data), {}
    while not cursor.done:
        key = cursor.short_string()
        fields[key] = cursor.value()
    return fields


def decode_array(data: bytes) -> list[Any]:
    cursor, items = Cursor(data), []
    while not cursor.done:
        items.append(cursor.value())
    return items


def decode_method(payload: bytes, channel: int = 0) -> Method:
    cursor = Cursor(payload)
    layout = BY_ID[cursor.number("H"), cursor.number("H")]
    values: dict[str, Any] = {}
    bits = count = 0
    for name, letter in layout.fields:
        if letter != "b":
            count = 0
            values[name] = cursor.scalar(letter)
            continue
        if count == 0:
            bits = cursor.number("B")
        values[name] = bool(bits >> count & 1)
        count += 1
    assert cursor.done, f"octets after the end of {layout.name}: {payload!r}"
    return Method(layout.name, values, channel)


def decode_properties(data: bytes) -> dict[str, Any]:
    cursor = Cursor(data)
    flags = cursor.number("H")
    values = {name: cursor.scalar(letter) for i, (name, letter) in enumerate(PROPERTIES) if flags >> (15 - i) & 1}
    assert cursor.done, f"octets after the properties: {data!r}"
    return values
