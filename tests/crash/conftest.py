"""Brokers to be ended and started again. FLOWMQ_CRASH_RABBITMQ=1 puts a RabbitMQ node in the place of FlowMQ."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.crash.rabbitmq import RabbitMQ
from tests.crash.rounds import Running
from tests.support.broker import Broker
from tests.support.wire import Channel, Client, connect

AGAINST_RABBITMQ = bool(os.environ.get("FLOWMQ_CRASH_RABBITMQ"))
ENDS = ("kill", "stop")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if AGAINST_RABBITMQ:
        for item in items:
            if item.get_closest_marker("flowmq_only"):
                item.add_marker(pytest.mark.skip(reason="needs FlowMQ's process or promises"))


class Lasting:
    """A broker on one directory through several lives, with one channel open in each."""

    def __init__(self, directory: Path, end: str) -> None:
        self.end = end
        self.broker: Running = RabbitMQ(directory) if AGAINST_RABBITMQ else Broker(directory)
        self._connect()

    def _connect(self) -> None:
        self.client: Client = connect(self.broker.peer)
        self.channel: Channel = self.client.channel()

    def restart(self) -> Channel:
        """SIGKILL or SIGTERM in the middle of things, and a new channel to what comes up again."""
        if self.end == "stop":
            self.client.drop()
        getattr(self.broker, self.end)()
        self.client.drop()
        self.broker = self.broker.again()
        self._connect()
        return self.channel

    def reconnect(self) -> Channel:
        """What was in this client's hands goes back to its queues; the answer to the new one comes after that."""
        self.client.close()
        self._connect()
        return self.channel

    def sync(self) -> None:
        """An answer that only comes once everything done so far on this channel is on disk."""
        self.channel.call("exchange.declare", exchange="sync", type="fanout", durable=True)
        self.channel.call("exchange.delete", exchange="sync")

    def close(self) -> None:
        self.client.drop()
        self.broker.kill()


@pytest.fixture(params=ENDS)
def lasting(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Lasting]:
    """Every test with it is run twice: ended by a kill, and in order."""
    made = Lasting(tmp_path / "data", request.param)
    yield made
    made.close()


@pytest.fixture
def killed(tmp_path: Path) -> Iterator[Lasting]:
    made = Lasting(tmp_path / "data", "kill")
    yield made
    made.close()
