"""The same requests to two brokers, and how the answers differ: statuses, the keys that are there, their types.

What RabbitMQ answered is kept in `rabbitmq_answers.json`, so that FlowMQ can be compared with it where there is no
RabbitMQ. `python -m tests.management.comparison` asks a RabbitMQ anew and writes that file.

Of an answer only its outline is kept: each key that is in it, as a path, and the JSON types that stand there. The rows
of a list count as one.
"""

import argparse
import contextlib
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tests.crash.rabbitmq import MANAGEMENT_PLUGINS, RabbitMQ
from tests.management.requests import ACCESS, ERRORS, LOOKS, SET_UP, TAKE_DOWN, Request
from tests.support.broker import until
from tests.support.http import Answer, Api
from tests.support.peer import Peer
from tests.support.wire import Client, connect

KEPT = Path(__file__).with_name("rabbitmq_answers.json")
TYPES = {bool: "boolean", int: "number", float: "number", str: "string", type(None): "null"}
# Objects whose keys are data: anything may stand in them.
FREE = {
    "arguments",
    "client_properties",
    "headers",
    "definition",
    "value",
    "cluster_state",
    "effective_policy_definition",
}
Outline = dict[str, str]  # path -> the types there, with blanks between
Answers = dict[str, dict[str, Any]]


def outline(value: Any) -> Outline:
    found: dict[str, set[str]] = {}
    _note(value, "", found)
    return {path: " ".join(sorted(types)) for path, types in sorted(found.items())}


def _note(value: Any, path: str, found: dict[str, set[str]]) -> None:
    types = found.setdefault(path, set())
    if isinstance(value, dict):
        types.add("object")
        for name, inner in value.items():
            if path.rpartition(".")[2] not in FREE:
                _note(inner, f"{path}.{name}" if path else name, found)
    elif isinstance(value, list):
        types.add("list")
        for inner in value:
            _note(inner, f"{path}[]", found)
    else:
        types.add(TYPES[type(value)])


def outlined(answer: Answer) -> dict[str, Any]:
    """The status, and the keys of what is JSON."""
    try:
        value = json.loads(answer.body)
    except ValueError:
        return {"status": answer.status}
    return {"status": answer.status, "keys": outline(value)}


class Compared:
    """A broker that is being asked."""

    def __init__(self, peer: Peer, port: int) -> None:
        self.peer, self.port = peer, port
        self.api = Api(port)
        self.names: dict[str, str] = {}

    def ask(self, one: Request) -> Answer:
        user, _, password = one.user.partition(":")
        path = one.path.format_map({name: quote(value, safe="") for name, value in self.names.items()})
        body = one.body if one.body is None or isinstance(one.body, str) else json.dumps(one.body)
        return self.api.as_user(user, password).ask_encoded(one.verb, path, body)

    def all_answers(self) -> Answers:
        answers: Answers = {}

        def ask(requests: list[Request]) -> None:
            for one in requests:
                title = one.title
                while title in answers:  # asked before, when things stood differently
                    title += " again"
                answers[title] = outlined(self.ask(one))

        self.names["node"] = self.api.get("overview")["node"]
        ask(SET_UP)
        with self.traffic():
            ask([*LOOKS, *ACCESS, *ERRORS, *TAKE_DOWN])
        return answers

    @contextlib.contextmanager
    def traffic(self) -> Iterator[None]:
        """Clients of many kinds, until all that they do is told."""
        with connect(self.peer, vhost="shop") as client, connect(self.peer, vhost="shop") as other:
            busy(client)
            idle(other)
            until(self.is_told)
            self.names["connection"] = self.api.get("queues", "shop", "jobs")["consumer_details"][0]["channel_details"][
                "connection_name"
            ]
            self.names["channel"] = f"{self.names['connection']} (1)"
            [binding] = self.api.get("bindings", "shop", "e", "orders", "q", "log")
            self.names["binding"] = binding["properties_key"]
            yield

    def is_told(self) -> bool:
        """RabbitMQ gathers what it tells at intervals."""
        jobs = self.api.get("queues", "shop", "jobs", query="lengths_age=60&lengths_incr=5")
        busiest = max((set(one.get("message_stats", {})) for one in self.api.get("channels")), key=len, default=set())
        return (
            {"ack", "deliver", "publish", "redeliver", "get_empty"} <= set(jobs.get("message_stats", {}))
            and {"confirm", "publish", "return_unroutable", "deliver"} <= busiest
            and len(self.api.get("connections")) == 2
            and all("recv_oct_details" in one for one in self.api.get("connections"))
            and "publish_in" in self.api.get("exchanges", "shop", "orders").get("message_stats", {})
            and "message_stats" in self.api.get("vhosts", "shop")
            and "samples" in jobs["messages_details"]
            and bool(jobs.get("consumer_details"))
        )


def busy(client: Client) -> None:
    """Publishes with confirms, routable and not; takes, gives back, keeps one unacknowledged."""
    channel = client.channel(1)
    channel.call("confirm.select")
    channel.call("basic.qos", prefetch_count=2)
    for key in ("new.a", "new.b", "new.c", "new.d"):
        channel.publish("orders", key, b"body", {"delivery_mode": 2})
    channel.publish("amq.direct", "nowhere", b"body")
    channel.wait_for_confirms(5)
    channel.publish("amq.direct", "nowhere", b"body", mandatory=True)
    channel.expect("basic.return")
    channel.wait_for_confirms(1)
    channel.call("queue.declare", queue="empty", exclusive=True)
    channel.get("empty")
    channel.get("log")
    message = channel.get("log", no_ack=False)
    assert message is not None
    channel.ack(message.delivery_tag)
    channel.drain("jobs")
    channel.put("jobs", b"1", b"2", b"3", b"4")
    message = channel.get("jobs", no_ack=False)
    assert message is not None
    channel.send("basic.nack", delivery_tag=message.delivery_tag, requeue=True)
    channel.consume("jobs", "first")
    for tag_is_acked in (True, False):
        delivery = channel.expect("basic.deliver")
        if tag_is_acked:
            channel.ack(delivery.delivery_tag)


def idle(client: Client) -> None:
    """Other kinds of channels and consumers."""
    channel = client.channel()
    channel.call("tx.select")
    channel.call("basic.qos", prefetch_count=5, global_=True)
    channel.consume("single", "active", arguments={"x-priority": 3})
    channel.consume("single", "waiting", no_ack=True)
    channel.consume("mine.first", "alone", exclusive=True)
    client.channel()


def differences(ours: Answers, theirs: Answers) -> dict[str, str]:
    """By request and, where it is about keys, the path in its answer: what FlowMQ has, and RabbitMQ."""
    found: dict[str, str] = {}
    for title, wanted in theirs.items():
        given = ours[title]
        if given["status"] != wanted["status"]:
            found[title] = f"status {given['status']}, not {wanted['status']}"
            continue
        keys = given.get("keys", {})
        for path, types in wanted.get("keys", {}).items():
            if path not in keys:
                found[f"{title} | {path}"] = f"missing: {types}"
            elif not set(types.split()) & set(keys[path].split()):
                found[f"{title} | {path}"] = f"{keys[path]}, not {types}"
    return found


def ask_rabbitmq() -> Answers:
    with tempfile.TemporaryDirectory() as directory:
        node = RabbitMQ(Path(directory), plugins=MANAGEMENT_PLUGINS)
        try:
            return Compared(node.peer, node.management_port).all_answers()
        finally:
            node.kill()


def main() -> None:
    argparse.ArgumentParser(prog="python -m tests.management.comparison", description=__doc__).parse_args()
    lines = (f"{json.dumps(title)}: {json.dumps(answer)}" for title, answer in ask_rabbitmq().items())
    KEPT.write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main()
