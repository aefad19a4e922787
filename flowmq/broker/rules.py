"""From what a queue is to do to how its compiled part does it."""

import logging
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING

from flowmq._dead_letters import DeadLetters, bury_next, is_anyone_unburied
from flowmq._order import told_ms
from flowmq._queue import Queue
from flowmq._router import Exchange
from flowmq._rules import Deduplication, QueueRules, Undertaker
from flowmq.amqp.tables import Table
from flowmq.broker.definitions import QUEUE
from flowmq.broker.names import octets, text
from flowmq.broker.queues import DeclaredQueue
from flowmq.broker.settings import DROP_HEAD, PLAIN_QUEUE, QUORUM, RETRY_DISABLED, QueueSettings

if TYPE_CHECKING:
    from flowmq.broker.vhost import VHost

PARKING_SUFFIX = ".dead"
SHARED_MAX = 1000
TRIMMED_MESSAGES, BURIED_MESSAGES = 100, 10  # in one step
log = logging.getLogger("flowmq")


class VHostRules:
    """What the rules of a virtual host's queues need of it."""

    def __init__(self, vhost: "VHost") -> None:
        self.vhost = vhost
        self._lossy: set[bytes] = set()  # queues of which a dead letter was dropped
        self._shared: dict[QueueSettings, QueueRules | None] = {}  # most queues are to do the same as many others

    def settings_changed(self, declared: DeclaredQueue) -> None:
        """Also when it is new."""
        vhost, settings = self.vhost, declared.settings
        if settings.expires_ms is not None or declared in vhost.leases:
            vhost.leases.begin(declared, told_ms())
        seen = vhost.memories.seen_before(QUEUE, declared.name, settings, durable=declared.durable)
        if seen is None and not parks(settings):
            rules = self._shared_rules(settings)
        else:
            park = partial(self.parking_queue, declared)
            rules = queue_rules(settings, vhost.exchanges, park, self.letter_lost, seen)
        has_any = rules is not None or declared.queue.rules is not None
        if has_any and declared.queue.apply(rules):
            vhost.begin(trimming(declared.queue))

    def _shared_rules(self, settings: QueueSettings) -> QueueRules | None:
        if settings is PLAIN_QUEUE:
            return None
        if settings not in self._shared:
            if len(self._shared) >= SHARED_MAX:
                self._shared.clear()
            self._shared[settings] = queue_rules(settings, self.vhost.exchanges, None, self.letter_lost, None)
        return self._shared[settings]

    def parking_queue(self, declared: DeclaredQueue) -> Queue:
        """Where messages go that failed too often, when nobody has said where to: they are not dropped."""
        name = f"{declared.name}{PARKING_SUFFIX}"
        parked = self.vhost.queues.get(name)
        if parked is None:
            log.warning(
                "%s: messages over its delivery limit are kept in queue '%s': it has no dead letter exchange",
                declared.where,
                name,
            )
            parked = self.vhost.add_queue(self.vhost.make_queue(name, declared.durable, False, Table()))
        return parked.queue

    def letter_lost(self, queue_name: bytes, reason: bytes) -> None:
        """Said once per queue: a dead letter exchange that is missing or leads nowhere may be what is wanted."""
        if queue_name not in self._lossy:
            self._lossy.add(queue_name)
            log.warning(
                "queue '%s' in vhost '%s': a message that left it (%s) reaches no queue, and is dropped",
                text(queue_name),
                self.vhost.name,
                text(reason),
            )


def trimming(queue: Queue) -> Iterator[None]:
    """The messages go that are too many by new rules, and dead letters before there are more of them."""
    more = True
    while more:
        if is_anyone_unburied():
            bury_next(BURIED_MESSAGES)
        else:
            more = queue.trim(TRIMMED_MESSAGES)
        yield


def parks(settings: QueueSettings) -> bool:
    """Does a queue need one for messages that failed too often?"""
    return settings.dead_letter_exchange is None and settings.delivery_limit is not None


def queue_rules(
    settings: QueueSettings,
    exchanges: dict[bytes, Exchange],
    park: Callable[[], Queue] | None,
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
    park: Callable[[], Queue] | None,
    lost: Callable[[bytes, bytes], None],
) -> Undertaker | None:
    if settings.dead_letter_exchange is not None:
        key = settings.dead_letter_routing_key
        return DeadLetters(
            exchanges, octets(settings.dead_letter_exchange), None if key is None else octets(key), lost=lost
        )
    if parks(settings):
        return DeadLetters(exchanges, None, park=park, lost=lost)
    return None
