"""The flowmq command: what it passes on, what it prints, and how it ends."""

import subprocess
import sys
import tomllib
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flowmq import __version__
from flowmq.server.command import main
from flowmq.server.config import Settings

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    for variable in [name for name in os.environ if name.startswith("FLOWMQ_")]:
        monkeypatch.delenv(variable)


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[Settings]:
    """The settings that serve was called with; the process itself is not started."""
    settings: list[Settings] = []
    process: Any = types.ModuleType("flowmq.server.process")
    process.serve = lambda given, read_again: settings.append(given) or 7
    monkeypatch.setitem(sys.modules, "flowmq.server.process", process)
    return settings


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    def run_command(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        captured = capsys.readouterr()
        assert isinstance(ended.value.code, int)
        return ended.value.code, captured.out, captured.err

    return run_command


def test_serve_passes_the_settings_on_and_ends_with_the_code_of_the_process(run, served, tmp_path) -> None:
    file = tmp_path / "flowmq.toml"
    file.write_text('[amqp]\nheartbeat = 5\n[storage]\ndata_dir = "file"\n')
    flags = ["--data-dir", "flag", "--listen", "127.0.0.1:0", "--listen", "[::1]:0", "--log-level", "debug"]
    assert run("serve", "--config", str(file), *flags) == (7, "", "")
    [settings] = served
    assert settings.amqp.heartbeat == 5
    assert settings.amqp.listen == ["127.0.0.1:0", "[::1]:0"]
    assert (settings.storage.data_dir, settings.log.level) == ("flag", "debug")


def test_serve_without_flags_has_the_defaults(run, served) -> None:
    run("serve")
    assert served == [Settings()]


def test_the_environment_is_read_and_flags_win(run, served, monkeypatch) -> None:
    monkeypatch.setenv("FLOWMQ_LOG__LEVEL", "error")
    monkeypatch.setenv("FLOWMQ_STORAGE__DATA_DIR", "environment")
    run("serve", "--data-dir", "flag")
    assert (served[0].log.level, served[0].storage.data_dir) == ("error", "flag")


def test_config_show_prints_what_is_in_effect(run) -> None:
    code, output, errors = run("config", "show", "--listen", "localhost:1")
    shown = tomllib.loads(output)
    assert (code, errors) == (0, "")
    assert shown["amqp"]["listen"] == ["localhost:1"]
    assert "users" not in shown


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["serve", "--listen", "nowhere"], "'nowhere' is not HOST:PORT"),
        (["serve", "--config", "/no/such/file"], "/no/such/file: No such file or directory"),
        (["serve", "--log-level", "inf"], "'--log-level'"),
        (["serve", "--data-dir"], "'--data-dir' requires an argument"),
        (["serve", "--lisen", "a:1"], "--listen"),
        (["serve", "more"], "unexpected extra argument"),
        (["sevre"], "No such command 'sevre'"),
        (["config", "shw"], "No such command 'shw'"),
    ],
)
def test_a_mistake_is_one_line_and_code_2(run, served, arguments: list[str], complaint: str) -> None:
    code, output, errors = run(*arguments)
    assert (code, output, served) == (2, "", [])
    assert errors.startswith("flowmq: ")
    assert errors.count("\n") == 1
    assert complaint in errors


def test_version(run) -> None:
    assert run("--version") == (0, f"flowmq {__version__}\n", "")


def test_the_version_is_the_packages() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["version"] == __version__


@pytest.mark.parametrize("arguments", [[], ["config"], ["--help"], ["serve", "--help"]])
def test_help(run, arguments: list[str]) -> None:
    code, output, errors = run(*arguments)
    assert (code, errors) == (0, "")
    assert output.startswith("Usage: flowmq")


def test_an_interrupt_while_starting_is_no_traceback(run, monkeypatch) -> None:
    def interrupted(settings: Settings, read_again: Callable[[], Settings]) -> int:
        raise KeyboardInterrupt

    process: Any = types.ModuleType("flowmq.server.process")
    process.serve = interrupted
    monkeypatch.setitem(sys.modules, "flowmq.server.process", process)
    code, _, errors = run("serve")
    assert (code, errors.strip()) == (130, "")


def test_python_m_flowmq_is_the_command() -> None:
    arguments = [sys.executable, "-m", "flowmq", "serve", "--listen", "nowhere"]
    ended = subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True, timeout=30, check=False)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr == "flowmq: command line: amqp.listen: 'nowhere' is not HOST:PORT (or [IPV6]:PORT)\n"
