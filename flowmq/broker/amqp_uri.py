"""amqp:// and amqps:// URIs, as RabbitMQ's shovels have them, and the same without what must not be shown.

    amqp[s]://user:password@host:port/vhost?option=value        what is not plain is percent-encoded

Without a host it is this broker: `amqp://` or `amqp:///vhost`. Not here: how one connects.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

MASK = "***"
PORTS = {"amqp": 5672, "amqps": 5671}
PORT_MAX = HEARTBEAT_MAX = 65535
TIMEOUT_MS_MAX = 3_600_000
DEFAULT_USER = "guest"
# Greedy: whatever might be a password goes, in what is no URI as well.
PASSWORD = re.compile(r"(://[^:@]*):.*@", re.DOTALL)
CREDENTIALS = re.compile(r"://.*@", re.DOTALL)


class UriError(ValueError):
    """A URI that cannot be; the message is one line and holds no password."""


@dataclass(frozen=True, slots=True)
class AmqpUri:
    host: str  # "" is this broker
    port: int
    user: str
    password: str
    vhost: str
    tls: bool
    options: dict[str, Any] = field(default_factory=dict)
    shown: str = ""  # without user and password

    @property
    def is_here(self) -> bool:
        return not self.host


def masked(text: str) -> str:
    """For whoever may see everything but passwords."""
    return PASSWORD.sub(rf"\1:{MASK}@", text)


def without_credentials(text: str) -> str:
    return CREDENTIALS.sub("://", text)


def parse(text: str) -> AmqpUri:
    split, port = _split(text)
    if split.scheme not in PORTS:
        raise UriError(f"'{masked(text)}' begins with neither amqp:// nor amqps://")
    user, password = split.username, split.password
    if password == MASK:
        raise UriError(f"'{masked(text)}': {MASK} is what is shown in the place of a password; give the password")
    options = _options(text, split)
    tls = split.scheme == "amqps"
    if not tls and (wrong := [name for name in options if name in TLS_OPTIONS]):
        raise UriError(f"'{masked(text)}': {', '.join(wrong)} mean something with amqps:// only")
    host = split.hostname or ""
    if not host and (tls or options or user is not None or port is not None):
        raise UriError(
            f"'{masked(text)}': without a host it is this broker, which is entered as the user who sets the shovel: "
            "there can be no user, port, TLS or option"
        )
    return AmqpUri(
        host,
        port or PORTS[split.scheme],
        DEFAULT_USER if user is None else unquote(user),
        DEFAULT_USER if password is None else unquote(password),
        _vhost(text, split),
        tls,
        options,
        without_credentials(text),
    )


def _split(text: str) -> tuple[SplitResult, int | None]:
    """What the library says of a wrong one may hold parts of it."""
    if not text.isprintable() or " " in text or "://" not in text:
        raise UriError("it is no URI like amqp://user:password@host:5672/vhost")
    if "#" in text:
        raise UriError(f"'{masked(text)}': a # within it is written %23")
    try:
        split = urlsplit(text)
        port = split.port
    except ValueError:
        raise UriError(f"'{masked(text)}' is no URI: its host or port is wrong") from None
    if port == 0:
        raise UriError(f"'{masked(text)}': the port is 0")
    return split, port


def _vhost(text: str, split: SplitResult) -> str:
    try:
        return unquote(split.path[1:], errors="strict") or "/"
    except UnicodeDecodeError:
        raise UriError(f"'{masked(text)}': the vhost is no UTF-8") from None


def _options(text: str, split: SplitResult) -> dict[str, Any]:
    options: dict[str, Any] = {}
    for name, value in parse_qsl(split.query, keep_blank_values=True):
        if name not in OPTIONS:
            raise UriError(f"'{masked(text)}': there is no option '{name}'; known are {', '.join(OPTIONS)}")
        try:
            options[name] = OPTIONS[name](value)
        except ValueError as error:
            raise UriError(f"'{masked(text)}': {name} {error}") from None
    return options


# ---------------------------------------------------------------------------------------------------- the options


def _number(lowest: int, highest: int) -> Callable[[str], int]:
    def read(value: str) -> int:
        if not (value.isascii() and value.isdigit() and lowest <= int(value[:9]) <= highest and len(value) < 9):
            raise ValueError(f"must be a number from {lowest} to {highest}")
        return int(value)

    return read


def _one_of(*words: str) -> Callable[[str], str]:
    def read(value: str) -> str:
        if value not in words:
            raise ValueError(f"must be one of {', '.join(words)}")
        return value

    return read


def _text(value: str) -> str:
    if not value or "\0" in value:
        raise ValueError("must not be empty")
    return value


TLS_OPTIONS: dict[str, Callable[[str], Any]] = {
    "cacertfile": _text,
    "certfile": _text,
    "keyfile": _text,
    "verify": _one_of("verify_peer", "verify_none"),
    "server_name_indication": _text,
}
OPTIONS: dict[str, Callable[[str], Any]] = {
    "heartbeat": _number(0, HEARTBEAT_MAX),  # seconds
    "connection_timeout": _number(1, TIMEOUT_MS_MAX),  # milliseconds
    "auth_mechanism": _one_of("plain", "external"),
    **TLS_OPTIONS,
}
