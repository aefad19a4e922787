"""Which sockets a listener's address stands for; and what a door does when there is no room for a client."""

import asyncio
import errno
import logging
import os
import resource
import socket
from collections.abc import Callable
from contextlib import ExitStack
from types import SimpleNamespace
from typing import Any

import pytest

from flowmq.server import listeners
from flowmq.server.arrivals import Way
from flowmq.server.proxy_protocol import Trusted
from tests.unit.support_plane import Timer
from tests.unit.test_sockets import House

BOTH = [
    (socket.AF_INET6, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", ("::1", 0, 0, 0)),
    (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", ("127.0.0.1", 0)),
]


def bound(found: list[Any]) -> list[Any]:
    """The addresses that are listened on where a name stands for these."""

    async def names() -> list[Any]:
        loop = asyncio.get_running_loop()

        async def getaddrinfo(*_: object, **__: object) -> list[Any]:
            return found

        loop.getaddrinfo = getaddrinfo  # type: ignore[method-assign,assignment]
        opened = await listeners.bound_sockets(loop, "localhost", 0)
        addresses = [listening.getsockname()[0] for listening in opened]
        for listening in opened:
            listening.close()
        return addresses

    return asyncio.run(names())


@pytest.fixture
def without_ipv6(monkeypatch: pytest.MonkeyPatch) -> None:
    real = socket.socket

    def make(family: int = socket.AF_INET, *more: Any) -> socket.socket:
        if family == socket.AF_INET6:
            raise OSError(errno.EAFNOSUPPORT, os.strerror(errno.EAFNOSUPPORT))
        return real(family, *more)

    monkeypatch.setattr(listeners.socket, "socket", make)


@pytest.mark.usefixtures("without_ipv6")
def test_a_name_of_both_kinds_is_listened_on_where_there_is_no_ipv6() -> None:
    assert bound(BOTH) == ["127.0.0.1"]


@pytest.mark.usefixtures("without_ipv6")
def test_but_an_address_that_is_of_no_other_kind_is_an_error() -> None:
    with pytest.raises(OSError, match="not supported"):
        bound(BOTH[:1])


class Entrance:
    """A door for plain clients, and what it has asked to be done later."""

    def __init__(self, stack: ExitStack) -> None:
        self.stack, self.house = stack, House(stack)
        self.later: list[tuple[float, Callable[[], None]]] = []
        loop: Any = self.house.plane.loop
        loop.call_later = self.call_later
        self.house.listening.setblocking(False)
        owner: Any = SimpleNamespace(node=self.house.plane.node, loop=loop)
        self.door = listeners.Door(owner, Way("AMQP", ["PLAIN"], Trusted([])), self.house.listening)
        stack.callback(self.house.settle)
        stack.callback(self.door.close)
        self.door.open(5)

    def call_later(self, seconds: float, callback: Callable[[], None], *_: object) -> Timer:
        if callback == self.door._go_on:
            self.later.append((seconds, callback))
        return Timer()

    def client(self) -> socket.socket:
        client = self.stack.enter_context(socket.create_connection(self.house.listening.getsockname(), 10))
        client.sendall(b"AMQP\0\0\x09\x01")
        return client

    def is_let_in(self, client: socket.socket) -> bool:
        self.house.settle()
        client.setblocking(False)
        try:
            return client.recv(1) == b"\1"
        except BlockingIOError:
            return False


@pytest.fixture
def entrance() -> Any:
    with ExitStack() as stack:
        yield Entrance(stack)


def test_without_descriptors_nobody_is_let_in_for_a_while(entrance: Entrance, caplog: pytest.LogCaptureFixture) -> None:
    client = entrance.client()
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (client.fileno() + 1, limits[1]))
    try:
        assert not entrance.is_let_in(client)
        assert not entrance.house.is_asked()  # until then nobody looks
        [(seconds, go_on)] = entrance.later
        assert seconds == listeners.OUT_OF_FILES_SECONDS
        go_on()
        assert not entrance.is_let_in(client)
        assert len(entrance.later) == 2
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    entrance.later[1][1]()
    assert entrance.is_let_in(client)
    assert [record.levelno for record in caplog.records if "no client can be accepted" in record.message] == [
        logging.ERROR
    ] * 2
    assert not entrance.house.errors


def test_without_memory_to_look_again_it_is_tried_later(entrance: Entrance) -> None:
    """A kernel that has none for a client may have none for the socket that listens either."""
    door, looking = entrance.door, entrance.door.listening
    refusals = [OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))] * 2

    def begin() -> None:
        if refusals:
            raise refusals.pop()
        looking.begin()

    door._cannot_accept(refusals[0])
    door.listening = SimpleNamespace(begin=begin, stop=looking.stop)  # type: ignore[assignment]
    client = entrance.client()
    for tried in range(2):
        entrance.later[tried][1]()
        assert not entrance.is_let_in(client)
    entrance.later[2][1]()
    assert entrance.is_let_in(client)
    assert len(entrance.later) == 3
