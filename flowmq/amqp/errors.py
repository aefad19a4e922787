"""AMQP's errors: one exception per reply code, raised where a rule breaks.

Deliberately not here: close frames. One place in the server turns an error into channel.close (soft) or
connection.close (hard, and anything that happens on channel 0).
"""

from typing import ClassVar

REPLY_TEXT_BYTES_MAX = 255
DOTS = "..."  # as RabbitMQ does


class AMQPError(Exception):
    """A rule of the protocol was broken. Raise one of the subclasses below, each of which is one reply code."""

    code: ClassVar[int]
    name: ClassVar[str]

    def __init__(self, explanation: str = "", *, class_id: int = 0, method_id: int = 0, limit: str = "") -> None:
        super().__init__(explanation)
        self.explanation = explanation
        self.class_id = class_id
        self.method_id = method_id
        self.limit = limit  # which one was reached, when that is what is wrong

    def __str__(self) -> str:
        return self.reply_text()

    def reply_text(self) -> str:
        """NAME - explanation, short enough for the short string of a close method."""
        return cut(f"{self.name} - {self.explanation}" if self.explanation else self.name)


def cut(text: str, octets_max: int = REPLY_TEXT_BYTES_MAX) -> str:
    """The text, if it takes at most so many octets; else the longest beginning that fits, with three dots behind it.

    A character is never cut in two.
    """
    if octets_of(text) <= octets_max:
        return text
    kept = text[: octets_max - len(DOTS)]
    while octets_of(kept) > octets_max - len(DOTS):
        kept = kept[:-1]
    return kept + DOTS


def octets_of(text: str) -> int:
    return len(text.encode("utf-8", "surrogateescape"))


class SoftError(AMQPError):
    """Closes the channel it happened on."""


class HardError(AMQPError):
    """Closes the connection."""


class ContentTooLarge(SoftError):
    code, name = 311, "CONTENT_TOO_LARGE"


class NoRoute(SoftError):
    code, name = 312, "NO_ROUTE"


class NoConsumers(SoftError):
    code, name = 313, "NO_CONSUMERS"


class AccessRefused(SoftError):
    code, name = 403, "ACCESS_REFUSED"


class NotFound(SoftError):
    code, name = 404, "NOT_FOUND"


class ResourceLocked(SoftError):
    code, name = 405, "RESOURCE_LOCKED"


class PreconditionFailed(SoftError):
    code, name = 406, "PRECONDITION_FAILED"


class ConnectionForced(HardError):
    code, name = 320, "CONNECTION_FORCED"


class InvalidPath(HardError):
    code, name = 402, "INVALID_PATH"


class FrameError(HardError):
    code, name = 501, "FRAME_ERROR"


class MalformedSyntax(HardError):
    """SYNTAX_ERROR, under a name that leaves Python's own SyntaxError alone."""

    code, name = 502, "SYNTAX_ERROR"


class CommandInvalid(HardError):
    code, name = 503, "COMMAND_INVALID"


class ChannelError(HardError):
    code, name = 504, "CHANNEL_ERROR"


class UnexpectedFrame(HardError):
    code, name = 505, "UNEXPECTED_FRAME"


class ResourceError(HardError):
    code, name = 506, "RESOURCE_ERROR"


class NotAllowed(HardError):
    code, name = 530, "NOT_ALLOWED"


class NotImplementedByBroker(HardError):
    """NOT_IMPLEMENTED, under a name that cannot be taken for Python's NotImplementedError."""

    code, name = 540, "NOT_IMPLEMENTED"


class InternalError(HardError):
    code, name = 541, "INTERNAL_ERROR"


ERRORS: dict[int, type[AMQPError]] = {
    error.code: error for side in (SoftError, HardError) for error in side.__subclasses__()
}
