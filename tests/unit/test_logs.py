"""Logging: its lines, that it never waits, and that nothing is lost at the end."""

import io
import json
import logging
import re
import threading
import warnings
from collections.abc import Callable, Iterator

import pytest

from flowmq.server import logs

logger = logging.getLogger("flowmq.test")


@pytest.fixture
def written(capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[[], str]]:
    """Ends the logging and tells what reached standard error."""

    def shut_down_and_read() -> str:
        logs.shutdown()
        return capsys.readouterr().err

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


class Blocked(io.StringIO):
    """A standard error that takes nothing until it is released."""

    def __init__(self) -> None:
        super().__init__()
        self.reached = threading.Event()
        self.released = threading.Event()

    def write(self, text: str) -> int:
        self.reached.set()
        assert self.released.wait(30)
        return super().write(text)


@pytest.mark.parametrize("after", [["last"], []])
def test_a_blocked_standard_error_blocks_nobody_and_drops_are_counted(written, monkeypatch, after: list[str]) -> None:
    blocked = Blocked()
    monkeypatch.setattr("sys.stderr", blocked)
    monkeypatch.setattr(logs, "RECORDS_WAITING_MAX", 10)
    logs.configure("info", "text")
    logger.info("first")
    assert blocked.reached.wait(30)
    for number in range(15):
        logger.info("line %d", number)
    blocked.released.set()
    logs.installed[0].listener.queue.join()
    for text in after:
        logger.info(text)
    logs.shutdown()
    texts = [line.split(" ", 2)[2] for line in blocked.getvalue().splitlines()]
    assert texts[:11] == ["first", *(f"line {number}" for number in range(10))]
    assert texts[11:] == ["5 log records were dropped: standard error takes them too slowly", *after]
