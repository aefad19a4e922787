"""Which sockets a listener's address stands for."""

import asyncio
import errno
import os
import socket
from typing import Any

import pytest

from flowmq.server import listeners

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
