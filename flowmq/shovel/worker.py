"""One shovel: connects, moves, and connects anew when something is in the way, until it is done or told to stop."""

import asyncio
import logging
import random
from dataclasses import replace
from typing import Any

import pika

from flowmq.broker.amqp_uri import AmqpUri
from flowmq.broker.shovels import NEVER, QUEUE_LENGTH, Shovel, ShovelError, check_hosts, read_shovel
from flowmq.server.control.client import AsyncControlConnection, NoBroker
from flowmq.server.control.registry import ControlError
from flowmq.server.shovels import BLOCKED, RUNNING, STARTING, TERMINATED
from flowmq.shovel.contents import Changes
from flowmq.shovel.link import INTERNAL_ERROR, Failed, Link, failure
from flowmq.shovel.reports import Reports
from flowmq.shovel.transfer import Transfer

FIRST_DELAY_SECONDS = 0.2  # before the second attempt; then twice as long each time, up to reconnect-delay
FINISH_SECONDS = 2.0
STOP_SECONDS = 10.0
log = logging.getLogger("flowmq.shovel")


class Worker:
    """`before` ends when the one in whose place it comes has stopped."""

    def __init__(
        self,
        control: AsyncControlConnection,
        reports: Reports,
        wanted: dict[str, Any],
        before: asyncio.Future[None] | None,
    ) -> None:
        self.control, self.reports, self.before = control, reports, before
        self.node, self.hosts = wanted["node"], wanted["hosts"]
        self.vhost, self.name, self.revision = wanted["vhost"], wanted["name"], wanted["revision"]
        self.value = wanted["value"]
        self.remaining: int | None = wanted["remaining"]
        self.counted = False  # how many it is to move, when that is up to the length of the queue
        self.state, self.reason = STARTING, ""
        self.src_uri = self.dest_uri = ""
        self.transfer: Transfer | None = None
        self.moved = 0
        self.has_moved = False  # anything in this attempt
        self.stopping = asyncio.Event()
        self.task = asyncio.ensure_future(self._run())

    @property
    def title(self) -> str:
        return f"shovel '{self.name}' in vhost '{self.vhost}'"

    # ---------------------------------------------------------------------------------------------------- its life

    async def _run(self) -> None:
        if self.before is not None:
            await asyncio.wait([self.before])
        try:
            shovel = read_shovel(self.value)
            check_hosts(shovel, self.hosts)
        except ShovelError as error:
            self._turn(TERMINATED, str(error))
            return
        attempts = 0
        while not self.stopping.is_set():
            try:
                await self._attempt(shovel)
                return
            except Failed as error:
                reason = str(error)
            except NoBroker:
                raise
            except Exception as error:
                log.error("%s: internal error", self.title, exc_info=error)
                reason = INTERNAL_ERROR
            if self.has_moved:
                attempts, self.has_moved = 0, False
            if self.reason != reason or self.state != TERMINATED:
                log.warning("%s: %s", self.title, reason)
            self._turn(TERMINATED, reason)
            if shovel.reconnect_delay == 0 or self.stopping.is_set():
                return
            await self._wait(min(FIRST_DELAY_SECONDS * 2**attempts, shovel.reconnect_delay))
            attempts = min(attempts + 1, 30)

    async def _wait(self, seconds: float) -> None:
        try:
            # Not all at the same moment, when a broker that many are connected to comes back.
            await asyncio.wait_for(self.stopping.wait(), seconds * random.uniform(0.8, 1.2))
        except TimeoutError:
            return

    async def _attempt(self, shovel: Shovel) -> None:
        """Until all is moved that was to be, or it is told to stop."""
        links: list[Link] = []
        try:
            self.transfer = await self._begun(shovel, links)
            stopping = asyncio.ensure_future(self.stopping.wait())
            ends: list[asyncio.Future[Any]] = [stopping, self.transfer.ended, *(link.lost for link in links)]
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            stopping.cancel()
            lost = [link.lost.result() for link in links if link.lost.done()]
            ended = self.transfer.ended.result() if self.transfer.ended.done() else None
            if lost or ended is not None:
                raise ended or lost[0]
            await self.transfer.finish(FINISH_SECONDS)
        except (pika.exceptions.AMQPError, ControlError) as error:
            raise failure("shovel", error) from error
        finally:
            self._collect()
            if self.transfer is not None:
                self.transfer.close()
                self.transfer = None
            await asyncio.gather(*(link.close() for link in links))
        if not self.stopping.is_set():
            await self.control.call("shovel.finished", vhost=self.vhost, name=self.name, revision=self.revision)

    async def _begun(self, shovel: Shovel, links: list[Link]) -> Transfer:
        self.src_uri, self.dest_uri = "", ""
        source, uri = await self._linked("source", shovel.src_uris, links)
        self.src_uri = uri.shown
        destination, uri = await self._linked("destination", shovel.dest_uris, links)
        self.dest_uri = uri.shown
        transfer = Transfer(shovel, source, destination, Changes(shovel, self._forwarded(shovel)), self._tell)
        await transfer.prepare_destination()
        count = await transfer.prepare_source()
        self._count(shovel, count)
        # From here on things may come.
        self.transfer = transfer
        await transfer.begin(self.remaining)
        log.info("%s runs, from %s to %s", self.title, self.src_uri, self.dest_uri)
        self._turn(RUNNING)
        return transfer

    def _count(self, shovel: Shovel, messages: int) -> None:
        after = shovel.src_delete_after
        if after == NEVER:
            self.remaining = None
        elif after == QUEUE_LENGTH and not self.counted:
            self.remaining, self.counted = messages, True
        elif after != QUEUE_LENGTH and self.remaining is None:
            self.remaining = int(after)

    async def _linked(self, title: str, uris: tuple[AmqpUri, ...], links: list[Link]) -> tuple[Link, AmqpUri]:
        """The first of them that can be connected to, in any order."""
        for at, uri in enumerate(random.sample(uris, len(uris)), 1):
            link = Link(title)
            try:
                await link.open(await self._entered(uri), f"Shovel {printable(self.name)}")
            except Failed:
                await link.close()
                if at == len(uris):
                    raise
                continue
            except BaseException:
                await link.close()
                raise
            links.append(link)
            return link, uri
        raise AssertionError("there is at least one URI")

    async def _entered(self, uri: AmqpUri) -> AmqpUri:
        """Without a host it is our own broker, which lets us in with a ticket."""
        if not uri.is_here:
            return uri
        asked = {"vhost": self.vhost, "name": self.name, "revision": self.revision, "to_vhost": uri.vhost}
        ticket = await self.control.call("shovel.ticket", **asked)
        return replace(uri, **ticket)

    def _forwarded(self, shovel: Shovel) -> dict[str, str]:
        """What dest-add-forward-headers tells of the way, with RabbitMQ's names."""
        told = {
            "shovelled-by": self.node,
            "shovel-type": "dynamic",
            "shovel-name": self.name,
            "shovel-vhost": self.vhost,
            "src-uri": self.src_uri,
            "dest-uri": self.dest_uri,
            "src-exchange": shovel.src_exchange,
            "src-exchange-key": None if shovel.src_exchange is None else shovel.src_exchange_key,
            "src-queue": shovel.src_queue,
            "dest-exchange": shovel.dest_exchange,
            "dest-exchange-key": shovel.dest_exchange_key,
            "dest-queue": shovel.dest_queue,
        }
        return {name: value for name, value in told.items() if value is not None}

    async def stop(self) -> None:
        """What is under way is finished, if that is soon."""
        self.stopping.set()
        if self.transfer is None:
            self.task.cancel()
        await asyncio.wait([self.task], timeout=STOP_SECONDS)
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)

    # ------------------------------------------------------------------------------------------------ what is told

    def _turn(self, state: str, reason: str = "") -> None:
        self.state, self.reason = state, reason
        self._collect()
        self.reports.changed(self)

    def _tell(self) -> None:
        """Something moved, or stands still."""
        assert self.transfer is not None
        hindrance = self.transfer.hindrance
        if self.state in (RUNNING, BLOCKED):
            self.state, self.reason = (BLOCKED, hindrance) if hindrance else (RUNNING, "")
        self._collect()
        self.reports.changed(self)

    def _collect(self) -> None:
        if self.transfer is not None:
            self.moved += self.transfer.moved
            self.has_moved |= self.transfer.moved > 0
            self.transfer.moved = 0
            self.remaining = self.transfer.remaining

    def report(self) -> dict[str, Any]:
        """What has moved is told once."""
        moved, self.moved = self.moved, 0
        return {
            "vhost": self.vhost,
            "name": self.name,
            "revision": self.revision,
            "state": self.state,
            "reason": self.reason,
            "src_uri": self.src_uri,
            "dest_uri": self.dest_uri,
            "remaining": self.remaining,
            "pending": len(self.transfer.pending) if self.transfer is not None else 0,
            "moved": moved,
        }


def printable(name: str) -> str:
    """A name may hold any octets; the library writes UTF-8."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
