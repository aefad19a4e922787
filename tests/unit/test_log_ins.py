"""Log-ins of the HTTP API: a flood of wrong ones keeps nobody out who was in before."""

import asyncio
import base64
from typing import Any

import pytest

from flowmq.management.login import FAILURES_MAX, FAILURES_MAX_OF_ADDRESS, LogIns, TooMany

ADDRESS = "192.0.2.1"


class Control:
    """A broker with one user."""

    def __init__(self) -> None:
        self.password = "right"
        self.revision = 0
        self.looked = 0

    async def call(self, command: str, **asked: Any) -> Any:
        if command == "access.revision":
            return str(self.revision)
        self.looked += 1
        if (asked["name"], asked["password"]) != ("user", self.password):
            return None
        return {"name": "user", "tags": ["management"], "vhosts": ["/"], "expires_at": None}


class Door:
    def __init__(self) -> None:
        self.control = Control()
        self.log_ins = LogIns(self.control)  # type: ignore[arg-type]

    def lets_in(self, name: str, password: str, address: str = ADDRESS) -> bool:
        header = "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()
        return asyncio.run(self.log_ins.caller(header, address)) is not None

    def is_flooded(self) -> None:
        for number in range(FAILURES_MAX_OF_ADDRESS):
            assert not self.lets_in(f"nobody-{number}", "guess")
        with pytest.raises(TooMany):
            self.lets_in("nobody", "guess")

    def change(self) -> None:
        """What was remembered does not count any more."""
        self.control.revision += 1


def test_who_was_in_before_gets_in_again() -> None:
    door = Door()
    assert door.lets_in("user", "right")
    door.is_flooded()
    door.change()
    assert door.lets_in("user", "right")
    with pytest.raises(TooMany):
        door.lets_in("user", "guess")


def test_who_was_not_waits() -> None:
    door = Door()
    door.is_flooded()
    looked = door.control.looked
    with pytest.raises(TooMany):
        door.lets_in("user", "right")
    assert door.control.looked == looked
    assert door.lets_in("user", "right", "192.0.2.2")


def test_a_password_that_is_wrong_by_now_is_a_guess_like_others() -> None:
    door = Door()
    assert door.lets_in("user", "right")
    door.control.password = "another"
    door.change()
    for _ in range(FAILURES_MAX):
        assert not door.lets_in("user", "right")
    with pytest.raises(TooMany):
        door.lets_in("user", "right")
