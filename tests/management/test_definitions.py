"""Definitions: out of one broker and into another, RabbitMQ's own files, errors by object, and dry runs."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.management.test_ctl import Ctl
from tests.support.broker import Broker
from tests.support.http import WITH_HTTP, Api, api_of

pytestmark = pytest.mark.flowmq_only

# As RabbitMQ 3.10 exports it.
FROM_RABBITMQ: dict[str, Any] = {
    "rabbit_version": "3.10.8",
    "rabbitmq_version": "3.10.8",
    "product_name": "RabbitMQ",
    "product_version": "3.10.8",
    "users": [
        {
            "name": "moved",
            "password_hash": "VUHqrxeNJjhCwHBSJqvbVcoVrGpnzMUkGKbSW6gLtqjLFWAI",
            "hashing_algorithm": "rabbit_password_hashing_sha256",
            "tags": ["management"],
            "limits": {},
        }
    ],
    "vhosts": [{"name": "/"}, {"name": "shop"}],
    "permissions": [{"user": "moved", "vhost": "shop", "configure": ".*", "write": ".*", "read": ".*"}],
    "topic_permissions": [{"user": "moved", "vhost": "shop", "exchange": "amq.topic", "write": "^a", "read": "^a"}],
    "parameters": [
        {
            "vhost": "shop",
            "component": "operator_policy",
            "name": "bounds",
            "value": {"apply-to": "queues", "definition": {"max-length": 9}, "pattern": ".*", "priority": 0},
        }
    ],
    "global_parameters": [{"name": "internal_cluster_id", "value": "rabbitmq-cluster-id-x"}],
    "policies": [
        {
            "vhost": "shop",
            "name": "ttl",
            "pattern": "^o",
            "apply-to": "queues",
            "definition": {"message-ttl": 1000},
            "priority": 1,
        }
    ],
    "queues": [
        {
            "name": "orders",
            "vhost": "shop",
            "durable": True,
            "auto_delete": False,
            "type": "classic",
            "arguments": {"x-queue-type": "classic", "x-max-priority": 5},
        }
    ],
    "exchanges": [
        {
            "name": "events",
            "vhost": "shop",
            "type": "headers",
            "durable": True,
            "auto_delete": False,
            "internal": False,
            "arguments": {},
        }
    ],
    "bindings": [
        {
            "source": "events",
            "vhost": "shop",
            "destination": "orders",
            "destination_type": "queue",
            "routing_key": "",
            "arguments": {"x-match": "all", "kind": "order"},
        }
    ],
}


def same_but_versions(definitions: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in definitions.items() if isinstance(value, list)}


def test_a_file_of_rabbitmq_is_taken_and_told_again(own_broker: Any) -> None:
    api: Api = api_of(own_broker(**WITH_HTTP))
    assert api.ask("POST", "definitions", body=FROM_RABBITMQ).status == 204
    assert api.get("queues", "shop", "orders")["effective_policy_definition"] == {"message-ttl": 1000, "max-length": 9}
    api.put("permissions", "shop", "guest", body={"configure": ".*", "write": ".*", "read": ".*"})
    told = api.get("definitions")
    for kind in ("permissions", "topic_permissions", "parameters", "policies", "queues", "exchanges", "bindings"):
        for expected in FROM_RABBITMQ[kind]:
            assert expected in told[kind]
    assert FROM_RABBITMQ["users"][0] in told["users"]
    answer = api.ask("POST", "definitions", query="dry_run=true", body=told)
    assert (answer.status, answer.json["changes"], answer.json["errors"]) == (200, [], [])
    in_vhost = api.get("definitions", "shop")
    assert all("vhost" not in found for found in in_vhost["queues"] + in_vhost["bindings"])
    api.put("vhosts", "copy")
    api.put("permissions", "copy", "guest", body={"configure": ".*", "write": ".*", "read": ".*"})
    assert api.ask("POST", "definitions", "copy", body=in_vhost).status == 204
    assert same_but_versions(api.get("definitions", "copy")) == same_but_versions(in_vhost)


def test_errors_are_told_by_object_and_nothing_is_changed_unless_the_others_are_wanted(api: Api, name: str) -> None:
    queue = {"vhost": "/", "durable": True, "auto_delete": False, "arguments": {}}
    definitions = {
        "queues": [{**queue, "name": name}, {**queue, "name": f"{name}-bad", "arguments": {"x-max-length": -1}}],
        "bindings": [{"vhost": "/", "source": "none", "destination": name, "destination_type": "queue"}],
        "parameters": [{"vhost": "/", "component": "mqtt", "name": "u", "value": {}}],
        "policies": [{"vhost": "/", "name": "p"}],
    }
    answer = api.ask("POST", "definitions", body=definitions)
    assert answer.status == 400
    sections = ["parameters", "policies", "queues", "bindings"]
    assert sorted(error["section"] for error in answer.json["errors"]) == sorted(sections)
    assert (answer.json["counts"]["add"], answer.json["counts"]["error"]) == (1, 4)
    assert "there is no exchange 'none'" in answer.json["reason"]
    assert api.ask("GET", "queues", "/", name).status == 404
    assert api.ask("POST", "definitions", query="best_effort=true", body=definitions).status == 400
    assert api.delete("queues", "/", name) == 204


@pytest.mark.parametrize("body", [{"queues": 1}, {"queues": [1]}])
def test_what_is_no_file_of_definitions_is_refused(api: Api, body: Any) -> None:
    assert api.ask("POST", "definitions", body=body).status == 400


def test_by_the_command_line_with_a_dry_run_first(managed: Broker, api: Api, tmp_path: Path, name: str) -> None:
    ctl, file = Ctl(managed.data_dir), tmp_path / "definitions.json"
    file.write_text(json.dumps({"queues": [{"name": name, "vhost": "/"}], "exchanges": []}))
    assert ctl("import_definitions", "--dry-run", str(file)).endswith(
        f"action\twhat\tdetails\nadd\tqueue '{name}' in vhost '/'\t\n"
    )
    assert api.ask("GET", "queues", "/", name).status == 404
    assert ctl("import_definitions", str(file)).endswith("\n1 added\n")
    ctl("export_definitions", str(file))
    assert name in [queue["name"] for queue in json.loads(file.read_text())["queues"]]
    assert ctl("import_definitions", str(file)).endswith(" the same\n")
    assert api.delete("queues", "/", name) == 204
