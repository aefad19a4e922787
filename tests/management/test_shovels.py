"""Shovels through the HTTP API: how they are, who may see them, deleted and started anew, and their metrics."""

import pytest

from tests.management.test_metrics import scraped
from tests.support.broker import Broker
from tests.support.http import Api
from tests.support.shovels import until
from tests.support.wire import Channel

pytestmark = pytest.mark.flowmq_only

KEYS = {
    *("node", "timestamp", "name", "vhost", "type", "state", "src_uri", "src_protocol", "dest_protocol", "dest_uri"),
    *("src_queue", "dest_queue"),
}  # what RabbitMQ tells of a running one


def test_a_shovel_is_told_started_anew_and_deleted(api: Api, managed: Broker, amqp: Channel, name: str) -> None:
    amqp.queue(name, durable=True)
    amqp.put(name, b"1", b"2", b"3")
    value = {"src-uri": "amqp://", "src-queue": name, "dest-uri": "amqp:///%2F", "dest-queue": f"{name}-to"}
    assert api.put("parameters", "shovel", "/", name, body={"value": value}) == 201
    until(lambda: api.get("shovels", "vhost", "/", name)["forwarded"] == 3)
    shovel = api.get("shovels", "vhost", "/", name)
    assert set(shovel) >= KEYS
    assert (shovel["state"], shovel["type"], shovel["set_by"], shovel["remaining"]) == (
        *("running", "dynamic", "guest"),
        "unlimited",
    )
    assert (shovel["src_uri"], shovel["dest_uri"]) == ("amqp://", "amqp:///%2F")
    assert name in [one["name"] for one in api.get("shovels")]
    assert name in [one["name"] for one in api.get("shovels", "/")]
    metrics = scraped(managed)
    assert metrics["flowmq_shovels"][frozenset({("state", "running")})] >= 1
    moved = metrics["flowmq_shovel_messages_total"]
    assert moved[frozenset({("vhost", "/"), ("shovel", name)})] == 3
    assert api.delete("shovels", "vhost", "/", name, "restart") == 204
    until(lambda: api.get("shovels", "vhost", "/", name)["state"] == "running")
    amqp.put(name, b"4")
    until(lambda: amqp.count(f"{name}-to") == 4)
    assert api.delete("shovels", "vhost", "/", name) == 204
    assert api.delete("shovels", "vhost", "/", name) == 404
    assert api.delete("shovels", "vhost", "/", name, "restart") == 404
    assert api.ask("GET", "parameters", "shovel", "/", name).status == 404


@pytest.mark.parametrize(
    ("tags", "seen", "deleted"),
    [("management", 401, 401), ("monitoring", 200, 401), ("policymaker", 200, 204)],
)
def test_who_may(api: Api, name: str, tags: str, seen: int, deleted: int) -> None:
    value = {"src-uri": "amqp://127.0.0.1:1", "src-queue": "a", "dest-uri": "amqp://", "dest-queue": "b"}
    assert api.put("parameters", "shovel", "/", name, body={"value": value}) == 201
    assert api.put("users", name, body={"password": "secret", "tags": tags}) == 201
    assert api.put("permissions", "/", name, body={"configure": "", "write": "", "read": ""}) == 201
    user = api.as_user(name, "secret")
    assert user.ask("GET", "shovels").status == seen
    assert user.ask("GET", "shovels", "vhost", "/", name).status == seen
    assert user.delete("shovels", "vhost", "/", name, "restart") == deleted
    assert user.delete("shovels", "vhost", "/", name) == deleted
    api.delete("shovels", "vhost", "/", name)
    assert api.delete("users", name) == 204
