"""/api/overview, /api/nodes and what else is said of the process as a whole."""

import asyncio
from typing import Any

from flowmq import __version__
from flowmq.management.api.access import message_stats
from flowmq.management.api.queues import text
from flowmq.management.listing import RATES, add_stats, span
from flowmq.management.login import ADMINISTRATOR, MONITORING
from flowmq.management.sampler import CHURN_FIELDS, NODE_FIELDS, node_fields
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
        "sample_retention_policies": {"global": [600], "basic": [120], "detailed": [120]},
        "exchange_types": types,
        "product_version": __version__,
        "product_name": PRODUCT,
        "rabbitmq_version": RABBITMQ_VERSION,
        "cluster_name": status["cluster_name"],
        "cluster_tags": {},
        "node_tags": {},
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
            "protocol": one["protocol"],
        }
        for one in listening
        if one["protocol"] == "http"
    ]


def churn(call: Call, counts: dict[str, int]) -> dict[str, Any]:
    rates: dict[str, Any] = {}
    age, step = span(call, "msg_rates")
    for name, counter in CHURN_FIELDS.items():
        rates[name] = counts[counter]
        rates[f"{name}_details"] = call.sampler.churn.details("all", name, age, step)
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


# What tools ask each node for and an Erlang one counts.
UNCOUNTED = (
    *("gc_num", "gc_bytes_reclaimed", "context_switches", "io_read_count", "io_read_bytes", "io_read_avg_time"),
    *("io_seek_count", "io_seek_avg_time", "io_reopen_count", "mnesia_ram_tx_count", "mnesia_disk_tx_count"),
    *("msg_store_read_count", "msg_store_write_count", "queue_index_read_count", "queue_index_write_count"),
)


# Parts of an Erlang node's memory that there are none of here. Tools want each of them.
MEMORY_OF_ERLANG = (
    *("connection_readers", "connection_writers", "connection_channels", "connection_other", "queue_procs"),
    *("queue_slave_procs", "quorum_queue_procs", "stream_queue_procs", "stream_queue_replica_reader_procs"),
    *("stream_queue_coordinator_procs", "plugins", "metadata_store", "other_proc", "metrics", "mgmt_db", "mnesia"),
    *("quorum_ets", "metadata_store_ets", "other_ets", "msg_index", "code", "atom", "allocated_unused"),
    "reserved_unallocated",
)


def average_ms(seconds: float, count: int) -> float:
    return seconds * 1000 / count if count else 0.0


async def node_row(call: Call) -> dict[str, Any]:
    status, listening, types, totals = await asyncio.gather(
        call.ask("node.status"), call.ask("node.listeners"), call.ask("exchange.types"), call.ask("node.totals")
    )
    row = figures(status)
    for name in NODE_FIELDS:
        row[f"{name}{RATES}"] = call.sampler.status.details("all", name)
    for name in (*UNCOUNTED, "proc_used", "io_sync_avg_time", "io_write_avg_time"):
        row[f"{name}{RATES}"] = {"rate": 0.0}
    row.update(churn(call, {**status["churn"], **totals["all"]}))
    row["exchange_types"] = types
    row["auth_mechanisms"] = [{"name": name, "description": "SASL", "enabled": True} for name in status["mechanisms"]]
    row["listeners"] = [{"node": status["name"], **one, "socket_opts": {}} for one in listening]
    row["contexts"] = contexts(listening, status["name"])
    return row


def figures(status: dict[str, Any]) -> dict[str, Any]:
    journal = status["journal"] or {}
    return {
        **dict.fromkeys(UNCOUNTED, 0),
        **dict(zip(NODE_FIELDS, node_fields(status), strict=True)),
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
        "mem_limit": status["memory_limit"],
        "mem_alarm": "memory" in status["alarms"],
        "mem_calculation_strategy": "rss",
        "disk_free_limit": status["disk_free_limit"],
        "disk_free_alarm": "disk" in status["alarms"],
        "fd_total": status["open_files_max"],
        "sockets_total": status["open_files_max"],
        "proc_used": 1,
        "proc_total": 1,
        "processors": 1,
        "run_queue": 0,
        "net_ticktime": 60,
        "io_sync_avg_time": average_ms(journal.get("sync_seconds", 0), journal.get("syncs", 0)),
        "io_write_avg_time": average_ms(journal.get("sync_seconds", 0), journal.get("writes", 0)),
        "cluster_links": [],
        "metrics_gc_queue_length": {},
    }


@route("GET", "/api/nodes", tag=MONITORING)
async def list_nodes(call: Call) -> Any:
    """The nodes: this one."""
    return [await node_row(call)]


@route("GET", "/api/nodes/{node}", tag=MONITORING)
async def show_node(call: Call) -> Any:
    """This node."""
    row = await node_row(call)
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
    memory = {
        **dict.fromkeys(MEMORY_OF_ERLANG, 0),
        "binary": status["message_bytes"],
        "other_system": max(0, other),
        "messages": status["message_bytes"],
        "other": max(0, other),
        "total": total,
        "strategy": "rss",
    }
    return {"memory": memory}


@route("GET", "/api/cluster-name")
async def cluster_name(call: Call) -> Any:
    """What this broker is called in monitoring: the node's name, until another is set."""
    return {"name": (await call.ask("node.status"))["cluster_name"]}


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
    status = await call.ask("node.status")
    if call.path("node") != status["name"]:
        raise not_found()
    counts = status["churn"]
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
    return {"oauth_enabled": False, "enable_uaa": False, "uaa_client_id": "", "uaa_location": ""}


@route("PUT", "/api/cluster-name", tag=ADMINISTRATOR)
async def set_cluster_name(call: Call) -> Answer:
    """Call it something else."""
    name = text(await call.body(), "name")
    if not name:
        raise bad_request("name: must not be empty")
    await call.ask("global_parameter.set", name="cluster_name", value=name)
    return NO_CONTENT
