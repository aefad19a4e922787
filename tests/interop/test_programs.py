"""What a program has started ends with it, however that comes about."""

import json
import socket
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.interop import programs
from tests.interop.languages import Language, Library
from tests.interop.programs import Program

SECONDS = 30.0
CHILD = "import socket, sys; socket.create_connection(('127.0.0.1', int(sys.argv[1]))).recv(1)"
# Started as Prometheus is: with neither of the program's pipes.
STARTS_CHILD = f"""
import subprocess, sys
subprocess.Popen([sys.executable, "-c", {CHILD!r}, sys.argv[2]], stdin=subprocess.DEVNULL, stdout=sys.stderr)
print("ready", flush=True)
"""


@pytest.fixture(autouse=True)
def logs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs, "WORK", tmp_path)


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as opened:
        opened.settimeout(SECONDS)
        yield opened


class Started:
    """A program that has started a process, and that one's connection, which ends with it."""

    def __init__(self, listening: socket.socket, then: str) -> None:
        language = Language("Python", (), (), (), folder="python")
        library = Library("test", "1", language, (sys.executable, "-c", STARTS_CHILD + then))
        self.program = Program(library, "mode", json.dumps(listening.getsockname()[1]))
        assert self.program.wait_until_ready()
        self.child, _ = listening.accept()
        self.child.settimeout(SECONDS)

    def child_has_ended(self) -> bool:
        with closing(self.child):
            return self.child.recv(1) == b""


def test_one_that_takes_too_long(listening: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    started = Started(listening, "sys.stdin.read()")
    monkeypatch.setattr(programs, "SECONDS", 0.1)
    assert started.program.finish() == "still running after 0 s"
    assert started.child_has_ended()


@pytest.mark.parametrize(("then", "said"), [("", ""), ("sys.exit('tired')", "exit code 1: tired")])
def test_one_that_ends_before_what_it_has_started(listening: socket.socket, then: str, said: str) -> None:
    started = Started(listening, then)
    assert started.program.finish() == said
    assert started.child_has_ended()
    assert started.program not in Program.running


def test_all_of_them_when_the_run_is_given_up(listening: socket.socket) -> None:
    both = [Started(listening, "sys.stdin.read()") for _ in range(2)]
    Program.kill_all()
    assert all(started.child_has_ended() for started in both)
    assert [started.program.finish() for started in both] == ["exit code -9: it said nothing"] * 2
