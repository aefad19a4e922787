"""flowmq ctl: the verbs of rabbitmqctl, against a running broker."""

import contextlib
import csv
import io
import json
import sys
from pathlib import Path

import pytest

from flowmq.server.command import main
from tests.support.broker import Broker
from tests.support.http import Api
from tests.support.wire import Channel

pytestmark = pytest.mark.flowmq_only


class Ctl:
    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir

    def run(self, *arguments: str, input: str = "") -> tuple[int, str, str]:
        output, errors = io.StringIO(), io.StringIO()
        with (
            contextlib.redirect_stdout(output),
            contextlib.redirect_stderr(errors),
            pytest.MonkeyPatch.context() as patched,
        ):
            patched.setattr(sys, "stdin", io.StringIO(input))
            with pytest.raises(SystemExit) as ended:
                main(["ctl", "--data-dir", str(self.data_dir), *arguments])
        return ended.value.code, output.getvalue(), errors.getvalue()

    def __call__(self, *arguments: str, input: str = "") -> str:
        code, output, errors = self.run(*arguments, input=input)
        assert code == 0, errors
        return output

    def refused(self, *arguments: str) -> str:
        code, output, errors = self.run(*arguments)
        assert code != 0, output
        return errors


@pytest.fixture
def ctl(managed: Broker) -> Ctl:
    return Ctl(managed.data_dir)


def test_queues_in_every_format(ctl: Ctl, amqp: Channel, name: str) -> None:
    amqp.queue(name, exclusive=True)
    amqp.put(name, b"x")
    assert f"{name}\t1\n" in ctl("-q", "list_queues")
    lines = ctl("list_queues", "name", "messages", "consumers").splitlines()
    assert lines[0].split() == ["name", "messages", "consumers"]
    assert [name, "1", "0"] in [line.split() for line in lines]
    assert {"name": name, "durable": False} in json.loads(ctl("--format", "json", "list_queues", "name", "durable"))
    rows = list(csv.DictReader(io.StringIO(ctl("--format", "csv", "list_queues"))))
    assert {"name": name, "messages": "1"} in rows
    assert "there is no column nonsense" in ctl.refused("list_queues", "nonsense")
    assert ctl("purge_queue", name) == "messages: 1\n"


def test_users_and_permissions(ctl: Ctl, api: Api, name: str) -> None:
    ctl("add_user", name, input="secret\n")
    assert ctl("authenticate_user", name, "secret") == "Success\n"
    assert "does not log in" in ctl.refused("authenticate_user", name, "wrong")
    ctl("set_user_tags", name, "monitoring", "management")
    ctl("add_vhost", name)
    ctl("set_permissions", "-p", name, name, ".*", "", "^a")
    assert f"{name}\t.*\t\t^a\n" in ctl("-q", "-p", name, "list_permissions")
    assert api.as_user(name, "secret").get("whoami")["tags"] == ["monitoring", "management"]
    ctl("clear_permissions", "-p", name, name)
    assert name not in ctl("-p", name, "list_permissions")
    ctl("delete_user", name)
    ctl("delete_vhost", name)
    assert "there is no user" in ctl.refused("delete_user", name)


def test_policies(ctl: Ctl, api: Api, name: str) -> None:
    ctl("set_policy", "--priority", "2", "--apply-to", "queues", name, f"^{name}", '{"max-length": 7}')
    assert api.get("policies", "/", name)["priority"] == 2
    assert name in ctl("list_policies")
    ctl("clear_policy", name)
    assert "not JSON" in ctl.refused("set_policy", name, "x", "{")


def test_the_broker_as_a_whole(ctl: Ctl, managed: Broker) -> None:
    assert f"pid: {managed.pid}\n" in ctl("status")
    for verb in ("ping", "await_startup", "check_running", "check_local_alarms", "check_port_connectivity"):
        ctl(verb)
    assert "http/prometheus" in ctl("listeners")
    assert "[management]" in ctl("environment")


def test_connections_are_listed_and_closed(ctl: Ctl, amqp: Channel, name: str) -> None:
    amqp.queue(name, exclusive=True)
    amqp.consume(name)
    rows = json.loads(ctl("--format", "json", "list_consumers", "queue", "channel_details"))
    [connection] = [row["channel_details"]["connection_name"] for row in rows if row["queue"]["name"] == name]
    ctl("close_connection", connection, "go away")
    amqp.client.expect_close(320, "CONNECTION_FORCED - go away")


def test_without_a_broker_it_says_so(tmp_path: Path) -> None:
    assert "no broker is running there" in Ctl(tmp_path).refused("status")
    assert "no broker is running there" in Ctl(tmp_path).refused("await_startup", "--timeout", "0.1")
