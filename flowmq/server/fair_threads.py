"""A few threads for slow work that strangers ask for: those who ask for much wait for themselves, not others for them.

Whoever asks is a source: an address, or a network. As many pieces of work are under way as there are threads; whose
turn it is when one ends goes round by source. Every other turn is one of the preferred sources, when any waits. No more
work waits than can be done while somebody still waits for it: what comes on top is refused.
"""

import asyncio
import ipaddress
import logging
import os
import threading
from collections import OrderedDict, deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache, partial
from typing import Any, NamedTuple

OWN_NETWORK_BITS = 64  # of IPv6: what a single subscriber has is at least that


def source_of(peer: Any) -> str:
    """Of the name of a socket. What has no address, such as a local socket, is one source."""
    return source_of_host(peer[0]) if isinstance(peer, tuple) else ""


@lru_cache(maxsize=1024)
def source_of_host(host: str) -> str:
    address = ipaddress.ip_address(host.partition("%")[0])
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.ip_network((address, OWN_NETWORK_BITS), strict=False))


log = logging.getLogger("flowmq")
NICENESS = 10  # more than that of the event loop, which comes first
NICENESS_MAX = 19


class Busy(Exception):
    """Too much is waiting already."""


class Job(NamedTuple):
    work: Callable[[], Any]
    future: "asyncio.Future[Any]"


class Ring:
    """Jobs by source, in turns."""

    def __init__(self) -> None:
        self.jobs: OrderedDict[str, deque[Job]] = OrderedDict()

    def add(self, source: str, job: Job) -> None:
        self.jobs.setdefault(source, deque()).append(job)

    def next(self) -> Job:
        """The first job of the source whose turn it is, which goes to the end with what it has left."""
        source, jobs = self.jobs.popitem(last=False)
        job = jobs.popleft()
        if jobs:
            self.jobs[source] = jobs
        return job

    def remove(self, source: str, job: Job) -> bool:
        """Was it still there?"""
        jobs = self.jobs.get(source)
        if jobs is None or job not in jobs:
            return False
        jobs.remove(job)
        if not jobs:
            del self.jobs[source]
        return True

    def waiting_of(self, source: str) -> int:
        return len(self.jobs.get(source, ()))


class FairThreads:
    def __init__(
        self, loop: asyncio.AbstractEventLoop, count: int, name: str, *, waiting_max: int, source_waiting_max: int
    ) -> None:
        self.loop = loop
        self.free = count
        self.threads = ThreadPoolExecutor(count, name, initializer=let_others_come_first)
        self.waiting_max = waiting_max
        self.source_waiting_max = source_waiting_max
        self.waiting = 0
        self.rings = {True: Ring(), False: Ring()}  # of preferred sources, and of all others
        self.whose_turn = True

    def close(self) -> None:
        self.rings = {True: Ring(), False: Ring()}
        self.waiting = 0
        self.threads.shutdown(wait=False, cancel_futures=True)

    def submit(
        self, source: str, work: Callable[[], Any], *, preferred: bool = False, bounded: bool = True
    ) -> "asyncio.Future[Any]":
        """Cancelling the future takes the work out of the queue, if it has not begun. Raises Busy."""
        ring = self.rings[preferred]
        if bounded and not self.free:
            # Of those who are preferred there are few, and none of them is to be kept out by all others.
            if self.waiting >= self.waiting_max and not preferred:
                raise Busy
            if ring.waiting_of(source) >= self.source_waiting_max:
                raise Busy
        job = Job(work, self.loop.create_future())
        ring.add(source, job)
        self.waiting += 1
        job.future.add_done_callback(partial(self._given_up, ring, source, job))
        self._begin_some()
        return job.future

    def _given_up(self, ring: Ring, source: str, job: Job, future: "asyncio.Future[Any]") -> None:
        if future.cancelled() and ring.remove(source, job):
            self.waiting -= 1

    def _begin_some(self) -> None:
        while self.free and self.waiting:
            if self.rings[not self.whose_turn].jobs:
                self.whose_turn = not self.whose_turn
            elif not self.rings[self.whose_turn].jobs:
                return
            job = self.rings[self.whose_turn].next()
            self.waiting -= 1
            if not job.future.cancelled():
                self.free -= 1
                self.loop.run_in_executor(self.threads, job.work).add_done_callback(partial(self._done, job.future))

    def _done(self, future: "asyncio.Future[Any]", done: "asyncio.Future[Any]") -> None:
        self.free += 1
        if not future.cancelled() and not done.cancelled():
            error = done.exception()
            if error is None:
                future.set_result(done.result())
            else:
                future.set_exception(error)
        self._begin_some()


def let_others_come_first() -> None:
    """This thread, in Linux: elsewhere priorities are those of processes."""
    if hasattr(os, "sched_getaffinity"):
        try:
            # A new thread has the niceness of whoever has made it.
            niceness = min(os.getpriority(os.PRIO_PROCESS, 0) + NICENESS, NICENESS_MAX)
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), niceness)
        except PermissionError as error:  # by whoever confines the process: then all are equal
            log.info("threads for passwords keep the usual priority: %s", error)
