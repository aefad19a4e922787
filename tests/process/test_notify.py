"""What systemd is told: a socket in its place takes down the datagrams."""

import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.broker import Broker
from tests.support.wire import connect

pytestmark = pytest.mark.flowmq_only
SECONDS = 40.0


class Supervisor:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(path))
        self.socket.settimeout(SECONDS)
        self.told: list[dict[str, str]] = []

    def next_with(self, name: str) -> dict[str, str]:
        """The next datagram that holds it, past others."""
        while True:
            lines = self.socket.recv(4096).decode().splitlines()
            self.told.append(dict(line.split("=", 1) for line in lines))
            if name in self.told[-1]:
                return self.told[-1]

    def becomes_silent(self) -> bool:
        """Those on their way, and then no more."""
        try:
            for _ in range(100):
                self.next_with("WATCHDOG")
        except TimeoutError:
            return True
        return False


@pytest.fixture
def supervisor(tmp_path: Path) -> Iterator[Supervisor]:
    made = Supervisor(tmp_path / "notify")
    yield made
    made.socket.close()


def test_a_life(own_broker: Callable[..., Broker], supervisor: Supervisor) -> None:
    broker = own_broker(NOTIFY_SOCKET=str(supervisor.path), WATCHDOG_USEC="900000")
    beginning = supervisor.next_with("EXTEND_TIMEOUT_USEC")
    assert beginning == {"STATUS": "Reading the journal", "EXTEND_TIMEOUT_USEC": "60000000"}
    assert supervisor.next_with("READY")["STATUS"] == "0 connections, 0 queues"
    assert len(supervisor.told) == 2
    client = connect(broker.peer)
    client.channel().queue(exclusive=True)
    while supervisor.next_with("WATCHDOG")["STATUS"] != "1 connections, 1 queues":
        pass
    broker.process.send_signal(signal.SIGHUP)
    assert int(supervisor.next_with("RELOADING")["MONOTONIC_USEC"]) > 0
    assert supervisor.next_with("READY") == {"READY": "1"}
    broker.terminate()
    supervisor.next_with("STOPPING")
    client.expect_close(320)
    assert broker.wait() == 0
    broker.check_log()


def test_a_stopped_event_loop_is_silent(own_broker: Callable[..., Broker], supervisor: Supervisor) -> None:
    broker = own_broker(NOTIFY_SOCKET=str(supervisor.path), WATCHDOG_USEC="300000")
    supervisor.next_with("WATCHDOG")
    broker.process.send_signal(signal.SIGSTOP)
    supervisor.socket.settimeout(2)
    assert supervisor.becomes_silent()
    broker.process.send_signal(signal.SIGCONT)
    supervisor.socket.settimeout(SECONDS)
    supervisor.next_with("WATCHDOG")
    broker.stop()


def test_a_watchdog_meant_for_another_process_and_a_deaf_supervisor(own_broker: Callable[..., Broker]) -> None:
    broker = own_broker(NOTIFY_SOCKET="/nowhere/at/all", WATCHDOG_USEC="300000", WATCHDOG_PID="1")
    connect(broker.peer).close()
    broker.stop()


def test_a_socket_without_a_file(own_broker: Callable[..., Broker], name: str) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as supervisor:
        supervisor.bind(f"\0{name}")
        supervisor.settimeout(SECONDS)
        broker = own_broker(NOTIFY_SOCKET=f"@{name}")
        while b"READY=1" not in supervisor.recv(4096):
            pass
        broker.stop()
