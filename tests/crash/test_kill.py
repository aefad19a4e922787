"""A short kill campaign with every test run; `make crash` does the long one."""

from pathlib import Path

import pytest

from tests.crash.__main__ import SEGMENT_BYTES, settings
from tests.crash.rounds import Campaign
from tests.support.broker import Broker

ROUNDS = 5
SEED = "short"


@pytest.mark.flowmq_only
@pytest.mark.slow
@pytest.mark.timeout(180)
def test_confirmed_messages_survive_kill_and_restart(tmp_path: Path) -> None:
    campaign = Campaign(lambda: Broker(tmp_path / "data", settings(SEGMENT_BYTES)), SEED)
    try:
        for _ in range(ROUNDS):
            campaign.round()
    finally:
        campaign.close()
    assert campaign.tally["kills"] > 0, campaign
    assert campaign.tally["drained"] > 0, campaign
    assert campaign.tally["events"] > 200 * ROUNDS, campaign
