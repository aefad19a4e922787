"""Two virtual hosts know nothing of one another, whatever a user of one tries."""

from collections.abc import Iterator

import pytest

from tests.support.accounts import Accounts
from tests.support.channel import Channel
from tests.support.peer import Peer
from tests.support.wire import Client, connect

REPLY_TO = "amq.rabbitmq.reply-to"


@pytest.fixture
def stranger(peer: Peer, accounts: Accounts, names: Iterator[str]) -> Iterator[Channel]:
    """All permissions in a virtual host of their own, none in the one of the tests."""
    vhost, user = next(names), next(names)
    accounts.add_vhost(vhost)
    accounts.add_user(user, "secret")
    accounts.permit(user, vhost)
    with connect(peer, user=user, password="secret", vhost=vhost) as client:
        yield client.channel()
    accounts.delete_vhost(vhost)
    accounts.delete_user(user)


def test_names_mean_something_else_there(stranger: Channel, channel: Channel, queue: str, name: str) -> None:
    channel.call("exchange.declare", exchange=name, type="fanout", auto_delete=True)
    channel.call("queue.bind", queue=queue, exchange=name)
    channel.put(queue, b"not for strangers")
    stranger.call("exchange.declare", exchange=name, type="direct", auto_delete=True)  # of another type: another one
    stranger.queue(queue, exclusive=True)  # and not locked
    assert stranger.drain(queue) == []
    stranger.put(queue, b"theirs")
    stranger.publish(name, "", b"theirs")
    stranger.publish("", queue, b"theirs")
    assert stranger.count(queue) == 2
    assert channel.drain(queue) == [b"not for strangers"]


def test_what_is_not_there_cannot_be_read_or_removed(stranger: Channel, channel: Channel, queue: str) -> None:
    channel.put(queue, b"stays")
    client: Client = stranger.client
    for method in ("basic.get", "basic.consume", "queue.purge"):
        wrong = client.channel()
        wrong.send(method, queue=queue)
        wrong.expect_close(404)
    stranger.call("queue.delete", queue=queue)  # deleting what does not exist is fine
    assert channel.drain(queue) == [b"stays"]


def test_dead_letters_stay_in_their_virtual_host(stranger: Channel, channel: Channel, queue: str) -> None:
    arguments = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": queue, "x-max-length": 0}
    dying = stranger.queue(exclusive=True, arguments=arguments)
    stranger.put(dying, b"dead")
    assert channel.count(queue) == 0


def test_a_reply_address_leads_nowhere_from_there(stranger: Channel, channel: Channel, queue: str) -> None:
    channel.consume(REPLY_TO, no_ack=True)
    channel.publish("", queue, b"question", {"reply_to": REPLY_TO})
    channel.settle(queue)
    question = channel.get(queue)
    assert question
    address = question.properties["reply_to"]
    stranger.publish("", address, b"forged")
    stranger.count(stranger.queue(exclusive=True))
    channel.publish("", address, b"answer")
    assert channel.expect("basic.deliver").body == b"answer"
