"""A client that lost its connection comes back and declares its exclusive queue: the old connection may be dead by now.

Nobody has told the broker so yet, and without heartbeats nobody would for hours. When both connections are the same
user's and carry the same name, the old socket is asked: a heartbeat is written to it, and if nothing at all is
acknowledged for a second, by TCP itself, that connection is ended and the queue is free. A peer that is merely slow
acknowledges, and keeps its queue.
"""

import logging
import socket
import struct
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from flowmq._clock import set_clock
from flowmq.amqp.constants import HEARTBEAT

if TYPE_CHECKING:
    from flowmq.server.session import Session

SECONDS = 1.0
ROUND_TRIPS = 3  # of a slow network, when they take longer than that
LOOK_SECONDS = 0.02
TICK_MS = 10  # how coarse the system's times may be
NAMES = ("takeover_token", "connection_name")  # client properties; the first one that is there counts
# Linux's struct tcp_info: segments that are not acknowledged; ms since data was sent last, and since the last
# acknowledgement; round trip in us.
TCP_INFO = struct.Struct("=24xI16xI8xI8xI")
log = logging.getLogger("flowmq")


def name_of(session: "Session") -> str | None:
    """What a client calls itself, however often it connects."""
    for name in NAMES:
        value = session.client_properties.get(name)
        if isinstance(value, str) and value:
            return f"{name}: {value}"
    return None


def is_same_client(session: "Session", owner: "Session") -> bool:
    name = name_of(session)
    return name is not None and owner is not session and owner.user is session.user and name_of(owner) == name


def free_if_dead(session: "Session", owner: "Session", ended: Callable[[bool], None]) -> bool:
    """False when there is nothing to ask. Else `ended` is called soon: is the owner gone?

    Nothing more of `session` is dealt with until then.
    """
    if sys.platform != "linux" or not is_same_client(session, owner) or socket_of(owner) is None:
        return False
    Probe(session, owner, ended).begin()
    return True


class Probe:
    def __init__(self, session: "Session", owner: "Session", ended: Callable[[bool], None]) -> None:
        self.session, self.owner, self.ended = session, owner, ended
        self.loop = session.node.loop
        self.began = self.loop.time()

    def begin(self) -> None:
        self.owner.connection.send_octets(HEARTBEAT)
        self.session.wait()
        self.loop.call_later(LOOK_SECONDS, self._look)

    def _look(self) -> None:
        try:
            self._decide()
        except Exception as error:
            self.session.failed(0, 0, 0, error)
            self.session.go_on()

    def _decide(self) -> None:
        elapsed = self.loop.time() - self.began
        probed = socket_of(self.owner)
        if probed is None:
            self._end(True)
            return
        info = probed.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, TCP_INFO.size)
        unacknowledged, quiet_ms, silent_ms, round_trip_us = TCP_INFO.unpack(info)
        elapsed_ms = elapsed * 1000
        is_over = elapsed >= max(SECONDS, ROUND_TRIPS * round_trip_us / 1_000_000)
        was_asked = quiet_ms <= elapsed_ms + TICK_MS
        if unacknowledged == 0 and was_asked:
            self._end(False)
        elif not is_over:
            self.loop.call_later(LOOK_SECONDS, self._look)
        elif unacknowledged == 0 or silent_ms < elapsed_ms / 2:
            # Nothing is under way because there is no room: its client reads nothing, and its system says so. What was
            # acknowledged in the first half may have been sent before.
            self._end(False)
        else:
            self._evict()

    def _evict(self) -> None:
        log.warning(
            "connection %s: nothing is acknowledged any more, and its client has come back as %s",
            self.owner.name,
            self.session.name,
        )
        self.owner.evict("taken over by a new connection of the same client")
        self._end(True)

    def _end(self, is_gone: bool) -> None:
        session = self.session
        set_clock()
        if session.connection.transport is not None and not session.connection.closing:
            self.ended(is_gone)
        session.go_on()


def socket_of(session: "Session") -> socket.socket | None:
    """None when it is gone, or is no TCP connection."""
    if session.connection.transport is None:
        return None
    found = session.connection.transport.get_extra_info("socket")
    is_tcp = found is not None and found.family in (socket.AF_INET, socket.AF_INET6)
    return found if is_tcp else None
