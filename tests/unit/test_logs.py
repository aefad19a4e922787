"""Logging: its lines, that it never waits, and that nothing is lost at the end."""

import errno
import json
import logging
import os
import re
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest

from flowmq.server import logs

logger = logging.getLogger("flowmq.test")


class Pipe:
    """A standard error that takes nothing while it is full."""

    def __init__(self) -> None:
        self.reading, writing = os.pipe()
        self.error = os.fdopen(writing, "wb", buffering=0)

    def configure(self) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("sys.stderr", self.error)
            logs.configure("info", "text")

    def fill(self) -> int:
        """Octets it took."""
        blocking = os.get_blocking(self.error.fileno())
        os.set_blocking(self.error.fileno(), False)
        filled = 0
        while count := self.error.write(bytes(4096)):
            filled += count
        os.set_blocking(self.error.fileno(), blocking)
        return filled

    def read(self, count: int) -> None:
        while count:
            count -= len(os.read(self.reading, count))

    def rest(self) -> str:
        self.error.close()
        text = b""
        while octets := os.read(self.reading, 65536):
            text += octets
        return text.decode()

    def stop_reading(self) -> None:
        os.close(self.reading)
        self.reading = -1

    def close(self) -> None:
        self.error.close()
        if self.reading >= 0:
            os.close(self.reading)


def wait_until(is_so: Callable[[], object]) -> None:
    deadline = time.monotonic() + 30
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.002)


@pytest.fixture
def written(capfd: pytest.CaptureFixture[str]) -> Iterator[Callable[[], str]]:
    """Ends the logging and tells what reached standard error."""

    def shut_down_and_read() -> str:
        logs.shutdown()
        return capfd.readouterr().err

    level = logging.getLogger().level
    yield shut_down_and_read
    logs.shutdown()
    logging.getLogger().setLevel(level)


def test_text_lines(written: Callable[[], str]) -> None:
    logs.configure("info", "text")
    logger.info("listening on %s", "127.0.0.1:5672")
    logger.debug("not this")
    line = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z info listening on 127\.0\.0\.1:5672\n"
    assert re.fullmatch(line, written())


@pytest.mark.parametrize("second", [0, 59, 1_767_225_599, 1_798_761_600, 4_102_444_799])
def test_times_are_those_of_the_calendar(second: int) -> None:
    """Also when a second ends by being rounded to microseconds, and whatever second was told before."""
    for fraction in (0.0, 0.0005, 0.001, 0.123, 0.9989999, 0.999, 0.9999994, 0.9999996):
        record = logging.makeLogRecord({"created": second + fraction})
        expected = datetime.fromtimestamp(second + fraction, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")
        assert logs.iso_time(record) == f"{expected[:-3]}Z"


def test_json_lines(written: Callable[[], str]) -> None:
    logs.configure("debug", "json")
    logger.debug("queue %r", "a\nb")
    text = written()
    entry = json.loads(text)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", entry.pop("time"))
    assert entry == {"level": "debug", "logger": "flowmq.test", "message": "queue 'a\\nb'"}
    assert text.count("\n") == 1


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_traceback_is_kept(written: Callable[[], str], form) -> None:
    logs.configure("info", form)
    try:
        raise ValueError("the cause")
    except ValueError:
        logger.exception("failed")
    text = written()
    assert "failed" in text
    assert "Traceback" in text
    assert "ValueError: the cause" in text


def test_a_name_with_control_characters_stays_on_its_line(written: Callable[[], str]) -> None:
    logs.configure("info", "text")
    logger.info("user %s refused", "eve\n2026-01-01T00:00:00.000Z info all is well\x1b[2J\udcff é")
    text = written()
    assert text.count("\n") == 1
    assert "eve\\n2026" in text
    assert "\\x1b[2J\\udcff é refused" in text


def test_a_traceback_cannot_pass_for_a_record(written: Callable[[], str]) -> None:
    logs.configure("info", "text")
    try:
        raise ValueError("eve\n2026-01-01T00:00:00.000Z info all is well\x1b[2J")
    except ValueError:
        logger.exception("failed")
    first, *rest = written().splitlines()
    assert first.endswith("error failed")
    assert all(line.startswith("  ") for line in rest)
    assert rest[-1] == "  2026-01-01T00:00:00.000Z info all is well\\x1b[2J"


def test_arguments_are_taken_when_logged(written: Callable[[], str]) -> None:
    logs.configure("info", "text")
    names = ["first"]
    logger.info("names %s", names)
    names.append("later")
    text = written()
    assert "names ['first']\n" in text


def test_warnings_are_logged(written: Callable[[], str]) -> None:
    logs.configure("info", "json")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(True)
        warnings.warn("old habits", stacklevel=1)
    text = written()
    assert "old habits" in json.loads(text)["message"]


def test_the_last_configuration_holds_alone(written: Callable[[], str]) -> None:
    logs.configure("info", "text")
    logs.configure("info", "json")
    logger.info("once")
    text = written()
    assert json.loads(text)["message"] == "once"


def test_shutdown_may_be_repeated_and_ends_the_thread(written: Callable[[], str]) -> None:
    before = threading.active_count()
    logs.configure("info", "text")
    assert threading.active_count() == before + 1
    logs.shutdown()
    logs.shutdown()
    assert threading.active_count() == before


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    made = Pipe()
    yield made
    logs.shutdown()
    made.close()


def test_a_blocked_standard_error_blocks_nobody_and_drops_are_counted(pipe: Pipe, monkeypatch) -> None:
    monkeypatch.setattr(logs, "LINES_WAITING_MAX", 10)
    filled = pipe.fill()
    pipe.configure()
    logger.warning("first")  # urgent: at once, and so not among those that wait
    writer = logs.installed[0].writer
    wait_until(lambda: not writer.lines)
    for number in range(15):
        logger.info("line %d", number)
    pipe.read(filled)
    wait_until(lambda: not writer.lines)
    logger.info("last")
    logs.shutdown()
    texts = [line.split(" ", 2)[2] for line in pipe.rest().splitlines()]
    assert texts[:11] == ["first", *(f"line {number}" for number in range(10))]
    assert texts[11:] == ["5 log records were dropped: standard error takes them too slowly, or not at all", "last"]


def test_the_last_drops_are_told_at_the_end(pipe: Pipe, monkeypatch) -> None:
    monkeypatch.setattr(logs, "LINES_WAITING_MAX", 1)
    monkeypatch.setattr(logs, "GATHER_SECONDS", 60)
    pipe.configure()
    for _ in range(3):
        logger.info("again")
    logs.shutdown()
    assert [line.split(" ", 2)[2] for line in pipe.rest().splitlines()] == [
        "again",
        "2 log records were dropped: standard error takes them too slowly, or not at all",
    ]


def test_the_end_does_not_wait_for_ever(pipe: Pipe, monkeypatch) -> None:
    monkeypatch.setattr(logs, "LAST_LINES_SECONDS", 0.1)
    filled = pipe.fill()
    pipe.configure()
    logger.info("nobody reads this")
    writer = logs.installed[0].writer
    logs.shutdown()
    assert writer.thread.is_alive()
    pipe.read(filled)
    writer.thread.join(30)
    assert "nobody reads this" in pipe.rest()


def test_a_closed_standard_error_is_survived(pipe: Pipe) -> None:
    pipe.configure()
    pipe.stop_reading()
    writer = logs.installed[0].writer
    for _ in range(2):
        logger.warning("nobody is there")
        wait_until(lambda: not writer.lines)
    wait_until(lambda: writer.unwritten)
    assert writer.thread.is_alive()


def test_what_a_full_disk_has_cost_is_told_when_there_is_room_again(pipe: Pipe, monkeypatch) -> None:
    """Whatever attempts to tell it have failed, and where the last line was cut."""
    room = [20]  # octets; the rest of the first line is lost

    def write(descriptor: int, octets: bytes) -> int:
        count = min(room[0], len(octets))
        if not count:
            raise OSError(errno.ENOSPC, "full")
        room[0] -= count
        return os.write(descriptor, octets[:count])

    monkeypatch.setattr(logs, "os", SimpleNamespace(write=write))
    pipe.configure()
    writer = logs.installed[0].writer
    for number in range(3):
        logger.warning("line %d", number)
        wait_until(lambda expected=number + 1: writer.unwritten - writer.told == expected)
    room[0] = 1 << 20
    logger.warning("at last")
    logs.shutdown()
    cut, last, told = pipe.rest().splitlines()
    assert len(cut) == 20
    assert last.endswith(" warning at last")
    assert told.split(" ", 2)[2].startswith("3 log records were dropped")


def test_long_lines_that_wait_are_few(pipe: Pipe, monkeypatch) -> None:
    monkeypatch.setattr(logs, "CHARACTERS_WAITING_MAX", 10_000)
    filled = pipe.fill()
    pipe.configure()
    for _ in range(20):
        logger.info("x" * 1000)
    writer = logs.installed[0].writer
    assert writer.refused >= 10
    pipe.read(filled)
    wait_until(lambda: writer.characters == writer.characters_done)
    logger.info("short")
    logs.shutdown()
    assert "info short" in pipe.rest()


def test_a_non_blocking_standard_error_is_waited_for(pipe: Pipe) -> None:
    os.set_blocking(pipe.error.fileno(), False)
    filled = pipe.fill()
    pipe.configure()
    logger.warning("in spite of it")
    wait_until(lambda: not logs.installed[0].writer.lines)
    pipe.read(filled)
    logs.shutdown()
    assert "in spite of it" in pipe.rest()


def test_wrong_arguments_do_not_harm_who_logs(written: Callable[[], str]) -> None:
    logs.configure("info", "text")
    # Not by the logger: pytest's own handler would complain.
    record = logging.LogRecord("flowmq", logging.INFO, __file__, 1, "%d of them", ("many",), None)
    logs.installed[0].handler.handle(record)
    text = written()
    assert "cannot log '%d of them'" in text
    assert "TypeError" in text


def test_lines_gather(written: Callable[[], str], monkeypatch) -> None:
    monkeypatch.setattr(logs, "GATHER_SECONDS", 60)
    logs.configure("info", "text")
    writer = logs.installed[0].writer
    logger.info("one")
    logger.info("two")
    assert len(writer.lines) == 2
    logger.warning("this cannot wait")
    wait_until(lambda: not writer.lines)
    assert written().count("\n") == 3
