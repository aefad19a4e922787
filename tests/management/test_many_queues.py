"""Very many queues are listed while messages flow, and the messages do not notice.

FLOWMQ_TEST_QUEUES=100000 makes them as many as the figures in docs/design/management.md are for.
"""

import os
import threading
import time
from collections.abc import Callable

import pytest

from flowmq.server.control import place
from flowmq.server.control.client import ControlConnection
from tests.support.broker import Broker, until
from tests.support.http import WITH_HTTP, api_of, fetch, metrics_port
from tests.support.peer import Peer
from tests.support.wire import connect

pytestmark = [pytest.mark.flowmq_only, pytest.mark.slow]

QUEUES = int(os.environ.get("FLOWMQ_TEST_QUEUES", "20000"))
PER_SECOND = 1000
PAUSE_SECONDS = 0.02
QUIET_MESSAGES = 500


class Stream(threading.Thread):
    """Publishes and consumes on one connection, a message each millisecond; notes how long each took to come back."""

    def __init__(self, peer: Peer) -> None:
        super().__init__(daemon=True)
        self.peer = peer
        self.ended = threading.Event()
        self.ready = threading.Event()
        self.took: list[float] = []

    def run(self) -> None:
        with connect(self.peer) as client:
            channel = client.channel()
            channel.queue("stream", exclusive=True)
            channel.consume("stream", no_ack=True)
            started = time.monotonic()
            self.ready.set()
            while not self.ended.is_set():
                sent = time.monotonic()
                channel.publish("", "stream", b"x")
                channel.expect("basic.deliver")
                self.took.append(time.monotonic() - sent)
                ahead = started + len(self.took) / PER_SECOND - time.monotonic()
                if ahead > 0:
                    time.sleep(ahead)

    def part(self, of: float, first: int, last: int) -> float:
        """So large a share of those messages took no longer."""
        return sorted(self.took[first:last])[int((last - first) * of)]


def declare(peer: Peer, count: int) -> None:
    with connect(peer) as client:
        channel = client.channel()
        for number in range(count):
            channel.send("queue.declare", queue=f"many-{number}", nowait=True)
        channel.queue("many-last")


def test_listing_very_many_queues_is_not_noticed(own_broker: Callable[..., Broker]) -> None:
    broker = own_broker(**WITH_HTTP)
    declare(broker.peer, QUEUES)
    api = api_of(broker)
    stream = Stream(broker.peer)
    stream.start()
    stream.ready.wait()
    until(lambda: len(stream.took) > QUIET_MESSAGES or not stream.is_alive())
    try:
        page = api.get("queues", query="page=3&page_size=100&sort=name&name=many")
        assert (page["filtered_count"], len(page["items"])) == (QUEUES + 1, 100)
        # Not decoded here: that would hold up the thread that times.
        assert api.ask("GET", "queues", query="columns=name,messages").body.count(b'"name":') == QUEUES + 2
        assert api.get("overview")["object_totals"]["queues"] == QUEUES + 2
        answer = fetch(metrics_port(broker), "GET", "/metrics/detailed?family=queue_coarse_metrics")
        assert answer.body.count(b'queue="many-') == 3 * (QUEUES + 1)
    finally:
        stream.ended.set()
        stream.join()
    with ControlConnection(broker.data_dir / place.NAME) as control:
        lag = control.call("node.status")["loop_lag_us"]
    quiet = stream.part(0.99, 0, QUIET_MESSAGES)
    listing = stream.part(0.99, QUIET_MESSAGES, len(stream.took))
    print(
        f"{len(stream.took)} messages; of 100, 99 took at most {quiet * 1000:.2f} ms before, {listing * 1000:.2f} ms, "
        f"the longest {max(stream.took[QUIET_MESSAGES:]) * 1000:.2f} ms; the loop late by {lag['worst_us']} us"
    )
    # Where others use the machine as well, messages wait for those too: before as well.
    assert listing < PAUSE_SECONDS + 2 * quiet, (quiet, listing, lag)
    broker.stop()
