"""What a publisher may ask for in a message's properties, beyond the common case that the channel reads itself."""

from flowmq.amqp.erlang import Atom, term
from flowmq.amqp.errors import MalformedSyntax, PreconditionFailed
from flowmq.amqp.tables import Array, Table, decode_table

EXPIRATION_MS_MAX = 315_360_000_000  # ten years of 365 days
SENDER_SELECTED = ("CC", "BCC")


def expiration_ms(expiration: bytes) -> int:
    """Milliseconds of an `expiration` property; anything but a decimal number in range is refused."""
    text = expiration.decode("utf-8", "surrogateescape")
    sign = 1 if text[:1] in "+-" and text[:1] else 0
    digits = len(text) - len(text[sign:].lstrip("0123456789"))
    if digits == sign:
        raise PreconditionFailed(f"invalid expiration '{text}': no_integer")
    value = int(text[:digits])
    if digits < len(text):
        raise PreconditionFailed(f"invalid expiration '{text}': {term((Atom('leftover_string'), text[digits:]))}")
    if value < 0:
        raise PreconditionFailed(f"invalid expiration '{text}': {term((Atom('value_negative'), value))}")
    if value > EXPIRATION_MS_MAX:
        raise PreconditionFailed(f"invalid expiration '{text}': {term((Atom('value_too_large'), value))}")
    return value


def sender_selected_keys(headers: bytes) -> list[bytes]:
    """The further routing keys in the CC and BCC headers of a field table (without its length)."""
    table = decode_headers(headers)
    return [key for name in SENDER_SELECTED if name in table for key in keys_of(table, name)]


def keys_of(table: Table, name: str) -> list[bytes]:
    value = table[name]
    if not isinstance(value, Array):
        kind = table.type_name(name)
        raise PreconditionFailed(f'invalid message: {{unacceptable_type_in_header,"{name}",{kind}}}')
    for at, key in enumerate(value):
        if not isinstance(key, str):
            raise PreconditionFailed(f'invalid message: {{unacceptable_type_in_header,"{name}",{value.type_name(at)}}}')
    return [str(key).encode("utf-8", "surrogateescape") for key in value]


def decode_headers(headers: bytes) -> Table:
    try:
        return decode_table(headers)
    except MalformedSyntax as error:
        raise PreconditionFailed(f"invalid message: {error.explanation}") from error
