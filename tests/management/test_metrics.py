"""Metrics: a real parser reads them, and the names that dashboards ask for are there with their labels."""

import re
import runpy
from collections.abc import Callable
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families as parsed

from tests.protocol.test_alarms import fill
from tests.support.broker import Broker, until
from tests.support.http import WITH_HTTP, Api, api_of, fetch, metrics_port
from tests.support.wire import Channel, connect

pytestmark = pytest.mark.flowmq_only

# What the dashboards and rules that RabbitMQ publishes ask for; `make interop` asks a real Prometheus for it.
BOARDS = runpy.run_path(str(Path(__file__).parents[1] / "interop" / "python" / "prometheus_boards.py"))
LABELS = {"rabbitmq_cluster", "rabbitmq_node", "rabbitmq_endpoint", "rabbitmq_version"}
ASKED = {
    name
    for board in ("panels", "first_panels", "global_panels", "queue_panels", "rules")
    for _, query in BOARDS[board](*{"panels": ("", ""), "queue_panels": ("", ""), "rules": ()}.get(board, ("",)))
    for name in re.findall(r"\brabbitmq_\w+", query)
} - LABELS

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


def test_everything_that_dashboards_and_rules_ask_for_is_there(managed: Broker, amqp: Channel, name: str) -> None:
    amqp.queue(name, exclusive=True)
    samples = scraped(managed)
    detailed = {name for name in ASKED if name.startswith("rabbitmq_detailed_")}
    assert len(ASKED) > 60
    assert ASKED - detailed - set(samples) == set()
    assert detailed <= set(
        scraped(managed, "/metrics/detailed?family=queue_coarse_metrics&family=queue_consumer_count")
    )
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
    assert total(after, "rabbitmq_channel_messages_unconfirmed") == 0
    assert grown("rabbitmq_channel_messages_unroutable_dropped_total") == 1
    assert (grown("rabbitmq_channel_get_total"), grown("rabbitmq_channel_get_ack_total")) == (1, 0)
    assert grown("rabbitmq_message_size_bytes_count") == 4
    assert grown("rabbitmq_queue_messages_ready") == 2


def test_what_is_not_confirmed_yet(own_broker: Callable[..., Broker]) -> None:
    """Publishes that an alarm holds back wait for their confirms as long as it is in force."""
    broker = own_broker(**WITH_HTTP, FLOWMQ_LIMITS__MEMORY_BYTES_MAX=str(1 << 20))
    with connect(broker.peer) as client:
        channel, aside = client.channel(), client.channel()
        queue = channel.queue()

        def unconfirmed() -> tuple[float, float, int]:
            """Of all channels, of that one by itself, and as the HTTP API tells."""
            single = scraped(broker, "/metrics/detailed?family=channel_metrics")
            told = [row["messages_unconfirmed"] for row in api_of(broker).get("channels")]
            return (
                total(scraped(broker), "rabbitmq_channel_messages_unconfirmed"),
                max(single["rabbitmq_detailed_channel_messages_unconfirmed"].values()),
                sum(told),
            )

        count, held = fill(channel, queue)
        assert unconfirmed() == (held, held, held)
        for _ in range(3):
            channel.publish("", queue, b"held")
        assert aside.count(queue) == count  # they have come, too
        assert unconfirmed() == (held + 3, held + 3, held + 3)
        for _ in range(count):
            assert aside.get(queue) is not None
        client.expect("connection.unblocked")
        assert aside.count(queue) == held + 3
        assert unconfirmed() == (0, 0, 0)


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


# What RabbitMQ 3.10 has in its families; less what is about Erlang or its disk, and what no channel counts here.
FAMILIES = {
    "channel_metrics": (
        *("channel_consumers", "channel_messages_unacked", "channel_messages_unconfirmed", "channel_prefetch"),
        "consumer_prefetch",
    ),
    "channel_queue_metrics": (
        *("channel_get_ack_total", "channel_get_total", "channel_get_empty_total"),
        *("channel_messages_delivered_ack_total", "channel_messages_delivered_total"),
    ),
    "channel_exchange_metrics": (
        *("channel_messages_published_total", "channel_messages_confirmed_total"),
        *("channel_messages_unroutable_returned_total", "channel_messages_unroutable_dropped_total"),
    ),
    "queue_coarse_metrics": ("queue_messages", "queue_messages_ready", "queue_messages_unacked"),
    "queue_consumer_count": ("queue_consumers",),
    "exchange_metrics": ("exchange_messages_published_total", "exchange_messages_routed_total"),
    "connection_coarse_metrics": ("connection_incoming_bytes_total", "connection_outgoing_bytes_total"),
    "connection_metrics": ("connection_channels",),
    "connection_churn_metrics": (
        *("channels_closed_total", "channels_opened_total", "connections_closed_total", "connections_opened_total"),
        *("queues_created_total", "queues_declared_total", "queues_deleted_total"),
    ),
    "auth_attempt_metrics": ("auth_attempts_total", "auth_attempts_succeeded_total", "auth_attempts_failed_total"),
    "node_metrics": ("resident_memory_limit_bytes", "process_max_fds", "disk_space_available_limit_bytes"),
}
CLUSTER_FAMILIES = {
    "vhost_status": "rabbitmq_cluster_vhost_status",
    "exchange_names": "rabbitmq_cluster_exchange_name",
    "exchange_bindings": "rabbitmq_cluster_exchange_bindings",
}


@pytest.mark.parametrize("family", FAMILIES)
def test_families(managed: Broker, amqp: Channel, name: str, family: str) -> None:
    amqp.queue(name, exclusive=True)
    found = scraped(managed, f"/metrics/detailed?family={family}")
    assert {f"rabbitmq_detailed_{metric}" for metric in FAMILIES[family]} <= found.keys()
    [identity] = found["rabbitmq_identity_info"]
    assert ("rabbitmq_endpoint", "detailed") in identity


@pytest.mark.parametrize("family", CLUSTER_FAMILIES)
def test_families_of_the_cluster(managed: Broker, api: Api, family: str) -> None:
    api.put("vhosts", "elsewhere")
    everywhere = scraped(managed, f"/metrics/detailed?family={family}")[CLUSTER_FAMILIES[family]]
    assert {dict(key)["vhost"] for key in everywhere} >= {"/", "elsewhere"}
    one = scraped(managed, f"/metrics/detailed?family={family}&vhost=elsewhere")[CLUSTER_FAMILIES[family]]
    assert {dict(key)["vhost"] for key in one} == {"elsewhere"}
    api.delete("vhosts", "elsewhere")


def test_exchanges_are_told_with_their_types_and_bindings(managed: Broker, amqp: Channel, name: str) -> None:
    amqp.queue(name, exclusive=True)
    for key in ("a", "b"):
        amqp.call("queue.bind", queue=name, exchange="amq.topic", routing_key=f"{name}.{key}")
    found = scraped(managed, "/metrics/detailed?family=exchange_names&family=exchange_bindings")
    topic = frozenset({("vhost", "/"), ("exchange", "amq.topic"), ("type", "topic")})
    assert found["rabbitmq_cluster_exchange_name"][topic] == 1
    assert found["rabbitmq_cluster_exchange_bindings"][topic] >= 2


def test_channels_one_by_one(managed: Broker, api: Api, amqp: Channel, name: str) -> None:
    """`put` publishes through a channel of its own, which is found by how much it has published."""
    amqp.queue(name, exclusive=True)
    for _ in range(7):
        amqp.put(name, b"x")
    amqp.publish("", f"{name} nowhere", b"")
    assert amqp.get(name, no_ack=False) is not None
    assert amqp.get(name, no_ack=True) is not None
    families = "&".join(f"family=channel_{kind}metrics" for kind in ("", "queue_", "exchange_"))
    found = scraped(managed, f"/metrics/detailed?{families}")
    published = found["rabbitmq_detailed_channel_messages_published_total"]
    [putting] = [key for key, value in published.items() if value == 7]
    assert found["rabbitmq_detailed_channel_messages_confirmed_total"][putting] == 7
    connection = dict(putting)["channel"].rpartition(" (")[0]
    own = f"{connection} ({amqp.number})"
    assert api.get("channels", own)["message_stats"]["publish"] == 1
    for metric, expected in {
        "messages_published_total": 1,
        "messages_unroutable_dropped_total": 1,
        "messages_unacked": 1,
        "get_ack_total": 1,
        "get_total": 1,
        "messages_delivered_total": 0,
        "consumers": 0,
    }.items():
        assert found[f"rabbitmq_detailed_channel_{metric}"][frozenset({("vhost", "/"), ("channel", own)})] == expected


def test_memory(managed: Broker) -> None:
    assert "rabbitmq_memory_messages_bytes" in scraped(managed, "/metrics/memory-breakdown")
