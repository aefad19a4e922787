"""What policies do to queues that are there already and hold messages, as clients see it."""

import json
import re
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.broker import Broker
from tests.support.wire import Channel, connect

pytestmark = pytest.mark.flowmq_only
QUEUE = "jobs.mail"


class Policed:
    """A broker whose file is written anew for each set of policies."""

    def __init__(self, file: Path, start: Callable[..., Broker]) -> None:
        self.file, self.changes = file, 0
        file.write_text("")
        self.broker = start("--config", str(file))

    def set(self, section: str = "policies", **definition: Any) -> None:
        """The only policy from now on; none without a definition."""
        self.changes += 1
        name = f"p{self.changes}"
        values = ", ".join(f"{key.replace('_', '-')} = {json.dumps(value)}" for key, value in definition.items())
        text = f'[[{section}]]\nname = "{name}"\npattern = "^jobs"\ndefinition = {{ {values} }}\n' if values else ""
        before = f"p{self.changes - 1}"
        self.file.write_text(text)
        self.broker.process.send_signal(signal.SIGHUP)
        line = f"'{name}' in vhost '/' added" if values else f"'{before}' in vhost '/' removed"
        self.broker.log.wait_for(re.escape(line))


@pytest.fixture
def policed(tmp_path: Path, own_broker: Callable[..., Broker]) -> Policed:
    return Policed(tmp_path / "flowmq.toml", own_broker)


@pytest.fixture(params=[False, True], ids=["passing", "durable"])
def channel(policed: Policed, request: pytest.FixtureRequest) -> Iterator[Channel]:
    with connect(policed.broker.peer) as client:
        channel = client.confirming()
        channel.call("queue.declare", queue=QUEUE, durable=request.param)
        yield channel
    policed.broker.stop()


def put(channel: Channel, *bodies: bytes) -> list[str]:
    """Ack or nack of each."""
    answers = []
    for body in bodies:
        channel.publish("", QUEUE, body, {"delivery_mode": 2})
        answers.append(channel.expect("basic.ack", "basic.nack").name.removeprefix("basic."))
    return answers


def test_a_shorter_length_drops_the_oldest_at_once(policed: Policed, channel: Channel) -> None:
    put(channel, b"1", b"2", b"3")
    policed.set(max_length=2)
    assert channel.count(QUEUE) == 2
    put(channel, b"4")
    policed.set()
    put(channel, b"5")
    assert channel.drain(QUEUE) == [b"3", b"4", b"5"]


def test_an_operator_limits_what_is_published(policed: Policed, channel: Channel) -> None:
    assert put(channel, b"1", b"2") == ["ack", "ack"]
    policed.set("operator_policies", max_length=3, overflow="reject-publish")
    assert put(channel, b"3", b"4") == ["ack", "nack"]
    policed.set("operator_policies", max_length_bytes=3, overflow="reject-publish")
    assert put(channel, b"5") == ["nack"]
    policed.set()
    assert put(channel, b"6") == ["ack"]
    assert channel.drain(QUEUE) == [b"1", b"2", b"3", b"6"]


def test_rejected_messages_go_where_the_policy_says_now(policed: Policed, channel: Channel) -> None:
    dead = channel.queue(exclusive=True)
    put(channel, b"1", b"2", b"3")
    for key in (dead, "", dead):
        if key:
            policed.set(dead_letter_exchange="", dead_letter_routing_key=key)
        else:
            policed.set()
        message = channel.get(QUEUE, no_ack=False)
        assert message
        channel.send("basic.reject", delivery_tag=message.delivery_tag, requeue=False)
    assert channel.count(QUEUE) == 0
    assert channel.drain(dead) == [b"1", b"3"]


def test_messages_that_come_under_a_ttl_expire(policed: Policed, channel: Channel) -> None:
    dead = channel.queue(exclusive=True)
    policed.set(message_ttl=0, dead_letter_exchange="", dead_letter_routing_key=dead)
    put(channel, b"1")
    channel.consume(dead, "dead", no_ack=True)
    assert channel.expect("basic.deliver").body == b"1"
    policed.set()
    put(channel, b"2")
    assert channel.drain(QUEUE) == [b"2"]


def test_a_queue_that_nobody_uses_expires(policed: Policed, channel: Channel) -> None:
    put(channel, b"1")
    policed.set(expires=1)
    policed.broker.log.wait_for(re.escape(f"queue '{QUEUE}' in vhost '/' expired"))
    channel.send("queue.declare", queue=QUEUE, passive=True)
    channel.expect_close(404)


def test_a_delivery_limit_counts_from_its_policy_on(policed: Policed, channel: Channel) -> None:
    dead = channel.queue(exclusive=True)
    policed.set("policies", delivery_limit=1, dead_letter_exchange="", dead_letter_routing_key=dead)
    put(channel, b"1")
    for _ in range(2):
        message = channel.get(QUEUE, no_ack=False)
        assert message
        channel.send("basic.reject", delivery_tag=message.delivery_tag, requeue=True)
    assert channel.count(QUEUE) == 0
    assert channel.drain(dead) == [b"1"]
