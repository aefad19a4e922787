"""The responses of the two SASL mechanisms: PLAIN and AMQPLAIN. Octets in, user and password out.

Deliberately not here: whether they are right. Both are text that turns back into the same octets even where they are no
utf-8.
"""

from flowmq.amqp.erlang import binary
from flowmq.amqp.errors import MalformedSyntax
from flowmq.amqp.tables import decode_table
from flowmq.amqp.wire import text


def parse_plain(response: bytes) -> tuple[str, str]:
    """NUL user NUL password, and no third NUL: an authorization identity in front is refused too."""
    parts = response.split(b"\0")
    if len(parts) != 3 or parts[0]:
        raise MalformedSyntax(f"response {binary(response)} invalid")
    return text(parts[1]), text(parts[2])


def parse_amqplain(response: bytes) -> tuple[str, str]:
    """A field table, without the length in front, of which LOGIN and PASSWORD count."""
    fields = decode_table(response)
    user, password = fields.get("LOGIN"), fields.get("PASSWORD")
    if not isinstance(user, str) or not isinstance(password, str):
        raise MalformedSyntax("AMQPLAIN auth info is missing LOGIN or PASSWORD field")
    return user, password
