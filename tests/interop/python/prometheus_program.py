"""A real Prometheus scrapes the broker, and answers what the panels of RabbitMQ's dashboards and its rules ask.

prometheus_program.py management HTTP-API AMQP METRICS

A client with a queue "busy", a consumer of it and two unacknowledged messages must be there.
"""

import base64
import json
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from prometheus_boards import first_panels, global_panels, panels, queue_panels, rules, variables
from report import SECONDS, check

_, _, HTTP, _, METRICS = sys.argv
# Revisions of the board before RabbitMQ 4.1 join by the instance: with two jobs of one instance they show nothing.
CONFIGURATION = """
global: {{scrape_interval: 250ms, scrape_timeout: 250ms}}
scrape_configs:
  - job_name: broker
    static_configs: [targets: ["{aggregated}"]]
  - job_name: objects
    metrics_path: /metrics/per-object
    static_configs: [{{targets: ["{aggregated}"], labels: {{instance: objects}}}}]
  - job_name: detailed
    metrics_path: /metrics/detailed
    params: {{family: [queue_coarse_metrics, queue_consumer_count]}}
    static_configs: [{{targets: ["{aggregated}"], labels: {{instance: detailed}}}}]
"""
# What is in the broker, as some of the panels tell it.
VALUES = (
    *(("aggregated", "Unacknowledged messages", 2), ("aggregated", "Consumers", 1), ("aggregated", "Nodes", 1)),
    *(("queue", "Messages", 2), ("queue", "Consumers", 1), ("rule", "Memory alarm", 0), ("rule", "Files alarm", 0)),
)
COLUMNS = {"rabbitmq_node", "rabbitmq_cluster", "rabbitmq_version", "erlang_version", "prometheus_client_version"}


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

    def labels(self, query: str) -> set[str]:
        """Of the first series."""
        return set(self.ask(f"query?query={quote(query)}")["result"][0]["metric"])

    def until(self, query: str) -> float:
        """It has been scraped often enough for an answer."""
        ends_at = time.monotonic() + SECONDS
        while True:
            try:
                if (value := self.value(query)) is not None:
                    return value
            except urllib.error.HTTPError as error:
                if error.status in (400, 422):  # it cannot be answered, ever
                    raise ValueError(f"{query}: {error.read().decode()}") from None
            except OSError:  # it does not listen yet
                pass
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
            running.until("count(up == 1) == 3")
            publish("x" * 10)  # what "increase" shows has to happen between two scrapes
            for job in ("broker", "objects", "detailed"):
                scraped = f'count_over_time(up{{job="{job}"}}[1m])'
                running.until(f"{scraped} > {running.until(scraped)} + 1")
            [cluster] = running.ask("label/rabbitmq_cluster/values")
            asked = {
                **{endpoint: dict(panels(cluster, endpoint)) for endpoint in ("aggregated", "per-object")},
                "3.8": dict(first_panels(cluster)),
                "global": dict(global_panels(cluster)),
                "queue": dict(queue_panels(cluster, "busy")),
                "rule": dict(rules()),
            }
            for board, queries in asked.items():
                for title, query in queries.items():
                    check(f"{board}: {title}".replace(" ", "-"), lambda query=query: running.until(query))
            for board, title, expected in VALUES:
                check(
                    f"value-of-{board}-{title.replace(' ', '-')}",
                    lambda query=asked[board][title], expected=expected: equal(running.until(query), expected),
                )
            for title, label, selector, expected in variables(cluster):
                check(
                    f"variable-{title}",
                    lambda label=label, selector=selector, expected=expected: equal(
                        expected - {*running.ask(f"label/{label}/values?match[]={quote(selector)}")}, set()
                    ),
                )
            check(
                "columns-of-the-nodes", lambda: equal(COLUMNS - running.labels(asked["3.8"]["Table of nodes"]), set())
            )
            check("all-scrapes-succeed", lambda: equal(running.until("min(min_over_time(up[1m]))"), 1))
        finally:
            running.process.terminate()
            running.process.wait(SECONDS)


if __name__ == "__main__":
    main()
