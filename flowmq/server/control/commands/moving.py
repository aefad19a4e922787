"""message.move: messages out of a queue to where they should have gone, or back to where they came from.

A message is published first, as the user who asks and whose permissions count, and leaves its queue when that is
confirmed, which is when it is on disk: it is never lost. It is there twice when the broker dies in between, or when a
consumer of its old queue takes it in between (told as "taken_meanwhile"). Where it would reach no queue, or is refused,
it stays where it is.
"""

import asyncio
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from msgspec import Meta

from flowmq._order import Order
from flowmq._tally import next_sequence
from flowmq.amqp.methods import BasicAck, BasicPublish, ConfirmSelect
from flowmq.amqp.properties import BasicProperties, decode_content_header
from flowmq.amqp.tables import Table, table_octets
from flowmq.broker.names import octets
from flowmq.broker.permissions import QUEUE, READ
from flowmq.server.control.commands.messages import Browse, browsed, fits, lanes_of, message_row, pattern
from flowmq.server.control.commands.queues import OnBehalf, queue_named
from flowmq.server.control.inner import InnerClient, check_access, check_no_alarm
from flowmq.server.control.registry import bad_request, command

if TYPE_CHECKING:
    from flowmq.server.node import Node

REPLAY_COUNT = "x-replay-count"
OF_DEATH = ("x-death", "x-last-death-queue", "x-last-death-reason", "x-last-death-exchange")
TURN_MESSAGES = 20  # between two turns for others


class Move(OnBehalf, kw_only=True):
    """Either to_queue, or to_exchange and perhaps to_routing_key, or back. 0 is no limit."""

    name: str
    vhost: str = "/"
    to_queue: str | None = None
    to_exchange: str | None = None
    to_routing_key: str | None = None
    back: bool = False
    limit: Annotated[int, Meta(ge=0)] = 0
    per_second: Annotated[int, Meta(ge=0)] = 0
    routing_key: str = ""
    body: str = ""
    headers: dict[str, Any] = msgspec.field(default_factory=dict)

    def check(self) -> None:
        given = [self.to_queue is not None, self.to_exchange is not None, self.back]
        if sum(given) != 1:
            raise bad_request("exactly one of to_queue, to_exchange and back says where to")
        if self.to_queue == self.name:
            raise bad_request("to_queue is the queue itself")


Target = tuple[str, str]  # exchange and routing key


def target_of(asked: Move, row: dict[str, Any]) -> Target | None:
    """None when nobody knows where it came from."""
    if asked.to_queue is not None:
        return "", asked.to_queue
    if asked.to_exchange is not None:
        return asked.to_exchange, row["routing_key"] if asked.to_routing_key is None else asked.to_routing_key
    deaths = row["properties"].get("headers", {}).get("x-death")
    if not isinstance(deaths, list) or not deaths or not isinstance(deaths[0], dict):
        return None
    keys = deaths[0].get("routing-keys")
    exchange = deaths[0].get("exchange")
    if not isinstance(exchange, str) or not isinstance(keys, list) or not keys:
        return None
    return exchange, str(keys[0])


def replayed(properties: BasicProperties) -> BasicProperties:
    """What is said of its death goes, or it would count towards the next one; how often it was sent back stays."""
    headers = Table(properties.headers or {})
    for name in OF_DEATH:
        headers.pop(name, None)
    before = headers.get(REPLAY_COUNT, 0)
    headers[REPLAY_COUNT] = (before if isinstance(before, int) else 0) + 1
    properties.headers = headers
    return properties


class Moving:
    """One command under way."""

    def __init__(self, node: "Node", asked: Move, client: InnerClient) -> None:
        self.asked = asked
        self.client = client
        found = queue_named(node, asked.vhost, asked.name)
        self.vhost, self.queue = found.vhost, found.declared.queue
        self.counts = {"moved": 0, "without_a_way": 0, "refused": 0, "taken_meanwhile": 0}
        self.filter = Browse(name=asked.name, routing_key=asked.routing_key, body=asked.body, headers=asked.headers)
        self.key, self.body = pattern("routing_key", asked.routing_key), pattern("body", asked.body)

    async def run(self) -> dict[str, int]:
        for order in lanes_of(self.queue):
            end = next_sequence(order)
            for at, message in enumerate(browsed(order, 0)):
                # What comes in meanwhile, such as what was moved in a circle, is not for this time.
                if self.is_enough() or message[0] >= end or self.queue.deleted:
                    break
                await self.one(order, message)
                if at % TURN_MESSAGES == 0:
                    await asyncio.sleep(0)
        return self.counts

    def is_enough(self) -> bool:
        return bool(self.asked.limit) and self.counts["moved"] >= self.asked.limit

    async def one(self, order: Order, message: Any) -> None:
        row = message_row(message, self.filter)
        if not fits(row, message, self.filter, self.key, self.body):
            return
        properties = decode_content_header(message[5]).properties
        target = target_of(self.asked, row)
        if target is None or not self.reaches_a_queue(target, properties):
            self.counts["without_a_way"] += 1
            return
        if self.asked.back:
            properties = replayed(properties)
        self.client.send(BasicPublish(*target), properties, message[6])
        if not isinstance((await self.client.answer()).method, BasicAck):
            self.counts["refused"] += 1
            return
        self.counts["moved"] += 1
        self.counts["taken_meanwhile"] += not order.withdraw(message[0], False)
        if self.asked.per_second:
            await asyncio.sleep(1 / self.asked.per_second)

    def reaches_a_queue(self, target: Target, properties: BasicProperties) -> bool:
        exchange, key = target
        declared = self.vhost.declared_exchanges.get(exchange)
        if declared is None or declared.internal:
            return False
        headers = None if properties.headers is None else table_octets(properties.headers)
        return bool(declared.exchange.routes(octets(key), headers))


@command("message.move", Move)
async def move(node: "Node", asked: Move) -> dict[str, int]:
    """Move ready messages elsewhere, or dead letters back to where they came from; tells how many."""
    asked.check()
    check_no_alarm(node)
    async with InnerClient(node, asked.vhost, asked.user) as client:
        check_access(node, asked.vhost, asked.user, READ, QUEUE, asked.name)
        await client.call(ConfirmSelect())
        return await Moving(node, asked, client).run()
