"""The other end of the control socket: for the command line one that waits, for an event loop one that does not."""

import asyncio
import contextlib
import itertools
import socket
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from pathlib import Path
from typing import Any, Self

from flowmq.server.control import frames, place
from flowmq.server.control.registry import ControlError


class NoBroker(ConnectionError):
    """Nobody answers at the socket; the message is one line for people."""


class ControlConnection:
    """Waits for every answer. `parts` gives rows as they come, `call` all of them."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.numbers = itertools.count(1)
        try:
            self.socket = place.connected(path)
        except OSError as error:
            raise no_broker(path, error) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.socket.close()

    def call(self, command: str, **arguments: Any) -> Any:
        """The value; of a command that lists, the rows."""
        rows: list[Any] | None = None
        for kind, value in self._answers(command, arguments):
            if kind == frames.PART:
                rows = [] if rows is None else rows
                rows += value
            else:
                return value if rows is None else rows
        raise AssertionError("the answers end with an end")

    def rows(self, command: str, **arguments: Any) -> Iterator[Any]:
        for kind, value in self._answers(command, arguments):
            if kind == frames.PART:
                yield from value

    def listing(self, command: str, **arguments: Any) -> tuple[list[Any], Any]:
        """The rows, and what is said at their end."""
        rows: list[Any] = []
        for kind, value in self._answers(command, arguments):
            if kind == frames.PART:
                rows += value
            else:
                return rows, value
        raise AssertionError("the answers end with an end")

    def _answers(self, command: str, arguments: dict[str, Any]) -> Iterator[tuple[str, Any]]:
        number = next(self.numbers)
        self.socket.sendall(frames.encode([number, command, arguments]))
        while True:
            answered, kind, value = frames.decode(self._frame())
            if answered != number:
                continue
            if kind == frames.ERROR:
                raise ControlError(value["code"], value["reason"])
            yield kind, value
            if kind == frames.END:
                return

    def _frame(self) -> bytes:
        return self._exactly(frames.length(self._exactly(frames.LENGTH.size), frames.ANSWER_BYTES_MAX))

    def _exactly(self, count: int) -> bytes:
        octets = bytearray(count)
        view, done = memoryview(octets), 0
        while done < count:
            received = self.socket.recv_into(view[done:], 0, socket.MSG_WAITALL)
            if not received:
                raise NoBroker(f"{self.path}: the broker has gone")
            done += received
        return bytes(octets)


class AsyncControlConnection:
    """Any number of calls at a time."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.numbers = itertools.count(1)
        self.waiting: dict[int, asyncio.Queue[tuple[str, Any]]] = {}
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.receiving = asyncio.ensure_future(self._receive())

    @classmethod
    async def connect(cls, path: Path) -> Self:
        try:
            reader, writer = await asyncio.open_unix_connection(sock=place.connected(path))
        except OSError as error:
            raise no_broker(path, error) from error
        return cls(reader, writer)

    async def close(self) -> None:
        self.receiving.cancel()
        await asyncio.gather(self.receiving, return_exceptions=True)
        self.writer.close()

    async def call(self, command: str, **arguments: Any) -> Any:
        """The value; of a command that lists, the rows."""
        rows: list[Any] | None = None
        ended: Any = None
        async with contextlib.aclosing(self._answers(command, arguments)) as answers:
            async for kind, value in answers:
                if kind == frames.PART:
                    rows = [] if rows is None else rows
                    rows += value
                else:
                    ended = value
        return ended if rows is None else rows

    async def listing(self, command: str, **arguments: Any) -> tuple[list[Any], Any]:
        """The rows, and what is said at their end."""
        rows: list[Any] = []
        ended: Any = None
        async with contextlib.aclosing(self._answers(command, arguments)) as answers:
            async for kind, value in answers:
                if kind == frames.PART:
                    rows += value
                else:
                    ended = value
        return rows, ended

    async def parts(self, command: str, **arguments: Any) -> AsyncIterator[list[Any]]:
        async with contextlib.aclosing(self._answers(command, arguments)) as answers:
            async for kind, value in answers:
                if kind == frames.PART:
                    yield value

    async def _answers(self, command: str, arguments: dict[str, Any]) -> AsyncGenerator[tuple[str, Any], None]:
        if self.ended.done():
            raise NoBroker("the broker has gone")
        number = next(self.numbers)
        answers = self.waiting[number] = asyncio.Queue()
        try:
            self.writer.write(frames.encode([number, command, arguments]))
            await self.writer.drain()
            while True:
                kind, value = await answers.get()
                if kind == frames.ERROR:
                    raise NoBroker("the broker has gone") if value is None else ControlError(**value)
                yield kind, value
                if kind == frames.END:
                    return
        finally:
            del self.waiting[number]

    async def _receive(self) -> None:
        try:
            while True:
                head = await self.reader.readexactly(frames.LENGTH.size)
                payload = await self.reader.readexactly(frames.length(head, frames.ANSWER_BYTES_MAX))
                number, kind, value = frames.decode(payload)
                if number in self.waiting:
                    self.waiting[number].put_nowait((kind, value))
        except (asyncio.IncompleteReadError, ConnectionError):
            if not self.ended.done():
                self.ended.set_result(None)
        finally:
            for answers in self.waiting.values():
                answers.put_nowait((frames.ERROR, None))


def no_broker(path: Path, error: OSError) -> NoBroker:
    if isinstance(error, FileNotFoundError | ConnectionRefusedError):
        return NoBroker(f"{path}: no broker is running there")
    return NoBroker(f"{path}: {error.strerror or error}")
