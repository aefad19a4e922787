"""A few threads for slow work that strangers ask for: those who ask for much wait for themselves, not others for them.

Whoever asks is a source: an address, or a network. As many pieces of work are under way as there are threads; whose
turn it is when one ends goes round by source.
"""

import asyncio
import ipaddress
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


class Job(NamedTuple):
    work: Callable[[], Any]
    future: "asyncio.Future[Any]"


class FairThreads:
    def __init__(self, loop: asyncio.AbstractEventLoop, count: int, name: str) -> None:
        self.loop = loop
        self.free = count
        self.threads = ThreadPoolExecutor(count, name)
        self.waiting: OrderedDict[str, deque[Job]] = OrderedDict()

    def close(self) -> None:
        self.waiting.clear()
        self.threads.shutdown(wait=False, cancel_futures=True)

    def submit(self, source: str, work: Callable[[], Any]) -> "asyncio.Future[Any]":
        """Cancelling the future takes the work out of the queue, if it has not begun."""
        future = self.loop.create_future()
        self.waiting.setdefault(source, deque()).append(Job(work, future))
        self._begin_some()
        return future

    def _begin_some(self) -> None:
        while self.free and self.waiting:
            job = self._next()
            if not job.future.cancelled():
                self.free -= 1
                self.loop.run_in_executor(self.threads, job.work).add_done_callback(partial(self._done, job.future))

    def _next(self) -> Job:
        """The first job of the source whose turn it is, which goes to the end with what it has left."""
        source, jobs = self.waiting.popitem(last=False)
        job = jobs.popleft()
        if jobs:
            self.waiting[source] = jobs
        return job

    def _done(self, future: "asyncio.Future[Any]", done: "asyncio.Future[Any]") -> None:
        self.free += 1
        if not future.cancelled() and not done.cancelled():
            error = done.exception()
            if error is None:
                future.set_result(done.result())
            else:
                future.set_exception(error)
        self._begin_some()
