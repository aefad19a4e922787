"""How fast clients are let in: bursts, waiting, and when it is too long."""

from flowmq.server.pace import Pace


def test_without_a_limit_nobody_waits() -> None:
    pace = Pace(0)
    assert [pace.wait_seconds(5.0, 1.0) for _ in range(1000)] == [0.0] * 1000


def test_a_second_s_worth_comes_at_once_and_then_each_has_its_turn() -> None:
    pace = Pace(4)
    assert [pace.wait_seconds(100.0, 10.0) for _ in range(8)] == [0, 0, 0, 0, 0.25, 0.5, 0.75, 1.0]
    assert pace.wait_seconds(100.5, 10.0) == 0.75
    assert [pace.wait_seconds(200.0, 10.0) for _ in range(5)] == [0, 0, 0, 0, 0.25]


def test_whoever_would_wait_too_long_takes_nobody_s_turn() -> None:
    pace = Pace(1)
    assert [pace.wait_seconds(10.0, 2.0) for _ in range(3)] == [0, 1, 2]
    assert [pace.wait_seconds(10.0, 2.0) for _ in range(3)] == [None] * 3
    assert pace.wait_seconds(11.0, 2.0) == 2
