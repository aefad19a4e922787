"""Every key that a tool reads is in the answer to what it asks, with a type that the tool can take."""

from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest

from tests.management.tools import DATADOG_METRICS, TABLE, Asked
from tests.support.broker import Broker, until
from tests.support.http import Api, fetch, metrics_port
from tests.support.wire import connect

pytestmark = pytest.mark.flowmq_only
# What may stand where a tool wants a type. Null is nothing to all of them.
FITTING: dict[str, Any] = {
    "int": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "float": lambda value: isinstance(value, int | float) and not isinstance(value, bool),
    "string": lambda value: isinstance(value, str),
    "boolean": lambda value: isinstance(value, bool),
    "list": lambda value: isinstance(value, list),
    "object": lambda value: isinstance(value, dict),
}


@pytest.fixture(scope="module")
def node(managed: Broker, api: Api) -> Iterator[str]:
    """Its name, while there is a queue with all that tools look at."""
    with connect(managed.peer) as client:
        channel = client.channel()
        channel.queue("tool.jobs", durable=True)
        channel.put("tool.jobs", b"one", b"two", properties={"delivery_mode": 2})
        channel.consume("tool.jobs", no_ack=False)
        until(lambda: "rate" in api.get("queues", "/", "tool.jobs")["message_stats"]["publish_details"])
        yield str(api.get("overview")["node"])
    api.delete("queues", "/", "tool.jobs")


def values_at(value: Any, path: str) -> list[Any]:
    """All that stand there; a missing key is an error, for lists one in any row."""
    found = [value]
    for part in filter(None, path.replace("[]", ".[]").split(".")):
        if part == "[]":
            assert all(isinstance(one, list) for one in found), f"no list before {path}"
            found = [row for one in found for row in one]
            assert found, f"nothing in the list of {path}"
        else:
            missing = [one for one in found if part not in one]
            assert not missing, f"{path}: {part} is missing in {missing[0]}"
            found = [one[part] for one in found]
    return found


@pytest.mark.parametrize("asked", TABLE, ids=lambda asked: f"{asked.tool}: {asked.path}")
def test_what_a_tool_reads_is_there(api: Api, node: str, asked: Asked) -> None:
    answer = api.ask_encoded("GET", asked.path.format(node=quote(node)), None)
    assert answer.status == 200, answer.body
    value = answer.json
    for path, kind in asked.keys.items():
        if path.endswith("?"):
            continue
        wrong = [one for one in values_at(value, path) if one is not None and not FITTING[kind](one)]
        assert not wrong, f"{path}: {wrong[0]!r} is no {kind}"


def test_what_datadog_takes_from_the_metrics_is_there(managed: Broker, node: str) -> None:
    lines = fetch(metrics_port(managed), "GET", "/metrics").body.decode().splitlines()
    names = {line.partition("{")[0].partition(" ")[0] for line in lines if not line.startswith("#")}
    assert [name for name in DATADOG_METRICS if name not in names] == []
