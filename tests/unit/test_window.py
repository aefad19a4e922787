"""What a channel has handed out and not got back: any tag in any order, holes, transactions, and tags that never were.

The judge is a set of delivery tags. Everything goes through the front door.
"""

import random
from collections.abc import Callable, Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.codec import method_frame
from tests.unit.support_plane import Client, Plane, publish_frames

OUTSTANDING = 4000
BITS = st.booleans()


def holding(plane: Plane, number: int, *, tx: bool = False) -> Client:
    """A client that has been handed messages 1 to `number` on channel 1, which it consumes from."""
    client = plane.client(1, 2)
    client.call(1, "queue.declare", queue="q")
    client.call(1, "basic.consume", queue="q", consumer_tag="c")
    if tx:
        client.call(1, "tx.select")
    client.feed(publish_frames(2, "q", b"x") * number)
    client.take()
    return client


def settle(client: Client, tags: Iterable[int], *, kind: str = "basic.ack", **bits: bool) -> None:
    client.feed(b"".join(method_frame(1, kind, delivery_tag=tag, **bits) for tag in tags))


def unacked(client: Client) -> int:
    return client.connection.channels[1].unacked_count


def expect_unknown(client: Client, tag: int) -> None:
    (close,) = client.received()
    assert (close.name, close.channel, close.reply_code) == ("channel.close", 1, 406)
    assert close.reply_text == f"PRECONDITION_FAILED - unknown delivery tag {tag}"
    assert (close.class_id, close.method_id) == (60, 80)


def in_order() -> list[int]:
    return list(range(1, OUTSTANDING + 1))


def backwards() -> list[int]:
    return in_order()[::-1]


def at_random() -> list[int]:
    return random.Random(1).sample(in_order(), OUTSTANDING)


def odd_then_even() -> list[int]:
    return in_order()[::2] + in_order()[1::2]


def all_but_the_first() -> list[int]:
    return [*in_order()[1:], 1]


def from_both_ends() -> list[int]:
    return [tag for pair in zip(in_order(), backwards(), strict=True) for tag in pair][:OUTSTANDING]


ORDERS = [in_order, backwards, at_random, odd_then_even, all_but_the_first, from_both_ends]


@pytest.mark.parametrize("order", ORDERS, ids=lambda order: order.__name__)
def test_thousands_are_settled_in_any_order(order: Callable[[], list[int]]) -> None:
    with Plane() as plane:
        client = holding(plane, OUTSTANDING)
        tags = order()
        for at in range(0, OUTSTANDING, 500):
            settle(client, tags[at : at + 500])
            assert client.received() == []
            assert unacked(client) == plane.live() == OUTSTANDING - at - 500
        settle(client, [tags[0]])
        expect_unknown(client, tags[0])


@pytest.mark.parametrize("order", ORDERS, ids=lambda order: order.__name__)
def test_every_settled_tag_is_unknown_and_every_other_is_not(order: Callable[[], list[int]]) -> None:
    for settled in (1, OUTSTANDING // 4, OUTSTANDING - 1):
        tags = order()
        for again in (tags[0], tags[settled - 1]):
            with Plane() as plane:
                client = holding(plane, OUTSTANDING)
                settle(client, tags[:settled])
                settle(client, [tags[-1], again])
                expect_unknown(client, again)
                assert plane.queue("q").message_count == OUTSTANDING - settled - 1


@pytest.mark.parametrize("tag", [0, 6, 7, 2**32 + 1, 2**63, 2**64 - 1])
@pytest.mark.parametrize(("kind", "method"), [("basic.ack", 80), ("basic.nack", 120), ("basic.reject", 90)])
def test_tags_that_never_were_are_unknown(tag: int, kind: str, method: int) -> None:
    with Plane() as plane:
        client = holding(plane, 5)
        settle(client, [tag], kind=kind)
        (close,) = client.received()
        assert (close.reply_code, close.class_id, close.method_id) == (406, 60, method)
        assert plane.queue("q").message_count == 5


@pytest.mark.parametrize("kind", ["basic.ack", "basic.nack"])
@pytest.mark.parametrize(("number", "tag"), [(0, 1), (5, 6), (5, 2**64 - 1)])
def test_multiple_up_to_a_tag_that_never_was_settles_nothing(kind: str, number: int, tag: int) -> None:
    with Plane() as plane:
        client = holding(plane, number)
        settle(client, [tag], kind=kind, multiple=True)
        (close,) = client.received()
        assert (close.reply_code, close.reply_text) == (406, f"PRECONDITION_FAILED - unknown delivery tag {tag}")
        assert plane.queue("q").message_count == number


@pytest.mark.parametrize("number", [0, 1, 5])
def test_multiple_up_to_0_is_everything(number: int) -> None:
    with Plane() as plane:
        client = holding(plane, number)
        settle(client, [0, 0], multiple=True)
        assert client.received() == []
        assert unacked(client) == plane.live() == 0


def test_deliveries_that_need_no_ack_use_up_tags() -> None:
    """The tags that may be settled are not consecutive: gaps that were never outstanding."""
    with Plane() as plane:
        client = plane.client(1)
        client.call(1, "queue.declare", queue="q")
        client.feed(publish_frames(1, "q") * 3000)
        choose = random.Random(3)
        outstanding = [tag for tag in range(1, 3001) if choose.random() < 0.3]
        for tag in range(1, 3001):
            client.send(1, "basic.get", queue="q", no_ack=tag not in outstanding)
        assert [method.delivery_tag for method in client.received()] == list(range(1, 3001))
        choose.shuffle(outstanding)
        settle(client, outstanding[:-1])
        assert unacked(client) == plane.live() == 1
        last, gap = outstanding[-1], next(tag for tag in range(1, 3001) if tag not in outstanding)
        settle(client, [last, gap])
        expect_unknown(client, gap)


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_any_settlements_against_a_set_of_tags(data: st.DataObject) -> None:
    """With and without a transaction: what it holds back is neither outstanding nor done."""
    tx = data.draw(BITS)
    with Plane() as plane:
        client = holding(plane, 0, tx=tx)
        outstanding: set[int] = set()
        staged: set[int] = set()
        last = 0
        for _ in range(data.draw(st.integers(1, 12))):
            number = data.draw(st.sampled_from([0, 1, 5, 40]))
            client.feed(publish_frames(2, "q") * number)
            outstanding |= set(range(last + 1, last + number + 1))
            last += number
            for multiple in data.draw(st.lists(st.sampled_from([False, False, False, True]), max_size=15)):
                if outstanding:
                    tag = data.draw(st.sampled_from(sorted(outstanding)))
                    settle(client, [tag], multiple=multiple)
                    settled = {other for other in outstanding if other == tag or (multiple and other < tag)}
                    outstanding -= settled
                    staged |= settled if tx else set()
            if tx:
                end = data.draw(st.sampled_from(["commit", "rollback", None]))
                if end is not None:
                    client.send(1, f"tx.{end}")
                    outstanding |= staged if end == "rollback" else set()
                    staged.clear()
            assert unacked(client) == plane.live() == len(outstanding | staged)
            assert not {"channel.close", "connection.close"} & {method.name for method in client.received()}
        wrong = data.draw(st.sampled_from(sorted(set(range(1, last + 2)) - outstanding)))
        settle(client, [*sorted(outstanding), wrong])
        expect_unknown(client, wrong)


def test_a_rollback_makes_everything_outstanding_again() -> None:
    with Plane() as plane:
        client = holding(plane, OUTSTANDING, tx=True)
        settle(client, random.Random(2).sample(in_order(), OUTSTANDING // 2))
        client.call(1, "tx.rollback")
        assert unacked(client) == plane.live() == OUTSTANDING
        settle(client, at_random())
        client.call(1, "tx.commit")
        assert unacked(client) == plane.live() == 0


@pytest.mark.parametrize("end", ["close", "lose", "recover"])
def test_what_a_transaction_settled_without_a_commit_returns(end: str) -> None:
    with Plane() as plane:
        client = holding(plane, 10, tx=True)
        settle(client, [1, 5, 10])
        client.feed(publish_frames(1, "q") * 3)
        assert plane.live() == 13
        if end == "recover":
            # Only what is outstanding comes back; the transaction keeps what it has.
            client.call(1, "basic.cancel", consumer_tag="c")
            client.call(1, "basic.recover", requeue=True)
            assert (plane.queue("q").message_count, unacked(client)) == (7, 3)
        elif end == "close":
            client.call(1, "channel.close", reply_code=200)
        else:
            client.lose()
        if end != "recover":
            assert plane.queue("q").message_count == plane.live() == 10
