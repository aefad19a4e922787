"""Starts the programs and reads what they say.

A program says one line per behaviour on its standard output: `ok NAME`, `FAIL NAME reason`, and `none NAME` for what
the library does not have. Besides: `ready`, when it waits for the runner to do something to it, and `parcel JSON`, the
message it has received.

Some start processes of their own, such as a Prometheus. All of them are one group with their program, and end with it.
"""

import contextlib
import json
import os
import re
import signal
import subprocess
from dataclasses import dataclass
from typing import IO, Any, ClassVar

from tests.interop.languages import WORK, Library
from tests.support.broker import Log

SECONDS = 120.0
OUTCOME = re.compile(r"^(ok|FAIL|none) (\S+) ?(.*)$")


@dataclass(frozen=True)
class Outcome:
    status: str
    reason: str = ""


class Program:
    """One mode of one library's program, running."""

    running: ClassVar[set["Program"]] = set()

    def __init__(self, library: Library, mode: str, *arguments: str) -> None:
        self.library, self.mode = library, mode
        logs = WORK / "logs"
        logs.mkdir(parents=True, exist_ok=True)
        self.errors = logs / f"{library.name}-{mode}.log"
        with self.errors.open("wb") as errors:
            self.process = subprocess.Popen(
                [*library.command, mode, *arguments],
                cwd=library.directory,
                env={**os.environ, **library.environ},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                errors="replace",
                process_group=0,
            )
        self.running.add(self)
        self.output = Log(_stream(self.process))

    def wait_until_ready(self) -> bool:
        try:
            self.output.wait_for("^ready$", SECONDS)
        except AssertionError:
            return False
        return True

    def tell(self, line: str) -> None:
        """On its standard input. Programs whose library reports what happens to the connection do not listen."""
        assert self.process.stdin
        with contextlib.suppress(BrokenPipeError):  # it has ended, and `outcomes` says how
            self.process.stdin.write(f"{line}\n")
            self.process.stdin.flush()

    def stop(self) -> None:
        self.process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def finish(self) -> str:
        """Until it ends. Nothing, or what was wrong with its end."""
        wrong = ""
        try:
            code = self.process.wait(SECONDS)
            if code:
                wrong = f"exit code {code}: {self._last_error()}"
        except subprocess.TimeoutExpired:
            wrong = f"still running after {SECONDS:.0f} s"
        self.kill()
        self.process.wait()
        self.output.finish()
        self.running.discard(self)
        return wrong

    def kill(self) -> None:
        """With everything that it has started, also when it has ended itself."""
        with contextlib.suppress(ProcessLookupError):  # nothing is left
            os.killpg(self.process.pid, signal.SIGKILL)

    @classmethod
    def kill_all(cls) -> None:
        for program in list(cls.running):
            program.kill()

    def _last_error(self) -> str:
        lines = self.errors.read_text(errors="replace").strip().splitlines()
        return lines[-1] if lines else "it said nothing"

    def outcomes(self, expected: tuple[str, ...]) -> dict[str, Outcome]:
        """What it said of the behaviours; of those it did not come to, why not."""
        wrong = self.finish()
        said = {found[2]: Outcome(found[1], found[3]) for line in self.output.lines if (found := OUTCOME.match(line))}
        silent = Outcome("FAIL", wrong or "the program said nothing of it")
        return {name: said.get(name, silent) for name in expected}

    def everything(self, at_least: int) -> dict[str, Outcome]:
        """All that it said, which must be so many things."""
        wrong = self.finish()
        said = {found[2]: Outcome(found[1], found[3]) for line in self.output.lines if (found := OUTCOME.match(line))}
        if wrong or len(said) < at_least:
            said["end"] = Outcome("FAIL", wrong or f"it said {len(said)} things, not {at_least}")
        return said

    def parcels(self) -> dict[str, dict[str, Any]]:
        """The messages it received, by the library that published them."""
        prefix = "parcel "
        received = [json.loads(line[len(prefix) :]) for line in self.output.lines if line.startswith(prefix)]
        return {parcel["app_id"]: parcel for parcel in received}


def _stream(process: subprocess.Popen[str]) -> IO[str]:
    assert process.stdout
    return process.stdout
