"""A RabbitMQ node of one's own, to be killed: it shows that the judge finds no fault where there is none.

Nothing in `make test` needs it. It keeps less than FlowMQ promises (see PROMISES) and starts in seconds, not at once.
"""

import os
import signal
import socket
import subprocess
import time
import uuid
from collections.abc import Sequence
from pathlib import Path

from tests.crash.history import Promises, Sure
from tests.support.peer import Peer

SERVER = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
START_SECONDS = 90.0
MANAGEMENT_PLUGINS = ("rabbitmq_management", "rabbitmq_prometheus")
CONFIGURATION = """management.tcp.ip = 127.0.0.1
management.tcp.port = {management}
prometheus.tcp.ip = 127.0.0.1
prometheus.tcp.port = {metrics}
collect_statistics_interval = 500
"""
# Acks reach its disk at leisure, and after a kill it marks every message as redelivered.
PROMISES = Promises(Sure.NEVER, Sure.NEVER, marked_unseen_max=1_000_000)


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [int(listening.getsockname()[1]) for listening in sockets]
    for listening in sockets:
        listening.close()
    return ports


class RabbitMQ:
    """A node with its own directory and name. The process is the leader of its group, beam and port programs in it."""

    def __init__(self, directory: Path, name: str = "", plugins: Sequence[str] = ()) -> None:
        self.directory, self.name, self.plugins = directory, name or f"crash-{uuid.uuid4().hex[:8]}@localhost", plugins
        self.port, distribution_port, self.management_port, self.metrics_port = free_ports(4)
        (directory / "log").mkdir(parents=True, exist_ok=True)
        (directory / "plugins").write_text(f"[{','.join(plugins)}].\n")
        (directory / "rabbitmq.conf").write_text(
            CONFIGURATION.format(management=self.management_port, metrics=self.metrics_port) if plugins else ""
        )
        variables = {
            "RABBITMQ_NODENAME": self.name,
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_DIST_PORT": str(distribution_port),
            "RABBITMQ_MNESIA_BASE": str(directory / "mnesia"),
            "RABBITMQ_LOG_BASE": str(directory / "log"),
            "RABBITMQ_PID_FILE": str(directory / "pid"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(directory / "plugins"),
            "RABBITMQ_CONFIG_FILE": str(directory / "rabbitmq.conf"),
            "HOME": str(directory),
        }
        with (directory / "log" / "output").open("ab") as output:
            self.process = subprocess.Popen(
                [str(SERVER)],
                env={**os.environ, **variables},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._wait_until_ready()

    def _wait_until_ready(self) -> None:
        """It has no log line that can be waited for across versions: ask until it takes the protocol header."""
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            assert self.process.poll() is None, f"RabbitMQ ended with {self.process.returncode}"
            try:
                with socket.create_connection(("127.0.0.1", self.port), 5) as probe:
                    probe.sendall(b"AMQP\0\0\x09\x01")
                    if probe.recv(1):
                        return
            except OSError:
                time.sleep(0.2)
        self.kill()
        raise AssertionError("RabbitMQ did not start")

    @property
    def peer(self) -> Peer:
        return Peer("127.0.0.1", self.port, is_flowmq=False)

    def _signal(self, number: int) -> None:
        os.killpg(self.process.pid, number)
        self.process.wait(60)

    def kill(self) -> None:
        if self.process.poll() is None:
            self._signal(signal.SIGKILL)

    def stop(self) -> None:
        self._signal(signal.SIGTERM)

    def again(self) -> "RabbitMQ":
        return RabbitMQ(self.directory, self.name, self.plugins)
