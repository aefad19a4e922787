"""The commands of RabbitMQ's names that the container image has."""

import os
import subprocess
from pathlib import Path

import pytest

SHIMS = Path(__file__).parents[2] / "packaging" / "shims"


def run(tmp_path: Path, *line: str) -> subprocess.CompletedProcess[str]:
    """With a flowmq that tells its arguments and ends with 7."""
    fake = tmp_path / "flowmq"
    fake.write_text('#!/bin/sh\nprintf "[%s]" "$@"\nexit 7\n')
    fake.chmod(0o755)
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    command = [str(SHIMS / line[0]), *line[1:]]
    return subprocess.run(
        command, env={**os.environ, "PATH": path}, capture_output=True, text=True, timeout=30, check=False
    )


@pytest.mark.parametrize("name", ["rabbitmqctl", "rabbitmq-diagnostics"])
def test_what_is_asked_goes_to_flowmq_ctl_as_it_is(tmp_path: Path, name: str) -> None:
    ended = run(tmp_path, name, "-q", "add_user", "a b", "")
    assert (ended.returncode, ended.stdout) == (7, "[ctl][-q][add_user][a b][]")


@pytest.mark.parametrize(
    ("line", "code", "text"),
    [
        ("enable rabbitmq_management --offline", 0, "rabbitmq_management is part of FlowMQ"),
        ("-q enable rabbitmq_management rabbitmq_mqtt", 65, "Error: rabbitmq_mqtt is not part of FlowMQ"),
        ("is_enabled rabbitmq_prometheus", 0, "rabbitmq_prometheus is part of FlowMQ"),
        ("list", 0, "[E*] rabbitmq_consistent_hash_exchange"),
        ("disable rabbitmq_management", 64, "there are no plugins"),
        ("", 64, "usage: rabbitmq-plugins"),
    ],
)
def test_plugins_are_part_of_it_or_not(tmp_path: Path, line: str, code: int, text: str) -> None:
    ended = run(tmp_path, "rabbitmq-plugins", *line.split())
    assert ended.returncode == code
    assert text in ended.stdout + ended.stderr
