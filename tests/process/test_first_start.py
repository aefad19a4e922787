"""What the first start in a data directory makes: the user and the virtual host that the settings name."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.broker import ROOT, Broker, command, environment
from tests.support.wire import connect

pytestmark = pytest.mark.flowmq_only
OwnBroker = Callable[..., Broker]
ANN = {
    "FLOWMQ_FIRST_START__USER": "ann",
    "FLOWMQ_FIRST_START__PASSWORD": "secret, with a comma",
    "FLOWMQ_FIRST_START__TAGS": "monitoring,impersonator",
    "FLOWMQ_FIRST_START__VHOST": "orders",
}


def listed(broker: Broker, noun: str) -> list[dict[str, Any]]:
    line = command(noun, "list", "--data-dir", str(broker.data_dir), "--format", "json")
    done = subprocess.run(line, capture_output=True, check=True, timeout=60, cwd=ROOT, env=environment())
    return list(json.loads(done.stdout))


def names(broker: Broker, noun: str) -> list[str]:
    return [row["name"] for row in listed(broker, noun)]


def run(broker: Broker, *arguments: str) -> None:
    line = command(*arguments, "--data-dir", str(broker.data_dir))
    subprocess.run(line, check=True, timeout=60, cwd=ROOT, env=environment())


def enter(broker: Broker, user: str, password: str, vhost: str) -> None:
    with connect(broker.peer, user=user, password=password, vhost=vhost) as client:
        channel = client.channel()
        channel.put(channel.queue(durable=True), b"in")


def test_the_user_and_the_virtual_host_of_the_settings_are_made_in_place_of_the_usual_ones(
    own_broker: OwnBroker,
) -> None:
    broker = own_broker(**ANN)
    enter(broker, "ann", "secret, with a comma", "orders")
    [user] = listed(broker, "user")
    assert (user["name"], user["tags"]) == ("ann", ["monitoring", "impersonator"])
    assert names(broker, "vhost") == ["orders"]


def test_what_they_say_later_changes_nothing(own_broker: OwnBroker) -> None:
    broker = own_broker(**ANN)
    broker.stop()
    changed = {**ANN, "FLOWMQ_FIRST_START__PASSWORD": "another", "FLOWMQ_FIRST_START__VHOST": "others"}
    again = Broker(broker.data_dir, changed)
    try:
        enter(again, "ann", "secret, with a comma", "orders")
        assert names(again, "vhost") == ["orders"]
        run(again, "user", "delete", "ann")
        run(again, "vhost", "delete", "orders")
        again.stop()
    finally:
        again.kill()
    emptied = Broker(broker.data_dir, changed)
    try:
        assert names(emptied, "user") == names(emptied, "vhost") == []
        emptied.log.wait_for("user 'ann' of first_start is not made: this data directory is not new")
    finally:
        emptied.kill()


def test_a_user_that_is_asked_for_is_made_beside_those_of_the_configuration_file(
    own_broker: OwnBroker, tmp_path: Path
) -> None:
    file = tmp_path / "flowmq.toml"
    file.write_text('[[users]]\nname = "bob"\npassword = "b"\n\n[first_start]\nuser = "ann"\npassword = "a"\n')
    broker = own_broker("--config", str(file))
    enter(broker, "ann", "a", "/")
    enter(broker, "bob", "b", "/")
    assert sorted(names(broker, "user")) == ["ann", "bob"]


def test_a_user_of_imported_definitions_wins_over_one_of_that_name(own_broker: OwnBroker, tmp_path: Path) -> None:
    file = tmp_path / "definitions.json"
    user = {"name": "ann", "password_hash": "qvIjzVe+QAe8+Th0nl69Ypa1XHOP2RtkjrRzT4ECNsH5Ngy4", "tags": ["monitoring"]}
    everything = {"user": "ann", "vhost": "/", "configure": ".*", "write": ".*", "read": ".*"}
    file.write_text(json.dumps({"users": [user], "vhosts": [{"name": "/"}], "permissions": [everything]}))
    broker = own_broker(**{**ANN, "FLOWMQ_DEFINITIONS__FILE": str(file), "FLOWMQ_FIRST_START__VHOST": "/"})
    enter(broker, "ann", "secret", "/")


def test_the_password_may_stand_in_a_file(own_broker: OwnBroker, tmp_path: Path) -> None:
    """Docker and Kubernetes give secrets in files."""
    file = tmp_path / "secret"
    environ = {"FLOWMQ_FIRST_START__PASSWORD_FILE": str(file), "FLOWMQ_STORAGE__DATA_DIR": str(tmp_path / "data-0")}
    done = subprocess.run(
        command("serve", "--listen", "127.0.0.1:0"),
        env=environment(environ),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, "No such file" in done.stderr) == (1, True), done.stderr
    file.write_text("sé cret\n")
    broker = own_broker(**environ)
    enter(broker, "guest", "sé cret", "/")
    assert names(broker, "user") == ["guest"]


@pytest.mark.parametrize("key", ["PASSWORD", "PASSWORD_FILE"])
def test_a_password_is_not_shown(key: str) -> None:
    environ = environment({f"FLOWMQ_FIRST_START__{key}": "/run/secret"})
    done = subprocess.run(
        command("config", "show"), capture_output=True, check=True, text=True, env=environ, timeout=60
    )
    assert ('password = "********"' in done.stdout) == (key == "PASSWORD")
    assert ("/run/secret" in done.stdout) == (key == "PASSWORD_FILE")
