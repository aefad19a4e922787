"""No step of a message's way takes more instructions than it did: `make instructions` renews what it is held to."""

import pytest

pytest.importorskip("bench._callgrind", reason="build it: FLOWMQ_BENCH=1 python setup.py build_ext --inplace")

from bench import instructions
from bench.steps import STEPS


@pytest.mark.slow
@pytest.mark.timeout(instructions.SECONDS_MAX)
@pytest.mark.skipif(instructions.why_not() is not None, reason=str(instructions.why_not()))
def test_no_step_takes_more_instructions_than_it_did() -> None:
    document, counts = instructions.stored(), instructions.counted()
    assert document["counts"].keys() == counts.keys() == {step.name for step in STEPS}
    tolerated = instructions.tolerances(document)
    grown = {
        name: f"{count:,.0f} instead of {document['counts'][name]:,.0f}"
        for name, count in counts.items()
        if count > document["counts"][name] * (1 + tolerated[name])
    }
    assert not grown, f"{grown}; if that is meant to be: make instructions"
