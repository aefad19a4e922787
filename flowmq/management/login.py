"""Who asks, and whether they may: a name and a password (Basic) or a token (Bearer), both for the broker to judge, and
what the user's tags allow.

A log-in that was right is remembered for a few seconds, as a digest, though no longer than its token is good, nor when
users, permissions or virtual hosts have changed since. Wrong ones are counted by address and by user or token: too
many, and the answer is 429 for a while, without a look, but for who has come in from there by the same log-in before.
"""

import base64
import hashlib
import secrets
import time
from collections import OrderedDict
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

from flowmq.server.control.client import AsyncControlConnection
from flowmq.server.control.registry import BEARER

MANAGEMENT, POLICYMAKER, MONITORING, ADMINISTRATOR = "management", "policymaker", "monitoring", "administrator"
# What having a tag amounts to.
IMPLIED = {
    MANAGEMENT: {MANAGEMENT},
    POLICYMAKER: {MANAGEMENT, POLICYMAKER},
    MONITORING: {MANAGEMENT, MONITORING},
    ADMINISTRATOR: {MANAGEMENT, POLICYMAKER, MONITORING, ADMINISTRATOR},
}
REMEMBERED_SECONDS = 10.0
REMEMBERED_MAX = 1000
# Of one user from one address, and of all from one address, behind which there may be many.
FAILURES_MAX, FAILURES_MAX_OF_ADDRESS, FAILURES_SECONDS = 10, 100, 30.0
KEPT_MAX = 10_000


@dataclass(frozen=True)
class Caller:
    """A user of the API."""

    name: str
    tags: frozenset[str]
    given_tags: tuple[str, ...]
    vhosts: frozenset[str]  # where the user has permissions
    acts_as: str  # whom the broker is told that it acts for
    is_kept: bool  # a user of the broker; others are what their token says

    def may(self, tag: str) -> bool:
        return tag in self.tags

    def sees(self, vhost: str) -> bool:
        return MONITORING in self.tags or vhost in self.vhosts

    @property
    def visible(self) -> list[str] | None:
        """The virtual hosts in lists; None is all of them."""
        return None if MONITORING in self.tags else sorted(self.vhosts)


class TooMany(Exception):
    """Too many wrong log-ins lately."""


class Failures:
    """How many there were lately, by whom."""

    def __init__(self) -> None:
        self.times: OrderedDict[str, list[float]] = OrderedDict()

    def note(self, who: str, now: float) -> None:
        self.times.setdefault(who, []).append(now)
        self.times.move_to_end(who)
        if len(self.times) > KEPT_MAX:
            self.times.popitem(last=False)

    def too_many(self, who: str, now: float, at_most: int) -> bool:
        recent = [at for at in self.times.get(who, ()) if at > now - FAILURES_SECONDS]
        if recent:
            self.times[who] = recent
        else:
            self.times.pop(who, None)
        return len(recent) >= at_most


class LogIns:
    def __init__(self, control: AsyncControlConnection) -> None:
        self.control = control
        self.secret = secrets.token_bytes(32)
        self.remembered: OrderedDict[bytes, tuple[float, Caller]] = OrderedDict()
        self.proven: OrderedDict[bytes, None] = OrderedDict()  # were right when they were looked at last
        self.revision = ""  # of what was remembered
        self.failures = Failures()

    async def caller(self, header: str, address: str) -> Caller | None:
        """Who it is, by the header Authorization; None when it is nobody."""
        given = credentials(header)
        if given is None:
            return None
        name, password = given  # a token has no name besides
        now = time.monotonic()
        digest = hashlib.blake2b(repr((name, password, address)).encode(), key=self.secret).digest()
        await self._forget_what_has_changed()
        until, known = self.remembered.get(digest, (0.0, None))
        if known is not None and now < until:
            return known
        who = f"user {name}" if name is not None else f"token {digest.hex()}"
        keys = {f"address {address}": FAILURES_MAX_OF_ADDRESS, f"{who} at {address}": FAILURES_MAX}
        is_no_guess = digest in self.proven
        if not is_no_guess and any(self.failures.too_many(key, now, at_most) for key, at_most in keys.items()):
            raise TooMany
        user = await self._ask(name, password, address)
        if user is None:
            self.proven.pop(digest, None)
            for key in keys:
                self.failures.note(key, now)
            return None
        found, seconds = caller_of(user, password)
        self.remembered[digest] = (now + min(seconds, REMEMBERED_SECONDS), found)
        if len(self.remembered) > REMEMBERED_MAX:
            self.remembered.popitem(last=False)
        self.proven[digest] = None
        self.proven.move_to_end(digest)
        if len(self.proven) > KEPT_MAX:
            self.proven.popitem(last=False)
        return found

    async def _forget_what_has_changed(self) -> None:
        revision = await self.control.call("access.revision")
        if revision != self.revision:
            self.remembered.clear()
            self.revision = revision

    async def _ask(self, name: str | None, password: str, address: str) -> dict[str, Any] | None:
        if name is None:
            found: dict[str, Any] | None = await self.control.call("user.authenticate_token", token=password)
        else:
            found = await self.control.call(
                "user.authenticate", name=name, password=password, from_loopback=is_loopback(address)
            )
        return found

    def forget(self) -> None:
        """Users or permissions have changed."""
        self.remembered.clear()


def caller_of(user: dict[str, Any], password: str) -> tuple[Caller, float]:
    """And for how many seconds that is so at most."""
    tags = frozenset[str]().union(*(IMPLIED.get(tag, set()) for tag in user["tags"]))
    expires_at = user["expires_at"]
    is_kept = expires_at is None
    acts_as = user["name"] if is_kept else f"{BEARER} {password}"
    found = Caller(user["name"], tags, tuple(user["tags"]), frozenset(user["vhosts"]), acts_as, is_kept)
    return found, REMEMBERED_SECONDS if is_kept else expires_at - time.time()


def credentials(header: str) -> tuple[str | None, str] | None:
    """Name and password, or None and a token."""
    scheme, _, given = header.partition(" ")
    if scheme.casefold() == BEARER.casefold():
        return (None, given.strip()) if given.strip() else None
    if scheme.casefold() != "basic":
        return None
    try:
        name, colon, password = base64.b64decode(given.strip(), validate=True).decode("utf-8").partition(":")
    except ValueError:
        return None
    return (name, password) if colon else None


def is_loopback(address: str) -> bool:
    try:
        found = ip_address(address.partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(found, "ipv4_mapped", None)
    return bool((mapped or found).is_loopback)
