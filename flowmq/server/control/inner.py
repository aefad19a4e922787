"""A client within the broker: what an operator or an API asks for is done by the very methods that AMQP clients use.

So there is one set of rules and texts for both, permissions included. It lives as long as one command. `user` None is
the operator, who may do everything; anybody else may do what their permissions say.
"""

import asyncio
from collections.abc import Iterable
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple, Self, cast

from flowmq.amqp import constants, wire
from flowmq.amqp.method import Method, decode_method
from flowmq.amqp.methods import ChannelClose, ConnectionClose
from flowmq.amqp.properties import BasicProperties, ContentHeader, decode_content_header
from flowmq.broker.names import octets
from flowmq.broker.permissions import ALL, IMPERSONATOR, Access
from flowmq.broker.users import User
from flowmq.server import methods
from flowmq.server.control.registry import BEARER, ControlError, bad_request, not_found
from flowmq.server.entry import Entry
from flowmq.server.session import Session

if TYPE_CHECKING:
    from flowmq.broker.vhost import VHost
    from flowmq.server.node import Node

CHANNEL = 1
OPERATOR = "operator"
AS_TOKEN = f"{BEARER} "  # in the place of a user's name, before a token
PREFIX_BYTES = 7
BODY_BYTES_MAX = 65536  # per frame
CODES = {403: "access_refused", 404: "not_found", 405: "resource_locked", 406: "precondition_failed"}


class Received(NamedTuple):
    """A method from the broker, and its content if it has one."""

    method: Any
    properties: BasicProperties
    body: bytes


class InnerTransport:
    """What the broker writes goes to the client at once."""

    def __init__(self, client: "InnerClient") -> None:
        self.client = client

    def write(self, octets: bytes) -> None:
        self.client.received(octets)

    def writelines(self, parts: Iterable[bytes]) -> None:
        self.client.received(b"".join(parts))

    def get_write_buffer_size(self) -> int:
        return 0

    def get_extra_info(self, name: str) -> None:
        return None

    def pause_reading(self) -> None:
        """Nothing is read: what is sent is held back by the connection itself."""

    def resume_reading(self) -> None:
        """Likewise."""

    def close(self) -> None:
        self.client.gone()

    abort = close


class InnerSession(Session):
    """It is not counted among the broker's connections, and nothing is said of it in the log but what it did wrong."""

    def connected(self, transport: Any) -> None:
        self.deadline.cancel()

    def lost(self, error: Exception | None) -> None:
        self.deadline.cancel()
        self._release()
        self.node.alarms.session_ended(self)

    def begin(self, vhost: "VHost", user: User) -> None:
        self.user, self.vhost = user, vhost
        self.was_open = True
        self.channel_max = CHANNEL
        self.handler = methods.dispatch
        self.connection.begin_handshake()
        self.connection.limit_frames(self.node.settings.amqp.frame_max)
        self.access = Access(user, vhost.name)
        self.connection.begin_running(octets(user.name), self.access)
        self.connection.open_channel(CHANNEL, vhost)
        self.node.churn.channels_opened += 1


class InnerClient:
    def __init__(self, node: "Node", vhost_name: str, user_name: str | None = None) -> None:
        vhost = node.broker.vhosts.get(vhost_name)
        if vhost is None:
            raise not_found(f"vhost '{vhost_name}' not found")
        self.node = node
        self.session = InnerSession(node, Entry(node.settings.amqp.handshake_timeout, ()))
        user = user_in(node, vhost_name, user_name)
        self.session.name = f"API of user '{user.name}'" if user_name else "operator"
        self.session.begin(vhost, user)
        self.connection = self.session.connection
        self.connection.connection_made(cast(asyncio.Transport, InnerTransport(self)))
        self.received_octets = bytearray()
        self.unfinished: Received
        self.body_left = 0
        self.body_parts: list[bytes] = []
        self.methods: list[Received] = []
        self.arrived: asyncio.Future[None] | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.gone()

    def gone(self) -> None:
        if self.connection.transport is not None:
            self.connection.connection_lost(None)

    # ------------------------------------------------------------------------------------------------- asking

    async def call(self, method: Method) -> Received:
        """The answer. What else comes before it, such as a returned message, stays in `methods`."""
        self.send(method)
        return await self.answer()

    async def answer(self) -> Received:
        while True:
            for received in self.methods:
                if isinstance(received.method, ChannelClose | ConnectionClose):
                    raise refused(received.method)
            for at, received in enumerate(self.methods):
                if received.method.NAME != "basic.return":
                    return self.methods.pop(at)
            self.arrived = self.node.loop.create_future()
            await self.arrived

    def send(self, method: Method, properties: BasicProperties | None = None, body: bytes = b"") -> None:
        octets = frame(constants.FRAME_METHOD, method.encode())
        if method.HAS_CONTENT:
            header = ContentHeader(len(body), properties or BasicProperties())
            octets += frame(constants.FRAME_HEADER, header.encode())
            for at in range(0, len(body), BODY_BYTES_MAX):
                octets += frame(constants.FRAME_BODY, body[at : at + BODY_BYTES_MAX])
        self.feed(octets)

    def feed(self, octets: bytes) -> None:
        view = memoryview(octets)
        while view:
            with memoryview(self.connection.get_buffer(len(view))) as buffer:
                count = min(len(view), len(buffer))
                buffer[:count] = view[:count]
            self.connection.buffer_updated(count)
            view = view[count:]

    # ---------------------------------------------------------------------------------------------- listening

    def received(self, octets: bytes) -> None:
        """Written in any pieces."""
        self.received_octets += octets
        while (found := self._frame()) is not None:
            self._take(*found)
        if self.arrived is not None and not self.arrived.done():
            self.arrived.set_result(None)

    def _frame(self) -> tuple[int, bytes] | None:
        octets = self.received_octets
        if len(octets) < PREFIX_BYTES:
            return None
        end = PREFIX_BYTES + int.from_bytes(octets[3:PREFIX_BYTES], "big")
        if len(octets) <= end:
            return None
        kind, payload = octets[0], bytes(octets[PREFIX_BYTES:end])
        del octets[: end + 1]
        return kind, payload

    def _take(self, kind: int, payload: bytes) -> None:
        if kind == constants.FRAME_METHOD:
            class_id, method_id = int.from_bytes(payload[:2], "big"), int.from_bytes(payload[2:4], "big")
            self.unfinished = Received(decode_method(class_id, method_id, payload[4:]), BasicProperties(), b"")
            self.body_left = 0
        elif kind == constants.FRAME_HEADER:
            header = decode_content_header(payload)
            self.unfinished = self.unfinished._replace(properties=header.properties)
            self.body_left = header.body_bytes
        elif kind == constants.FRAME_BODY:
            self.body_parts.append(payload)
            self.body_left -= len(payload)
        if self.body_left == 0 and (kind != constants.FRAME_METHOD or not self.unfinished.method.HAS_CONTENT):
            self.methods.append(self.unfinished._replace(body=b"".join(self.body_parts)))
            self.body_parts.clear()


def user_in(node: "Node", vhost: str, name: str | None) -> User:
    """Who may use that virtual host."""
    if name is None:
        return User(OPERATOR, tags=(IMPERSONATOR,), permissions={vhost: ALL})
    user = of_token(node, name.removeprefix(AS_TOKEN)) if name.startswith(AS_TOKEN) else users_by_name(node, name)
    if user.permission(vhost) is None:
        raise ControlError("access_refused", f"access to vhost '{vhost}' refused for user '{user.name}'")
    return user


def users_by_name(node: "Node", name: str) -> User:
    user = node.broker.users.by_name.get(name)
    if user is None:
        raise bad_request(f"there is no user '{name}'")
    return user


def of_token(node: "Node", token: str) -> User:
    """Who has shown a token to the API is judged by it anew, each time."""
    tokens = node.authenticator.tokens
    found = "no tokens are taken" if tokens is None else tokens.user_of(token)
    if isinstance(found, str):
        raise ControlError("access_refused", found)
    return found


def frame(kind: int, payload: bytes) -> bytes:
    channel = wire.write_short(CHANNEL)
    return bytes([kind]) + channel + wire.write_long(len(payload)) + payload + bytes([constants.FRAME_END])


def check_access(node: "Node", vhost: str, user: str | None, permission: str, kind: str, name: str) -> None:
    """For what no method of AMQP does: may that user do it?"""
    Access(user_in(node, vhost, user), vhost).check(permission, kind, name)


def check_no_alarm(node: "Node") -> None:
    """Before something is published: clients wait then, and who asks here is told."""
    if node.alarms.in_force:
        raise ControlError("unavailable", f"publishes are held back: {node.alarms.reason}")


def refused(method: ChannelClose | ConnectionClose) -> ControlError:
    return ControlError(CODES.get(method.reply_code, "bad_request"), method.reply_text)
