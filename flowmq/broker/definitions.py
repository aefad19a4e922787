"""What is told of every change of what is declared, so that durable things can outlive the process.

The broker's model calls these as it changes; what is not durable is never told. The base class forgets everything:
a broker without a disk.
"""

from flowmq._queue import Queue
from flowmq.amqp.tables import Table
from flowmq.broker.policies import Policy

QUEUE, EXCHANGE, VHOST = "queue", "exchange", "vhost"


class Definitions:
    def queue_declared(self, vhost: str, name: str, queue: Queue, *, auto_delete: bool, arguments: Table) -> None:
        """From now on the queue and its persistent messages are to be kept."""

    def queue_in_memory(self, queue: Queue) -> None:
        """A queue that is not durable was declared; what it cannot keep in memory may go elsewhere."""

    def queue_deleted(self, vhost: str, name: str) -> None:
        """With it go its messages and the bindings to it."""

    def exchange_declared(
        self, vhost: str, name: str, *, type: str, auto_delete: bool, internal: bool, arguments: Table
    ) -> None: ...

    def exchange_deleted(self, vhost: str, name: str) -> None:
        """With it go the bindings from and to it."""

    def bound(self, vhost: str, source: str, kind: str, destination: str, key: str, arguments: bytes) -> None:
        """`kind` of the destination is QUEUE or EXCHANGE; `arguments` are an encoded field table without its length."""

    def unbound(self, vhost: str, source: str, kind: str, destination: str, key: str, arguments: bytes) -> None: ...

    def memory_made(self, vhost: str, kind: str, name: str, purpose: str, queue: Queue) -> None:
        """From now on the messages of a queue that belongs to what `kind` and `name` say are to be kept."""

    def memory_gone(self, vhost: str, kind: str, name: str, purpose: str) -> None: ...

    def put(self, kind: str, name: tuple[str, ...], value: object) -> None:
        """Something whose place in the model is its kind and name is there, with that value, or has another one."""

    def delete(self, kind: str, name: tuple[str, ...]) -> None: ...

    def vhost_emptied(self, vhost: str) -> None:
        """Nothing is left in a virtual host that was deleted, and it goes itself."""

    def policy_set(self, policy: Policy) -> None:
        """It is new, or replaces the one of the same kind, virtual host and name."""

    def policy_deleted(self, policy: Policy) -> None: ...
