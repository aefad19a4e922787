"""A shovel's transfer, between two channels of nobody: whatever the destination says, and in whatever order, the source
is told only of what the destination has confirmed."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowmq.broker.shovels import read_shovel
from flowmq.shovel import transfer as transfers
from flowmq.shovel.contents import Changes, RawProperties
from flowmq.shovel.link import Link
from flowmq.shovel.transfer import Transfer

VALUE = {"src-uri": "amqp://", "src-queue": "a", "dest-uri": "amqp://", "dest-queue": "b"}


class NoChannel:
    """Writes down what it is asked to send."""

    def __init__(self) -> None:
        self.acked: set[int] = set()
        self.told: set[int] = set()  # of deliveries, what the other side still waits for
        self.published: list[bytes] = []

    def basic_ack(self, tag: int, multiple: bool = False) -> None:
        settled = {one for one in self.told if one <= tag} if multiple else {tag}
        assert settled <= self.told, "acknowledged twice, or never delivered"
        self.acked |= settled
        self.told -= settled

    def basic_publish(self, exchange: str, key: str, body: bytes, properties: Any, mandatory: bool) -> None:
        self.published.append(body)


class Ends:
    def __init__(self, remaining: int | None = None, **more: Any) -> None:
        shovel = read_shovel({**VALUE, **{key.replace("_", "-"): value for key, value in more.items()}})
        self.source, self.destination = Link("source"), Link("destination")
        self.source.channel, self.destination.channel = NoChannel(), NoChannel()
        self.transfer = Transfer(shovel, self.source, self.destination, Changes(shovel, {}), lambda: None)
        self.transfer.remaining = self.transfer.to_take = remaining
        self.tags = 0
        self.confirmed: set[int] = set()

    @property
    def acked(self) -> set[int]:
        return set(self.source.channel.acked)

    @property
    def published(self) -> list[int]:
        """The tags that the messages had, in the order of their publishes."""
        return [int(body) for body in self.destination.channel.published]

    def deliver(self) -> None:
        self.tags += 1
        self.source.channel.told.add(self.tags)
        method = SimpleNamespace(delivery_tag=self.tags, exchange="", routing_key="a")
        self.transfer._run(self.transfer._delivered, None, method, RawProperties(), b"%d" % self.tags)

    def confirm(self, number: int, *, multiple: bool = False, name: str = "Basic.Ack") -> None:
        frame = SimpleNamespace(method=SimpleNamespace(delivery_tag=number, multiple=multiple, NAME=name))
        pending = self.transfer.pending
        settled = [one for one in pending if one == number or (multiple and one < number)]
        if name == "Basic.Ack" and not self.transfer.ended.done():
            self.confirmed |= {pending[one].tag for one in settled}
        self.transfer._run(self.transfer._confirmed, frame)


async def turn() -> None:
    """What was put off until the next turn of the loop is done."""
    for _ in range(3):
        await asyncio.sleep(0)


async def test_confirms_in_any_order_are_acknowledged_one_by_one_and_together() -> None:
    ends = Ends()
    for _ in range(5):
        ends.deliver()
    assert ends.published == [1, 2, 3, 4, 5]
    ends.confirm(3)
    await turn()
    assert ends.acked == {3}
    ends.confirm(2, multiple=True)
    await turn()
    assert ends.acked == {1, 2, 3}
    ends.confirm(5, multiple=True)
    await turn()
    assert ends.acked == {1, 2, 3, 4, 5}
    assert ends.transfer.moved == 5


async def test_what_is_refused_is_published_again_before_what_came_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfers, "AGAIN_SECONDS_MIN", 0.0)
    ends = Ends()
    ends.transfer.again_seconds = 0.0
    ends.deliver()
    ends.deliver()
    ends.confirm(2, multiple=True, name="Basic.Nack")
    ends.deliver()
    assert ends.published == [1, 2]
    assert "refuses" in ends.transfer.hindrance
    await asyncio.sleep(0.01)
    assert ends.published == [1, 2, 1, 2, 3]
    ends.confirm(5, multiple=True)
    await turn()
    assert ends.acked == {1, 2, 3}
    assert not ends.transfer.hindrance


async def test_behind_a_returned_message_nothing_is_acknowledged() -> None:
    ends = Ends()
    ends.deliver()
    ends.deliver()
    returned = SimpleNamespace(reply_text="NO_ROUTE")
    ends.transfer._run(ends.transfer._returned, None, returned, RawProperties(), b"1")
    ends.confirm(2, multiple=True)
    await turn()
    assert ends.acked == set()
    assert "is not there any more" in str(ends.transfer.ended.result())


async def test_it_takes_no_more_than_it_is_to_move() -> None:
    ends = Ends(remaining=2)
    for _ in range(4):
        ends.deliver()
    assert ends.published == [1, 2]
    ends.confirm(1)
    assert not ends.transfer.ended.done()
    ends.confirm(2)
    assert ends.transfer.ended.result() is None
    assert ends.acked == {1, 2}


async def test_a_message_with_wrong_properties_ends_the_attempt_with_a_reason() -> None:
    ends = Ends(dest_add_timestamp_header=True)
    ends.transfer._run(
        ends.transfer._delivered,
        None,
        SimpleNamespace(delivery_tag=1, exchange="", routing_key="a"),
        RawProperties(b"\xff\xff"),
        b"",
    )
    assert "a message cannot be moved" in str(ends.transfer.ended.result())


STEPS = st.lists(
    st.one_of(
        st.just(("deliver", 0, False)),
        st.tuples(st.sampled_from(["Basic.Ack", "Basic.Nack"]), st.integers(1, 40), st.booleans()),
        st.tuples(st.sampled_from(["block", "unblock", "again", "turn"]), st.just(0), st.just(False)),
    ),
    max_size=80,
)


@given(STEPS, st.sampled_from([1, 3, 1000]))
def test_nothing_is_acknowledged_that_was_not_confirmed(steps: list[tuple[str, int, bool]], prefetch: int) -> None:
    async def run() -> None:
        ends = Ends(src_prefetch_count=prefetch)
        transfer = ends.transfer
        for what, number, multiple in steps:
            if what == "deliver" and len(ends.source.channel.told) < prefetch:
                ends.deliver()
            elif what.startswith("Basic."):
                ends.confirm(number, multiple=multiple, name=what)
            elif what == "block":
                frame = SimpleNamespace(method=SimpleNamespace(reason="low on memory"))
                transfer._run(transfer._destination_blocked, None, frame)
            elif what == "unblock":
                transfer._run(transfer._destination_unblocked, None, None)
            elif what == "again":
                transfer._forget_timer()
                transfer._run(transfer._publish_refused)
            elif what == "turn":
                await turn()
            assert ends.acked <= ends.confirmed
        transfer._forget_timer()
        await turn()
        assert ends.acked == ends.confirmed
        waiting = {one.tag for one in (*transfer.held, *transfer.pending.values(), *transfer.refused)}
        assert waiting == ends.source.channel.told
        assert len(transfer.pending) <= prefetch

    asyncio.run(run())
