"""The methods of an open connection that do not come per message: one function each, found by a table.

A function does what its method asks by calling the model or the channel, and sends the answer. It raises AMQPError
where a rule breaks; the session turns that into a close.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

from flowmq._channel import Channel
from flowmq._transaction import Transaction
from flowmq._tx import begin_commit, commit_more, end_commit
from flowmq.amqp.errors import (
    ChannelError,
    CommandInvalid,
    NotAllowed,
    NotImplementedByBroker,
)
from flowmq.amqp.method import Method
from flowmq.amqp.methods import (
    ChannelClose,
    ChannelCloseOk,
    ChannelFlow,
    ChannelFlowOk,
    ChannelOpen,
    ChannelOpenOk,
    ConfirmSelect,
    ConfirmSelectOk,
    ConnectionClose,
    ConnectionCloseOk,
    ConnectionUpdateSecret,
    ConnectionUpdateSecretOk,
    TxCommit,
    TxCommitOk,
    TxRollback,
    TxRollbackOk,
    TxSelect,
    TxSelectOk,
)
from flowmq.broker.users import User
from flowmq.server import consuming, declarations, expiry
from flowmq.server.asking import answer, vhost_of
from flowmq.server.mechanisms import authenticate
from flowmq.server.turns import begin_waiting

if TYPE_CHECKING:
    from flowmq.server.session import Session

COMMITTED_AT_ONCE = 2000  # publishes and settlements of a transaction, before anybody else has a turn
COMMITTED_MESSAGES = 500  # in one step


def dispatch(session: "Session", number: int, method: Method) -> None:
    """A method on an open connection."""
    if number == 0:
        on_connection(session, method)
        return
    if isinstance(method, ChannelOpen):
        channel_open(session, number)
        return
    channel = session.connection.channels.get(number)
    if channel is None:
        if not isinstance(method, ChannelCloseOk):
            raise ChannelError("expected 'channel.open'")
    elif isinstance(method, ChannelCloseOk) and channel.closing:
        session.connection.forget_channel(number)
    elif isinstance(method, ChannelClose):
        channel_close(session, channel)
    elif not channel.closing:
        on_channel(session, channel, method)


def on_connection(session: "Session", method: Method) -> None:
    match method:
        case ConnectionClose():
            session.client_closes(method)
        case ConnectionCloseOk():
            session.finish()
        case ConnectionUpdateSecret():
            update_secret(session, method)
        case _:
            raise ChannelError("unexpected method in connection state running")


def on_channel(session: "Session", channel: Channel, method: Method) -> None:
    handler = HANDLERS.get(type(method))
    if handler is None:
        raise CommandInvalid("unimplemented method")
    if session.node.store is not None:
        # What others or earlier methods have changed is not for this one's answer to wait for.
        session.node.store.take_commit()
    handler(session, channel, method)


# ------------------------------------------------------------------------------------------- connection and channel


def update_secret(session: "Session", method: ConnectionUpdateSecret) -> None:
    assert session.user is not None

    def answered(user: User | str) -> None:
        if isinstance(user, str) or not expiry.renew(session, user):
            error = NotAllowed("New secret was refused by one of the backends")
            session.failed(0, method.CLASS_ID, method.METHOD_ID, error)
        else:
            session.send(0, ConnectionUpdateSecretOk())

    authenticate(session, session.user.name, method.new_secret, answered)


def channel_open(session: "Session", number: int) -> None:
    existing = session.connection.channels.get(number)
    if existing is not None and not existing.closing:
        raise ChannelError("second 'channel.open' seen")
    opened = len(session.connection.channels) + (existing is None)
    if opened > session.channel_max:
        raise NotAllowed(
            f"number of channels opened ({opened - 1}) has reached the negotiated channel_max ({session.channel_max})",
            limit="connection_channels",
        )
    limits = session.node.broker.limits
    limits.check_channel(session.user_name)
    session.connection.open_channel(number, vhost_of(session))
    session.node.churn.channels_opened += 1
    limits.channel_opened(session.user_name)
    session.send(number, ChannelOpenOk())


def channel_close(session: "Session", channel: Channel) -> None:
    if not channel.closing:
        channel.tell()
        session.leave_channel(channel, partial(channel_closed, session, channel))
    else:
        # When both sides close at once the channel ends with the client's close-ok to ours.
        session.send(channel.number, ChannelCloseOk())


def channel_closed(session: "Session", channel: Channel) -> None:
    session.connection.forget_channel(channel.number)
    session.send_open(channel.number, ChannelCloseOk())


def channel_flow(session: "Session", channel: Channel, method: ChannelFlow) -> None:
    if not method.active:
        raise NotImplementedByBroker("active=false")
    session.send(channel.number, ChannelFlowOk(True))


# ------------------------------------------------------------------------------------------------- confirm and tx


def confirm_select(session: "Session", channel: Channel, method: ConfirmSelect) -> None:
    channel.confirm_select()
    answer(session, channel, method, ConfirmSelectOk())


def tx_select(session: "Session", channel: Channel, method: TxSelect) -> None:
    channel.tx_select()
    session.send(channel.number, TxSelectOk())


def tx_commit(session: "Session", channel: Channel, method: TxCommit) -> None:
    staged = begin_commit(channel)
    if commit_more(channel, staged, COMMITTED_AT_ONCE):
        rest = commit_rest(session, channel, staged)
        begin_waiting(session, rest, channel.number, TxCommit.CLASS_ID, TxCommit.METHOD_ID)
    else:
        committed(session, channel, end_commit(channel, staged))


def commit_rest(session: "Session", channel: Channel, staged: Transaction) -> Iterator[None]:
    """A transaction of very many."""
    while commit_more(channel, staged, COMMITTED_MESSAGES):
        yield
    commit = end_commit(channel, staged)
    if not session.connection.closing:
        committed(session, channel, commit)


def committed(session: "Session", channel: Channel, commit: int) -> None:
    if commit:
        session.send_when_committed(commit, channel.number, TxCommitOk())
    else:
        session.send(channel.number, TxCommitOk())


def tx_rollback(session: "Session", channel: Channel, method: TxRollback) -> None:
    channel.tx_rollback()
    session.send(channel.number, TxRollbackOk())


HANDLERS: dict[type[Method], Callable[["Session", Channel, Any], None]] = {
    ChannelFlow: channel_flow,
    ConfirmSelect: confirm_select,
    TxSelect: tx_select,
    TxCommit: tx_commit,
    TxRollback: tx_rollback,
    **declarations.HANDLERS,
    **consuming.HANDLERS,
}
