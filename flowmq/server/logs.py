"""Logging to standard error that never makes the event loop wait.

A log call only puts its record into a bounded queue; a thread of its own formats and writes. When standard error is
slower than the log for long, records are dropped and counted rather than awaited. Not a place for log levels or texts
of single modules: they use the standard library's loggers.
"""

import copy
import json
import logging
import sys
import traceback
from datetime import UTC, datetime
from logging.handlers import QueueHandler, QueueListener
from queue import Full, Queue
from typing import Literal

RECORDS_WAITING_MAX = 10_000

Records = Queue[logging.LogRecord | None]


class NonBlockingHandler(QueueHandler):
    """Fixes a record's text while its arguments are as they were, and never waits for room in the queue."""

    def __init__(self, records: Records) -> None:
        super().__init__(records)
        self.dropped = 0

    def prepare(self, record: logging.LogRecord) -> logging.LogRecord:
        prepared = copy.copy(record)
        prepared.msg = record.getMessage()
        prepared.args = None
        if record.exc_info:
            prepared.exc_text = "".join(traceback.format_exception(*record.exc_info)).rstrip("\n")
            prepared.exc_info = None
        return prepared

    def enqueue(self, record: logging.LogRecord) -> None:
        try:
            if self.dropped:
                self.queue.put_nowait(dropped_record(self.dropped))
                self.dropped = 0
            self.queue.put_nowait(record)
        except Full:
            self.dropped += 1


class WaitingListener(QueueListener):
    """Writes the records; its end waits for room behind them, where the standard one gives up on a full queue."""

    queue: Records

    def enqueue_sentinel(self) -> None:
        self.queue.put(None)


class TextFormatter(logging.Formatter):
    """2026-01-31T12:00:00.123Z info message; only a traceback takes further lines."""

    def format(self, record: logging.LogRecord) -> str:
        line = f"{iso_time(record)} {record.levelname.lower()} {one_line(record.getMessage())}"
        return f"{line}\n{record.exc_text}" if record.exc_text else line


class JsonFormatter(logging.Formatter):
    """One JSON object on one line."""

    def format(self, record: logging.LogRecord) -> str:
        entry = {
            "time": iso_time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_text:
            entry["traceback"] = record.exc_text
        return json.dumps(entry)


FORMATTERS: dict[str, type[logging.Formatter]] = {"text": TextFormatter, "json": JsonFormatter}


class Installation:
    """The one set of handler and writing thread that the process has, or has not yet."""

    def __init__(self, level: str, format: str) -> None:
        records: Records = Queue(RECORDS_WAITING_MAX)
        output = logging.StreamHandler(sys.stderr)
        output.setFormatter(FORMATTERS[format]())
        self.handler = NonBlockingHandler(records)
        self.listener = WaitingListener(records, output)
        self.listener.start()
        root = logging.getLogger()
        root.setLevel(level.upper())
        root.addHandler(self.handler)

    def remove(self) -> None:
        logging.getLogger().removeHandler(self.handler)
        if self.handler.dropped:
            self.listener.queue.put(dropped_record(self.handler.dropped))
        self.listener.stop()


installed: list[Installation] = []


def configure(level: Literal["debug", "info", "warning", "error"], format: Literal["text", "json"]) -> None:
    """Send all logging of the process to standard error, from now on and in this form."""
    shutdown()
    installed.append(Installation(level, format))
    logging.captureWarnings(True)


def shutdown() -> None:
    """Write out what is still waiting, and end the writing thread."""
    while installed:
        installed.pop().remove()
    logging.captureWarnings(False)


def dropped_record(count: int) -> logging.LogRecord:
    text = f"{count} log records were dropped: standard error takes them too slowly"
    return logging.LogRecord("flowmq", logging.WARNING, __file__, 0, text, None, None)


def iso_time(record: logging.LogRecord) -> str:
    time = datetime.fromtimestamp(record.created, UTC)
    return time.replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"


def one_line(text: str) -> str:
    """What a client may have named must not pass for a log line of its own, nor steer a terminal."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
