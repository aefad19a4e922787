"""The HTTP API: RabbitMQ's keys, status codes and texts, and what users may do by their tags."""

import base64
import json
import os
import signal
from typing import Any
from urllib.parse import unquote

import pytest

from tests.support.broker import Broker, children, until
from tests.support.http import WITH_HTTP, Api, api_of, fetch
from tests.support.wire import Channel, connect

pytestmark = pytest.mark.flowmq_only

# What tools read: KEDA, Flower, Telegraf, Datadog, rabbitmqadmin and others.
KEYS: dict[tuple[str, ...], set[str]] = {
    ("overview",): {
        *("management_version", "rates_mode", "exchange_types", "product_name", "product_version", "rabbitmq_version"),
        *("cluster_name", "erlang_version", "message_stats", "queue_totals", "object_totals", "churn_rates"),
        *("statistics_db_event_queue", "node", "listeners", "contexts"),
    },
    ("nodes",): {
        *("name", "type", "running", "uptime", "mem_used", "mem_limit", "mem_alarm", "disk_free", "disk_free_limit"),
        *("disk_free_alarm", "fd_used", "fd_total", "sockets_used", "sockets_total", "proc_used", "proc_total"),
        *("run_queue", "partitions", "rates_mode", "applications", "listeners"),
    },
    ("vhosts",): {
        *("name", "description", "tags", "tracing", "default_queue_type", "metadata", "messages", "cluster_state"),
    },
    ("users",): {"name", "password_hash", "hashing_algorithm", "tags", "limits"},
    ("permissions",): {"user", "vhost", "configure", "write", "read"},
    ("exchanges",): {"name", "vhost", "type", "durable", "auto_delete", "internal", "arguments", "message_stats"},
}
GET_ONE = {"count": 1, "encoding": "auto", "ackmode": "ack_requeue_true"}
QUEUE_KEYS = {
    *("name", "vhost", "durable", "auto_delete", "exclusive", "arguments", "type", "node", "state", "policy"),
    *("operator_policy", "effective_policy_definition", "messages", "messages_ready", "messages_unacknowledged"),
    *("messages_details", "messages_ready_details", "messages_unacknowledged_details", "message_bytes"),
    *("message_bytes_ready", "message_bytes_unacknowledged", "consumers", "consumer_capacity", "memory"),
    *("consumer_utilisation", "exclusive_consumer_tag", "single_active_consumer_tag", "message_stats"),
}


@pytest.mark.parametrize("path", KEYS)
def test_the_keys_that_tools_read_are_there(api: Api, path: tuple[str, ...]) -> None:
    found = api.get(*path)
    assert KEYS[path] <= set(found[0] if isinstance(found, list) else found)


def test_a_queue_from_its_declaration_to_its_end(api: Api, name: str) -> None:
    assert api.put("queues", "/", name, body={"durable": True, "arguments": {"x-max-length": 5}}) == 201
    assert api.put("queues", "/", name, body={"durable": True, "arguments": {"x-max-length": 5}}) == 204
    shown = api.get("queues", "/", name)
    assert QUEUE_KEYS | {"consumer_details", "incoming", "deliveries"} <= set(shown)
    assert (shown["arguments"], shown["durable"], shown["type"]) == ({"x-max-length": 5}, True, "classic")
    refused = api.ask("PUT", "queues", "/", name, body={"durable": False})
    assert refused.status == 400
    assert refused.json["error"] == "bad_request"
    assert "inequivalent arg 'durable' for queue" in refused.json["reason"]
    assert api.delete("queues", "/", name) == 204
    assert api.ask("GET", "queues", "/", name).json == {"error": "Object Not Found", "reason": "Not Found"}
    assert api.delete("queues", "/", name) == 404


def test_exchanges_and_bindings(api: Api, name: str) -> None:
    assert api.put("exchanges", "/", name, body={"type": "headers", "auto_delete": False}) == 201
    assert api.put("queues", "/", name) == 201
    between = ("bindings", "/", "e", name, "q", name)
    made = api.ask("POST", *between, body={"routing_key": "a b~", "arguments": {"k": 1}})
    assert made.status == 201
    [binding] = [one for one in api.get(*between) if one["source"] == name]
    # Tools take it apart: relative, the destination and what names the binding.
    destination, key = made.headers["location"].split("/")
    assert (destination, unquote(key)) == (name, binding["properties_key"])
    assert (binding["routing_key"], binding["arguments"]) == ("a b~", {"k": 1})
    assert api.get(*between, binding["properties_key"]) == binding
    assert binding in api.get("queues", "/", name, "bindings")
    assert binding in api.get("exchanges", "/", name, "bindings", "source")
    assert api.delete(*between, binding["properties_key"]) == 204
    assert api.delete(*between, binding["properties_key"]) == 404
    assert api.delete("exchanges", "/", name, query="if-unused=true") == 204
    assert api.delete("queues", "/", name) == 204


def test_bindings_of_what_is_not_there(api: Api, name: str) -> None:
    """Checks ask for those of queue after queue of a list, and one may have gone meanwhile."""
    [binding] = api.get("queues", "/", name, "bindings")
    assert (binding["source"], binding["destination"], binding["routing_key"]) == ("", name, name)
    for end in ("source", "destination"):
        assert api.get("exchanges", "/", name, "bindings", end) == []
        assert api.get("exchanges", name, "amq.topic", "bindings", end) == []
    assert api.get("queues", name, name, "bindings") == []
    assert api.get("bindings", "/", "e", "amq.topic", "q", name) == []
    assert name not in {one["destination"] for one in api.get("bindings")}


def test_a_message_there_and_back(api: Api, name: str) -> None:
    api.put("queues", "/", name)
    sent = {"properties": {"headers": {"n": 1}, "delivery_mode": 2}, "routing_key": name, "payload_encoding": "base64"}
    body = base64.b64encode(b"\xff\x00").decode()
    assert api.post("exchanges", "/", "amq.default", "publish", body={**sent, "payload": body}) == {"routed": True}
    nowhere = {**sent, "payload": body, "routing_key": "nowhere at all"}
    assert api.post("exchanges", "/", "amq.default", "publish", body=nowhere) == {"routed": False}
    wanted = {"count": 5, "encoding": "auto"}
    [got] = api.post("queues", "/", name, "get", body={**wanted, "ackmode": "ack_requeue_true"})
    assert (got["payload"], got["payload_encoding"], got["payload_bytes"]) == (body, "base64", 2)
    assert (got["properties"], got["redelivered"]) == ({"headers": {"n": 1}, "delivery_mode": 2}, False)
    [again] = api.post("queues", "/", name, "get", body={**wanted, "ackmode": "ack_requeue_false"})
    assert again["redelivered"]
    assert api.post("queues", "/", name, "get", body={**wanted, "ackmode": "ack_requeue_false"}) == []
    api.delete("queues", "/", name)


def test_large_bodies_pass(api: Api, name: str) -> None:
    api.put("queues", "/", name)
    sent = {"properties": {}, "routing_key": name, "payload_encoding": "string", "payload": "x" * 1_000_000}
    assert api.post("exchanges", "/", "amq.default", "publish", body=sent)["routed"]
    wanted = {"count": 1, "encoding": "auto", "ackmode": "ack_requeue_false"}
    [got] = api.post("queues", "/", name, "get", body=wanted)
    assert got["payload"] == sent["payload"]
    api.delete("queues", "/", name)


def test_pages_sorting_columns_and_names(api: Api, name: str) -> None:
    for number in range(12):
        api.put("queues", "/", f"{name}-{number:02}")
    for number in (3, 7):
        sent = {
            "properties": {},
            "routing_key": f"{name}-{number:02}",
            "payload_encoding": "string",
            "payload": "x" * number,
        }
        api.post("exchanges", "/", "amq.default", "publish", body=sent)
    page = api.get("queues", query=f"page=2&page_size=5&name={name}&sort=name&sort_reverse=true&columns=name")
    numbers = [int(item["name"].rpartition("-")[2]) for item in page.pop("items")]
    assert numbers == [6, 5, 4, 3, 2]
    assert page.pop("total_count") >= 12
    assert page == {"filtered_count": 12, "item_count": 5, "page": 2, "page_size": 5, "page_count": 3}
    largest = api.get("queues", query=f"page=1&page_size=2&name={name}&sort=message_bytes&sort_reverse=true")
    assert [item["message_bytes"] for item in largest["items"]] == [7, 3]
    matched = api.get("queues", "/", query=f"page=1&use_regex=true&pagination=false&name=^{name}-0.$&page_size=100")
    assert (matched["filtered_count"], matched["page_count"]) == (10, 1)
    nested = api.get("queues", query="columns=name,message_stats.publish_details.rate")
    assert all(set(item["message_stats"]["publish_details"]) == {"rate"} for item in nested)
    assert api.ask("GET", "queues", query="page=9&page_size=100").status == 400
    assert api.ask("GET", "queues", query="page=1&name=(&use_regex=true").status == 400
    for number in range(12):
        api.delete("queues", "/", f"{name}-{number:02}")


def test_rates_follow_what_happens(api: Api, amqp: Channel, name: str) -> None:
    amqp.queue(name)

    def rate() -> float:
        amqp.put(name, b"x")
        stats = api.get("queues", "/", name)["message_stats"]
        return float(stats["publish_details"]["rate"])

    until(lambda: rate() > 0)
    assert api.get("overview")["message_stats"]["publish"] > 0
    sampled = api.get("queues", "/", name, query="lengths_age=60&lengths_incr=1&msg_rates_age=60&msg_rates_incr=1")
    assert sampled["messages_details"]["samples"]
    until(lambda: api.get("queues", "/", name)["message_stats"]["publish_details"]["rate"] == 0)
    assert api.get("queues", "/", name)["idle_since"]
    api.delete("queues", "/", name)


def test_connections_are_seen_and_closed(api: Api, amqp: Channel, name: str) -> None:
    amqp.queue(name, exclusive=True)
    amqp.consume(name)
    row = next(one for one in api.get("consumers") if one["queue"]["name"] == name)
    connection = row["channel_details"]["connection_name"]
    shown = api.get("connections", connection)
    assert {"user", "vhost", "client_properties", "state", "channels", "recv_oct", "send_oct", "peer_port"} <= set(
        shown
    )
    assert [one["number"] for one in api.get("connections", connection, "channels")] == [1]
    assert api.get("channels", f"{connection} (1)")["consumer_details"]
    assert api.ask("DELETE", "connections", connection, headers={"X-Reason": "because"}).status == 204
    amqp.client.expect_close(320, "CONNECTION_FORCED - because")
    until(lambda: api.ask("GET", "connections", connection).status == 404)
    assert api.delete("connections", connection) == 404


def test_policies(api: Api, name: str) -> None:
    api.put("queues", "/", name)
    policy = {"pattern": f"^{name}$", "definition": {"max-length": 3}, "apply-to": "queues", "priority": 1}
    assert api.put("policies", "/", name, body=policy) == 201
    assert api.put("policies", "/", name, body=policy) == 204
    assert api.get("policies", "/", name) == {"vhost": "/", "name": name, **policy}
    assert api.put("operator-policies", "/", name, body={**policy, "definition": {"max-length": 2}}) == 201
    shown = api.get("queues", "/", name)
    assert (shown["policy"], shown["operator_policy"]) == (name, name)
    assert shown["effective_policy_definition"] == {"max-length": 2}
    assert api.ask("PUT", "policies", "/", name, body={**policy, "definition": {"no-such": 1}}).status == 400
    assert [api.delete(kind, "/", name) for kind in ("policies", "operator-policies", "queues")] == [204] * 3


def test_users_and_what_they_may(api: Api, name: str) -> None:
    assert api.put("users", name, body={"password": "secret", "tags": "management"}) == 201
    user = api.as_user(name, "secret")
    assert user.get("whoami") == {"name": name, "tags": ["management"], "is_internal_user": True}
    assert user.ask("GET", "queues", "/").status == 401
    assert user.get("queues") == []
    assert api.put("permissions", "/", name, body={"configure": "^mine", "write": "", "read": ".*"}) == 201
    assert user.put("queues", "/", f"mine-{name}") == 201
    refused = user.ask("PUT", "queues", "/", name)
    assert refused.status == 401
    assert refused.json["error"] == "not_authorised"
    assert user.get("channels") == user.get("connections") == []
    assert user.ask("GET", "nodes").json["reason"] == "Not monitor user"
    assert user.ask("GET", "users").json == {"error": "not_authorised", "reason": "Not administrator user"}
    assert user.ask("PUT", "policies", "/", "p", body={"pattern": ".", "definition": {"max-length": 1}}).status == 401
    assert api.put("users", name, body={"password_hash": "", "tags": []}) == 204
    assert user.ask("GET", "whoami").status == 401
    assert api.delete("queues", "/", f"mine-{name}") == 204
    assert api.delete("users", name) == 204
    assert api.ask("GET", "users", name).status == 404


def test_virtual_hosts(api: Api, name: str) -> None:
    assert api.put("vhosts", name, body={"description": "d", "tags": "a,b"}) == 201
    assert api.put("vhosts", name) == 204
    shown = api.get("vhosts", name)
    assert (shown["description"], shown["tags"], shown["messages"]) == ("d", ["a", "b"], 0)
    # Who makes it may use it.
    assert api.put("permissions", name, "guest", body={"configure": ".*", "write": ".*", "read": ".*"}) == 204
    assert api.put("queues", name, "q") == 201
    assert api.get("aliveness-test", name) == {"status": "ok"}
    assert api.delete("vhosts", name) == 204
    assert api.ask("GET", "vhosts", name).status == 404


def test_limits(api: Api, name: str) -> None:
    api.put("vhosts", name)
    api.put("users", name, body={"password": "x", "tags": ""})
    for kind, limit in (("vhost", "max-queues"), ("user", "max-channels")):
        assert api.put(f"{kind}-limits", name, limit, body={"value": 1}) == 204
        assert api.get(f"{kind}-limits", name) == [{kind: name, "value": {limit: 1}}]
        assert {kind: name, "value": {limit: 1}} in api.get(f"{kind}-limits")
        assert api.put(f"{kind}-limits", name, "no-such", body={"value": 1}) == 400
        assert api.put(f"{kind}-limits", "nobody", limit, body={"value": 1}) == (404 if kind == "vhost" else 400)
    api.put("permissions", name, "guest", body={"configure": ".*", "write": ".*", "read": ".*"})
    assert [api.put("queues", name, queue) for queue in ("a", "b")] == [201, 400]
    for kind, limit in (("vhost", "max-queues"), ("user", "max-channels")):
        assert [api.delete(f"{kind}-limits", name, limit) for _ in range(2)] == [204, 204]
        assert api.delete(f"{kind}s", name) == 204


@pytest.mark.parametrize(
    ("headers", "status"),
    [({}, 401), ({"Authorization": "Basic Zm9v"}, 401), ({"Authorization": "Bearer x"}, 401)],
)
def test_nobody_in_without_a_log_in(api: Api, headers: dict[str, str], status: int) -> None:
    answer = fetch(api.port, "GET", "/api/overview", headers=headers)
    assert (answer.status, answer.json) == (status, {"error": "not_authorized", "reason": "Login failed"})
    scheme = headers.get("Authorization", "Basic").partition(" ")[0]
    assert answer.headers["www-authenticate"].startswith(f"{scheme} realm=")


def test_too_many_wrong_log_ins_are_answered_without_a_look(own_broker: Any) -> None:
    api = api_of(own_broker(**WITH_HTTP))
    wrong = api.as_user("guest", "wrong")
    statuses = [wrong.ask("GET", "whoami").status for _ in range(12)]
    assert statuses == [401] * 10 + [429] * 2


@pytest.mark.parametrize(
    ("verb", "path", "body", "status"),
    [
        ("GET", ("no", "such"), None, 404),
        ("PATCH", ("queues",), None, 405),
        ("PUT", ("queues", "/", "x"), [1], 400),
        ("PUT", ("queues", "/", "x"), {"durable": 1}, 400),
        ("PUT", ("queues", "/", "x"), {"arguments": {"x-max-length": -1}}, 400),
        ("PUT", ("queues", "nowhere", "x"), {}, 404),
        ("PUT", ("exchanges", "/", "x"), {"type": "no such"}, 400),
        (
            "POST",
            ("queues", "/", "nothing", "get"),
            {"count": 1, "encoding": "auto", "ackmode": "ack_requeue_true"},
            404,
        ),
        ("POST", ("queues", "/", "nothing", "get"), {"count": 1}, 400),
        ("PUT", ("users", "u"), {}, 400),
    ],
)
def test_what_cannot_be_is_said(api: Api, verb: str, path: tuple[str, ...], body: Any, status: int) -> None:
    answer = api.ask(verb, *path, body=body)
    assert answer.status == status, answer.body
    assert set(answer.json) == {"error", "reason"}


@pytest.mark.parametrize(
    "check",
    [
        *("alarms", "local-alarms", "virtual-hosts", "is-in-service", "ready-to-serve-clients"),
        *("node-is-quorum-critical", "protocol-listener/amqp091", "certificate-expiration/1/weeks"),
    ],
)
def test_health_checks(api: Api, check: str) -> None:
    assert api.get("health", "checks", *check.split("/"))["status"] == "ok"


def test_a_health_check_that_fails_is_503(api: Api) -> None:
    answer = api.ask("GET", "health", "checks", "port-listener", "1")
    assert (answer.status, answer.json["status"]) == (503, "failed")


def test_under_an_alarm_publishing_is_refused_and_the_rest_goes_on(own_broker: Any, name: str) -> None:
    broker: Broker = own_broker(**WITH_HTTP, FLOWMQ_LIMITS__MEMORY_BYTES_MAX="100000")
    api = api_of(broker)
    api.put("queues", "/", name)
    sent = {"properties": {}, "routing_key": name, "payload_encoding": "string", "payload": "x" * 200_000}
    assert api.ask("POST", "exchanges", "/", "amq.default", "publish", body=sent).status == 200
    # What goes over the limit raises the alarm.
    until(lambda: api.ask("POST", "exchanges", "/", "amq.default", "publish", body=sent).status == 503)
    assert api.ask("GET", "health", "checks", "alarms").status == 503
    assert fetch(api.port, "GET", "/api/health/ready").json["reason"] == "memory alarm"
    assert api.ask("DELETE", "queues", "/", name, "contents").status == 204
    until(lambda: api.ask("GET", "health", "checks", "alarms").status == 200)
    broker.stop()


def test_probes_need_no_log_in(api: Api) -> None:
    for path in ("/api/health/live", "/api/health/ready", "/api/health/checks/reached-target-cluster-size"):
        assert fetch(api.port, "GET", path).json == {"status": "ok"}


def test_a_management_process_that_dies_is_replaced_and_messages_do_not_notice(own_broker: Any, name: str) -> None:
    broker: Broker = own_broker(**WITH_HTTP)
    api = api_of(broker)
    api.get("whoami")
    with connect(broker.peer) as client:
        channel = client.channel()
        channel.queue(name)
        [child] = children(broker.pid)
        os.kill(child, signal.SIGKILL)
        channel.put(name, b"x")
        assert api.get("queues", "/", name)["messages"] == 1
    broker.log.wait_for("the management process ended with code -9")
    broker.stop()


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("overview?columns=product_name", {"product_name": "FlowMQ"}),
        ("exchanges/%2F/amq.topic?columns=name,type", {"name": "amq.topic", "type": "topic"}),
        ("queues/%2F/{queue}?columns=name,message_stats.publish", {"name": "{queue}", "message_stats": {"publish": 1}}),
        ("queues/%2F/{queue}?columns=nothing.of.this.kind", {}),
        ("vhosts/%2F?columns=name", {"name": "/"}),
        ("whoami?columns=name", {"name": "guest"}),
        ("permissions/%2F/guest?columns=read,write", {"read": ".*", "write": ".*"}),
        ("nodes?columns=running", [{"running": True}]),
        ("health/checks/alarms?columns=status", {"status": "ok"}),
    ],
)
def test_columns_of_single_objects(api: Api, amqp: Channel, name: str, path: str, expected: Any) -> None:
    """As RabbitMQ does, which shows all of message_stats for a part of it."""
    amqp.queue(name, exclusive=True)
    amqp.put(name, b"x")
    answer = api.ask_encoded("GET", path.format(queue=name), None)
    assert answer.json == json.loads(json.dumps(expected).replace("{queue}", name))


def test_how_long_a_consumer_may_hold_a_message(api: Api, amqp: Channel, name: str) -> None:
    amqp.queue(name, exclusive=True, arguments={"x-consumer-timeout": 600_000})
    amqp.queue(f"{name} without", exclusive=True)
    amqp.consume(name)
    amqp.consume(name, arguments={"x-consumer-timeout": 300_000})
    amqp.consume(f"{name} without")
    shown = [one["consumer_timeout"] for one in api.get("consumers", "/") if one["queue"]["name"].startswith(name)]
    assert sorted(shown) == [0, 300_000, 600_000]
