"""The broker as users run it: a process of its own, driven by signals and judged by its log and exit code."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO

from tests.support.peer import Peer

ROOT = Path(__file__).resolve().parents[2]
START_SECONDS = 60.0
STOP_SECONDS = 60.0
LISTENING = re.compile(r"AMQP listener started on 127\.0\.0\.1:(\d+)")
READY = re.compile(r"Server startup complete")
WITHOUT_HTTP = {"FLOWMQ_MANAGEMENT__LISTEN": "", "FLOWMQ_METRICS__LISTEN": ""}
# What a broken broker leaves in its log; an expected error is one line, never a trace of the code.
BROKEN = ("Traceback", "Exception ignored", "never awaited", "Task exception", "AddressSanitizer")


class Log:
    """The lines of a stream as they come, for those who wait for one."""

    def __init__(self, stream: IO[str]) -> None:
        self.lines: list[str] = []
        self.ended = False
        self._changed = threading.Condition()
        self._reader = threading.Thread(target=self._read, args=(stream,), daemon=True)
        self._reader.start()

    def _read(self, stream: IO[str]) -> None:
        for line in stream:
            with self._changed:
                self.lines.append(line.rstrip("\n"))
                self._changed.notify_all()
        with self._changed:
            self.ended = True
            self._changed.notify_all()

    def _find(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        return next((match for line in self.lines if (match := pattern.search(line))), None)

    def wait_for(self, pattern: re.Pattern[str] | str, seconds: float = START_SECONDS) -> re.Match[str]:
        wanted = re.compile(pattern)
        with self._changed:
            self._changed.wait_for(lambda: self._find(wanted) or self.ended, seconds)
            found = self._find(wanted)
        assert found, f"no line like {wanted.pattern!r} in the log:\n{self.text}"
        return found

    def wait_for_count(self, part: str, count: int, seconds: float = START_SECONDS) -> None:
        """Until so many lines hold it."""
        with self._changed:
            self._changed.wait_for(lambda: sum(part in line for line in self.lines) >= count or self.ended, seconds)
            found = sum(part in line for line in self.lines)
        assert found >= count, f"{found} lines with {part!r} in the log, not {count}:\n{self.text}"

    def finish(self) -> None:
        """Until the stream ends, which the end of the process brings about."""
        self._reader.join(STOP_SECONDS)
        assert self.ended, "something still holds the broker's standard error open"

    @property
    def text(self) -> str:
        return "\n".join(self.lines)


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "flowmq", *arguments]


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Without HTTP: its ports are fixed ones, and another process for every broker takes long."""
    return {**os.environ, "PYTHONUNBUFFERED": "1", **WITHOUT_HTTP, **(extra or {})}


class Broker:
    """A started broker. `stop` is the polite end and checks it; `kill` is certain and checks nothing."""

    def __init__(self, data_dir: Path, environ: Mapping[str, str] | None = None, *arguments: str) -> None:
        self.data_dir, self.environ, self.arguments = data_dir, environ, arguments
        self.process = subprocess.Popen(
            command("serve", "--listen", "127.0.0.1:0", "--data-dir", str(data_dir), *arguments),
            cwd=ROOT,
            env=environment(environ),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
        )
        assert self.process.stderr
        self.log = Log(self.process.stderr)
        try:
            self.port = int(self.log.wait_for(LISTENING)[1])
            self.log.wait_for(READY)
        except BaseException:
            self.kill()
            raise

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def peer(self) -> Peer:
        return Peer("127.0.0.1", self.port, pid=self.pid)

    def terminate(self) -> None:
        self.process.send_signal(signal.SIGTERM)

    def wait(self, seconds: float = STOP_SECONDS) -> int:
        code = self.process.wait(seconds)
        self.log.finish()
        return code

    def check_log(self) -> None:
        broken = [word for word in BROKEN if word in self.log.text]
        assert not broken, f"the broker's log holds {broken}:\n{self.log.text}"

    def stop(self) -> None:
        assert self.process.poll() is None, f"the broker had died with {self.process.returncode}:\n{self.log.text}"
        self.terminate()
        code = self.wait()
        assert code == 0, f"exit code {code} after SIGTERM:\n{self.log.text}"
        self.check_log()

    def again(self) -> "Broker":
        """A new process on the directory of this one, with its settings; the port is another."""
        assert self.process.poll() is not None, "it still runs"
        return Broker(self.data_dir, self.environ, *self.arguments)

    def kill(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.log.finish()


def resident_bytes(pid: int) -> int:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def children(pid: int) -> list[int]:
    """Every process whose parent this is."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and _parent(entry) == pid:
            found.append(int(entry.name))
    return found


def _parent(entry: Path) -> int:
    try:
        stat = (entry / "stat").read_text()
    except (FileNotFoundError, ProcessLookupError):  # it ended while being looked at
        return -1
    return int(stat.rpartition(")")[2].split()[1])


def until(check: Callable[[], bool], seconds: float = 40.0) -> None:
    """Ask again until it holds. For what a peer does in its own time; each attempt must be a round trip to it."""
    deadline = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < deadline, "it never came to pass"
