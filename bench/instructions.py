"""How many instructions each step of a message takes, counted by callgrind, beside the counts that stand in the tree.

`python -m bench.instructions` counts and compares; `--renew` writes bench/instructions.json anew. Times are noisy,
counts are not: the same build gives the same count to a few in a thousand. Counts are of everything that the process
does, the step's own share (a read copied, writes thrown away) included.
"""

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import click

from bench import _callgrind
from bench.machine import machine
from bench.steps import STEPS

STORED = Path(__file__).with_name("instructions.json")
TOOLS = ("python", "cython", "compiler")
# By which share a count may grow: what is done per message, and what is done once, which is Python's own work mostly.
TOLERANCE, TOLERANCE_ONCE = 0.05, 0.3
TOLERANCE_OTHER_TOOLS = 0.3  # of other versions of Python, Cython or the compiler than the stored counts are of
SECONDS_MAX = 300.0


def why_not() -> str | None:
    """Why nothing can be counted here."""
    if not shutil.which("valgrind"):
        return "valgrind is not installed"
    if not _callgrind.is_built:
        return "valgrind's header was not there when bench/_callgrind.pyx was compiled"
    return None


def play() -> None:
    """What runs under callgrind."""
    for step in STEPS:
        with contextlib.ExitStack() as stack:
            run, _ = step.prepare(stack)
            run()
            _callgrind.begin()
            run()
            _callgrind.end(step.name.encode())


def counted(keep: Path | None = None) -> dict[str, float]:
    """Instructions per message, by step. What callgrind wrote is kept in that directory, one file a step."""
    with tempfile.TemporaryDirectory(prefix="flowmq-instructions-") as directory:
        subprocess.run(
            [
                *("valgrind", "--quiet", "--tool=callgrind", "--instr-atstart=no"),
                f"--callgrind-out-file={directory}/out",
                *(sys.executable, "-m", "bench.instructions", "--play"),
            ],
            env={**os.environ, "PYTHONHASHSEED": "0"},
            cwd=STORED.parent.parent,
            check=True,
            timeout=SECONDS_MAX,
            stdout=subprocess.DEVNULL,
        )
        written = list(Path(directory).glob("out.*"))
        totals = dict(total_of(path) for path in written)
        for path in written if keep else []:
            shutil.copy(path, keep / total_of(path)[0])  # type: ignore[operator]
    counts = {}
    for step in STEPS:
        with contextlib.ExitStack() as stack:
            _, number = step.prepare(stack)
        counts[step.name] = round(totals[step.name] / number, 1)
    return counts


def total_of(path: Path) -> tuple[str, int]:
    text = path.read_text(errors="replace")
    name = re.search(r"^desc: Trigger: Client Request: (\S+)", text, re.MULTILINE)
    total = re.search(r"^totals: (\d+)", text, re.MULTILINE)
    return (name[1] if name else "", int(total[1]) if total else 0)


def tools() -> dict[str, str]:
    facts = machine()
    return {name: str(facts[name]) for name in TOOLS}


def tolerances(document: dict[str, Any]) -> dict[str, float]:
    if document["tools"] != tools():
        return {step.name: TOLERANCE_OTHER_TOOLS for step in STEPS}
    return {step.name: TOLERANCE_ONCE if step.once else TOLERANCE for step in STEPS}


def stored() -> dict[str, Any]:
    document: dict[str, Any] = json.loads(STORED.read_text())
    return document


@click.command(help=__doc__)
@click.option("--renew", is_flag=True, help="Store what is counted.")
@click.option(
    "--keep",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="A directory for what callgrind writes: `callgrind_annotate FILE` shows it by function.",
)
@click.option("--play", "playing", is_flag=True, hidden=True)
def main(renew: bool, keep: Path | None, playing: bool) -> None:
    if playing:
        play()
        return
    if reason := why_not():
        sys.exit(reason)
    before, counts = stored()["counts"] if STORED.exists() else {}, counted(keep)
    for step in STEPS:
        count, old = counts[step.name], before.get(step.name)
        ratio = f"{count / old:6.3f} x {old:,.0f}" if old else ""
        click.echo(f"{step.name:<14} {count:>12,.1f}  {ratio:<18} {step.title}")
    if renew:
        STORED.write_text(json.dumps({"tools": tools(), "counts": counts}, indent=2) + "\n")


if __name__ == "__main__":
    main()
