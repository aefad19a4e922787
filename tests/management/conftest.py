"""One broker with HTTP for all tests of the management; it must still be well when they are done."""

from collections.abc import Iterator

import pytest

from tests.support.broker import Broker
from tests.support.http import WITH_HTTP, Api, api_of
from tests.support.wire import Channel, connect


@pytest.fixture(scope="session")
def managed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    started = Broker(tmp_path_factory.mktemp("managed"), {**WITH_HTTP, "FLOWMQ_MANAGEMENT__SAMPLE_SECONDS": "0.2"})
    try:
        yield started
        started.stop()
    finally:
        started.kill()


@pytest.fixture(scope="session")
def api(managed: Broker) -> Api:
    return api_of(managed)


@pytest.fixture
def amqp(managed: Broker) -> Iterator[Channel]:
    with connect(managed.peer) as client:
        yield client.channel()
