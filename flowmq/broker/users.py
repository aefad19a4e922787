"""Who may log in. Users come from the configuration; what each may do is not limited yet."""

from dataclasses import dataclass
from hmac import compare_digest

from flowmq.broker.names import octets

LOOPBACK_ONLY_USER = "guest"


@dataclass(frozen=True, slots=True)
class User:
    name: str
    password: str
    tags: tuple[str, ...] = ()


class Users:
    """All users by name. `default_user_loopback_only`: guest, whose password everyone knows, only from this machine."""

    def __init__(self, users: list[User], *, default_user_loopback_only: bool) -> None:
        self.by_name = {user.name: user for user in users}
        self.default_user_loopback_only = default_user_loopback_only

    def authenticate(self, name: str, password: str, *, from_loopback: bool) -> User | str:
        """The user, or why not: for the log alone, never for the client."""
        user = self.by_name.get(name)
        # Compared even when there is no such user, so that the time taken tells nothing.
        expected = "" if user is None else user.password
        matches = compare_digest(octets(expected), octets(password))
        if user is None:
            return "no such user"
        if not matches:
            return "wrong password"
        if name == LOOPBACK_ONLY_USER and self.default_user_loopback_only and not from_loopback:
            return "this user can only connect from the broker's own machine (limits.default_user_loopback_only)"
        return user
