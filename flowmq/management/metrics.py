"""Metrics in Prometheus' text format: /metrics, /metrics/per-object, /metrics/detailed, /metrics/memory-breakdown.

Names and labels are those of RabbitMQ's plugin, so that its dashboards show this broker too; what only this broker has
is called flowmq_*. Values are the broker's at the moment of the request.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from aiohttp import web

from flowmq import __version__
from flowmq.management.metric_tables import (
    CHANNEL_TOTALS,
    CHURN,
    EXCHANGE_METRICS,
    GLOBAL,
    GLOBAL_BY_QUEUE_TYPE,
    JOURNAL,
    NODE_GAUGES,
    QUEUE_METRICS,
    QUEUE_TOTALS,
)
from flowmq.server.control.client import NoBroker

if TYPE_CHECKING:
    from flowmq.management.application import Management

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
PER_OBJECT, AGGREGATED, DETAILED, MEMORY = "per-object", "aggregated", "detailed", "memory-breakdown"
PROTOCOL, QUEUE_TYPE = 'protocol="amqp091"', 'queue_type="rabbit_classic_queue"'
ESCAPES = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n"})

Lines = Iterator[str]


def metrics_application(management: "Management") -> web.Application:
    made = web.Application()
    made.router.add_get("/metrics", answering(management, aggregated))
    made.router.add_get("/metrics/per-object", answering(management, per_object))
    made.router.add_get("/metrics/detailed", answering(management, detailed))
    made.router.add_get("/metrics/memory-breakdown", answering(management, memory_breakdown))
    made.router.add_get("/health/live", answering(management, alive))
    return made


def answering(
    management: "Management", parts: Callable[["Management", web.Request], AsyncIterator[str]]
) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    """Sent as it is made: metrics of 100 000 queues are never in memory as a whole."""

    async def handle(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": CONTENT_TYPE})
        try:
            first = True
            async for part in parts(management, request):
                if first:
                    await response.prepare(request)
                    first = False
                await response.write(part.encode("utf-8", "backslashreplace"))
            if first:
                await response.prepare(request)
            await response.write_eof()
        except NoBroker:
            if response.prepared:
                raise
            return web.Response(status=503, text="the broker does not answer\n")
        return response

    return handle


# ----------------------------------------------------------------------------------------------------------- writing


def labels(**values: object) -> str:
    return ",".join(f'{name}="{str(value).translate(ESCAPES)}"' for name, value in values.items())


def head(name: str, kind: str, help: str) -> str:
    return f"# TYPE {name} {kind}\n# HELP {name} {help}\n"


def line(name: str, labelled: str, value: float) -> str:
    return f"{name}{{{labelled}}} {number(value)}\n" if labelled else f"{name} {number(value)}\n"


def number(value: float) -> str:
    return repr(value) if isinstance(value, float) else str(int(value))


def histogram(name: str, labelled: str, help: str, buckets: Iterable[tuple[str, int]], total: float) -> Lines:
    """Buckets as (upper bound, how many within it alone); the last one is +Inf."""
    yield head(name, "histogram", help)
    comma = "," if labelled else ""
    running = 0
    for bound, count in buckets:
        running += count
        yield f'{name}_bucket{{{labelled}{comma}le="{bound}"}} {running}\n'
    yield line(f"{name}_count", labelled, running)
    yield line(f"{name}_sum", labelled, total)


def doubling(counts: list[int], first_us: int) -> Iterator[tuple[str, int]]:
    """Buckets of microseconds that double, as bounds in seconds."""
    for at, count in enumerate(counts[:-1]):
        yield repr(first_us * 2**at / 1e6), count
    yield "+Inf", counts[-1]


# -------------------------------------------------------------------------------------------------------- of the node


async def aggregated(management: "Management", request: web.Request) -> AsyncIterator[str]:
    yield await of_node(management, AGGREGATED, with_queue_sums=True)


async def of_node(management: "Management", endpoint: str, *, with_queue_sums: bool) -> str:
    control = management.control
    status, totals = await control.call("node.status"), await control.call("node.totals")
    unacked = dict(await control.call("node.oldest_unacked"))
    total = totals["all"]
    found: list[str] = []
    found += identity(status, endpoint)
    found += plain_metrics(NODE_GAUGES, {**status, **total, "uptime_seconds": status["uptime_ms"] / 1000})
    found += plain_metrics(CHURN, {**status["churn"], **total, "attempts": attempts(status)})
    found += global_metrics(total)
    found += alarms(status)
    if with_queue_sums:
        sums = {
            "messages": total["ready"] + total["unacked"],
            "bytes": total["ready_bytes"] + total["unacked_bytes"],
        }
        found += plain_metrics(QUEUE_TOTALS, {**total, **sums})
        found += plain_metrics(CHANNEL_TOTALS, total)
    found += message_sizes(status, total)
    found += own(management, status, unacked)
    found += refused_by_limits(await control.call("limit.refused"))
    found += shovels(await control.call("shovel.totals"))
    return "".join(found)


def attempts(status: dict[str, Any]) -> int:
    return int(status["churn"]["log_ins_succeeded"] + status["churn"]["log_ins_failed"])


def identity(status: dict[str, Any], endpoint: str) -> Lines:
    name = status["name"]
    yield head("rabbitmq_identity_info", "untyped", "RabbitMQ node & cluster identity info")
    shown = labels(
        rabbitmq_node=name,
        rabbitmq_cluster=status["cluster_name"],
        rabbitmq_cluster_permanent_id=name,
        rabbitmq_endpoint=endpoint,
    )
    yield line("rabbitmq_identity_info", shown, 1)
    yield head("rabbitmq_build_info", "untyped", "RabbitMQ & Erlang/OTP version info")
    shown = labels(
        rabbitmq_version="4.0.5",
        prometheus_plugin_version=__version__,
        prometheus_client_version=__version__,
        erlang_version=f"Python {status['python_version']}",
        product_name="FlowMQ",
        product_version=__version__,
    )
    yield line("rabbitmq_build_info", shown, 1)


def plain_metrics(table: Iterable[tuple[str, str, str, str]], values: dict[str, Any], labelled: str = "") -> Lines:
    for name, kind, key, help in table:
        yield head(name, kind, help)
        yield line(name, labelled, values[key] or 0)


def global_metrics(total: dict[str, int]) -> Lines:
    values = {
        **total,
        "delivered": sum(total[name] for name in ("deliver", "deliver_no_ack", "get", "get_no_ack")),
    }
    yield from plain_metrics(GLOBAL, values, PROTOCOL)
    yield from plain_metrics(GLOBAL_BY_QUEUE_TYPE, values, f"{PROTOCOL},{QUEUE_TYPE}")
    for reason in ("maxlen", "expired", "rejected", "delivery_limit"):
        name = f"rabbitmq_global_messages_dead_lettered_{reason}_total"
        yield head(name, "counter", f"Messages that left their queue because of: {reason}")
        yield line(name, f'{QUEUE_TYPE},dead_letter_strategy="at_least_once"', total[reason])


def alarms(status: dict[str, Any]) -> Lines:
    for name, alarm, help in (
        ("rabbitmq_alarms_memory_used_watermark", "memory", "is 1 if a memory alarm is in effect"),
        ("rabbitmq_alarms_free_disk_space_watermark", "disk", "is 1 if a free disk space alarm is in effect"),
        ("rabbitmq_alarms_file_descriptor_limit", "files", "is 1 if a file descriptor alarm is in effect"),
    ):
        yield head(name, "gauge", help)
        yield line(name, "", alarm in status["alarms"])


BOUNDS = ("100.0", "1000.0", "10000.0", "100000.0", "1e+06", "1e+07", "5e+07", "1e+08", "+Inf")


def message_sizes(status: dict[str, Any], total: dict[str, int]) -> Lines:
    counts = [count for _, count in status["message_sizes"]]
    help = "Size of messages received from publishers"
    buckets = list(zip(BOUNDS, counts, strict=True))
    return histogram("rabbitmq_message_size_bytes", PROTOCOL, help, buckets, total["publish_in_bytes"])


# --------------------------------------------------------------------------------------------------- what is our own


def own(management: "Management", status: dict[str, Any], unacked: dict[str, int]) -> Lines:
    lag = status["loop_lag_us"]
    buckets = doubling(lag["counts"], lag["first_us"])
    help = "How late the event loop was for a timer"
    yield from histogram("flowmq_loop_lag_seconds", "", help, buckets, lag["sum_us"] / 1e6)
    yield head("flowmq_message_memory_bytes", "gauge", "Memory that messages take")
    yield line("flowmq_message_memory_bytes", "", status["message_bytes"])
    yield from disk(status["journal"])
    yield head("flowmq_oldest_unacked_seconds", "gauge", "For how long the oldest delivery has not been settled")
    for vhost, age_ms in sorted(unacked.items()):
        yield line("flowmq_oldest_unacked_seconds", labels(vhost=vhost), age_ms / 1000)
    yield head("flowmq_oldest_ready_seconds", "gauge", "For how long at least the oldest ready message has waited")
    for vhost, seconds in sorted(oldest_ready(management).items()):
        yield line("flowmq_oldest_ready_seconds", labels(vhost=vhost), seconds)


def refused_by_limits(refused: dict[str, int]) -> Lines:
    yield head("flowmq_limit_refusals_total", "counter", "What was refused because of a limit")
    for limit, count in sorted(refused.items()):
        yield line("flowmq_limit_refusals_total", labels(limit=limit), count)


def shovels(totals: dict[str, Any]) -> Lines:
    yield head("flowmq_shovels", "gauge", "Shovels in each state")
    for state, count in totals["states"].items():
        yield line("flowmq_shovels", labels(state=state), count)
    yield head("flowmq_shovel_messages_total", "counter", "Messages that a shovel has moved")
    for vhost, name, moved in totals["moved"]:
        yield line("flowmq_shovel_messages_total", labels(vhost=vhost, shovel=name), moved)


def oldest_ready(management: "Management") -> dict[str, float]:
    oldest: dict[str, float] = {}
    for vhost, name in list(management.sampler.oldest):
        seconds = management.sampler.oldest_ready_seconds((vhost, name))
        if seconds is not None:
            oldest[vhost] = max(oldest.get(vhost, 0.0), seconds)
    return oldest


def disk(journal: dict[str, Any] | None) -> Lines:
    if journal is None:
        return
    values = {
        **journal,
        "dead_bytes": journal["used_bytes"] - journal["live_bytes"],
        "failed": int(journal["failed"]),
        "damaged": int(journal["damaged"]),
        "stopped": len(journal["damaged_queues"]),
    }
    yield from plain_metrics(JOURNAL, values)
    syncs = journal["sync_histogram"]
    help = "How long the disk took to make a batch durable"
    yield from histogram("flowmq_commit_seconds", "", help, doubling(syncs, 64), journal["sync_seconds"])


# ---------------------------------------------------------------------------------------------------------- per object


async def per_object(management: "Management", request: web.Request) -> AsyncIterator[str]:
    yield await of_node(management, PER_OBJECT, with_queue_sums=False)
    async for part in families(
        management, ["queue_metrics", "exchange_metrics", "connection_metrics"], "rabbitmq_", None
    ):
        yield part


PER_OBJECT_FAMILIES = ("queue_metrics", "exchange_metrics", "connection_metrics")
DEFAULT_FAMILIES = ("queue_coarse_metrics",)


async def detailed(management: "Management", request: web.Request) -> AsyncIterator[str]:
    """`family` and `vhost` may be given several times."""
    status = await management.control.call("node.status")
    yield "".join(identity(status, DETAILED))
    wanted = request.query.getall("family", list(DEFAULT_FAMILIES))
    vhosts = request.query.getall("vhost", []) or None
    async for part in families(management, wanted, "rabbitmq_detailed_", vhosts):
        yield part


async def families(
    management: "Management", wanted: Iterable[str], prefix: str, vhosts: list[str] | None
) -> AsyncIterator[str]:
    wanted = set(wanted)
    queue_families = [family for family in QUEUE_METRICS if family in wanted or "queue_metrics" in wanted]
    if queue_families:
        metrics = [metric for family in queue_families for metric in QUEUE_METRICS[family]]
        async for part in rows_of(management, "queue.list", metrics, prefix, queue_labels, vhosts, QUEUE_COLUMNS):
            yield part
    if "exchange_metrics" in wanted:
        columns = ["name", "vhost", "message_stats"]
        async for part in rows_of(
            management, "exchange.list", EXCHANGE_METRICS, prefix, exchange_labels, vhosts, columns
        ):
            yield part
    if wanted & {"connection_metrics", "connection_coarse_metrics"}:
        columns = ["name", "vhost", "recv_oct", "send_oct", "channels"]
        async for part in rows_of(
            management, "connection.list", CONNECTION_METRICS, prefix, connection_labels, vhosts, columns
        ):
            yield part


QUEUE_COLUMNS = [
    *("name", "vhost", "messages", "messages_ready", "messages_unacknowledged", "message_bytes", "consumers"),
    *("messages_paged_out", "message_stats", "publishes_refused", "dead_letters"),
]
CONNECTION_METRICS = (
    ("connection_incoming_bytes_total", "counter", ("recv_oct",), "Total number of bytes received on a connection"),
    ("connection_outgoing_bytes_total", "counter", ("send_oct",), "Total number of bytes sent on a connection"),
    ("connection_channels", "gauge", ("channels",), "Channels on a connection"),
)


def queue_labels(row: dict[str, Any]) -> str:
    return labels(vhost=row["vhost"], queue=row["name"])


def exchange_labels(row: dict[str, Any]) -> str:
    return labels(vhost=row["vhost"], exchange=row["name"])


def connection_labels(row: dict[str, Any]) -> str:
    return labels(vhost=row["vhost"], connection=row["name"])


async def rows_of(
    management: "Management",
    command: str,
    metrics: Iterable[tuple[str, str, tuple[str, ...], str]],
    prefix: str,
    labelled: Callable[[dict[str, Any]], str],
    vhosts: list[str] | None,
    columns: list[str],
) -> AsyncIterator[str]:
    """Every metric with all its objects: the format wants those together, so the values are gathered first."""
    metrics = list(metrics)
    values: list[list[str]] = [[] for _ in metrics]
    async for rows in management.control.parts(command, vhosts=vhosts, columns=columns):
        for row in rows:
            shown = labelled(row)
            for place, (name, _, path, _) in zip(values, metrics, strict=True):
                place.append(line(prefix + name, shown, inside(row, path)))
    for place, (name, kind, _, help) in zip(values, metrics, strict=True):
        yield head(prefix + name, kind, help) + "".join(place)


def inside(row: Any, path: tuple[str, ...]) -> Any:
    for name in path:
        row = row[name]
    return row


async def memory_breakdown(management: "Management", request: web.Request) -> AsyncIterator[str]:
    status = await management.control.call("node.status")
    found = list(identity(status, MEMORY))
    for name, value in (
        ("messages", status["message_bytes"]),
        ("other", status["resident_bytes"] - status["message_bytes"]),
    ):
        found += [head(f"rabbitmq_memory_{name}_bytes", "gauge", f"Memory of {name}")]
        found += [line(f"rabbitmq_memory_{name}_bytes", "", max(0, value))]
    yield "".join(found)


async def alive(management: "Management", request: web.Request) -> AsyncIterator[str]:
    await management.control.call("node.ping")
    yield "ok\n"
