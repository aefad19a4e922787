"""Celery: a worker and its tasks; results by rpc://."""

import sys
from typing import Any

from celery import Celery
from celery.contrib.testing.worker import start_worker
from celery.exceptions import Reject
from celery.exceptions import TimeoutError as CeleryTimeout
from kombu import Connection, Exchange, Queue
from report import SECONDS, check, say

DEAD = "interop.celery.dead"
app = Celery("interop")
app.conf.update(
    broker_url=sys.argv[2],
    result_backend="rpc://",
    task_default_queue="interop.celery",
    task_queues=[
        Queue(
            "interop.celery",
            Exchange("interop.celery"),
            "interop.celery",
            queue_arguments={"x-dead-letter-exchange": "", "x-dead-letter-routing-key": DEAD},
        )
    ],
    broker_connection_retry_on_startup=True,
    worker_hijack_root_logger=False,
)


@app.task
def add(one: int, other: int) -> int:
    return one + other


@app.task(bind=True, autoretry_for=(ValueError,), max_retries=5, default_retry_delay=0.1)
def stubborn(self: Any) -> int:
    if self.request.retries < 2:
        raise ValueError("not yet")
    return self.request.retries


@app.task(acks_late=True)
def hopeless() -> None:
    raise Reject("never", requeue=False)


def dead_letter(url: str) -> None:
    with Connection(url) as connection:
        dead = connection.SimpleQueue(DEAD)
        hopeless.delay()
        message = dead.get(timeout=SECONDS)
        message.ack()
        assert message.headers["x-death"][0]["reason"] == "rejected"
        assert message.headers["task"].endswith("hopeless")
        dead.close()


def equal(got: object, expected: object) -> None:
    assert got == expected, got


def worker() -> Any:
    return start_worker(app, pool="solo", perform_ping_check=False, shutdown_timeout=SECONDS)


def after_restart(attempts: int) -> None:
    """A result may be lost with the connection that its client had; then the client asks again."""
    for _ in range(attempts):
        try:
            equal(add.delay(2, 2).get(timeout=5), 4)
            return
        except (OSError, CeleryTimeout) as failure:
            last = failure
    raise AssertionError(f"not once in {attempts} attempts: {last!r}")


def tasks(url: str) -> None:
    with worker():
        check("task", lambda: equal(add.delay(40, 2).get(timeout=SECONDS), 42))
        check("retry", lambda: equal(stubborn.delay().get(timeout=SECONDS), 2))
        check("dead-letter", lambda: dead_letter(url))


if __name__ == "__main__":
    if sys.argv[1] == "tasks":
        tasks(sys.argv[2])
    else:
        with worker():
            equal(add.delay(1, 1).get(timeout=SECONDS), 2)
            say("ready")
            sys.stdin.readline()
            check("recovery", lambda: after_restart(attempts=10))
