"""What a user may do, by regular expressions on names, and the answer for one user in one virtual host.

Not here: who has which (users), and which method needs what (the server). A name is allowed when its pattern is found
anywhere in it; the empty pattern allows nothing.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from flowmq.amqp.errors import AccessRefused
from flowmq.broker.names import octets
from flowmq.broker.patterns import PatternError, pattern

CONFIGURE, WRITE, READ = "configure", "write", "read"
QUEUE, EXCHANGE = "queue", "exchange"
DEFAULT_EXCHANGE_NAME = "amq.default"  # the default exchange as patterns and texts know it
IMPERSONATOR = "impersonator"
ALLOWED_MAX = 1000  # answers kept per connection
NOTHING = "^$"
ANYTHING = ".*"
NAME_BYTES_MAX = 255


class AccessError(ValueError):
    """What was asked of users, virtual hosts or permissions cannot be done; one line for the operator."""


class AlreadyThere(AccessError):
    """What was to be new."""


class NoSuchUser(AccessError):
    def __init__(self, name: str) -> None:
        super().__init__(f"there is no user '{name}'")


class NoSuchVHost(AccessError):
    def __init__(self, name: str) -> None:
        super().__init__(f"there is no vhost '{name}'")


def check_name(what: str, name: str) -> None:
    if not name:
        raise AccessError(f"the name of a {what} must not be empty")
    if len(octets(name)) > NAME_BYTES_MAX:
        raise AccessError(f"the name of a {what} is at most {NAME_BYTES_MAX} octets long")


def checked_tags(tags: Iterable[str]) -> tuple[str, ...]:
    """Each once, in the order given."""
    kept = tuple(dict.fromkeys(tags))
    for tag in kept:
        if not tag.isprintable() or not tag or len(tag) > NAME_BYTES_MAX or any(mark in tag for mark in ", "):
            raise AccessError(f"{tag!r} is no tag: a word without spaces and commas")
    return kept


def check_description(description: str) -> None:
    try:
        description.encode()
    except UnicodeEncodeError:
        raise AccessError("a description must be text in UTF-8") from None


def check_pattern(text: str) -> None:
    try:
        pattern(text)
    except PatternError as error:
        raise AccessError(str(error)) from None


def found(text: str, name: str) -> bool:
    # What most users have: it is found in every name, and needs not be looked for.
    if text == ANYTHING:
        return True
    return pattern(text or NOTHING).found_in(name)


@dataclass(frozen=True, slots=True)
class Permission:
    """Of one user in one virtual host."""

    configure: str
    write: str
    read: str

    def __post_init__(self) -> None:
        for text in (self.configure, self.write, self.read):
            check_pattern(text)

    def allows(self, permission: str, name: str) -> bool:
        return found(getattr(self, permission), name)


@dataclass(frozen=True, slots=True)
class TopicPermission:
    """Of one user on one topic exchange. {username}, {vhost} and {client_id} stand for what they say."""

    write: str
    read: str

    def __post_init__(self) -> None:
        for text in (self.write, self.read):
            check_pattern(text)

    def allows(self, permission: str, routing_key: str, values: Mapping[str, str]) -> bool:
        text = getattr(self, permission)
        for name, value in values.items():
            # Escaped: a user whose name is a pattern must not have more rights for it.
            text = text.replace(f"{{{name}}}", re.escape(value))
        try:
            return found(text, routing_key)
        except PatternError:
            # With what was filled in it is too long, or no text: nothing matches that.
            return False


ALL = Permission(ANYTHING, ANYTHING, ANYTHING)


class Grants(Protocol):
    """A user, seen as what they may do. What these return may change at any time."""

    @property
    def name(self) -> str: ...
    @property
    def tags(self) -> tuple[str, ...]: ...
    def permission(self, vhost: str) -> Permission | None: ...
    def topic_permissions_in(self, vhost: str) -> Mapping[str, TopicPermission]: ...


class Access:
    """What one user may do in one virtual host. Remembers what was allowed, until it is told to forget."""

    def __init__(self, grants: Grants, vhost: str, client_id: str | None = None) -> None:
        self.grants = grants
        self.vhost = vhost
        self.values = {"username": grants.name, "vhost": vhost}
        if client_id is not None:
            self.values["client_id"] = client_id
        self._allowed: set[tuple[str, str, str]] = set()

    def forget(self) -> None:
        self._allowed.clear()

    def allows(self, permission: str, kind: str, name: str) -> bool:
        asked = (permission, kind, name)
        if asked in self._allowed:
            return True
        granted = self.grants.permission(self.vhost)
        if granted is None or not granted.allows(permission, name or DEFAULT_EXCHANGE_NAME):
            return False
        self._remember(asked)
        return True

    def check(self, permission: str, kind: str, name: str) -> None:
        if not self.allows(permission, kind, name):
            raise AccessRefused(
                f"{permission} access to {kind} '{name or DEFAULT_EXCHANGE_NAME}' in vhost '{self.vhost}' "
                f"refused for user '{self.grants.name}'"
            )

    @property
    def has_topic_permissions(self) -> bool:
        """Without any, no topic needs to be looked at."""
        return bool(self.grants.topic_permissions_in(self.vhost))

    def allows_topic(self, permission: str, exchange: str, routing_key: str) -> bool:
        granted = self.grants.topic_permissions_in(self.vhost).get(exchange)
        if granted is None:
            return True
        asked = (permission, f"topic {exchange}", routing_key)
        if asked in self._allowed:
            return True
        if not granted.allows(permission, routing_key, self.values):
            return False
        self._remember(asked)
        return True

    def check_topic(self, permission: str, exchange: str, routing_key: str) -> None:
        if not self.allows_topic(permission, exchange, routing_key):
            raise AccessRefused(
                f"{permission} access to topic '{routing_key}' in exchange '{exchange}' in vhost '{self.vhost}' "
                f"refused for user '{self.grants.name}'"
            )

    @property
    def may_impersonate(self) -> bool:
        """May messages carry another user's name in user-id?"""
        return IMPERSONATOR in self.grants.tags

    def _remember(self, asked: tuple[str, str, str]) -> None:
        if len(self._allowed) >= ALLOWED_MAX:
            self._allowed.clear()
        self._allowed.add(asked)
