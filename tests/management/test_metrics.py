"""Metrics: a real parser reads them, and the names that dashboards ask for are there with their labels."""

import pytest
from prometheus_client.parser import text_string_to_metric_families as parsed

from tests.support.broker import Broker, until
from tests.support.http import Api, fetch, metrics_port
from tests.support.wire import Channel

pytestmark = pytest.mark.flowmq_only

# Grafana's dashboard 10991, but for _bucket and the like.
BOARD = {
    *("rabbitmq_identity_info", "rabbitmq_build_info", "rabbitmq_connections", "rabbitmq_channels", "rabbitmq_queues"),
    *("rabbitmq_queue_messages_ready", "rabbitmq_queue_messages_unacked", "rabbitmq_process_open_fds"),
    *("rabbitmq_process_max_fds", "rabbitmq_process_resident_memory_bytes", "rabbitmq_resident_memory_limit_bytes"),
    *("rabbitmq_disk_space_available_bytes", "rabbitmq_disk_space_available_limit_bytes"),
    *("rabbitmq_erlang_uptime_seconds", "rabbitmq_global_publishers", "rabbitmq_global_consumers"),
    *("rabbitmq_connections_opened_total", "rabbitmq_connections_closed_total", "rabbitmq_channels_opened_total"),
    *("rabbitmq_channels_closed_total", "rabbitmq_queues_declared_total", "rabbitmq_queues_created_total"),
    *("rabbitmq_queues_deleted_total", "rabbitmq_message_size_bytes_bucket"),
    *(
        f"rabbitmq_global_messages_{name}_total"
        for name in (
            *("received", "received_confirm", "routed", "unroutable_dropped", "unroutable_returned", "confirmed"),
            *("delivered", "delivered_consume_manual_ack", "delivered_consume_auto_ack", "delivered_get_manual_ack"),
            *("delivered_get_auto_ack", "get_empty", "redelivered", "acknowledged", "dead_lettered_maxlen"),
        )
    ),
}

Samples = dict[str, dict[frozenset[tuple[str, str]], float]]


def scraped(broker: Broker, path: str = "/metrics") -> Samples:
    answer = fetch(metrics_port(broker), "GET", path)
    assert answer.status == 200
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    found: Samples = {}
    for family in parsed(answer.body.decode()):
        assert family.documentation
        for sample in family.samples:
            place = found.setdefault(sample.name, {})
            key = frozenset(sample.labels.items())
            assert key not in place, f"{sample} stands there twice"
            place[key] = sample.value
    return found


def total(samples: Samples, name: str) -> float:
    return sum(samples[name].values())


def test_everything_that_the_dashboard_asks_for_is_there(managed: Broker) -> None:
    samples = scraped(managed)
    assert BOARD - set(samples) == set()
    [identity] = samples["rabbitmq_identity_info"]
    assert {"rabbitmq_node", "rabbitmq_cluster", "rabbitmq_endpoint"} <= {name for name, _ in identity}
    assert ("rabbitmq_endpoint", "aggregated") in identity
    bounds = {dict(key)["le"] for key in samples["rabbitmq_message_size_bytes_bucket"]}
    assert bounds == {"100.0", "1000.0", "10000.0", "100000.0", "1e+06", "1e+07", "5e+07", "1e+08", "+Inf"}


def test_what_only_this_broker_tells(managed: Broker) -> None:
    samples = scraped(managed)
    assert {
        *("flowmq_loop_lag_seconds_bucket", "flowmq_commit_seconds_sum", "flowmq_journal_live_bytes"),
        *("flowmq_journal_dead_bytes", "flowmq_message_memory_bytes", "flowmq_publishes_refused_total"),
    } <= set(samples)


def test_counters_count(managed: Broker, amqp: Channel, name: str) -> None:
    before = scraped(managed)
    amqp.queue(name, exclusive=True)
    for _ in range(3):
        amqp.put(name, b"x")
    amqp.publish("", f"{name} nowhere", b"")
    amqp.settle(name)
    assert amqp.get(name, no_ack=True) is not None
    after = scraped(managed)

    def grown(metric: str) -> float:
        return total(after, metric) - total(before, metric)

    assert grown("rabbitmq_global_messages_received_total") == 4
    assert grown("rabbitmq_global_messages_routed_total") == 3
    assert grown("rabbitmq_global_messages_unroutable_dropped_total") == 1
    assert grown("rabbitmq_global_messages_delivered_get_auto_ack_total") == 1
    assert grown("rabbitmq_channel_messages_published_total") == 4
    assert grown("rabbitmq_channel_messages_confirmed_total") == 3
    assert grown("rabbitmq_channel_messages_unroutable_dropped_total") == 1
    assert (grown("rabbitmq_channel_get_total"), grown("rabbitmq_channel_get_ack_total")) == (1, 0)
    assert grown("rabbitmq_message_size_bytes_count") == 4
    assert grown("rabbitmq_queue_messages_ready") == 2


def test_age_of_the_oldest_messages(managed: Broker, amqp: Channel, name: str) -> None:
    amqp.queue(name, exclusive=True)
    amqp.put(name, b"x")
    amqp.put(name, b"y")
    assert amqp.get(name, no_ack=False) is not None
    for metric in ("flowmq_oldest_ready_seconds", "flowmq_oldest_unacked_seconds"):
        until(lambda metric=metric: scraped(managed).get(metric, {}).get(frozenset({("vhost", "/")}), 0) > 0.3)


def test_what_limits_refused(managed: Broker, api: Api, name: str) -> None:
    api.put("vhosts", name)
    api.put("permissions", name, "guest", body={"configure": ".*", "write": ".*", "read": ".*"})
    api.put("vhost-limits", name, "max-queues", body={"value": 0})
    before = total(scraped(managed), "flowmq_limit_refusals_total") if refusals(managed) else 0
    assert api.put("queues", name, "q") == 400
    assert total(scraped(managed), "flowmq_limit_refusals_total") == before + 1
    api.delete("vhosts", name)


def refusals(managed: Broker) -> bool:
    return "flowmq_limit_refusals_total" in scraped(managed)


def test_what_is_deleted_does_not_grow_old(managed: Broker, api: Api, name: str) -> None:
    api.put("vhosts", name)
    api.put("permissions", name, "guest", body={"configure": ".*", "write": ".*", "read": ".*"})
    api.put("queues", name, "q")
    sent = {"properties": {}, "routing_key": "q", "payload": "x", "payload_encoding": "string"}
    api.post("exchanges", name, "amq.default", "publish", body=sent)
    key = frozenset({("vhost", name)})
    until(lambda: key in scraped(managed).get("flowmq_oldest_ready_seconds", {}))
    api.delete("queues", name, "q")
    until(lambda: key not in scraped(managed).get("flowmq_oldest_ready_seconds", {}))
    api.delete("vhosts", name)


def test_queues_one_by_one(managed: Broker, amqp: Channel, name: str) -> None:
    strange = f'{name} "quoted" \\ and\nlines'.replace("\n", " ")
    amqp.queue(strange, exclusive=True)
    amqp.put(strange, b"x")
    key = frozenset({("vhost", "/"), ("queue", strange)})
    assert scraped(managed, "/metrics/per-object")["rabbitmq_queue_messages_ready"][key] == 1
    detailed = scraped(managed, "/metrics/detailed?family=queue_coarse_metrics&vhost=%2F")
    assert detailed["rabbitmq_detailed_queue_messages_ready"][key] == 1
    assert "rabbitmq_detailed_queue_consumers" not in detailed
    nowhere = scraped(managed, "/metrics/detailed?family=queue_coarse_metrics&vhost=none")
    assert nowhere.get("rabbitmq_detailed_queue_messages_ready", {}) == {}


def test_memory(managed: Broker) -> None:
    assert "rabbitmq_memory_messages_bytes" in scraped(managed, "/metrics/memory-breakdown")
