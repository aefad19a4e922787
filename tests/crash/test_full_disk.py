"""A full disk: nobody is told that something is safe when it is not, and what still works goes on working."""

import os
import re
import signal
import subprocess
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.crash.disks import Disk, FileSizeLimit, NotPossible, SmallFileSystem
from tests.support.broker import ROOT, STOP_SECONDS, Broker, command, environment
from tests.support.codec import Method
from tests.support.wire import Channel, Client, connect

pytestmark = [pytest.mark.flowmq_only, pytest.mark.slow, pytest.mark.timeout(120)]
PERSISTENT = {"delivery_mode": 2}
# Without the alarm that is there to avoid what is tested here.
ENVIRONMENT = {"FLOWMQ_STORAGE__SEGMENT_BYTES": str(1 << 20), "FLOWMQ_LIMITS__DISK_FREE_BYTES_MIN": "0"}
FILE_SYSTEM_MEBIBYTES = 8
FILE_LIMIT_BYTES = 300_000  # less than a segment
BODY = bytes(range(256)) * 16
MESSAGES_MAX = 10_000
WINDOW = 20
PREFETCH = 10
REFUSALS = ("basic.nack", "channel.close", "connection.close")


def small_file_system(directory: Path) -> SmallFileSystem:
    try:
        return SmallFileSystem(directory, FILE_SYSTEM_MEBIBYTES)
    except NotPossible as reason:
        warnings.warn(f"NOT TESTED here what a full file system does: {reason}", stacklevel=2)
        pytest.skip(str(reason))


@pytest.fixture(params=["file system", "limit"])
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Disk]:
    directory = tmp_path / "disk"
    made = (
        small_file_system(directory) if request.param == "file system" else FileSizeLimit(directory, FILE_LIMIT_BYTES)
    )
    yield made
    made.close()


@pytest.fixture
def broker(disk: Disk) -> Iterator[Broker]:
    started = Broker(disk.directory / "data", ENVIRONMENT)
    yield started
    started.kill()


class Outcome:
    """What a publisher was told: confirmed bodies, and how the first refusal was worded."""

    def __init__(self) -> None:
        self.confirmed: list[bytes] = []
        self.refused: list[bytes] = []
        self.text = ""


def publish_until_refused(client: Client, queue: str) -> Outcome:
    channel = client.channel()
    channel.call("confirm.select")
    outcome, waiting = Outcome(), {}
    for number in range(1, MESSAGES_MAX + 1):
        waiting[number] = b"%d " % number + BODY
        channel.publish("", queue, waiting[number], PERSISTENT)
        while len(waiting) >= WINDOW:
            answer = client.receive()
            if not sort(answer, waiting, outcome):
                return outcome
    raise AssertionError(f"the disk took {MESSAGES_MAX} messages")


def sort(answer: Method, waiting: dict[int, bytes], outcome: Outcome) -> bool:
    """Whether the publisher may go on."""
    if answer.name in ("basic.ack", "basic.nack"):
        tags = [
            tag
            for tag in list(waiting)
            if tag == answer.delivery_tag or (answer.multiple and tag < answer.delivery_tag)
        ]
        bodies = [waiting.pop(tag) for tag in tags]
        (outcome.confirmed if answer.name == "basic.ack" else outcome.refused).extend(bodies)
        return answer.name == "basic.ack"
    assert answer.name in REFUSALS, str(answer)
    outcome.text = str(answer.reply_text)
    assert outcome.text, "closed without saying why"
    return False


def refused(broker: Broker, method: Callable[[Channel], None], *answers: str) -> str:
    """A new client is refused too: with a nack, or a close that has a text."""
    with connect(broker.peer) as client:
        channel = client.channel()
        method(channel)
        answer = client.receive()
        assert answer.name in answers, f"{answer} on a full disk"
        return str(answer.fields.get("reply_text", ""))


def publish_persistent(channel: Channel) -> None:
    channel.call("confirm.select")
    channel.publish("", "q", b"too late", PERSISTENT)


def declare_durable(channel: Channel) -> None:
    channel.send("queue.declare", queue="another", durable=True)


def take(consumer: Channel, count: int) -> list[Method]:
    return [consumer.expect("basic.deliver") for _ in range(count)]


def start_consumer(client: Client) -> Channel:
    consumer = client.channel()
    consumer.call("basic.qos", prefetch_count=PREFETCH)
    consumer.consume("q", "tag")
    return consumer


def bodies_after(broker: Broker, queue: str) -> list[bytes]:
    with connect(broker.peer) as client:
        return client.channel().drain(queue)


def test_full_disk(disk: Disk, broker: Broker) -> None:
    disk.shrink(broker)
    with connect(broker.peer) as consuming, connect(broker.peer) as publishing:
        publishing.channel().queue("q", durable=True)
        consumer = start_consumer(consuming)
        outcome = publish_until_refused(publishing, "q")
        assert len(outcome.confirmed) > PREFETCH, "it was full from the beginning"
        refused(broker, publish_persistent, *REFUSALS)
        refused(broker, declare_durable, "channel.close", "connection.close")
        acknowledged = go_on_consuming(consumer)
        go_on_without_disk(broker)
    end_with_one(broker, disk)
    disk.make_room()
    check_what_is_there(broker.again(), outcome, acknowledged)


def go_on_consuming(consumer: Channel) -> set[bytes]:
    """Deliveries and acks that need no disk."""
    first = take(consumer, PREFETCH)
    consumer.ack(first[-1].delivery_tag, multiple=True)
    second = take(consumer, PREFETCH)
    assert not {delivery.body for delivery in first} & {delivery.body for delivery in second}
    return {delivery.body for delivery in first}


def go_on_without_disk(broker: Broker) -> None:
    with connect(broker.peer) as client:
        channel = client.channel()
        queue = channel.queue(exclusive=True)
        channel.put(queue, b"transient")
        assert channel.drain(queue) == [b"transient"]


def end_with_one(broker: Broker, disk: Disk) -> None:
    broker.terminate()
    assert broker.wait() == 1, broker.log.text
    broker.check_log()
    complaint = re.compile(rf" (error|critical) .*{disk.complaint}")
    assert any(complaint.search(line) for line in broker.log.lines), broker.log.text


def check_what_is_there(broker: Broker, outcome: Outcome, acknowledged: set[bytes]) -> None:
    try:
        there = bodies_after(broker, "q")
        missing = [body for body in outcome.confirmed if body not in set(there) | acknowledged]
        assert not missing, f"{len(missing)} confirmed messages are lost, the first is {missing[0][:12]!r}"
        numbers = [int(body.partition(b" ")[0]) for body in there]
        assert numbers == sorted(set(numbers)), "order or duplicates"
        assert all(body == b"%d " % number + BODY for number, body in zip(numbers, there, strict=True))
        with connect(broker.peer) as client:
            client.channel().put("q", b"room again", properties=PERSISTENT)
        broker.kill()
        broker = broker.again()
        assert bodies_after(broker, "q") == [b"room again"]
        broker.stop()
    finally:
        broker.kill()


def test_kill_on_a_full_disk(disk: Disk, broker: Broker) -> None:
    """The same without an orderly end: what was confirmed is there."""
    disk.shrink(broker)
    with connect(broker.peer) as client:
        client.channel().queue("q", durable=True)
        outcome = publish_until_refused(client, "q")
    broker.kill()
    disk.make_room()
    check_what_is_there(broker.again(), outcome, set())


def test_start_on_a_full_disk_is_one_line(tmp_path: Path) -> None:
    disk = small_file_system(tmp_path / "disk")
    try:
        disk.fill()
        ended = subprocess.run(
            command("serve", "--listen", "127.0.0.1:0", "--data-dir", str(disk.directory / "data")),
            cwd=ROOT,
            env=environment(ENVIRONMENT),
            capture_output=True,
            text=True,
            timeout=STOP_SECONDS,
            check=False,
        )
        assert ended.returncode == 1, ended.stderr
        assert "Traceback" not in ended.stderr
        assert len([line for line in ended.stderr.splitlines() if disk.complaint in line]) == 1, ended.stderr
        disk.make_room()
        broker = Broker(disk.directory / "data", ENVIRONMENT)
        os.kill(broker.pid, signal.SIGTERM)
        assert broker.wait() == 0
    finally:
        disk.close()
