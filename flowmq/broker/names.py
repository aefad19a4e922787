"""Names and keys: text on the control plane, octets on the data plane.

AMQP says nothing of their encoding; UTF-8 is what everyone sends, and surrogate escapes carry anything else through
unharmed.
"""

RESERVED_PREFIX = "amq."


def octets(name: str) -> bytes:
    return name.encode("utf-8", "surrogateescape")


def text(name: bytes) -> str:
    return name.decode("utf-8", "surrogateescape")


def without_line_breaks(name: str) -> str:
    """As RabbitMQ does for names that are declared: one that looks empty in every log helps nobody."""
    return name.replace("\r", "").replace("\n", "")
