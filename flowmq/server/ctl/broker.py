"""Verbs about the broker, its queues and its connections."""

import time
from pathlib import Path

import click

from flowmq import __version__
from flowmq.server.control.client import ControlConnection, NoBroker
from flowmq.server.ctl.codes import DATA, TIMEOUT, USAGE, Failed
from flowmq.server.ctl.listings import check_vhost
from flowmq.server.ctl.verbs import Asked, verb

IF_EMPTY = click.option("--if-empty", "-e", is_flag=True, help="Only when there are no messages in it.")
IF_UNUSED = click.option("--if-unused", "-u", is_flag=True, help="Only when nobody consumes from it.")
POLL_SECONDS = 0.1
STARTUP_SECONDS = 300.0
STOP_SECONDS = 60.0
WAIT_SECONDS = 10.0


# --------------------------------------------------------------------------------------------------------- queues


@verb("purge_queue", "queue", vhost=True, examples="purge_queue letters -p orders")
def purge_queue(asked: Asked, queue: str) -> None:
    """Drop all messages of a queue that are not out for delivery."""
    asked.output.say(f"Purging queue '{queue}' in vhost '{asked.vhost}' ...")
    check_vhost(asked)
    dropped = asked.call("queue.purge", name=queue, vhost=asked.vhost)["messages"]
    asked.output.say(f"{dropped} messages dropped")


@verb("delete_queue", "queue", IF_EMPTY, IF_UNUSED, vhost=True, codes={"not_found": USAGE})
def delete_queue(asked: Asked, queue: str, if_empty: bool, if_unused: bool) -> None:
    """Delete a queue and its messages."""
    asked.output.say(f"Deleting queue '{queue}' on vhost '{asked.vhost}' ...")
    check_vhost(asked)
    answer = asked.call("queue.delete", name=queue, vhost=asked.vhost, if_empty=if_empty, if_unused=if_unused)
    asked.output.say(f"Queue was successfully deleted with {answer['messages']} ready messages")


@verb("pause_queue", "queue", vhost=True)
def pause_queue(asked: Asked, queue: str) -> None:
    """Give the consumers of a queue nothing until resume_queue, or the next start."""
    asked.call("queue.pause", name=queue, vhost=asked.vhost)


@verb("resume_queue", "queue", vhost=True)
def resume_queue(asked: Asked, queue: str) -> None:
    """Give the consumers of a paused queue messages again."""
    asked.call("queue.resume", name=queue, vhost=asked.vhost)


# ---------------------------------------------------------------------------------------------------- connections


@verb(
    "close_connection", "connection reason", examples="close_connection '127.0.0.1:50012 -> 127.0.0.1:5672' 'go away'"
)
def close_connection(asked: Asked, connection: str, reason: str) -> None:
    """Close a connection, by its name (list_connections pid); its client is told the reason."""
    asked.output.say(f"Closing connection {connection}, reason: {reason}...")
    asked.call("connection.close", name=connection, reason=reason)


@verb(
    *("close_all_connections", "reason"),
    click.option("--global", "everywhere", is_flag=True, help="Of all virtual hosts."),
    vhost=True,
)
def close_all_connections(asked: Asked, reason: str, everywhere: bool) -> None:
    """Close all connections to a virtual host, or with --global all of them."""
    vhost = None if everywhere else asked.vhost
    asked.output.say("Closing all connections " + ("..." if everywhere else f"in vhost {vhost} ..."))
    closed = asked.call("connection.close_all", vhost=vhost, reason=reason) or []
    asked.output.tell(f"Closed {len(closed)} connections", closed=len(closed))


@verb("close_all_user_connections", "username reason")
def close_all_user_connections(asked: Asked, username: str, reason: str) -> None:
    """Close all connections of a user."""
    asked.output.say(f"Closing connections of user {username}, reason: {reason}...")
    closed = asked.call("connection.close_all", user=username, reason=reason) or []
    asked.output.tell(f"Closed {len(closed)} connections", closed=len(closed))


# ------------------------------------------------------------------------------------------------------- the broker


@verb("await_startup")
def await_startup(asked: Asked) -> None:
    """Wait until the broker answers: 300 s, or as long as --timeout says."""
    seconds = STARTUP_SECONDS if asked.timeout_seconds is None else asked.timeout_seconds
    until = time.monotonic() + seconds
    while True:
        try:
            with ControlConnection(asked.path) as control:
                control.call("node.ping")
                return
        except (NoBroker, OSError) as error:
            if seconds and time.monotonic() >= until:
                raise Failed(f"no broker after {seconds:g} s: {error}", TIMEOUT) from error
            time.sleep(POLL_SECONDS)


@verb(
    *("wait", "[pid-file]"),
    click.option("-P", "--pid", type=click.IntRange(1), metavar="PID", help="In place of the file."),
    examples="wait /run/flowmq/pid\nwait --pid 4711 --timeout 30",
)
def wait(asked: Asked, pid_file: str | None, pid: int | None) -> None:
    """Wait until the broker with that pid answers: 10 s, or as long as --timeout says. It must not end meanwhile."""
    if (pid_file is None) == (pid is None):
        raise Failed("either a file with a pid or --pid is needed", USAGE)
    asked.output.say(f"Waiting for {'pid file' if pid is None else 'pid'} '{pid_file or pid}' ...")
    seconds = WAIT_SECONDS if asked.timeout_seconds is None else asked.timeout_seconds
    until = time.monotonic() + seconds
    while True:
        wanted = pid_in(pid_file) if pid_file is not None else pid
        if wanted is not None and not is_running(wanted):
            raise Failed(f"process {wanted} is not running")
        if wanted is not None and wanted == answering_pid(asked):
            asked.output.tell(f"The broker with pid {wanted} answers", pid=wanted)
            return
        if seconds and time.monotonic() >= until:
            raise Failed(f"{'no pid in the file' if wanted is None else 'no answer'} within {seconds:g} s", TIMEOUT)
        time.sleep(POLL_SECONDS)


def pid_in(path: str) -> int | None:
    """A file that is not there yet, or not written yet, has none."""
    try:
        text = Path(path).read_text().strip()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise Failed(f"{path}: {error.strerror}") from error
    if text and not text.isdecimal():
        raise Failed(f"{path}: there is no pid in it", DATA)
    return int(text) if text else None


def answering_pid(asked: Asked) -> int | None:
    try:
        with ControlConnection(asked.path) as control:
            return int(control.call("node.ping")["pid"])
    except (NoBroker, OSError):
        return None


@verb("stop", "[pid-file]")
def stop(asked: Asked, pid_file: str | None) -> None:
    """Stop the broker as SIGTERM does, and wait until it has ended."""
    asked.output.say("Stopping and halting the broker ...")
    pid = asked.call("node.ping")["pid"]
    asked.call("node.stop")
    until = time.monotonic() + (asked.timeout_seconds or STOP_SECONDS)
    while is_running(pid):
        if time.monotonic() >= until:
            raise Failed(f"it still runs, with pid {pid}", TIMEOUT)
        time.sleep(POLL_SECONDS)


@verb("shutdown")
def shutdown(asked: Asked) -> None:
    """Stop the broker, and wait until it has ended."""
    stop(asked, None)


def is_running(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


@verb("set_cluster_name", "name", examples="set_cluster_name orders")
def set_cluster_name(asked: Asked, name: str) -> None:
    """What the broker is called in monitoring, in place of its node's name."""
    asked.output.say(f"Setting cluster name to {name} ...")
    asked.call("global_parameter.set", name="cluster_name", value=name)


@verb("set_log_level", "level", examples="set_log_level debug")
def set_log_level(asked: Asked, level: str) -> None:
    """How much is logged until the next start: debug, info, warning or error."""
    asked.output.say(f'Setting log level to "{level}" ...')
    asked.call("node.set_log_level", level=level)


@verb("version")
def version(asked: Asked) -> None:
    """The version of this command."""
    asked.output.tell(__version__, version=__version__)


@verb("environment")
def environment(asked: Asked) -> None:
    """The settings in effect as TOML, without the passwords."""
    asked.output.tell(asked.call("node.environment"))


# ------------------------------------------------------------------------------------------------ what there is not

ELSEWHERE = {
    "stop_app": "the broker runs or does not: use stop",
    "start_app": "the broker runs or does not: start the service",
    "reset": "stop the broker and remove its data directory",
    "force_reset": "stop the broker and remove its data directory",
    "rotate_logs": "the log goes to standard error, where the service manager takes it",
    "trace_on": "there is no tracing",
    "trace_off": "there is no tracing",
    "set_vm_memory_high_watermark": "it is the setting limits.memory_bytes_max",
    "set_disk_free_limit": "it is the setting limits.disk_free_bytes_min",
    "join_cluster": "there is no cluster",
    "forget_cluster_node": "there is no cluster",
    "cluster_status": "there is no cluster",
    "enable_feature_flag": "there are no feature flags: all features are on",
}


def refuse(name: str, why: str) -> None:
    @verb(name, "[anything...]")
    def refused(asked: Asked, anything: object) -> None:
        raise Failed(f"{name} is not supported: {why}", USAGE)

    refused.__doc__ = f"Not supported: {why}."


for refused_name, refused_reason in ELSEWHERE.items():
    refuse(refused_name, refused_reason)
