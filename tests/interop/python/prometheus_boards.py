"""What the dashboards and rules that RabbitMQ publishes ask of Prometheus: queries, with a title each.

`panels` has those of Grafana's dashboard 10991 as it is since RabbitMQ 4.1; `first_panels` those of its revision for
RabbitMQ 3.8 and 3.9, `global_panels` of the one between. `queue_panels` and `rules` are of RabbitMQ's operator for
Kubernetes: a board about one queue, and what its alerts compare with a threshold.

Boards about Erlang, Raft (quorum queues) and streams have nothing to show here, and are not among them.
"""

from collections.abc import Iterator

NAMESPACE = 'namespace=""'  # what the boards' variable is outside of Kubernetes

# ------------------------------------------------------------------------------------------------ since RabbitMQ 4.1

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
OF_QUEUES_AND_CLIENTS = {
    "Queues declared": "rabbitmq_queues_declared_total",
    "Queues created": "rabbitmq_queues_created_total",
    "Queues deleted": "rabbitmq_queues_deleted_total",
    "Channels opened": "rabbitmq_channels_opened_total",
    "Channels closed": "rabbitmq_channels_closed_total",
    "Connections opened": "rabbitmq_connections_opened_total",
    "Connections closed": "rabbitmq_connections_closed_total",
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
    **OF_QUEUES_AND_CLIENTS,
}
SIZE = "sum(increase(rabbitmq_message_size_bytes_{part}[1m]) {joined})"
# As Prometheus 3 writes numbers, whatever the broker sends; Prometheus 2 leaves them as they are.
BOUNDS = ("100.0", "1000.0", "10000.0", "100000.0", "1e+06", "1e+07", "5e+07", "1e+08", "+Inf")


def panels(cluster: str, endpoint: str) -> Iterator[tuple[str, str]]:
    joined = JOINED.format(cluster=cluster, endpoint=endpoint)
    for title, metric in SUMS.items():
        yield title, f"sum({metric} {joined})"
    for title in ("Ready messages", "Unacknowledged messages"):
        yield f"{title} by node", f"sum({SUMS[title]} {joined}) by(rabbitmq_node)"
    for title, metric in AS_THEY_ARE.items():
        yield title, f"{metric} {joined}"
    for title, metric in RATES.items():
        yield f"{title} per second", f"sum(rate({metric}[60s]) {joined}) by(rabbitmq_node)"
    for title, metric in (("Incoming", "received"), ("Outgoing", "delivered")):
        yield f"{title} messages per second", f"sum(irate(rabbitmq_global_messages_{metric}_total[1m]) {joined})"
    identity = f'namespace="",rabbitmq_cluster="{cluster}",rabbitmq_endpoint="{endpoint}"'
    yield "Nodes", f"count(rabbitmq_identity_info{{{identity}}})"
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


def variables(cluster: str) -> Iterator[tuple[str, str, str, set[str]]]:
    """Title, label and selector of what Grafana offers to choose from, and what it must find at least."""
    of_cluster = f'rabbitmq_identity_info{{namespace="", rabbitmq_cluster="{cluster}"'
    yield "cluster", "rabbitmq_cluster", f"rabbitmq_identity_info{{{NAMESPACE}}}", {cluster}
    endpoints = {"aggregated", "per-object", "detailed"}
    yield "endpoint", "rabbitmq_endpoint", f'{of_cluster}, rabbitmq_endpoint!="memory-breakdown"}}', endpoints


# ------------------------------------------------------------------------------------------------- revisions before

FIRST_SUMS = {
    "Ready messages": "rabbitmq_queue_messages_ready",
    "Unacknowledged messages": "rabbitmq_queue_messages_unacked",
    "Incoming messages": "rate(rabbitmq_channel_messages_published_total[60s])",
    "Consumers": "rabbitmq_channel_consumers",
    "Connections": "rabbitmq_connections",
    "Channels": "rabbitmq_channels",
    "Queues": "rabbitmq_queues",
    "Nodes": "rabbitmq_build_info",
}
FIRST_OUTGOING = ("messages_redelivered", "messages_delivered", "messages_delivered_ack", "get", "get_ack")
FIRST_RATES = {
    "Published": "rabbitmq_channel_messages_published_total",
    "Confirmed": "rabbitmq_channel_messages_confirmed_total",
    "Routed": "rabbitmq_queue_messages_published_total",
    "Unconfirmed": "rabbitmq_channel_messages_unconfirmed",
    "Unroutable, dropped": "rabbitmq_channel_messages_unroutable_dropped_total",
    "Unroutable, returned": "rabbitmq_channel_messages_unroutable_returned_total",
    "Redelivered": "rabbitmq_channel_messages_redelivered_total",
    "Delivered, manual ack": "rabbitmq_channel_messages_delivered_ack_total",
    "Delivered, auto ack": "rabbitmq_channel_messages_delivered_total",
    "Acknowledged": "rabbitmq_channel_messages_acked_total",
    "Polled, auto ack": "rabbitmq_channel_get_total",
    "Polled, nothing": "rabbitmq_channel_get_empty_total",
    "Polled, manual ack": "rabbitmq_channel_get_ack_total",
    **OF_QUEUES_AND_CLIENTS,
}
LEFT = {  # what there may be at most, less what there is
    "Memory available": ("rabbitmq_resident_memory_limit_bytes", "rabbitmq_process_resident_memory_bytes"),
    "File descriptors available": ("rabbitmq_process_max_fds", "rabbitmq_process_open_fds"),
    "Sockets available": ("rabbitmq_process_max_tcp_sockets", "rabbitmq_process_open_tcp_sockets"),
}


def joined_by_instance(cluster: str, *labels: str) -> str:
    identity = f'rabbitmq_identity_info{{rabbitmq_cluster="{cluster}", {NAMESPACE}}}'
    return f"* on(instance) group_left({', '.join(('rabbitmq_cluster', *labels))}) {identity}"


def first_panels(cluster: str) -> Iterator[tuple[str, str]]:
    of_cluster, of_node = joined_by_instance(cluster), joined_by_instance(cluster, "rabbitmq_node")
    for title, metric in FIRST_SUMS.items():
        yield title, f"sum({metric} {of_cluster})"
    yield "Publishers", f"sum(rabbitmq_channels {of_cluster}) - sum(rabbitmq_channel_consumers {of_cluster})"
    outgoing = (f"sum(rate(rabbitmq_channel_{name}_total[60s]) {of_cluster})" for name in FIRST_OUTGOING)
    yield "Outgoing messages", " + ".join(outgoing)
    yield "Table of nodes", f"rabbitmq_build_info {of_node}"
    for title, (most, now) in LEFT.items():
        yield title, f"({most} {of_node}) - ({now} {of_node})"
    for title, metric in AS_THEY_ARE.items():
        yield title, f"{metric} {of_node}"
    for title in ("Ready messages", "Unacknowledged messages"):
        yield f"{title} by node", f"sum({FIRST_SUMS[title]} {of_node}) by(rabbitmq_node)"
    ways = (f"(rate(rabbitmq_channel_messages_{name}_total[60s]) {of_node})" for name in ("delivered", "delivered_ack"))
    yield "Delivered per second", f"sum({' + '.join(ways)}) by(rabbitmq_node)"
    for title, metric in FIRST_RATES.items():
        yield f"{title} per second", f"sum(rate({metric}[60s]) {of_node}) by(rabbitmq_node)"


def global_panels(cluster: str) -> Iterator[tuple[str, str]]:
    """Global counters instead of those of channels, still joined by the instance alone."""
    of_node = joined_by_instance(cluster, "rabbitmq_node")
    for title in ("Publishers", "Consumers"):
        yield title, f"sum({SUMS[title]} {of_node})"
    for title, metric in RATES.items():
        yield f"{title} per second", f"sum(rate({metric}[60s]) {of_node}) by(rabbitmq_node)"


# ------------------------------------------------------------------------------------------- the operator's, and rules


def queue_panels(cluster: str, queue: str) -> Iterator[tuple[str, str]]:
    identity = f'rabbitmq_identity_info{{{NAMESPACE},rabbitmq_cluster="{cluster}"}}'
    for title, metric in (("Messages", "queue_messages"), ("Consumers", "queue_consumers")):
        detailed = f'rabbitmq_detailed_{metric}{{{NAMESPACE}, queue="{queue}"}}'
        yield title, f"{detailed} * on (instance, job) {identity}"
    every = f"rabbitmq_detailed_queue_messages{{{NAMESPACE}}}"
    yield "Choice of queues", f"{every} * on (instance, job) group_left(rabbitmq_cluster) {identity}"


def rules() -> Iterator[tuple[str, str]]:
    """The left side of each comparison: it must be there for the alert ever to be raised."""

    def joined(*labels: str) -> str:
        named = ", ".join(("rabbitmq_cluster", *labels))
        return f"* on(instance) group_left({named}) max by (instance, {named}) (rabbitmq_identity_info)"

    def churn(what: str) -> str:
        return f"sum by (namespace, rabbitmq_cluster) ({what} {joined()})"

    for title, alarm in (
        ("Memory", "memory_used_watermark"),
        ("Disk", "free_disk_space_watermark"),
        ("Files", "file_descriptor_limit"),
    ):
        yield f"{title} alarm", f"max by(rabbitmq_cluster) (max_over_time(rabbitmq_alarms_{alarm}[5m]) {joined()})"
    for what in ("dropped", "returned"):
        unroutable = f"increase(rabbitmq_channel_messages_unroutable_{what}_total[5m])"
        yield f"Unroutable, {what}", f"sum by(namespace, rabbitmq_cluster) ({unroutable} {joined()})"
    of_node = "sum by(namespace, rabbitmq_cluster, pod, rabbitmq_node)"
    files = ("max_over_time(rabbitmq_process_open_fds[5m])", "rabbitmq_process_max_fds")
    yield "Files near limit", " / ".join(f"{of_node} ({one} {joined('rabbitmq_node')})" for one in files)
    changes = (churn(f"rate(rabbitmq_connections_{change}_total[5m])") for change in ("closed", "opened"))
    yield "Connection churn", f"({' + '.join(changes)}) / {churn('rabbitmq_connections')}"
    yield (
        "Disk predicted",
        f"predict_linear(rabbitmq_disk_space_available_bytes[24h], 60*60*24) {joined('rabbitmq_node')}",
    )
    yield "Disk limit", f"rabbitmq_disk_space_available_limit_bytes {joined('rabbitmq_node')}"
    yield "Queue is growing", f"avg_over_time(rabbitmq_detailed_queue_messages[10m]) {joined()}"
