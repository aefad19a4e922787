"""Whatever becomes of the broker's standard error, it works on, and ends in order."""

import fcntl
import os
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.broker import ROOT, Log, command, environment, until
from tests.support.peer import Peer
from tests.support.wire import connect

pytestmark = pytest.mark.flowmq_only
PIPE_BYTES = 4096
END_SECONDS = 30


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Quiet:
    """A broker whose lines nobody waits for: it is there when its port answers."""

    def __init__(self, data_dir: Path, stderr: int | None, before: Callable[[], None] | None = None) -> None:
        self.peer = Peer("127.0.0.1", free_port())
        arguments = ("serve", "--listen", f"127.0.0.1:{self.peer.port}", "--data-dir", str(data_dir))
        self.process = subprocess.Popen(
            command(*arguments), cwd=ROOT, env=environment(), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=stderr, preexec_fn=before,
        )  # fmt: skip
        until(self.answers)

    def answers(self) -> bool:
        assert self.process.poll() is None, f"it ended with {self.process.returncode}"
        try:
            connect(self.peer).close()
        except OSError:
            return False
        return True

    def makes_lines(self, count: int) -> None:
        """Each of these connections is worth a few."""
        for _ in range(count):
            connect(self.peer).close()

    def works(self) -> None:
        with connect(self.peer) as client:
            channel = client.channel()
            queue = channel.queue(exclusive=True)
            channel.put(queue, b"x" * 100)
            assert channel.get(queue) is not None
            client.close()

    def end(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(END_SECONDS) == 0


@contextmanager
def quiet(data_dir: Path, stderr: int | None, before: Callable[[], None] | None = None) -> Iterator[Quiet]:
    broker = Quiet(data_dir, stderr, before)
    try:
        yield broker
    finally:
        broker.process.kill()
        broker.process.wait()


@contextmanager
def small_pipe() -> Iterator[tuple[int, int]]:
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
    try:
        yield reader, writer
    finally:
        for descriptor in (reader, writer):
            os.close(descriptor)


def test_a_pipe_that_nobody_reads(tmp_path: Path) -> None:
    with small_pipe() as (_, writer), quiet(tmp_path / "data", writer) as broker:
        broker.makes_lines(100)
        broker.works()
        broker.end()


def test_a_pipe_that_nobody_has_open_any_more(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    with quiet(tmp_path / "data", writer) as broker:
        os.close(writer)
        os.close(reader)
        broker.makes_lines(100)
        broker.works()
        broker.end()


def test_a_pipe_that_was_closed_before_the_first_line(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with quiet(tmp_path / "data", writer) as broker:
        os.close(writer)
        broker.works()
        broker.end()


def test_a_standard_error_that_is_closed(tmp_path: Path) -> None:
    with quiet(tmp_path / "data", None, lambda: os.close(2)) as broker:
        broker.works()
        broker.end()


def test_a_full_disk_under_it(tmp_path: Path) -> None:
    with open("/dev/full", "wb") as full, quiet(tmp_path / "data", full.fileno()) as broker:
        broker.makes_lines(20)
        broker.works()
        broker.end()


def test_what_was_dropped_is_told_when_it_is_read_again(tmp_path: Path) -> None:
    with small_pipe() as (reader, writer), quiet(tmp_path / "data", writer) as broker:
        broker.makes_lines(6000)  # two lines each: more than may wait
        broker.works()
        log = Log(os.fdopen(os.dup(reader), errors="replace"))
        until(lambda: [broker.makes_lines(1), "log records were dropped" in log.text][1])
        broker.end()
