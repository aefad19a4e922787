"""Shovels between brokers: set over the control socket, waited for, and the messages at their ends."""

import time
from collections.abc import Callable
from typing import Any

from flowmq.server.control import place
from flowmq.server.control.client import ControlConnection
from flowmq.server.control.registry import ControlError
from tests.support import broker
from tests.support.broker import Broker
from tests.support.peer import Peer
from tests.support.wire import connect

PAUSE_SECONDS = 0.03  # between two questions: whoever asks without end takes the processor from those that are asked


def until(check: Callable[[], bool]) -> None:
    def checked() -> bool:
        if check():
            return True
        time.sleep(PAUSE_SECONDS)
        return False

    broker.until(checked)


class Shovel:
    """One that lives beside `broker`."""

    def __init__(self, broker: Broker, name: str, user: str | None = None, **value: Any) -> None:
        self.broker, self.name = broker, name
        self.value = {key.replace("_", "-"): given for key, given in value.items()}
        self.call("parameter.set", component="shovel", name=name, value=self.value, user=user)

    def call(self, command: str, **arguments: Any) -> Any:
        with ControlConnection(self.broker.data_dir / place.NAME) as control:
            return control.call(command, **arguments)

    @property
    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = self.call("shovel.show", name=self.name)
        return found

    def wait_for(self, state: str, reason: str = "") -> dict[str, Any]:
        seen: list[dict[str, Any]] = []

        def reached() -> bool:
            seen[:] = [self.status]
            return seen[0]["state"] == state and reason in seen[0].get("reason", "")

        try:
            until(reached)
        except AssertionError:
            raise AssertionError(f"the shovel is never {state} with {reason!r}: {seen}") from None
        return seen[0]

    @property
    def is_there(self) -> bool:
        try:
            self.call("shovel.show", name=self.name)
        except ControlError:
            return False
        return True

    def wait_until_gone(self) -> None:
        until(lambda: not self.is_there)

    def restart(self) -> None:
        self.call("shovel.restart", name=self.name)

    def delete(self) -> None:
        self.call("shovel.delete", name=self.name)


def count(peer: Peer, queue: str) -> int:
    """-1 when there is no such queue."""
    with connect(peer) as client:
        channel = client.channel()
        channel.send("queue.declare", queue=queue, passive=True)
        answer = channel.expect("queue.declare-ok", "channel.close")
        return int(answer.message_count) if answer.name == "queue.declare-ok" else -1


def wait_for_count(peer: Peer, queue: str, at_least: int) -> None:
    until(lambda: count(peer, queue) >= at_least)


def fill(peer: Peer, queue: str, bodies: list[bytes], **properties: Any) -> None:
    with connect(peer) as client:
        channel = client.channel()
        channel.queue(queue, durable=True)
        channel.put(queue, *bodies, properties={"delivery_mode": 2, **properties})


def drained(peer: Peer, queue: str) -> list[bytes]:
    with connect(peer) as client:
        return client.channel().drain(queue)
