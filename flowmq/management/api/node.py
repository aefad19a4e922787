"""/api/overview, /api/nodes and what else is said of the process as a whole."""

import asyncio
from typing import Any

from flowmq import __version__
from flowmq.management.api.access import message_stats
from flowmq.management.listing import add_stats, span
from flowmq.management.login import ADMINISTRATOR, MONITORING
from flowmq.management.web import NO_CONTENT, Answer, Call, bad_request, not_found, route

# What tools that know RabbitMQ's versions take us for: what they then use is here.
RABBITMQ_VERSION = "4.0.5"
PRODUCT = "FlowMQ"
OBJECTS = ("channels", "connections", "consumers", "exchanges", "queues")


async def listeners(call: Call) -> list[dict[str, Any]]:
    status = await call.ask("node.status")
    return [{"node": status["name"], **one, "socket_opts": {}} for one in await call.ask("node.listeners")]


@route("GET", "/api/overview")
async def overview(call: Call) -> Any:
    """Everything at a glance."""
    status, totals, types, listening = await asyncio.gather(
        call.ask("node.status"), call.ask("node.totals"), call.ask("exchange.types"), call.ask("node.listeners")
    )
    total = totals["all"]
    if not call.caller.may(MONITORING):
        total = sum_of([values for name, values in totals["vhosts"].items() if name in call.caller.vhosts], total)
    row: dict[str, Any] = {
        "management_version": RABBITMQ_VERSION,
        "rates_mode": "basic",
        "sample_retention_policies": {"global": [600], "basic": [120], "detailed": []},
        "exchange_types": types,
        "product_version": __version__,
        "product_name": PRODUCT,
        "rabbitmq_version": RABBITMQ_VERSION,
        "cluster_name": status["name"],
        "cluster_tags": [],
        "node_tags": [],
        "erlang_version": f"Python {status['python_version']}",
        "erlang_full_version": f"FlowMQ {__version__} on Python {status['python_version']}",
        "release_series_support_status": "supported",
        "disable_stats": False,
        "is_op_policy_updating_enabled": True,
        "enable_queue_totals": False,
        "message_stats": message_stats(total),
        "churn_rates": churn(call, {**status["churn"], **totals["all"]}),
        "queue_totals": queue_totals(call, total),
        "object_totals": {
            name: total[name] for name in ("channels", "connections", "consumers", "exchanges", "queues")
        },
        "statistics_db_event_queue": 0,
        "node": status["name"],
        "listeners": [{"node": status["name"], **one, "socket_opts": {}} for one in listening],
        "contexts": contexts(listening, status["name"]),
    }
    add_stats(call, row, call.sampler.node, "all")
    return row


def sum_of(some: list[dict[str, int]], names: dict[str, int]) -> dict[str, int]:
    return {name: sum(values.get(name, 0) for values in some) for name in names}


def contexts(listening: list[dict[str, Any]], node: str) -> list[dict[str, Any]]:
    return [
        {
            "node": node,
            "description": "FlowMQ management",
            "path": "/",
            "port": str(one["port"]),
            "ip": one["ip_address"],
        }
        for one in listening
        if one["protocol"] == "http"
    ]


CHURN = {
    "connection_created": "connections_opened",
    "connection_closed": "connections_closed",
    "channel_created": "channels_opened",
    "channel_closed": "channels_closed",
    "queue_declared": "queues_declared",
    "queue_created": "queues_created",
    "queue_deleted": "queues_deleted",
}


def churn(call: Call, counts: dict[str, int]) -> dict[str, Any]:
    rates: dict[str, Any] = {}
    for name, counter in CHURN.items():
        rates[name] = counts[counter]
        rates[f"{name}_details"] = call.sampler.churn.details("all", name)
    return rates


def queue_totals(call: Call, total: dict[str, int]) -> dict[str, Any]:
    age, step = span(call, "lengths")
    lengths = {
        "messages": total["ready"] + total["unacked"],
        "messages_ready": total["ready"],
        "messages_unacknowledged": total["unacked"],
    }
    details = {f"{name}_details": call.sampler.node.details("all", name, age, step) for name in lengths}
    return {**lengths, **details}


def node_row(status: dict[str, Any], listening: list[dict[str, Any]]) -> dict[str, Any]:
    journal = status["journal"] or {}
    return {
        "name": status["name"],
        "type": "disc",
        "running": True,
        "being_drained": status["draining"],
        "os_pid": str(status["pid"]),
        "uptime": status["uptime_ms"],
        "rates_mode": "basic",
        "partitions": [],
        "applications": [{"name": "rabbit", "description": PRODUCT, "version": __version__}],
        "enabled_plugins": ["rabbitmq_management", "rabbitmq_prometheus"],
        "config_files": [],
        "log_files": [],
        "db_dir": status["data_dir"],
        "exchange_types": [],
        "auth_mechanisms": [],
        "mem_used": status["resident_bytes"],
        "mem_limit": status["memory_limit"],
        "mem_alarm": "memory" in status["alarms"],
        "mem_calculation_strategy": "rss",
        "disk_free": status["disk_free"] or 0,
        "disk_free_limit": status["disk_free_limit"],
        "disk_free_alarm": "disk" in status["alarms"],
        "fd_used": status["open_files"],
        "fd_total": status["open_files_max"],
        "sockets_used": status["sockets"],
        "sockets_total": status["open_files_max"],
        "proc_used": 1,
        "proc_total": 1,
        "processors": 1,
        "run_queue": 0,
        "net_ticktime": 60,
        "gc_num": 0,
        "gc_bytes_reclaimed": 0,
        "context_switches": 0,
        "io_write_count": journal.get("writes", 0),
        "io_write_bytes": journal.get("bytes_written", 0),
        "io_sync_count": journal.get("syncs", 0),
        "io_read_count": 0,
        "io_read_bytes": 0,
        "cluster_links": [],
        "metrics_gc_queue_length": {},
        "listeners": [{"node": status["name"], **one, "socket_opts": {}} for one in listening],
        "contexts": contexts(listening, status["name"]),
    }


@route("GET", "/api/nodes")
async def list_nodes(call: Call) -> Any:
    """The nodes: this one."""
    return [node_row(await call.ask("node.status"), await call.ask("node.listeners"))]


@route("GET", "/api/nodes/{node}")
async def show_node(call: Call) -> Any:
    """This node."""
    row = node_row(await call.ask("node.status"), await call.ask("node.listeners"))
    if call.path("node") != row["name"]:
        raise not_found()
    return row


@route("GET", "/api/nodes/{node}/memory", tag=MONITORING)
async def node_memory(call: Call) -> Any:
    """What memory is used for."""
    status = await call.ask("node.status")
    if call.path("node") != status["name"]:
        raise not_found()
    other = status["resident_bytes"] - status["message_bytes"]
    total = {"rss": status["resident_bytes"], "allocated": status["resident_bytes"], "erlang": other}
    return {"memory": {"messages": status["message_bytes"], "other": max(0, other), "total": total, "strategy": "rss"}}


@route("GET", "/api/cluster-name")
async def cluster_name(call: Call) -> Any:
    """What this node is called."""
    return {"name": (await call.ask("node.status"))["name"]}


@route("GET", "/api/version")
async def version(call: Call) -> Any:
    """The version that tools go by."""
    return {"rabbitmq_version": RABBITMQ_VERSION, "product_name": PRODUCT, "product_version": __version__}


@route("GET", "/api/extensions")
async def extensions(call: Call) -> Any:
    """Parts of RabbitMQ's user interface; there is none here."""
    return []


@route("GET", "/api/feature-flags")
async def feature_flags(call: Call) -> Any:
    """There are none: every version can do all it can."""
    return []


@route("GET", "/api/deprecated-features", "/api/deprecated-features/used")
async def deprecated_features(call: Call) -> Any:
    """There are none."""
    return []


@route("GET", "/api/federation-links", "/api/federation-links/{vhost}", tag=MONITORING)
async def federation_links(call: Call) -> Any:
    """There is no federation."""
    return []


@route("POST", "/api/rebalance/queues", tag=ADMINISTRATOR)
async def rebalance(call: Call) -> Answer:
    """All queues are on this node."""
    return NO_CONTENT


@route("GET", "/api/auth/attempts/{node}", tag=MONITORING)
async def log_in_attempts(call: Call) -> Any:
    """How many log-ins there were."""
    counts = (await call.ask("node.status"))["churn"]
    succeeded, failed = counts["log_ins_succeeded"], counts["log_ins_failed"]
    return [
        {
            "protocol": "amqp091",
            "auth_attempts": succeeded + failed,
            "auth_attempts_succeeded": succeeded,
            "auth_attempts_failed": failed,
        }
    ]


@route("GET", "/api/auth", tag=None)
async def authentication(call: Call) -> Any:
    """How to log in, for user interfaces."""
    return {"oauth_enabled": False}


@route("PUT", "/api/cluster-name", tag=ADMINISTRATOR)
async def set_cluster_name(call: Call) -> Answer:
    """It follows from the machine's name."""
    raise bad_request("the name of a node follows from that of its machine, and cannot be set")
