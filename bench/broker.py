"""The broker under load as an operating system process: starting and stopping FlowMQ, finding a peer, CPU and memory.

Nothing here speaks AMQP. Figures come from the kernel, never from the broker itself.
"""

import contextlib
import os
import queue
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from bench.wire import Address
from tests.crash.rabbitmq import RabbitMQ

ROOT = Path(__file__).resolve().parent.parent
START_SECONDS = 30.0
STOP_SECONDS = 15.0
LISTENING = re.compile(r"AMQP listener started on 127\.0\.0\.1:(\d+)")
READY = "Server startup complete"
STATE_LISTEN = "0A"
LOG_LINES_SHOWN = 30


# Where there are two cores the load generator has the first to itself; brokers that are started here have the others.
CORES = sorted(os.sched_getaffinity(0))
GENERATOR_CORES = set(CORES[:1])
BROKER_CORES = set(CORES[1:]) or GENERATOR_CORES


@contextlib.contextmanager
def on_cores(cores: set[int]) -> Iterator[None]:
    """This thread, and the processes it starts meanwhile."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


class BrokerError(Exception):
    """The broker did not stop as it should."""


class NotStarted(Exception):
    """The broker never got ready."""


class Process:
    """A process with its descendants, seen from outside."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.descendants = descendants(pid)

    def cpu_ns(self) -> int:
        """User and system time of all threads, also the ended ones."""
        return self.total_of(process_clock_ns)

    def rss_bytes(self) -> int:
        return self.total_of(resident_bytes)

    def total_of(self, figure: Callable[[int], int]) -> int:
        total = figure(self.pid)
        for pid in self.descendants:
            # A peer's little helpers (name look-up, disk monitor) come and go; the broker itself must not.
            with contextlib.suppress(OSError):
                total += figure(pid)
        return total


def process_clock_ns(pid: int) -> int:
    # The kernel's CPU-time clock of another process, see clock_getcpuclockid(3): what utime + stime in /proc/PID/stat
    # come from, but in nanoseconds instead of ticks of 10 ms, which are too coarse for 1 000 messages per second.
    return time.clock_gettime_ns((~pid << 3) | 2)


def resident_bytes(pid: int) -> int:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def descendants(pid: int) -> list[int]:
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
        except OSError:  # ended while we looked
            continue
        children.setdefault(parent, []).append(int(stat.parent.name))
    found: list[int] = []
    waiting = [pid]
    while waiting:
        more = children.get(waiting.pop(), [])
        found += more
        waiting += more
    return found


def local_listener(address: Address) -> Process | None:
    """The process that listens on this port of this machine, if it is one we may look into."""
    if address.host not in ("localhost", "127.0.0.1", "::1"):
        return None
    inodes = listening_inodes(address.port)
    for descriptors in Path("/proc").glob("[0-9]*/fd"):
        try:
            targets = {os.readlink(link) for link in descriptors.iterdir()}
        except OSError:  # ended meanwhile, or another user's
            continue
        if targets & inodes:
            return Process(int(descriptors.parent.name))
    return None


def listening_inodes(port: int) -> set[str]:
    inodes = set()
    for table in (Path("/proc/net/tcp"), Path("/proc/net/tcp6")):
        for row in table.read_text().splitlines()[1:] if table.exists() else []:
            fields = row.split()
            if fields[3] == STATE_LISTEN and int(fields[1].rpartition(":")[2], 16) == port:
                inodes.add(f"socket:[{fields[9]}]")
    return inodes


# The broker alone is measured, and other brokers may run on this machine. It has a core, and its client another one,
# which it cannot know: so it is told to poll as it does where it sees more than one.
ENVIRONMENT = {
    "FLOWMQ_MANAGEMENT__LISTEN": "",
    "FLOWMQ_METRICS__LISTEN": "",
    "FLOWMQ_AMQP__BUSY_POLL_US": "50",
}


class OwnBroker:
    """FlowMQ in a process and a data directory of its own, on a free port."""

    def __init__(self) -> None:
        self.directory = tempfile.TemporaryDirectory(prefix="flowmq-bench-")
        self.log: list[str] = []
        self.start()

    def start(self) -> None:
        self.lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        started = time.monotonic()
        with on_cores(BROKER_CORES):
            self.popen = subprocess.Popen(
                [
                    *(sys.executable, "-m", "flowmq", "serve"),
                    *("--listen", "127.0.0.1:0", "--data-dir", self.directory.name),
                ],
                cwd=ROOT,
                env={**ENVIRONMENT, **os.environ},
                stdin=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
                errors="replace",
            )
        assert self.popen.stderr is not None
        threading.Thread(target=self.follow_log, args=(self.popen.stderr, self.lines), daemon=True).start()
        self.address = Address("127.0.0.1", self.wait_until_ready())
        self.ready_seconds = time.monotonic() - started
        self.process = Process(self.popen.pid)
        self.idle_rss_bytes = self.process.rss_bytes()

    def restart_after_kill(self) -> float:
        """End it without warning, start it on the same data directory; seconds from the start until it was ready."""
        self.popen.kill()
        self.popen.wait()
        self.start()
        return self.ready_seconds

    def follow_log(self, stream: IO[str], lines: "queue.SimpleQueue[str | None]") -> None:
        for line in stream:
            self.log.append(line)
            lines.put(line)
        lines.put(None)

    def wait_until_ready(self) -> int:
        port = 0
        deadline = time.monotonic() + START_SECONDS
        while True:
            line = self.next_line(deadline)
            if found := LISTENING.search(line):
                port = int(found[1])
            if port and READY in line:
                return port

    def next_line(self, deadline: float) -> str:
        try:
            line = self.lines.get(timeout=max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            line = None
        if line is None:
            self.kill()
            raise NotStarted(f"FlowMQ did not start:\n{self.last_log()}")
        return line

    def last_log(self) -> str:
        return "".join(self.log[-LOG_LINES_SHOWN:]).rstrip() or "(it logged nothing)"

    def stop(self) -> None:
        self.popen.send_signal(signal.SIGTERM)
        try:
            status = self.popen.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            raise BrokerError(f"FlowMQ did not stop within {STOP_SECONDS:g} s:\n{self.last_log()}") from None
        self.directory.cleanup()
        if status != 0:
            raise BrokerError(f"FlowMQ ended with status {status}:\n{self.last_log()}")

    def kill(self) -> None:
        self.popen.kill()
        self.popen.wait()
        self.directory.cleanup()


class PeerBroker:
    """Another broker that runs already; its process is known only when it is on this machine."""

    def __init__(self, url: str) -> None:
        self.address = Address.from_url(url)
        self.process = local_listener(self.address)

    def stop(self) -> None:
        """Not ours to stop."""


class OwnRabbitMQ(PeerBroker):
    """Debian's rabbitmq-server with a directory, a name and ports of its own, gone afterwards."""

    def __init__(self) -> None:
        self.directory = tempfile.TemporaryDirectory(prefix="flowmq-bench-rabbitmq-")
        try:
            with on_cores(BROKER_CORES):
                self.node = RabbitMQ(Path(self.directory.name))
        except (AssertionError, OSError) as error:
            self.directory.cleanup()
            raise NotStarted(f"RabbitMQ did not start: {error}") from error
        super().__init__(f"amqp://guest:guest@127.0.0.1:{self.node.port}/")

    def stop(self) -> None:
        self.node.stop()
        self.directory.cleanup()


Broker = OwnBroker | PeerBroker
