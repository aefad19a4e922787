"""dramatiq: actors, retries, and its own dead-letter queue."""

import sys
import threading

import dramatiq
from dramatiq.brokers.rabbitmq import RabbitmqBroker
from report import SECONDS, check, say

QUEUE = "interop.dramatiq"
broker = RabbitmqBroker(url=sys.argv[2], confirm_delivery=True)
dramatiq.set_broker(broker)
done = {name: threading.Event() for name in ("add", "before", "after", "stubborn")}
attempts: list[str] = []


@dramatiq.actor(queue_name=QUEUE)
def add(name: str) -> None:
    done[name].set()


@dramatiq.actor(queue_name=QUEUE, max_retries=5, min_backoff=50, max_backoff=50)
def stubborn() -> None:
    attempts.append("one")
    if len(attempts) < 3:
        raise ValueError("not yet")
    done["stubborn"].set()


@dramatiq.actor(queue_name=QUEUE, max_retries=0)
def hopeless() -> None:
    raise ValueError("never")


def wait(name: str) -> None:
    assert done[name].wait(SECONDS), "it was not done"


def task() -> None:
    add.send("add")
    wait("add")


def retry() -> None:
    stubborn.send()
    wait("stubborn")


def dead_letter() -> None:
    """A hopeless message ends in QUEUE.XQ, by the arguments of the queue."""
    hopeless.send()
    broker.join(QUEUE, timeout=SECONDS * 1000)
    for _ in broker.channel.consume(f"{QUEUE}.XQ", inactivity_timeout=SECONDS):
        method, properties, _body = _
        assert method, "nothing came"
        assert properties.headers["x-death"][0]["reason"] == "rejected"
        broker.channel.basic_ack(method.delivery_tag)
        break
    broker.channel.cancel()


def after_restart() -> None:
    add.send("after")
    wait("after")


if __name__ == "__main__":
    worker = dramatiq.Worker(broker, worker_threads=1, worker_timeout=100)
    worker.start()
    if sys.argv[1] == "tasks":
        check("task", task)
        check("retry", retry)
        check("dead-letter", dead_letter)
        worker.stop()
        broker.close()
    else:
        add.send("before")
        wait("before")
        say("ready")
        sys.stdin.readline()
        check("recovery", after_restart)
        worker.stop()
