"""RabbitMQ's own command line tool, unchanged, from Debian's package."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.http import Api

pytestmark = pytest.mark.flowmq_only

PLACES = "/usr/lib/rabbitmq/lib/rabbitmq_server-*/plugins/rabbitmq_management-*/priv/www/cli/rabbitmqadmin"


@pytest.fixture(scope="module")
def script() -> Path:
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
