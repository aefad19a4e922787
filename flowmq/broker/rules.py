"""From what a queue is to do to how its compiled part does it."""

from collections.abc import Callable

from flowmq._dead_letters import DeadLetters
from flowmq._queue import Queue
from flowmq._router import Exchange
from flowmq._rules import Deduplication, QueueRules, Undertaker
from flowmq.broker.names import octets
from flowmq.broker.settings import DROP_HEAD, QUORUM, RETRY_DISABLED, QueueSettings


def queue_rules(
    settings: QueueSettings,
    exchanges: dict[bytes, Exchange],
    park: Callable[[], Queue],
    lost: Callable[[bytes, bytes], None],
    deduplication: Deduplication | None,
) -> QueueRules | None:
    """None when the queue does nothing beyond keeping messages in order: then it asks no rules for any of them."""
    counts_deliveries = settings.delivery_limit is not None or settings.queue_type == QUORUM
    undertaker = undertaker_for(settings, exchanges, park, lost)
    limits = (settings.message_ttl_ms, settings.max_length, settings.max_length_bytes, settings.consumer_timeout_ms)
    if (
        all(limit is None for limit in limits)
        and undertaker is None
        and deduplication is None
        and not counts_deliveries
        and settings.delayed_retry_type == RETRY_DISABLED
        and settings.overflow == DROP_HEAD
    ):
        return None
    return QueueRules(
        ttl_ms=settings.message_ttl_ms,
        length_max=settings.max_length,
        bytes_max=settings.max_length_bytes,
        overflow=settings.overflow,
        delivery_limit=settings.delivery_limit,
        counts_deliveries=counts_deliveries,
        retry=settings.delayed_retry_type,
        retry_min_ms=settings.delayed_retry_min_ms or 0,
        retry_max_ms=settings.delayed_retry_max_ms,
        consumer_timeout_ms=settings.consumer_timeout_ms,
        undertaker=undertaker,
        deduplication=deduplication,
    )


def undertaker_for(
    settings: QueueSettings,
    exchanges: dict[bytes, Exchange],
    park: Callable[[], Queue],
    lost: Callable[[bytes, bytes], None],
) -> Undertaker | None:
    if settings.dead_letter_exchange is not None:
        key = settings.dead_letter_routing_key
        return DeadLetters(
            exchanges, octets(settings.dead_letter_exchange), None if key is None else octets(key), lost=lost
        )
    if settings.delivery_limit is not None:
        return DeadLetters(exchanges, None, park=park, lost=lost)
    return None
