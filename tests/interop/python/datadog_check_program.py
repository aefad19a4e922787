"""Datadog's check of RabbitMQ's HTTP API, itself: every metric that RabbitMQ has for it is sent, with the right values.

datadog_check_program.py management HTTP-API AMQP METRICS

A client with a queue "busy", a consumer of it and two unacknowledged messages must be there, and a virtual host
"watched".
"""

import base64
import json
import sys
import time
import urllib.request
from typing import Any
from urllib.parse import quote, urlsplit

from datadog_checks.base.stubs import aggregator
from rabbitmq_check.const import ATTRIBUTES, METRIC_SUFFIX
from rabbitmq_check.rabbitmq import RabbitMQManagement
from report import SECONDS, check

_, _, HTTP, *_ = sys.argv
URL = urlsplit(HTTP)
API = f"http://{URL.hostname}:{URL.port}/api"
# What it looks for and RabbitMQ does not tell either: exchanges count no deliveries, and the overview no routing.
NOWHERE = {
    *(f"rabbitmq.exchange.messages.{name}" for name in ("ack", "deliver_get", "publish", "redeliver")),
    *(f"rabbitmq.overview.messages.{name}" for name in ("publish_in", "publish_out")),
}
EVERY = {
    *(f"rabbitmq.{METRIC_SUFFIX[kind]}.{name}" for kind, found in ATTRIBUTES.items() for _, name, _ in found),
    *("rabbitmq.queue.bindings.count", "rabbitmq.connections", "rabbitmq.connections.state"),
}
WANTED = {name for name in EVERY if name.rpartition(".")[0] not in NOWHERE}
STAMPED_AT = 1_700_000_000
ODD = "datadog jobs/a+b"  # a blank becomes "+" in the path that it asks for
Metrics = dict[str, list[Any]]


def api(verb: str, path: str, **body: Any) -> None:
    login = base64.b64encode(f"{URL.username}:{URL.password}".encode()).decode()
    headers = {"Authorization": f"Basic {login}", "Content-Type": "application/json"}
    request = urllib.request.Request(f"{API}/{path}", json.dumps(body).encode(), headers, method=verb)
    urllib.request.urlopen(request, timeout=SECONDS).close()


def set_up() -> None:
    for queue in ("datadog.first", "datadog.second", ODD):
        api("PUT", f"queues/%2F/{quote(queue, safe='')}")
    api("PUT", "exchanges/%2F/datadog", type="topic")
    for key in ("a.*", "b.*"):
        api("POST", "bindings/%2F/e/datadog/q/datadog.first", routing_key=key)
    limit = {"pattern": "^datadog.first", "definition": {"max-length": 100}, "apply-to": "queues"}
    api("PUT", "policies/%2F/datadog", **limit)
    message = {"payload": "x", "payload_encoding": "string", "properties": {"timestamp": STAMPED_AT}}
    for key in ("a.b", "a.b", "nowhere"):
        api("POST", "exchanges/%2F/datadog/publish", routing_key=key, **message)
    for mode in ("ack_requeue_true", "ack_requeue_false"):
        api("POST", "queues/%2F/datadog.first/get", count=1, encoding="auto", ackmode=mode)


def run(**options: Any) -> Metrics:
    """By metric, what a round has sent."""
    instance = {"rabbitmq_api_url": f"{API}/", "rabbitmq_user": URL.username, "rabbitmq_pass": URL.password, **options}
    made = RabbitMQManagement("rabbitmq", {}, [instance])
    aggregator.reset()
    assert not (failure := made.run()), failure
    return {name: aggregator.metrics(name) for name in aggregator.metric_names}


def run_until_all_is_told() -> Metrics:
    """Rates take two samples of the broker."""
    ends_at = time.monotonic() + SECONDS
    while not (found := run()).keys() >= WANTED and time.monotonic() < ends_at:
        time.sleep(0.5)
    return found


def value(found: Metrics, name: str, *tags: str) -> float:
    [one] = [one for one in found[f"rabbitmq.{name}"] if {*tags} <= {*one.tags}]
    return float(one.value)


def tags_of_queues(found: Metrics, name: str) -> set[str]:
    return {tag for one in found["rabbitmq.queue.messages"] for tag in one.tags if tag.startswith(f"{name}:")}


def equal(got: object, expected: object) -> None:
    assert got == expected, got


def service(name: str, status: int, *tags: str) -> None:
    """The last round said so, of whatever it was, at least once and nothing else."""
    told = [one.status for one in aggregator.service_checks(f"rabbitmq.{name}") if {*tags} <= {*one.tags}]
    assert {*told} == {status}, told


def main() -> None:
    set_up()
    found = run_until_all_is_told()
    check("status", lambda: service("status", RabbitMQManagement.OK))
    check("aliveness", lambda: service("aliveness", RabbitMQManagement.OK, "vhost:/"))
    for name in sorted(WANTED):
        check(name, lambda name=name: equal(name in found, True))
    first = ("rabbitmq_queue:datadog.first", "rabbitmq_vhost:/", "rabbitmq_policy:datadog")
    for name, tags, expected in (
        ("queue.messages_unacknowledged", ("rabbitmq_queue:busy",), 2),
        ("queue.consumers", ("rabbitmq_queue:busy",), 1),
        ("queue.messages_ready", first, 1),
        ("queue.head_message_timestamp", first, STAMPED_AT),
        ("queue.messages.redeliver.count", first, 1),
        ("queue.bindings.count", first, 3),
        ("queue.bindings.count", (f"rabbitmq_queue:{ODD}",), 1),
        ("exchange.messages.publish_in.count", ("rabbitmq_exchange:datadog", "rabbitmq_vhost:/"), 3),
        ("exchange.messages.publish_out.count", ("rabbitmq_exchange:datadog",), 2),
        ("node.running", (), 1),
        ("connections", ("rabbitmq_vhost:/",), 1),
        ("connections.state", ("rabbitmq_conn_state:running",), 1),
    ):
        title = f"value-of-{name}{'-of-the-odd' if ODD in str(tags) else ''}"
        check(title, lambda name=name, tags=tags, expected=expected: equal(value(found, name, *tags), expected))
    named = run(queues=["busy", "//datadog.first"], exchanges=["datadog"], nodes=["another"])
    both = {"rabbitmq_queue:busy", "rabbitmq_queue:datadog.first"}
    check("queues-by-name", lambda: equal(tags_of_queues(named, "rabbitmq_queue"), both))
    check("nodes-by-name", lambda: equal([name for name in named if ".node." in name], []))
    families = run(queues_regexes=[r"^datadog\.(f.*|s.*)"], tag_families=True)
    check("queues-by-expression", lambda: equal(value(families, "queue.messages", "rabbitmq_queue_family:first"), 1))
    api("PUT", "queues/watched/datadog.there")
    one_vhost = run(vhosts=["watched", "gone"], tags=["team:x"])
    check("one-vhost", lambda: equal(tags_of_queues(one_vhost, "rabbitmq_vhost"), {"rabbitmq_vhost:watched"}))
    check("aliveness-of-one", lambda: service("aliveness", RabbitMQManagement.OK, "vhost:watched", "team:x"))
    check("aliveness-of-none", lambda: service("aliveness", RabbitMQManagement.CRITICAL, "vhost:gone"))
    run(rabbitmq_pass="wrong")
    check("wrong-password", lambda: service("status", RabbitMQManagement.CRITICAL))


if __name__ == "__main__":
    main()
