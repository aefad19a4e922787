"""On what machine and with what a run was made: figures without it mean nothing."""

import datetime
import functools
import os
import platform
import shlex
import subprocess
import sysconfig
from importlib import metadata
from pathlib import Path
from typing import Any

STEAL_FIELD = 8  # of the first line of /proc/stat, behind its name: proc(5)
ROOT = Path(__file__).resolve().parent.parent


@functools.cache
def machine() -> dict[str, Any]:
    """As it was before the first load."""
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "commit": commit(),
        "cores": len(os.sched_getaffinity(0)),
        "cpu": cpu_model(),
        "memory_bytes": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
        "kernel": platform.release(),
        "load_average": [round(load, 2) for load in os.getloadavg()],
        "python": platform.python_version(),
        "cython": metadata.version("Cython"),
        "uvloop": metadata.version("uvloop"),
        "compiler": compiler(),
    }


def stolen_seconds() -> float:
    """What a virtual machine's host has taken from its cores since the start, added up; 0 where it does not tell."""
    fields = Path("/proc/stat").read_text().partition("\n")[0].split()
    return int(fields[STEAL_FIELD]) / os.sysconf("SC_CLK_TCK") if len(fields) > STEAL_FIELD else 0.0


def cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def commit() -> str:
    """With a `+` when the tree differs from it; nothing outside a repository."""
    short = said_by(["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"])
    changed = said_by(["git", "-C", str(ROOT), "status", "--porcelain", "--untracked-files=no"])
    return short + ("+" if changed else "")


def compiler() -> str:
    command = os.environ.get("CC") or sysconfig.get_config_var("CC") or "gcc"
    return said_by([*shlex.split(command), "--version"]).partition("\n")[0]


def said_by(command: list[str]) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""
