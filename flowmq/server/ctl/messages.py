"""Verbs that rabbitmqctl does not have: what consumers hold, why publishes were refused, messages moved."""

from typing import Any

import click

from flowmq.server.ctl.verbs import Asked, verb

UNACKED = ("queue", "delivery_tag", "consumer_tag", "connection", "age_ms", "delivery_count")
REFUSED = ("queue", "exchange", "reason", "count")
MOVING = (
    click.option("--limit", type=int, metavar="N", help="At most so many."),
    click.option("--per-second", type=int, metavar="N", help="No faster than this."),
    click.option("--routing-key", metavar="REGEX", help="Only those whose key matches."),
    click.option("--body", metavar="REGEX", help="Only those whose body matches."),
)


@verb("list_unacked", vhost=True)
def list_unacked(asked: Asked) -> None:
    """Messages that consumers hold, and for how long."""
    asked.output.say(f"Listing unacknowledged messages in vhost {asked.vhost} ...")
    asked.output.show(asked.rows("message.unacked", vhost=asked.vhost), UNACKED)


@verb("list_refused_publishes", vhost=True)
def list_refused_publishes(asked: Asked) -> None:
    """How many publishes full queues have refused, and why."""
    asked.output.say(f"Listing refused publishes in vhost {asked.vhost} ...")
    asked.output.show(asked.rows("queue.refusals", vhosts=[asked.vhost]), REFUSED)


def move(asked: Asked, queue: str, given: dict[str, Any], **where: Any) -> None:
    chosen = {name: value for name, value in given.items() if value is not None}
    answer = asked.call("message.move", name=queue, vhost=asked.vhost, **where, **chosen)
    asked.output.tell(", ".join(f"{name}: {value}" for name, value in answer.items()), **answer)


@verb("move_messages", "queue to-queue", *MOVING, vhost=True, examples="move_messages parked letters --limit 100")
def move_messages(asked: Asked, queue: str, to_queue: str, **given: Any) -> None:
    """Move ready messages to another queue."""
    move(asked, queue, given, to_queue=to_queue)


@verb("replay_dead_letters", "queue", *MOVING, vhost=True)
def replay_dead_letters(asked: Asked, queue: str, **given: Any) -> None:
    """Publish dead letters again where they came from."""
    move(asked, queue, given, back=True)
