"""Who may log in, and what each of them may do. Changes count at once; those made here are durable.

Users of the configuration file come from there at every start, with the permissions that it gives them, and cannot be
changed here. Not here: how a log-in waits for a slow hash (server/authentication.py), and which virtual hosts there
are.
"""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from flowmq.broker.definitions import Definitions
from flowmq.broker.passwords import NO_PASSWORD, Password
from flowmq.broker.permissions import (
    AccessError,
    AlreadyThere,
    NoSuchUser,
    Permission,
    TopicPermission,
    check_name,
    checked_tags,
)

USER, PERMISSION, TOPIC_PERMISSION = "user", "permission", "topic-permission"
LOOPBACK_ONLY_USER = "guest"
ADMINISTRATOR = "administrator"
log = logging.getLogger("flowmq")


@dataclass(slots=True, eq=False)
class User:
    """What it holds changes while its connections are open."""

    name: str
    password: Password = NO_PASSWORD
    tags: tuple[str, ...] = ()
    permissions: dict[str, Permission] = field(default_factory=dict)  # by virtual host
    topic_permissions: dict[str, dict[str, TopicPermission]] = field(default_factory=dict)  # and by exchange
    configured_in: frozenset[str] | None = None  # of the file: the virtual hosts it gives permissions in

    @property
    def is_configured(self) -> bool:
        return self.configured_in is not None

    def permission(self, vhost: str) -> Permission | None:
        return self.permissions.get(vhost)

    def topic_permissions_in(self, vhost: str) -> Mapping[str, TopicPermission]:
        return self.topic_permissions.get(vhost, {})


def nothing_happens(user: User) -> None:
    """For a broker without a server, as in tests."""


class Users:
    """All users by name. `default_user_loopback_only`: guest, whose password everyone knows, only from this machine."""

    def __init__(
        self,
        configured: Iterable[User] = (),
        *,
        default_user_loopback_only: bool,
        definitions: Definitions | None = None,
        changed: Callable[[User], None] = nothing_happens,
        deleted: Callable[[User], None] = nothing_happens,
    ) -> None:
        self.by_name = {user.name: user for user in configured}
        self.default_user_loopback_only = default_user_loopback_only
        self.definitions = definitions or Definitions()
        self.changed = changed  # is told of a user whose tags or permissions have changed
        self.deleted = deleted
        self.revision = 0  # another one with each change of users and permissions
        self._idle: set[tuple[str, ...]] = set()  # kind and name of what was restored and counts for nobody

    def __iter__(self) -> Iterator[User]:
        return iter(self.by_name.values())

    def __contains__(self, name: object) -> bool:
        return name in self.by_name

    def user(self, name: str) -> User:
        user = self.by_name.get(name)
        if user is None:
            raise NoSuchUser(name)
        return user

    def changeable(self, name: str) -> User:
        """One that can be changed here."""
        user = self.user(name)
        if user.is_configured:
            raise AccessError(f"user '{name}' is set by the configuration file: change it there")
        return user

    @property
    def is_open(self) -> bool:
        """May guest come from anywhere?"""
        return not self.default_user_loopback_only

    def may_log_in(self, user: User, *, from_loopback: bool) -> bool:
        """With the right password."""
        return from_loopback or user.name != LOOPBACK_ONLY_USER or not self.default_user_loopback_only

    # ------------------------------------------------------------------------------------------------- users

    def add(self, name: str, password: Password, tags: Iterable[str] = ()) -> User:
        self.check_new(name, tags)
        user = User(name, password, checked_tags(tags))
        # One of that name may have been in the file once.
        self._forget_idle(lambda vhost, owner: owner == name)
        self.by_name[name] = user
        self._record(user)
        return user

    def check_new(self, name: str, tags: Iterable[str] = ()) -> None:
        check_name("user", name)
        checked_tags(tags)
        if name in self.by_name:
            raise AlreadyThere(f"user '{name}' is there already")

    def delete(self, name: str) -> None:
        """Their permissions go too, and their connections are closed."""
        user = self.changeable(name)
        for vhost in list(user.permissions):
            self._forget(PERMISSION, vhost, name)
        for vhost, exchanges in user.topic_permissions.items():
            for exchange in exchanges:
                self._forget(TOPIC_PERMISSION, vhost, name, exchange)
        self._forget(USER, name)
        del self.by_name[name]
        user.permissions.clear()
        user.topic_permissions.clear()
        user.tags = ()
        self.deleted(user)

    def set_password(self, name: str, password: Password) -> None:
        """Connections that are open stay so."""
        user = self.changeable(name)
        user.password = password
        self._record(user)

    def set_tags(self, name: str, tags: Iterable[str]) -> None:
        user = self.changeable(name)
        user.tags = checked_tags(tags)
        self._record(user)
        self.changed(user)

    # -------------------------------------------------------------------------------------------- permissions

    def set_permission(self, name: str, vhost: str, permission: Permission) -> None:
        user = self._permitted_by_us(name, vhost)
        if user.permissions.get(vhost) != permission:
            user.permissions[vhost] = permission
            patterns = [permission.configure, permission.write, permission.read]
            self.definitions.put(PERMISSION, (vhost, name), patterns)
            self.revision += 1
            self.changed(user)

    def clear_permission(self, name: str, vhost: str) -> None:
        """Clearing what is not there is fine. Topic permissions stay, as in RabbitMQ."""
        user = self._permitted_by_us(name, vhost)
        # Also what a restart found and could not take: see restore_permission().
        self._forget(PERMISSION, vhost, name)
        if user.permissions.pop(vhost, None) is not None:
            self.changed(user)

    def set_topic_permission(self, name: str, vhost: str, exchange: str, permission: TopicPermission) -> None:
        user = self.user(name)
        exchanges = user.topic_permissions.setdefault(vhost, {})
        if exchanges.get(exchange) != permission:
            exchanges[exchange] = permission
            self.definitions.put(TOPIC_PERMISSION, (vhost, name, exchange), [permission.write, permission.read])
            self.changed(user)

    def clear_topic_permissions(self, name: str, vhost: str, exchange: str | None = None) -> None:
        """Those for one exchange, or all in the virtual host."""
        user = self.user(name)
        exchanges = user.topic_permissions.get(vhost, {})
        cleared = [known for known in exchanges if exchange is None or known == exchange]
        for known in cleared:
            del exchanges[known]
            self._forget(TOPIC_PERMISSION, vhost, name, known)
        if not exchanges:
            user.topic_permissions.pop(vhost, None)
        if cleared:
            self.changed(user)

    def vhost_deleted(self, vhost: str) -> None:
        """Whoever makes one of the same name later must not find these."""
        self.revision += 1
        self._forget_idle(lambda of, owner: of == vhost)
        for user in self.by_name.values():
            # What the file says counts for the next one of that name.
            if vhost not in (user.configured_in or ()) and user.permissions.pop(vhost, None) is not None:
                self._forget(PERMISSION, vhost, user.name)
            for exchange in user.topic_permissions.pop(vhost, {}):
                self._forget(TOPIC_PERMISSION, vhost, user.name, exchange)

    # --------------------------------------------------------------------------------------- after a restart

    def restore(self, name: str, value: dict[str, Any]) -> None:
        """A user of the file wins over one of the same name."""
        if name not in self.by_name:
            password = Password(value["algorithm"], value["password"])
            self.by_name[name] = User(name, password, tuple(value["tags"]))

    def restore_permission(self, vhost: str, name: str, patterns: list[str]) -> None:
        """What the file says counts before this."""
        user = self.by_name.get(name)
        if user is None or vhost in (user.configured_in or ()):
            self._idle.add((PERMISSION, vhost, name))
        else:
            try:
                user.permissions[vhost] = Permission(*patterns)
            except AccessError as error:
                self._idle.add((PERMISSION, vhost, name))
                log.error("permissions of user '%s' in vhost '%s' are not what they were: %s", name, vhost, error)

    def restore_topic_permission(self, vhost: str, name: str, exchange: str, patterns: list[str]) -> None:
        user = self.by_name.get(name)
        if user is None:
            self._idle.add((TOPIC_PERMISSION, vhost, name, exchange))
        else:
            try:
                kept = TopicPermission(*patterns)
            except AccessError as error:
                log.error("topic permissions of user '%s' in vhost '%s' allow nothing now: %s", name, vhost, error)
                kept = TopicPermission("", "")
            user.topic_permissions.setdefault(vhost, {})[exchange] = kept

    # ---------------------------------------------------------------------------------------------- leaves

    def _permitted_by_us(self, name: str, vhost: str) -> User:
        user = self.user(name)
        if user.configured_in is not None and vhost in user.configured_in:
            raise AccessError(
                f"permissions of user '{name}' in vhost '{vhost}' are set by the configuration file: change them there"
            )
        return user

    def _record(self, user: User) -> None:
        value = {"algorithm": user.password.algorithm, "password": user.password.value, "tags": list(user.tags)}
        self.definitions.put(USER, (user.name,), value)
        self.revision += 1

    def _forget(self, kind: str, *name: str) -> None:
        self.definitions.delete(kind, name)
        self.revision += 1

    def _forget_idle(self, is_meant: Callable[[str, str], bool]) -> None:
        for idle in [idle for idle in self._idle if is_meant(*idle[1:3])]:
            self._idle.discard(idle)
            self._forget(*idle)
