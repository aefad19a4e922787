"""The steps of a message's way, timed: `python -m pytest bench/test_steps.py --benchmark-enable`. Times are of all
messages of a run."""

import contextlib
from typing import Any

import pytest

from bench.steps import RUNS_MAX, STEPS, Step


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.name)
def test_step(benchmark: Any, step: Step) -> None:
    with contextlib.ExitStack() as stack:
        run, count = step.prepare(stack)
        benchmark.pedantic(run, warmup_rounds=1, rounds=RUNS_MAX - 1)
        benchmark.extra_info["messages"] = count
