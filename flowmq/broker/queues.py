"""Queues as they were declared. Their messages and consumers are in flowmq._queue."""

from collections.abc import Callable, Iterator, Mapping

from msgspec import Struct, field

from flowmq._queue import Queue
from flowmq._router import Exchange
from flowmq.amqp.errors import AccessRefused, NotImplementedByBroker, PreconditionFailed, ResourceLocked
from flowmq.amqp.tables import Table
from flowmq.broker.arguments import QUEUE_ARGUMENTS, check_equivalent
from flowmq.broker.exchanges import DeclaredExchange, check_flag
from flowmq.broker.names import text
from flowmq.broker.settings import PLAIN_QUEUE, QUORUM, QueueSettings

STEP_TARGETS = 100  # of an exchange that is gone, in one step


class DeclaredQueue(Struct, eq=False):
    name: str
    queue: Queue
    vhost_name: str
    durable: bool = False
    auto_delete: bool = False
    owner: object | None = None  # whoever declared it exclusive: nobody else may use it, and it goes with them
    arguments: Table = field(default_factory=Table)
    sources: frozenset[DeclaredExchange] = frozenset()  # exchanges with bindings to it
    settings: QueueSettings = PLAIN_QUEUE
    settings_changed: Callable[["DeclaredQueue"], None] | None = None  # is told when they have

    @property
    def exclusive(self) -> bool:
        return self.owner is not None

    @property
    def where(self) -> str:
        return f"queue '{self.name}' in vhost '{self.vhost_name}'"

    def apply(self, settings: QueueSettings) -> None:
        """From now on do what these say, which is what its arguments and policies add up to."""
        self.settings = settings
        if self.settings_changed is not None:
            self.settings_changed(self)

    def check_access(self, user: object) -> None:
        """`user` is who would be its owner."""
        if self.owner is not None and self.owner is not user:
            raise self.locked()

    def locked(self) -> ResourceLocked:
        return ResourceLocked(
            f"cannot obtain exclusive access to locked {self.where}. It could be originally declared on another "
            "connection or the exclusive property value does not match that of the original declaration."
        )

    def check_equivalent(self, *, durable: bool, exclusive: bool, auto_delete: bool, arguments: Table) -> None:
        """A declaration of what exists must say the same."""
        if exclusive != self.exclusive:
            raise self.locked()
        check_flag(self.where, "durable", durable and not exclusive, self.durable)
        check_flag(self.where, "auto_delete", auto_delete, self.auto_delete)
        check_equivalent(self.where, QUEUE_ARGUMENTS, self.arguments, arguments)

    def check_deletable(self, *, if_unused: bool, if_empty: bool) -> None:
        if if_unused and self.queue.consumer_count:
            raise PreconditionFailed(f"{self.where} in use")
        if if_empty and self.queue.message_count:
            raise PreconditionFailed(f"{self.where} not empty")

    def check_consumable(self, *, exclusive: bool) -> None:
        """One exclusive consumer, or any number of others."""
        if exclusive and self.queue.single_active:
            raise AccessRefused(f"{self.where} in exclusive use")
        self.check_readable()
        if self.queue.is_exclusively_consumed or (exclusive and self.queue.consumer_count):
            raise AccessRefused(f"{self.where} in exclusive use")

    def check_gettable(self) -> None:
        """Where one consumer at a time is active nobody else may take a message."""
        if self.queue.single_active:
            raise ResourceLocked(
                f"cannot obtain access to locked {self.where}. basic.get operations are not supported by "
                f"{self.settings.queue_type} queues with single active consumer"
            )

    def check_readable(self) -> None:
        """Whoever waited for it would wait for ever."""
        if self.queue.is_damaged:
            raise PreconditionFailed(f"{self.where} has stopped at a message that is damaged on disk")

    def check_prefetch(self, *, for_channel: bool) -> None:
        """A quorum queue knows no limit that several consumers share."""
        if for_channel and self.settings.queue_type == QUORUM:
            raise NotImplementedByBroker(f"{self.where} does not support global qos")


def forget_source(
    queues: Mapping[str, DeclaredQueue], source: DeclaredExchange, targets: list[Queue | Exchange]
) -> Iterator[None]:
    """Those among the targets were bound to an exchange that is gone, step by step; some may still say so."""
    while targets:
        for target in targets[-STEP_TARGETS:]:
            declared = queues.get(text(target.name)) if isinstance(target, Queue) else None
            if declared is not None and declared.queue is target:
                declared.sources -= {source}
        del targets[-STEP_TARGETS:]
        yield
