"""Clients that take all the files which the broker may have open leave it those that it needs itself."""

import os
import resource
import signal
import socket
from collections.abc import Callable
from dataclasses import replace

import pytest

from flowmq.server.control import place
from flowmq.server.control.client import ControlConnection
from tests.support.broker import Broker, children, until
from tests.support.http import Api, api_of
from tests.support.peer import Peer
from tests.support.wire import connect

pytestmark = pytest.mark.flowmq_only
FILES = 128
MESSAGES, MESSAGE_BYTES = 80, 1_000_000  # more than a segment holds
PERSISTENT = {"delivery_mode": 2}


def let_have(broker: Broker, files: int) -> None:
    _, hard = resource.prlimit(broker.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(broker.pid, resource.RLIMIT_NOFILE, (files, hard))


def knock(peer: Peer) -> socket.socket | None:
    """Somebody who begins to speak AMQP; None: is turned away."""
    client = socket.create_connection((peer.host, peer.port), 30)
    try:
        client.sendall(peer.greeting + b"AMQP\0\0\x09\x01")
        if client.recv(1):
            return client
    except OSError:
        pass
    client.close()
    return None


def lets_in(peer: Peer) -> bool:
    client = knock(peer)
    if client is not None:
        client.close()
    return client is not None


@pytest.mark.parametrize("door", ["plain", "PROXY"])
def test_the_journal_goes_on(own_broker: Callable[..., Broker], door: str) -> None:
    proxy = {"FLOWMQ_AMQP__PROXY_PROTOCOL_FROM": "127.0.0.0/8", "FLOWMQ_LIMITS__DEFAULT_USER_LOOPBACK_ONLY": "false"}
    broker = own_broker(**(proxy if door == "PROXY" else {}))
    peer = replace(broker.peer, greeting=b"PROXY UNKNOWN\r\n" if door == "PROXY" else b"")
    let_have(broker, FILES)
    with connect(peer) as client:
        channel = client.channel()
        channel.queue("kept", durable=True)
        opened = []
        while (one := knock(peer)) is not None:
            assert len(opened) < FILES, "nobody is turned away"
            opened.append(one)
        broker.log.wait_for(f"clients are turned away: of {FILES} files")
        channel.put("kept", *[bytes(MESSAGE_BYTES)] * MESSAGES, properties=PERSISTENT)
        with ControlConnection(broker.data_dir / place.NAME) as control:
            assert control.call("limit.refused")["open_files"] > 0
        for one in opened:
            one.close()
        until(lambda: lets_in(peer))
        assert channel.count("kept") == MESSAGES
        client.close()
    broker.stop()


def test_a_process_beside_it_comes_back_when_there_are_files_again(own_broker: Callable[..., Broker]) -> None:
    broker = own_broker(FLOWMQ_MANAGEMENT__LISTEN="127.0.0.1:0")
    api: Api = api_of(broker)
    assert api.get("overview")
    before, _ = resource.prlimit(broker.pid, resource.RLIMIT_NOFILE)
    [management] = children(broker.pid)
    let_have(broker, len(os.listdir(f"/proc/{broker.pid}/fd")))
    os.kill(management, signal.SIGKILL)
    broker.log.wait_for("the management process ended")
    broker.log.wait_for(r"the management process could not be started \(Too many open files\)")
    let_have(broker, before)
    assert api.get("overview")
    broker.terminate()
    assert broker.wait() == 0
