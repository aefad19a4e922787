"""The broker: its virtual hosts and its users.

What is changed here about them counts at once and is durable; whoever has connections open is told by `vhost_deleted`,
and by what the users were made with.
"""

import logging
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from flowmq._queue import Consumer, Queue
from flowmq.amqp.errors import NotAllowed
from flowmq.broker.definitions import VHOST, Definitions
from flowmq.broker.limits import VHOST_LIMITS, Limits
from flowmq.broker.parameters import Parameters
from flowmq.broker.passwords import Password, rabbitmq_hashed
from flowmq.broker.permissions import (
    ALL,
    AccessError,
    AlreadyThere,
    NoSuchVHost,
    Permission,
    TopicPermission,
    check_description,
    check_name,
    checked_tags,
)
from flowmq.broker.policies import Policy
from flowmq.broker.policy_keys import PolicyError
from flowmq.broker.settings import CLASSIC, QUORUM
from flowmq.broker.steps import all_at_once, attempt
from flowmq.broker.users import ADMINISTRATOR, LOOPBACK_ONLY_USER, Users
from flowmq.broker.vhost import VHost, no_one_to_tell

DEFAULT_VHOST = "/"
DEFAULT_PASSWORD = "guest"
PROMISE = "promise"
FIRST = "first"  # what the first start makes was made, and is not made again
log = logging.getLogger("flowmq")


def nothing_happens(vhost: VHost) -> None:
    """For a broker without a server, as in tests."""


def password_of_guest() -> Password:
    """It protects nothing, so that checking it may be cheap."""
    return rabbitmq_hashed(DEFAULT_PASSWORD)


class FirstStart(NamedTuple):
    """What the first start in a data directory makes."""

    vhost: str = DEFAULT_VHOST
    user: str = LOOPBACK_ONLY_USER
    password: Callable[[], Password] = password_of_guest  # slow, and asked for only when it is needed
    tags: tuple[str, ...] = (ADMINISTRATOR,)
    is_asked: bool = False  # this user is wanted whoever else is there


NOTHING_ASKED = FirstStart()


class Broker:
    def __init__(
        self,
        users: Users,
        consumer_cancelled: Callable[[Consumer], None] = no_one_to_tell,
        definitions: Definitions | None = None,
        vhost_deleted: Callable[[VHost], None] = nothing_happens,
        limits: Limits | None = None,
        begin: Callable[[Iterator[None]], None] = all_at_once,
        first: FirstStart = NOTHING_ASKED,
    ) -> None:
        self.users = users
        self.first = first
        self.begin = begin
        self.definitions = definitions or Definitions()
        self.limits = limits or Limits(definitions=definitions)
        self.parameters = Parameters(self.definitions)
        self.consumer_cancelled = consumer_cancelled
        self.vhost_deleted = vhost_deleted
        self.vhosts: dict[str, VHost] = {}
        self._going: set[str] = set()  # deleted, and not yet empty
        self.promises: dict[str, dict[str, str]] = {}  # of imports that a crash has interrupted
        self._made: set[str] = set()  # of what the first start makes
        self._add_vhost(first.vhost, description="Default virtual host")

    def vhost(self, name: str) -> VHost:
        vhost = self.vhosts.get(name)
        if vhost is None:
            raise NotAllowed(f"vhost {name} not found")
        return vhost

    # -------------------------------------------------------------------------------------------- virtual hosts

    def create_vhost(
        self, name: str, *, description: str = "", tags: Iterable[str] = (), default_queue_type: str = CLASSIC
    ) -> VHost:
        self.check_new_vhost(name)
        check_description(description)
        check_default_queue_type(default_queue_type)
        vhost = self._add_vhost(name, description=description, tags=checked_tags(tags))
        vhost.default_queue_type = default_queue_type
        self._record(vhost)
        return vhost

    def check_new_vhost(self, name: str) -> None:
        check_name(VHOST, name)
        if name in self.vhosts:
            raise AlreadyThere(f"vhost '{name}' is there already")
        if name in self._going:
            raise AccessError(f"vhost '{name}' is still being deleted")

    def describe_vhost(
        self, name: str, *, description: str, tags: Iterable[str], default_queue_type: str | None = None
    ) -> None:
        """Without a type that one stays; it counts for queues that are declared from now on."""
        vhost = self.existing_vhost(name)
        check_description(description)
        check_default_queue_type(default_queue_type or CLASSIC)
        vhost.description, vhost.tags = description, checked_tags(tags)
        vhost.default_queue_type = default_queue_type or vhost.default_queue_type
        self._record(vhost)

    def delete_vhost(self, name: str) -> Iterator[None]:
        """It is gone at once, with its permissions; what was in it goes bit by bit as the result is iterated over."""
        vhost = self.existing_vhost(name)
        check_no_configured_policy(vhost)
        del self.vhosts[name]
        self._going.add(name)
        self.users.vhost_deleted(name)
        self.limits.clear(VHOST_LIMITS, name)
        self.parameters.vhost_deleted(name)
        attempt(f"vhost '{name}' is deleted", self.vhost_deleted, vhost)
        return self._emptied(vhost)

    def _emptied(self, vhost: VHost) -> Iterator[None]:
        """Nobody uses it any more: all that is in it goes, a piece at each step."""
        where = f"vhost '{vhost.name}' is deleted"
        attempt(where, vhost.policies.delete_all)
        yield
        for queue in list(vhost.queues.values()):
            if vhost.queues.get(queue.name) is queue:
                attempt(where, vhost.delete_queue, queue)
                yield
        for name in [name for name in vhost.declared_exchanges if name]:
            if name in vhost.declared_exchanges:
                attempt(where, vhost.remove_exchange, vhost.declared_exchanges[name])
                yield
        self.definitions.vhost_emptied(vhost.name)
        self._going.discard(vhost.name)

    def existing_vhost(self, name: str) -> VHost:
        """For operators; clients are told in AMQP's words."""
        vhost = self.vhosts.get(name)
        if vhost is None:
            raise NoSuchVHost(name)
        return vhost

    def _add_vhost(self, name: str, *, description: str = "", tags: tuple[str, ...] = ()) -> VHost:
        vhost = self.vhosts[name] = VHost(name, self.consumer_cancelled, self.definitions, self.limits, self.begin)
        vhost.description, vhost.tags = description, tags
        return vhost

    def _record(self, vhost: VHost) -> None:
        value: dict[str, Any] = {"description": vhost.description, "tags": list(vhost.tags)}
        if vhost.default_queue_type != CLASSIC:
            value["default_queue_type"] = vhost.default_queue_type
        self.definitions.put(VHOST, (vhost.name,), value)

    # -------------------------------------------------------------------------------------------- permissions

    def set_permission(self, user: str, vhost: str, permission: Permission) -> None:
        self.existing_vhost(vhost)
        self.users.set_permission(user, vhost, permission)

    def clear_permission(self, user: str, vhost: str) -> None:
        self.existing_vhost(vhost)
        self.users.clear_permission(user, vhost)

    def set_topic_permission(self, user: str, vhost: str, exchange: str, permission: TopicPermission) -> None:
        self.existing_vhost(vhost)
        self.users.set_topic_permission(user, vhost, exchange, permission)

    def clear_topic_permissions(self, user: str, vhost: str, exchange: str | None = None) -> None:
        self.existing_vhost(vhost)
        self.users.clear_topic_permissions(user, vhost, exchange)

    # --------------------------------------------------------------------------------------- first and later starts

    def restore_vhost(self, name: str, value: dict[str, Any]) -> None:
        vhost = self._add_vhost(name, description=value["description"], tags=tuple(value["tags"]))
        vhost.default_queue_type = value.get("default_queue_type", CLASSIC)

    def restore_promise(self, number: str, part: str, value: str) -> None:
        self.promises.setdefault(number, {})[part] = value

    def restore_first(self, made: str, value: object) -> None:
        """It was made once; if it is not among what else is restored, then because somebody deleted it."""
        self._made.add(made)
        if made == VHOST:
            self.vhosts.pop(self.first.vhost, None)

    def make_first(self) -> None:
        """What a broker has when nobody has said otherwise: once in the life of a data directory."""
        first, is_new = self.first, VHOST not in self._made
        if first.is_asked:
            if is_new and first.user not in self.users:
                self._make_first_user()
            elif first.user not in self.users:
                log.warning("user '%s' of first_start is not made: this data directory is not new", first.user)
        elif LOOPBACK_ONLY_USER not in self._made and not any(True for _ in self.users):
            self._make_first_user()
        if is_new:
            self._record(self.vhosts[first.vhost])
            self._note_made(VHOST)

    def _make_first_user(self) -> None:
        first = self.first
        self.users.add(first.user, first.password(), first.tags)
        if first.vhost in self.vhosts:
            self.users.set_permission(first.user, first.vhost, ALL)
        self._note_made(LOOPBACK_ONLY_USER)

    def _note_made(self, made: str) -> None:
        self._made.add(made)
        self.definitions.put(FIRST, (made,), True)

    # ------------------------------------------------------------------------------------------------- the rest

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


def check_default_queue_type(kind: str) -> None:
    if kind not in (CLASSIC, QUORUM):
        raise AccessError(f"default_queue_type '{kind}': only '{CLASSIC}' and '{QUORUM}' are supported")


def check_no_configured_policy(vhost: VHost) -> None:
    configured = vhost.policies.first_configured()
    if configured is not None:
        raise AccessError(f"{configured.where} is set by the configuration file: remove it there first")
