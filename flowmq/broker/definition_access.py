"""Entries of definitions: virtual hosts, users and permissions."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, ClassVar, Self

import msgspec

from flowmq.broker.broker import check_no_configured_policy
from flowmq.broker.definition_entries import (
    EXCHANGES,
    USERS,
    VHOSTS,
    Coming,
    DefinitionError,
    Entry,
    Key,
    check_name,
    check_texts,
    pairs,
    words,
)
from flowmq.broker.definition_limits import check_limits, set_limits
from flowmq.broker.limits import USER_LIMITS
from flowmq.broker.passwords import NO_PASSWORD, Password, from_hash
from flowmq.broker.permissions import Permission, TopicPermission, check_description, checked_tags
from flowmq.broker.policy_keys import is_list_of_texts
from flowmq.broker.settings import CLASSIC, QUORUM
from flowmq.broker.vhost import VHost

if TYPE_CHECKING:
    from flowmq.broker.broker import Broker


class VHostEntry(Entry):
    SECTION: ClassVar[str] = VHOSTS
    KIND: ClassVar[str] = "vhost"
    IGNORED: ClassVar[tuple[str, ...]] = (
        *("metadata", "limits", "default_queue_type", "tracing", "cluster_state", "protected_from_deletion"),
    )

    name: str
    description: str | None = None  # None: as it is
    tags: list[str] | str | None = None
    metadata: dict[str, Any] | None = None  # description and tags, where they stand since RabbitMQ 3.8
    limits: Any = None  # they stand among the parameters too
    default_queue_type: str | None = None
    tracing: bool = False
    cluster_state: Any = None
    protected_from_deletion: bool = False

    def __post_init__(self) -> None:
        metadata = self.metadata or {}
        self.description = metadata.get("description", self.description)
        tags = metadata.get("tags", self.tags)
        self.tags = None if tags is None else words(tags)
        kind = metadata.get("default_queue_type") or self.default_queue_type
        self.default_queue_type = None if kind in ("", "undefined") else kind

    @property
    def key(self) -> Key:
        return (VHOSTS, self.name)

    @property
    def where(self) -> str:
        return f"vhost '{self.name}'"

    def check(self, broker: "Broker", coming: Coming) -> None:
        check_name("vhost", self.name)
        if not isinstance(self.description, str | None) or not is_list_of_texts(self.tags or []):
            raise DefinitionError("metadata: expected a text as description, and a list of texts as tags")
        check_texts([self.description, self.tags])
        check_description(self.description or "")
        checked_tags(self.tags or ())
        if self.name not in broker.vhosts:
            broker.check_new_vhost(self.name)

    def found(self, broker: "Broker") -> Self | None:
        vhost = broker.vhosts.get(self.name)
        if vhost is None:
            return None
        return self.of(vhost)

    @classmethod
    def of(cls, vhost: VHost) -> Self:
        kind = vhost.default_queue_type
        return cls(name=vhost.name, description=vhost.description, tags=list(vhost.tags), default_queue_type=kind)

    def differs(self, found: Self) -> list[str]:
        names = ("description", "tags", *(["default_queue_type"] if self.supported_queue_type else []))
        return [name for name in names if getattr(self, name) not in (None, getattr(found, name))]

    @property
    def supported_queue_type(self) -> str | None:
        """Nothing: that of the virtual host stays as it is."""
        return self.default_queue_type if self.default_queue_type in (CLASSIC, QUORUM) else None

    def warnings(self) -> list[str]:
        asked = (
            ("default_queue_type", self.default_queue_type != self.supported_queue_type),
            ("tracing", self.tracing),
            ("protected_from_deletion", self.protected_from_deletion),
        )
        return [f"without effect here: {name}" for name, is_asked in asked if is_asked]

    def apply(self, broker: "Broker") -> None:
        host = broker.vhosts.get(self.name)
        if host is None:
            broker.create_vhost(
                self.name,
                description=self.description or "",
                tags=self.tags or (),
                default_queue_type=self.supported_queue_type or CLASSIC,
            )
        else:
            description = host.description if self.description is None else self.description
            tags = host.tags if self.tags is None else self.tags
            kind = self.supported_queue_type
            broker.describe_vhost(self.name, description=description, tags=tags, default_queue_type=kind)

    def remove(self, broker: "Broker") -> Iterator[None] | None:
        return broker.delete_vhost(self.name)

    def check_removable(self, broker: "Broker") -> None:
        check_no_configured_policy(broker.vhosts[self.name])

    def as_entry(self, *, with_vhost: bool = True) -> dict[str, Any]:
        kind = None if self.default_queue_type == CLASSIC else self.default_queue_type
        said = {"description": self.description, "tags": self.tags, "default_queue_type": kind}
        given = {name: value for name, value in said.items() if value is not None}
        return {"name": self.name, **given, "metadata": given}


class UserEntry(Entry):
    SECTION: ClassVar[str] = USERS
    KIND: ClassVar[str] = "user"

    name: str
    password_hash: str = ""
    hashing_algorithm: str = ""
    tags: list[str] | str = msgspec.field(default_factory=list)
    limits: Any = msgspec.field(default_factory=dict)

    def __post_init__(self) -> None:
        self.tags = words(self.tags)
        self.limits = pairs(self.limits)

    @property
    def key(self) -> Key:
        return (USERS, self.name)

    @property
    def where(self) -> str:
        return f"user '{self.name}'"

    @property
    def password(self) -> Password:
        return from_hash(self.password_hash, self.hashing_algorithm)

    def check(self, broker: "Broker", coming: Coming) -> None:
        check_name("user", self.name)
        check_texts([self.tags, self.password_hash])
        checked_tags(self.tags)
        self.password  # noqa: B018 - it is checked by being made
        check_limits(USER_LIMITS, self.limits)

    def fixed(self, broker: "Broker") -> str | None:
        user = broker.users.by_name.get(self.name)
        return "it is set by the configuration file" if user is not None and user.is_configured else None

    def found(self, broker: "Broker") -> Self | None:
        user = broker.users.by_name.get(self.name)
        if user is None:
            return None
        known = user.password
        algorithm = "" if known == NO_PASSWORD else known.algorithm
        return type(self)(
            name=user.name,
            password_hash=known.value,
            hashing_algorithm=algorithm,
            tags=list(user.tags),
            limits=broker.limits.all(USER_LIMITS).get(user.name, {}),
        )

    def differs(self, found: Self) -> list[str]:
        password = ["password_hash"] if self.password != found.password else []
        return password + [name for name in ("tags", "limits") if getattr(self, name) != getattr(found, name)]

    def apply(self, broker: "Broker") -> None:
        user = broker.users.by_name.get(self.name)
        if user is None:
            user = broker.users.add(self.name, self.password, self.tags)
        set_limits(broker.limits, USER_LIMITS, self.name, self.limits)
        if user.password != self.password:
            broker.users.set_password(self.name, self.password)
        if user.tags != checked_tags(self.tags):
            broker.users.set_tags(self.name, self.tags)

    def remove(self, broker: "Broker") -> None:
        broker.users.delete(self.name)


class PermissionEntry(Entry):
    SECTION: ClassVar[str] = "permissions"
    KIND: ClassVar[str] = "permission"

    user: str
    vhost: str
    configure: str = ""
    write: str = ""
    read: str = ""

    @property
    def key(self) -> Key:
        return (self.SECTION, self.vhost, self.user)

    @property
    def where(self) -> str:
        return f"permissions of user '{self.user}' in vhost '{self.vhost}'"

    def needs(self) -> Iterator[Key]:
        yield VHOSTS, self.vhost
        yield USERS, self.user

    def check(self, broker: "Broker", coming: Coming) -> None:
        Permission(self.configure, self.write, self.read)

    def fixed(self, broker: "Broker") -> str | None:
        user = broker.users.by_name.get(self.user)
        is_fixed = user is not None and self.vhost in (user.configured_in or ())
        return "they are set by the configuration file" if is_fixed else None

    def found(self, broker: "Broker") -> Self | None:
        user = broker.users.by_name.get(self.user)
        known = None if user is None else user.permission(self.vhost)
        if known is None:
            return None
        return type(self)(
            user=self.user, vhost=self.vhost, configure=known.configure, write=known.write, read=known.read
        )

    def apply(self, broker: "Broker") -> None:
        broker.set_permission(self.user, self.vhost, Permission(self.configure, self.write, self.read))

    def remove(self, broker: "Broker") -> None:
        broker.clear_permission(self.user, self.vhost)


class TopicPermissionEntry(Entry):
    SECTION: ClassVar[str] = "topic_permissions"
    KIND: ClassVar[str] = "topic permission"

    user: str
    vhost: str
    exchange: str
    write: str = ""
    read: str = ""

    @property
    def key(self) -> Key:
        return (self.SECTION, self.vhost, self.user, self.exchange)

    @property
    def where(self) -> str:
        return f"topic permissions of user '{self.user}' on exchange '{self.exchange}' in vhost '{self.vhost}'"

    def needs(self) -> Iterator[Key]:
        yield VHOSTS, self.vhost
        yield USERS, self.user

    def check(self, broker: "Broker", coming: Coming) -> None:
        check_name(EXCHANGES[:-1], self.exchange, empty=True)
        TopicPermission(self.write, self.read)

    def found(self, broker: "Broker") -> Self | None:
        user = broker.users.by_name.get(self.user)
        known = None if user is None else user.topic_permissions_in(self.vhost).get(self.exchange)
        if known is None:
            return None
        return type(self)(user=self.user, vhost=self.vhost, exchange=self.exchange, write=known.write, read=known.read)

    def apply(self, broker: "Broker") -> None:
        permission = TopicPermission(self.write, self.read)
        broker.set_topic_permission(self.user, self.vhost, self.exchange, permission)

    def remove(self, broker: "Broker") -> None:
        broker.clear_topic_permissions(self.user, self.vhost, self.exchange)
