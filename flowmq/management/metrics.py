"""Metrics in Prometheus' text format: /metrics, /metrics/per-object, /metrics/detailed, /metrics/memory-breakdown.

Names and labels are those of RabbitMQ's plugin, so that its dashboards show this broker too; what only this broker has
is called flowmq_*. Values are the broker's at the moment of the request.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, Any

from aiohttp import web

from flowmq import __version__
from flowmq.management.metric_families import families
from flowmq.management.metric_tables import (
    CHANNEL_TOTALS,
    CHURN,
    GLOBAL,
    GLOBAL_BY_QUEUE_TYPE,
    JOURNAL,
    LOG_INS,
    NODE_FAMILIES,
    NODE_GAUGES,
    QUEUE_TOTALS,
)
from flowmq.management.metric_text import Lines, doubling, head, histogram, labels, line
from flowmq.server.control.client import NoBroker

if TYPE_CHECKING:
    from flowmq.management.application import Management

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
PER_OBJECT, AGGREGATED, DETAILED, MEMORY = "per-object", "aggregated", "detailed", "memory-breakdown"
PROTOCOL, QUEUE_TYPE = 'protocol="amqp091"', 'queue_type="rabbit_classic_queue"'


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
    for table in (NODE_GAUGES, CHURN, LOG_INS):
        found += plain_metrics(table, node_values(status, total))
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


def node_values(status: dict[str, Any], total: dict[str, int]) -> dict[str, Any]:
    churn = status["churn"]
    attempts = churn["log_ins_succeeded"] + churn["log_ins_failed"]
    return {**status, **churn, **total, "uptime_seconds": status["uptime_ms"] / 1000, "attempts": attempts}


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
    async for part in families(management.control, PER_OBJECT_FAMILIES, "rabbitmq_", None):
        yield part


PER_OBJECT_FAMILIES = ("queue_metrics", "exchange_metrics", "connection_metrics")
DEFAULT_FAMILIES = ("queue_coarse_metrics",)
DETAILED_PREFIX = "rabbitmq_detailed_"


async def detailed(management: "Management", request: web.Request) -> AsyncIterator[str]:
    """`family` and `vhost` may be given several times."""
    control = management.control
    status = await control.call("node.status")
    yield "".join(identity(status, DETAILED))
    wanted = request.query.getall("family", list(DEFAULT_FAMILIES))
    vhosts = request.query.getall("vhost", []) or None
    if of_the_node := [table for name, table in NODE_FAMILIES.items() if name in wanted]:
        values = node_values(status, (await control.call("node.totals"))["all"])
        for table in of_the_node:
            renamed = [
                (name.replace("rabbitmq_", DETAILED_PREFIX, 1), kind, key, help) for name, kind, key, help in table
            ]
            yield "".join(plain_metrics(renamed, values))
    async for part in families(control, wanted, DETAILED_PREFIX, vhosts):
        yield part


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
