"""Log-ins: who gets in, what is remembered, and that nobody learns from the time which users there are."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from flowmq.broker import passwords
from flowmq.broker.passwords import ARGON2ID, Password, hashed, rabbitmq_hashed
from flowmq.broker.users import User, Users
from flowmq.server import authentication
from flowmq.server.authentication import (
    CHANGED,
    NO_SUCH_USER,
    NOT_CHECKED,
    NOT_FROM_THERE,
    TOO_MANY,
    WRONG_PASSWORD,
    Authenticator,
)

SLOW = hashed("secret")


class Counting:
    """How often a password is compared with an argon2id hash."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.slow = 0

        def verified(known: Password, password: str) -> bool:
            self.slow += known.algorithm == ARGON2ID
            return real(known, password)

        real = passwords.verified
        monkeypatch.setattr(passwords, "verified", verified)
        monkeypatch.setattr(authentication, "verified", verified)


@pytest.fixture
def counting(monkeypatch: pytest.MonkeyPatch) -> Counting:
    return Counting(monkeypatch)


@pytest.fixture
def users() -> Users:
    given = [User("ann", SLOW), User("bob", rabbitmq_hashed("secret")), User("guest", rabbitmq_hashed("guest"))]
    return Users(given, default_user_loopback_only=True)


@pytest.fixture
async def door(users: Users) -> AsyncIterator[Authenticator]:
    authenticator = Authenticator(users, asyncio.get_running_loop())
    yield authenticator
    authenticator.close()


@pytest.mark.parametrize(
    ("name", "password", "from_loopback", "refusal"),
    [
        ("ann", "secret", False, None),
        ("bob", "secret", False, None),
        ("guest", "guest", True, None),
        ("guest", "guest", False, NOT_FROM_THERE),
        ("guest", "wrong", True, WRONG_PASSWORD),
        ("ann", "wrong", True, WRONG_PASSWORD),
        ("ann", "", True, WRONG_PASSWORD),
        ("bob", "secret\0", True, WRONG_PASSWORD),
        ("nobody", "secret", True, NO_SUCH_USER),
        ("\udcff", "\udcfe", True, NO_SUCH_USER),
    ],
)
async def test_who_gets_in(
    door: Authenticator, users: Users, name: str, password: str, from_loopback: bool, refusal: str | None
) -> None:
    found = await door.user(name, password, from_loopback=from_loopback)
    assert found == (users.by_name[name] if refusal is None else refusal)


async def test_every_refusal_takes_one_slow_check(door: Authenticator, counting: Counting) -> None:
    for name, password, from_loopback in (
        ("nobody", "x", True),
        ("ann", "wrong", True),
        ("bob", "wrong", True),
        ("guest", "guest", False),
    ):
        before = counting.slow
        assert isinstance(await door.user(name, password, from_loopback=from_loopback), str)
        assert counting.slow == before + 1, name


async def test_what_was_right_is_remembered(door: Authenticator, counting: Counting) -> None:
    for _ in range(5):
        await door.user("ann", "secret", from_loopback=False)
    assert counting.slow == 1
    for _ in range(3):
        assert await door.user("ann", "wrong", from_loopback=False) == WRONG_PASSWORD
    assert counting.slow == 2  # what was wrong, likewise
    assert await door.user("ann", "wrong too", from_loopback=False) == WRONG_PASSWORD
    assert counting.slow == 3


async def test_a_crowd_that_comes_at_once_costs_one_check(door: Authenticator, counting: Counting) -> None:
    crowd = [door.user("ann", "secret", from_loopback=False) for _ in range(1000)]
    assert {found.name for found in await asyncio.gather(*crowd) if isinstance(found, User)} == {"ann"}
    assert counting.slow == 1


async def test_a_check_that_fails_is_answered_and_made_anew(
    monkeypatch: pytest.MonkeyPatch, door: Authenticator, users: Users
) -> None:
    def fails(known: Password, password: str) -> bool:
        raise MemoryError

    with monkeypatch.context() as broken:
        broken.setattr(authentication, "verified", fails)
        crowd = [door.user("ann", "secret", from_loopback=False) for _ in range(3)]
        assert await asyncio.gather(*crowd) == [NOT_CHECKED] * 3
    assert await door.user("ann", "secret", from_loopback=False) is users.by_name["ann"]


async def test_after_a_change_of_the_password_the_old_one_is_not_remembered(door: Authenticator, users: Users) -> None:
    await door.user("ann", "secret", from_loopback=False)
    users.set_password("ann", hashed("newer"))
    assert await door.user("ann", "secret", from_loopback=False) == WRONG_PASSWORD
    assert await door.user("ann", "newer", from_loopback=False) is users.by_name["ann"]


@pytest.mark.parametrize("change", ["delete", "password"])
async def test_a_user_who_changes_during_the_check_does_not_get_in(
    door: Authenticator, users: Users, change: str
) -> None:
    waiting = asyncio.ensure_future(door.user("ann", "secret", from_loopback=False))
    await asyncio.sleep(0)
    if change == "delete":
        users.delete("ann")
    else:
        users.set_password("ann", hashed("newer"))
    assert await waiting == CHANGED


async def test_memory_of_log_ins_is_bounded_in_number_and_time(
    door: Authenticator, counting: Counting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(authentication, "REMEMBERED_MAX", 3)
    monkeypatch.setattr(authentication, "REMEMBERED_SECONDS", 0.0)
    monkeypatch.setattr(authentication, "WRONG_SECONDS", 0.0)
    for _ in range(2):
        await door.user("ann", "secret", from_loopback=False)
    assert counting.slow == 2
    for _ in range(2):
        await door.user("ann", "wrong", from_loopback=False)
    assert counting.slow == 4
    for number in range(10):
        door.right.put(bytes([number]), True, 1.0)
    assert len(door.right.found) == 3


async def test_a_wrong_password_that_becomes_the_right_one_gets_in(door: Authenticator, users: Users) -> None:
    assert await door.user("ann", "newer", from_loopback=False) == WRONG_PASSWORD
    assert await door.user("zoe", "newer", from_loopback=False) == NO_SUCH_USER
    users.set_password("ann", hashed("newer"))
    users.add("zoe", hashed("newer"))
    assert await door.user("ann", "newer", from_loopback=False) is users.by_name["ann"]
    assert await door.user("zoe", "newer", from_loopback=False) is users.by_name["zoe"]


@pytest.mark.timeout(300)  # some hundred slow hashes
async def test_too_many_for_one_user_are_refused_but_from_where_somebody_has_been(door: Authenticator) -> None:
    def ask(number: int, source: str) -> "asyncio.Future[object]":
        answer = asyncio.get_running_loop().create_future()
        door.log_in("ann", f"guess {number}", from_loopback=False, answer=answer.set_result, source=source)
        return answer

    await door.user("ann", "secret", from_loopback=False)  # from ""
    guesses = [ask(number, f"192.0.2.{number}") for number in range(authentication.USER_WAITING_MAX + 10)]
    one_who_was_here, another = ask(1000, ""), ask(1001, "")
    refused = [guess.result() for guess in guesses if guess.done()]
    assert refused == [TOO_MANY] * 10
    assert not one_who_was_here.done()
    await asyncio.gather(one_who_was_here, another)
    assert sum(guess.done() for guess in guesses) < 40  # they had every other turn
    await asyncio.gather(*guesses)
    assert not door.waiting_by_user


async def test_a_check_that_nobody_waits_for_is_given_up(door: Authenticator, counting: Counting) -> None:
    answers: list[object] = []
    busy = [door.user(f"nobody {number}", "x", from_loopback=False) for number in range(4)]
    waiting = asyncio.gather(*busy)
    await asyncio.sleep(0)
    give_up = [door.log_in("ann", "secret", from_loopback=False, answer=answers.append) for _ in range(2)]
    for each in give_up:
        assert each is not None
        each()
    await waiting
    assert await door.user("bob", "wrong", from_loopback=False) == WRONG_PASSWORD
    assert answers == []
    assert not door.under_way
    assert counting.slow == 5
