"""Publisher confirms: each publish is answered once, in words that cover nothing that has no positive outcome.

First through the front door, where every outcome is positive for now; then the ledger by itself, with outcomes that
come in any order and may be refusals.
"""

import ctypes
import itertools
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowmq._delivery import ConfirmLedger
from tests.support.codec import Method, method_frame
from tests.unit.support_plane import Client, Plane, compiled_method, confirmed, decode, publish_frames

BITS = st.booleans()

# ----------------------------------------------------------------------------------------------- the front door


def confirming(plane: Plane, *numbers: int) -> Client:
    client = plane.client(*numbers)
    client.call(numbers[0], "queue.declare", queue="q")
    for number in numbers:
        client.call(number, "confirm.select")
    return client


def acks(methods: list[Method], number: int) -> list[Method]:
    return [method for method in methods if method.channel == number]


@pytest.mark.parametrize("number", [1, 2, 1000])
def test_what_was_read_together_is_answered_together(number: int) -> None:
    with Plane() as plane:
        client = confirming(plane, 1)
        told = 0
        for _ in range(3):
            client.feed(publish_frames(1, "q", b"x") * number)
            told += number
            (ack,) = client.received()
            assert (ack.name, ack.delivery_tag, ack.multiple) == ("basic.ack", told, number > 1)


@settings(max_examples=60, deadline=None)
@given(
    channels=st.lists(st.integers(1, 3), min_size=1, max_size=40),
    mandatory=st.lists(BITS, min_size=40, max_size=40),
    cuts=st.sets(st.integers(1, 4000), max_size=12),
)
def test_each_channel_counts_for_itself(channels: list[int], mandatory: list[bool], cuts: set[int]) -> None:
    """However the publishes of several channels are mixed and read, and wherever they go."""
    frames = [
        publish_frames(number, "nowhere" if lost else "q", b"%d" % at, mandatory=lost)
        for at, (number, lost) in enumerate(zip(channels, mandatory, strict=False))
    ]
    octets = b"".join(frames)
    edges = [0, *sorted(cut for cut in cuts if cut < len(octets)), len(octets)]
    with Plane() as plane:
        client = confirming(plane, 1, 2, 3)
        for start, end in itertools.pairwise(edges):
            client.feed(octets[start:end])
        methods = client.received()
        for number in (1, 2, 3):
            own = acks(methods, number)
            assert confirmed(own) == list(range(1, channels.count(number) + 1))
            check_returns_come_first(
                own, [lost for at, lost in enumerate(mandatory[: len(channels)]) if channels[at] == number]
            )


def check_returns_come_first(methods: list[Method], lost: list[bool]) -> None:
    """Before an ack is written, so is every return of a publish that it answers."""
    returned = told = 0
    for method in methods:
        if method.name == "basic.return":
            returned += 1
            continue
        told = method.delivery_tag
        assert returned >= sum(lost[:told])
    assert (returned, told) == (sum(lost), len(lost))


def test_what_was_published_before_confirm_select_is_never_answered() -> None:
    with Plane() as plane:
        client = plane.client(1)
        client.call(1, "queue.declare", queue="q")
        client.feed(publish_frames(1, "q") * 5)
        client.call(1, "confirm.select")
        client.call(1, "confirm.select")
        client.feed(publish_frames(1, "q") * 2)
        assert confirmed(client.received()) == [1, 2]


@pytest.mark.parametrize("end", ["channel.close", "an error", "connection.close"])
def test_what_is_owed_is_said_before_the_end(end: str) -> None:
    last = {
        "channel.close": method_frame(1, "channel.close", reply_code=200),
        "an error": method_frame(1, "basic.ack", delivery_tag=9),
        "connection.close": method_frame(0, "connection.close", reply_code=200),
    }[end]
    expected = {"channel.close": ["basic.ack", "channel.close-ok"], "an error": ["basic.ack", "channel.close"]}
    with Plane() as plane:
        client = confirming(plane, 1)
        client.feed(publish_frames(1, "q") * 3 + last)
        methods = client.received()
        # With the whole connection go its confirms: a client that closes it has stopped listening for them.
        assert [method.name for method in methods] == expected.get(end, ["connection.close-ok"])
        if end in expected:
            assert confirmed(methods) == [1, 2, 3]


def test_a_number_used_again_counts_from_one() -> None:
    with Plane() as plane:
        client = confirming(plane, 1)
        client.feed(publish_frames(1, "q") * 3)
        client.take()
        client.call(1, "channel.close", reply_code=200)
        client.call(1, "channel.open")
        client.feed(publish_frames(1, "q") * 2)
        assert client.received() == []
        client.call(1, "confirm.select")
        client.feed(publish_frames(1, "q"))
        assert confirmed(client.received()) == [1]


@pytest.mark.parametrize(("first", "then"), [("tx.select", "confirm.select"), ("confirm.select", "tx.select")])
def test_confirms_and_transactions_exclude_each_other(first: str, then: str) -> None:
    with Plane() as plane:
        client = plane.client(1)
        client.call(1, first)
        client.send(1, then)
        (close,) = client.received()
        assert (close.name, close.reply_code) == ("channel.close", 406)


# ---------------------------------------------------------------------------------------------------- the ledger


class Output(ctypes.Structure):
    """The output buffer that answers are written to."""

    _fields_ = (
        ("storage", ctypes.c_void_p),
        ("data", ctypes.c_void_p),
        ("used", ctypes.c_ssize_t),
        ("capacity", ctypes.c_ssize_t),
        ("usual_bytes", ctypes.c_ssize_t),
    )


PUBLISH = compiled_method(ConfirmLedger, "publish", ctypes.c_uint64)
RESOLVE = compiled_method(ConfirmLedger, "resolve", ctypes.c_int, ctypes.c_uint64, ctypes.c_int)
TELL = compiled_method(ConfirmLedger, "tell", ctypes.c_int, ctypes.POINTER(Output), ctypes.c_uint16)


class Judged:
    """A ledger, with what a publisher knows of its publishes: outcomes, and which have been answered."""

    def __init__(self) -> None:
        self.ledger: Any = ConfirmLedger()
        self.room = ctypes.create_string_buffer(1 << 20)
        self.outcomes: dict[int, bool] = {}
        self.answers: dict[int, bool] = {}
        self.last = 0

    def publish(self) -> None:
        self.last += 1
        assert PUBLISH(self.ledger) == self.last == self.ledger.last_sequence

    def resolve(self, sequence: int, positive: bool) -> None:
        self.outcomes[sequence] = positive
        RESOLVE(self.ledger, sequence, positive)

    def tell(self) -> None:
        """Afterwards all that has an outcome is answered, and nothing else."""
        output = Output(None, ctypes.addressof(self.room), 0, len(self.room), 0)
        TELL(self.ledger, ctypes.byref(output), 7)
        for method in decode(ctypes.string_at(self.room, output.used)):
            assert (method.name, method.channel) in (("basic.ack", 7), ("basic.nack", 7))
            self.answered(method)
        assert self.answers == self.outcomes

    def answered(self, method: Method) -> None:
        """A client that sees multiple takes it for every publish up to there that it still waits for."""
        tag = method.delivery_tag
        for sequence in range(1, tag + 1) if method.multiple else [tag]:
            if sequence not in self.answers:
                self.answers[sequence] = method.name == "basic.ack"
            else:
                assert sequence != tag, f"{tag} was answered twice"

    @property
    def waiting(self) -> list[int]:
        return [sequence for sequence in range(1, self.last + 1) if sequence not in self.outcomes]


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_each_publish_is_answered_once_with_its_own_outcome(data: st.DataObject) -> None:
    judged = Judged()
    for _ in range(data.draw(st.integers(1, 25))):
        step = data.draw(st.sampled_from(["publish", "in order", "any", "tell"]))
        if step == "publish":
            for _ in range(data.draw(st.sampled_from([1, 2, 30, 100]))):
                judged.publish()
        elif step == "tell":
            judged.tell()
        for _ in range(data.draw(st.integers(0, 20)) if step in ("in order", "any") else 0):
            if judged.waiting:
                at = 0 if step == "in order" else data.draw(st.integers(0, len(judged.waiting) - 1))
                judged.resolve(judged.waiting[at], data.draw(st.sampled_from([True, True, True, False])))
    for sequence in judged.waiting:
        judged.resolve(sequence, True)
    judged.tell()
    assert len(judged.answers) == judged.last


def test_every_order_of_four_outcomes_and_every_refusal() -> None:
    cases = itertools.product(itertools.permutations(range(1, 5)), range(16), range(1, 5))
    for order, refused, tell_after in cases:
        judged = Judged()
        for _ in order:
            judged.publish()
        for at, sequence in enumerate(order, 1):
            judged.resolve(sequence, not refused >> sequence - 1 & 1)
            if at % tell_after == 0:
                judged.tell()
        judged.tell()
        assert len(judged.answers) == 4


def test_a_lonely_waiting_publish_does_not_cost_the_others_their_answers() -> None:
    judged = Judged()
    for _ in range(5000):
        judged.publish()
    for sequence in range(2, 5001):
        judged.resolve(sequence, True)
        if sequence % 500 == 0:
            judged.tell()
    judged.resolve(1, False)
    judged.tell()
    assert judged.answers == {sequence: sequence > 1 for sequence in range(1, 5001)}
