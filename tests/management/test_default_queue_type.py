"""Queues of a virtual host are of its default type when their declarations name none, as in RabbitMQ."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.broker import Broker
from tests.support.channel import Channel
from tests.support.http import WITH_HTTP, Api, api_of
from tests.support.wire import connect

pytestmark = pytest.mark.flowmq_only
ALL = {"configure": ".*", "write": ".*", "read": ".*"}


@pytest.fixture
def vhost(api: Api, name: str) -> Iterator[str]:
    assert api.put("vhosts", name, body={"default_queue_type": "quorum", "description": "d", "tags": ["t"]}) == 201
    yield name
    api.delete("vhosts", name)


@pytest.fixture
def there(managed: Broker, vhost: str) -> Iterator[Channel]:
    with connect(managed.peer, vhost=vhost) as client:
        yield client.channel()


def kind(api: Api, vhost: str, queue: str) -> tuple[str, Any]:
    found = api.get("queues", vhost, queue)
    return found["type"], found["arguments"].get("x-queue-type")


def test_a_declaration_without_a_type(api: Api, vhost: str, there: Channel) -> None:
    there.queue("jobs", durable=True)
    assert kind(api, vhost, "jobs") == ("quorum", "quorum")
    there.queue("jobs", durable=True)
    there.queue("jobs", durable=True, arguments={"x-queue-type": "quorum"})
    there.send("queue.declare", queue="jobs", durable=True, arguments={"x-queue-type": "classic"})
    refused = f"inequivalent arg 'x-queue-type' for queue 'jobs' in vhost '{vhost}': received 'classic' but current"
    there.expect_close(406, f"PRECONDITION_FAILED - {refused} is 'quorum'")


def test_what_cannot_be_of_that_type_is_classic(api: Api, vhost: str, there: Channel) -> None:
    there.queue("passing", durable=False)
    there.queue("own", exclusive=True)
    there.queue("short", durable=True, auto_delete=True)
    there.queue("said", durable=True, arguments={"x-queue-type": "classic"})
    for queue in ("passing", "own", "short", "said"):
        assert kind(api, vhost, queue)[0] == "classic"


def test_over_http(api: Api, vhost: str) -> None:
    assert api.put("queues", vhost, "jobs", body={"durable": True}) == 201
    assert api.put("queues", vhost, "jobs", body={"durable": True}) == 204
    assert kind(api, vhost, "jobs") == ("quorum", "quorum")


def test_queues_that_were_there_before_stay_as_they_are(api: Api, managed: Broker, name: str) -> None:
    api.put("vhosts", name, body={"description": "d", "tags": ["t"]})
    assert api.get("vhosts", name)["default_queue_type"] == "classic"
    with connect(managed.peer, vhost=name) as client:
        channel = client.channel()
        channel.queue("before", durable=True)
        assert api.put("vhosts", name, body={"default_queue_type": "quorum"}) == 204
        shown = api.get("vhosts", name)
        assert (shown["default_queue_type"], shown["description"], shown["tags"]) == ("quorum", "d", ["t"])
        channel.queue("before", durable=True)
        channel.queue("after", durable=True)
        assert kind(api, name, "before") == ("classic", None)
        assert kind(api, name, "after") == ("quorum", "quorum")
        assert api.put("vhosts", name, body={"description": "e"}) == 204
        assert api.get("vhosts", name)["default_queue_type"] == "quorum"
        assert api.put("vhosts", name, body={"default_queue_type": "classic"}) == 204
        channel.queue("again", durable=True)
        assert kind(api, name, "again") == ("classic", None)
    api.delete("vhosts", name)


def test_a_type_that_there_is_not(api: Api, name: str) -> None:
    for given in ("stream", "nothing"):
        answer = api.ask("PUT", "vhosts", name, body={"default_queue_type": given})
        assert (answer.status, given in answer.json["reason"]) == (400, True)
    assert api.ask("GET", "vhosts", name).status == 404
    for given in ("", "undefined", "classic"):
        assert api.put("vhosts", name, body={"default_queue_type": given}) in (201, 204)
        assert api.get("vhosts", name)["default_queue_type"] == "classic"
    api.delete("vhosts", name)


def test_definitions_have_it(api: Api, vhost: str) -> None:
    exported = api.get("definitions")
    [entry] = [entry for entry in exported["vhosts"] if entry["name"] == vhost]
    assert (entry["default_queue_type"], entry["metadata"]["default_queue_type"]) == ("quorum", "quorum")
    assert all("default_queue_type" not in entry for entry in exported["vhosts"] if entry["name"] == "/")
    api.delete("vhosts", vhost)
    for given in ({"metadata": {"default_queue_type": "quorum"}}, {"default_queue_type": "quorum"}):
        api.post("definitions", body={"vhosts": [{"name": vhost, **given}]})
        assert api.get("vhosts", vhost)["default_queue_type"] == "quorum"
        changed = api.post(
            "definitions", body={"vhosts": [{"name": vhost, "metadata": {"default_queue_type": "classic"}}]}
        )
        assert api.get("vhosts", vhost)["default_queue_type"] == "classic", changed


def test_it_outlives_the_process(tmp_path: Path) -> None:
    running = Broker(tmp_path, WITH_HTTP)
    api = api_of(running)
    api.put("vhosts", "safe", body={"default_queue_type": "quorum"})
    api.put("queues", "safe", "jobs", body={"durable": True})
    running.stop()
    again = running.again()
    api = api_of(again)
    assert api.get("vhosts", "safe")["default_queue_type"] == "quorum"
    assert kind(api, "safe", "jobs") == ("quorum", "quorum")
    assert api.put("queues", "safe", "more", body={"durable": True}) == 201
    assert kind(api, "safe", "more") == ("quorum", "quorum")
    again.stop()
