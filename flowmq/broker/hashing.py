"""Arguments of x-consistent-hash exchanges, in RabbitMQ's spelling and in LavinMQ's, and the weights in their bindings.

How a hash becomes a queue is in flowmq._hashing.
"""

import re

from flowmq.amqp.erlang import binary
from flowmq.amqp.errors import PreconditionFailed
from flowmq.amqp.tables import Table
from flowmq.broker.names import octets

HASH_ON = {"hash-header": "hash_header", "x-hash-on": "hash_header", "hash-property": "hash_property"}
ALGORITHM = "x-algorithm"
ALGORITHMS = ("ring", "jump")
PROPERTIES = ("correlation_id", "message_id", "timestamp")
WEIGHT_MAX = 2**32 - 1


def consistent_hash_options(where: str, arguments: Table) -> dict[str, str]:
    """`where` is "exchange 'X' in vhost 'V'"."""
    options = {}
    given = [name for name in HASH_ON if name in arguments]
    if len(given) > 1:
        raise PreconditionFailed(f"{given[0]} and {given[1]} are mutually exclusive")
    for name in given:
        options[HASH_ON[name]] = text_of(where, arguments, name)
    if options.get("hash_property", PROPERTIES[0]) not in PROPERTIES:
        raise PreconditionFailed(f"Unsupported property: {options['hash_property']}")
    if ALGORITHM in arguments:
        options["algorithm"] = text_of(where, arguments, ALGORITHM).lower()
        if options["algorithm"] not in ALGORITHMS:
            raise PreconditionFailed(
                f"invalid arg '{ALGORITHM}' for {where}: '{arguments[ALGORITHM]}', expected ring or jump"
            )
    return options


def text_of(where: str, arguments: Table, name: str) -> str:
    value = arguments[name]
    if not isinstance(value, str):
        kind = arguments.type_name(name)
        raise PreconditionFailed(f"invalid arg '{name}' for {where}: expected longstr, got {kind}")
    return value


def check_weight(key: str) -> None:
    """The binding key of an x-consistent-hash exchange says how many parts of the whole the destination gets."""
    if not re.fullmatch("[+-]?[0-9]+", key):
        raise PreconditionFailed(f"The binding key must be an integer: {binary(octets(key))}")
    if int(key) < 1:
        raise PreconditionFailed("The binding key must be greater than 0")
    if int(key) > WEIGHT_MAX:
        raise PreconditionFailed(f"The binding key must not be greater than {WEIGHT_MAX}")
