"""What is in deploy/ and the Dockerfile: as far as that can be tried without systemd and without Docker."""

import configparser
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.broker import READY, ROOT, STOP_SECONDS, Broker, Log, command, environment

pytestmark = pytest.mark.flowmq_only
UNIT = ROOT / "deploy" / "flowmq.service"
# Runs a command that may not make memory writable and executable: PR_SET_MDWE, as MemoryDenyWriteExecute= does. A
# kernel before 6.3 does not know it.
CONFINED = """
import ctypes, os, sys
ctypes.CDLL(None).prctl(65, 1, 0, 0, 0)
os.execv(sys.argv[1], sys.argv[1:])
"""


def unit() -> configparser.ConfigParser:
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read(UNIT)
    return parser


def health(data_dir: Path) -> int:
    return subprocess.run(
        [sys.executable, str(ROOT / "deploy" / "healthcheck.py"), str(data_dir)], capture_output=True, timeout=50
    ).returncode


def test_the_health_check_tells_a_broker_from_none(own_broker: Callable[..., Broker]) -> None:
    broker = own_broker()
    assert health(broker.data_dir) == 0
    broker.stop()
    assert health(broker.data_dir) == 1


def test_the_unit_runs_a_command_that_there_is(tmp_path: Path) -> None:
    service = unit()["Service"]
    program, verb, *options = shlex.split(service["ExecStart"])
    assert Path(program).name == "flowmq"
    (tmp_path / "flowmq.toml").write_text("")
    given = [str(tmp_path / Path(option).name) if option.startswith("/") else option for option in options]
    # `config show` takes the options of `serve`, and does not serve.
    done = subprocess.run(command("config", "show", *given), capture_output=True, text=True, timeout=50)
    assert verb == "serve"
    assert done.returncode == 0, done.stderr
    assert service["Type"] == "notify"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
def test_systemd_knows_every_line_of_the_unit(tmp_path: Path) -> None:
    copy = tmp_path / UNIT.name
    program = shlex.split(unit()["Service"]["ExecStart"])[0]
    copy.write_text(UNIT.read_text().replace(program, sys.executable))
    done = subprocess.run(["systemd-analyze", "verify", str(copy)], capture_output=True, text=True, timeout=50)
    assert done.returncode == 0, done.stderr
    assert "Unknown" not in done.stderr, done.stderr


def test_the_broker_needs_no_memory_that_is_writable_and_executable(tmp_path: Path) -> None:
    """Nor does argon2, with which it hashes a password here."""
    data_dir = str(tmp_path / "data")
    arguments = command("serve", "--listen", "127.0.0.1:0", "--data-dir", data_dir)
    process = subprocess.Popen(
        [sys.executable, "-c", CONFINED, *arguments], stderr=subprocess.PIPE, text=True, env=environment(), cwd=ROOT
    )
    try:
        assert process.stderr
        log = Log(process.stderr)
        log.wait_for(READY)
        add = command("user", "add", "confined", "--password-stdin", "--data-dir", data_dir)
        subprocess.run(add, input="secret\n", check=True, text=True, timeout=50, cwd=ROOT)
        process.terminate()
        assert process.wait(STOP_SECONDS) == 0, log.text
    finally:
        process.kill()
        process.wait()


def test_docker_builds_from_what_is_there() -> None:
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    copied = [words[1:-1] for line in lines if (words := line.split())[:1] == ["COPY"] and "--from" not in line]
    for name in (name for names in copied for name in names):
        assert (ROOT / name).exists(), name
        assert f"!{name}" in (ROOT / ".dockerignore").read_text().splitlines(), name
    assert [line for line in lines if line.startswith("USER ")] == ["USER flowmq"]
    assert all(line.split(" ", 1)[1].startswith("[") for line in lines if line.startswith(("ENTRYPOINT", "CMD")))
