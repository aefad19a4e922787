"""The connection of a shovel that nobody answers: it says so in one way, however far it got, and is closed."""

import asyncio
import contextlib
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import uvloop

from flowmq.broker.amqp_uri import parse
from flowmq.shovel.link import Failed, Link
from tests.support import codec

TLS_HANDSHAKE = 22
TIME_LIMIT = "?connection_timeout=200"
NO_ANSWER = "source: no answer within 0.2 s"


class EarlyLoop(uvloop.Loop):
    """Its timers fire before their time, as a loop's may by what its clock is rounded."""

    def call_later(self, delay: float, callback: Callable[..., Any], *given: Any, **named: Any) -> asyncio.TimerHandle:
        return super().call_later(delay * 0.9, callback, *given, **named)


def failure_of(uri: str) -> str:
    async def run() -> None:
        await Link("source").open(parse(uri), "name")

    with asyncio.Runner(loop_factory=EarlyLoop) as runner, pytest.raises(Failed) as failed:
        runner.run(run())
    return str(failed.value)


@pytest.fixture
def silent() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as server:
        server.settimeout(10)
        yield server


def test_nobody_takes_the_connection(silent: socket.socket) -> None:
    with contextlib.ExitStack() as others:
        # Linux queues one more than the backlog; who comes later hears nothing.
        others.enter_context(socket.create_connection(silent.getsockname()))
        assert failure_of(f"amqp://127.0.0.1:{silent.getsockname()[1]}{TIME_LIMIT}") == NO_ANSWER


@pytest.mark.parametrize("scheme", ["amqp", "amqps"])
def test_nobody_says_anything(silent: socket.socket, scheme: str) -> None:
    assert failure_of(f"{scheme}://127.0.0.1:{silent.getsockname()[1]}{TIME_LIMIT}") == NO_ANSWER
    connection, _ = silent.accept()
    with connection:
        connection.settimeout(10)
        sent = b"".join(iter(lambda: connection.recv(65536), b""))  # until it is closed
    if scheme == "amqp":
        assert sent == codec.PROTOCOL_HEADER
    else:
        assert sent[0] == TLS_HANDSHAKE
