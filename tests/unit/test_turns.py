"""Work in turns: each of several has a step after the other, and one that fails keeps no other from its end."""

from collections.abc import Callable, Iterator

import pytest

from flowmq.server.turns import Turns


class Loop:
    def __init__(self) -> None:
        self.soon: list[Callable[[], None]] = []

    def call_soon(self, callback: Callable[[], None]) -> None:
        self.soon.append(callback)


def steps(name: str, done: list[str], count: int) -> Iterator[None]:
    for _ in range(count):
        done.append(name)
        yield


def failing() -> Iterator[None]:
    yield
    raise ValueError("a mistake of ours")


def run(loop: Loop) -> int:
    """All turns; how many failed."""
    failures = 0
    while loop.soon:
        try:
            loop.soon.pop(0)()
        except ValueError:
            failures += 1
    return failures


def test_steps_alternate() -> None:
    loop, done = Loop(), list[str]()
    turns = Turns(loop)  # type: ignore[arg-type]
    turns.begin(steps("a", done, 3))
    turns.begin(steps("b", done, 2))
    assert run(loop) == 0
    assert done == ["a", "b", "a", "b", "a"]


@pytest.mark.parametrize("order", [0, 1, 2])
def test_one_that_fails_keeps_no_other_from_its_end(order: int) -> None:
    loop, done = Loop(), list[str]()
    turns = Turns(loop)  # type: ignore[arg-type]
    works = [steps("a", done, 3), steps("b", done, 3)]
    works.insert(order, failing())
    for work in works:
        turns.begin(work)
    assert run(loop) == 1
    assert sorted(done) == ["a"] * 3 + ["b"] * 3
    turns.begin(steps("later", done, 1))
    assert run(loop) == 0
    assert done[-1] == "later"
