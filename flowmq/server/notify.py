"""What systemd is told: starting, ready, reloading, stopping, and at short intervals that the event loop still turns.

The protocol of sd_notify(3): lines of NAME=VALUE in a datagram to the socket that NOTIFY_SOCKET names. Where that is
not set nobody wants to know, and nothing is sent. What cannot be sent is lost: a broker does not end because its
supervisor does not listen.
"""

import asyncio
import contextlib
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping

EXTENSION_SECONDS = 60  # how long a start may take from any time on at which it is seen to go on
EXTEND_EVERY_SECONDS = 10.0
STATUS_EVERY_SECONDS = 10.0
log = logging.getLogger("flowmq")


class Notifier:
    def __init__(self, environ: Mapping[str, str], pid: int) -> None:
        self.address = environ.get("NOTIFY_SOCKET", "")
        if self.address.startswith("@"):  # a socket without a file
            self.address = "\0" + self.address[1:]
        self.watchdog_seconds = watchdog_seconds(environ, pid) if self.address else 0.0
        self.timer: asyncio.TimerHandle | None = None

    def tell(self, **values: object) -> None:
        if not self.address:
            return
        message = "\n".join(f"{name}={value}" for name, value in values.items())
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK) as own:
                own.sendto(message.encode(), self.address)
        except OSError as error:
            log.debug("systemd could not be told %r: %s", message, error)

    @contextlib.contextmanager
    def recovering(self) -> Iterator[None]:
        """While the journal is read back, which may take as long as it takes and keeps the event loop from turning."""
        if not self.address:
            yield
            return
        done = threading.Event()

        def extend() -> None:
            while True:
                self.tell(STATUS="Reading the journal", EXTEND_TIMEOUT_USEC=EXTENSION_SECONDS * 1_000_000)
                if done.wait(EXTEND_EVERY_SECONDS):
                    return

        thread = threading.Thread(target=extend, daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()

    def ready(self, loop: asyncio.AbstractEventLoop, status: Callable[[], str]) -> None:
        """From now on the event loop itself says that it turns."""
        self.tell(READY=1, STATUS=status())
        if self.address:
            self._turn(loop, status)

    def _turn(self, loop: asyncio.AbstractEventLoop, status: Callable[[], str]) -> None:
        seconds = STATUS_EVERY_SECONDS
        if self.watchdog_seconds:
            self.tell(WATCHDOG=1, STATUS=status())
            seconds = min(seconds, self.watchdog_seconds / 3)
        else:
            self.tell(STATUS=status())
        self.timer = loop.call_later(seconds, self._turn, loop, status)

    @contextlib.contextmanager
    def reloading(self) -> Iterator[None]:
        self.tell(RELOADING=1, MONOTONIC_USEC=time.monotonic_ns() // 1000)
        try:
            yield
        finally:
            self.tell(READY=1)

    def stopping(self) -> None:
        """The watchdog goes on: waiting for clients is no reason to hang."""
        self.tell(STOPPING=1, STATUS="Waiting for clients to go")

    def close(self) -> None:
        """The event loop ends."""
        if self.timer is not None:
            self.timer.cancel()


def watchdog_seconds(environ: Mapping[str, str], pid: int) -> float:
    """Within which time systemd wants to hear of us; 0 when it does not care."""
    text, meant = environ.get("WATCHDOG_USEC", ""), environ.get("WATCHDOG_PID", str(pid))
    return int(text) / 1_000_000 if text.isascii() and text.isdigit() and meant == str(pid) else 0.0
