"""Octets that changed on the disk: found and named, or cut off with a report at the very end; never delivered as good.

The file is changed from outside, at octets drawn from all that was written. A broker that starts on it may have lost
messages at the end of the journal, and says so; whatever it delivers is what was published.
"""

import random
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.broker import LISTENING, ROOT, STOP_SECONDS, Broker, command, environment
from tests.support.wire import connect

pytestmark = [pytest.mark.flowmq_only, pytest.mark.slow, pytest.mark.timeout(180)]
PERSISTENT = {"delivery_mode": 2}
MESSAGES = 200
FLIPS = 20
SEED = 3
NAMED = re.compile(r"[0-9a-f]{16}.*\d+")  # the segment's file, then an offset in it


def body(number: int) -> bytes:
    return b"%d " % number + bytes([number % 256]) * 300


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with definitions, messages, settlements, requeued ones and a purge in it, left by a kill."""
    directory = tmp_path_factory.mktemp("bits") / "data"
    broker = Broker(directory)
    with connect(broker.peer) as client:
        channel = client.channel()
        for name in ("q", "purged", "deleted"):
            channel.queue(name, durable=True)
            channel.call("queue.bind", queue=name, exchange="amq.fanout")
        for number in range(MESSAGES):
            channel.put("q", body(number), properties=PERSISTENT)
        channel.put("purged", b"x", properties=PERSISTENT)
        channel.call("queue.purge", queue="purged")
        channel.call("queue.delete", queue="deleted")
        for number in range(20):
            message = channel.get("q", no_ack=False)
            assert message
            channel.send("basic.nack" if number % 2 else "basic.reject", delivery_tag=message.delivery_tag)
        requeued = channel.get("q", no_ack=False)
        assert requeued
        channel.send("basic.nack", delivery_tag=requeued.delivery_tag, requeue=True)
        channel.call("queue.declare", queue="last", durable=True)
    broker.kill()
    return directory


def segment_of(directory: Path) -> Path:
    (segment,) = (directory / "journal").glob("*.segment")
    return segment


def used_octets(segment: Path) -> int:
    """How far it was written: behind that a new file is zero."""
    return len(segment.read_bytes().rstrip(b"\0"))


def flip(segment: Path, at: int, bit: int) -> None:
    with segment.open("r+b") as file:
        file.seek(at)
        octet = file.read(1)[0]
        file.seek(at)
        file.write(bytes([octet ^ 1 << bit]))


def copy(data: Path, directory: Path) -> None:
    """A killed broker leaves its socket behind, which only cp knows how to copy."""
    subprocess.run(["cp", "-r", "--sparse=always", str(data), str(directory)], check=True)


def start(directory: Path) -> Broker | str:
    """The broker, or what it said when it refused with exit code 1."""
    try:
        return Broker(directory)
    except AssertionError:
        ended = subprocess.run(
            command("serve", "--listen", "127.0.0.1:0", "--data-dir", str(directory)),
            cwd=ROOT,
            env=environment(),
            capture_output=True,
            text=True,
            timeout=STOP_SECONDS,
            check=False,
        )
        assert ended.returncode == 1, ended.stderr
        assert not LISTENING.search(ended.stderr)
        return ended.stderr


def check_refusal(text: str) -> None:
    assert "Traceback" not in text, text
    assert any(NAMED.search(line) for line in text.splitlines() if "corrupt" in line), text


def check_delivered(broker: Broker) -> None:
    """In order, unchanged; if something is missing the log says that the end was cut off."""
    with connect(broker.peer) as client:
        bodies = client.channel().drain("q")
    numbers = [int(found.partition(b" ")[0]) for found in bodies]
    assert numbers == sorted(set(numbers))
    assert bodies == [body(number) for number in numbers]
    if numbers != list(range(20, MESSAGES)):
        assert "cut" in broker.log.text, f"{len(numbers)} messages, and not a word about it:\n{broker.log.text}"


@pytest.mark.parametrize("part", range(4))
def test_changed_octet_is_never_taken_for_good(written: Path, tmp_path: Path, part: int) -> None:
    used = used_octets(segment_of(written))
    dice = random.Random(f"{SEED}/{part}")
    outcomes = []
    for number in range(FLIPS // 4):
        at, bit = dice.randrange(used * part // 4, used * (part + 1) // 4), dice.randrange(8)
        directory = tmp_path / str(number)
        copy(written, directory)
        flip(segment_of(directory), at, bit)
        outcomes.append(judged(directory, f"bit {bit} of octet {at} of {used}"))
        shutil.rmtree(directory)
    assert "refused" in outcomes or part == 3, outcomes


def judged(directory: Path, where: str) -> str:
    started = start(directory)
    try:
        if isinstance(started, str):
            check_refusal(started)
            return "refused"
        check_delivered(started)
        started.stop()
    except AssertionError as error:
        raise AssertionError(f"{where} was changed: {error}") from error
    finally:
        if isinstance(started, Broker):
            started.kill()
    return "started"


def test_after_a_stop_nothing_is_taken_for_a_torn_end(written: Path, tmp_path: Path) -> None:
    """The last words of a journal that was closed in order say that all before them was on disk."""
    stopped = tmp_path / "stopped"
    copy(written, stopped)
    broker = Broker(stopped)
    with connect(broker.peer) as client:
        client.channel().put("q", b"last", properties=PERSISTENT)
    broker.stop()
    last = max((stopped / "journal").glob("0*.segment"))
    used = used_octets(last)
    for back in (60, 90, 110):  # in the last message
        directory = tmp_path / str(back)
        copy(stopped, directory)
        flip(max((directory / "journal").glob("0*.segment")), used - back, 3)
        assert judged(directory, f"octet {used - back} of {used}") == "refused"


def test_nothing_changed_is_nothing_found(written: Path, tmp_path: Path) -> None:
    """The same way round without a change, so that the test above is about the change."""
    directory = tmp_path / "data"
    copy(written, directory)
    assert judged(directory, "nothing") == "started"
    broker = Broker(directory)
    assert "cut" not in broker.log.text
    broker.kill()
