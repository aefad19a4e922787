"""The broker's end of the control socket: takes requests, runs commands, and tells rows without holding the loop.

A listing is told in parts. Making one takes at most SLICE_SECONDS of the event loop, and only one is made per turn of
it, however many listings are under way; what a client does not read is not made.
"""

import asyncio
import inspect
import logging
import socket
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from flowmq._clock import set_clock
from flowmq._peer import flush
from flowmq.server.control import commands, frames, place
from flowmq.server.control.registry import (
    BAD_REQUEST,
    INTERNAL,
    SKIPPED,
    ControlError,
    arguments_of,
    as_control_error,
    find,
)

if TYPE_CHECKING:
    from flowmq.server.node import Node

SLICE_SECONDS = 0.002
ROWS_MAX = 1000  # in one part
REQUESTS_MAX = 64  # under way on one connection; the next is not read before one of them is answered
log = logging.getLogger("flowmq")

assert commands.__doc__, "imported for the commands that it registers"


class ControlService:
    def __init__(self, node: "Node") -> None:
        self.node = node
        self.group = node.settings.control.group
        self.path = place.socket_path(node.settings.control.socket, node.settings.storage.data_dir)
        self.turn = asyncio.Lock()  # whose slice it is
        self.server: asyncio.Server | None = None
        self.clients: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """OSError when there can be no socket there; KeyError when there is no such group."""
        self.server = await asyncio.start_unix_server(self._connected, sock=place.listening(self.path, self.group))
        log.info("control socket is %s", self.path)

    async def stop(self) -> None:
        if self.server is None:
            return
        self.server.close()
        for client in list(self.clients):
            client.cancel()
        await asyncio.gather(*self.clients, return_exceptions=True)
        self.path.unlink(missing_ok=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.clients.add(task)
        try:
            peer: socket.socket = writer.get_extra_info("socket")
            if place.may_connect(peer, self.group):
                await ControlClient(self, reader, writer).serve()
            else:
                log.warning("control socket: user %s may not use it", place.user_name(peer))
        except ConnectionError:
            log.debug("control socket: a client went away")
        except asyncio.CancelledError:
            # By stop() alone, which waits for this. asyncio's streams take a cancelled task for a mistake.
            log.debug("control socket: a client is left")
        except frames.FrameTooLarge as error:
            log.warning("control socket: %s", error)
        finally:
            self.clients.discard(task)
            writer.close()


class ControlClient:
    """One that is connected."""

    def __init__(self, service: ControlService, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.service, self.reader, self.writer = service, reader, writer
        self.free = asyncio.Semaphore(REQUESTS_MAX)
        self.requests: set[asyncio.Task[None]] = set()

    async def serve(self) -> None:
        """Until the client hangs up; what it had asked for is then of no use any more."""
        try:
            while True:
                payload = await self._frame()
                if payload is None:
                    return
                await self.free.acquire()
                request = asyncio.ensure_future(self._answer(payload))
                self.requests.add(request)
                request.add_done_callback(self._answered)
        finally:
            for request in self.requests:
                request.cancel()

    async def _frame(self) -> bytes | None:
        try:
            head = await self.reader.readexactly(frames.LENGTH.size)
            return await self.reader.readexactly(frames.length(head, frames.REQUEST_BYTES_MAX))
        except asyncio.IncompleteReadError:
            return None

    def _answered(self, request: "asyncio.Task[None]") -> None:
        self.requests.discard(request)
        self.free.release()
        if not request.cancelled() and request.exception() is not None:
            log.debug("control socket: a client went away: %s", request.exception())

    async def _answer(self, payload: bytes) -> None:
        number, name = None, "?"
        try:
            number, name, given = self._request(payload)
            value = await self._run(number, name, given)
            self._send(number, frames.END, value)
        except ConnectionError:
            raise
        except Exception as error:
            known = as_control_error(error)
            if known is None:
                log.error("control socket: %s: internal error", name, exc_info=error)
                known = ControlError(INTERNAL, "internal error, see the broker's log")
            self._send(number, frames.ERROR, {"code": known.code, "reason": known.reason})
        await self.writer.drain()

    def _request(self, payload: bytes) -> tuple[Any, str, Any]:
        try:
            number, name, given = frames.decode(payload)
        except (ValueError, TypeError) as error:  # a map as a name within a map is a TypeError to msgpack
            raise ControlError(BAD_REQUEST, "a request is [id, command, arguments] in MessagePack") from error
        return number, name, given

    async def _run(self, number: Any, name: str, given: Any) -> Any:
        found = find(name)
        asked = arguments_of(found, given)
        set_clock()
        journal = None if self.service.node.store is None else self.service.node.store.journal
        defined = 0 if journal is None else journal.definition_count
        try:
            value = found.run(self.service.node, asked)
            if inspect.isawaitable(value):
                value = await value
        finally:
            # What was done before an error is done.
            flush()
        if (
            journal is not None
            and journal.definition_count != defined
            and journal.definition_commit > journal.committed
        ):
            await self._committed(journal.definition_commit)
        if isinstance(value, Iterator):
            return await self._list(number, value)
        return value

    async def _committed(self, commit: int) -> None:
        """What was changed is on disk."""
        store = self.service.node.store
        assert store is not None
        answer: asyncio.Future[bool] = self.service.node.loop.create_future()
        store.when_committed(commit, lambda failed: None if answer.done() else answer.set_result(failed))
        if await answer:
            raise ControlError(INTERNAL, "the broker's disk failed: nothing durable can be done")

    async def _list(self, number: Any, rows: Iterator[Any]) -> Any:
        """Tells all rows, in one part at least; returns what the iterator returns, if it is a generator that does."""
        told = False
        while True:
            async with self.service.turn:
                part, result = take(rows)
                flush()
                if part or (result is not None and not told):
                    self._send(number, frames.PART, part)
                    told = True
                if result is not None:
                    return result.value
                await asyncio.sleep(0)
            await self.writer.drain()

    def _send(self, number: Any, kind: str, value: Any) -> None:
        self.writer.write(frames.encode([number, kind, value]))


def take(rows: Iterator[Any]) -> tuple[list[Any], StopIteration | None]:
    """The rows that a slice of time is enough for, and whether they were the last ones."""
    part: list[Any] = []
    # Half of it: they are encoded as well.
    ends = time.perf_counter() + SLICE_SECONDS / 2
    while len(part) < ROWS_MAX:
        try:
            row = next(rows)
        except StopIteration as end:
            return part, end
        if row is not SKIPPED:
            part.append(row)
        if time.perf_counter() >= ends:
            break
    return part, None
