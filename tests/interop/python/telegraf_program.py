"""A real Telegraf with its input for RabbitMQ: one round, without an error, and with what is known to be there.

telegraf_program.py management HTTP-API AMQP METRICS

A client with a queue "busy", a consumer of it and two unacknowledged messages must be there.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from report import SECONDS, check

_, _, HTTP, *_ = sys.argv
URL = urlsplit(HTTP)
CONFIGURATION = f"""
[agent]
  omit_hostname = true
[[inputs.rabbitmq]]
  url = "http://{URL.hostname}:{URL.port}"
  username = "{URL.username}"
  password = "{URL.password}"
  include_queue_type_tag = true
[[outputs.file]]
  files = ["stdout"]
  data_format = "json"
"""
Row = dict[str, Any]
# Whatever else a node does, these are never 0. The other numbers may be, and the decoder checked that they are numbers.
NODE = (
    *("disk_free", "disk_free_limit", "fd_total", "fd_used", "mem_limit", "mem_used", "mem_total", "proc_total"),
    *("sockets_total", "sockets_used", "uptime", "running"),
)


def gathered() -> list[Row]:
    """All rows of one round. Telegraf fails when one of its requests does, or an answer has another type."""
    with tempfile.TemporaryDirectory() as directory:
        configuration = Path(directory) / "telegraf.conf"
        configuration.write_text(CONFIGURATION)
        ended = subprocess.run(
            [os.environ["TELEGRAF"], "--config", str(configuration), "--once"],
            stdout=subprocess.PIPE,
            timeout=SECONDS,
            check=True,
        )
    return [json.loads(line) for line in ended.stdout.splitlines() if line.startswith(b"{")]


def fields(rows: list[Row], name: str, **tags: str) -> Row:
    [row] = [row for row in rows if row["name"] == name and tags.items() <= row["tags"].items()]
    found: Row = row["fields"]
    return found


def hold(found: Row, **expected: Any) -> Callable[[], None]:
    def judge() -> None:
        wrong = {name: found.get(name) for name, value in expected.items() if found.get(name) != value}
        assert not wrong, wrong

    return judge


def above_nothing(found: Row, *names: str) -> Callable[[], None]:
    def judge() -> None:
        wrong = {name: found.get(name) for name in names if not found.get(name)}
        assert not wrong, wrong

    return judge


def main() -> None:
    rows = gathered()
    check("one-round-without-an-error", lambda: None)
    overview = fields(rows, "rabbitmq_overview")
    check("overview", hold(overview, messages=2, messages_unacked=2, messages_ready=0, consumers=1, amqp_listeners=1))
    check("overview-counters", above_nothing(overview, "messages_published", "messages_delivered", "exchanges"))
    check("node", above_nothing(fields(rows, "rabbitmq_node"), *NODE))
    busy = {"queue": "busy", "vhost": "/", "durable": "false", "auto_delete": "false", "type": "classic"}
    queue = fields(rows, "rabbitmq_queue", **busy)
    check("queue", hold(queue, messages=2, messages_unack=2, messages_ready=0, consumers=1, messages_publish=2))
    check("queue-octets", hold(queue, message_bytes=6, message_bytes_unacked=6, message_bytes_ready=0))
    check("queue-counters", above_nothing(queue, "messages_deliver", "messages_deliver_get"))
    exchange = fields(rows, "rabbitmq_exchange", vhost="/", exchange="", type="direct", durable="true")
    check("exchange", above_nothing(exchange, "messages_publish_in", "messages_publish_out"))
    rowed = {row["name"] for row in rows}
    check(
        "nothing-else",
        hold({"names": rowed - {"rabbitmq_overview", "rabbitmq_node", "rabbitmq_queue"}}, names={"rabbitmq_exchange"}),
    )


if __name__ == "__main__":
    main()
