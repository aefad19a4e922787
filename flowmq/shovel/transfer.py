"""Messages from one link to another: what comes in is published, and acknowledged once the destination has it.

A delivery is in exactly one place until it is acknowledged to the source:

    held      while the destination takes nothing: it is blocked, or has refused some
    pending   published, and not confirmed; by the number of its publish
    refused   the destination said no (basic.nack): it is published again after a while

Whatever happens, an acknowledgement goes to the source only for what the destination has confirmed (on-confirm), or
what was handed to the connection to it (on-publish), or what has come (no-ack). So a message may be there twice, and
with on-confirm never not at all. There are never more of them here than the prefetch count.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import takewhile
from typing import Any

import pika

from flowmq.amqp.errors import AMQPError
from flowmq.broker.shovels import NO_ACK, ON_CONFIRM, Shovel
from flowmq.shovel.contents import Changes, RawProperties
from flowmq.shovel.link import INTERNAL_ERROR, Failed, Link, settle

AGAIN_SECONDS_MIN, AGAIN_SECONDS_MAX = 0.1, 5.0
REFUSES = "the destination refuses messages (basic.nack): they are published again and again"
log = logging.getLogger("flowmq.shovel")


@dataclass(slots=True)
class Delivery:
    tag: int
    exchange: str | bytes
    routing_key: str | bytes
    octets: bytes  # of its properties
    body: bytes
    is_acknowledged: bool = False  # to the source


class Transfer:
    """`told` is called whenever there is something new to tell: messages that have arrived, or a state."""

    def __init__(
        self, shovel: Shovel, source: Link, destination: Link, changes: Changes, told: Callable[[], None]
    ) -> None:
        self.shovel, self.source, self.destination = shovel, source, destination
        self.changes, self.told = changes, told
        self.loop = asyncio.get_running_loop()
        self.ended: asyncio.Future[Failed | None] = self.loop.create_future()  # None: all is moved that was to be
        self.remaining: int | None = None  # None: no end
        self.to_take: int | None = None  # of those, how many have not come yet
        self.moved = 0  # since that was asked last
        self.blocked = ""  # why the destination takes nothing
        self.published = 0  # in this channel: the number of the last publish
        self.held: deque[Delivery] = deque()
        self.pending: dict[int, Delivery] = {}
        self.refused: list[Delivery] = []
        self.again_seconds = AGAIN_SECONDS_MIN
        self.again: asyncio.TimerHandle | None = None
        self.acknowledging: list[int] = []
        self.outstanding: dict[int, bool] = {}  # tags that the source waits for, in their order; True: to acknowledge
        self.consumer_tag = ""
        self.idle: asyncio.Future[None] | None = None  # somebody waits until nothing is under way

    # --------------------------------------------------------------------------------------------------- beginning

    async def prepare_destination(self) -> None:
        shovel, link = self.shovel, self.destination
        if shovel.dest_queue is not None:
            await link.ensure_queue(shovel.dest_queue, shovel.dest_queue_args, must_be_there=shovel.dest_predeclared)
        link.connection.add_on_connection_blocked_callback(self._guarded(self._destination_blocked))
        link.connection.add_on_connection_unblocked_callback(self._guarded(self._destination_unblocked))
        link.channel.add_on_return_callback(self._guarded(self._returned))
        await link.ask(link.channel.confirm_delivery, self._guarded(self._confirmed))

    async def prepare_source(self) -> int:
        """The queue is there; how many messages are in it."""
        shovel, link = self.shovel, self.source
        if shovel.src_queue is not None:
            return await link.ensure_queue(
                shovel.src_queue, shovel.src_queue_args, must_be_there=shovel.src_predeclared
            )
        made = await link.ask(link.channel.queue_declare, "", exclusive=True)
        self.own_queue: str = made.method.queue
        await link.ask(link.channel.queue_bind, self.own_queue, shovel.src_exchange, shovel.src_exchange_key)
        return 0

    async def begin(self, remaining: int | None) -> None:
        shovel, channel = self.shovel, self.source.channel
        self.remaining = self.to_take = remaining
        if remaining == 0:
            settle(self.ended)
            return
        prefetch = shovel.src_prefetch_count if remaining is None else min(shovel.src_prefetch_count, remaining)
        channel.add_on_cancel_callback(self._guarded(self._cancelled))
        await self.source.ask(channel.basic_qos, prefetch_count=prefetch)
        started = await self.source.ask(
            channel.basic_consume,
            self.own_queue if shovel.src_queue is None else shovel.src_queue,
            self._guarded(self._delivered),
            arguments=shovel.src_consumer_args,
        )
        self.consumer_tag = started.method.consumer_tag

    def _guarded(self, run: Callable[..., None]) -> Callable[..., None]:
        """What goes wrong in a callback of the library ends the shovel's attempt, and nothing else."""
        return partial(self._run, run)

    def _run(self, run: Callable[..., None], *given: Any) -> None:
        if self.ended.done():
            return
        try:
            run(*given)
        except AMQPError as error:
            self.fail(Failed(f"a message cannot be moved: {error.reply_text()}"))
        except pika.exceptions.AMQPError as error:
            self.fail(Failed(f"the library says: {error!r}"))
        except Exception as error:
            log.error("internal error", exc_info=error)
            self.fail(Failed(INTERNAL_ERROR))

    def fail(self, error: Failed) -> None:
        settle(self.ended, error)

    # ------------------------------------------------------------------------------------------------ the way there

    def _delivered(self, channel: Any, method: Any, properties: RawProperties, body: bytes) -> None:
        if self.to_take == 0:
            return  # the source gets it back when the connection ends
        if self.to_take is not None:
            self.to_take -= 1
        self.outstanding[method.delivery_tag] = False
        delivery = Delivery(method.delivery_tag, method.exchange, method.routing_key, properties.octets, body)
        self.held.append(delivery)
        self._publish_held()

    @property
    def takes_more(self) -> bool:
        """May the destination be given another one?"""
        return not self.blocked and not self.refused and len(self.pending) < self.shovel.src_prefetch_count

    def _publish_held(self) -> None:
        while self.held and self.takes_more:
            self._publish(self.held.popleft())

    def _publish(self, delivery: Delivery) -> None:
        shovel = self.shovel
        if shovel.ack_mode == NO_ACK:
            self._acknowledge(delivery)
        to_queue = shovel.dest_queue is not None
        exchange = "" if to_queue else (delivery.exchange if shovel.dest_exchange is None else shovel.dest_exchange)
        key = shovel.dest_queue if to_queue else shovel.dest_exchange_key
        self.published += 1
        self.pending[self.published] = delivery
        # A queue that is not there any more must not swallow messages; with an exchange that is for it to say.
        self.destination.channel.basic_publish(
            exchange,
            delivery.routing_key if key is None else key,
            delivery.body,
            RawProperties(self.changes.applied(delivery.octets)),
            mandatory=to_queue,
        )
        if shovel.ack_mode != ON_CONFIRM:
            self._acknowledge(delivery)

    # --------------------------------------------------------------------------------------------------- the way back

    def _confirmed(self, frame: Any) -> None:
        number, multiple = frame.method.delivery_tag, frame.method.multiple
        numbers = list(takewhile(lambda one: one <= number, self.pending)) if multiple else [number]
        settled = [self.pending.pop(one) for one in numbers if one in self.pending]
        if frame.method.NAME == "Basic.Ack":
            self._arrived(settled)
        else:
            self._refuse(settled)
        self._publish_held()
        self._check_idle()

    def _arrived(self, settled: list[Delivery]) -> None:
        self.again_seconds = AGAIN_SECONDS_MIN
        self.moved += len(settled)
        for delivery in settled:
            self._acknowledge(delivery)
        if self.remaining is not None:
            self.remaining -= len(settled)
            if self.remaining == 0:
                self._send_acknowledgements()
                settle(self.ended)
        self.told()

    def _refuse(self, settled: list[Delivery]) -> None:
        self.refused += settled
        if self.again is None and self.refused:
            self.again = self.loop.call_later(self.again_seconds, self._guarded(self._publish_refused))
            self.again_seconds = min(self.again_seconds * 2, AGAIN_SECONDS_MAX)
        self.told()

    def _publish_refused(self) -> None:
        self.again = None
        refused, self.refused = self.refused, []
        # Before those that came after them.
        self.held.extendleft(reversed(refused))
        self._publish_held()
        self.told()

    def _returned(self, channel: Any, method: Any, properties: RawProperties, body: bytes) -> None:
        """It is told before the confirm of the same message, which nobody listens to any more."""
        self.fail(
            Failed(f"destination: the queue '{self.shovel.dest_queue}' is not there any more: {method.reply_text}")
        )

    def _destination_blocked(self, connection: Any, frame: Any) -> None:
        self.blocked = f"the destination holds publishes back: {frame.method.reason}"
        self.told()

    def _destination_unblocked(self, connection: Any, frame: Any) -> None:
        self.blocked = ""
        self._publish_held()
        self.told()

    def _cancelled(self, frame: Any) -> None:
        self.fail(Failed("source: the queue is not there any more (basic.cancel)"))

    @property
    def hindrance(self) -> str:
        """Why nothing moves, if that is so."""
        return self.blocked or (REFUSES if self.refused or self.again_seconds > AGAIN_SECONDS_MIN else "")

    # ------------------------------------------------------------------------------------- acknowledging to the source

    def _acknowledge(self, delivery: Delivery) -> None:
        if delivery.is_acknowledged:
            return
        delivery.is_acknowledged = True
        if not self.acknowledging:
            self.loop.call_soon(self._guarded(self._send_acknowledgements))
        self.acknowledging.append(delivery.tag)
        self.outstanding[delivery.tag] = True

    def _send_acknowledgements(self) -> None:
        """Those from the beginning on at once, the others one by one."""
        last = 0
        for tag, is_settled in self.outstanding.items():
            if not is_settled:
                break
            last = tag
        channel = self.source.channel
        if last:
            channel.basic_ack(last, multiple=True)
        for tag in self.acknowledging:
            if tag > last:
                channel.basic_ack(tag)
            del self.outstanding[tag]
        self.acknowledging.clear()

    # ---------------------------------------------------------------------------------------------------------- the end

    async def finish(self, seconds: float) -> None:
        """Take no more, and wait a while for what is under way: what is not confirmed by then comes again."""
        if self.ended.done() or not self.consumer_tag:
            return
        self.to_take = 0
        self.held.clear()
        self._forget_timer()
        self.idle = self.loop.create_future()
        self._check_idle()
        ends: list[asyncio.Future[Any]] = [self.idle, self.ended]
        await asyncio.wait(ends, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        if not self.ended.done():
            self._run(self._send_acknowledgements)

    def _check_idle(self) -> None:
        if self.idle is not None and not self.pending:
            settle(self.idle)

    def _forget_timer(self) -> None:
        if self.again is not None:
            self.again.cancel()

    def close(self) -> None:
        self._forget_timer()
        self.fail(Failed("closed"))
