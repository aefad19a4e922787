"""flowmq ctl: the verbs of rabbitmqctl, against a running broker."""

import contextlib
import csv
import io
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from flowmq.server.command import main
from flowmq.server.control.views import (
    BINDING_VIEW,
    CHANNEL_VIEW,
    CONNECTION_VIEW,
    CONSUMER_VIEW,
    EXCHANGE_VIEW,
    QUEUE_VIEW,
)
from flowmq.server.ctl.broker import ELSEWHERE
from flowmq.server.ctl.listings import LISTINGS
from flowmq.server.ctl.verbs import VERBS
from tests.support.broker import Broker
from tests.support.http import Api
from tests.support.wire import Channel, Client

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

    def refused(self, *arguments: str, code: int = 69) -> str:
        ended, output, errors = self.run(*arguments)
        assert ended == code, (ended, output, errors)
        return errors

    def rows(self, *arguments: str) -> list[dict[str, Any]]:
        return list(json.loads(self("--formatter", "json", *arguments)))


@pytest.fixture
def ctl(managed: Broker) -> Ctl:
    return Ctl(managed.data_dir)


def test_queues_in_every_format(ctl: Ctl, amqp: Channel, name: str) -> None:
    amqp.queue(name, exclusive=True)
    amqp.put(name, b"x")
    assert ctl("list_queues", "name", "messages").splitlines()[:2] == [
        "Listing queues for vhost / ...",
        "name\tmessages",
    ]
    assert f"{name}\t1\t0\n" in ctl("list_queues", "name", "messages", "consumers")
    quiet, silent = ctl("-q", "list_queues"), ctl("list_queues", "-s")
    assert (quiet.splitlines()[0], f"{name}\t1\n" in quiet) == ("name\tmessages", True)
    assert (quiet.splitlines()[1:], silent) == (silent.splitlines(), ctl("-q", "list_queues", "--no-table-headers"))
    assert {"name": name, "durable": False} in ctl.rows("list_queues", "name", "durable")
    assert {"name": name, "durable": False} in ctl.rows("list_queues", "name,durable")
    text = ctl("list_queues", "--formatter", "csv")
    assert text.startswith('"name","messages"\n')
    assert {"name": name, "messages": "1"} in list(csv.DictReader(io.StringIO(text)))
    assert ctl("purge_queue", name).endswith("1 messages dropped\n")
    assert ctl("delete_queue", name).endswith("successfully deleted with 0 ready messages\n")


def test_users_and_permissions(ctl: Ctl, api: Api, name: str) -> None:
    ctl("add_user", name, input="secret\n")
    assert ctl("-q", "authenticate_user", name, "secret") == "Success\n"
    assert "invalid credentials" in ctl.refused("authenticate_user", name, "wrong", code=65)
    ctl("set_user_tags", name, "monitoring", "management")
    assert f"{name}\t[monitoring, management]\n" in ctl("list_users")
    ctl("add_vhost", name, "--description", "d", "--tags", "a,b")
    ctl("add_vhost", name)
    assert {"name": name, "tags": ["a", "b"]} in ctl.rows("list_vhosts", "name", "tags")
    ctl("update_vhost_metadata", name, "--description", "d", "--tags", "a,b", "--default-queue-type", "quorum")
    assert api.get("vhosts", name)["default_queue_type"] == "quorum"
    assert "only 'classic' and 'quorum'" in ctl.refused("update_vhost_metadata", name, "--default-queue-type", "stream")
    ctl("set_permissions", "-p", name, name, ".*", "", "^a")
    assert f"{name}\t.*\t\t^a\n" in ctl("-q", "-p", name, "list_permissions")
    ctl("set_topic_permissions", "-p", name, name, "amq.topic", "^w", "^r")
    assert f"{name}\tamq.topic\t^w\t^r\n" in ctl("list_user_topic_permissions", name)
    assert api.as_user(name, "secret").get("whoami")["tags"] == ["monitoring", "management"]
    ctl("change_password", name, "other")
    ctl("-q", "authenticate_user", name, "other")
    given = ctl("hash_password", "third").strip()
    ctl("change_password", "--pre-hashed-password", name, given)
    ctl("-q", "authenticate_user", name, "third")
    ctl("clear_permissions", "-p", name, name)
    ctl("clear_topic_permissions", "-p", name, name)
    assert name not in ctl("-q", "-p", name, "list_permissions") + ctl("-q", "-p", name, "list_topic_permissions")
    ctl("delete_user", name)
    ctl("delete_vhost", name)
    assert name not in ctl("-q", "list_vhosts") + ctl("-q", "list_users")


@pytest.mark.parametrize("kind", ["policy", "operator_policy"])
def test_policies(ctl: Ctl, api: Api, name: str, kind: str) -> None:
    listed = {"policy": "list_policies", "operator_policy": "list_operator_policies"}[kind]
    ctl(f"set_{kind}", "--priority", "2", "--apply-to", "queues", name, f"^{name}", '{"max-length": 7}')
    assert f'/\t{name}\t^{name}\tqueues\t{{"max-length":7}}\t2\n' in ctl(listed)
    assert [row["definition"] for row in ctl.rows(listed) if row["name"] == name] == [{"max-length": 7}]
    ctl(f"clear_{kind}", name)
    assert name not in ctl("-q", listed)


def test_limits(ctl: Ctl, name: str) -> None:
    ctl("add_vhost", name)
    ctl("set_vhost_limits", "-p", name, '{"max-queues": 3, "max-connections": -1}')
    assert f'{name}\t{{"max-queues":3,"max-connections":-1}}\n' in ctl("list_vhost_limits", "-p", name)
    ctl("clear_vhost_limits", "-p", name)
    assert name not in ctl("-q", "list_vhost_limits", "--global")
    ctl("delete_vhost", name)
    ctl("add_user", name, "x")
    ctl("set_user_limits", name, '{"max-channels": 3, "max-connections": 2}')
    ctl("clear_user_limits", name, "max-channels")
    assert ctl.rows("list_user_limits", "--user", name) == [{"user": name, "limits": {"max-connections": 2}}]
    ctl("clear_user_limits", name, "all")
    assert ctl.rows("list_user_limits", "--user", name) == []
    ctl("delete_user", name)


def test_bindings_and_exchanges(ctl: Ctl, amqp: Channel, name: str) -> None:
    amqp.queue(name, exclusive=True)
    arguments = {"x-match": "all", "n": 5}
    amqp.call("queue.bind", queue=name, exchange="amq.headers", routing_key="k", arguments=arguments)
    assert f'amq.headers\texchange\t{name}\tqueue\tk\t[{{"n",5}},{{"x-match","all"}}]\n' in ctl("list_bindings")
    assert {"name": "amq.topic", "type": "topic"} in ctl.rows("list_exchanges")


REFUSED = [
    # What rabbitmqctl 3.10 ends with.
    ("add_user guest x", 70, "there already"),
    ("delete_user nope", 67, "there is no user 'nope'"),
    ("change_password nope x", 67, "there is no user 'nope'"),
    ("set_permissions nope a b c", 67, "there is no user 'nope'"),
    ("set_permissions -p nope guest a b c", 69, "Virtual host 'nope' does not exist"),
    ("set_permissions guest [ b c", 69, "pattern '['"),
    ("list_queues nocol", 64, "Info key(s) nocol are not supported"),
    ("list_connections user nocol", 64, "Info key(s) nocol are not supported"),
    ("nocmd", 64, "No such command 'nocmd'"),
    ("add_user", 64, "Missing argument 'username'"),
    ("purge_queue nope", 69, "no queue 'nope' in vhost '/'"),
    ("delete_queue nope", 64, "no queue 'nope' in vhost '/'"),
    ("delete_vhost nope", 65, "there is no vhost 'nope'"),
    ("close_connection nope why", 69, "no connection 'nope'"),
    ("set_policy p [ {}", 69, "p"),
    ("set_policy p x {bad", 69, "JSON decoding error"),
    ("set_policy p x 5", 69, "must be a JSON object"),
    ("clear_policy nope", 69, "no policy 'nope'"),
    ("set_log_level foo", 69, "none of debug, info, warning, error"),
    ("check_port_listener 1", 69, "No listener for port 1"),
    ("check_protocol_listener mqtt", 69, "No listener for protocol mqtt"),
    # And what it cannot be asked.
    ("list_queues -p nope", 69, "Virtual host 'nope' does not exist"),
    ("-n rabbit@elsewhere ping", 68, "only the broker of this machine"),
    ("list_queues --formatter xml", 64, "'xml' is not one of"),
    ("import_definitions /no/such/file", 65, "No such file or directory"),
    ("export_definitions /no/such/file", 73, "No such file or directory"),
    ("--config /no/such/file ping", 78, "No such file or directory"),
    ('set_vhost_limits {"max-x":1}', 69, "unknown limit 'max-x'"),
    ('set_user_limits nope {"max-channels":1}', 67, "there is no user 'nope'"),
    ("trace_on", 64, "there is no tracing"),
]


@pytest.mark.parametrize(("line", "code", "reason"), REFUSED)
def test_what_cannot_be_done_ends_with_a_reason_and_the_code_of_rabbitmqctl(
    ctl: Ctl, line: str, code: int, reason: str
) -> None:
    errors = ctl.refused(*line.split(), code=code)
    assert errors.startswith("Error: ")
    assert reason in errors


def test_the_broker_as_a_whole(ctl: Ctl, managed: Broker) -> None:
    assert f"OS PID: {managed.pid}\n" in ctl("status")
    assert json.loads(ctl("status", "--formatter", "json"))["pid"] == managed.pid
    for verb in ("ping", "await_startup", "check_running", "check_local_alarms", "check_port_connectivity"):
        ctl(verb)
    ctl("check_port_listener", str(managed.port))
    ctl("check_protocol_listener", "amqp091")
    ctl("check_virtual_hosts")
    ctl("check_alarms", "-n", "rabbit@localhost", "-t", "30")
    assert "http/prometheus" in ctl("listeners")
    assert {row["part"] for row in ctl.rows("memory_breakdown")} == {"messages", "rest"}
    assert "[management]" in ctl("environment")
    ctl("set_log_level", "info")
    ctl("set_cluster_name", "orders")
    assert "Cluster name: orders" in ctl("status")
    with Client(managed.peer) as client:
        assert client.start().server_properties["cluster_name"] == "orders"
    ctl("clear_global_parameter", "cluster_name")
    assert "Cluster name: flowmq@" in ctl("status")


def test_connections_are_listed_and_closed(ctl: Ctl, amqp: Channel, name: str) -> None:
    amqp.queue(name, exclusive=True)
    amqp.consume(name)
    rows = ctl.rows("list_consumers", "queue_name", "channel_details")
    [connection] = [row["channel_details"]["connection_name"] for row in rows if row["queue_name"] == name]
    assert connection in [row["pid"] for row in ctl.rows("list_connections", "pid", "user")]
    assert f"{connection} (1)" in [row["pid"] for row in ctl.rows("list_channels")]
    ctl("close_connection", connection, "go away")
    amqp.client.expect_close(320, "CONNECTION_FORCED - go away")


def test_all_connections_to_a_virtual_host_are_closed(ctl: Ctl, amqp: Channel, name: str) -> None:
    ctl("add_vhost", name)
    assert ctl("-q", "close_all_connections", "-p", name, "go away") == "Closed 0 connections\n"
    assert json.loads(ctl("--formatter", "json", "close_all_connections", "--global", "go away"))["closed"] >= 1
    amqp.client.expect_close(320, "CONNECTION_FORCED - go away")
    ctl("delete_vhost", name)


def test_without_a_broker_it_says_so(tmp_path: Path) -> None:
    assert "no broker is running there" in Ctl(tmp_path).refused("status")
    assert "no broker after 0.1 s" in Ctl(tmp_path).refused("await_startup", "--timeout", "0.1", code=75)


def test_wait_for_the_broker_of_a_pid(ctl: Ctl, managed: Broker, tmp_path: Path) -> None:
    file = tmp_path / "pid"
    assert "no pid in the file within 0.1 s" in ctl.refused("wait", str(file), "-t", "0.1", code=75)
    file.write_text("nobody")
    assert "there is no pid in it" in ctl.refused("wait", str(file), code=65)
    file.write_text(f"{managed.pid}\n")
    assert f"The broker with pid {managed.pid} answers" in ctl("wait", str(file))
    assert json.loads(ctl("wait", "--pid", str(managed.pid), "--formatter", "json"))["pid"] == managed.pid
    assert "is not running" in ctl.refused("wait", "--pid", "4194304")
    assert "either a file" in ctl.refused("wait", code=64)
    # Another process that runs is not the broker.
    assert "no answer within 0.1 s" in ctl.refused("wait", "--pid", str(os.getpid()), "-t", "0.1", code=75)


def test_a_report_has_everything_and_no_password(ctl: Ctl, api: Api, name: str) -> None:
    ctl("add_vhost", name)
    ctl("add_user", name, "not-to-be-seen")
    ctl("set_permissions", "-p", name, "guest", ".*", ".*", ".*")
    assert api.put("queues", name, f"{name}-queue") == 201
    found = ctl("report")
    for line in ("Status of node", "[management]", f"{name}-queue", f"\n{name}\t", "Listing connections ..."):
        assert line in found, line
    assert "not-to-be-seen" not in found
    assert found.endswith("End of the report.\n")
    assert "one form only" in ctl.refused("report", "--formatter", "json", code=64)
    ctl("delete_user", name)
    ctl("delete_vhost", name)


def test_stop_ends_the_broker(own_broker: Any) -> None:
    broker = own_broker()
    Ctl(broker.data_dir)("stop")
    assert broker.wait() == 0


def test_columns_are_those_that_the_broker_tells() -> None:
    views = (QUEUE_VIEW, EXCHANGE_VIEW, BINDING_VIEW, CONNECTION_VIEW, CHANNEL_VIEW, CONSUMER_VIEW)
    for listing, view in zip(LISTINGS, views, strict=True):
        assert set(listing.columns.split()) <= set(view), listing.verb
        assert set(listing.default.split()) <= {*listing.columns.split(), *listing.other}, listing.verb


def test_every_verb_has_a_help_text() -> None:
    for name in VERBS:
        code, output, _ = Ctl(Path("nowhere")).run(name, "--help")
        assert (code, output.startswith(f"Usage: flowmq ctl {name}")) == (0, True)
        assert len(output.split("\n\n")[1].strip()) > 10, name
    assert set(ELSEWHERE) <= set(VERBS)
