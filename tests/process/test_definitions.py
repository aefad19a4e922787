"""Definitions in and out of a running broker: over the control socket, at a start, and exchanged with RabbitMQ."""

import json
import os
import select
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flowmq.server.control import frames, place
from flowmq.server.control.client import ControlConnection
from flowmq.server.control.definitions import export_definitions, import_definitions, pieces
from flowmq.server.control.registry import ControlError
from tests.crash.rabbitmq import RabbitMQ
from tests.support.broker import Broker, command
from tests.support.definitions import rabbitmq_definitions
from tests.support.wire import connect

pytestmark = pytest.mark.flowmq_only

RABBITMQCTL = "/usr/lib/rabbitmq/bin/rabbitmqctl"
MANY = {
    "queues": [
        {"name": f"q{number}", "vhost": "/", "durable": True, "auto_delete": False, "arguments": {}}
        for number in range(3000)
    ],
    "bindings": [
        {"source": "amq.topic", "vhost": "/", "destination": f"q{number}", "destination_type": "queue"}
        | {"routing_key": f"key.{number}", "arguments": {}}
        for number in range(3000)
    ],
}


def control(broker: Broker) -> ControlConnection:
    return ControlConnection(broker.data_dir / place.NAME)


def durable(definitions: dict[str, Any]) -> dict[str, Any]:
    """Without what a restart forgets: those of that file that are not durable."""
    forgotten = ("transient", "xt")
    kept = {
        section: [one for one in entries if not {one.get("name"), one.get("destination")} & {*forgotten}]
        for section, entries in definitions.items()
        if isinstance(entries, list)
    }
    return {**definitions, **kept}


def without_order(definitions: dict[str, Any]) -> dict[str, Any]:
    return {
        section: sorted(entries, key=json.dumps) if isinstance(entries, list) else entries
        for section, entries in definitions.items()
    }


def test_what_was_imported_is_there_again_after_a_kill(own_broker: Callable[..., Broker]) -> None:
    broker = own_broker()
    with control(broker) as connection:
        rows, summary = import_definitions(connection, rabbitmq_definitions() | MANY)
        assert (summary["error"], summary["applied"]) == (0, True), rows
        told = export_definitions(connection)
    broker.kill()
    again = broker.again()
    try:
        with control(again) as connection:
            assert without_order(export_definitions(connection)) == without_order(durable(told))
        with connect(again.peer) as client:
            channel = client.channel()
            channel.publish("amq.topic", "key.7", b"one")
            assert channel.get("q7").body == b"one"
        again.stop()
    finally:
        again.kill()


@pytest.mark.parametrize("kill_after_seconds", [0.0, 0.04, 0.08, 0.12])
def test_an_import_that_is_killed_is_finished_at_the_next_start_or_was_none(
    own_broker: Callable[..., Broker], kill_after_seconds: float
) -> None:
    broker = own_broker()
    with control(broker) as connection:
        upload = connection.call("definitions.begin")
        for section, entries in pieces(MANY):
            connection.call("definitions.add", upload=upload, section=section, entries=entries)
        connection.socket.sendall(frames.encode([0, "definitions.import", {"upload": upload}]))
        select.select([connection.socket], [], [], kill_after_seconds)
        broker.kill()
    again = broker.again()
    try:
        with control(again) as connection:
            told = export_definitions(connection)
        assert (len(told["queues"]), len(told["bindings"])) in ((0, 0), (3000, 3000))
        again.stop()
    finally:
        again.kill()


def test_few_definitions_are_one_argument_and_what_is_wrong_is_told(own_broker: Callable[..., Broker]) -> None:
    broker = own_broker()
    with control(broker) as connection:
        wrong = {"queues": [*MANY["queues"][:2], {"name": "bad", "vhost": "no"}]}
        rows, summary = connection.listing("definitions.import", definitions=wrong)
        assert [row["details"] for row in rows if row["action"] == "error"] == ["there is no vhost 'no'"]
        assert (summary["add"], summary["applied"]) == (2, False)
        rows, summary = connection.listing("definitions.import", definitions=wrong, best_effort=True)
        assert (summary["add"], summary["applied"]) == (2, True)
        rows, summary = connection.listing("definitions.import", definitions={"queues": []}, delete_missing=True)
        assert summary["delete"] == 2
        assert export_definitions(connection)["queues"] == []
    broker.stop()


@pytest.mark.parametrize(
    ("name", "arguments", "reason"),
    [
        ("definitions.import", {}, "either an upload or definitions are needed"),
        ("definitions.import", {"upload": "x"}, "there is no such import"),
        ("definitions.import", {"definitions": {"stones": []}}, "there is no section 'stones' in definitions"),
        ("definitions.import", {"definitions": {}, "vhost": "no"}, "there is no vhost 'no'"),
        ("definitions.add", {"upload": "x", "section": "queues", "entries": []}, "there is no such import"),
        ("definitions.begin", {"vhost": "no"}, "there is no vhost 'no'"),
        ("definitions.export", {"vhost": "no"}, "there is no vhost 'no'"),
    ],
)
def test_what_cannot_be_asked_is_refused(broker: Broker, name: str, arguments: dict[str, Any], reason: str) -> None:
    with control(broker) as connection, pytest.raises(ControlError, match=reason):
        connection.call(name, **arguments)


def test_a_start_imports_the_file_of_the_setting(own_broker: Callable[..., Broker], tmp_path: Path) -> None:
    file = tmp_path / "definitions.json"
    file.write_text(json.dumps(rabbitmq_definitions()))
    broker = own_broker(FLOWMQ_DEFINITIONS__FILE=str(file))
    broker.log.wait_for(r"definitions of .*: \d+ added, \d+ the same")
    with connect(broker.peer) as client:
        assert client.channel().get("q1") is None
    broker.stop()
    again = broker.again()
    try:
        # What is not durable has been forgotten: a queue, an exchange, a binding.
        again.log.wait_for(r"definitions of .*: 3 added, \d+ the same$")
        again.stop()
    finally:
        again.kill()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "Expecting property name"),
        ("[]", "definitions are one JSON object"),
        ('{"queues": [{"name": "q", "vhost": "no"}]}', "1 of the definitions cannot be: nothing is imported"),
        (None, "No such file or directory"),
    ],
)
def test_a_start_is_refused_when_the_file_cannot_be_used(tmp_path: Path, text: str | None, reason: str) -> None:
    file = tmp_path / "definitions.json"
    if text is not None:
        file.write_text(text)
    ended = subprocess.run(
        command("serve", "--listen", "127.0.0.1:0", "--data-dir", str(tmp_path / "data")),
        env={**os.environ, "FLOWMQ_DEFINITIONS__FILE": str(file)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 1
    assert reason in ended.stderr.splitlines()[-1]
    assert "Traceback" not in ended.stderr


@pytest.mark.skipif(
    "FLOWMQ_TEST_RABBITMQ" not in os.environ or not shutil.which(RABBITMQCTL),
    reason="FLOWMQ_TEST_RABBITMQ=1 starts a RabbitMQ to exchange definitions with",
)
@pytest.mark.timeout(300)
def test_definitions_go_to_rabbitmq_and_come_back(own_broker: Callable[..., Broker], tmp_path: Path) -> None:
    broker = own_broker()
    node = RabbitMQ(tmp_path / "rabbitmq")
    file = tmp_path / "definitions.json"

    def rabbitmqctl(*arguments: str) -> None:
        subprocess.run(
            [RABBITMQCTL, "-n", node.name, *arguments],
            env={**os.environ, "HOME": str(tmp_path / "rabbitmq")},
            check=True,
            capture_output=True,
            timeout=120,
        )

    try:
        with control(broker) as connection:
            import_definitions(connection, rabbitmq_definitions())
            connection.call("user.add", name="slow", password="secret", tags=["monitoring"])
            ours = export_definitions(connection, for_rabbitmq=True)
            file.write_text(json.dumps(ours))
            rabbitmqctl("import_definitions", str(file))
            rabbitmqctl("authenticate_user", "guest", "guest")
            file.unlink()
            rabbitmqctl("export_definitions", str(file))
            theirs = json.loads(file.read_text("utf-8"))
            rows, summary = import_definitions(connection, theirs, dry_run=True)
            # A user without a password comes back without the hash that RabbitMQ would not have known.
            assert [row["what"] for row in rows if row["action"] != "same"] == ["user 'slow'"], rows
            assert summary["same"] >= 20
        broker.stop()
    finally:
        node.kill()
