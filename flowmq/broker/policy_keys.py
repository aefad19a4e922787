"""What may stand in the definition of a policy: a table of keys and the values they take.

Which value counts where an argument and policies say different things is in flowmq.broker.settings.
"""

import difflib
from collections.abc import Callable, Mapping
from typing import NamedTuple

from flowmq.broker.publishing import EXPIRATION_MS_MAX
from flowmq.broker.settings import OVERFLOWS, RETRY_TYPES, UNLIMITED

NUMBER_MAX = 2**63 - 1


class PolicyError(ValueError):
    """A policy that cannot be; the message is one line that says why."""


class Key(NamedTuple):
    is_valid: Callable[[object], bool]
    expected: str


def integer(lowest: int, highest: int = NUMBER_MAX) -> Key:
    expected = f"an integer of at least {lowest}" if highest == NUMBER_MAX else f"an integer from {lowest} to {highest}"
    return Key(lambda value: type(value) is int and lowest <= value <= highest, expected)


def is_list_of_texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def one_of(values: tuple[str, ...]) -> Key:
    return Key(lambda value: value in values, f"one of {', '.join(values)}")


TEXT = Key(lambda value: isinstance(value, str), "a text")
NODES = Key(lambda value: isinstance(value, int) or is_list_of_texts(value), "a number, or a list of texts")
COUNT, POSITIVE = integer(0), integer(1)
MILLISECONDS, POSITIVE_MILLISECONDS = integer(0, EXPIRATION_MS_MAX), integer(1, EXPIRATION_MS_MAX)

WITH_EFFECT: dict[str, Key] = {
    "message-ttl": MILLISECONDS,
    "expires": POSITIVE_MILLISECONDS,
    "max-length": COUNT,
    "max-length-bytes": COUNT,
    "overflow": one_of(OVERFLOWS),
    "dead-letter-exchange": TEXT,
    "dead-letter-routing-key": TEXT,
    # Nothing to choose: a dead letter is never lost on its way, which is more than either asks for.
    "dead-letter-strategy": one_of(("at-most-once", "at-least-once")),
    "delivery-limit": integer(UNLIMITED),
    "delayed-retry-type": one_of(RETRY_TYPES),
    "delayed-retry-min": MILLISECONDS,
    "delayed-retry-max": MILLISECONDS,
    "consumer-timeout": POSITIVE_MILLISECONDS,
    "alternate-exchange": TEXT,
}
# About other nodes, other brokers, streams, or how RabbitMQ keeps a queue. Definitions that hold them must not be
# refused: they come with people who move here.
WITHOUT_EFFECT: dict[str, Key] = {
    "ha-mode": TEXT,
    "ha-params": NODES,
    "ha-sync-mode": TEXT,
    "ha-sync-batch-size": POSITIVE,
    "ha-promote-on-shutdown": TEXT,
    "ha-promote-on-failure": TEXT,
    "federation-upstream": TEXT,
    "federation-upstream-set": TEXT,
    "federation-upstream-pattern": TEXT,
    "queue-master-locator": TEXT,
    "queue-leader-locator": TEXT,
    "queue-mode": one_of(("default", "lazy")),
    "queue-version": integer(1, 2),
    "max-in-memory-length": COUNT,
    "max-in-memory-bytes": COUNT,
    "initial-cluster-size": POSITIVE,
    "target-group-size": POSITIVE,
    "max-age": TEXT,
    "stream-max-segment-size-bytes": COUNT,
    "stream-filter-size-bytes": COUNT,
}
KEYS = {**WITH_EFFECT, **WITHOUT_EFFECT}
# An operator limits; where messages go is for those who own the queues to say.
OPERATOR_KEYS = {
    name: KEYS[name]
    for name in (
        *("expires", "message-ttl", "max-length", "max-length-bytes", "delivery-limit", "overflow"),
        *("max-in-memory-length", "max-in-memory-bytes"),
    )
}


def check_definition(definition: Mapping[object, object], *, operator: bool) -> None:
    known = OPERATOR_KEYS if operator else KEYS
    if not definition:
        raise PolicyError("the definition is empty")
    for name, value in definition.items():
        if name not in known:
            raise PolicyError(unknown(str(name), known, operator=operator))
        key = known[str(name)]
        if not key.is_valid(value):
            raise PolicyError(f"{name} = {value!r}: must be {key.expected}")
        for text in value if isinstance(value, list) else [value]:
            check_text(text)


def unknown(name: str, known: Mapping[str, Key], *, operator: bool) -> str:
    if operator and name in KEYS:
        return f"{name} cannot be set by an operator policy, only {', '.join(known)}"
    close = difflib.get_close_matches(name, known, n=1)
    return f"unknown key {name!r}" + (f"; did you mean {close[0]}?" if close else "")


def check_text(value: object) -> None:
    """What comes from JSON may be half a character, which nothing can write to a disk."""
    if isinstance(value, str) and any("\ud800" <= letter <= "\udfff" for letter in value):
        raise PolicyError(f"{value!r} is not Unicode text")


def keys_without_effect(definition: Mapping[str, object]) -> list[str]:
    return [name for name in definition if name in WITHOUT_EFFECT]
