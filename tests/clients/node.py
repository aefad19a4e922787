"""Packages of npm for tests: installed once, into the user's cache."""

import os
import shutil
import subprocess
import warnings
from pathlib import Path
from typing import NoReturn

import pytest

CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "flowmq-tests" / "node"


def skip_loudly(reason: str) -> NoReturn:
    warnings.warn(reason, stacklevel=2)
    pytest.skip(reason)


def installed(*packages: str) -> Path:
    """The directory whose node_modules has these packages, each with its version; skips the test without them."""
    name = packages[0].rpartition("@")[0]
    for program in ("node", "npm"):
        if not shutil.which(program):
            skip_loudly(f"{name} is NOT tested: there is no {program} on this machine")
    directory = CACHE / name.replace("/", "-").lstrip("@")
    if not (directory / "node_modules" / name / "package.json").exists():
        directory.mkdir(parents=True, exist_ok=True)
        install = ["npm", "install", "--no-audit", "--no-fund", "--prefix", str(directory), *packages]
        ended = subprocess.run(install, capture_output=True, text=True, timeout=120, check=False)
        if ended.returncode:
            skip_loudly(f"{name} is NOT tested: npm could not install it: {ended.stderr.strip()[-300:]}")
    return directory


def run(script: Path, directory: Path, argument: str, **environ: str) -> str:
    """What the script prints; it must end well."""
    ended = subprocess.run(
        ["node", str(script), argument],
        env={**os.environ, "NODE_PATH": str(directory / "node_modules"), **environ},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout
