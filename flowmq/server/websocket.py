"""AMQP inside a WebSocket: the octets of its binary frames, one after the other, are the octets of the connection.

WebSocketTransport is the transport that a connection sees; the library has the protocol, and no sockets. Where one
frame ends and the next begins means nothing. Not here: TLS, which lies below, and log-ins, which lie above.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from websockets.exceptions import InvalidOrigin, NegotiationError
from websockets.frames import CloseCode, Frame, Opcode
from websockets.http11 import Request
from websockets.protocol import SEND_EOF, State
from websockets.server import ServerProtocol
from websockets.typing import Origin, Subprotocol

from flowmq.server.handshake import what_it_may_be
from flowmq.server.listener_settings import WebSocketSettings

if TYPE_CHECKING:
    from flowmq._connection import Connection
    from flowmq.server.session import Session

SUBPROTOCOL = Subprotocol("amqp")
HTTP_GET = b"GET "
END_OF_REQUEST = b"\r\n\r\n"
HANDSHAKE_FRAME_BYTES_MAX = 16384  # of a client that has not logged in
CLOSE_SECONDS = 3.0  # for a client's own goodbye; then its socket is closed without
BINARY = (Opcode.BINARY, Opcode.CONT)
log = logging.getLogger("flowmq")
# The library's own log shows what clients send, passwords included.
library_log = logging.getLogger("flowmq.websocket")
library_log.setLevel(logging.WARNING)


def subprotocol(_: ServerProtocol, offered: Sequence[Subprotocol]) -> Subprotocol | None:
    """Those who offer none get in too: a well-known client does not."""
    if offered and SUBPROTOCOL not in offered:
        raise NegotiationError(f"the subprotocol {SUBPROTOCOL} is spoken here, not {', '.join(offered)}")
    return SUBPROTOCOL if offered else None


def accepted_origins(origins: list[str]) -> list[Origin | None] | None:
    """Programs name no origin, browsers that of the page. None: all get in."""
    return None if "*" in origins else [None, *(Origin(origin) for origin in origins)]


class WebSocketTransport(asyncio.Transport):
    """Also the protocol of the transport below. `come_in` makes the session once the WebSocket is open, `left` is
    called when there will be none."""

    def __init__(
        self,
        settings: WebSocketSettings,
        name: str,
        deadline: float,
        come_in: Callable[[], "Session"],
        left: Callable[[], None],
    ) -> None:
        super().__init__()
        self.settings = settings
        self.name = name
        self.come_in = come_in
        self.left = left
        self.websocket = ServerProtocol(
            origins=accepted_origins(settings.origins),
            select_subprotocol=subprotocol,
            max_size=(None, HANDSHAKE_FRAME_BYTES_MAX),
            logger=library_log,
        )
        self.loop = asyncio.get_running_loop()
        self.deadline = self.loop.call_at(deadline, self._too_late)
        self.below: Any = None
        self.session: Session | None = None
        self.connection: Connection | None = None
        self.received = bytearray()  # for the connection to read on
        self.request_tail = b""  # its last octets so far, where its end may begin
        self.has_spoken = False
        self.is_paused = False  # does the connection want no more for now?
        self.is_full = False  # does the client not take what is sent?
        self.is_feeding = False
        self.is_ending = False  # nothing more is written once what is received has been read
        self.is_closed = False  # by the session: nothing more is read

    # ---------------------------------------------------------------------------- called by the transport below

    def connection_made(self, below: asyncio.BaseTransport) -> None:
        self.below = below

    def data_received(self, octets: bytes) -> None:
        if not self.has_spoken:
            self.has_spoken = True
            if octets[:1] != HTTP_GET[:1]:
                log.warning("connection %s: %s", self.name, what_it_may_be(octets[:8], "WebSocket port", "WebSocket"))
                self.below.abort()
                return
        if self.session is None:
            # What comes behind the request is for later: the library would read it before we have answered.
            head, octets = self._parted(octets)
            self.websocket.receive_data(head)
            self._look()
        if self.session is not None and octets:
            if self.session.was_open:
                self.websocket.max_fragment_size = self.settings.frame_bytes_max
            self.websocket.receive_data(octets)
            self._look()

    def _parted(self, octets: bytes) -> tuple[bytes, bytes]:
        """At the end of the request; all of it is the first part when that has not come yet."""
        joined = self.request_tail + octets
        end = joined.find(END_OF_REQUEST)
        if end < 0:
            self.request_tail = joined[1 - len(END_OF_REQUEST) :]
            return octets, b""
        place = end + len(END_OF_REQUEST) - len(self.request_tail)
        return octets[:place], octets[place:]

    def eof_received(self) -> bool:
        """True: stay open until all has been read."""
        self.websocket.receive_eof()
        self._look()
        return bool(self.received)

    def pause_writing(self) -> None:
        self.is_full = True
        if self.connection is not None:
            self.connection.pause_writing()

    def resume_writing(self) -> None:
        self.is_full = False
        if self.connection is not None:
            self.connection.resume_writing()

    def connection_lost(self, error: Exception | None) -> None:
        self.deadline.cancel()
        self.left()
        if self.connection is not None:
            self.connection.connection_lost(error)
            self.connection = None

    # --------------------------------------------------------------------------------------- called by the session

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self.below.get_extra_info(name, default)

    def is_closing(self) -> bool:
        return self.is_closed or bool(self.below.is_closing())

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self.below.set_write_buffer_limits(high, low)

    def get_write_buffer_size(self) -> int:
        size: int = self.below.get_write_buffer_size()
        return size

    def write(self, octets: Any) -> None:
        if self.websocket.state is State.OPEN:
            self.websocket.send_binary(octets)
            self._send()

    def pause_reading(self) -> None:
        self.is_paused = True
        if not self.below.is_closing():
            self.below.pause_reading()

    def resume_reading(self) -> None:
        self.is_paused = False
        # Not at once: whoever reads on may be in the middle of a read.
        self.loop.call_soon(self._read_on)

    def close(self) -> None:
        """Say goodbye, and wait for the client's own for a while."""
        if self.is_closed:
            return
        self.is_closed = True
        self.received.clear()
        if self.websocket.state is not State.OPEN:
            self.below.close()
            return
        self.websocket.send_close(CloseCode.NORMAL_CLOSURE)
        self._send()
        self.deadline = self.loop.call_later(CLOSE_SECONDS, self.below.abort)
        if not self.below.is_closing():
            self.below.resume_reading()

    def abort(self) -> None:
        self.is_closed = True
        self.below.abort()

    # ------------------------------------------------------------------------------------------------------ inside

    def _too_late(self) -> None:
        log.log(logging.WARNING if self.has_spoken else logging.DEBUG, "connection %s: handshake timed out", self.name)
        self.below.abort()

    def _look(self) -> None:
        """What has been received, and what the library wants to answer."""
        for event in self.websocket.events_received():
            if isinstance(event, Request):
                self._answer(event)
            elif isinstance(event, Frame):
                self._take(event)
        if self.is_full and self.websocket.state is State.OPEN:
            self.websocket.data_to_send()  # pongs: who does not read them gets none
        else:
            self._send()
        self._feed()

    def _answer(self, request: Request) -> None:
        if self.websocket.eof_sent:
            log.warning("connection %s: WebSocket broken: wrong frames before the request was answered", self.name)
            self.below.abort()
            return
        self.websocket.send_response(self.websocket.accept(request))
        self._send()
        if self.websocket.state is State.OPEN:
            self.deadline.cancel()
            self.session = self.come_in()
            self.connection = self.session.connection
            self.connection.connection_made(self)

    def _take(self, frame: Frame) -> None:
        if self.is_closed:
            return
        if frame.opcode in BINARY:
            self.received += frame.data
        elif frame.opcode is Opcode.TEXT:
            log.warning("connection %s: WebSocket broken: a text frame, and AMQP is binary", self.name)
            self.websocket.fail(CloseCode.UNSUPPORTED_DATA, "AMQP is binary")

    def _send(self) -> None:
        for octets in self.websocket.data_to_send():
            if octets != SEND_EOF:
                self.below.write(octets)
            elif not self.is_ending:
                self.is_ending = True
                self._say_why()
                self._end_when_read()

    def _say_why(self) -> None:
        refused, broken = self.websocket.handshake_exc, self.websocket.parser_exc
        if isinstance(refused, InvalidOrigin):
            log.warning(
                "connection %s: WebSocket refused: the origin %s is not in websocket.origins", self.name, refused.value
            )
        elif refused is not None:
            log.warning("connection %s: WebSocket refused: %s", self.name, refused)
        elif broken is not None and not isinstance(broken, EOFError):
            log.warning("connection %s: WebSocket broken: %s", self.name, broken)

    def _end_when_read(self) -> None:
        if self.is_ending and not self.received:
            self.below.close()

    def _read_on(self) -> None:
        self._feed()
        if not self.is_paused and not self.below.is_closing():
            self.below.resume_reading()

    def _feed(self) -> None:
        """Hand over what has come, in pieces of the size that the connection likes, until it wants no more."""
        if self.is_feeding or self.connection is None:
            return
        self.is_feeding = True
        try:
            while self.received and not self.is_paused and self.connection is not None:
                with memoryview(self.connection.get_buffer(-1)) as room:
                    count = min(len(self.received), len(room))
                    room[:count] = self.received[:count]
                del self.received[:count]
                self.connection.buffer_updated(count)
        finally:
            self.is_feeding = False
        self._end_when_read()
