"""What a call of the HTTP API asks the broker: things may go between two questions."""

from types import SimpleNamespace
from typing import Any

import pytest

from flowmq.management.login import Caller
from flowmq.management.web import Call, Refused


class Control:
    """The virtual host of the path goes when it has been seen so often."""

    def __init__(self, seen: int) -> None:
        self.left = seen

    async def call(self, command: str) -> list[dict[str, str]]:
        assert command == "vhost.list"
        self.left -= 1
        return [{"name": "/"}, *([{"name": "shop"}] if self.left >= 0 else [])]


def call(seen: int, tags: str) -> Call:
    management: Any = SimpleNamespace(control=Control(seen), sampler=None)
    request: Any = SimpleNamespace(match_info={"vhost": "shop"})
    caller = Caller("name", frozenset(tags.split()), (tags,), frozenset(), "name", is_kept=True)
    return Call(management, request, caller)


@pytest.mark.parametrize(("seen", "found"), [(0, []), (1, ["shop"]), (2, ["shop"])])
async def test_bindings_of_a_virtual_host_that_goes_are_no_error(seen: int, found: list[str]) -> None:
    assert await call(seen, "monitoring").vhost_of_bindings() == found


async def test_who_must_not_see_a_virtual_host_does_not_see_its_bindings() -> None:
    with pytest.raises(Refused) as refused:
        await call(9, "management").vhost_of_bindings()
    assert refused.value.status == 401
    assert await call(0, "management").vhost_of_bindings() == []
