"""A connection's life: handshake, open, closing, lost. The one place that turns errors into close methods.

What happens on an open connection is in methods.py, the handshake in handshake.py; octets and frames are the compiled
Connection's.
"""

import logging
from asyncio import TimerHandle, Transport
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from flowmq._busy_poll import soon
from flowmq._channel import Channel
from flowmq._connection import Connection
from flowmq._order import told_ms
from flowmq.amqp.errors import AMQPError, ConnectionForced, FrameError, InternalError, ResourceError, SoftError
from flowmq.amqp.method import Method, decode_method
from flowmq.amqp.methods import (
    BasicCancel,
    ChannelClose,
    ConnectionBlocked,
    ConnectionClose,
    ConnectionCloseOk,
    ConnectionUnblocked,
)
from flowmq.amqp.tables import Table
from flowmq.broker.names import octets
from flowmq.broker.permissions import Access
from flowmq.broker.users import User
from flowmq.broker.vhost import VHost
from flowmq.server import consuming, expiry, handshake, methods
from flowmq.server.entry import Entry
from flowmq.server.fair_threads import source_of
from flowmq.server.heartbeat import Heartbeat
from flowmq.server.leaving import attempt, end_channels, give_back

if TYPE_CHECKING:
    from flowmq.server.node import Node

CLOSE_OK_SECONDS_MAX = 30.0
CLOSE_OK_SECONDS_SHORT = 3.0
WRITE_BUFFER_HIGH_BYTES = 262144
WRITE_BUFFER_LOW_BYTES = 65536
ANSWERS_OWED_MAX = 1000  # declarations of one connection that wait for the disk together
log = logging.getLogger("flowmq")

Handler = Callable[["Session", int, Method], None]


class Session:
    """What the compiled connection calls with everything that does not come per message."""

    def __init__(self, node: "Node", entry: Entry) -> None:
        self.node = node
        self.entry = entry
        limits = node.settings.limits
        self.connection = Connection(
            self,
            node.loop,
            message_bytes_max=limits.message_bytes_max,
            outgoing_bytes_max=limits.outgoing_bytes_max,
            header_bytes_max=limits.header_bytes_max,
            unauthenticated_bytes_max=limits.unauthenticated_bytes_max,
        )
        self.handler: Handler = handshake.start_ok
        self.name = "?"
        self.from_loopback = False
        self.source = ""  # who asks for log-ins here
        self.client_properties = Table()
        self.capabilities: dict[str, object] = {}
        self.user: User | None = None
        self.mechanism = ""  # by which the user has logged in
        self.vhost: VHost | None = None
        self.access: Access | None = None  # of that user in that virtual host
        self.stop_waiting: Callable[[], None] | None = None  # for a log-in
        self.channel_max = self.frame_max = 0
        self.heartbeat_seconds = 0
        self.heartbeat: Heartbeat | None = None
        self.expiry: TimerHandle | None = None
        self.last_queues: dict[int, str] = {}  # channel number -> name of the queue last declared there
        self.questions = 0  # asked elsewhere, whose answers decide how it goes on
        self.answers_owed = 0  # they wait for the disk
        self.last_commit = 0  # what the last of them waits for
        self.was_open = False
        self.opened_at_ms = 0
        self.is_counted = False  # among the open connections
        self.turn_at = 0.0  # when it may begin, by the monotonic clock
        self.client_gone = False  # what it sent before is read to the end, which is near
        self.closing_because: str | None = None
        self.deadline = node.loop.call_later(entry.handshake_seconds, self._handshake_expired)

    # --------------------------------------------------------------------------------- called by the connection

    def connected(self, transport: Transport) -> None:
        self.node.session_began(self)
        peer = self.entry.peer or transport.get_extra_info("peername")
        own = self.entry.own or transport.get_extra_info("sockname")
        self.name = f"{handshake.address(peer)} -> {handshake.address(own)}"
        self.from_loopback = handshake.is_loopback(peer)
        self.source = source_of(peer)
        transport.set_write_buffer_limits(WRITE_BUFFER_HIGH_BYTES, WRITE_BUFFER_LOW_BYTES)
        if not self.entry.has_had_turn:
            handshake.wait_for_turn(self)

    def protocol_header(self, octets: bytes) -> None:
        handshake.protocol_header(self, octets)

    def method(self, number: int, class_id: int, method_id: int, arguments: bytes) -> None:
        self.handler(self, number, decode_method(class_id, method_id, arguments))

    def failed(self, number: int, class_id: int, method_id: int, error: Exception) -> None:
        """An error was raised while a frame on that channel was dealt with."""
        if not isinstance(error, AMQPError):
            log.error("connection %s: internal error", self.name, exc_info=error)
            error = InternalError("internal error, see the broker's log")
        if error.limit:
            self.node.broker.limits.refused[error.limit] += 1
        class_id, method_id = error.class_id or class_id, error.method_id or method_id
        channel = self.connection.channels.get(number)
        if isinstance(error, SoftError) and channel is not None and self.answers_owed:
            # Those before it are answered first.
            self.connection.hold()
            self._when_committed(self.last_commit, self._close_channel, channel, class_id, method_id, error)
        elif isinstance(error, SoftError) and channel is not None:
            self._close_channel(channel, class_id, method_id, error)
        else:
            self._close_connection(class_id, method_id, error)

    def memory_is_short(self) -> None:
        self.node.alarms.memory_is_short(self)

    def sent_too_much_unauthenticated(self) -> None:
        handshake.sent_too_much(self)

    def published_in_alarm(self) -> None:
        self.node.alarms.published(self)

    def cannot_send(self, error: AMQPError) -> None:
        """Later: somebody else's read may have led to it."""
        soon(self.node.loop, self.failed, 0, 0, 0, error)

    def client_left(self) -> None:
        """Nothing more comes. What is on its way to it is still written, for a while."""
        if self.connection.outgoing_bytes:
            self.connection.begin_closing()
            self._release(self._close_transport)

    def lost(self, error: Exception | None) -> None:
        self.deadline.cancel()
        try:
            if self.stop_waiting is not None:
                self.stop_waiting()
            self._release()
        finally:
            self.node.churn.connections_closed += self.was_open
            self._log_end(error)
            self.node.session_ended(self)

    # ------------------------------------------------------------------------------------------------- sending

    def send(self, number: int, method: Method) -> None:
        self.connection.send(number, method.encode())

    def send_open(self, number: int, method: Method) -> None:
        """Nothing about a channel is said any more once the connection is being closed."""
        if not self.connection.closing:
            self.send(number, method)

    def send_when_committed(self, commit: int, number: int, method: Method | None) -> None:
        """An answer that promises what is on disk. Until it is given nothing else on this connection is dealt with."""
        self.connection.hold()
        self._when_committed(commit, self._send_if_wanted, number, method)

    def send_in_turn(self, commit: int, number: int, method: Method | None) -> None:
        """The answer to a declaration; `commit` 0: it promises nothing that is not on disk yet.

        Until it is given further declarations are dealt with, and answered after it, but nothing else.
        """
        if not commit and not self.answers_owed:
            self._send_if_wanted(number, method)
            return
        may_go_on = self.answers_owed < ANSWERS_OWED_MAX
        (self.connection.hold_all_but_declarations if may_go_on else self.connection.hold)()
        self._when_committed(commit or self.last_commit, self._send_if_wanted, number, method)

    def _send_if_wanted(self, number: int, method: Method | None) -> None:
        if method is not None:
            self.connection.send(number, method.encode())

    def _when_committed(self, commit: int, then: Callable[..., None], *arguments: object) -> None:
        store = self.node.store
        assert store is not None, "commits come from a store"
        self.answers_owed += 1
        self.last_commit = commit
        store.when_committed(commit, partial(self._committed, then, arguments))

    def _committed(self, then: Callable[..., None], arguments: tuple[object, ...], failed: bool) -> None:
        self.answers_owed -= 1
        if self.connection.transport is None:
            return
        if failed and not self.connection.closing:
            self._close_connection(0, 0, ResourceError("the broker's disk failed: nothing durable can be done"))
        elif not self.connection.closing:
            attempt(self, then, *arguments)
        if not self.answers_owed:
            # Not from here: what is released may wait for the disk again.
            soon(self.node.loop, self._release_frames)

    def _release_frames(self) -> None:
        # Another declaration may have come since.
        if not self.answers_owed and not self.questions:
            self.connection.release()

    def wait(self) -> None:
        """Nothing else on this connection is dealt with until go_on()."""
        self.questions += 1
        self.connection.hold()

    def go_on(self) -> None:
        self.questions -= 1
        self._release_frames()

    def can(self, capability: str) -> bool:
        """Did the client say that it knows this extension?"""
        return self.capabilities.get(capability) is True

    def consumer_cancelled(self, channel: Channel, tag: bytes) -> None:
        # Later, so that whoever deleted the queue on this very channel gets their answer first.
        if self.can("consumer_cancel_notify"):
            soon(self.node.loop, self._tell_cancelled, channel, tag)

    def access_changed(self) -> None:
        """What the user may do has changed. Consumers of what may not be read any more are cancelled."""
        if self.access is None or self.vhost is None or self.connection.closing:
            return
        self.access.forget()
        self.connection.forget_permissions()
        consuming.cancel_unreadable(self)

    def _tell_cancelled(self, channel: Channel, tag: bytes) -> None:
        if not channel.closing and not self.connection.closing:
            self.send(channel.number, BasicCancel(tag.decode("utf-8", "surrogateescape"), True))

    def block(self, reason: str) -> None:
        if self.can("connection.blocked"):
            self.send(0, ConnectionBlocked(reason))

    def unblock(self) -> None:
        if self.can("connection.blocked"):
            self.send(0, ConnectionUnblocked())
        self.connection.resume_reading()

    @property
    def user_name(self) -> str:
        return "" if self.user is None else self.user.name

    @property
    def is_consuming(self) -> bool:
        return any(channel.consumers or channel.unacked_count for channel in self.connection.channels.values())

    # --------------------------------------------------------------------------------------------- opening

    def open(self, vhost: VHost) -> None:
        """The handshake is over."""
        self.deadline.cancel()
        self.was_open = True
        self.opened_at_ms = told_ms()
        self.node.churn.connections_opened += 1
        self.vhost = vhost
        self.handler = methods.dispatch
        assert self.user is not None
        self.node.broker.limits.connection_opened(vhost.name, self.user.name)
        self.is_counted = True
        client_id = self.client_properties.get("client_id")
        self.access = Access(self.user, vhost.name, client_id if isinstance(client_id, str) else None)
        self.connection.begin_running(octets(self.user.name), self.access)
        self.heartbeat = Heartbeat(self.node.loop, self.connection, self.heartbeat_seconds, self._silent)
        expiry.watch(self)
        log.info("connection %s opened: user '%s', vhost '%s'%s", self.name, self.user.name, vhost.name, self._title())

    def _title(self) -> str:
        title = self.client_properties.get("connection_name")
        return f", name '{title}'" if isinstance(title, str) else ""

    # --------------------------------------------------------------------------------------------- closing

    def force(self, reason: str) -> None:
        """The broker's operator ends this connection; a client still shaking hands is just dropped."""
        if self.was_open:
            self._close_connection(0, 0, ConnectionForced(reason))
        else:
            self.abort()

    def evict(self, reason: str) -> None:
        """Its client is gone, whatever the socket says: everything is given back at once."""
        self.closing_because = reason
        self.connection.begin_closing()
        self._release()
        self.abort()

    def client_closes(self, method: ConnectionClose) -> None:
        self.closing_because = f"closed by the client: {method.reply_code} {method.reply_text}".rstrip()
        self.connection.begin_closing()
        self._release(self._confirm_close)

    def _confirm_close(self) -> None:
        self.send(0, ConnectionCloseOk())
        self.finish()

    def finish(self) -> None:
        """Close the socket once everything is written."""
        self.deadline.cancel()
        soon(self.node.loop, self._close_transport)

    def abort(self) -> None:
        self.deadline.cancel()
        if self.connection.transport is not None:
            self.connection.transport.abort()

    def abort_later(self, seconds: float) -> None:
        self.deadline.cancel()
        self.deadline = self.node.loop.call_later(seconds, self.abort)

    def leave_channel(self, channel: Channel, then: Callable[[], None]) -> None:
        """A channel ends. Nothing else on this connection is dealt with until all it held is back."""
        give_back(self, end_channels(self, [channel]), then)

    def _close_channel(self, channel: Channel, class_id: int, method_id: int, error: AMQPError) -> None:
        log.warning("connection %s: channel %d closed: %s", self.name, channel.number, error.reply_text())
        channel.tell()
        close = ChannelClose(error.code, error.reply_text(), class_id, method_id)
        self.leave_channel(channel, partial(self.send_open, channel.number, close))

    def _close_connection(self, class_id: int, method_id: int, error: AMQPError) -> None:
        if self.connection.closing:
            # Closing for another reason already; what cannot be read any more ends at the deadline.
            if isinstance(error, FrameError):
                self.connection.become_deaf()
            return
        if isinstance(error, SoftError):
            # Without a channel to close there is only the connection.
            log.debug("connection %s: channel error %d on no channel", self.name, error.code)
        self.closing_because = error.reply_text()
        level = logging.INFO if isinstance(error, ConnectionForced) else logging.WARNING
        log.log(level, "connection %s: closing: %s", self.name, error.reply_text())
        self.connection.begin_closing()
        self._release()
        self.send(0, ConnectionClose(error.code, error.reply_text(), class_id, method_id))
        if isinstance(error, FrameError) or not self.was_open:
            # Its answer may not be recognizable any more, or it is no client at all.
            self.abort_later(CLOSE_OK_SECONDS_SHORT)
        else:
            self.abort_later(min(self.heartbeat_seconds or CLOSE_OK_SECONDS_MAX, CLOSE_OK_SECONDS_MAX))

    def _close_transport(self) -> None:
        if self.connection.transport is not None:
            self.connection.transport.close()
            if self.connection.outgoing_bytes:
                # It may be one that never reads it.
                self.abort_later(CLOSE_OK_SECONDS_MAX)

    def _release(self, then: Callable[[], None] = lambda: None) -> None:
        """Give everything back that this connection holds: deliveries, consumers, exclusive queues."""
        if self.heartbeat is not None:
            self.heartbeat.stop()
            self.heartbeat = None
        if self.expiry is not None:
            self.expiry.cancel()
        ended = end_channels(self, self.connection.channels.values())
        self.connection.forget_channels()
        if self.vhost is not None:
            self.vhost.owner_left(self)
            if self.is_counted:
                self.is_counted = False
                self.node.broker.limits.connection_closed(self.vhost.name, self.user_name)
        give_back(self, ended, then)

    def _silent(self, reason: str) -> None:
        self.closing_because = reason
        log.warning("connection %s: %s", self.name, reason)
        self.abort()

    def _handshake_expired(self) -> None:
        if self.connection.received_bytes:
            log.warning("connection %s: handshake timed out", self.name)
            self.node.broker.limits.refused["handshake_time"] += 1
        self.abort()

    def _log_end(self, error: Exception | None) -> None:
        if not self.was_open:
            # A load balancer's probe connects and says nothing: not worth a line.
            level = logging.INFO if self.connection.received_bytes else logging.DEBUG
            log.log(level, "connection %s ended before it was open", self.name)
            return
        reason = self.closing_because
        if reason is None:
            reason = f"the client closed its socket without a word{f' ({error})' if error else ''}"
        log.info("connection %s ended: %s", self.name, reason)
