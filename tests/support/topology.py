"""Exchanges, queues and bindings written with one letter each: capitals are exchanges, small letters queues."""

from collections.abc import Iterator
from typing import Any, NamedTuple

from tests.support.channel import Channel

RETURNED = "returned"


class Binding(NamedTuple):
    source: str
    target: str
    key: str = ""
    arguments: dict[str, Any] = {}  # noqa: RUF012 - never changed


class Publish(NamedTuple):
    exchange: str
    key: str
    expected: str  # the queues, each as often as it got a copy; or RETURNED
    headers: dict[str, Any] = {}  # noqa: RUF012 - never changed


class Topology:
    """Declared under names of this test's own."""

    def __init__(self, channel: Channel, names: Iterator[str], exchanges: dict[str, str], queues: str) -> None:
        """`exchanges` is the type of each, with "> Y" behind it when its alternate exchange is Y."""
        self.channel, self.names, self.exchanges = channel, names, exchanges
        self.named = {label: next(names) for label in [*exchanges, *queues]}
        for label in exchanges:
            self.declare_exchange(label)
        for label in queues:
            channel.queue(self.named[label], exclusive=True)
        self.queues = queues
        channel.call("confirm.select")

    def declare_exchange(self, label: str) -> None:
        kind, _, alternate = self.exchanges[label].partition(" > ")
        arguments = {"alternate-exchange": self.named.get(alternate, "nobody")} if alternate else {}
        self.channel.call("exchange.declare", exchange=self.named[label], type=kind, arguments=arguments)

    def bind(self, binding: Binding, method: str = "bind") -> None:
        fields = {"routing_key": binding.key, "arguments": binding.arguments}
        source, target = self.named[binding.source], self.named[binding.target]
        if binding.target in self.exchanges:
            self.channel.call(f"exchange.{method}", source=source, destination=target, **fields)
        else:
            self.channel.call(f"queue.{method}", exchange=source, queue=target, **fields)

    def publish(self, publish: Publish) -> str:
        """What became of it."""
        properties = {"headers": publish.headers} if publish.headers else None
        exchange = self.named[publish.exchange]
        self.channel.publish(exchange, publish.key, b"body", properties, mandatory=True)
        answer = self.channel.expect("basic.return", "basic.ack")
        if answer.name == "basic.return":
            assert (answer.reply_code, answer.exchange, answer.routing_key) == (312, exchange, publish.key)
            self.channel.expect("basic.ack")
        reached = ""
        for label in self.queues:
            while (message := self.channel.get(self.named[label])) is not None:
                assert (message.exchange, message.routing_key, message.body) == (exchange, publish.key, b"body")
                reached += label
        assert not (reached and answer.name == "basic.return")
        return RETURNED if answer.name == "basic.return" else reached

    def delete(self) -> None:
        for label in self.exchanges:
            self.channel.call("exchange.delete", exchange=self.named[label])
