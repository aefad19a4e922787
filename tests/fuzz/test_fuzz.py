"""A short fuzz run with every test run; `python -m tests.fuzz` does the long ones."""

import random
from collections.abc import Callable

import pytest

from tests.fuzz.mutations import MUTATIONS, pieces
from tests.fuzz.runner import Outcome, exchange_bytes, judge, parse_answer, play
from tests.fuzz.sessions import handshake, session
from tests.support import codec
from tests.support.broker import Broker

SEED = 1
SECONDS = 10.0


@pytest.mark.flowmq_only
@pytest.mark.slow
@pytest.mark.timeout(150)
def test_any_bytes_parse_or_end_in_a_close(own_broker: Callable[..., Broker]) -> None:
    broker = own_broker()
    tally = play(broker, SEED, seconds=SECONDS)
    assert tally.opened > 0
    assert tally.closed, "nothing was refused: the sessions are not spoiled"
    broker.stop()
    broker.again().stop()  # whatever the sessions made durable is read back


@pytest.mark.flowmq_only
def test_sound_sessions_are_never_closed_for_their_framing(own_broker: Callable[..., Broker]) -> None:
    """Without mutations no frame is wrong: what is refused then is refused for its meaning."""
    broker = own_broker()
    for number in range(50):
        dice = random.Random(number)
        data = b"".join(handshake("guest", "guest") + session(dice))
        outcome = parse_answer(exchange_bytes(broker.peer, pieces(data, dice)))
        assert outcome.opened
        judge(outcome)
        assert not {code for _, code in outcome.closes} & {501, 502}, outcome.closes
    broker.stop()


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.__name__)
def test_mutations_change_something_and_are_repeatable(mutation: Callable[..., list[bytes]]) -> None:
    frames = session(random.Random(5))
    changed = [mutation(frames, random.Random(seed)) for seed in range(20)]
    assert any(result != frames for result in changed)
    assert changed == [mutation(frames, random.Random(seed)) for seed in range(20)]


def test_the_judge_finds_fault() -> None:
    internal = codec.method_frame(0, "connection.close", reply_code=541, reply_text="INTERNAL_ERROR")
    with pytest.raises(AssertionError, match="541"):
        judge(parse_answer(internal))
    twice = codec.method_frame(0, "connection.close", reply_code=501) * 2
    with pytest.raises(AssertionError, match="twice"):
        judge(parse_answer(twice))
    with pytest.raises(AssertionError, match="ends in"):
        parse_answer(codec.frame(codec.METHOD, 0, b"abcd", end=0) + b"\0")
    judge(Outcome())
