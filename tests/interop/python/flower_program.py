"""Celery's worker and Flower as processes of their own: a worker that is killed, tasks for later, what Flower shows.

flower_program.py management HTTP-API AMQP METRICS
"""

import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

_, _, HTTP, AMQP, _ = sys.argv
os.environ["INTEROP_AMQP"] = AMQP

from celery_tasks import app, at, double, stubborn, twice  # noqa: E402 - it reads the environment
from report import SECONDS, check  # noqa: E402

LATER_SECONDS = 2


def equal(got: object, expected: object) -> None:
    assert got == expected, got


def until(found: Callable[[], Any]) -> Any:
    """What it gives once that is true."""
    ends_at = time.monotonic() + SECONDS
    while True:
        with contextlib.suppress(OSError):  # Flower does not listen yet, or knows nothing yet
            if value := found():
                return value
        assert time.monotonic() < ends_at, "it never came to pass"
        time.sleep(0.1)


@contextlib.contextmanager
def process(*arguments: str, **environ: str) -> Iterator[subprocess.Popen[bytes]]:
    started = subprocess.Popen(
        [sys.executable, "-m", "celery", "--quiet", "-A", "celery_tasks", *arguments],
        env={**os.environ, **environ},
        stdout=sys.stderr,
    )
    try:
        yield started
    finally:
        started.kill()
        started.wait()


def worker(name: str) -> contextlib.AbstractContextManager[subprocess.Popen[bytes]]:
    return process("worker", "--pool", "solo", "--loglevel", "warning", "-n", f"{name}@interop", "-E")


def later() -> None:
    due = datetime.now(UTC) + timedelta(seconds=LATER_SECONDS)
    ran_at = at.apply_async(eta=due).get(timeout=SECONDS)
    assert ran_at >= due.timestamp(), (ran_at, due)


def killed_in_the_midst() -> None:
    with tempfile.TemporaryDirectory() as directory:
        with worker("first") as first:
            result = twice.delay(directory)
            until(Path(directory, "begun").exists)
            first.kill()
            first.wait()
        with worker("second"):
            equal(result.get(timeout=SECONDS), True)


def asked(port: int, path: str) -> Any:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/{path}", timeout=SECONDS) as answer:
        return json.load(answer)


def length_of_queue(port: int) -> int | None:
    """As Flower reads it from the broker's HTTP API."""
    queues = asked(port, "queues/length")["active_queues"]
    return next((queue["messages"] for queue in queues if queue["name"] == "interop.watched"), None)


def watched(port: int) -> None:
    with worker("watched") as running:
        check("task", lambda: equal(double.delay(21).get(timeout=SECONDS), 42))
        check("task-for-later", later)
        check("retry", lambda: equal(stubborn.delay().get(timeout=SECONDS), 2))
        check("flower-workers", lambda: until(lambda: "watched@interop" in asked(port, "workers?refresh=1")))
        check(
            "flower-tasks",
            lambda: until(lambda: {task["state"] for task in asked(port, "tasks").values()} >= {"SUCCESS"}),
        )
        check("flower-queues", lambda: until(lambda: length_of_queue(port) == 0))
        running.terminate()
        running.wait(SECONDS)
    for _ in range(3):
        double.delay(1)
    check("flower-backlog", lambda: until(lambda: length_of_queue(port) == 3))


def main() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    check("worker-killed", killed_in_the_midst)
    with process("flower", f"--port={port}", f"--broker-api={HTTP}/api/", FLOWER_UNAUTHENTICATED_API="true"):
        watched(port)
    app.close()


if __name__ == "__main__":
    main()
