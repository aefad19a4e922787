"""RabbitMQ's own command line tool, unchanged, from Debian's package; and ours of its name, for the container image."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.http import Api

pytestmark = pytest.mark.flowmq_only

PLACES = "/usr/lib/rabbitmq/lib/rabbitmq_server-*/plugins/rabbitmq_management-*/priv/www/cli/rabbitmqadmin"


OURS = Path(__file__).parents[2] / "packaging" / "shims" / "rabbitmqadmin"


@pytest.fixture(scope="module", params=["RabbitMQ's", "ours"])
def script(request: pytest.FixtureRequest) -> Path:
    if request.param == "ours":
        return OURS
    found = sorted(Path("/").glob(PLACES[1:]))
    if not found:
        pytest.skip("rabbitmq-server is not installed")
    return found[-1]


def test_every_verb_that_people_use(script: Path, api: Api, name: str, tmp_path: Path) -> None:
    def run(*arguments: str) -> str:
        ended = subprocess.run(
            [sys.executable, script, "-P", str(api.port), *arguments],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert ended.returncode == 0, (arguments, ended.stdout, ended.stderr)
        return ended.stdout

    run("declare", "vhost", f"name={name}")
    run("declare", "user", f"name={name}", "password=x", "tags=management")
    run("declare", "permission", f"vhost={name}", f"user={name}", "configure=.*", "write=.*", "read=.*")
    run("declare", "queue", f"name={name}", "durable=true", 'arguments={"x-max-length": 10}')
    run("declare", "exchange", f"name={name}", "type=topic")
    run("declare", "binding", f"source={name}", f"destination={name}", "routing_key=a.#")
    run("declare", "policy", f"name={name}", f"pattern=^{name}", 'definition={"message-ttl":60000}')
    value = {"src-uri": "amqp://127.0.0.1:1", "src-queue": "a", "dest-uri": "amqp://127.0.0.1:1", "dest-queue": "b"}
    run("declare", "parameter", "component=shovel", f"name={name}", f"value={json.dumps(value)}")
    assert name in run("list", "parameters")
    run("delete", "parameter", "component=shovel", f"name={name}")
    run("publish", f"exchange={name}", "routing_key=a.b", "payload=hello")
    assert "hello" in run("get", f"queue={name}", "ackmode=ack_requeue_false")
    shown = json.loads(run("--format=raw_json", "list", "queues", "name", "policy", "arguments"))
    assert {"name": name, "policy": name, "arguments": {"x-max-length": 10}} in shown
    for kind in ("vhosts", "users", "permissions", "exchanges", "bindings", "policies", "nodes", "connections"):
        run("list", kind)
    run("list", "channels")
    run("list", "consumers")
    assert "rabbitmq_version" in run("show", "overview")
    file = tmp_path / "definitions.json"
    run("export", str(file))
    run("import", str(file))
    run("purge", "queue", f"name={name}")
    run("delete", "binding", f"source={name}", "destination_type=queue", f"destination={name}", "properties_key=a.%23")
    for kind in ("policy", "queue", "exchange", "user", "vhost"):
        run("delete", kind, f"name={name}")


# As testcontainers calls it inside the container.
LINES = """
declare vhost name={0}
declare permission vhost={0} user=guest configure=.* write=.* read=.*
declare user name={0} password=secret tags=administrator
--vhost={0} declare exchange name=in type=topic auto_delete=false internal=false durable=true arguments={{}}
--vhost={0} declare queue name=jobs auto_delete=false durable=true arguments={{"x-max-length":10}}
--vhost={0} declare queue name=safe queue_type=quorum
--vhost={0} declare binding source=in destination=jobs destination_type=queue routing_key=a arguments={{}}
--vhost={0} declare binding source=in destination=amq.fanout destination_type=exchange
--vhost={0} declare policy name=p pattern=.* priority=1 definition={{"max-length":5}}
--vhost={0} declare operator_policy name=o pattern=.* definition={{"max-length":3}}
declare vhost_limit vhost={0} name=max-queues value=20
"""
WRONG = [
    ("declare queue", "name must be given"),
    ("declare thing name=x", "'thing' is none of exchange, queue"),
    ("declare queue name=x colour=red", "not known: colour"),
    ("declare exchange name=x type=unknown", "400"),
    ("--vhost=nowhere declare queue name=x", "404"),
    ("declare queue name=x arguments={", "is no JSON"),
    ("-u guest -p wrong list queues", "401"),
    ("list things", "'things' is none of"),
    ("dance", "dance: not known"),
]


def ask_ours(api: Api, line: str, **variables: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(OURS), "-P", str(api.port), *line.split()]
    environ = {**os.environ, **variables}
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=environ)


def test_what_testcontainers_asks_of_ours(api: Api, name: str) -> None:
    for line in LINES.strip().format(name).splitlines():
        ended = ask_ours(api, line)
        assert (ended.returncode, ended.stderr) == (0, ""), line
    queues = {queue["name"]: queue for queue in api.get("queues", name)}
    assert (queues["jobs"]["arguments"], queues["jobs"]["durable"]) == ({"x-max-length": 10}, True)
    assert queues["safe"]["arguments"] == {"x-queue-type": "quorum"}
    bindings = {(one["source"], one["destination_type"], one["routing_key"]) for one in api.get("bindings", name)}
    assert {("in", "queue", "a"), ("in", "exchange", "")} <= bindings
    assert (queues["jobs"]["policy"], queues["jobs"]["operator_policy"]) == ("p", "o")
    assert api.get("vhost-limits", name) == [{"vhost": name, "value": {"max-queues": 20}}]
    assert api.as_user(name, "secret").get("whoami")["tags"] == ["administrator"]
    for line in (f"delete vhost name={name}", f"delete user name={name}"):
        assert ask_ours(api, line).returncode == 0


@pytest.mark.parametrize(("line", "text"), WRONG)
def test_ours_says_what_is_wrong(api: Api, line: str, text: str) -> None:
    ended = ask_ours(api, line)
    assert ended.returncode == 1
    assert text in ended.stderr


def test_ours_logs_in_as_the_user_whom_the_container_was_given(api: Api, name: str, tmp_path: Path) -> None:
    """testcontainers' withAdminUser: there is no guest then, and its commands name nobody."""
    api.put("users", name, body={"password": "a b", "tags": "administrator"})
    given = {"RABBITMQ_DEFAULT_USER": name, "RABBITMQ_DEFAULT_PASS": "a b"}
    assert ask_ours(api, f"declare vhost name={name}", **given).returncode == 0
    assert [one["user"] for one in api.get("permissions") if one["vhost"] == name] == [name]
    assert "401" in ask_ours(api, "list queues", **{**given, "RABBITMQ_DEFAULT_PASS": "wrong"}).stderr
    assert ask_ours(api, "-u guest -p guest list queues", **given).returncode == 0
    assert ask_ours(api, "list queues", RABBITMQ_DEFAULT_USER="", RABBITMQ_DEFAULT_PASS="").returncode == 0
    secrets = {f"{variable}_FILE": str(tmp_path / variable) for variable in given}
    assert f"RABBITMQ_DEFAULT_USER_FILE: {tmp_path}" in ask_ours(api, "list queues", **secrets).stderr
    assert ask_ours(api, "-u guest -p guest list queues", **secrets).returncode == 0
    for variable, value in given.items():
        (tmp_path / variable).write_text(f"{value}\n")
    assert ask_ours(api, f"-V {name} declare queue name={name}", **secrets).returncode == 0
    assert ask_ours(api, "list queues", **secrets, RABBITMQ_DEFAULT_USER="nobody").returncode == 0
    api.delete("vhosts", name)
    api.delete("users", name)
