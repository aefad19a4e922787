"""Arguments of queues, exchanges and consumers: which mean something, what values they take, when two sets are equal.

Unknown arguments are kept and mean nothing, as with RabbitMQ. A known one that does nothing here yet is refused: to
accept it would promise what is not done.
"""

from collections.abc import Callable, Mapping

from flowmq.amqp.errors import PreconditionFailed
from flowmq.amqp.tables import INTEGER_TYPE_NAMES, Table, type_name

NOTHING = object()


def queue_type(value: object) -> str | None:
    if not isinstance(value, str):
        return f"{{unacceptable_type,{type_name(value)}}}"
    return None if value == "classic" else f"\"unsupported queue type '{value}'\""


def anything(value: object) -> str | None:
    return None


# Arguments that tune how RabbitMQ keeps a queue; there is nothing to tune here, whatever they say.
QUEUE_ARGUMENTS: dict[str, Callable[[object], str | None]] = {
    "x-queue-type": queue_type,
    "x-queue-mode": anything,
    "x-queue-version": anything,
    "x-queue-master-locator": anything,
    "x-queue-leader-locator": anything,
}
NOT_YET = (
    "x-message-ttl",
    "x-expires",
    "x-dead-letter-exchange",
    "x-dead-letter-routing-key",
    "x-dead-letter-strategy",
    "x-max-length",
    "x-max-length-bytes",
    "x-overflow",
    "x-max-priority",
    "x-single-active-consumer",
    "x-delivery-limit",
)
# What a queue without the argument is.
DEFAULTS: dict[str, object] = {"x-queue-type": "classic"}


def check_queue_arguments(where: str, arguments: Mapping[str, object]) -> None:
    """`where` is "queue 'Q' in vhost 'V'"."""
    for name in NOT_YET:
        if name in arguments:
            raise PreconditionFailed(f"argument '{name}' for {where} is not supported by this broker yet")
    for name, check in QUEUE_ARGUMENTS.items():
        if name in arguments:
            wrong = check(arguments[name])
            if wrong:
                raise PreconditionFailed(f"invalid arg '{name}' for {where}: {wrong}")


def check_equivalent(where: str, names: tuple[str, ...], current: Table, received: Table) -> None:
    """Redeclaring is fine with the same values of the arguments that matter; integer width does not matter."""
    for name in names:
        default = DEFAULTS.get(name, NOTHING)
        ours, theirs = current.get(name, default), received.get(name, default)
        if ours == theirs or (ours is NOTHING and theirs is NOTHING):
            continue
        raise PreconditionFailed(
            f"inequivalent arg '{name}' for {where}: received {described(received, name, theirs)} "
            f"but current is {described(current, name, ours)}"
            if NOTHING in (ours, theirs)
            else f"inequivalent arg '{name}' for {where}: received '{theirs}' but current is '{ours}'"
        )


def described(table: Table, name: str, value: object) -> str:
    if value is NOTHING:
        return "none"
    kind = table.type_name(name) if name in table else "longstr"
    return f"the value '{value}' of type '{kind}'"


def check_headers_match(arguments: Table) -> None:
    """x-match of a binding to a headers exchange."""
    if "x-match" not in arguments:
        return
    match = arguments["x-match"]
    if not isinstance(match, str):
        kind = arguments.type_name("x-match")
        raise PreconditionFailed(f"Invalid x-match field type {kind} (value {match}); expected longstr")
    if match not in ("all", "any", "all-with-x", "any-with-x"):
        raise PreconditionFailed(
            f'Invalid x-match field value <<"{match}">>; expected all, any, all-with-x, or any-with-x'
        )


def consumer_priority(arguments: Table) -> int:
    """x-priority of basic.consume; 0 when there is none."""
    if "x-priority" not in arguments:
        return 0
    priority = arguments["x-priority"]
    kind = arguments.type_name("x-priority")
    if kind not in INTEGER_TYPE_NAMES or not isinstance(priority, int):
        raise PreconditionFailed(f"invalid arg 'x-priority': \"expected integer, got {kind}\"")
    return max(-(2**31), min(2**31 - 1, priority))
