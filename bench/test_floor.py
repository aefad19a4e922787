"""The floor's relay does the wire work of a row: every message arrives once, in order, and is confirmed."""

import pytest

pytest.importorskip("bench._relay", reason="build it: FLOWMQ_BENCH=1 python setup.py build_ext --inplace")

from bench.floor import answered, pairs, process, relayed
from bench.scenarios import SCENARIOS

BY_NAME = {scenario.name: scenario for scenario in SCENARIOS}


@pytest.mark.parametrize("name", ["auto-ack", "single-send", "1k-persistent", "100-queues-persistent", "latency"])
def test_the_relay_loses_nothing(name: str) -> None:
    figure = relayed(BY_NAME[name], 0.1)  # it raises when a message is lost, doubled or out of order
    assert figure.per_second > 0
    assert figure.cpu_us > 0
    assert figure.latency_p50_us is not None


def test_questions_are_answered() -> None:
    assert answered(0.05).per_second > 0


def test_a_relay_that_fails_is_noticed() -> None:
    def work() -> None:
        raise ValueError

    ours, others = pairs(1)
    with pytest.raises(OSError, match="the relay failed"), process(work, ours, others):
        pass
