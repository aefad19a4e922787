"""The broker: its virtual hosts and its users."""

from collections.abc import Callable, Iterable, Iterator

from flowmq._queue import Consumer, Queue
from flowmq.amqp.errors import NotAllowed
from flowmq.broker.definitions import Definitions
from flowmq.broker.limits import Limits
from flowmq.broker.policies import Policy
from flowmq.broker.policy_keys import PolicyError
from flowmq.broker.users import Users
from flowmq.broker.vhost import VHost, no_one_to_tell

DEFAULT_VHOST = "/"


class Broker:
    def __init__(
        self,
        users: Users,
        consumer_cancelled: Callable[[Consumer], None] = no_one_to_tell,
        definitions: Definitions | None = None,
        limits: Limits | None = None,
    ) -> None:
        self.users = users
        self.limits = limits or Limits(definitions=definitions)
        self.vhosts = {DEFAULT_VHOST: VHost(DEFAULT_VHOST, consumer_cancelled, definitions, self.limits)}

    def vhost(self, name: str) -> VHost:
        vhost = self.vhosts.get(name)
        if vhost is None:
            raise NotAllowed(f"vhost {name} not found")
        return vhost

    def configure_policies(self, policies: Iterable[Policy]) -> list[str]:
        """All policies and operator policies of the configuration file, in place of those before; what changed."""
        by_vhost: dict[str, list[Policy]] = {name: [] for name in self.vhosts}
        for policy in policies:
            if policy.vhost not in by_vhost:
                raise PolicyError(f"{policy.where}: there is no such vhost")
            by_vhost[policy.vhost].append(policy)
        return [line for name, given in by_vhost.items() for line in self.vhosts[name].policies.configure(given)]

    def queues(self) -> Iterator[Queue]:
        for vhost in self.vhosts.values():
            for declared in vhost.queues.values():
                yield declared.queue

    def delete_unused(self, now_ms: int) -> None:
        """Queues whose time is over because nobody has used them."""
        for vhost in self.vhosts.values():
            vhost.delete_unused(now_ms)
