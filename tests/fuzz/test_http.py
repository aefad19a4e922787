"""The HTTP API and the metrics stand broken requests."""

from collections.abc import Callable

import pytest

from tests.fuzz.http import play
from tests.support.broker import Broker
from tests.support.http import WITH_HTTP

ROUNDS = 1500


@pytest.mark.flowmq_only
@pytest.mark.slow
@pytest.mark.timeout(180)
def test_broken_requests(own_broker: Callable[..., Broker]) -> None:
    broker = own_broker(**WITH_HTTP)
    assert play(broker, seed=1, rounds=ROUNDS, seconds=120) > 50
    broker.stop()
