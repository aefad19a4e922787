"""Damage in a segment that a start does not read: found when it is needed, or in the background; never delivered."""

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.broker import ROOT, Broker, command, until
from tests.support.http import WITH_HTTP, api_of, fetch, metrics_port
from tests.support.wire import Channel, connect

pytestmark = [pytest.mark.flowmq_only, pytest.mark.slow]
ENVIRONMENT = {"FLOWMQ_STORAGE__SEGMENT_BYTES": str(1 << 16)}
BODIES = [b"%d " % number + b"x" * 1000 for number in range(300)]
NAMED = re.compile(r"critical .*0000000000000002\.segment: corrupt at offset \d+: .*; see flowmq inspect")
STOPPED = "PRECONDITION_FAILED - queue 'q' in vhost '/' has stopped at a message that is damaged on disk"


@pytest.fixture
def damaged(own_broker: Callable[..., Broker]) -> Broker:
    """Killed, with a bit changed in the second of several segments. What stands there is not in memory at a start."""
    broker = own_broker(**ENVIRONMENT)
    with connect(broker.peer) as client:
        channel = client.channel()
        for name in ("q", "other"):
            channel.queue(name, durable=True)
        channel.put("q", *BODIES, properties={"delivery_mode": 2})
        channel.put("other", b"good", properties={"delivery_mode": 2})
    broker.kill()
    flip(broker.data_dir / "journal" / "0000000000000002.segment", 20_000)
    return broker


def flip(path: Path, at: int) -> None:
    """In the first body from there on: how the messages lie in batches is not the same each time."""
    octets = bytearray(path.read_bytes())
    octets[octets.index(b"x" * 500, at)] ^= 1
    path.write_bytes(octets)


def flowmq(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(*arguments), cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)


def test_a_consumer_gets_what_is_before_it_and_nothing_behind(damaged: Broker) -> None:
    broker = damaged.again()
    try:
        with connect(broker.peer) as client:
            channel = client.channel()
            bodies = drain_until_refused(channel)
            assert 0 < len(bodies) < len(BODIES)
            assert bodies == BODIES[: len(bodies)]
            assert channel.drain("other") == [b"good"]
            channel.put("q", b"new", properties={"delivery_mode": 2})
            assert drain_until_refused(channel) == []
            channel.send("basic.consume", queue="q")
            channel.expect_close(406, STOPPED)
        broker.log.wait_for(NAMED)
        broker.terminate()
        assert broker.wait() == 1
        assert "Traceback" not in broker.log.text
    finally:
        broker.kill()


def drain_until_refused(channel: Channel) -> list[bytes]:
    bodies = []
    while True:
        channel.send("basic.get", queue="q", no_ack=True)
        method = channel.client.next_method(channel.number)
        if method.name != "basic.get-ok":
            channel.client.keep([method])
            channel.expect_close(406, STOPPED)
            channel.call("channel.open")
            return bodies
        bodies.append(method.body)


def test_a_consumer_that_meets_it_is_cancelled(damaged: Broker) -> None:
    broker = damaged.again()
    try:
        with connect(broker.peer) as client:
            channel = client.channel()
            tag = channel.consume("q", no_ack=True)
            bodies = []
            while (method := channel.expect("basic.deliver", "basic.cancel")).name == "basic.deliver":
                bodies.append(method.body)
            assert method.consumer_tag == tag
            assert 0 < len(bodies) < len(BODIES)
            assert bodies == BODIES[: len(bodies)]
            assert channel.count("q") == len(BODIES) - len(bodies)
            client.close()
    finally:
        broker.kill()


def test_operators_see_it(damaged: Broker) -> None:
    """Which queue has stopped: in its state, in health checks and metrics. The others go on."""
    damaged.environ = {**damaged.environ, **WITH_HTTP}  # type: ignore[dict-item]
    broker = damaged.again()
    try:
        api = api_of(broker)
        with connect(broker.peer) as client:
            channel = client.channel()
            assert api.get("queues", "/", "q")["state"] == "running"
            drain_until_refused(channel)
            until(lambda: api.ask("GET", "health", "checks", "virtual-hosts").json.get("damaged_queues"))
            check = api.ask("GET", "health", "checks", "virtual-hosts")
            assert (check.status, check.json["damaged_queues"]) == (503, [{"vhost": "/", "name": "q"}])
            assert {queue["name"]: queue["state"] for queue in api.get("queues")} == {
                "q": "damaged",
                "other": "running",
            }
            text = fetch(metrics_port(broker), "GET", "/metrics").body.decode()
            assert "\nflowmq_queues_damaged 1\n" in text
            assert "\nflowmq_journal_damaged 1\n" in text
            asked = flowmq("ctl", "--data-dir", str(broker.data_dir), "check_virtual_hosts")
            assert asked.returncode != 0
            assert "queues that have stopped: 'q' in vhost '/'" in asked.stdout + asked.stderr
            channel.put("other", b"more", properties={"delivery_mode": 2})
            assert channel.drain("other") == [b"good", b"more"]
            client.close()
    finally:
        broker.kill()


def test_it_is_found_without_anybody_asking(damaged: Broker) -> None:
    broker = damaged.again()
    try:
        broker.log.wait_for(NAMED)
        assert "found while looking through it" in broker.log.text
    finally:
        broker.kill()


def test_recovery_gives_up_what_is_damaged_and_keeps_the_rest(damaged: Broker) -> None:
    directory = str(damaged.data_dir)
    assert flowmq("inspect", directory).returncode == 0  # what a start sees
    verified = flowmq("inspect", "--verify", "--json", directory)
    assert verified.returncode == 1
    [fault] = json.loads(verified.stdout)["faults"]
    assert (fault["what"], fault["number"]) == ("batch", 2)
    assert flowmq("recover", "--skip-corrupt", directory).returncode == 0
    assert flowmq("inspect", "--verify", directory).returncode == 0
    broker = damaged.again()
    try:
        with connect(broker.peer) as client:
            bodies = client.channel().drain("q")
        assert 0 < len(bodies) < len(BODIES)
        assert bodies == [body for body in BODIES if body in set(bodies)]
        broker.stop()
    finally:
        broker.kill()
