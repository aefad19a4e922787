"""A real Prometheus scrapes the broker, and answers what each panel of Grafana's dashboard 10991 asks it.

prometheus_program.py management HTTP-API AMQP METRICS

A client with a queue "busy", a consumer of it and two unacknowledged messages must be there.
"""

import base64
import contextlib
import json
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from report import SECONDS, check

_, _, HTTP, _, METRICS = sys.argv
CONFIGURATION = """
global: {{scrape_interval: 250ms, scrape_timeout: 250ms}}
scrape_configs:
  - job_name: broker
    static_configs: [targets: ["{aggregated}"]]
  - job_name: objects
    metrics_path: /metrics/per-object
    static_configs: [targets: ["{aggregated}"]]
"""
JOINED = (
    "* on(instance, job) group_left(rabbitmq_cluster, rabbitmq_node) rabbitmq_identity_info"
    '{{rabbitmq_cluster="{cluster}", namespace="", rabbitmq_endpoint="{endpoint}"}}'
)
# The panels, by what they show of a metric. In all of them it is joined with the node's identity.
SUMS = {
    "Ready messages": "rabbitmq_queue_messages_ready",
    "Unacknowledged messages": "rabbitmq_queue_messages_unacked",
    "Publishers": "rabbitmq_global_publishers",
    "Consumers": "rabbitmq_global_consumers",
    "Connections": "rabbitmq_connections",
    "Channels": "rabbitmq_channels",
    "Queues": "rabbitmq_queues",
}
AS_THEY_ARE = {
    "Disk space available": "rabbitmq_disk_space_available_bytes",
    "Total queues": "rabbitmq_queues",
    "Total channels": "rabbitmq_channels",
    "Total connections": "rabbitmq_connections",
}
RATES = {
    "Published": "rabbitmq_global_messages_received_total",
    "Routed": "rabbitmq_global_messages_routed_total",
    "Confirmed": "rabbitmq_global_messages_confirmed_total",
    "Unroutable, dropped": "rabbitmq_global_messages_unroutable_dropped_total",
    "Unroutable, returned": "rabbitmq_global_messages_unroutable_returned_total",
    "Redelivered": "rabbitmq_global_messages_redelivered_total",
    "Delivered, manual ack": "rabbitmq_global_messages_delivered_consume_manual_ack_total",
    "Delivered, auto ack": "rabbitmq_global_messages_delivered_consume_auto_ack_total",
    "Acknowledged": "rabbitmq_global_messages_acknowledged_total",
    "Polled, auto ack": "rabbitmq_global_messages_delivered_get_auto_ack_total",
    "Polled, nothing": "rabbitmq_global_messages_get_empty_total",
    "Polled, manual ack": "rabbitmq_global_messages_delivered_get_manual_ack_total",
    "Queues declared": "rabbitmq_queues_declared_total",
    "Queues created": "rabbitmq_queues_created_total",
    "Queues deleted": "rabbitmq_queues_deleted_total",
    "Channels opened": "rabbitmq_channels_opened_total",
    "Channels closed": "rabbitmq_channels_closed_total",
    "Connections opened": "rabbitmq_connections_opened_total",
    "Connections closed": "rabbitmq_connections_closed_total",
}
SIZE = "sum(increase(rabbitmq_message_size_bytes_{part}[1m]) {joined})"
BOUNDS = ("100.0", "1000.0", "10000.0", "100000.0", "1e+06", "1e+07", "5e+07", "1e+08", "+Inf")
# Revisions of the board for RabbitMQ 3.8 to 3.10, and rules of alerts of that time.
OF_CHANNELS = (
    *("messages_published_total", "messages_confirmed_total", "messages_unroutable_returned_total"),
    *("messages_unroutable_dropped_total", "messages_redelivered_total", "messages_delivered_total"),
    *("messages_delivered_ack_total", "messages_acked_total", "get_total", "get_ack_total", "get_empty_total"),
)


def panels(cluster: str, endpoint: str) -> Iterator[tuple[str, str]]:
    joined = JOINED.format(cluster=cluster, endpoint=endpoint)
    for title, metric in SUMS.items():
        yield title, f"sum({metric} {joined})"
    for title, metric in AS_THEY_ARE.items():
        yield title, f"{metric} {joined}"
    for title, metric in RATES.items():
        yield f"{title} per second", f"sum(rate({metric}[60s]) {joined}) by(rabbitmq_node)"
    for title, metric in (("Incoming", "received"), ("Outgoing", "delivered")):
        yield f"{title} messages per second", f"sum(irate(rabbitmq_global_messages_{metric}_total[1m]) {joined})"
    yield "Nodes", f'count(rabbitmq_identity_info{{namespace="", rabbitmq_endpoint="{endpoint}"}})'
    yield (
        "Table of nodes",
        "rabbitmq_erlang_uptime_seconds *on(instance,job) group_left(rabbitmq_version, erlang_version) "
        f"rabbitmq_build_info {joined}",
    )
    yield (
        "Memory available",
        f"(rabbitmq_resident_memory_limit_bytes {joined}) - (rabbitmq_process_resident_memory_bytes {joined})",
    )
    confirmed = (
        f"rate(rabbitmq_global_messages_{name}_total[60s]) {joined}" for name in ("received_confirm", "confirmed")
    )
    yield "Unconfirmed per second", f"sum({' - '.join(confirmed)}) by(rabbitmq_node)"
    ways = (
        f"(rate(rabbitmq_global_messages_delivered_consume_{way}_ack_total[60s]) {joined})"
        for way in ("auto", "manual")
    )
    yield "Delivered per second", f"sum({' + '.join(ways)}) by(rabbitmq_node)"
    total, count = (SIZE.format(part=part, joined=joined) for part in ("sum", "count"))
    yield "Average size", f"{total} / {count}"
    up_to = [SIZE.format(part=f'bucket{{le="{bound}"}}', joined=joined) for bound in BOUNDS]
    yield "Sizes, the smallest", f"{up_to[0]} / {up_to[-1]}"
    for lower, upper, bound in zip(up_to, up_to[1:], BOUNDS[1:], strict=False):
        yield f"Sizes to {bound}", f"({upper} - {lower}) / {up_to[-1]}"


def earlier_panels(cluster: str) -> Iterator[tuple[str, str]]:
    identity = f'rabbitmq_identity_info{{rabbitmq_cluster="{cluster}", job="broker"}}'
    joined = f"* on(instance) group_left(rabbitmq_cluster) {identity}"
    for name in OF_CHANNELS:
        yield f"channel {name}", f'sum(rate(rabbitmq_channel_{name}{{job="broker"}}[60s]) {joined})'
    yield (
        "Publishers of 3.8",
        f'sum(rabbitmq_channels{{job="broker"}} {joined}) - sum(rabbitmq_channel_consumers{{job="broker"}} {joined})',
    )


class Prometheus:
    """A process with a database of its own."""

    def __init__(self, directory: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        configuration = directory / "prometheus.yml"
        configuration.write_text(CONFIGURATION.format(aggregated=urlsplit(METRICS).netloc))
        self.process = subprocess.Popen(
            [
                *("prometheus", f"--config.file={configuration}", f"--storage.tsdb.path={directory}/data"),
                *(f"--web.listen-address=127.0.0.1:{self.port}", "--log.level=warn"),
            ],
            stdout=sys.stderr,
        )

    def ask(self, path: str) -> Any:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/api/v1/{path}", timeout=SECONDS) as answer:
            return json.load(answer)["data"]

    def value(self, query: str) -> float | None:
        """Of the first series; nothing where the panel would be empty. "NaN" is nothing, too."""
        found = self.ask(f"query?query={quote(query)}")["result"]
        shown = float(found[0]["value"][1]) if found else None
        return None if shown != shown else shown

    def until(self, query: str) -> float:
        """It has been scraped often enough for an answer."""
        ends_at = time.monotonic() + SECONDS
        while True:
            with contextlib.suppress(OSError):  # it does not listen yet
                if (value := self.value(query)) is not None:
                    return value
            assert time.monotonic() < ends_at, f"an empty panel: {query}"
            time.sleep(0.1)


def publish(body: str) -> None:
    """Through the HTTP API, to no queue's harm: nothing waits there."""
    parts = urlsplit(HTTP)
    request = urllib.request.Request(
        f"http://{parts.hostname}:{parts.port}/api/exchanges/%2F/amq.default/publish",
        json.dumps(
            {"properties": {}, "routing_key": "nowhere", "payload": body, "payload_encoding": "string"}
        ).encode(),
        {"Authorization": f"Basic {base64.b64encode(f'{parts.username}:{parts.password}'.encode()).decode()}"},
    )
    urllib.request.urlopen(request, timeout=SECONDS).close()


def equal(got: object, expected: object) -> None:
    assert got == expected, got


def main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        running = Prometheus(Path(directory))
        try:
            running.until("count(up == 1) == 2")
            publish("x" * 10)  # what "increase" shows has to happen between two scrapes
            for job in ("broker", "objects"):
                scraped = f'count_over_time(up{{job="{job}"}}[1m])'
                running.until(f"{scraped} > {running.until(scraped)} + 1")
            [cluster] = running.ask("label/rabbitmq_cluster/values")
            for endpoint in ("aggregated", "per-object"):
                for title, query in panels(cluster, endpoint):
                    check(f"{endpoint}: {title}".replace(" ", "-"), lambda query=query: running.until(query))
            for title, query in earlier_panels(cluster):
                check(title.replace(" ", "-"), lambda query=query: running.until(query))
            shown = dict(panels(cluster, "aggregated"))
            for title, expected in (("Unacknowledged messages", 2), ("Consumers", 1), ("Nodes", 1)):
                check(
                    f"value-of-{title.replace(' ', '-')}",
                    lambda title=title, expected=expected: equal(running.until(shown[title]), expected),
                )
            check("all-scrapes-succeed", lambda: equal(running.until("min(min_over_time(up[1m]))"), 1))
        finally:
            running.process.terminate()
            running.process.wait(SECONDS)


if __name__ == "__main__":
    main()
