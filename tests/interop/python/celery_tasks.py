"""The Celery application of flower_program.py: its worker is a process of its own, that can be killed."""

import os
import time
from datetime import datetime
from pathlib import Path
from typing import Any

from celery import Celery

app = Celery("watched", broker=os.environ["INTEROP_AMQP"], backend="rpc://")
app.conf.update(
    task_default_queue="interop.watched",
    broker_connection_retry_on_startup=True,
    worker_hijack_root_logger=False,
    worker_send_task_events=True,
    task_send_sent_event=True,
    worker_prefetch_multiplier=1,
)


@app.task
def double(number: int) -> int:
    return 2 * number


@app.task
def at() -> float:
    return datetime.now().timestamp()


@app.task(bind=True, autoretry_for=(ValueError,), max_retries=5, default_retry_delay=0.1)
def stubborn(self: Any) -> int:
    if self.request.retries < 2:
        raise ValueError("not yet")
    return int(self.request.retries)


@app.task(bind=True, acks_late=True, reject_on_worker_lost=True)
def twice(self: Any, directory: str) -> bool:
    """Begun once, it hangs until its worker is killed; begun again, it ends."""
    begun = Path(directory, "begun")
    if begun.exists():
        return bool(self.request.delivery_info["redelivered"])
    begun.touch()
    time.sleep(600)
    return False
