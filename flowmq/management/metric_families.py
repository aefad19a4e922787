"""Metrics of objects one by one, by family: what they are called, and where their values stand in a listing.

Families, names and labels are those of RabbitMQ's plugin. A channel's counters are for all its queues and exchanges:
who sums them up by channel gets the same.
"""

from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from typing import Any, NamedTuple

from flowmq.management.metric_text import head, labels, line
from flowmq.server.control.client import AsyncControlConnection

Row = dict[str, Any]
Metric = tuple[str, str, tuple[str, ...], str]  # name, type, where in a row, help; nowhere: 1 for each row

QUEUE_METRICS = {
    "queue_coarse_metrics": (
        ("queue_messages_ready", "gauge", ("messages_ready",), "Messages ready to be delivered to consumers"),
        (
            *("queue_messages_unacked", "gauge", ("messages_unacknowledged",)),
            "Messages delivered to consumers but not yet acknowledged",
        ),
        ("queue_messages", "gauge", ("messages",), "Sum of ready and unacknowledged messages"),
    ),
    "queue_consumer_count": (("queue_consumers", "gauge", ("consumers",), "Consumers on a queue"),),
    "queue_metrics": (
        ("queue_messages_bytes", "gauge", ("message_bytes",), "Size in bytes of ready and unacked messages"),
        ("queue_messages_paged_out", "gauge", ("messages_paged_out",), "Messages paged out to disk"),
        (
            *("queue_messages_published_total", "counter", ("message_stats", "publish")),
            "Total number of messages published to a queue",
        ),
        ("queue_publishes_refused_total", "counter", ("publishes_refused",), "Publishes that the queue refused"),
    ),
    "queue_delivery_metrics": (
        (
            "queue_messages_delivered_ack_total",
            "counter",
            ("message_stats", "deliver"),
            "Delivered, to be acknowledged",
        ),
        (
            *("queue_messages_delivered_total", "counter", ("message_stats", "deliver_no_ack")),
            "Delivered without acknowledgement",
        ),
        ("queue_get_ack_total", "counter", ("message_stats", "get"), "Taken by basic.get, to be acknowledged"),
        ("queue_get_total", "counter", ("message_stats", "get_no_ack"), "Taken by basic.get without acknowledgement"),
        ("queue_get_empty_total", "counter", ("message_stats", "get_empty"), "basic.get of an empty queue"),
        ("queue_messages_redelivered_total", "counter", ("message_stats", "redeliver"), "Redelivered"),
        ("queue_messages_acked_total", "counter", ("message_stats", "ack"), "Acknowledged"),
    ),
}
EXCHANGE_METRICS = (
    (
        *("exchange_messages_published_total", "counter", ("message_stats", "publish_in")),
        "Total number of messages published into an exchange",
    ),
    ("exchange_messages_routed_total", "counter", ("message_stats", "publish_out"), "Routed to queues"),
    ("exchange_messages_confirmed_total", "counter", ("message_stats", "confirm"), "Confirmed"),
    (
        *("exchange_messages_unroutable_returned_total", "counter", ("message_stats", "return_unroutable")),
        "Returned to the publisher as unroutable",
    ),
    (
        *("exchange_messages_unroutable_dropped_total", "counter", ("message_stats", "drop_unroutable")),
        "Dropped as unroutable",
    ),
)
CONNECTION_METRICS = {
    "connection_coarse_metrics": (
        ("connection_incoming_bytes_total", "counter", ("recv_oct",), "Total number of bytes received on a connection"),
        ("connection_outgoing_bytes_total", "counter", ("send_oct",), "Total number of bytes sent on a connection"),
    ),
    "connection_metrics": (("connection_channels", "gauge", ("channels",), "Channels on a connection"),),
}
CHANNEL_METRICS = {
    "channel_metrics": (
        ("channel_consumers", "gauge", ("consumer_count",), "Consumers on a channel"),
        ("channel_messages_unacked", "gauge", ("messages_unacknowledged",), "Delivered but not yet acknowledged"),
        ("channel_messages_unconfirmed", "gauge", ("messages_unconfirmed",), "Published but not yet confirmed"),
        ("channel_prefetch", "gauge", ("global_prefetch_count",), "Limit of unacknowledged messages on a channel"),
        ("consumer_prefetch", "gauge", ("prefetch_count",), "Limit of unacknowledged messages for each new consumer"),
    ),
    "channel_queue_metrics": (
        ("channel_get_ack_total", "counter", ("message_stats", "get"), "Taken by basic.get, to be acknowledged"),
        ("channel_get_total", "counter", ("message_stats", "get_no_ack"), "Taken without acknowledgement"),
        ("channel_get_empty_total", "counter", ("message_stats", "get_empty"), "basic.get of an empty queue"),
        ("channel_messages_delivered_ack_total", "counter", ("message_stats", "deliver"), "To be acknowledged"),
        ("channel_messages_delivered_total", "counter", ("message_stats", "deliver_no_ack"), "Without acknowledgement"),
    ),
    "channel_exchange_metrics": (
        ("channel_messages_published_total", "counter", ("message_stats", "publish"), "Published"),
        ("channel_messages_confirmed_total", "counter", ("message_stats", "confirm"), "Published and confirmed"),
        (
            *("channel_messages_unroutable_returned_total", "counter", ("message_stats", "return_unroutable")),
            "Published as mandatory and returned as unroutable",
        ),
        (
            *("channel_messages_unroutable_dropped_total", "counter", ("message_stats", "drop_unroutable")),
            "Published as non-mandatory and dropped as unroutable",
        ),
    ),
}
EXCHANGES_OF_THE_CLUSTER = {
    "exchange_names": (("exchange_name", "gauge", (), "An exchange: its name and its type"),),
    "exchange_bindings": (("exchange_bindings", "gauge", ("bindings",), "Bindings from an exchange"),),
}
VHOST_STATUS: Metric = ("rabbitmq_cluster_vhost_status", "gauge", (), "1 if a virtual host is running")
# A family that has those of others in it.
WITH_OTHERS = {"queue_metrics": set(QUEUE_METRICS), "connection_metrics": set(CONNECTION_METRICS)}


class Source(NamedTuple):
    """One listing, for all families that it has the values of."""

    command: str
    labelled: Callable[[Row], str]
    columns: tuple[str, ...]
    families: Mapping[str, Iterable[Metric]]
    prefix: str = ""  # in place of the one that goes with the path


def queue_labels(row: Row) -> str:
    return labels(vhost=row["vhost"], queue=row["name"])


def exchange_labels(row: Row) -> str:
    return labels(vhost=row["vhost"], exchange=row["name"])


def typed_exchange_labels(row: Row) -> str:
    return labels(vhost=row["vhost"], exchange=row["name"], type=row["type"])


def connection_labels(row: Row) -> str:
    return labels(vhost=row["vhost"], connection=row["name"])


def channel_labels(row: Row) -> str:
    return labels(vhost=row["vhost"], channel=row["name"])


SOURCES = (
    Source(
        *("queue.list", queue_labels),
        (
            *("name", "vhost", "messages", "messages_ready", "messages_unacknowledged", "message_bytes", "consumers"),
            *("messages_paged_out", "message_stats", "publishes_refused", "dead_letters"),
        ),
        QUEUE_METRICS,
    ),
    Source(
        "exchange.list", exchange_labels, ("name", "vhost", "message_stats"), {"exchange_metrics": EXCHANGE_METRICS}
    ),
    Source(
        *("connection.list", connection_labels, ("name", "vhost", "recv_oct", "send_oct", "channels")),
        CONNECTION_METRICS,
    ),
    Source(
        *("channel.list", channel_labels),
        (
            *("name", "vhost", "consumer_count", "messages_unacknowledged", "messages_unconfirmed", "message_stats"),
            *("global_prefetch_count", "prefetch_count"),
        ),
        CHANNEL_METRICS,
    ),
    Source(
        *("exchange.list", typed_exchange_labels, ("name", "vhost", "type", "bindings"), EXCHANGES_OF_THE_CLUSTER),
        "rabbitmq_cluster_",
    ),
)


async def families(
    control: AsyncControlConnection, names: Iterable[str], prefix: str, vhosts: list[str] | None
) -> AsyncIterator[str]:
    """What the families of these names say of all objects, or of those in some virtual hosts."""
    wanted = set(names)
    for name in wanted & WITH_OTHERS.keys():
        wanted |= WITH_OTHERS[name]
    for source in SOURCES:
        metrics = [
            (f"{source.prefix or prefix}{name}", kind, path, help)
            for family, table in source.families.items()
            if family in wanted
            for name, kind, path, help in table
        ]
        if metrics:
            async for part in rows_of(control, source, metrics, vhosts):
                yield part
    if "vhost_status" in wanted:
        name, kind, _, help = VHOST_STATUS
        yield head(name, kind, help)
        async for rows in control.parts("vhost.list"):
            yield "".join(line(name, labels(vhost=row["name"]), 1) for row in rows if is_among(row["name"], vhosts))


def is_among(vhost: str, vhosts: list[str] | None) -> bool:
    return vhosts is None or vhost in vhosts


async def rows_of(
    control: AsyncControlConnection, source: Source, metrics: list[Metric], vhosts: list[str] | None
) -> AsyncIterator[str]:
    """Every metric with all its objects: the format wants those together, so the values are gathered first."""
    values: list[list[str]] = [[] for _ in metrics]
    async for rows in control.parts(source.command, vhosts=vhosts, columns=list(source.columns)):
        for row in rows:
            shown = source.labelled(row)
            for place, (name, _, path, _) in zip(values, metrics, strict=True):
                place.append(line(name, shown, inside(row, path) if path else 1))
    for place, (name, kind, _, help) in zip(values, metrics, strict=True):
        yield head(name, kind, help) + "".join(place)


def inside(row: Any, path: tuple[str, ...]) -> Any:
    for name in path:
        row = row[name]
    return row
