"""The users of the configuration file, and what they may do; the user that the first start makes."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Self

import msgspec
from msgspec import Meta, Struct, field

from flowmq.broker import passwords
from flowmq.broker.broker import FirstStart, password_of_guest
from flowmq.broker.permissions import AccessError, Permission, check_name, checked_tags
from flowmq.broker.users import ADMINISTRATOR, LOOPBACK_ONLY_USER

Text = Annotated[str, Meta(min_length=1)]


class PermissionSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    vhost: Text = "/"
    configure: str = ""
    write: str = ""
    read: str = ""


class FirstStartSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    user: str = LOOPBACK_ONLY_USER
    password: str = ""
    password_file: str = ""
    tags: list[str] = field(default_factory=lambda: [ADMINISTRATOR])
    vhost: str = "/"

    def __repr__(self) -> str:
        return f"FirstStartSettings(user={self.user!r}, vhost={self.vhost!r})"

    @property
    def has_password(self) -> bool:
        return bool(self.password or self.password_file)

    def wrong(self) -> str | None:
        if self.password and self.password_file:
            return "first_start.password and first_start.password_file are both given: one is enough"
        if self.user != LOOPBACK_ONLY_USER and not self.has_password:
            return f"first_start.user is {self.user!r}: a first_start.password or first_start.password_file is needed"
        return None

    def first(self) -> FirstStart:
        is_asked = self.user != LOOPBACK_ONLY_USER or self.has_password
        password = self.password_kept if self.has_password else password_of_guest
        return FirstStart(self.vhost, self.user, password, tuple(self.tags), is_asked)

    def password_kept(self) -> passwords.Password:
        return passwords.hashed(self.password or self._password_of_file())

    def _password_of_file(self) -> str:
        """Without the end of its line."""
        try:
            return Path(self.password_file).read_text("utf-8").rstrip("\r\n")
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
            raise AccessError(f"first_start.password_file: {self.password_file}: {reason}") from error

    def masked(self) -> Self:
        return msgspec.structs.replace(self, password="********") if self.password else self


FIRST_START_CHECKS: dict[str, Callable[[Any], object]] = {
    "first_start.user": partial(check_name, "user"),
    "first_start.vhost": partial(check_name, "vhost"),
    "first_start.tags": checked_tags,
}
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
