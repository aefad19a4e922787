"""Direct reply-to: answers to a requester without a queue in between."""

from collections.abc import Iterator

import pytest

from tests.support.peer import Peer
from tests.support.wire import Channel, Client, connect

PSEUDO = "amq.rabbitmq.reply-to"


def request(requester: Channel, server: Channel, queue: str, body: bytes = b"question") -> str:
    """Sends a request and has the server take it; the address the answer must go to."""
    requester.publish("", queue, body, {"reply_to": PSEUDO, "correlation_id": "7"})
    message = server.get(queue)
    while message is None:
        message = server.get(queue)
    assert message.body == body
    assert message.properties["correlation_id"] == "7"
    return str(message.properties["reply_to"])


@pytest.fixture
def server(other: Client) -> Channel:
    return other.channel()


@pytest.fixture
def requests(server: Channel, name: str) -> Iterator[str]:
    """The queue of a service, open to others and gone with the test."""
    yield server.queue(name)
    server.client.channel().call("queue.delete", queue=name)


def test_question_and_answer(channel: Channel, server: Channel, requests: str) -> None:
    tag = channel.consume(PSEUDO, no_ack=True)
    for number in range(3):
        address = request(channel, server, requests)
        assert address.startswith(PSEUDO + ".")
        server.publish("", address, b"answer %d" % number, {"correlation_id": "7"})
        answer = channel.expect("basic.deliver")
        assert (answer.body, answer.consumer_tag, answer.exchange) == (b"answer %d" % number, tag, "")
        assert answer.properties == {"correlation_id": "7"}
        assert answer.redelivered is False


def test_answer_on_the_same_channel(channel: Channel, queue: str) -> None:
    channel.consume(PSEUDO, no_ack=True)
    address = request(channel, channel, queue)
    channel.publish("", address, b"to myself")
    assert channel.expect("basic.deliver").body == b"to myself"


def test_several_requesters_get_their_own_answers(client: Client, server: Channel, requests: str) -> None:
    requesters = [client.channel() for _ in range(3)]
    for requester in requesters:
        requester.consume(PSEUDO, no_ack=True)
    addresses = [request(requester, server, requests) for requester in requesters]
    assert len(set(addresses)) == 3
    for number in (2, 0, 1):
        server.publish("", addresses[number], b"%d" % number)
    assert [requester.expect("basic.deliver").body for requester in requesters] == [b"0", b"1", b"2"]


def test_address_can_be_asked_for_while_it_lives(channel: Channel, server: Channel, requests: str) -> None:
    channel.consume(PSEUDO, no_ack=True)
    address = request(channel, server, requests)
    answer = server.call("queue.declare", queue=address, passive=True)
    assert (answer.queue, answer.message_count, answer.consumer_count) == (address, 0, 1)
    channel.close()
    server.send("queue.declare", queue=address, passive=True)
    server.expect_close(404, f"NOT_FOUND - no queue '{address}' in vhost '/'")


def test_answer_to_one_who_is_gone_is_dropped(peer: Peer, server: Channel, requests: str) -> None:
    with connect(peer) as client:
        requester = client.channel()
        requester.consume(PSEUDO, no_ack=True)
        address = request(requester, server, requests)
        requester.close()
        server.publish("", address, b"too late")
        client.close()
    server.publish("", address, b"much too late")
    assert server.count(requests) == 0


def test_asking_needs_the_reply_consumer_first(channel: Channel, queue: str) -> None:
    channel.publish("", queue, b"x", {"reply_to": PSEUDO})
    channel.expect_close(406, "PRECONDITION_FAILED - fast reply consumer does not exist", (60, 40))


def test_reply_consumer_cannot_acknowledge(channel: Channel) -> None:
    channel.send("basic.consume", queue=PSEUDO, no_ack=False)
    channel.expect_close(406, "PRECONDITION_FAILED - reply consumer cannot acknowledge", (60, 20))


def test_one_reply_consumer_per_channel(channel: Channel) -> None:
    channel.consume(PSEUDO, no_ack=True)
    channel.send("basic.consume", queue=PSEUDO, no_ack=True)
    channel.expect_close(406, "PRECONDITION_FAILED - reply consumer already set", (60, 20))


def test_reply_consumer_can_be_cancelled_and_started_again(channel: Channel, server: Channel, requests: str) -> None:
    tag = channel.consume(PSEUDO, no_ack=True)
    channel.call("basic.cancel", consumer_tag=tag)
    channel.consume(PSEUDO, "again", no_ack=True)
    address = request(channel, server, requests)
    server.publish("", address, b"answer")
    assert channel.expect("basic.deliver").consumer_tag == "again"


def test_other_reply_addresses_pass_untouched(channel: Channel, queue: str) -> None:
    for address in ("somewhere", PSEUDO + ".made-up", PSEUDO + "x"):
        channel.put(queue, b"x", properties={"reply_to": address})
        message = channel.get(queue)
        assert message
        assert message.properties == {"reply_to": address}


def test_made_up_addresses_lead_nowhere(channel: Channel, queue: str, name: str) -> None:
    channel.publish("", f"{PSEUDO}.{name}", b"x")
    assert channel.count(queue) == 0


@pytest.mark.flowmq_only
def test_mandatory_answer_comes_back_only_if_the_requester_is_gone(
    channel: Channel, server: Channel, requests: str
) -> None:
    channel.consume(PSEUDO, no_ack=True)
    address = request(channel, server, requests)
    server.publish("", address, b"answer", mandatory=True)
    assert channel.expect("basic.deliver").body == b"answer"
    assert server.settle(requests) == []
    channel.close()
    server.publish("", address, b"too late", mandatory=True)
    assert server.expect("basic.return").reply_code == 312
