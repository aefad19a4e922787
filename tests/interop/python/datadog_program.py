"""Datadog's engine for checks of the OpenMetrics kind, set up as its check of RabbitMQ sets it up, scrapes the broker.

datadog_program.py management HTTP-API AMQP METRICS

A client with a queue "busy", a consumer of it and two unacknowledged messages must be there. The check itself is no
package of any registry; what it takes from the metrics, by name, is in tests/management/tools.py.
"""

import sys
from typing import Any

from datadog_checks.base import OpenMetricsBaseCheckV2
from datadog_checks.base.stubs import aggregator
from report import check

_, _, _, _, METRICS = sys.argv
# Every node's name goes on every metric, which the check asks for, too.
SHARED = {"share_labels": {"rabbitmq_identity_info": True}}


class Check(OpenMetricsBaseCheckV2):
    __NAMESPACE__ = "rabbitmq"


def scraped(path: str = "", query: str = "") -> dict[str, list[Any]]:
    """By metric, what a second round sent: it has counters, too. A line that cannot be read fails it."""
    instance = {"openmetrics_endpoint": f"{METRICS}{path}{query}", "metrics": [r"^(rabbitmq|flowmq)_.+"], **SHARED}
    made = Check("rabbitmq", {}, [instance])
    for _ in range(2):
        aggregator.reset()
        assert not (failure := made.run()), failure
    aggregator.assert_service_check("rabbitmq.openmetrics.health", Check.OK)
    return {name: aggregator.metrics(name) for name in aggregator.metric_names}


def value(found: dict[str, list[Any]], name: str, *tags: str) -> float:
    [one] = [one for one in found[f"rabbitmq.{name}"] if {*tags} <= {*one.tags}]
    assert any(tag.startswith("rabbitmq_node:") for tag in one.tags), one.tags
    return float(one.value)


def equal(got: object, expected: object) -> None:
    assert got == expected, got


def at_least(got: float, expected: float) -> None:
    """Others have published, too."""
    assert got >= expected, got


def main() -> None:
    aggregated = scraped()
    check("aggregated", lambda: equal(value(aggregated, "rabbitmq_queue_messages_unacked"), 2))
    check("aggregated-consumers", lambda: equal(value(aggregated, "rabbitmq_consumers"), 1))
    check(
        "aggregated-counter",
        lambda: at_least(value(aggregated, "rabbitmq_global_messages_received.count", "protocol:amqp091"), 2),
    )
    check(
        "aggregated-histogram",
        lambda: at_least(value(aggregated, "rabbitmq_message_size_bytes.bucket", "upper_bound:100.0"), 2),
    )
    objects = scraped("/per-object")
    busy = ("queue:busy", "vhost:/")
    check("per-object", lambda: equal(value(objects, "rabbitmq_queue_messages_unacked", *busy), 2))
    detailed = scraped("/detailed", "?family=queue_coarse_metrics&family=queue_consumer_count")
    check("detailed", lambda: equal(value(detailed, "rabbitmq_detailed_queue_messages", *busy), 2))
    check("detailed-consumers", lambda: equal(value(detailed, "rabbitmq_detailed_queue_consumers", *busy), 1))
    check("memory", lambda: equal(value(scraped("/memory-breakdown"), "rabbitmq_memory_messages_bytes") > 0, True))


if __name__ == "__main__":
    main()
