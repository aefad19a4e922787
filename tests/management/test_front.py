"""What comes to the HTTP ports before any handler: wrong requests, too many clients, clients that say nothing."""

import asyncio
import base64
import socket
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import uvloop
from aiohttp import web

from flowmq.management import doors
from flowmq.management.doors import Serving
from tests.support.broker import Broker
from tests.support.certificates import Authority
from tests.support.exchange import say
from tests.support.http import LISTENING, WITH_HTTP, fetch

pytestmark = pytest.mark.flowmq_only
SECRET = base64.b64encode(b"guest:guest").decode()
REQUEST = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
WRONG = [
    # Each was a traceback in the log once, and showed what stood around it.
    f"GET / HTTP/1.1\r\nHost: x\r\nAuthorization: Basic {SECRET}\r\nX: \0\r\n\r\n".encode(),
    f"POST /\xfd HTTP/1.1\r\nAuthorization: Basic {SECRET}\r\nHost: x\r\n\r\n".encode("latin-1"),
    f"PUT /api/queues/%2F/q HTTP/1.1\r\nHost: x\r\nAuthorization: Basic {SECRET}\r\n"
    "Content-Length: 9\r\n\r\n{".encode(),
    f"PUT /api/queues/%2F/q HTTP/1.1\r\nHost: x\r\nAuthorization: Basic {SECRET}\r\nContent-Encoding: gzip\r\n"
    "Content-Length: 2\r\n\r\n{}".encode(),
    b"GET /api/overview HTTP/1.1\r\nHost: x\r\nExpect: \x95\r\n\r\n",
    b"GET /api/overview HTTP/1.1\r\nHost: x\r\nAuthorization: Basic \xfd\r\n\r\n",
    f"PUT /api/queues/%2F/q HTTP/1.1\r\nHost: x\r\nAuthorization: Basic {SECRET}\r\n"
    "Transfer-Encoding: chunked\r\n\r\nzz\r\n{}".encode(),
]


def test_wrong_requests_leave_no_trace_and_no_password_in_the_log(own_broker: Callable[..., Broker]) -> None:
    broker = own_broker(**WITH_HTTP)
    port = int(broker.log.wait_for(LISTENING)[1])
    for octets in WRONG:
        say("127.0.0.1", port, octets)
    assert fetch(port, "GET", "/api/overview", None, {"Authorization": f"Basic {SECRET}"}).status == 200
    broker.stop()  # which looks for traces
    assert SECRET not in broker.log.text
    assert "internal error" not in broker.log.text


async def serving_one(
    turns: asyncio.Semaphore | None = None,
    asked: list[str] | None = None,
    context: ssl.SSLContext | None = None,
) -> tuple[Serving, int]:
    """Each answer waits for a turn; whoever has asked is in the list."""

    async def hello(request: web.Request) -> web.Response:
        if turns is not None and asked is not None:
            asked.append(request.path)
            await turns.acquire()
        return web.Response(text="hello")

    application = web.Application()
    application.router.add_get("/", hello)
    made = Serving(application, 1.0)
    await made.start()
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    listening.listen()
    port: int = listening.getsockname()[1]
    await made.listen(listening.detach(), context)
    return made, port


async def test_who_does_not_ask_in_time_is_closed_and_who_has_asked_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doors, "HEAD_SECONDS", 0.3)
    made, port = await serving_one()
    asking, asker = await asyncio.open_connection("127.0.0.1", port)
    asker.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    assert b"hello" in await asking.readuntil(b"hello")
    silent = [await asyncio.open_connection("127.0.0.1", port) for _ in range(3)]
    silent[1][1].write(b"GET / HT")
    for reader, writer in silent:
        with pytest.raises((ConnectionError, AssertionError)):
            assert await reader.read() != b""
        writer.close()
    asker.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    assert b"hello" in await asking.readuntil(b"hello")
    asker.close()
    await made.cleanup()


async def test_who_does_not_finish_the_handshake_of_tls_is_closed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(doors, "HEAD_SECONDS", 0.3)
    files = Authority(tmp_path).for_server()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.certificate, files.key)
    made, port = await serving_one(context=context)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"\x16\x03\x01")
    async with asyncio.timeout(30):  # the loop's own limit is 60
        with pytest.raises((ConnectionError, AssertionError)):
            assert await reader.read() != b""
    writer.close()
    await made.cleanup()


LOOPS = pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop])


@LOOPS
def test_who_waits_longest_makes_room(monkeypatch: pytest.MonkeyPatch, loop: Callable[[], Any]) -> None:
    """Also one that has asked before: others would hold all places by asking once."""

    async def run() -> None:
        made, port = await serving_one()
        first, second = [await asyncio.open_connection("127.0.0.1", port) for _ in range(2)]
        for reader, writer in (first, second, first):
            await ask(reader, writer)
        third = await asyncio.open_connection("127.0.0.1", port)
        await ask(*third)
        with pytest.raises((ConnectionError, AssertionError)):
            assert await second[0].read() != b""
        await ask(*first)
        for _, writer in (first, second, third):
            writer.close()
        await made.cleanup()

    monkeypatch.setattr(doors, "CONNECTIONS_MAX", 2)
    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(run())


@LOOPS
def test_where_all_are_being_answered_the_last_is_turned_away(
    monkeypatch: pytest.MonkeyPatch, loop: Callable[[], Any]
) -> None:
    async def run() -> None:
        turns, asked = asyncio.Semaphore(0), list[str]()
        made, port = await serving_one(turns, asked)
        there = [await asyncio.open_connection("127.0.0.1", port) for _ in range(2)]
        for _, writer in there:
            writer.write(REQUEST)
        while len(asked) < 2:
            await asyncio.sleep(0)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        with pytest.raises((ConnectionError, AssertionError)):
            assert await reader.read() != b""
        writer.close()
        for _ in there:
            turns.release()
        for reader, writer in there:
            await reader.readuntil(b"hello")
            writer.close()
        await made.cleanup()

    monkeypatch.setattr(doors, "CONNECTIONS_MAX", 2)
    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(run())


async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(REQUEST)
    await reader.readuntil(b"hello")
