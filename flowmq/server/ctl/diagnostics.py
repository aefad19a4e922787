"""Verbs that look: status, what uses memory, the checks of rabbitmq-diagnostics. One that fails ends with 69."""

import socket
from collections.abc import Iterator
from typing import Any

from flowmq.server.ctl.codes import Failed
from flowmq.server.ctl.verbs import Asked, verb

CONNECT_SECONDS = 5.0
LISTENER_COLUMNS = ("interface", "port", "protocol", "purpose")
PURPOSES = {
    "amqp": "AMQP 0-9-1",
    "amqp/ssl": "AMQP 0-9-1 over TLS",
    "http": "HTTP API",
    "http/prometheus": "Prometheus metrics",
}
# rabbitmq-diagnostics' words for what is listened for -> ours.
PROTOCOLS = {
    "amqp091": "amqp",
    "amqp0.9.1": "amqp",
    "amqps": "amqp/ssl",
    "management": "http",
    "prometheus": "http/prometheus",
}


@verb("ping")
def ping(asked: Asked) -> None:
    """Does the broker answer?"""
    asked.output.say(f"Will ping {asked.path} ...")
    found = asked.call("node.ping")
    asked.output.tell("Ping succeeded", result="ok", **found)


@verb("status")
def status(asked: Asked) -> None:
    """What runs, since when, what it uses and may use, alarms, where it listens."""
    found = asked.call("node.status")
    listeners = list(listeners_of(asked))
    if asked.output.form == "json":
        asked.output.tell("", **found, listeners=listeners)
        return
    totals = asked.call("node.totals")["all"]
    asked.output.say(f"Status of node {found['name']} ...")
    for title, lines in sections(found, totals, listeners):
        asked.output.tell(f"{title}\n\n" + "\n".join(lines) + "\n")


def sections(
    found: dict[str, Any], totals: dict[str, Any], listeners: list[dict[str, Any]]
) -> Iterator[tuple[str, list[str]]]:
    yield (
        "Runtime",
        [
            f"OS PID: {found['pid']}",
            f"Uptime (seconds): {found['uptime_ms'] // 1000}",
            f"FlowMQ version: {found['version']}",
            f"Python version: {found['python_version']}",
            f"Node name: {found['name']}",
            f"Cluster name: {found['cluster_name']}",
            f"Is being stopped: {str(found['draining']).lower()}",
        ],
    )
    yield "Data directory", [f"Node data directory: {found['data_dir']}"]
    yield "Alarms", [f"{name}" for name in found["alarms"]] or ["(none)"]
    yield "Memory", list(memory_lines(found))
    yield "File Descriptors", [f"Total: {found['open_files']}, limit: {found['open_files_max']}"]
    yield (
        "Free Disk Space",
        [
            f"Low free disk space watermark: {size(found['disk_free_limit'])}",
            f"Free disk space: {size(found['disk_free'])}",
        ],
    )
    yield (
        "Totals",
        [
            f"Connection count: {totals['connections']}",
            f"Queue count: {totals['queues']}",
            f"Exchange count: {totals['exchanges']}",
        ],
    )
    yield "Listeners", [listener_line(row) for row in listeners]


def memory_lines(found: dict[str, Any]) -> Iterator[str]:
    yield f"Resident: {size(found['resident_bytes'])}"
    yield f"Messages in memory: {size(found['message_bytes'])}"
    yield f"Limit of messages in memory: {size(found['memory_limit'])}"


def size(octets: int) -> str:
    return f"{octets / 1e9:.4f} gb"


@verb("memory_breakdown")
def memory_breakdown(asked: Asked) -> None:
    """What uses memory: messages, and the rest of the process."""
    found = asked.call("node.status")
    messages, resident = found["message_bytes"], found["resident_bytes"]
    parts = {"messages": messages, "rest": max(resident - messages, 0)}
    asked.output.say(f"Reporting memory breakdown on node {found['name']}...")
    whole = sum(parts.values()) or 1
    rows = [{"part": name, "bytes": part, "share": round(100 * part / whole, 2)} for name, part in parts.items()]
    if asked.output.form == "table":
        for row in rows:
            asked.output.tell(f"{row['part']}: {size(row['bytes'])} ({row['share']}%)")
    else:
        asked.output.show(rows, ("part", "bytes", "share"))


# ---------------------------------------------------------------------------------------------------------- listeners


def listeners_of(asked: Asked) -> Iterator[dict[str, Any]]:
    for row in asked.call("node.listeners") or []:
        yield {
            "interface": row["ip_address"],
            "port": row["port"],
            "protocol": row["protocol"],
            "purpose": PURPOSES.get(row["protocol"], row["protocol"]),
        }


def listener_line(row: dict[str, Any]) -> str:
    return f"Interface: {row['interface']}, port: {row['port']}, protocol: {row['protocol']}, purpose: {row['purpose']}"


@verb("listeners")
def listeners(asked: Asked) -> None:
    """Where the broker listens, and for what."""
    asked.output.say("Asking the broker to report its protocol listeners ...")
    rows = list(listeners_of(asked))
    if asked.output.form != "table":
        asked.output.show(rows, LISTENER_COLUMNS)
    for row in rows if asked.output.form == "table" else ():
        asked.output.tell(listener_line(row))


@verb("check_port_connectivity")
def check_port_connectivity(asked: Asked) -> None:
    """Can every port that the broker listens on be connected to?"""
    asked.output.say("Testing TCP connections to all active listeners ...")
    ports = []
    for row in listeners_of(asked):
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(row["interface"], row["interface"])
        try:
            socket.create_connection((host, row["port"]), CONNECT_SECONDS).close()
        except OSError as error:
            raise Failed(f"cannot connect to {host}, port {row['port']}: {error.strerror or error}") from error
        ports.append(row["port"])
    asked.output.tell(f"Successfully connected to ports {', '.join(map(str, ports))}.", result="ok", ports=ports)


@verb("check_port_listener", "port", examples="check_port_listener 5672")
def check_port_listener(asked: Asked, port: str) -> None:
    """Does the broker listen on this port?"""
    ports = [str(row["port"]) for row in listeners_of(asked)]
    if port not in ports:
        raise Failed(
            f"No listener for port {port} is active. Found listeners that use the following ports: {', '.join(ports)}"
        )
    asked.output.tell(f"A listener for port {port} is running.", result="ok")


@verb("check_protocol_listener", "protocol", examples="check_protocol_listener amqp")
def check_protocol_listener(asked: Asked, protocol: str) -> None:
    """Does the broker listen for this protocol?"""
    protocols = [row["protocol"] for row in listeners_of(asked)]
    if PROTOCOLS.get(protocol, protocol) not in protocols:
        raise Failed(f"No listener for protocol {protocol} is active. Found listeners for: {', '.join(protocols)}")
    asked.output.tell(f"A listener for protocol {protocol} is running.", result="ok")


# -------------------------------------------------------------------------------------------------------------- checks


@verb("check_running")
def check_running(asked: Asked) -> None:
    """Is the broker up, and not being stopped?"""
    asked.output.say("Checking if the broker is running ...")
    if asked.call("node.status")["draining"]:
        raise Failed("the broker is being stopped")
    asked.output.tell("The broker is fully booted and running", result="ok")


def check_alarms_of(asked: Asked) -> None:
    alarms = asked.call("node.status")["alarms"]
    if alarms:
        raise Failed(f"alarms in force: {', '.join(alarms)}")
    asked.output.tell("The broker reported no local alarms", result="ok")


@verb("check_local_alarms")
def check_local_alarms(asked: Asked) -> None:
    """Is neither memory nor disk short?"""
    asked.output.say("Asking the broker to report any local resource alarms ...")
    check_alarms_of(asked)


@verb("check_alarms")
def check_alarms(asked: Asked) -> None:
    """Is neither memory nor disk short?"""
    asked.output.say("Asking the broker to report any known resource alarms ...")
    check_alarms_of(asked)


@verb("check_virtual_hosts")
def check_virtual_hosts(asked: Asked) -> None:
    """Does the journal that all virtual hosts are in work, and is nothing in it damaged?"""
    journal = asked.call("node.status")["journal"]
    if journal is not None and (journal["failed"] or journal["damaged"]):
        stopped = ", ".join(f"'{one['name']}' in vhost '{one['vhost']}'" for one in journal["damaged_queues"])
        told = f"; queues that have stopped: {stopped}" if stopped else ""
        raise Failed(f"the journal has failed or is damaged: see the broker's log{told}")
    count = len(asked.call("vhost.list") or [])
    asked.output.tell(f"The broker reported all {count} vhosts as running", result="ok")
