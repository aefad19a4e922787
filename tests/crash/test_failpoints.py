"""Death at chosen places in the journal, rather than at chosen moments: debug builds die there on request."""

from pathlib import Path

import pytest

from flowmq._failpoint import FAILPOINTS, has_failpoints
from tests.crash.__main__ import settings
from tests.crash.rounds import Campaign
from tests.support.broker import Broker

SEGMENT_BYTES = 262144  # small, so that segments are made, superseded and renamed all the time
# How often a place is passed before it is deadly: most are passed in every turn.
TIMES = {"segment-made": 4, "segment-begun": 4, "segment-superseded": 3, "segment-renamed": 3, "message-rewritten": 20}
TIMES_USUALLY = 700
WAIT_SECONDS = 60.0


class Doomed(Campaign):
    """A campaign whose broker dies at its failpoint instead of being killed, and is restarted without one."""

    def _end_broker(self, progress: object) -> None:
        self.broker.process.wait(WAIT_SECONDS)
        self.tally["kills"] += 1
        self.broker.kill()
        # It may have died before the load was as long as it was meant to be.
        self.history.faults[:] = [fault for fault in self.history.faults if not fault.startswith("the load came to")]
        self.broker.environ = {name: value for name, value in self.broker.environ.items() if "FAILPOINT" not in name}


@pytest.mark.flowmq_only
@pytest.mark.slow
@pytest.mark.timeout(180)
@pytest.mark.skipif(not has_failpoints, reason="failpoints are compiled into debug builds only: see make debug")
@pytest.mark.parametrize("name", [name for name in FAILPOINTS if name != "message-rewritten"])
def test_nothing_confirmed_is_lost_wherever_it_dies(tmp_path: Path, name: str) -> None:
    doomed = settings(SEGMENT_BYTES) | {"FLOWMQ_FAILPOINT": f"{name}:{TIMES.get(name, TIMES_USUALLY)}"}
    campaign = Doomed(lambda: Broker(tmp_path / "data", doomed), f"failpoint/{name}")
    try:
        campaign.round()
    finally:
        campaign.close()
    assert campaign.tally["kills"] == 1
