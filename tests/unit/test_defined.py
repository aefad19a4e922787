"""What definitions add up to, against a list; queues and exchanges that go let go of their bindings in steps."""

import random
from collections.abc import Iterator

import msgpack
import pytest

from flowmq.storage.defined import BINDING, STEP_BINDINGS, Defined, Name, encoded, record_of

MANY = 3 * STEP_BINDINGS


def bind(defined: Defined, source: str, queue: str, key: str) -> None:
    name = ("/", source, "queue", queue, key, b"")
    assert list(defined.apply(BINDING, name, record_of(BINDING, name, True))) == []


def put(defined: Defined, kind: str, name: str) -> None:
    assert list(defined.apply(kind, ("/", name), record_of(kind, ("/", name), {"id": 1}))) == []


def keys(defined: Defined) -> list[str]:
    return [key for *_, key, _ in defined.all_bindings()]


def again(defined: Defined) -> Defined:
    """As a start finds it that reads the record of all."""
    read = Defined()
    read.read(8, defined.snapshot())
    return read


@pytest.mark.parametrize("kind", ["queue", "exchange"])
def test_what_goes_takes_its_bindings_with_it_at_once(kind: str) -> None:
    defined = Defined()
    for number in range(MANY):
        bind(defined, "x", "q", f"{number}")
    bind(defined, "y", "p", "kept")
    put(defined, kind, "x" if kind == "exchange" else "q")
    steps = defined.apply(kind, ("/", "x" if kind == "exchange" else "q"), None)
    assert keys(defined) == keys(again(defined)) == ["kept"]
    assert sum(1 for _ in steps) == MANY / STEP_BINDINGS
    assert keys(defined) == ["kept"]
    assert (len(defined.bindings), len(defined.ends), defined.leaving) == (1, 2, 0)


def test_what_is_bound_anew_meanwhile_stays() -> None:
    defined = Defined()
    for number in range(MANY):
        bind(defined, "x", "q", f"{number}")
    steps = defined.apply("queue", ("/", "q"), None)
    next(steps)
    for number in reversed(range(MANY)):
        bind(defined, "x", "q", f"{number}")
    expected = [f"{number}" for number in reversed(range(MANY))]
    assert keys(defined) == expected
    list(steps)
    assert keys(defined) == keys(again(defined)) == expected


def test_one_change_read_back_takes_the_bindings_with_it() -> None:
    defined = Defined()
    bind(defined, "x", "q", "a")
    read = again(defined)
    read.read(7, record_of("queue", ("/", "q"), None))
    assert (keys(read), read.ends) == ([], {})


def test_an_exchange_that_is_bound_to_itself_goes() -> None:
    defined = Defined()
    name = ("/", "x", "exchange", "x", "", b"")
    defined.apply(BINDING, name, record_of(BINDING, name, True))
    list(defined.apply("exchange", ("/", "x"), None))
    assert (defined.bindings, defined.ends) == ({}, {})


class Naive:
    """A list of what is there."""

    def __init__(self) -> None:
        self.there: list[tuple[str, Name]] = []

    def change(self, kind: str, name: Name, is_there: bool) -> None:
        if is_there:
            if (kind, name) not in self.there:
                self.there.append((kind, name))
            return
        self.there = [one for one in self.there if one != (kind, name) and not self.is_bound_to(one, kind, name)]

    def is_bound_to(self, one: tuple[str, Name], kind: str, name: Name) -> bool:
        if one[0] != BINDING:
            return False
        vhost, source, destination_kind, destination, *_ = one[1]
        return (kind, name) in (("exchange", (vhost, source)), (destination_kind, (vhost, destination)))


@pytest.mark.parametrize("seed", range(20))
def test_random_changes_add_up_to_what_a_list_says(seed: int) -> None:
    dice = random.Random(seed)
    defined, naive, waiting = Defined(), Naive(), list[Iterator[None]]()
    journal: list[bytes] = []
    for _ in range(300):
        kind = dice.choice(["queue", "exchange", BINDING, BINDING, BINDING, BINDING])
        name: Name = ("/", dice.choice("ab"))
        if kind == BINDING:
            to = dice.choice(["queue", "exchange"])
            name = ("/", dice.choice("ab"), to, dice.choice("ab"), dice.choice("12"), b"\0" * dice.randint(0, 1))
        is_there = dice.random() < 0.7
        naive.change(kind, name, is_there)
        journal.append(record_of(kind, name, True if is_there else None))
        waiting.append(defined.apply(kind, name, journal[-1] if is_there else None))
        while waiting and dice.random() < 0.4:
            if next(waiting[0], waiting) is waiting:
                waiting.pop(0)
        assert list(defined.all_bindings()) == [name for kind, name in naive.there if kind == BINDING]
        assert defined.has(kind, name) is is_there
        everything = [[kind, encoded(name), True] for kind, name in naive.there]
        assert sorted(msgpack.unpackb(defined.snapshot()), key=repr) == sorted(everything, key=repr)
    read = Defined()
    for record in journal:
        read.read(7, record)
    assert list(read.all_bindings()) == [name for kind, name in naive.there if kind == BINDING]
    for steps in waiting:
        list(steps)
    assert set(defined.bindings) == {record_of(kind, name, True) for kind, name in naive.there if kind == BINDING}
    assert defined.ends.keys() == read.ends.keys()


def test_a_record_that_cannot_be_made_leaves_nothing_in_the_next_one() -> None:
    before = record_of("queue", ("/", "q"), {"id": 1})
    with pytest.raises(TypeError):
        record_of("queue", ("/", "a name that would be seen"), {"id": object()})
    assert record_of("queue", ("/", "q"), {"id": 1}) == before == msgpack.packb(["queue", [b"/", b"q"], {"id": 1}])
