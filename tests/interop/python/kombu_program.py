"""kombu: producers and consumers, and a connection that is revived."""

import sys
from typing import Any

from kombu import Connection, Consumer, Exchange, Producer, Queue
from report import SECONDS, check, say

DEAD = Queue("interop.kombu.dead", durable=True)
QUEUE = Queue(
    "interop.kombu",
    Exchange("interop.kombu", "topic"),
    "task.#",
    queue_arguments={"x-dead-letter-exchange": "", "x-dead-letter-routing-key": DEAD.name},
)


class Kombu:
    def __init__(self, url: str) -> None:
        self.connection = Connection(url, confirm_publish=True, heartbeat=10)
        self.declare()

    def declare(self) -> None:
        self.channel = self.connection.default_channel
        for queue in (DEAD, QUEUE):
            queue(self.channel).declare()

    def send(self, work: object) -> None:
        with Producer(self.connection, QUEUE.exchange, serializer="json") as producer:
            producer.publish({"work": work}, "task.one", retry=True, delivery_mode=2)

    def take(self, queue: Queue) -> tuple[Any, Any]:
        arrived: list[tuple[Any, Any]] = []
        with Consumer(self.connection, [queue], callbacks=[lambda *got: arrived.append(got)], prefetch_count=1):
            while not arrived:
                self.connection.drain_events(timeout=SECONDS)
        return arrived[0]

    def task(self) -> None:
        self.send(1)
        body, message = self.take(QUEUE)
        message.ack()
        assert body == {"work": 1}

    def retry(self) -> None:
        self.send(2)
        self.take(QUEUE)[1].requeue()
        body, message = self.take(QUEUE)
        message.ack()
        assert body == {"work": 2}
        assert message.delivery_info["redelivered"]

    def dead_letter(self) -> None:
        self.send(3)
        self.take(QUEUE)[1].reject()
        body, message = self.take(DEAD)
        message.ack()
        assert body == {"work": 3}
        assert message.headers["x-death"][0]["reason"] == "rejected"


def tasks(url: str) -> None:
    program = Kombu(url)
    check("task", program.task)
    check("retry", program.retry)
    check("dead-letter", program.dead_letter)
    for queue in (QUEUE, DEAD):
        queue(program.connection.default_channel).delete()
    program.connection.release()


def recover(url: str) -> None:
    program = Kombu(url)
    program.task()
    say("ready")

    def come_back() -> None:
        try:
            while True:
                try:
                    program.connection.drain_events(timeout=SECONDS)
                except TimeoutError:
                    raise AssertionError("the broker did not go") from None
        except program.connection.recoverable_connection_errors:
            program.connection.ensure_connection(max_retries=100, interval_start=0.2, interval_step=0)
        program.task()

    check("recovery", come_back)


if __name__ == "__main__":
    {"tasks": tasks, "recover": recover}[sys.argv[1]](sys.argv[2])
