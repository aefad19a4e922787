"""What a queue or an exchange is to do: one value for each question, merged from its arguments and its policies.

Everything here has been checked already: arguments by flowmq.broker.arguments, definitions of policies by
flowmq.broker.policy_keys. None is "not set". Times are in milliseconds.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from msgspec import Struct

from flowmq.amqp.tables import Table

CLASSIC, QUORUM = "classic", "quorum"
DROP_HEAD, REJECT_PUBLISH, REJECT_PUBLISH_DLX = "drop-head", "reject-publish", "reject-publish-dlx"
OVERFLOWS = (DROP_HEAD, REJECT_PUBLISH, REJECT_PUBLISH_DLX)
RETRY_DISABLED, RETRY_ALL, RETRY_FAILED, RETRY_RETURNED = "disabled", "all", "failed", "returned"
RETRY_TYPES = (RETRY_DISABLED, RETRY_ALL, RETRY_FAILED, RETRY_RETURNED)
UNLIMITED = -1  # a delivery limit that is none

Definition = Mapping[str, Any]


class QueueSettings(Struct, frozen=True, cache_hash=True):
    message_ttl_ms: int | None = None
    expires_ms: int | None = None
    max_length: int | None = None
    max_length_bytes: int | None = None
    overflow: str = DROP_HEAD
    dead_letter_exchange: str | None = None
    dead_letter_routing_key: str | None = None
    delivery_limit: int | None = None
    delayed_retry_type: str = RETRY_DISABLED
    delayed_retry_min_ms: int | None = None
    delayed_retry_max_ms: int | None = None
    consumer_timeout_ms: int | None = None
    max_priority: int | None = None
    single_active_consumer: bool = False
    queue_type: str = CLASSIC
    deduplication: bool = False
    deduplication_cache_size: int | None = None
    deduplication_cache_ttl_ms: int | None = None
    deduplication_header: str | None = None


class ExchangeSettings(Struct, frozen=True, cache_hash=True):
    alternate_exchange: str | None = None
    deduplication: bool = False
    deduplication_cache_size: int | None = None
    deduplication_cache_ttl_ms: int | None = None
    deduplication_header: str | None = None


# ------------------------------------------------------------------------------------------------- which value counts


def smallest(argument: Any, policy: Any, operator_policy: Any) -> Any:
    """Whoever limits most: nobody can be allowed more by another one's limit."""
    found = None
    for value in (argument, policy, operator_policy):
        if value is not None and value != UNLIMITED and (found is None or value < found):
            found = value
    return found


def argument_first(argument: Any, policy: Any, operator_policy: Any) -> Any:
    return policy if argument is None else argument


def operator_first(argument: Any, policy: Any, operator_policy: Any) -> Any:
    return argument_first(argument, policy, None) if operator_policy is None else operator_policy


class Source(NamedTuple):
    """Where a field's value comes from: an argument, a key of policies, or both."""

    argument: str
    key: str = ""  # what it is in a policy; empty where only the argument says it
    merge: Callable[[Any, Any, Any], Any] = argument_first


DEDUPLICATION = {
    "deduplication": Source("x-message-deduplication"),
    "deduplication_cache_size": Source("x-cache-size"),
    "deduplication_cache_ttl_ms": Source("x-cache-ttl"),
    "deduplication_header": Source("x-deduplication-header"),
}
QUEUE_SOURCES = {
    "message_ttl_ms": Source("x-message-ttl", "message-ttl", smallest),
    "expires_ms": Source("x-expires", "expires", smallest),
    "max_length": Source("x-max-length", "max-length", smallest),
    "max_length_bytes": Source("x-max-length-bytes", "max-length-bytes", smallest),
    "overflow": Source("x-overflow", "overflow", operator_first),
    "dead_letter_exchange": Source("x-dead-letter-exchange", "dead-letter-exchange"),
    "dead_letter_routing_key": Source("x-dead-letter-routing-key", "dead-letter-routing-key"),
    "delivery_limit": Source("x-delivery-limit", "delivery-limit", smallest),
    "delayed_retry_type": Source("x-delayed-retry-type", "delayed-retry-type"),
    "delayed_retry_min_ms": Source("x-delayed-retry-min", "delayed-retry-min", smallest),
    "delayed_retry_max_ms": Source("x-delayed-retry-max", "delayed-retry-max", smallest),
    "consumer_timeout_ms": Source("x-consumer-timeout", "consumer-timeout", smallest),
    "max_priority": Source("x-max-priority"),
    "single_active_consumer": Source("x-single-active-consumer"),
    "queue_type": Source("x-queue-type"),
    **DEDUPLICATION,
}
EXCHANGE_SOURCES = {
    "alternate_exchange": Source("alternate-exchange", "alternate-exchange"),
    **DEDUPLICATION,
}
NOTHING: Definition = {}
# Most queues and exchanges have neither arguments nor policies; they share these.
PLAIN_QUEUE = QueueSettings()
PLAIN_EXCHANGE = ExchangeSettings()


def queue_settings(arguments: Table, policy: Definition | None, operator_policy: Definition | None) -> QueueSettings:
    if not arguments and policy is None and operator_policy is None:
        return PLAIN_QUEUE
    return QueueSettings(**merged(QUEUE_SOURCES, arguments, policy, operator_policy))


def exchange_settings(arguments: Table, policy: Definition | None) -> ExchangeSettings:
    if not arguments and policy is None:
        return PLAIN_EXCHANGE
    return ExchangeSettings(**merged(EXCHANGE_SOURCES, arguments, policy, None))


def merged(
    sources: Mapping[str, Source], arguments: Table, policy: Definition | None, operator_policy: Definition | None
) -> dict[str, Any]:
    """The fields that anybody set; the others keep their defaults."""
    by_policy, by_operator = policy or NOTHING, operator_policy or NOTHING
    values = {}
    for field, (argument, key, merge) in sources.items():
        value = merge(arguments.get(argument), by_policy.get(key), by_operator.get(key))
        if value is not None:
            values[field] = value
    return values
