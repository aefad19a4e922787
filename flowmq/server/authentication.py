"""Log-ins: is it this user's password? Slow hashes are checked in threads, few at a time, and remembered for a while.

A log-in that fails takes as long whatever was wrong, so that nobody learns by it which users there are. One that was
right is remembered as a keyed digest, in memory only: clients that all come back at once cost one slow check per user.
What was wrong is remembered likewise, for a shorter time: a client that does not give up costs one now and then. When
more is asked than can be checked, those come first from whose address somebody has logged in lately.
"""

import asyncio
import hashlib
import logging
import os
import secrets
import time
from collections import Counter, OrderedDict
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from flowmq.broker.names import octets
from flowmq.broker.passwords import NO_PASSWORD, Password, hashed, verified, waste_time
from flowmq.broker.users import User, Users
from flowmq.server import user_settings
from flowmq.server.fair_threads import Busy, FairThreads

if TYPE_CHECKING:
    from flowmq.server.tokens import Tokens

THREADS_MAX = 2
REMEMBERED_MAX = 10_000
REMEMBERED_SECONDS = 900.0
WRONG_SECONDS = 60.0
SOURCES_SECONDS = 86400.0
# Checks that wait, for each thread: some 20 ms each, so that none waits longer than its client does.
WAITING_PER_THREAD = 200
SOURCE_WAITING_MAX = 50
USER_WAITING_MAX = 100
OWN = "own"  # the source of what the broker itself asks
NO_SUCH_USER, WRONG_PASSWORD = "no such user", "wrong password"
NOT_FROM_THERE = "this user can only connect from the broker's own machine (limits.default_user_loopback_only)"
CHANGED = "the user was changed or deleted meanwhile"
NOT_CHECKED = "its password could not be checked"
TOO_MANY = "too many passwords wait to be checked"
log = logging.getLogger("flowmq")

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


class Memory:
    """What was found out, for a while, and not too much of it."""

    def __init__(self) -> None:
        self.found: OrderedDict[Any, tuple[float, Any]] = OrderedDict()

    def put(self, key: Any, value: Any, seconds: float) -> None:
        self.found[key] = (time.monotonic() + seconds, value)
        self.found.move_to_end(key)
        if len(self.found) > REMEMBERED_MAX:
            self.found.popitem(last=False)

    def get(self, key: Any) -> Any:
        until, value = self.found.get(key, (0.0, None))
        return value if time.monotonic() < until else None


class Authenticator:
    def __init__(self, users: Users, loop: asyncio.AbstractEventLoop, tokens: "Tokens | None" = None) -> None:
        self.users = users
        self.tokens = tokens  # None: all passwords are passwords
        self.loop = loop
        count = min(THREADS_MAX, os.cpu_count() or 1)
        waiting_max = count * WAITING_PER_THREAD
        self.threads = FairThreads(
            loop, count, "password", waiting_max=waiting_max, source_waiting_max=SOURCE_WAITING_MAX
        )
        self.secret = secrets.token_bytes(32)
        self.right = Memory()  # by digest
        self.wrong = Memory()  # by digest and whether it was from loopback: why
        self.sources = Memory()  # from where somebody has logged in
        self.waiting_by_user: Counter[str] = Counter()
        self.under_way: dict[tuple[bytes, bool, str], Check] = {}

    def close(self) -> None:
        self.threads.close()
        if self.tokens is not None:
            self.tokens.keys.stop()

    def log_in(
        self, name: str, password: str, *, from_loopback: bool, answer: Answer, source: str = ""
    ) -> Callable[[], None] | None:
        """Calls `answer` at once, or later; then what is returned gives it up. `source`: see FairThreads."""
        if self.tokens is not None and self.tokens.takes(password):
            return self.tokens.log_in(password, answer)
        user = self.users.by_name.get(name)
        known = NO_PASSWORD if user is None else user.password
        refusal = self._refusal(user, from_loopback=from_loopback)
        # What is quickly found to be right needs not to be remembered.
        is_right = refusal is None and not known.is_slow and verified(known, password)
        digest = b"" if is_right else self._digest(name, known, password)
        if user is not None and refusal is None:
            if is_right or (known.is_slow and self.right.get(digest)):
                self.sources.put(source, True, SOURCES_SECONDS)
                answer(user)
                return None
            refusal = None if known.is_slow else WRONG_PASSWORD
        why = self.wrong.get((digest, from_loopback))
        if why is not None:
            answer(why)
            return None
        key = (digest, from_loopback, source)
        check = self.under_way.get(key)
        if check is None:
            check = Check(user, known, refusal)
            try:
                self._begin(key, check, name, password)
            except Busy:
                answer(TOO_MANY)
                return None
        check.answers.append(answer)
        return partial(check.give_up, answer)

    def _begin(self, key: tuple[bytes, bool, str], check: Check, name: str, password: str) -> None:
        source = key[2]
        is_known = self.sources.get(source) is not None
        if not is_known and self.waiting_by_user[name] >= USER_WAITING_MAX:
            raise Busy
        right = partial(verified, check.known, password)
        work = right if check.refusal is None else partial(waste_time, password)
        check.future = self.threads.submit(source, work, preferred=is_known)
        self.waiting_by_user[name] += 1
        self.under_way[key] = check
        check.future.add_done_callback(partial(self._checked, key, check, name))

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
        found: Password = await self.threads.submit(OWN, partial(hashed, password), preferred=True, bounded=False)
        return found

    def _refusal(self, user: User | None, *, from_loopback: bool) -> str | None:
        """Whatever the password is."""
        if user is None:
            return NO_SUCH_USER
        return None if self.users.may_log_in(user, from_loopback=from_loopback) else NOT_FROM_THERE

    def _checked(self, key: tuple[bytes, bool, str], check: Check, name: str, future: "asyncio.Future[bool]") -> None:
        del self.under_way[key]
        self.waiting_by_user[name] -= 1
        if not self.waiting_by_user[name]:
            del self.waiting_by_user[name]
        if future.cancelled():
            return
        if (error := future.exception()) is not None:
            log.error("the check of a password: internal error", exc_info=error)
            for answer in check.answers:
                answer(NOT_CHECKED)
            return
        right = future.result() and check.refusal is None
        digest, from_loopback, source = key
        if right:
            self.right.put(digest, True, REMEMBERED_SECONDS)
            self.sources.put(source, True, SOURCES_SECONDS)
        else:
            self.wrong.put((digest, from_loopback), check.refusal or WRONG_PASSWORD, WRONG_SECONDS)
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
