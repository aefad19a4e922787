"""What a token's scopes allow, as RabbitMQ writes them: `read:VHOST/NAME` and `read:VHOST/NAME/ROUTING-KEY`, the same
with write and configure, and `tag:TAG`.

`*` in a part stands for any characters; all else may be percent-encoded, as a slash or a star must be, and `+` is a
blank. On a topic exchange only scopes with a routing key count. Scopes that are none of these are somebody
else's, and mean nothing. Not here: tokens, and whether they are to be believed.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple
from urllib.parse import unquote_plus

from flowmq.broker.permissions import CONFIGURE, READ, WRITE, Permission, TopicPermission, found
from flowmq.broker.users import User

PERMISSIONS = (CONFIGURE, WRITE, READ)


class Scope(NamedTuple):
    permission: str
    vhost: str  # this and the others are regular expressions for a whole name
    name: str
    routing_key: str | None


def parse_scopes(texts: Iterable[str], prefix: str) -> tuple[list[Scope], tuple[str, ...]]:
    """The permissions and the tags among them."""
    scopes, tags = [], []
    for text in texts:
        kind, colon, rest = text.removeprefix(prefix).partition(":")
        if not text.startswith(prefix) or not colon or not is_unicode(text):
            continue
        if kind == "tag" and rest:
            tags.append(rest)
        elif kind in PERMISSIONS and rest.count("/") in (1, 2):
            vhost, name, *key = (pattern(part) for part in rest.split("/"))
            scopes.append(Scope(kind, vhost, name, key[0] if key else None))
    return scopes, tuple(dict.fromkeys(tags))


def is_unicode(text: str) -> bool:
    """JSON can hold halves of characters."""
    return not any("\ud800" <= character <= "\udfff" for character in text)


def pattern(part: str) -> str:
    return ".*".join(re.escape(unquote_plus(literal)) for literal in re.sub(r"\*+", "*", part).split("*"))


def matches(expression: str, name: str) -> bool:
    return found(one_of([expression]), name)


def one_of(expressions: Iterable[str]) -> str:
    """One for all of them; the empty one, which allows nothing, for none."""
    each = list(dict.fromkeys(expressions))
    return rf"(?s:\A(?:{'|'.join(each)})\z)" if each else ""


class TokenUser(User):
    """Somebody of whom all that is known is what a token says, until it expires."""

    __slots__ = ("expires_at", "scopes")

    def __init__(self, name: str, scopes: list[Scope], tags: tuple[str, ...], expires_at: float) -> None:
        super().__init__(name, tags=tags)
        self.scopes = scopes
        self.expires_at = expires_at  # seconds since 1970

    def permission(self, vhost: str) -> Permission | None:
        known = self.permissions.get(vhost)
        if known is not None:
            return known
        here = [scope for scope in self.scopes if matches(scope.vhost, vhost)]
        if not here:
            return None
        patterns = (one_of(scope.name for scope in here if scope.permission == kind) for kind in PERMISSIONS)
        self.permissions[vhost] = known = Permission(*patterns)
        return known

    def topic_permissions_in(self, vhost: str) -> Mapping[str, TopicPermission]:
        return ScopedTopics([scope for scope in self.scopes if matches(scope.vhost, vhost)])


class ScopedTopics(Mapping[str, TopicPermission]):
    """By exchange, of which there is one for any name."""

    def __init__(self, scopes: list[Scope]) -> None:
        self.scopes = [scope for scope in scopes if scope.routing_key is not None]

    def __getitem__(self, exchange: str) -> TopicPermission:
        here = [scope for scope in self.scopes if matches(scope.name, exchange)]
        write, read = (
            one_of(scope.routing_key or "" for scope in here if scope.permission == kind) for kind in (WRITE, READ)
        )
        return TopicPermission(write, read)

    def __iter__(self) -> Iterator[str]:
        raise TypeError("nobody knows the names")

    def __len__(self) -> int:
        """Never 0: that would mean that no topic needs to be looked at."""
        return len(self.scopes) + 1
