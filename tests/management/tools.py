"""What tools that people use ask of the HTTP API, and the keys that they read: one table, taken from their sources.

A key is a path: `[]` is each row of a list, `?` behind it says that the tool can do without. Its type is one of Go's or
JSON's: `int` is a number without a fraction, which a decoder of Go insists on. Tools of which the real program runs
against FlowMQ are not here (tests/management/test_rabbitmqadmin.py, tests/interop).
"""

from typing import NamedTuple


class Asked(NamedTuple):
    tool: str
    path: str
    keys: dict[str, str]  # path -> type


def keys(type_name: str, *names: str, under: str = "") -> dict[str, str]:
    return {f"{under}{name}": type_name for name in names}


def rates(*names: str, under: str) -> dict[str, str]:
    return keys("float", *(f"{name}_details.rate" for name in names), under=under)


LENGTHS = ("messages", "messages_ready", "messages_unacknowledged")
STATS = ("ack", "deliver", "deliver_get", "publish", "redeliver")
EXCHANGE_STATS = ("confirm", "drop_unroutable", "publish_in", "publish_out", "return_unroutable")
ONE_QUEUE = {
    **keys("string", "name", "vhost"),
    **keys("int", *LENGTHS),
    **rates("publish", "deliver_get", under="message_stats."),
}
KEDA_PAGE = "queues/%2F?page=1&use_regex=true&pagination=false&name=%5Etool.*%24&page_size=100"
NODE_COUNTS = (
    *("disk_free", "disk_free_limit", "fd_total", "fd_used", "mem_limit", "mem_used", "proc_total", "proc_used"),
    *("run_queue", "sockets_total", "sockets_used", "uptime"),
)
TABLE = [
    Asked("KEDA, http", "queues/%2F/tool.jobs", ONE_QUEUE),
    Asked(
        "KEDA, http with useRegex",
        KEDA_PAGE,
        {f"items[].{name}": kind for name, kind in ONE_QUEUE.items()} | keys("int", "page", "page_count", "item_count"),
    ),
    Asked(
        "Telegraf",
        "overview",
        {
            **keys("int", *LENGTHS, under="queue_totals."),
            **keys("int", "channels", "connections", "consumers", "exchanges", "queues", under="object_totals."),
            **keys("int", *STATS, "return_unroutable", under="message_stats."),
            **rates(*STATS, "return_unroutable", under="message_stats."),
            **keys("string", "listeners[].protocol"),
        },
    ),
    Asked(
        "Telegraf",
        "nodes",
        {
            **keys("string", "[].name"),
            **keys("int", *NODE_COUNTS, under="[]."),
            **keys("boolean", "disk_free_alarm", "mem_alarm", "running", under="[]."),
            **keys("int", "mnesia_disk_tx_count", "mnesia_ram_tx_count", "gc_num", "gc_bytes_reclaimed", under="[]."),
            **rates("mnesia_disk_tx_count", "mnesia_ram_tx_count", "gc_num", "gc_bytes_reclaimed", under="[]."),
            **keys("float", "io_read_avg_time", "io_write_avg_time", under="[]."),
            **keys("int", "io_read_bytes", "io_write_bytes", under="[]."),
            **rates("io_read_avg_time", "io_write_avg_time", "io_read_bytes", "io_write_bytes", under="[]."),
        },
    ),
    Asked("Telegraf", "nodes/{node}/memory", keys("int", "memory.total.rss")),
    Asked(
        "Telegraf",
        "queues",
        {
            **keys("string", "name", "node", "vhost", "idle_since?", under="[]."),
            **keys("boolean", "durable", "auto_delete", under="[]."),
            **keys("float", "[].consumer_utilisation"),
            **keys("int", *LENGTHS, "memory", "consumers", under="[]."),
            **keys("int", "message_bytes", "message_bytes_ready", "message_bytes_unacknowledged", under="[]."),
            **keys("int", "message_bytes_ram", "message_bytes_persistent?", under="[]."),
            **keys("int", *STATS, under="[].message_stats."),
            **rates(*STATS, under="[].message_stats."),
        },
    ),
    Asked(
        "Telegraf",
        "exchanges",
        {
            **keys("string", "name", "type", "vhost", under="[]."),
            **keys("boolean", "internal", "durable", "auto_delete", under="[]."),
            **keys("int", "publish_in", "publish_out", under="[].message_stats."),
            **rates("publish_in", "publish_out", under="[].message_stats."),
        },
    ),
    Asked("Telegraf", "federation-links", {"": "list"}),
    Asked(
        "rabbitmqadmin v2",
        "nodes/{node}/memory",
        keys(
            "int",
            *("connection_readers", "connection_writers", "connection_channels", "connection_other", "queue_procs"),
            *("quorum_queue_procs", "stream_queue_procs", "stream_queue_replica_reader_procs", "plugins", "other_proc"),
            *("stream_queue_coordinator_procs", "metadata_store", "metrics", "mgmt_db", "mnesia", "quorum_ets"),
            *("metadata_store_ets", "other_ets", "binary", "msg_index", "code", "atom", "other_system"),
            *("allocated_unused", "reserved_unallocated", "total.rss", "total.allocated", "total.erlang"),
            under="memory.",
        )
        | keys("string", "memory.strategy"),
    ),
    Asked("rabbitmqadmin v2", "overview", keys("object", "cluster_tags", "node_tags")),
    Asked(
        "rabbitmqadmin v2",
        "consumers",
        {
            **keys("string", "consumer_tag", "queue.name", "channel_details.name", under="[]."),
            **keys("int", "consumer_timeout", "prefetch_count", "channel_details.number", under="[]."),
            **keys("boolean", "active", "ack_required", "exclusive", under="[]."),
            **keys("object", "[].arguments"),
        },
    ),
    Asked("Datadog", "vhosts", keys("string", "[].name")),
    Asked(
        "Datadog",
        "overview",
        {
            **keys("string", "rabbitmq_version", "cluster_name"),
            **keys("int", "connections", "channels", "queues", "consumers", under="object_totals."),
            **keys("int", *LENGTHS, under="queue_totals."),
            **rates(*LENGTHS, under="queue_totals."),
            **keys("int", "ack", "confirm", "deliver_get", "publish", "redeliver", under="message_stats."),
            **rates("ack", "confirm", "deliver_get", "publish", "redeliver", under="message_stats."),
            **keys("int", "drop_unroutable", "return_unroutable", under="message_stats."),
            **rates("drop_unroutable", "return_unroutable", under="message_stats."),
            **keys("int", "publish_in?", "publish_out?", under="message_stats."),
        },
    ),
    Asked(
        "Datadog",
        "exchanges",
        {
            **keys("string", "name", "vhost", under="[]."),
            **keys("int", *EXCHANGE_STATS, under="[].message_stats."),
            **rates(*EXCHANGE_STATS, under="[].message_stats."),
            **keys("int", "ack?", "deliver_get?", "publish?", "redeliver?", under="[].message_stats."),
        },
    ),
    Asked(
        "Datadog",
        "queues",
        {
            **keys("string", "name", "node", "vhost", "policy", under="[]."),
            **keys("int", "consumers", "memory", "message_bytes", *LENGTHS, under="[]."),
            **keys("int", "active_consumers", "head_message_timestamp", under="[]."),
            **keys("float", "[].consumer_utilisation"),
            **rates(*LENGTHS, under="[]."),
            **keys("int", *STATS, under="[].message_stats."),
            **rates(*STATS, under="[].message_stats."),
        },
    ),
    # With `vhosts` it asks for the queues and the connections of each of those.
    Asked("Datadog", "queues/%2F", {**keys("string", "[].name", "[].vhost"), **keys("int", "[].messages")}),
    Asked("Datadog", "queues/%2F/tool.jobs/bindings", keys("string", "[].source")),
    # A blank of a queue's name comes as "+", and an error would be the end of the whole check.
    Asked("Datadog", "queues/%2F/tool+with+blanks/bindings", keys("string", "[].source")),
    Asked(
        "Datadog",
        "nodes",
        {
            **keys("string", "[].name"),
            **keys("int", "fd_used", "disk_free", "mem_used", "mem_limit", "run_queue", "sockets_used", under="[]."),
            **keys("boolean", "running", "mem_alarm", "disk_free_alarm", under="[]."),
            **keys("list", "[].partitions"),
        },
    ),
    Asked("Datadog", "connections", keys("string", "[].vhost", "[].state")),
    Asked("Datadog", "vhosts/%2F/connections", keys("string", "[].vhost", "[].state")),
    Asked("Datadog", "aliveness-test/%2F", keys("string", "status")),
    Asked("Spring AMQP, where a queue is", "queues/%2F/tool.jobs", keys("string", "node")),
    Asked("Flower", "queues/%2F", keys("string", "[].name") | keys("int", "[].messages")),
    Asked(
        "Zabbix",
        "overview",
        keys("int", *LENGTHS, under="queue_totals.")
        | keys("string", "management_version", "rabbitmq_version")
        | keys(
            "int", "ack", "confirm", "deliver_get", "publish", "return_unroutable", "redeliver", under="message_stats."
        ),
    ),
    Asked(
        "Zabbix",
        "nodes/{node}",
        keys("int", *NODE_COUNTS) | keys("boolean", "running", "mem_alarm", "disk_free_alarm") | keys("string", "name"),
    ),
    *[
        Asked("Zabbix", f"health/checks/{check}", keys("string", "status"))
        for check in (
            *("alarms", "local-alarms", "certificate-expiration/1/months", "virtual-hosts"),
            *("node-is-mirror-sync-critical", "node-is-quorum-critical"),
        )
    ],
]

# Of /metrics, aggregated: what Datadog's check takes from it and is not about Erlang, or a disk of another kind.
DATADOG_METRICS = [
    *("rabbitmq_auth_attempts_failed_total", "rabbitmq_auth_attempts_succeeded_total", "rabbitmq_auth_attempts_total"),
    *("rabbitmq_channels", "rabbitmq_channels_closed_total", "rabbitmq_channels_opened_total"),
    *("rabbitmq_connections", "rabbitmq_connections_closed_total", "rabbitmq_connections_opened_total"),
    *("rabbitmq_consumers", "rabbitmq_disk_space_available_bytes", "rabbitmq_disk_space_available_limit_bytes"),
    *("rabbitmq_erlang_uptime_seconds", "rabbitmq_global_consumers", "rabbitmq_global_publishers"),
    *(
        f"rabbitmq_global_messages_{name}_total"
        for name in (
            *("acknowledged", "confirmed", "dead_lettered_delivery_limit", "dead_lettered_expired"),
            *("dead_lettered_maxlen", "dead_lettered_rejected", "delivered_consume_auto_ack"),
            *("delivered_consume_manual_ack", "delivered_get_auto_ack", "delivered_get_manual_ack", "delivered"),
            *("get_empty", "received_confirm", "received", "redelivered", "routed", "unroutable_dropped"),
            "unroutable_returned",
        )
    ),
    *("rabbitmq_process_max_fds", "rabbitmq_process_max_tcp_sockets", "rabbitmq_process_open_fds"),
    *("rabbitmq_process_open_tcp_sockets", "rabbitmq_process_resident_memory_bytes", "rabbitmq_queue_consumers"),
    *("rabbitmq_queue_messages", "rabbitmq_queue_messages_published_total", "rabbitmq_queue_messages_ready"),
    *("rabbitmq_queue_messages_ready_bytes", "rabbitmq_queue_messages_unacked"),
    *("rabbitmq_queue_messages_bytes", "rabbitmq_queue_messages_unacked_bytes", "rabbitmq_queues"),
    "rabbitmq_queues_created_total",
    *("rabbitmq_queues_declared_total", "rabbitmq_queues_deleted_total", "rabbitmq_resident_memory_limit_bytes"),
    *(
        f"rabbitmq_channel_{name}"
        for name in (
            *("consumers", "get_ack_total", "get_empty_total", "get_total", "messages_acked_total", "messages_unacked"),
            *("messages_confirmed_total", "messages_delivered_ack_total", "messages_delivered_total"),
            *("messages_published_total", "messages_redelivered_total", "messages_unroutable_dropped_total"),
            "messages_unroutable_returned_total",
        )
    ),
    *("rabbitmq_identity_info", "rabbitmq_build_info", "rabbitmq_alarms_memory_used_watermark"),
    *("rabbitmq_alarms_free_disk_space_watermark", "rabbitmq_alarms_file_descriptor_limit"),
    *("rabbitmq_io_sync_ops_total", "rabbitmq_io_sync_time_seconds_total", "rabbitmq_io_write_bytes_total"),
    "rabbitmq_io_write_ops_total",
]  # fmt: skip
