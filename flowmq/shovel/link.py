"""One connection of a shovel, and its channel: the library's callbacks as things that can be awaited.

A link that is lost, for whatever reason, has one sentence that says why; everything that is awaited ends with it.
"""

import asyncio
import contextlib
import re
import ssl
from collections.abc import Callable
from typing import Any

import pika
from pika.adapters.asyncio_connection import AsyncioConnection
from pika.adapters.utils.connection_workflow import AMQPConnectorStackTimeout
from pika.exceptions import AMQPConnectionError, ChannelClosed, ConnectionClosed, ConnectionOpenAborted

from flowmq.broker.amqp_uri import AmqpUri

CONNECT_SECONDS = 30.0
HEARTBEAT_SECONDS = 60  # whatever the other side proposes: who is silent must be noticed
CLOSE_SECONDS = 2.0
NOT_FOUND = 404
CLOSE = re.compile(r"ConnectionClosedByBroker: \((?P<code>\d+)\) (?P<quote>['\"])(?P<text>.*)(?P=quote)")
WHERE_IN_OPENSSL = re.compile(r" *\(_ssl\.c:\d+\)$")
INTERNAL_ERROR = "internal error, see the broker's log"


class Failed(Exception):
    """A shovel cannot go on; the message is one line for people."""

    def __init__(self, reason: str, code: int = 0) -> None:
        super().__init__(reason)
        self.code = code


class Link:
    def __init__(self, title: str) -> None:
        self.title = title  # source or destination
        self.loop = asyncio.get_running_loop()
        self.connection: AsyncioConnection
        self.channel: Any = None
        self.lost: asyncio.Future[Failed] = self.loop.create_future()
        self.closed: asyncio.Future[None] = self.loop.create_future()
        self.is_open = False  # or was once
        self.is_left = False  # while it was being opened: nobody wants it any more

    async def open(self, uri: AmqpUri, name: str) -> None:
        """Failed when there is nobody, or we may not enter."""
        seconds = uri.options.get("connection_timeout", CONNECT_SECONDS * 1000) / 1000
        parameters = connection_parameters(uri, name, seconds)
        opened: asyncio.Future[None] = self.loop.create_future()
        self.connection = AsyncioConnection(
            parameters,
            on_open_callback=lambda connection: self._opened(opened),
            on_open_error_callback=lambda connection, error: self._not_opened(error, seconds),
            on_close_callback=self._connection_closed,
            custom_ioloop=self.loop,
        )
        await self._first(opened)
        self.channel = await self.new_channel()
        self.channel.add_on_close_callback(lambda channel, error: self.lose(error))

    async def new_channel(self) -> Any:
        opened: asyncio.Future[Any] = self.loop.create_future()
        self.connection.channel(on_open_callback=lambda channel: settle(opened, channel))
        return await self._first(opened)

    async def ask(self, method: Callable[..., Any], *given: Any, **named: Any) -> Any:
        """A method of the channel that has an answer."""
        answer: asyncio.Future[Any] = self.loop.create_future()
        method(*given, **named, callback=lambda frame: settle(answer, frame))
        return await self._first(answer)

    async def ensure_queue(self, name: str, arguments: dict[str, Any], *, must_be_there: bool) -> int:
        """It is there, or made; how many messages are in it. In channels of their own: refusals close them."""
        try:
            return await self._declare(name, passive=True)
        except Failed as error:
            if error.code != NOT_FOUND or must_be_there:
                raise
        return await self._declare(name, durable=True, arguments=arguments)

    async def _declare(self, name: str, **how: Any) -> int:
        channel = await self.new_channel()
        refused: asyncio.Future[Failed] = self.loop.create_future()
        channel.add_on_close_callback(lambda _, error: settle(refused, failure(self.title, error)))
        answer: asyncio.Future[Any] = self.loop.create_future()
        channel.queue_declare(name, **how, callback=lambda frame: settle(answer, frame))
        await asyncio.wait([answer, refused, self.lost], return_when=asyncio.FIRST_COMPLETED)
        if answer.done():
            channel.close()
            return int(answer.result().method.message_count)
        raise refused.result() if refused.done() else self.lost.result()

    async def _first(self, answer: asyncio.Future[Any]) -> Any:
        await asyncio.wait([answer, self.lost], return_when=asyncio.FIRST_COMPLETED)
        if answer.done():
            return answer.result()
        raise self.lost.result()

    def lose(self, error: BaseException) -> None:
        settle(self.lost, error if isinstance(error, Failed) else failure(self.title, error))

    def _not_opened(self, error: BaseException, seconds: float) -> None:
        settle(self.closed)
        self.lose(Failed(f"{self.title}: no answer within {seconds:g} s") if is_time_limit(error) else error)

    def _connection_closed(self, connection: Any, error: BaseException) -> None:
        settle(self.closed)
        self.lose(error)

    def _opened(self, opened: asyncio.Future[None]) -> None:
        self.is_open = True
        if self.is_left:
            self.connection.close()
        else:
            settle(opened)

    async def close(self) -> None:
        """What was sent before gets there, if anybody is there."""
        if not self.is_open:
            # The library cannot be interrupted while it connects: it ends by itself, by its timers at the latest.
            self.is_left = True
            return
        with contextlib.suppress(pika.exceptions.AMQPError):  # it is being closed already, or was never good for it
            self.connection.close()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asyncio.shield(self.closed), CLOSE_SECONDS)


def settle(future: asyncio.Future[Any], value: Any = None) -> None:
    if not future.done():
        future.set_result(value)


# ----------------------------------------------------------------------------------------------------------- reasons


def failure(title: str, error: BaseException) -> Failed:
    inner = innermost(error)
    if isinstance(inner, ConnectionClosed | ChannelClosed):
        return Failed(f"{title}: {inner.reply_code} {inner.reply_text}", inner.reply_code)
    if isinstance(inner, OSError):
        return Failed(f"{title}: {WHERE_IN_OPENSSL.sub('', inner.strerror or str(inner))}")
    text = str(inner) or type(inner).__name__
    if close := CLOSE.fullmatch(text):
        return Failed(f"{title}: {close['code']} {close['text']}", int(close["code"]))
    return Failed(f"{title}: {text}")


def is_time_limit(error: BaseException) -> bool:
    """The library has several timers and says something else with each; only they close what is not open yet."""
    inner = innermost(error)
    if isinstance(inner, TimeoutError):
        return inner.errno is None  # the kernel's has one
    return isinstance(inner, AMQPConnectorStackTimeout | ConnectionOpenAborted)


def innermost(error: BaseException) -> BaseException:
    """The library wraps what has happened in what it was doing, several times."""
    while True:
        wrapped = getattr(error, "exceptions", None) or [getattr(error, "exception", None)]
        inner = wrapped[-1]
        if inner is None and isinstance(error, AMQPConnectionError) and error.args:
            inner = error.args[-1]
        if not isinstance(inner, BaseException):
            return error
        error = inner


# -------------------------------------------------------------------------------------------------------- parameters


def connection_parameters(uri: AmqpUri, name: str, seconds: float) -> pika.ConnectionParameters:
    external = uri.options.get("auth_mechanism") == "external"
    credentials = pika.credentials.ExternalCredentials() if external else plain(uri)
    return pika.ConnectionParameters(
        uri.host,
        uri.port,
        uri.vhost,
        credentials,
        heartbeat=uri.options.get("heartbeat", HEARTBEAT_SECONDS),
        ssl_options=tls(uri) if uri.tls else None,
        socket_timeout=seconds,
        stack_timeout=seconds,
        client_properties={"connection_name": name, "product": "FlowMQ shovel"},
    )


def plain(uri: AmqpUri) -> Any:
    return pika.PlainCredentials(uri.user, uri.password)


def tls(uri: AmqpUri) -> pika.SSLOptions:
    """Who is at the other end is checked, unless the URI says otherwise."""
    options = uri.options
    try:
        context = ssl.create_default_context(cafile=options.get("cacertfile"))
        if options.get("verify") == "verify_none":
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if "certfile" in options:
            context.load_cert_chain(options["certfile"], options.get("keyfile"))
    except OSError as error:
        raise Failed(f"the certificates of {uri.shown} cannot be read: {error.strerror or error}") from error
    return pika.SSLOptions(context, options.get("server_name_indication", uri.host))
