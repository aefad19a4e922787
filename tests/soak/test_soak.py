"""A short soak with every test run; `make soak` does the long ones."""

from pathlib import Path

import pytest

from tests.soak.ledger import Ledger
from tests.soak.run import soak

pytestmark = pytest.mark.flowmq_only


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_clients_of_all_kinds_leave_nothing_behind(tmp_path: Path) -> None:
    soaked = soak(tmp_path / "data", seed=1, seconds=9, round_seconds=2, tell=print)
    assert len(soaked.moments) > 1


def test_the_ledger_misses_what_was_lost() -> None:
    ledger = Ledger()
    ledger.confirmed = {1, 2}
    ledger.note(b"2 xxx")
    with pytest.raises(AssertionError, match=r"1 confirmed messages were lost: \[1\]"):
        ledger.check()
