"""Logging to standard error that never makes the event loop wait.

A log call makes its line and puts it into a bounded queue; a thread of its own writes what has gathered there. When
standard error takes lines more slowly than they come, or not at all, lines are dropped and counted rather than awaited.
Not a place for log levels or texts of single modules: they use the standard library's loggers.
"""

import json
import logging
import os
import select
import sys
import threading
import traceback
from collections import deque
from datetime import UTC, datetime
from functools import lru_cache
from typing import Literal

LINES_WAITING_MAX = 10_000
CHARACTERS_WAITING_MAX = 8 << 20  # clients may see to it that lines are long
# Lines gather for so long: a thread that wakes for each would take the interpreter from the event loop each time.
GATHER_SECONDS = 0.05
LAST_LINES_SECONDS = 5.0  # how long the end waits for a standard error that takes nothing


class Writer:
    """The thread that writes. Nothing that it does can make whoever logs wait."""

    def __init__(self, descriptor: int, formatter: logging.Formatter) -> None:
        self.descriptor = descriptor
        self.formatter = formatter
        self.lines: deque[str] = deque()
        self.characters = 0  # of all lines there ever were; whoever logs holds the handler's lock
        self.refused = 0  # likewise: for want of room in the queue
        self.characters_done = 0  # written or not; this and what follows is the thread's own
        self.unwritten = 0
        self.told = 0  # of those refused and unwritten
        self.is_mid_line = False  # the last write ended there
        self.there_is_some = threading.Event()
        self.is_urgent = threading.Event()  # not to be gathered any longer
        self.has_ended = False
        # A daemon: a standard error that takes nothing must not keep the process from ending.
        self.thread = threading.Thread(target=self._run, name="log", daemon=True)
        self.thread.start()

    def put(self, line: str, *, urgent: bool) -> None:
        is_full = self.characters - self.characters_done >= CHARACTERS_WAITING_MAX
        if is_full or len(self.lines) >= LINES_WAITING_MAX:
            self.refused += 1
            return
        self.characters += len(line)
        self.lines.append(line)
        if not self.there_is_some.is_set():
            self.there_is_some.set()
        if urgent and not self.is_urgent.is_set():
            self.is_urgent.set()

    def close(self) -> None:
        """Write what is still waiting, unless nobody takes it."""
        self.has_ended = True
        self.there_is_some.set()
        self.is_urgent.set()
        self.thread.join(LAST_LINES_SECONDS)

    def _run(self) -> None:
        while not self.has_ended or self.lines:
            self.there_is_some.wait()
            self.is_urgent.wait(GATHER_SECONDS)
            # Before the lines are taken: what comes behind them is seen the next time.
            self.there_is_some.clear()
            if not self.has_ended:
                self.is_urgent.clear()
            lines = [self.lines.popleft() for _ in range(len(self.lines))]
            self._write(lines)
            self.characters_done += sum(map(len, lines))
        self._write([])

    def _write(self, lines: list[str]) -> None:
        """And behind them, how many are missing; what is not written either is told the next time."""
        dropped = self.refused + self.unwritten - self.told
        if self._are_written([*lines, *self._of_dropped(dropped)]):
            self.told += dropped
        else:
            self.unwritten -= dropped > 0

    def _of_dropped(self, count: int) -> list[str]:
        if not count:
            return []
        text = f"{count} log records were dropped: standard error takes them too slowly, or not at all"
        return [self.formatter.format(logging.LogRecord("flowmq", logging.WARNING, __file__, 0, text, None, None))]

    def _are_written(self, lines: list[str]) -> bool:
        octets = "".join(f"{line}\n" for line in lines).encode("utf-8", "backslashreplace")
        if octets and self.is_mid_line:
            octets = b"\n" + octets
        while octets:
            try:
                written = os.write(self.descriptor, octets)
                self.is_mid_line = octets[:written][-1:] != b"\n"
                octets = octets[written:]
            except BlockingIOError:
                # Somebody else who has this file open made it non-blocking.
                ready = select.poll()
                ready.register(self.descriptor, select.POLLOUT)
                ready.poll()
            except OSError:
                # Nobody reads any more, or its disk is full. It is said when lines can be written again.
                self.unwritten += octets.count(b"\n", 1)  # the first may be there only to end a line
                return False
        return True


class LineHandler(logging.Handler):
    """Makes the line while the record's arguments are as they were."""

    def __init__(self, writer: Writer, formatter: logging.Formatter) -> None:
        super().__init__()
        self.writer = writer
        self.setFormatter(formatter)

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = self.format(record)
        except Exception:
            # Arguments that do not fit their text are a mistake of ours; whoever logs must not fail by it.
            line = f"{iso_time(record)} error cannot log {record.msg!r}: {traceback.format_exc(limit=-1)!r}"
        self.writer.put(line, urgent=record.levelno >= logging.WARNING)


class TextFormatter(logging.Formatter):
    """2026-01-31T12:00:00.123Z info message; only a traceback takes further lines."""

    def format(self, record: logging.LogRecord) -> str:
        line = f"{iso_time(record)} {record.levelname.lower()} {one_line(record.getMessage())}"
        if not record.exc_info:
            return line
        # Indented, so that no line of it can pass for a record.
        return "\n".join([line, *(f"  {one_line(each)}" for each in trace(record).split("\n"))])


class JsonFormatter(logging.Formatter):
    """One JSON object on one line."""

    def format(self, record: logging.LogRecord) -> str:
        entry = {
            "time": iso_time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            entry["traceback"] = trace(record)
        return json.dumps(entry)


FORMATTERS: dict[str, type[logging.Formatter]] = {"text": TextFormatter, "json": JsonFormatter}


class Installation:
    """The one handler and writing thread that the process has, or has not yet."""

    def __init__(self, level: str, format: str) -> None:
        formatter = FORMATTERS[format]()
        self.writer = Writer(sys.stderr.fileno(), formatter)
        self.handler = LineHandler(self.writer, formatter)
        root = logging.getLogger()
        root.setLevel(level.upper())
        root.addHandler(self.handler)

    def remove(self) -> None:
        logging.getLogger().removeHandler(self.handler)
        self.writer.close()


installed: list[Installation] = []


def configure(level: Literal["debug", "info", "warning", "error"], format: Literal["text", "json"]) -> None:
    """Send all logging of the process to standard error, from now on and in this form."""
    shutdown()
    installed.append(Installation(level, format))
    logging.captureWarnings(True)
    # No line shows them, and to find them out takes longer than all the rest.
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    logging._srcfile = None


def shutdown() -> None:
    """Write out what is still waiting, and end the writing thread."""
    while installed:
        installed.pop().remove()
    logging.captureWarnings(False)


def iso_time(record: logging.LogRecord) -> str:
    second = int(record.created)
    microseconds = round((record.created - second) * 1_000_000)
    if microseconds == 1_000_000:
        second, microseconds = second + 1, 0
    return f"{iso_second(second)}.{microseconds // 1000:03}Z"


@lru_cache(maxsize=2)
def iso_second(second: int) -> str:
    """Most lines are of the second of the one before."""
    return datetime.fromtimestamp(second, UTC).replace(tzinfo=None).isoformat()


def trace(record: logging.LogRecord) -> str:
    assert record.exc_info is not None
    return "".join(traceback.format_exception(*record.exc_info)).rstrip("\n")


def one_line(text: str) -> str:
    """What a client may have named must not pass for a log line of its own, nor steer a terminal."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
