"""What a process wrote and synced, in order, as strace saw it from outside.

Knows three kinds of call: writes to files, syncs of files, and writes to sockets; each with the moment it began and the
moment it was over, since the broker makes them on several threads.
"""

import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

CALLS = "write,writev,pwrite64,pwritev,pwritev2,sendto,sendmsg,fsync,fdatasync"
SYNCS = {"fsync", "fdatasync"}
START_SECONDS = 20.0
STRINGS_MAX = 1 << 22
BEGUN = re.compile(
    r"^(?P<thread>\d+) +(?P<moment>\d+\.\d+) (?P<call>\w+)\((?P<number>\d+)<(?P<target>[^>]*)>(?P<rest>.*)$"
)
RESUMED = re.compile(r"^(?P<thread>\d+) +(?P<moment>\d+\.\d+) <\.\.\. (?P<call>\w+) resumed>(?P<rest>.*)$")
RESULT = re.compile(r"= (?P<result>-?\d+)[^<]*(?:<(?P<seconds>[\d.]+)>)?$")
QUOTED = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')


@dataclass
class Call:
    """A system call on a file or a socket. Times are seconds; `target` is a path, or says what kind of socket."""

    name: str
    target: str
    data: bytes
    begun: float
    ended: float = float("inf")
    result: int = -1

    @property
    def is_sync(self) -> bool:
        return self.name in SYNCS

    @property
    def is_file(self) -> bool:
        return self.target.startswith("/")


class Missing(Exception):
    """There is no strace here, or the system does not let it look."""


class Trace:
    """Attached to a running process until `finish`."""

    def __init__(self, pid: int, output: Path) -> None:
        if not shutil.which("strace"):
            raise Missing("strace is not installed")
        self.output = output
        arguments = ["-f", "-p", str(pid), "-ttt", "-T", "-y", "-xx", "-s", str(STRINGS_MAX), "-e", f"trace={CALLS}"]
        self.process = subprocess.Popen(
            ["strace", *arguments, "-o", str(output)], stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True
        )
        self._wait_until_attached(pid)

    def _wait_until_attached(self, pid: int) -> None:
        """To every thread: the kernel says who traces each."""
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                assert self.process.stderr
                raise Missing(f"strace may not look: {self.process.stderr.read().strip()}")
            if all(tracer == self.process.pid for tracer in tracers(pid)):
                return
            time.sleep(0.01)
        self.process.kill()
        raise AssertionError("strace did not attach")

    def finish(self) -> list[Call]:
        self.process.terminate()
        self.process.communicate(timeout=60)
        return list(parse(self.output.read_text()))


def tracers(pid: int) -> Iterator[int]:
    for task in os.listdir(f"/proc/{pid}/task"):
        status = Path(f"/proc/{pid}/task/{task}/status").read_text()
        yield int(re.findall(r"^TracerPid:\t(\d+)$", status, re.MULTILINE)[0])


def parse(text: str) -> Iterator[Call]:
    """Calls in the order in which they began."""
    calls: list[Call] = []
    unfinished: dict[str, Call] = {}
    for line in text.splitlines():
        if match := BEGUN.match(line):
            octets = bytes.fromhex("".join(QUOTED.findall(match["rest"])).replace("\\x", ""))
            target = (
                bytes.fromhex(match["target"].replace("\\x", "")).decode()
                if "\\x" in match["target"]
                else match["target"]
            )
            call = Call(match["call"], target, octets, float(match["moment"]))
            calls.append(call)
            if "<unfinished ...>" in line:
                unfinished[match["thread"]] = call
            else:
                end(call, line)
        elif (match := RESUMED.match(line)) and (resumed := unfinished.pop(match["thread"], None)):
            end(resumed, line)
    yield from calls


def end(call: Call, line: str) -> None:
    result = RESULT.search(line)
    if result and result["seconds"]:
        call.result = int(result["result"])
        call.ended = call.begun + float(result["seconds"])
