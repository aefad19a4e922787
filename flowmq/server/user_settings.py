"""The users of the configuration file, and what they may do."""

from typing import Annotated, Self

import msgspec
from msgspec import Meta, Struct, field

from flowmq.broker import passwords
from flowmq.broker.permissions import AccessError, Permission, checked_tags

Text = Annotated[str, Meta(min_length=1)]


class PermissionSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    vhost: Text = "/"
    configure: str = ""
    write: str = ""
    read: str = ""


EVERYTHING = PermissionSettings(configure=".*", write=".*", read=".*")


class User(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    name: Text
    password: str | None = None
    password_hash: str | None = None
    tags: list[str] = field(default_factory=list)
    permissions: list[PermissionSettings] = field(default_factory=lambda: [EVERYTHING])

    def __repr__(self) -> str:
        return f"User(name={self.name!r}, tags={self.tags!r})"

    def password_kept(self) -> passwords.Password:
        if (self.password is None) == (self.password_hash is None):
            raise AccessError(f"user {self.name!r} needs either a password or a password_hash")
        if self.password is None:
            return passwords.from_hash(self.password_hash or "")
        return passwords.plain(self.password)

    def permissions_by_vhost(self) -> dict[str, Permission]:
        found = {each.vhost: Permission(each.configure, each.write, each.read) for each in self.permissions}
        if len(found) < len(self.permissions):
            raise AccessError(f"user {self.name!r} has two permissions for one vhost")
        return found

    def masked(self) -> Self:
        """A password or its hash, whichever is there, must not be shown."""
        given = "password" if self.password is not None else "password_hash"
        return msgspec.structs.replace(self, **{given: "********"})


def check_users(users: list[User]) -> None:
    names = [user.name for user in users]
    repeated = next((name for name in names if names.count(name) > 1), None)
    if repeated is not None:
        raise ValueError(f"user {repeated!r} is given twice")
    for user in users:
        checked_tags(user.tags)
        user.password_kept()
        user.permissions_by_vhost()
