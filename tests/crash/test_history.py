"""The judge of the kill rounds is judged: it finds each kind of fault, and none in what is in order."""

import itertools
from collections.abc import Callable

import pytest

from tests.crash.history import Copy, History, Promises, Sure, Taken, body_of, is_persistent, properties_of

QUEUE = "q"
PERSISTENT = [name for number in range(1, 60) if is_persistent(name := f"1.1.{number}")]
TRANSIENT = [name for number in range(1, 60) if not is_persistent(name := f"1.1.{number}")]
FIRST, SECOND = PERSISTENT[:2]


def confirmed(history: History, *messages: str) -> list[Copy]:
    copies = [copy for message in messages for copy in history.published(message, [QUEUE])]
    for copy in copies:
        copy.confirmed = True
    return copies


def take(history: History, message: str, *, redelivered: bool = False, body: bytes | None = None) -> Copy | None:
    shown = body_of(message) if body is None else body
    return history.taken(Taken(QUEUE, shown, properties_of(message), redelivered))


def restart(history: History, *present: str, redelivered: bool = False) -> None:
    history.broker_died()
    for message in present:
        take(history, message, redelivered=redelivered)
    history.drained({(QUEUE, message) for message in present})


def acknowledge(history: History, copies: list[Copy], *, sure: Sure) -> None:
    history.acknowledging(copies)
    history.answered(copies, copies, sure)


def lost(history: History) -> None:
    confirmed(history, FIRST, SECOND)
    restart(history, FIRST)


def lost_after_delivery(history: History) -> None:
    confirmed(history, FIRST)
    take(history, FIRST)
    restart(history)


def lost_after_requeue(history: History) -> None:
    copies = confirmed(history, FIRST)
    take(history, FIRST)
    history.given_up(copies)
    restart(history)


def lost_in_a_later_round(history: History) -> None:
    copies = confirmed(history, FIRST)
    restart(history, FIRST)
    history.given_up(copies)
    restart(history)


def acknowledged_comes_back(history: History) -> None:
    copies = confirmed(history, FIRST)
    take(history, FIRST)
    acknowledge(history, copies, sure=Sure.ANSWERED)
    restart(history, FIRST, redelivered=True)


def absent_comes_back(history: History) -> None:
    history.published(FIRST, [QUEUE])
    restart(history)
    restart(history, FIRST, redelivered=True)


def transient_comes_back(history: History) -> None:
    confirmed(history, TRANSIENT[0])
    restart(history, TRANSIENT[0])


def mark_forgotten(history: History) -> None:
    confirmed(history, FIRST)
    take(history, FIRST)
    restart(history, FIRST)


def order_turned(history: History) -> None:
    confirmed(history, FIRST, SECOND)
    restart(history, SECOND, FIRST)


def order_turned_across_the_restart(history: History) -> None:
    confirmed(history, FIRST, SECOND)
    take(history, SECOND)
    history.broker_died()
    take(history, FIRST)


def twice_at_once(history: History) -> None:
    confirmed(history, FIRST)
    restart(history, FIRST, FIRST, redelivered=True)


def everything_marked(history: History) -> None:
    names = [f"1.2.{number}" for number in range(1, 300)]
    confirmed(history, *(name for name in names if is_persistent(name)))
    restart(history, *(name for name in names if is_persistent(name)), redelivered=True)


def body_changed(history: History) -> None:
    confirmed(history, FIRST)
    take(history, FIRST, body=body_of(FIRST) + b"x")


def properties_changed(history: History) -> None:
    confirmed(history, FIRST)
    history.taken(Taken(QUEUE, body_of(FIRST), {**properties_of(FIRST), "priority": 1}, False))


def never_published(history: History) -> None:
    take(history, FIRST)


FAULTS = [
    (lost, f"message {SECOND} in q is lost"),
    (lost_after_delivery, "is lost"),
    (lost_after_requeue, "is lost"),
    (lost_in_a_later_round, "is lost"),
    (acknowledged_comes_back, "came back after its acknowledgement"),
    (absent_comes_back, "had not been there any more"),
    (transient_comes_back, "had not been there any more"),
    (mark_forgotten, "without being marked"),
    (order_turned, "came after number"),
    (order_turned_across_the_restart, "came after number"),
    (twice_at_once, "a second time"),
    (everything_marked, "messages marked as redelivered"),
    (body_changed, "body changed"),
    (properties_changed, "properties changed"),
    (never_published, "nobody had published"),
]


@pytest.mark.parametrize(("story", "text"), FAULTS, ids=[story.__name__ for story, _ in FAULTS])
def test_fault_is_found(story: Callable[[History], None], text: str) -> None:
    history = History()
    story(history)
    assert any(text in fault for fault in history.faults), history.faults
    with pytest.raises(AssertionError, match="faults"):
        history.check()


@pytest.mark.parametrize("present", [(), (FIRST,), (SECOND,), (FIRST, SECOND)])
def test_unconfirmed_may_be_there_or_not(present: tuple[str, ...]) -> None:
    history = History()
    history.published(FIRST, [QUEUE])
    history.published(SECOND, [QUEUE])
    restart(history, *present)
    history.check()


@pytest.mark.parametrize("comes_back", [False, True])
def test_ack_that_nobody_answered_for_may_count_or_not(comes_back: bool) -> None:
    history = History()
    copies = confirmed(history, FIRST)
    take(history, FIRST)
    acknowledge(history, copies, sure=Sure.SEEN)
    restart(history, *([FIRST] if comes_back else []), redelivered=True)
    history.check()


def test_long_orderly_life_is_without_fault() -> None:
    history = History()
    copies = confirmed(history, *PERSISTENT, *TRANSIENT)
    for copy in copies[:3]:
        take(history, copy.message)
    history.given_up(copies[1:2])
    take(history, copies[1].message, redelivered=True)
    acknowledge(history, copies[:1], sure=Sure.ANSWERED)
    for _ in range(3):
        history.broker_died()
        present = [copy for copy in copies[1:] if copy.persistent]
        for copy in present:
            take(history, copy.message, redelivered=copy.handed_out > Sure.NOT)
        history.drained({(QUEUE, copy.message) for copy in present})
        history.given_up(present)
    history.check()


@pytest.mark.parametrize("promised", [Sure.ANSWERED, Sure.SYNCED, Sure.NEVER])
@pytest.mark.parametrize("sure", [Sure.SEEN, Sure.ANSWERED, Sure.SYNCED])
def test_only_what_is_promised_can_be_broken(promised: Sure, sure: Sure) -> None:
    history = History(Promises(acks=promised, marks=promised))
    copies = confirmed(history, FIRST)
    take(history, FIRST)
    acknowledge(history, copies, sure=sure)
    restart(history, FIRST)
    kinds = ["came back after its acknowledgement", "without being marked"]
    assert [any(kind in fault for fault in history.faults) for kind in kinds] == [sure >= promised] * 2


def test_ack_that_did_not_count_leaves_the_message_owed() -> None:
    history = History()
    copies = confirmed(history, FIRST)
    take(history, FIRST)
    acknowledge(history, copies, sure=Sure.SEEN)
    restart(history, FIRST, redelivered=True)
    history.given_up(copies)
    history.check()
    restart(history)
    assert history.faults == [f"{copies[0]} is lost: confirmed, never acknowledged, not there"]


def test_messages_are_of_all_sizes_and_both_kinds() -> None:
    names = [f"9.1.{number}" for number in range(2000)]
    sizes = sorted(len(body_of(name)) for name in names)
    assert sizes[0] == 0
    assert sizes[-1] > 131072, "none of several frames"
    assert sizes[len(sizes) // 2] < 200
    kinds = [is_persistent(name) for name in names]
    assert 0.8 < sum(kinds) / len(kinds) < 0.95
    assert len({body_of(name) for name in names if len(body_of(name)) > 8}) > 1500
    assert all(body_of(name) == body_of(name) for name in itertools.islice(names, 20))
