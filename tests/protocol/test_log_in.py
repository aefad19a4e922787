"""Log-ins whose password takes long to check: what the client sends meanwhile waits, and it may go away."""

from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from tests.support import codec
from tests.support.accounts import Accounts
from tests.support.broker import Broker
from tests.support.peer import Peer
from tests.support.wire import CAPABILITIES, Client, connect, plain


@pytest.fixture
def ann(accounts: Accounts, peer: Peer, name: str) -> Iterator[Peer]:
    accounts.add_user(name, "secret")
    accounts.permit(name, "/")
    yield replace(peer, user=name, password="secret")
    accounts.delete_user(name)


def start_ok(peer: Peer, password: str) -> bytes:
    return codec.method_frame(
        0,
        "connection.start-ok",
        client_properties={"capabilities": CAPABILITIES},
        mechanism="PLAIN",
        response=plain(peer.user, password),
        locale="en_US",
    )


def test_a_client_that_does_not_wait_for_its_answers(ann: Peer) -> None:
    with Client(ann) as client:
        client.write(
            codec.PROTOCOL_HEADER
            + start_ok(ann, "secret")
            + codec.method_frame(0, "connection.tune-ok", channel_max=10, frame_max=4096, heartbeat=0)
            + codec.method_frame(0, "connection.open", virtual_host="/")
            + codec.method_frame(1, "channel.open")
        )
        answers = [client.receive().name for _ in range(4)]
        assert answers == ["connection.start", "connection.tune", "connection.open-ok", "channel.open-ok"]


@pytest.mark.parametrize("password", ["secret", "wrong"])
def test_clients_that_go_while_their_password_is_checked(peer: Peer, ann: Peer, password: str) -> None:
    for _ in range(10):
        with Client(ann) as client:
            client.start()
            client.write(start_ok(ann, password))
    connect(peer).close()
    connect(ann).close()


def test_a_new_secret_is_checked_like_a_password(accounts: Accounts, ann: Peer) -> None:
    with connect(ann) as client:
        accounts.set_password(ann.user, "newer")
        client.send(0, "connection.update-secret", new_secret="newer", reason="it has changed")
        client.expect("connection.update-secret-ok")
        client.channel().call("basic.qos", prefetch_count=1)


@pytest.mark.flowmq_only  # RabbitMQ's own backend takes any
def test_a_wrong_secret_ends_the_connection(ann: Peer) -> None:
    with connect(ann) as client:
        client.send(0, "connection.update-secret", new_secret="secret?", reason="none")
        client.expect_close(530, "NOT_ALLOWED - New secret was refused by one of the backends")


@pytest.mark.flowmq_only
def test_a_start_says_how_others_can_get_in(own_broker: Callable[..., Broker]) -> None:
    broker = own_broker("--listen", "0.0.0.0:0")
    broker.log.wait_for(r"flowmq user add NAME --permit / --data-dir \S+")
    broker.stop()
    local = own_broker()
    local.stop()
    assert "flowmq user add" not in local.log.text
