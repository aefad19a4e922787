"""The broker the tests run against: started here once, or another one named by FLOWMQ_TEST_PEER.

With FLOWMQ_TEST_PEER=amqp://user:password@host:port/vhost the protocol tests judge that peer instead, which is how
they are themselves judged: what they expect is what RabbitMQ does, except where a test is marked `flowmq_only`.
"""

import gc
import itertools
import os
import uuid
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import hypothesis
import pytest
from hypothesis import settings

from tests.support.accounts import Accounts, FlowMQAccounts, RabbitMQAccounts
from tests.support.broker import Broker
from tests.support.peer import Peer, peer_from_url
from tests.support.wire import Channel, Client, connect

# How long an example takes says more of the machine than of what is tested.
settings.register_profile("flowmq", deadline=None)
settings.load_profile("flowmq")

PEER_URL = os.environ.get("FLOWMQ_TEST_PEER", "")
PEER_CTL = os.environ.get("FLOWMQ_TEST_RABBITMQCTL", "")
# How long an example takes depends on what else the machine does.
hypothesis.settings.register_profile("any machine", deadline=None)
hypothesis.settings.load_profile("any machine")
MARKERS = (
    "clients: real client libraries over TCP",
    "slow: takes more than a second or two",
    "flowmq_only: FlowMQ's own choice, or a test that needs FlowMQ's process: not run against another peer",
    "newer: RabbitMQ's behaviour, but newer than the 3.10 the tests are compared with",
)


# On a machine that has other things to do an example may take any time.
hypothesis.settings.register_profile("any time", deadline=None)
hypothesis.settings.load_profile("any time")


def pytest_configure(config: pytest.Config) -> None:
    for marker in MARKERS:
        config.addinivalue_line("markers", marker)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not PEER_URL or _is_flowmq(PEER_URL):
        return
    skip = pytest.mark.skip(reason=f"not expected of the peer {PEER_URL}")
    for item in items:
        if item.get_closest_marker("flowmq_only") or item.get_closest_marker("newer"):
            item.add_marker(skip)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """What a broken client sent may stand in the log, and what is no UTF-8 does not pass between test processes."""
    report = yield
    report.sections = [
        (title, text.encode("utf-8", "backslashreplace").decode("utf-8")) for title, text in report.sections
    ]
    return report


def _is_flowmq(url: str) -> bool:
    with Client(peer_from_url(url, True)) as client:
        return bytes(client.start().server_properties.get("product", ""), "utf-8") == b"FlowMQ"


@pytest.fixture(autouse=True, scope="module")
def _without_garbage_of_others() -> None:
    """Objects are counted in some tests; what those of another file left must not go in their midst."""
    gc.collect()


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """The process most tests share. It must still be well when all of them are done."""
    started = Broker(tmp_path_factory.mktemp("broker"))
    try:
        yield started
        started.stop()
    finally:
        started.kill()


@pytest.fixture(scope="session")
def peer(request: pytest.FixtureRequest) -> Peer:
    if PEER_URL:
        return peer_from_url(PEER_URL, _is_flowmq(PEER_URL))
    shared: Broker = request.getfixturevalue("broker")
    return shared.peer


@pytest.fixture
def own_broker(tmp_path: Path) -> Iterator[Callable[..., Broker]]:
    """Makes brokers for one test: `own_broker(FLOWMQ_AMQP__HEARTBEAT="1")`. What still runs at its end is killed."""
    started: list[Broker] = []

    def start(*arguments: str, **environ: str) -> Broker:
        started.append(Broker(tmp_path / f"data-{len(started)}", environ, *arguments))
        return started[-1]

    yield start
    for broker in started:
        broker.kill()


@pytest.fixture
def client(peer: Peer) -> Iterator[Client]:
    with connect(peer) as opened:
        yield opened


@pytest.fixture
def other(peer: Peer) -> Iterator[Client]:
    """A second connection: the neighbour, or the one who holds the lock."""
    with connect(peer) as opened:
        yield opened


@pytest.fixture
def channel(client: Client) -> Channel:
    return client.channel()


@pytest.fixture
def name() -> str:
    """A name nobody else in the shared broker has."""
    return f"test-{uuid.uuid4().hex[:12]}"


@pytest.fixture
def names(name: str) -> Iterator[str]:
    """Any number of such names: `next(names)`."""
    return (f"{name}-{number}" for number in itertools.count(1))


@pytest.fixture
def queue(channel: Channel, name: str) -> str:
    """A queue that goes with the test's connection."""
    return channel.queue(name, exclusive=True)


@pytest.fixture(scope="session")
def accounts(request: pytest.FixtureRequest) -> Accounts:
    """Who makes users and virtual hosts in the broker that all tests share."""
    if not PEER_URL:
        shared: Broker = request.getfixturevalue("broker")
        return FlowMQAccounts(shared.data_dir)
    if not PEER_CTL:
        pytest.skip("FLOWMQ_TEST_RABBITMQCTL does not say how to make users in that peer")
    return RabbitMQAccounts(PEER_CTL)
