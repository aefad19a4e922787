"""user.*, vhost.*, permission.*, topic_permission.*: who may log in, where to, and what they may do there.

Of a node only what is there without a running broker is used too: its model, its store, and what hashes passwords. So
the command line can call the same functions on a data directory that nobody uses (server/offline.py).
"""

import logging
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from msgspec import field

from flowmq.broker.passwords import Password, from_hash
from flowmq.broker.permissions import Permission, TopicPermission
from flowmq.broker.scopes import TokenUser
from flowmq.broker.settings import CLASSIC
from flowmq.broker.users import User
from flowmq.server.control.registry import Arguments, Nothing, bad_request, command

if TYPE_CHECKING:
    from flowmq.server.node import Node

log = logging.getLogger("flowmq")


class Named(Arguments):
    name: str


class NewPassword(Named):
    """Either the password or a hash of it."""

    password: str | None = None
    password_hash: str | None = None
    hashing_algorithm: str = ""


class NewUser(NewPassword):
    tags: list[str] = field(default_factory=list)


class Tags(Named):
    tags: list[str]


class LogIn(Named):
    password: str
    from_loopback: bool = True


class Token(Arguments):
    token: str


class NewVHost(Named):
    description: str = ""
    tags: list[str] = field(default_factory=list)
    default_queue_type: str | None = None  # classic, or as it is


class Which(Arguments):
    vhost: str | None = None
    user: str | None = None


class Where(Arguments):
    user: str
    vhost: str = "/"


class NewPermission(Where, kw_only=True):
    configure: str
    write: str
    read: str


class WhereTopic(Where):
    exchange: str | None = None


class NewTopicPermission(Where, kw_only=True):
    exchange: str
    write: str
    read: str


# --------------------------------------------------------------------------------------------------------- users


def described(user: User) -> dict[str, Any]:
    return {
        "name": user.name,
        "tags": list(user.tags),
        "hashing_algorithm": user.password.algorithm,
        "configured": user.is_configured,
    }


async def password_of(node: "Node", asked: NewPassword) -> Password:
    if asked.password is not None and asked.password_hash is None:
        return await node.authenticator.hash(asked.password)
    if asked.password_hash is not None and asked.password is None:
        return from_hash(asked.password_hash, asked.hashing_algorithm)
    raise bad_request("either a password or a password hash is needed")


@command("user.list")
def list_users(node: "Node", asked: Nothing) -> Iterator[dict[str, Any]]:
    """All users."""
    for user in list(node.broker.users):
        yield described(user)


@command("user.get", Named)
def get_user(node: "Node", asked: Named) -> dict[str, Any]:
    """One user, with the password's hash when it is one."""
    user = node.broker.users.user(asked.name)
    return {**described(user), "password_hash": "" if user.is_configured else user.password.value}


@command("user.add", NewUser)
async def add_user(node: "Node", asked: NewUser) -> None:
    """A new user, who may do nothing yet."""
    node.broker.users.check_new(asked.name, asked.tags)
    password = await password_of(node, asked)
    node.broker.users.add(asked.name, password, asked.tags)


@command("user.delete", Named)
def delete_user(node: "Node", asked: Named) -> None:
    """The user's permissions go too, and open connections are closed."""
    node.broker.users.delete(asked.name)


@command("user.set_password", NewPassword)
async def set_password(node: "Node", asked: NewPassword) -> None:
    """Open connections stay open."""
    node.broker.users.changeable(asked.name)
    password = await password_of(node, asked)
    node.broker.users.set_password(asked.name, password)


@command("user.set_tags", Tags)
def set_tags(node: "Node", asked: Tags) -> None:
    """These tags in place of those the user has."""
    node.broker.users.set_tags(asked.name, asked.tags)


@command("user.authenticate", LogIn)
async def authenticate(node: "Node", asked: LogIn) -> dict[str, Any] | None:
    """The user with that password, or a token in its place; null when there is none."""
    found = await node.authenticator.user(asked.name, asked.password, from_loopback=asked.from_loopback)
    return admitted(node, asked.name, found)


@command("user.authenticate_token", Token)
async def authenticate_token(node: "Node", asked: Token) -> dict[str, Any] | None:
    """Who a token says it is; null when it is not believed, or no token is."""
    tokens = node.authenticator.tokens
    if tokens is None or not tokens.takes(asked.token):
        return admitted(node, "", "no tokens are taken" if tokens is None else "it is no token")
    found = await node.authenticator.user("", asked.token, from_loopback=False)
    return admitted(node, "", found)


@command("access.revision")
def revision(node: "Node", asked: Nothing) -> str:
    """Another text whenever users, their permissions or the virtual hosts have changed."""
    return f"{node.broker.users.revision} {len(node.broker.vhosts)}"


def admitted(node: "Node", name: str, found: User | str) -> dict[str, Any] | None:
    """With the virtual hosts that the user may use, and until when a token is good, in seconds since 1970."""
    if isinstance(found, str):
        log.warning("log-in of user '%s' refused: %s", name, found)
        return None
    vhosts = [vhost for vhost in node.broker.vhosts if found.permission(vhost) is not None]
    expires_at = found.expires_at if isinstance(found, TokenUser) else None
    return {"name": found.name, "tags": list(found.tags), "vhosts": vhosts, "expires_at": expires_at}


# -------------------------------------------------------------------------------------------------- virtual hosts


@command("vhost.list")
def list_vhosts(node: "Node", asked: Nothing) -> Iterator[dict[str, Any]]:
    """All virtual hosts."""
    for vhost in list(node.broker.vhosts.values()):
        kind = vhost.default_queue_type
        tags = list(vhost.tags)
        yield {"name": vhost.name, "description": vhost.description, "tags": tags, "default_queue_type": kind}


@command("vhost.add", NewVHost)
def add_vhost(node: "Node", asked: NewVHost) -> None:
    """A new virtual host, in which nobody may do anything yet."""
    kind = asked.default_queue_type or CLASSIC
    node.broker.create_vhost(asked.name, description=asked.description, tags=asked.tags, default_queue_type=kind)


@command("vhost.describe", NewVHost)
def describe_vhost(node: "Node", asked: NewVHost) -> None:
    """Another description, other tags, another type of queues for declarations that name none."""
    kind = asked.default_queue_type
    node.broker.describe_vhost(asked.name, description=asked.description, tags=asked.tags, default_queue_type=kind)


@command("vhost.delete", Named)
async def delete_vhost(node: "Node", asked: Named) -> None:
    """With everything in it; connections to it are closed. Answered when all of it is gone."""
    await node.delete_vhost(asked.name)


# ---------------------------------------------------------------------------------------------------- permissions


@command("permission.list", Which)
def list_permissions(node: "Node", asked: Which) -> Iterator[dict[str, Any]]:
    """Of all users in all virtual hosts, or of one."""
    for user, vhost, permission in chosen(node, asked, lambda user: list(user.permissions.items())):
        yield {
            "user": user,
            "vhost": vhost,
            "configure": permission.configure,
            "write": permission.write,
            "read": permission.read,
        }


@command("permission.set", NewPermission)
def set_permission(node: "Node", asked: NewPermission) -> None:
    """What a user may do in a virtual host. The empty pattern allows nothing."""
    permission = Permission(asked.configure, asked.write, asked.read)
    node.broker.set_permission(asked.user, asked.vhost, permission)


@command("permission.clear", Where)
def clear_permission(node: "Node", asked: Where) -> None:
    """The user may not use the virtual host any more."""
    node.broker.clear_permission(asked.user, asked.vhost)


@command("topic_permission.list", Which)
def list_topic_permissions(node: "Node", asked: Which) -> Iterator[dict[str, Any]]:
    """Of all users in all virtual hosts, or of one."""
    for user, vhost, exchanges in chosen(node, asked, lambda user: list(user.topic_permissions.items())):
        for exchange, permission in list(exchanges.items()):
            yield {
                "user": user,
                "vhost": vhost,
                "exchange": exchange,
                "write": permission.write,
                "read": permission.read,
            }


@command("topic_permission.set", NewTopicPermission)
def set_topic_permission(node: "Node", asked: NewTopicPermission) -> None:
    """To which routing keys of a topic exchange a user may publish and bind. Without one: to all."""
    permission = TopicPermission(asked.write, asked.read)
    node.broker.set_topic_permission(asked.user, asked.vhost, asked.exchange, permission)


@command("topic_permission.clear", WhereTopic)
def clear_topic_permission(node: "Node", asked: WhereTopic) -> None:
    """That for one exchange, or all of a user in a virtual host."""
    node.broker.clear_topic_permissions(asked.user, asked.vhost, asked.exchange)


def chosen(node: "Node", asked: Which, granted: Any) -> Iterator[tuple[str, str, Any]]:
    """User, virtual host, and what is granted there."""
    if asked.vhost is not None:
        node.broker.existing_vhost(asked.vhost)
    users = list(node.broker.users) if asked.user is None else [node.broker.users.user(asked.user)]
    for user in users:
        for vhost, grant in granted(user):
            if asked.vhost in (None, vhost):
                yield user.name, vhost, grant
