"""Names and keys: text on the control plane, octets on the data plane.

AMQP says nothing of their encoding; UTF-8 is what everyone sends, and surrogate escapes carry anything else through
unharmed.
"""

import secrets
from base64 import urlsafe_b64encode

RESERVED_PREFIX = "amq."
SERVER_NAMED_PREFIX = "amq.gen-"


def server_named() -> str:
    """The name of a queue that a client did not name: nobody can guess it."""
    return SERVER_NAMED_PREFIX + urlsafe_b64encode(secrets.token_bytes(16)).decode("ascii").rstrip("=")


def octets(name: str) -> bytes:
    return name.encode("utf-8", "surrogateescape")


def text(name: bytes) -> str:
    return name.decode("utf-8", "surrogateescape")


def without_line_breaks(name: str) -> str:
    """As RabbitMQ does for names that are declared: one that looks empty in every log helps nobody."""
    return name.replace("\r", "").replace("\n", "")
