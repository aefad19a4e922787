"""What a queue's rules say, in lists: a broker of two queues that keeps nothing but Python objects and sorts them anew.

It is told what happened in the order in which it happened, and says what is ready, what was handed out and what the
headers are. Slow and plain on purpose: it is what the compiled queues are judged by.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any

NEVER = float("inf")
REJECTED, EXPIRED, OVER_LIMIT, OVER_DELIVERY_LIMIT = "rejected", "expired", "maxlen", "delivery_limit"


@dataclass(frozen=True)
class Rules:
    """Of one queue, with the names that they have as arguments. None: no such rule."""

    ttl: int | None = None
    length_max: int | None = None
    bytes_max: int | None = None
    overflow: str = "drop-head"
    priority_max: int | None = None
    delivery_limit: int | None = None
    retry: str = "disabled"
    retry_min: int = 0
    retry_max: int | None = None
    dead_letter_exchange: str | None = None
    dead_letter_key: str | None = None

    @property
    def limited(self) -> bool:
        return self.length_max is not None or self.bytes_max is not None

    @property
    def drops(self) -> bool:
        return self.limited and self.overflow == "drop-head"

    @property
    def buries(self) -> bool:
        return self.dead_letter_exchange is not None or self.delivery_limit is not None

    def arguments(self) -> dict[str, Any]:
        names = {
            "x-message-ttl": self.ttl,
            "x-max-length": self.length_max,
            "x-max-length-bytes": self.bytes_max,
            "x-overflow": self.overflow,
            "x-max-priority": self.priority_max,
            "x-delivery-limit": self.delivery_limit,
            "x-delayed-retry-type": self.retry,
            "x-delayed-retry-min": self.retry_min,
            "x-delayed-retry-max": self.retry_max,
            "x-dead-letter-exchange": self.dead_letter_exchange,
            "x-dead-letter-routing-key": self.dead_letter_key,
        }
        return {name: value for name, value in names.items() if value is not None}


@dataclass(frozen=True)
class Death:
    queue: str
    reason: str
    exchange: str
    key: str
    seconds: int
    count: int = 1
    expiration: str | None = None

    def table(self) -> dict[str, Any]:
        table = {
            "count": self.count,
            "reason": self.reason,
            "queue": self.queue,
            "time": self.seconds,
            "exchange": self.exchange,
            "routing-keys": [self.key],
        }
        return table if self.expiration is None else {**table, "original-expiration": self.expiration}


@dataclass(eq=False)
class Message:
    body: bytes
    persistent: bool
    priority: int
    expiration: str | None
    headers: dict[str, Any]
    exchange: str = ""
    key: str = ""
    queue: Queue | None = None
    sequence: int = 0
    expires_at: float = NEVER
    returns: int = 0
    failures: int = 0
    deaths: list[Death] = field(default_factory=list)
    first: Death | None = None
    last: Death | None = None

    def has_expired(self, now: int) -> bool:
        return self.expires_at <= now

    def headers_now(self) -> dict[str, Any]:
        """As a consumer sees them."""
        assert self.queue is not None
        headers = dict(self.headers)
        if self.deaths:
            headers["x-death"] = [death.table() for death in self.deaths]
        for which, death in (("first", self.first), ("last", self.last)):
            if death is not None:
                headers[f"x-{which}-death-queue"] = death.queue
                headers[f"x-{which}-death-reason"] = death.reason
                headers[f"x-{which}-death-exchange"] = death.exchange
        if self.queue.rules.delivery_limit is not None and self.returns:
            headers |= {"x-delivery-count": self.failures, "x-acquired-count": self.returns}
        return headers


@dataclass(eq=False)
class Queue:
    name: str
    rules: Rules
    ready: list[Message] = field(default_factory=list)
    aside: list[tuple[int, Message]] = field(default_factory=list)
    buried: dict[str, int] = field(default_factory=dict)
    deleted: bool = False

    @property
    def ready_bytes(self) -> int:
        return sum(len(message.body) for message in self.ready)

    def level(self, message: Message) -> int:
        return min(message.priority, self.rules.priority_max or 0)

    def insert(self, message: Message) -> None:
        self.ready.append(message)
        self.ready.sort(key=lambda other: (-self.level(other), other.sequence))

    def is_over(self) -> bool:
        length_max, bytes_max = self.rules.length_max, self.rules.bytes_max
        return (length_max is not None and len(self.ready) > length_max) or (
            bytes_max is not None and self.ready_bytes > bytes_max
        )

    def least(self) -> Message:
        """The one that is dropped first: of the lowest priority, and there the oldest."""
        return min(self.ready, key=lambda message: (self.level(message), message.sequence))


class NaiveBroker:
    """`credit()` says how many messages the consumers of a queue can take beyond those in `handed_out`."""

    def __init__(self, queues: list[Queue], credit: Callable[[Queue], int], now: int) -> None:
        self.queues = {queue.name: queue for queue in queues}
        self.credit = credit
        self.now = now
        self.handed_out: list[Message] = []
        self.graves: list[tuple[Queue, Message, str]] = []
        self.sequences: Iterator[int] = count(1)

    # ------------------------------------------------------------------------------------------------- comes and goes

    def publish(self, queue: Queue, message: Message) -> bool:
        """False when it is refused."""
        rules = queue.rules
        message.queue = queue
        if rules.limited and not rules.drops:
            over = replace(rules, overflow="drop-head")
            tried = Queue("", over, [*queue.ready, message])
            if tried.is_over():
                if rules.overflow == "reject-publish-dlx" and rules.buries:
                    self.bury(queue, message, OVER_LIMIT)
                return False
        message.sequence = next(self.sequences)
        message.returns = message.failures = 0
        message.expires_at = min(
            NEVER if message.expiration is None else self.now + int(message.expiration),
            NEVER if rules.ttl is None else self.now + rules.ttl,
        )
        if not queue.ready and self.credit(queue) > len(self.handed_out):
            self.handed_out.append(message)
        elif message.has_expired(self.now):
            self.bury(queue, message, EXPIRED)
        else:
            queue.insert(message)
            self.keep_limits(queue)
        return True

    def take(self, queue: Queue) -> Message | None:
        while queue.ready:
            message = queue.ready.pop(0)
            if not message.has_expired(self.now):
                return message
            self.bury(queue, message, EXPIRED)
        return None

    def dispatch(self, queue: Queue) -> None:
        while queue.ready and self.credit(queue) > len(self.handed_out):
            message = self.take(queue)
            if message is not None:
                self.handed_out.append(message)
        self.keep_limits(queue)

    def keep_limits(self, queue: Queue) -> None:
        while queue.rules.drops and queue.is_over():
            message = queue.least()
            queue.ready.remove(message)
            self.bury(queue, message, EXPIRED if message.has_expired(self.now) else OVER_LIMIT)

    def requeue(self, message: Message, *, failed: bool) -> None:
        queue = message.queue
        assert queue is not None
        if queue.deleted:
            return
        message.returns += 1
        message.failures += failed
        rules = queue.rules
        if rules.delivery_limit is not None and message.failures > rules.delivery_limit:
            self.bury(queue, message, OVER_DELIVERY_LIMIT)
        elif rules.retry == "all" or rules.retry == ("failed" if failed else "returned"):
            wait = rules.retry_min * message.returns
            wait = wait if rules.retry_max is None else min(wait, rules.retry_max)
            if wait:
                queue.aside.append((self.now + wait, message))
            else:
                queue.insert(message)
        else:
            queue.insert(message)

    def reject(self, message: Message) -> None:
        assert message.queue is not None
        if not message.queue.deleted:
            self.bury(message.queue, message, REJECTED)

    # ---------------------------------------------------------------------------------------------- what becomes of it

    def bury(self, queue: Queue, message: Message, reason: str) -> None:
        queue.buried[reason] = queue.buried.get(reason, 0) + 1
        self.graves.append((queue, message, reason))

    def bury_all(self) -> None:
        while self.graves:
            queue, message, reason = self.graves.pop(0)
            target = self.target(queue, message, reason)
            if target is None:
                continue
            self.note_death(queue, message, reason)
            if reason == REJECTED or not goes_round(target.name, message.deaths):
                self.publish(target, message)

    def target(self, queue: Queue, message: Message, reason: str) -> Queue | None:
        rules = queue.rules
        if rules.dead_letter_exchange is not None:
            key = message.key if rules.dead_letter_key is None else rules.dead_letter_key
            return self.routed(rules.dead_letter_exchange, key)
        if reason == OVER_DELIVERY_LIMIT:
            parked = f"{queue.name}.dead"
            return self.queues.setdefault(parked, Queue(parked, Rules()))
        return None

    def routed(self, exchange: str, key: str) -> Queue | None:
        """`dlx` is a fanout to the queue of dead letters."""
        return self.queues["d"] if exchange == "dlx" else self.queues.get(key)

    def note_death(self, queue: Queue, message: Message, reason: str) -> None:
        rules = queue.rules
        death = Death(
            queue.name, reason, message.exchange, message.key, self.now // 1000, expiration=message.expiration
        )
        message.last = death
        same = [other for other in message.deaths if (other.queue, other.reason) == (queue.name, reason)]
        if same:
            message.deaths.remove(same[0])
            death = replace(same[0], count=same[0].count + 1)
        message.deaths.insert(0, death)
        message.first = message.first or death
        message.expiration = None
        if rules.dead_letter_exchange is None:
            message.exchange, message.key = "", queue.name
        else:
            message.exchange = rules.dead_letter_exchange
            message.key = message.key if rules.dead_letter_key is None else rules.dead_letter_key

    # ---------------------------------------------------------------------------------------------------- time, restart

    def sweep(self) -> None:
        """What has fallen due is dealt with."""
        for queue in list(self.queues.values()):
            due = sorted((at, message.sequence, message) for at, message in queue.aside if at <= self.now)
            queue.aside = [(at, message) for at, message in queue.aside if at > self.now]
            for _, _, message in due:
                queue.insert(message)
            if due:
                self.dispatch(queue)
            expired = sorted(
                (message for message in queue.ready if message.has_expired(self.now)),
                key=lambda message: (message.expires_at, message.sequence),
            )
            queue.ready = [message for message in queue.ready if message not in expired]
            for message in expired:
                self.bury(queue, message, EXPIRED)
        self.bury_all()

    def restart(self, unacked: list[Message]) -> None:
        """Without a word to anybody: what was handed out is ready again, and what was not persistent is gone."""
        for message in unacked:
            if message.queue is not None and not message.queue.deleted:
                message.returns = max(1, message.returns)
                message.queue.insert(message)
        for queue in self.queues.values():
            for _, message in [entry for entry in queue.aside if entry[0] <= self.now]:
                queue.insert(message)
            queue.aside = [entry for entry in queue.aside if entry[0] > self.now and entry[1].persistent]
            queue.ready = [message for message in queue.ready if message.persistent]
            queue.buried = {}


def goes_round(target: str, deaths: list[Death]) -> bool:
    """Has it died there, and was not rejected since?"""
    for death in deaths:
        if death.reason == REJECTED:
            return False
        if death.queue == target:
            return True
    return False
