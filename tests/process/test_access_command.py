"""flowmq user, vhost and permission: the same on a running broker and on a directory that nobody uses."""

import io
import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from flowmq.server.command import main
from tests.support.broker import Broker
from tests.support.wire import Client, connect

pytestmark = pytest.mark.flowmq_only


class Command:
    """The command line on one data directory, in this process."""

    def __init__(self, data_dir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.data_dir, self.monkeypatch, self.capsys = data_dir, monkeypatch, capsys

    def __call__(self, *arguments: str, given: str = "", code: int = 0) -> str:
        """What it wrote: to standard output, or about what was wrong."""
        self.monkeypatch.setattr("sys.stdin", io.StringIO(given))
        with pytest.raises(SystemExit) as ended:
            main([*arguments, "--data-dir", str(self.data_dir)])
        captured = self.capsys.readouterr()
        assert ended.value.code == code, captured.err
        return captured.err.splitlines()[-1] if code else captured.out

    def rows(self, *arguments: str) -> list[dict[str, Any]]:
        return list(json.loads(self(*arguments, "--format", "json")))


@pytest.fixture(autouse=True)
def no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in [name for name in os.environ if name.startswith("FLOWMQ_")]:
        monkeypatch.delenv(variable)


Make = Callable[[Path], Command]


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Make:
    return lambda data_dir: Command(data_dir, monkeypatch, capsys)


@pytest.fixture(params=["running", "stopped"])
def place(request: pytest.FixtureRequest, own_broker: Callable[..., Broker]) -> Broker:
    """A broker that runs, or one that has made its directory and stopped."""
    broker = own_broker()
    if request.param == "stopped":
        broker.stop()
    return broker


def running(broker: Broker) -> Broker:
    return broker.again() if broker.process.poll() is not None else broker


def test_a_user_that_was_made_can_do_what_was_permitted(place: Broker, command: Make) -> None:
    run = command(place.data_dir)
    run("vhost", "add", "orders", "--description", "what customers want")
    run("user", "add", "ann", "--tag", "monitoring", "--permit", "orders", "--password-stdin", given="sé cret\n")
    run("user", "add", "bob", "--password-hash", "qvIjzVe+QAe8+Th0nl69Ypa1XHOP2RtkjrRzT4ECNsH5Ngy4")
    run("permission", "set", "bob", "", "^amq.default$", "^q", "--vhost", "orders")
    run("permission", "set-topic", "bob", "amq.topic", "", "^a", "--vhost", "orders")
    assert [user["name"] for user in run.rows("user", "list")] == ["guest", "ann", "bob"]
    assert run.rows("permission", "list", "--user", "bob") == [
        {"user": "bob", "vhost": "orders", "configure": "", "write": "^amq.default$", "read": "^q"}
    ]
    assert run.rows("permission", "list-topics") == [
        {"user": "bob", "vhost": "orders", "exchange": "amq.topic", "write": "", "read": "^a"}
    ]
    broker = running(place)
    try:
        with connect(replace(broker.peer, user="ann", password="sé cret"), vhost="orders") as client:
            client.channel().queue("q")
            with connect(replace(broker.peer, user="bob", password="secret"), vhost="orders") as other:
                channel = other.channel()
                channel.put("q", b"x")
                assert channel.get("q").body == b"x"  # type: ignore[union-attr]
                channel.send("queue.declare", queue="q")
                channel.expect_close(403)
    finally:
        broker.kill()


def test_what_was_deleted_and_changed_is_so(place: Broker, command: Make) -> None:
    run = command(place.data_dir)
    run("user", "add", "ann", "--password-stdin", "--permit", "/", given="one")
    run("vhost", "add", "orders")
    run("permission", "set", "ann", "", "", "", "--vhost", "orders")
    run("user", "password", "ann", "--password-stdin", given="two\n")
    run("user", "tags", "ann", "a", "b")
    run("user", "delete", "guest")
    run("vhost", "delete", "orders")
    run("permission", "clear", "ann")
    assert [(user["name"], user["tags"]) for user in run.rows("user", "list")] == [("ann", ["a", "b"])]
    assert [vhost["name"] for vhost in run.rows("vhost", "list")] == ["/"]
    assert run.rows("permission", "list") == []
    broker = running(place)
    try:
        with Client(replace(broker.peer, user="ann", password="two")) as client:
            client.start()
            client.start_ok()
            client.tune()
            client.send(0, "connection.open", virtual_host="/")
            client.expect_close(530, "NOT_ALLOWED - access to vhost '/' refused for user 'ann'")
    finally:
        broker.kill()


WRONG = [
    (("user", "add", "guest", "--password-stdin"), "flowmq: user 'guest' is there already"),
    (("user", "add", "ann"), "flowmq: no terminal to ask for the password at: use --password-stdin or --password-hash"),
    (
        ("user", "add", "ann", "--password-hash", "x"),
        "flowmq: the password hash is none of rabbit_password_hashing_sha256",
    ),
    (("user", "delete", "ann"), "flowmq: there is no user 'ann'"),
    (("vhost", "delete", "orders"), "flowmq: there is no vhost 'orders'"),
    (
        ("permission", "set", "guest", "(", "", ""),
        "flowmq: pattern '(': missing ): (",
    ),
    (("permission", "list", "--user", "ann"), "flowmq: there is no user 'ann'"),
]


def test_what_is_wrong_is_one_line(place: Broker, command: Make) -> None:
    run = command(place.data_dir)
    for arguments, line in WRONG:
        assert run(*arguments, given="x", code=2).startswith(line)
    assert [user["name"] for user in run.rows("user", "list")] == ["guest"]


def test_a_table_is_for_people(place: Broker, command: Make) -> None:
    assert command(place.data_dir)("user", "list").splitlines() == [
        "name   tags           hashing_algorithm               configured",
        "guest  administrator  rabbit_password_hashing_sha256  no",
    ]


def test_a_stopped_directory_keeps_its_messages(own_broker: Callable[..., Broker], command: Make) -> None:
    broker = own_broker()
    run = command(broker.data_dir)
    run("vhost", "add", "gone")
    run("permission", "set", "guest", ".*", ".*", ".*", "--vhost", "gone")
    for vhost in ("/", "gone"):
        with connect(broker.peer, vhost=vhost) as client:
            channel = client.channel()
            channel.queue("q", durable=True)
            channel.queue("p", durable=True, arguments={"x-max-priority": 3})
            channel.call(
                "exchange.declare",
                exchange="d",
                type="x-delayed-message",
                durable=True,
                arguments={"x-delayed-type": "fanout"},
            )
            for queue in ("q", "p"):
                channel.put(queue, *[b"%d" % number for number in range(100)], properties={"delivery_mode": 2})
            channel.drain("p")
    broker.stop()
    run("user", "add", "ann", "--password-stdin", given="x")
    run("vhost", "delete", "gone")
    run("vhost", "add", "gone")
    run("permission", "set", "guest", ".*", ".*", ".*", "--vhost", "gone")
    with pytest.raises(SystemExit) as ended:
        main(["inspect", "--verify", str(broker.data_dir)])
    assert ended.value.code == 0
    again = broker.again()
    try:
        with connect(again.peer) as client:
            channel = client.channel()
            assert channel.drain("q") == [b"%d" % number for number in range(100)]
            assert channel.count("p") == 0
        with connect(again.peer, vhost="gone") as client:
            channel = client.channel()
            channel.queue("q", durable=True)
            assert channel.count("q") == 0
            channel.send("queue.declare", queue="p", passive=True)
            channel.expect_close(404)
        again.stop()
    finally:
        again.kill()


def test_looking_at_a_stopped_directory_changes_nothing(own_broker: Callable[..., Broker], command: Make) -> None:
    broker = own_broker()
    broker.stop()
    before = {path.name: path.read_bytes() for path in (broker.data_dir / "journal").iterdir()}
    command(broker.data_dir)("user", "list")
    assert {path.name: path.read_bytes() for path in (broker.data_dir / "journal").iterdir()} == before


def test_a_directory_that_is_none(command: Make, tmp_path: Path) -> None:
    line = command(tmp_path / "none")("user", "list", code=2)
    assert (
        line == f"flowmq: {tmp_path}/none: no such directory ({tmp_path}/none/control.sock: no broker is running there)"
    )


def test_a_hash_is_printed_for_the_configuration_file(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    own_broker: Callable[..., Broker],
    tmp_path: Path,
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("secret\n"))
    with pytest.raises(SystemExit):
        main(["user", "hash", "--password-stdin"])
    value = capsys.readouterr().out.strip()
    file = tmp_path / "flowmq.toml"
    file.write_text(
        f"[[users]]\nname = 'ann'\npassword_hash = '{value}'\n"
        "[[users]]\nname = 'bob'\npassword = 'x'\npermissions = [{ read = '^q' }]\n"
    )
    broker = own_broker("--config", str(file))
    with connect(replace(broker.peer, user="ann", password="secret")) as client:
        client.channel().queue("q")
    with connect(replace(broker.peer, user="bob", password="x")) as client:
        channel = client.channel()
        channel.send("queue.declare", queue="q")
        channel.expect_close(403, "ACCESS_REFUSED - configure access to queue 'q' in vhost '/' refused for user 'bob'")
    with Client(broker.peer) as client:  # the file has users: there is no guest
        client.start()
        client.start_ok()
        assert client.receive().reply_code == 403
    broker.stop()
