"""Log-ins: is it this user's password? Slow hashes are checked in threads, few at a time, and remembered for a while.

A log-in that fails takes as long whatever was wrong, so that nobody learns by it which users there are. One that was
right is remembered as a keyed digest, in memory only: clients that all come back at once cost one slow check per user.
"""

import asyncio
import hashlib
import os
import secrets
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING

from flowmq.broker.names import octets
from flowmq.broker.passwords import NO_PASSWORD, Password, hashed, verified, waste_time
from flowmq.broker.users import User, Users
from flowmq.server import user_settings

if TYPE_CHECKING:
    from flowmq.server.tokens import Tokens

THREADS_MAX = 2
REMEMBERED_MAX = 10_000
REMEMBERED_SECONDS = 900.0
NO_SUCH_USER, WRONG_PASSWORD = "no such user", "wrong password"
NOT_FROM_THERE = "this user can only connect from the broker's own machine (limits.default_user_loopback_only)"
CHANGED = "the user was changed or deleted meanwhile"

Answer = Callable[[User | str], None]  # the user, or why not: for the log alone, never for the client


def configured_user(given: user_settings.User) -> User:
    """One of the configuration file, which has checked it."""
    permissions = given.permissions_by_vhost()
    return User(given.name, given.password_kept(), tuple(given.tags), permissions, configured_in=frozenset(permissions))


class Check:
    """One that is under way: whoever gives the same name and password waits for it too."""

    def __init__(self, user: User | None, known: Password, refusal: str | None) -> None:
        self.user, self.known, self.refusal = user, known, refusal
        self.answers: list[Answer] = []
        self.future: asyncio.Future[bool]

    def give_up(self, answer: Answer) -> None:
        """Somebody does not need to know any more."""
        self.answers = [kept for kept in self.answers if kept is not answer]
        if not self.answers:
            self.future.cancel()


class Authenticator:
    def __init__(self, users: Users, loop: asyncio.AbstractEventLoop, tokens: "Tokens | None" = None) -> None:
        self.users = users
        self.tokens = tokens  # None: all passwords are passwords
        self.loop = loop
        self.threads = ThreadPoolExecutor(min(THREADS_MAX, os.cpu_count() or 1), "password")
        self.secret = secrets.token_bytes(32)
        self.remembered: OrderedDict[bytes, float] = OrderedDict()  # digest -> until when
        self.under_way: dict[tuple[bytes, bool], Check] = {}

    def close(self) -> None:
        self.threads.shutdown(wait=False, cancel_futures=True)
        if self.tokens is not None:
            self.tokens.keys.stop()

    def log_in(self, name: str, password: str, *, from_loopback: bool, answer: Answer) -> Callable[[], None] | None:
        """Calls `answer` at once, or later; then what is returned gives it up."""
        if self.tokens is not None and self.tokens.takes(password):
            return self.tokens.log_in(password, answer)
        user = self.users.by_name.get(name)
        known = NO_PASSWORD if user is None else user.password
        digest = self._digest(name, known, password)
        refusal = self._refusal(user, from_loopback=from_loopback)
        if user is not None and refusal is None:
            if self._remembers(digest) if known.is_slow else verified(known, password):
                answer(user)
                return None
            refusal = None if known.is_slow else WRONG_PASSWORD
        key = (digest, from_loopback)
        check = self.under_way.get(key)
        if check is None:
            check = self.under_way[key] = Check(user, known, refusal)
            work = partial(verified, known, password) if refusal is None else partial(waste_time, password)
            check.future = self.loop.run_in_executor(self.threads, work)
            check.future.add_done_callback(partial(self._checked, key, check))
        check.answers.append(answer)
        return partial(check.give_up, answer)

    async def user(self, name: str, password: str, *, from_loopback: bool) -> User | str:
        """The same for who can wait."""
        answer: asyncio.Future[User | str] = self.loop.create_future()

        def answered(found: User | str) -> None:
            if not answer.done():
                answer.set_result(found)

        give_up = self.log_in(name, password, from_loopback=from_loopback, answer=answered)
        try:
            return await answer
        finally:
            if give_up is not None and not answer.done():
                give_up()

    async def hash(self, password: str) -> Password:
        """For a user who is to have it."""
        return await self.loop.run_in_executor(self.threads, hashed, password)

    def _refusal(self, user: User | None, *, from_loopback: bool) -> str | None:
        """Whatever the password is."""
        if user is None:
            return NO_SUCH_USER
        return None if self.users.may_log_in(user, from_loopback=from_loopback) else NOT_FROM_THERE

    def _checked(self, key: tuple[bytes, bool], check: Check, future: "asyncio.Future[bool]") -> None:
        del self.under_way[key]
        if future.cancelled():
            return
        right = future.result() and check.refusal is None
        if right:
            self._remember(key[0])
        for answer in check.answers:
            user = check.user
            if not right or user is None:
                answer(check.refusal or WRONG_PASSWORD)
            elif self.users.by_name.get(user.name) is not user or user.password != check.known:
                answer(CHANGED)
            else:
                answer(user)

    def _digest(self, name: str, known: Password, password: str) -> bytes:
        digest = hashlib.blake2b(key=self.secret, digest_size=32)
        for part in (name, known.value, password):
            digest.update(len(octets(part)).to_bytes(8, "big") + octets(part))
        return digest.digest()

    def _remembers(self, digest: bytes) -> bool:
        until = self.remembered.get(digest)
        return until is not None and self.loop.time() < until

    def _remember(self, digest: bytes) -> None:
        self.remembered[digest] = self.loop.time() + REMEMBERED_SECONDS
        self.remembered.move_to_end(digest)
        if len(self.remembered) > REMEMBERED_MAX:
            self.remembered.popitem(last=False)
