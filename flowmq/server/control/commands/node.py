"""node.*: the process itself, and sums over everything in it."""

import asyncio
import logging
import os
import platform
import resource
import signal
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from flowmq import __version__
from flowmq._message import live_message_bytes, message_sizes
from flowmq._order import told_ms
from flowmq._tally import ExchangeTally, QueueTally
from flowmq.broker.vhost import VHost
from flowmq.server import tls
from flowmq.server.config import to_toml
from flowmq.server.control.commands.clients import sessions_of
from flowmq.server.control.registry import COMMANDS, Arguments, Nothing, bad_request, command
from flowmq.server.control.views import NODE_NAME, open_files
from flowmq.server.process_memory import resident_bytes

if TYPE_CHECKING:
    from flowmq.server.node import Node

ADDED_AT_A_TIME = 5000
SYNC_BUCKETS_US = 20


@command("node.ping")
def ping(node: "Node", asked: Nothing) -> dict[str, Any]:
    """Is it there?"""
    return {"product": "FlowMQ", "version": __version__, "pid": os.getpid()}


@command("node.commands")
def list_commands(node: "Node", asked: Nothing) -> Iterator[dict[str, Any]]:
    """What can be asked over this socket."""
    for found in COMMANDS.values():
        yield {"name": found.name, "help": found.help, "arguments": list(found.arguments.__struct_fields__)}


async def totals_of(host: VHost) -> dict[str, Any]:
    """Sums over a virtual host, what is gone included; a long sum is made in pieces."""
    queues, exchanges = QueueTally(), ExchangeTally()
    queues.merge(host.queues_gone)
    exchanges.merge(host.exchanges_gone)
    for at, declared in enumerate(list(host.queues.values()), 1):
        queues.add(declared.queue)
        if at % ADDED_AT_A_TIME == 0:
            await asyncio.sleep(0)
    for declared_exchange in list(host.declared_exchanges.values()):
        exchanges.add(declared_exchange.exchange)
    return {
        **queues.values(),
        **exchanges.values(),
        "queues": len(host.queues),
        "exchanges": len(host.declared_exchanges),
        "queues_declared": host.queues_declared,
        "queues_created": host.queues_created,
        "queues_deleted": host.queues_deleted,
    }


@command("node.totals")
async def totals(node: "Node", asked: Nothing) -> dict[str, Any]:
    """Sums over each virtual host, and over everything."""
    vhosts = {host.name: await totals_of(host) for host in list(node.broker.vhosts.values())}
    everything: dict[str, int] = {}
    for values in vhosts.values():
        for name, value in values.items():
            everything[name] = everything.get(name, 0) + value
    for name in vhosts:
        vhosts[name].update(traffic(node, [name]))
    return {"vhosts": vhosts, "all": {**everything, **traffic(node, None)}}


def traffic(node: "Node", vhosts: list[str] | None) -> dict[str, int]:
    found = dict.fromkeys(("connections", "channels", "publishers", "unconfirmed", "recv_oct", "send_oct"), 0)
    for session in sessions_of(node, vhosts):
        found["connections"] += 1
        found["channels"] += len(session.connection.channels)
        for channel in session.connection.channels.values():
            found["publishers"] += channel.published_count > 0
            found["unconfirmed"] += channel.ledger.unconfirmed if channel.ledger else 0
        found["recv_oct"] += session.connection.received_bytes
        found["send_oct"] += session.connection.sent_bytes
    return found


@command("node.status")
def status(node: "Node", asked: Nothing) -> dict[str, Any]:
    """The process: what it uses, what it may use, alarms, its disk."""
    alarms = node.alarms
    descriptors, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return {
        "name": NODE_NAME,
        "cluster_name": cluster_name(node),
        "pid": os.getpid(),
        "version": __version__,
        "python_version": platform.python_version(),
        "started_at": node.started_at,
        "uptime_ms": int((time.time() - node.started_at) * 1000),
        "message_bytes": live_message_bytes(),
        "memory_limit": alarms.memory_limit_bytes,
        "resident_bytes": resident_bytes(),
        "alarms": sorted(alarms.in_force),
        "alarms_raised": dict(alarms.raised_counts),
        "disk_free": alarms.free_bytes,
        "disk_free_limit": disk_limit(node),
        "open_files": open_files(),
        "open_files_max": descriptors,
        "sockets": len(node.sessions),
        "data_dir": os.path.abspath(node.settings.storage.data_dir),
        "draining": node.empty is not None,
        "mechanisms": list(node.settings.amqp.mechanisms),
        "churn": churn(node),
        "message_sizes": message_sizes(),
        "loop_lag_us": node.lag.histogram(),
        "journal": journal(node),
    }


def cluster_name(node: "Node") -> str:
    """As RabbitMQ, a global parameter; without one, the node's own name."""
    return node.broker.parameters.cluster_name or NODE_NAME


def disk_limit(node: "Node") -> int:
    found = os.statvfs(node.settings.storage.data_dir)
    share_bytes = int(found.f_blocks * found.f_frsize * node.settings.limits.disk_free_share_min)
    return max(node.settings.limits.disk_free_bytes_min, share_bytes)


def churn(node: "Node") -> dict[str, int]:
    return {name: getattr(node.churn, name) for name in node.churn.__slots__}


def journal(node: "Node") -> dict[str, Any] | None:
    """The disk: how much, how fast."""
    if node.store is None:
        return None
    written, compaction = node.store.journal.thread, node.store.compaction
    return {
        "writes": written.writes,
        "syncs": written.syncs,
        "bytes_written": written.bytes_written,
        "last_sync_us": written.last_sync_us,
        "sync_seconds": written.sync_us / 1e6,
        "sync_histogram": list(written.sync_histogram),
        "used_bytes": compaction.used_bytes,
        "live_bytes": compaction.live_bytes,
        "compacted": compaction.compacted_count,
        "failed": bool(node.store.journal.error),
        "damaged": bool(node.store.journal.damaged),
        "damaged_queues": [{"vhost": vhost, "name": name} for vhost, name in node.damaged_queues],
    }


@command("node.oldest_unacked")
def oldest_unacked(node: "Node", asked: Nothing) -> Iterator[Any]:
    """How long the oldest delivery of each virtual host has been out: [vhost, milliseconds]."""
    oldest: dict[str, int] = {}
    for session in sessions_of(node, None):
        for channel in list(session.connection.channels.values()):
            for delivery in channel.window.listed(0, 1):
                age_ms = (told_ms() - delivery[5]) % 2**32
                vhost = "" if session.vhost is None else session.vhost.name
                oldest[vhost] = max(oldest.get(vhost, 0), age_ms)
    yield from ([vhost, age_ms] for vhost, age_ms in oldest.items())


class LogLevel(Arguments):
    level: str


@command("node.set_log_level", LogLevel)
def set_log_level(node: "Node", asked: LogLevel) -> None:
    """How much is logged until the next start: debug, info, warning or error."""
    if asked.level not in ("debug", "info", "warning", "error"):
        raise bad_request(f"level: {asked.level!r} is none of debug, info, warning, error")
    logging.getLogger().setLevel(asked.level.upper())


@command("node.stop", Nothing)
def stop(node: "Node", asked: Nothing) -> None:
    """End the broker as SIGTERM does."""
    os.kill(os.getpid(), signal.SIGTERM)


@command("node.environment")
def environment(node: "Node", asked: Nothing) -> str:
    """The settings in effect as TOML, without the passwords."""
    return to_toml(node.settings)


@command("node.certificates")
def certificates(node: "Node", asked: Nothing) -> Iterator[Any]:
    """The certificates in use, and until when they are good, in seconds since 1970."""
    if node.certificate_settings.tls.certificate:
        yield from tls.expirations(node.certificate_settings)


@command("node.listeners")
def listeners(node: "Node", asked: Nothing) -> Iterator[Any]:
    """Where it listens."""
    yield from node.listeners


@command("management.settings")
def management_settings(node: "Node", asked: Nothing) -> dict[str, Any]:
    """What the management process must know before anything else."""
    settings = node.settings
    return {
        "log_level": settings.log.level,
        "log_format": settings.log.format,
        "sample_seconds": settings.management.sample_seconds,
        "certificate": node.certificate_settings.tls.certificate,
        "key": node.certificate_settings.tls.key,
        "tls_version_min": node.certificate_settings.tls.version_min,
    }
