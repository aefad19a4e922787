"""connection.* and channel.*: who is connected."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from flowmq._channel import Channel
from flowmq.broker.names import text
from flowmq.server.control.commands.queues import LOOKED_AT_A_TIME
from flowmq.server.control.listing import Listing, listed
from flowmq.server.control.registry import SKIPPED, Arguments, command, not_found
from flowmq.server.control.views import CHANNEL_VIEW, CONNECTION_VIEW, OpenChannel, channel_counts, channel_name

if TYPE_CHECKING:
    from flowmq.server.node import Node
    from flowmq.server.session import Session


class Connections(Listing):
    user: str | None = None


def sessions_of(node: "Node", vhosts: list[str] | None, user: str | None = None) -> Iterator["Session"]:
    """Those that are open."""
    for session in list(node.sessions):
        if not session.was_open or session.vhost is None or session.connection.transport is None:
            continue
        if (vhosts is None or session.vhost.name in vhosts) and user in (None, session.user_name):
            yield session


def session_named(node: "Node", name: str) -> "Session":
    for session in sessions_of(node, None):
        if session.name == name:
            return session
    raise not_found(f"no connection '{name}'")


@command("connection.list", Connections)
def list_connections(node: "Node", asked: Connections) -> Iterator[Any]:
    """Connections, a page of them or all."""
    found = sessions_of(node, asked.vhosts, asked.user)
    return listed(found, CONNECTION_VIEW, asked, lambda session: session.name)


class ConnectionName(Arguments):
    name: str


@command("connection.show", ConnectionName)
def show_connection(node: "Node", asked: ConnectionName) -> dict[str, Any]:
    """One connection."""
    session = session_named(node, asked.name)
    return {name: column(session) for name, column in CONNECTION_VIEW.items()}


class Close(ConnectionName):
    reason: str = "Closed via management plugin"


@command("connection.close", Close)
def close(node: "Node", asked: Close) -> None:
    """Close a connection; its client is told the reason."""
    session_named(node, asked.name).force(asked.reason)


class CloseAll(Arguments):
    vhost: str | None = None
    user: str | None = None
    reason: str = "Closed by the operator"


@command("connection.close_all", CloseAll)
def close_all(node: "Node", asked: CloseAll) -> Iterator[Any]:
    """Close every connection, or those of a virtual host or user; tells the names."""
    for session in sessions_of(node, None if asked.vhost is None else [asked.vhost], asked.user):
        session.force(asked.reason)
        yield {"name": session.name}


class Channels(Listing):
    connection: str | None = None
    user: str | None = None


def channels_of(node: "Node", asked: Channels) -> Iterator[Any]:
    for at, session in enumerate(sessions_of(node, asked.vhosts, asked.user)):
        if at % LOOKED_AT_A_TIME == 0:
            yield SKIPPED
        if asked.connection in (None, session.name):
            for channel in list(session.connection.channels.values()):
                yield OpenChannel(session, channel)


@command("channel.list", Channels)
def list_channels(node: "Node", asked: Channels) -> Iterator[Any]:
    """Channels, of all connections or of one."""
    found = (one for one in channels_of(node, asked) if one is not SKIPPED)
    return listed(found, CHANNEL_VIEW, asked, lambda one: channel_name(*one))


class ChannelName(Arguments):
    name: str


@command("channel.show", ChannelName)
def show_channel(node: "Node", asked: ChannelName) -> dict[str, Any]:
    """One channel: CONNECTION (NUMBER)."""
    connection, _, number = asked.name.rpartition(" (")
    session = session_named(node, connection)
    for channel in session.connection.channels.values():
        if f"{channel.number})" == number:
            return {name: column(OpenChannel(session, channel)) for name, column in CHANNEL_VIEW.items()}
    raise not_found(f"no channel '{asked.name}'")


@command("connection.activity")
def activity(node: "Node", asked: Arguments) -> Iterator[Any]:
    """What connections and channels have counted, for the one who samples.

    A row is [connection, octets received, octets sent, [[channel, counts, [[consumer, deliveries], ...]], ...]].
    """
    for session in sessions_of(node, None):
        connection = session.connection
        channels = [channel_activity(channel) for channel in list(connection.channels.values())]
        yield [session.name, connection.received_bytes, connection.sent_bytes, channels]


def channel_activity(channel: Channel) -> list[Any]:
    consumers = [[text(tag), consumer.delivered] for tag, consumer in list(channel.consumers.items())]
    return [channel.number, channel_counts(channel), consumers]
