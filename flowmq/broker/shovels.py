"""What a shovel is: the value of a parameter of the component `shovel`, with RabbitMQ's keys, checked and as fields.

What is not here is refused by name. A shovel moves messages from a queue, or from an exchange through a queue of its
own, to a queue or an exchange, over AMQP. Not here: the process that does it (flowmq/shovel).
"""

import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from flowmq.amqp.properties import PROPERTIES
from flowmq.broker.amqp_uri import AmqpUri, UriError, masked, parse
from flowmq.broker.names import octets

SHOVEL = "shovel"  # the component
ON_CONFIRM, ON_PUBLISH, NO_ACK = "on-confirm", "on-publish", "no-ack"
NEVER, QUEUE_LENGTH = "never", "queue-length"
PROTOCOL = "amqp091"
NAME_BYTES_MAX = 255
PREFETCH_MAX = 65535
MESSAGES_MAX = 2**63 - 1
DELAY_SECONDS_MIN, DELAY_SECONDS_MAX = 0.1, 86400
URIS = ("src-uri", "dest-uri")  # the keys with passwords in them
NUMBERS = {"delivery_mode": 2, "priority": 255, "timestamp": 2**63 - 1}  # of the properties, and their highest


class ShovelError(ValueError):
    """A shovel that cannot be; the message is one line, without passwords."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shovel:
    src_uris: tuple[AmqpUri, ...]
    dest_uris: tuple[AmqpUri, ...]
    src_queue: str | None = None
    src_queue_args: dict[str, Any] = field(default_factory=dict)
    src_predeclared: bool = False
    src_exchange: str | None = None
    src_exchange_key: str = ""
    src_consumer_args: dict[str, Any] = field(default_factory=dict)
    src_prefetch_count: int = 1000
    src_delete_after: int | str = NEVER  # or queue-length, or how many messages
    dest_queue: str | None = None
    dest_queue_args: dict[str, Any] = field(default_factory=dict)
    dest_predeclared: bool = False
    dest_exchange: str | None = None  # None: the one that a message was published to before
    dest_exchange_key: str | None = None  # None: the routing key that it had
    dest_add_forward_headers: bool = False
    dest_add_timestamp_header: bool = False
    dest_publish_properties: dict[str, Any] = field(default_factory=dict)
    ack_mode: str = ON_CONFIRM
    reconnect_delay: float = 5.0

    @property
    def vhosts_here(self) -> set[str]:
        """Of this broker, those that it enters."""
        return {uri.vhost for uri in (*self.src_uris, *self.dest_uris) if uri.is_here}


def read_shovel(value: object) -> Shovel:
    if not isinstance(value, Mapping):
        raise ShovelError("the value of a shovel is an object with keys such as src-uri and dest-queue")
    _check_protocols(value)
    unknown = [str(key) for key in value if key not in KEYS]
    if unknown:
        raise ShovelError(f"a shovel has no key '{unknown[0]}'")
    fields: dict[str, Any] = {}
    for key, (name, read) in KEYS.items():
        if key not in value:
            continue
        try:
            given = read(value[key])
        except (UriError, ValueError) as error:
            raise ShovelError(f"{key}: {error}") from None
        # Newer names come first, and count.
        fields.setdefault(name, given)
    for key in URIS:
        if KEYS[key].field not in fields:
            raise ShovelError(f"a shovel needs the key '{key}'")
    fields.pop("protocol_src", None)
    fields.pop("protocol_dest", None)
    shovel = Shovel(**fields)
    _check_together(shovel, fields)
    return shovel


def _check_protocols(value: Mapping[Any, Any]) -> None:
    """Before other keys, of which another protocol has others."""
    for key in ("src-protocol", "dest-protocol"):
        if key in value and value[key] != PROTOCOL:
            raise ShovelError(f"{key}: must be {PROTOCOL}: AMQP 1.0 is not supported")


def _check_together(shovel: Shovel, given: Mapping[str, Any]) -> None:
    """What is wrong only beside something else."""
    if (shovel.src_queue is None) == (shovel.src_exchange is None):
        both = shovel.src_queue is not None
        raise ShovelError(
            f"{'Cannot' if both else 'Must'} specify 'src-exchange' {'and' if both else 'or'} 'src-queue'"
        )
    if shovel.dest_queue is not None and shovel.dest_exchange is not None:
        raise ShovelError("Cannot specify 'dest-exchange' and 'dest-queue'")
    if shovel.ack_mode == NO_ACK and isinstance(shovel.src_delete_after, int):
        raise ShovelError("Cannot specify 'no-ack' and numerical 'delete-after'")
    for name, needed in NEEDS.items():
        if name in given and getattr(shovel, needed) is None:
            raise ShovelError(f"'{name.replace('_', '-')}' means nothing without '{needed.replace('_', '-')}'")
    if shovel.dest_queue is not None and shovel.dest_exchange_key is not None:
        raise ShovelError("'dest-exchange-key' means nothing with 'dest-queue'")
    if shovel.src_predeclared and shovel.src_queue_args:
        raise ShovelError("'src-queue-args' mean nothing with 'src-predeclared'")
    if shovel.dest_predeclared and shovel.dest_queue_args:
        raise ShovelError("'dest-queue-args' mean nothing with 'dest-predeclared'")


NEEDS = {
    "src_queue_args": "src_queue",
    "src_predeclared": "src_queue",
    "src_exchange_key": "src_exchange",
    "dest_queue_args": "dest_queue",
    "dest_predeclared": "dest_queue",
}


def check_hosts(shovel: Shovel, patterns: Iterable[str]) -> None:
    """May it connect there? A pattern is a host, or a host and a port, with * for any part of it."""
    expressions = [re.compile(re.escape(pattern).replace(r"\*", ".*"), re.IGNORECASE) for pattern in patterns]
    for uri in (*shovel.src_uris, *shovel.dest_uris):
        names = (uri.host, f"{uri.host}:{uri.port}")
        if not uri.is_here and not any(one.fullmatch(name) for one in expressions for name in names):
            raise ShovelError(f"the setting shovels.hosts does not allow shovels to connect to {names[1]}")


def shown(value: Any) -> Any:
    """A value without passwords; those of upstreams have some, too."""
    if not isinstance(value, Mapping):
        return value
    return {key: hidden(given) if key in (*URIS, "uri") else given for key, given in value.items()}


def hidden(given: Any) -> Any:
    if isinstance(given, list):
        return [hidden(one) for one in given]
    return masked(given) if isinstance(given, str) else given


# ------------------------------------------------------------------------------------------------------- the keys


def _uris(given: Any) -> tuple[AmqpUri, ...]:
    texts = given if isinstance(given, list) else [given]
    if not texts or not all(isinstance(text, str) for text in texts):
        raise ValueError("must be a URI or a list of some")
    return tuple(parse(text) for text in texts)


def _text(given: Any) -> str:
    if not isinstance(given, str):
        raise ValueError("must be text")
    if len(octets(given)) > NAME_BYTES_MAX:
        raise ValueError(f"must have at most {NAME_BYTES_MAX} octets")
    return given


def _name(given: Any) -> str:
    if not _text(given):
        raise ValueError("must not be empty")
    return _text(given)


def _flag(given: Any) -> bool:
    if not isinstance(given, bool):
        raise ValueError("must be true or false")
    return given


def _whole(lowest: int, highest: int) -> Callable[[Any], int]:
    def read(given: Any) -> int:
        if not isinstance(given, int) or isinstance(given, bool) or not lowest <= given <= highest:
            raise ValueError(f"must be a whole number from {lowest} to {highest}")
        return given

    return read


def _seconds(given: Any) -> float:
    is_number = isinstance(given, int | float) and not isinstance(given, bool)
    if not is_number or math.isnan(given) or not 0 <= given <= DELAY_SECONDS_MAX:
        raise ValueError(f"must be a number of seconds from 0 to {DELAY_SECONDS_MAX}")
    if 0 < given < DELAY_SECONDS_MIN:
        raise ValueError(f"must be 0 or at least {DELAY_SECONDS_MIN}: others must not be knocked at without a pause")
    return float(given)


def _one_of(*words: str) -> Callable[[Any], str]:
    def read(given: Any) -> str:
        if given not in words:
            raise ValueError(f"must be one of {', '.join(words)}")
        return str(given)

    return read


def _delete_after(given: Any) -> int | str:
    if given in (NEVER, QUEUE_LENGTH):
        return str(given)
    try:
        return _whole(0, MESSAGES_MAX)(given)
    except ValueError:
        raise ValueError(f"must be {NEVER}, {QUEUE_LENGTH} or a number of messages") from None


def _arguments(given: Any) -> dict[str, Any]:
    """What an argument of a queue or a consumer can be, as JSON."""
    if not isinstance(given, dict):
        raise ValueError("must be an object")
    for name, value in given.items():
        _text(name)
        if not isinstance(value, str | int) and value is not None:
            raise ValueError(f"{name} must be text, a whole number, true, false or null")
        if isinstance(value, int) and not -MESSAGES_MAX <= value <= MESSAGES_MAX:
            raise ValueError(f"{name} has more than 64 bits")
    return given


def _properties(given: Any) -> dict[str, Any]:
    if not isinstance(given, dict):
        raise ValueError("must be an object")
    for name, value in given.items():
        if name not in PROPERTIES or name == "headers":
            raise ValueError(f"there is no property '{name}' that can be set")
        try:
            _whole(0, NUMBERS[name])(value) if name in NUMBERS else _text(value)
        except ValueError as error:
            raise ValueError(f"{name} {error}") from None
    return given


class Key(NamedTuple):
    field: str
    read: Callable[[Any], Any]


KEYS: dict[str, Key] = {
    "src-uri": Key("src_uris", _uris),
    "src-protocol": Key("protocol_src", str),
    "src-queue": Key("src_queue", _name),
    "src-queue-args": Key("src_queue_args", _arguments),
    "src-predeclared": Key("src_predeclared", _flag),
    "src-exchange": Key("src_exchange", _name),
    "src-exchange-key": Key("src_exchange_key", _text),
    "src-consumer-args": Key("src_consumer_args", _arguments),
    "src-prefetch-count": Key("src_prefetch_count", _whole(1, PREFETCH_MAX)),
    "src-delete-after": Key("src_delete_after", _delete_after),
    "dest-uri": Key("dest_uris", _uris),
    "dest-protocol": Key("protocol_dest", str),
    "dest-queue": Key("dest_queue", _name),
    "dest-queue-args": Key("dest_queue_args", _arguments),
    "dest-predeclared": Key("dest_predeclared", _flag),
    "dest-exchange": Key("dest_exchange", _text),
    "dest-exchange-key": Key("dest_exchange_key", _text),
    "dest-add-forward-headers": Key("dest_add_forward_headers", _flag),
    "dest-add-timestamp-header": Key("dest_add_timestamp_header", _flag),
    "dest-publish-properties": Key("dest_publish_properties", _properties),
    "ack-mode": Key("ack_mode", _one_of(ON_CONFIRM, ON_PUBLISH, NO_ACK)),
    "reconnect-delay": Key("reconnect_delay", _seconds),
    # What they were called before.
    "prefetch-count": Key("src_prefetch_count", _whole(1, PREFETCH_MAX)),
    "delete-after": Key("src_delete_after", _delete_after),
    "add-forward-headers": Key("dest_add_forward_headers", _flag),
    "add-timestamp-header": Key("dest_add_timestamp_header", _flag),
    "publish-properties": Key("dest_publish_properties", _properties),
}
