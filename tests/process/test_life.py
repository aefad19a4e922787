"""Start and stop: signals, exit codes, what clients see, what stays behind."""

import os
import select
import signal
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from flowmq.server.process import DRAIN_SECONDS
from tests.support.broker import ROOT, STOP_SECONDS, Broker, children, command, environment
from tests.support.wire import Client, connect

pytestmark = pytest.mark.flowmq_only
SHUTDOWN = "CONNECTION_FORCED - broker forced connection closure with reason 'shutdown'"
OwnBroker = Callable[..., Broker]
UNREAD_MESSAGES, UNREAD_BYTES = 30, 1 << 20  # more than the sockets of both sides hold


def test_sigterm_says_goodbye_to_clients_and_exits_with_zero(own_broker: OwnBroker) -> None:
    broker = own_broker()
    clients = [connect(broker.peer) for _ in range(3)]
    channel = clients[0].channel()
    channel.consume(channel.queue(exclusive=True))
    broker.terminate()
    for client in clients:
        client.expect_close(320, SHUTDOWN)
    assert broker.wait() == 0
    broker.check_log()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_without_clients_it_ends_at_once(own_broker: OwnBroker, number: int) -> None:
    broker = own_broker()
    broker.process.send_signal(number)
    assert broker.wait() == 0
    broker.check_log()


def behind(broker: Broker) -> Client:
    """A client that has not read all it was sent: its socket is full."""
    client = connect(broker.peer)
    channel = client.channel()
    queue = channel.queue(auto_delete=True)
    channel.consume(queue, no_ack=True)
    with connect(broker.peer) as publisher:
        publisher.channel().put(queue, *[bytes(UNREAD_BYTES)] * UNREAD_MESSAGES)
    return client


def test_clients_that_say_nothing_are_not_waited_for_and_find_the_close(own_broker: OwnBroker) -> None:
    broker = own_broker()
    silent = [connect(broker.peer) for _ in range(3)]
    broker.terminate()
    assert broker.wait(DRAIN_SECONDS / 2) == 0
    for client in silent:
        close = client.expect("connection.close")
        assert (close.reply_code, close.reply_text) == (320, SHUTDOWN)
    broker.check_log()


def test_a_client_that_is_behind_gets_all_it_was_sent(own_broker: OwnBroker) -> None:
    broker = own_broker()
    client = behind(broker)
    broker.terminate()
    broker.log.wait_for("SIGTERM received")
    with pytest.raises(OSError, match=r"refused|reset"):
        socket.create_connection(("127.0.0.1", broker.port), 5).recv(1)
    client.expect_close(320, SHUTDOWN)
    assert broker.wait() == 0
    broker.check_log()


def test_second_sigterm_waits_for_nobody(own_broker: OwnBroker) -> None:
    broker = own_broker()
    clients = [behind(broker) for _ in range(3)]
    broker.terminate()
    broker.log.wait_for("SIGTERM received")
    broker.terminate()
    assert broker.wait(DRAIN_SECONDS * 0.8) == 0  # well before the end of the time that clients are given
    broker.check_log()
    for client in clients:
        client.drop()


def test_clients_in_every_state_do_not_hold_up_the_end(own_broker: OwnBroker) -> None:
    broker = own_broker()
    states = [socket.create_connection(("127.0.0.1", broker.port)) for _ in range(3)]
    states[1].sendall(b"AMQP")
    states[2].sendall(b"AMQP\0\0\x09\x01")
    assert states[2].recv(1) == b"\x01"
    with connect(broker.peer) as client:
        client.channel()
        client.write(b"\x01\0\x01\0\0")
        broker.terminate()
        client.expect("connection.close")
        client.drop()
    assert broker.wait() == 0
    broker.check_log()


def test_kill_leaves_no_process_behind(own_broker: OwnBroker) -> None:
    broker = own_broker()
    client = connect(broker.peer)
    offspring = children(broker.pid)
    broker.process.send_signal(signal.SIGKILL)
    assert broker.wait() == -signal.SIGKILL
    assert client.read_until_eof() == b""
    for pid in offspring:
        _gone(pid)


def _gone(pid: int) -> None:
    """Whether a process that is not ours to wait for has ended; the kernel tells through a file descriptor."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    ended, _, _ = select.select([descriptor], [], [], STOP_SECONDS)
    os.close(descriptor)
    assert ended, f"process {pid} outlives the broker"


def test_starts_again_after_kill(own_broker: OwnBroker, tmp_path: Path) -> None:
    broker = own_broker()
    broker.process.send_signal(signal.SIGKILL)
    broker.wait()
    again = Broker(tmp_path / "data-0")
    try:
        with connect(again.peer) as client:
            client.close()
        again.stop()
    finally:
        again.kill()


def _serve(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command("serve", *arguments),
        cwd=ROOT,
        env=environment(environ),
        capture_output=True,
        text=True,
        timeout=STOP_SECONDS,
        check=False,
    )


def test_port_in_use_is_one_clear_line(own_broker: OwnBroker, tmp_path: Path) -> None:
    broker = own_broker()
    ended = _serve("--listen", f"127.0.0.1:{broker.port}", "--data-dir", str(tmp_path / "second"))
    assert ended.returncode == 1
    assert "Traceback" not in ended.stderr
    lines = [line for line in ended.stderr.splitlines() if str(broker.port) in line]
    assert len(lines) == 1
    assert "in use" in lines[0]
    with connect(broker.peer) as client:
        client.close()


def test_bad_settings_are_one_line_and_code_2(tmp_path: Path) -> None:
    ended = _serve("--data-dir", str(tmp_path), FLOWMQ_AMQP__CHANEL_MAX="10")
    assert ended.returncode == 2
    assert len(ended.stderr.strip().splitlines()) == 1
    assert "CHANNEL_MAX" in ended.stderr  # what was probably meant


def test_output_nobody_reads_does_not_stop_it(tmp_path: Path) -> None:
    """Standard error closed by whoever was reading it (a pager, a supervisor that went away)."""
    reading, writing = os.pipe()
    process = subprocess.Popen(
        command("serve", "--listen", "127.0.0.1:0", "--data-dir", str(tmp_path)),
        cwd=ROOT,
        env=environment(),
        stderr=writing,
        stdout=subprocess.DEVNULL,
    )
    os.close(writing)
    try:
        with os.fdopen(reading) as log:
            assert any("startup complete" in line for line in log)
        process.send_signal(signal.SIGTERM)
        assert process.wait(STOP_SECONDS) == 0
    finally:
        process.kill()
        process.wait()
