"""Seen from outside, by strace: no confirm leaves before the sync of what it confirms, and one sync serves many.

The broker's own counters have no part in it. Where tracing is not possible the tests are skipped, and say so loudly:
without them these two promises are unproved.
"""

import struct
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.crash.trace import Call, Missing, Trace
from tests.support import codec
from tests.support.broker import Broker
from tests.support.wire import Channel, connect

pytestmark = [pytest.mark.flowmq_only, pytest.mark.slow, pytest.mark.timeout(120)]
PERSISTENT = {"delivery_mode": 2}
QUEUES = 100
MESSAGES = 1000
SYNCS_MAX = 8  # for all of them: one for each read it takes to receive them, and they are few
ACK = struct.pack(">HH", 60, 80)
OwnBroker = Callable[..., Broker]


def attach(broker: Broker, output: Path) -> Trace:
    try:
        return Trace(broker.pid, output)
    except Missing as reason:
        text = f"NOT PROVED here that confirms wait for the disk: {reason}"
        warnings.warn(text, stacklevel=2)
        pytest.skip(text)


def acks(call: Call) -> Iterator[int]:
    """The delivery tags confirmed by a write to a socket, `multiple` ones as the negative of theirs."""
    at = 0
    while at + 7 < len(call.data):
        kind, size = call.data[at], int.from_bytes(call.data[at + 3 : at + 7], "big")
        payload = call.data[at + 7 : at + 7 + size]
        if kind == codec.METHOD and payload.startswith(ACK):
            tag = int.from_bytes(payload[4:12], "big")
            yield -tag if payload[12] & 1 else tag
        at += size + 8


def confirms(calls: list[Call]) -> Iterator[tuple[Call, list[int]]]:
    """Each socket write that confirms something, with the numbers it confirms for the first time."""
    done: set[int] = set()
    for call in calls:
        if call.is_file or call.is_sync:
            continue
        for tag in acks(call):
            fresh = set(range(1, -tag + 1)) - done if tag < 0 else {tag} - done
            done |= fresh
            if fresh:
                yield call, sorted(fresh)


def durable_from(calls: list[Call], body: bytes) -> float:
    """When the first sync was over that began after the write of this body; never, if there is none."""
    writes = [call for call in calls if call.is_file and not call.is_sync and body in call.data]
    moments = [
        sync.ended
        for write in writes
        for sync in calls
        if sync.is_sync and sync.result == 0 and sync.target == write.target and sync.begun >= write.ended
    ]
    return min(moments, default=float("inf"))


def check_confirms(calls: list[Call], bodies: dict[int, bytes]) -> None:
    seen = set()
    durable = {number: durable_from(calls, body) for number, body in bodies.items()}
    for call, numbers in confirms(calls):
        for number in numbers:
            early = durable[number] - call.begun
            assert early <= 0, f"the confirm of {number} left {early * 1e6:.0f} us before its sync was over"
            seen.add(number)
    assert seen == set(bodies), "the trace does not show every confirm"


def publish(channel: Channel, bodies: dict[int, bytes], queue: Callable[[int], str]) -> bytes:
    frames = []
    for number, body in bodies.items():
        method = codec.method_frame(channel.number, "basic.publish", exchange="", routing_key=queue(number))
        frames.append(method + channel.content(body, PERSISTENT))
    return b"".join(frames)


def bodies_of(count: int) -> dict[int, bytes]:
    return {number: b"<body %d of the trace>" % number for number in range(1, count + 1)}


@pytest.mark.parametrize("at_once", [1, 7, 200])
def test_confirm_never_leaves_before_its_sync(own_broker: OwnBroker, tmp_path: Path, at_once: int) -> None:
    broker = own_broker()
    with connect(broker.peer) as client:
        channel = client.channel()
        channel.queue("q", durable=True)
        channel.call("confirm.select")
        trace = attach(broker, tmp_path / "trace")
        bodies = bodies_of(200)
        numbers = list(bodies)
        for first in range(0, len(numbers), at_once):
            burst = {number: bodies[number] for number in numbers[first : first + at_once]}
            client.write(publish(channel, burst, lambda _: "q"))
            channel.wait_for_confirms(len(burst))
        check_confirms(trace.finish(), bodies)
    broker.stop()


@pytest.mark.parametrize("name", ["queue.declare", "exchange.declare", "queue.bind", "queue.delete", "tx.commit"])
def test_answer_never_leaves_before_its_sync(own_broker: OwnBroker, tmp_path: Path, name: str) -> None:
    """The -ok of whatever is durable: between question and answer lies a sync that succeeded."""
    broker = own_broker()
    with connect(broker.peer) as client:
        channel = client.channel()
        channel.queue("q", durable=True)
        if name == "tx.commit":
            channel.call("tx.select")
            channel.publish("", "q", b"x", PERSISTENT)
        trace = attach(broker, tmp_path / "trace")
        channel.call(name, **FIELDS[name])
        calls = trace.finish()
    answer = codec.method_frame(channel.number, name + "-ok", **ANSWERS.get(name, {}))
    (sent,) = [call for call in calls if not call.is_file and answer in call.data]
    writes = [call for call in calls if call.is_file and call.name.startswith("pwrite")]
    syncs = [call for call in calls if call.is_sync and call.result == 0 and call.ended <= sent.begun]
    assert any(write.ended <= sync.begun for write in writes for sync in syncs), calls
    broker.stop()


def test_answers_that_share_a_sync_all_wait_for_it(own_broker: OwnBroker, tmp_path: Path) -> None:
    """Declarations of several clients, many in one write: each answer for itself comes after its own sync."""
    broker = own_broker()
    clients = [connect(broker.peer) for _ in range(4)]
    channels = [client.channel() for client in clients]
    names = {channel: [f"<{at}/{number:02}>" for number in range(25)] for at, channel in enumerate(channels)}
    trace = attach(broker, tmp_path / "trace")
    for channel, mine in names.items():
        declare = [codec.method_frame(1, "queue.declare", queue=name, durable=True) for name in mine]
        channel.client.write(b"".join(declare))
    for channel, mine in names.items():
        assert [channel.expect("queue.declare-ok").queue for _ in mine] == mine
    calls = trace.finish()
    for name in (name for mine in names.values() for name in mine):
        answer = codec.method_frame(1, "queue.declare-ok", queue=name)
        (sent,) = [call for call in calls if not call.is_file and answer in call.data]
        assert durable_from(calls, name.encode()) <= sent.begun, f"the answer about {name} left before its sync"
    for client in clients:
        client.close()
    broker.stop()


FIELDS: dict[str, dict[str, object]] = {
    "queue.declare": {"queue": "new", "durable": True},
    "exchange.declare": {"exchange": "new", "type": "direct", "durable": True},
    "queue.bind": {"queue": "q", "exchange": "amq.direct", "routing_key": "k"},
    "queue.delete": {"queue": "q"},
    "tx.commit": {},
}
ANSWERS: dict[str, dict[str, object]] = {"queue.declare": {"queue": "new"}}


def test_many_messages_to_many_queues_share_a_sync(own_broker: OwnBroker, tmp_path: Path) -> None:
    broker = own_broker()
    with connect(broker.peer) as client:
        channel = client.channel()
        for number in range(QUEUES):
            channel.queue(f"q-{number}", durable=True)
        channel.call("confirm.select")
        trace = attach(broker, tmp_path / "trace")
        bodies = bodies_of(MESSAGES)
        client.write(publish(channel, bodies, lambda number: f"q-{number % QUEUES}"))
        channel.wait_for_confirms(MESSAGES)
        calls = trace.finish()
    check_confirms(calls, bodies)
    syncs = [call for call in calls if call.is_sync]
    assert 1 <= len(syncs) <= SYNCS_MAX, f"{len(syncs)} syncs for {MESSAGES} messages to {QUEUES} queues in one write"
    broker.stop()


def test_body_for_many_queues_is_written_once(own_broker: OwnBroker, tmp_path: Path) -> None:
    broker = own_broker()
    with connect(broker.peer) as client:
        channel = client.channel()
        for number in range(10):
            channel.call("queue.bind", queue=channel.queue(f"q-{number}", durable=True), exchange="amq.fanout")
        channel.call("confirm.select")
        trace = attach(broker, tmp_path / "trace")
        body = b"<written once>" * 100
        channel.publish("amq.fanout", "", body, PERSISTENT)
        channel.wait_for_confirms(1)
        calls = trace.finish()
    copies = sum(call.data.count(body) for call in calls if call.is_file and not call.is_sync)
    assert copies == 1, f"the body stands {copies} times in what was written"
    broker.stop()
