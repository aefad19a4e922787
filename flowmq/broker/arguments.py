"""Arguments of queues, exchanges and consumers: which mean something, what values they take, when two sets are equal.

Tables of names and checks; a check says what is wrong in RabbitMQ's words. Unknown arguments are kept and mean nothing,
as with RabbitMQ. Not here: what the values do (flowmq.broker.settings).
"""

from collections.abc import Callable, Mapping

from flowmq.amqp.erlang import Atom, Term, term
from flowmq.amqp.errors import PreconditionFailed
from flowmq.amqp.tables import INTEGER_TYPE_NAMES, Table, table_octets
from flowmq.broker.publishing import EXPIRATION_MS_MAX
from flowmq.broker.settings import CLASSIC, OVERFLOWS, QUORUM, RETRY_TYPES, UNLIMITED

PRIORITY_MAX = 255
QUEUE_TYPE = "x-queue-type"
DEAD_LETTER_EXCHANGE = "x-dead-letter-exchange"
ALTERNATE_EXCHANGE = "alternate-exchange"
STREAM = "stream"

# What is wrong with the named argument of the table; None when nothing is.
Check = Callable[[Table, str], Term | None]


# ------------------------------------------------------------------------------------------------------------- checks


def integer(lowest: int, highest: int | None = None, above: str = "value_too_large") -> Check:
    """A whole number of any width; `above` is the word for one that is higher than the highest."""

    def check(arguments: Table, name: str) -> Term | None:
        value, kind = arguments[name], arguments.type_name(name)
        if kind not in INTEGER_TYPE_NAMES or not isinstance(value, int):
            return f"expected integer, got {kind}"
        if value < lowest:
            return (Atom("value_negative" if value < 0 else "value_zero"), value)
        if highest is not None and value > highest:
            return (Atom(above), value)
        return None

    return check


def of_type(*kinds: str) -> Check:
    """A value of one of these types of field tables."""

    def check(arguments: Table, name: str) -> Term | None:
        kind = arguments.type_name(name)
        return None if kind in kinds else (Atom("unacceptable_type"), Atom(kind))

    return check


def one_of(values: tuple[str, ...], otherwise: Callable[[str], Term]) -> Check:
    """One of a few words."""
    is_text = of_type("longstr")

    def check(arguments: Table, name: str) -> Term | None:
        wrong = is_text(arguments, name)
        value = str(arguments[name])
        return wrong if wrong or value in values else otherwise(value)

    return check


def word(name: str) -> Callable[[str], Term]:
    return lambda value: Atom(name)


def unsupported_queue_type(value: str) -> Term:
    return "queue type 'stream' is not supported by this broker yet" if value == STREAM else unsupported("type")(value)


def unsupported(what: str) -> Callable[[str], Term]:
    return lambda value: f"unsupported queue {what} '{value}'"


def dead_letter_routing_key(arguments: Table, name: str) -> Term | None:
    wrong = text(arguments, name)
    return wrong if wrong or DEAD_LETTER_EXCHANGE in arguments else Atom("routing_key_but_no_dlx_defined")


def queue_version(arguments: Table, name: str) -> Term | None:
    value = arguments[name]
    return count(arguments, name) or (None if value in (1, 2) else f"unsupported queue version '{value}'")


def anything(arguments: Table, name: str) -> Term | None:
    return None


count, positive = integer(0), integer(1)
milliseconds, positive_milliseconds = integer(0, EXPIRATION_MS_MAX), integer(1, EXPIRATION_MS_MAX)
text, yes_or_no = of_type("longstr"), of_type("bool")
leader_locator = one_of(
    ("client-local", "balanced", "random", "least-leaders", "min-masters"), word("invalid_queue_locator_arg")
)


# -------------------------------------------------------------------------------------------------------------- tables

DEDUPLICATION_ARGUMENTS: dict[str, Check] = {
    "x-message-deduplication": yes_or_no,
    "x-cache-size": positive,
    "x-cache-ttl": positive_milliseconds,
    "x-deduplication-header": text,
}
# What must stay the same when a queue is declared again, in the order in which RabbitMQ looks at it.
QUEUE_ARGUMENTS: dict[str, Check] = {
    "x-expires": positive_milliseconds,
    "x-message-ttl": milliseconds,
    DEAD_LETTER_EXCHANGE: text,
    "x-dead-letter-routing-key": dead_letter_routing_key,
    "x-dead-letter-strategy": one_of(("at-most-once", "at-least-once"), word("invalid_dlx_strategy")),
    "x-max-length": count,
    "x-max-length-bytes": count,
    "x-max-priority": integer(0, PRIORITY_MAX, "max_value_exceeded"),
    "x-overflow": one_of(OVERFLOWS, word("invalid_overflow")),
    "x-single-active-consumer": yes_or_no,
    QUEUE_TYPE: one_of((CLASSIC, QUORUM), unsupported_queue_type),
    "x-delivery-limit": integer(UNLIMITED),
    "x-delayed-retry-type": one_of(RETRY_TYPES, word("invalid_delayed_retry_type")),
    "x-delayed-retry-min": milliseconds,
    "x-delayed-retry-max": milliseconds,
    "x-consumer-timeout": positive_milliseconds,
    **DEDUPLICATION_ARGUMENTS,
    # How RabbitMQ keeps a queue, and on which of its nodes. Checked and kept; they change nothing here.
    "x-max-in-memory-length": count,
    "x-max-in-memory-bytes": count,
    "x-queue-mode": one_of(("default", "lazy"), unsupported("mode")),
    "x-queue-version": queue_version,
    "x-quorum-initial-group-size": positive,
    "x-queue-leader-locator": leader_locator,
    "x-queue-master-locator": anything,
    "x-member-placement-tag": anything,
    "x-consumer-disconnected-timeout": anything,
}
# A queue that is none would silently not do what these ask for.
STREAM_ARGUMENTS = (
    "x-max-age",
    "x-stream-max-segment-size-bytes",
    "x-stream-filter-size-bytes",
    "x-initial-cluster-size",
)
STREAM_CONSUMER_ARGUMENTS = ("x-stream-offset", "x-stream-filter", "x-stream-match-unfiltered")
EXCHANGE_ARGUMENTS: dict[str, Check] = {
    ALTERNATE_EXCHANGE: text,
    "x-delayed-type": text,
    "x-recent-history-length": positive,
    **DEDUPLICATION_ARGUMENTS,
}
CONSUMER_ARGUMENTS: dict[str, Check] = {
    "x-priority": integer(-(2**63)),
    "x-cancel-on-ha-failover": yes_or_no,
    "x-consumer-timeout": positive_milliseconds,
}


# ----------------------------------------------------------------------------------------------------------- the rules


def queue_type(arguments: Mapping[str, object]) -> str:
    return str(arguments.get(QUEUE_TYPE, CLASSIC))


def with_type(arguments: Table, kind: str, *, durable: bool, exclusive: bool, auto_delete: bool) -> Table:
    """Of a declaration that names no type, where it is to be this one; what cannot be of it is a classic queue."""
    if kind == CLASSIC or QUEUE_TYPE in arguments or not durable or exclusive or auto_delete:
        return arguments
    typed = arguments.copy()
    typed[QUEUE_TYPE] = kind
    return typed


def check_queue_arguments(where: str, arguments: Table) -> None:
    """`where` is "queue 'Q' in vhost 'V'"."""
    if not arguments:
        return
    check_exchange_name(where, arguments, DEAD_LETTER_EXCHANGE)
    check_not_for_streams(where, arguments, STREAM_ARGUMENTS, queue_type(arguments))
    check_arguments(where, arguments, QUEUE_ARGUMENTS)


def check_exchange_arguments(where: str, arguments: Table) -> None:
    if not arguments:
        return
    check_exchange_name(where, arguments, ALTERNATE_EXCHANGE)
    check_arguments(where, arguments, EXCHANGE_ARGUMENTS)


def check_consumer_arguments(where: str, arguments: Table, kind: str) -> None:
    """`kind` is the type of the queue that `where` names."""
    if not arguments:
        return
    check_not_for_streams(where, arguments, STREAM_CONSUMER_ARGUMENTS, kind)
    check_arguments(where, arguments, CONSUMER_ARGUMENTS)


def check_arguments(where: str, arguments: Table, checks: Mapping[str, Check]) -> None:
    for name, check in checks.items():
        wrong = check(arguments, name) if name in arguments else None
        if wrong is not None:
            raise PreconditionFailed(f"invalid arg '{name}' for {where}: {term(wrong)}")


def check_exchange_name(where: str, arguments: Table, name: str) -> None:
    if name in arguments and not isinstance(arguments[name], str):
        kind = arguments.type_name(name)
        raise PreconditionFailed(f"invalid type '{kind}' for arg '{name}' in {where}")


def check_not_for_streams(where: str, arguments: Table, names: tuple[str, ...], kind: str) -> None:
    if kind not in (CLASSIC, QUORUM):
        return
    for name in names:
        if name in arguments:
            raise PreconditionFailed(f"invalid arg '{name}' for {where} of queue type rabbit_{kind}_queue")


def check_queue_type(where: str, kind: str, *, durable: bool, exclusive: bool, auto_delete: bool) -> None:
    """A quorum queue is there for everyone and for good."""
    if kind != QUORUM:
        return
    refused = {"auto-delete": auto_delete, "exclusive-owner": exclusive, "non-durable": not durable}
    for name, is_so in refused.items():
        if is_so:
            raise PreconditionFailed(f"invalid property '{name}' for {where}")


# --------------------------------------------------------------------------------------------------------- equivalence


def check_equivalent(where: str, names: Mapping[str, object], current: Table, received: Table) -> None:
    """Declaring again is fine with the same values of these arguments; integer width does not matter."""
    if not current and not received:
        return
    for name in names:
        if not is_same(name, current, received):
            raise PreconditionFailed(f"inequivalent arg '{name}' for {where}: {difference(name, current, received)}")


def is_same(name: str, current: Table, received: Table) -> bool:
    if name == QUEUE_TYPE:
        return queue_type(current) == queue_type(received)
    if name not in current or name not in received:
        return name not in current and name not in received
    ours, theirs = current[name], received[name]
    return ours == theirs and isinstance(ours, bool) == isinstance(theirs, bool)


def difference(name: str, current: Table, received: Table) -> str:
    if name in current and name in received:
        return f"received '{shown(received[name])}' but current is '{shown(current[name])}'"
    return f"received {described(received, name)} but current is {described(current, name)}"


def described(table: Table, name: str) -> str:
    return f"the value '{shown(table[name])}' of type '{table.type_name(name)}'" if name in table else "none"


def shown(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


# --------------------------------------------------------------------------------------------- bindings and consumers


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
    """x-priority of basic.consume, once it was checked; 0 when there is none."""
    priority = arguments.get("x-priority", 0)
    assert isinstance(priority, int)
    return max(-(2**31), min(2**31 - 1, priority))


def consumer_timeout_ms(arguments: Table) -> int | None:
    """x-consumer-timeout of basic.consume, once it was checked."""
    timeout = arguments.get("x-consumer-timeout")
    assert timeout is None or isinstance(timeout, int)
    return timeout


def canonical(arguments: Table) -> bytes:
    """A binding's arguments as octets that are the same for the same arguments in any order."""
    ordered = Table({name: arguments[name] for name in sorted(arguments)})
    ordered.types.update(arguments.types)
    return table_octets(ordered)
