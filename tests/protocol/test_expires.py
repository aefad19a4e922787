"""x-expires: a queue that nobody uses goes by itself, and takes its messages with it."""

from typing import Any

import pytest

from tests.support.broker import until
from tests.support.wire import Channel, Client

LEASE_MS = 700


def exists(client: Client, queue: str) -> bool:
    """Asking by passive declare would be using it (here) or close the channel; binding neither uses nor changes it."""
    channel = client.channel()
    channel.send("queue.bind", queue=queue, exchange="amq.direct", routing_key=queue)
    answer = channel.expect("queue.bind-ok", "channel.close")
    if answer.name == "queue.bind-ok":
        channel.close()
        return True
    assert answer.reply_code == 404, str(answer)
    channel.send("channel.close-ok")
    return False


def wait_for_end(client: Client, queue: str) -> None:
    until(lambda: not exists(client, queue))


def wait_for(channel: Channel, clock: str, milliseconds: int) -> None:
    """By the peer's own clock: a message that lives so long in a queue without a lease."""
    channel.put(clock, b"clock", properties={"expiration": str(milliseconds)})
    until(lambda: channel.count(clock) == 0)


@pytest.fixture
def leased(channel: Channel, name: str) -> str:
    return channel.queue(name + "-leased", arguments={"x-expires": LEASE_MS})


@pytest.mark.parametrize("durable", [False, True])
def test_an_unused_queue_goes(channel: Channel, other: Client, name: str, durable: bool) -> None:
    channel.queue(name, durable=durable, arguments={"x-expires": 100})
    wait_for_end(other, name)
    assert channel.queue(name, exclusive=True) == name  # there is nothing it could be unlike


def test_publishing_is_not_using(channel: Channel, other: Client, leased: str) -> None:
    asking = other.channel()
    for _ in range(100_000):
        channel.publish("", leased, b"x")
        asking.send("queue.bind", queue=leased, exchange="amq.direct", routing_key=leased)
        if asking.expect("queue.bind-ok", "channel.close").name == "channel.close":
            return
    raise AssertionError("it is still there")


def test_consumers_keep_it(channel: Channel, other: Client, leased: str, queue: str) -> None:
    channel.consume(leased, "tag")
    wait_for(channel, queue, 2 * LEASE_MS)
    assert exists(other, leased)
    channel.call("basic.cancel", consumer_tag="tag")
    wait_for_end(other, leased)


@pytest.mark.parametrize("use", ["get", "declare", "consume"])
def test_using_it_begins_its_lease_anew(channel: Channel, other: Client, leased: str, queue: str, use: str) -> None:
    uses: dict[str, Any] = {
        "get": lambda: channel.get(leased),
        "declare": lambda: channel.queue(leased, arguments={"x-expires": LEASE_MS}),
        "consume": lambda: channel.call("basic.cancel", consumer_tag=channel.consume(leased)),
    }
    for _ in range(4):
        wait_for(channel, queue, LEASE_MS // 2)
        uses[use]()
    assert exists(other, leased)
    wait_for_end(other, leased)


def test_its_messages_go_with_it_and_nowhere_else(channel: Channel, other: Client, name: str, queue: str) -> None:
    arguments = {"x-expires": 100, "x-dead-letter-exchange": "", "x-dead-letter-routing-key": queue}
    channel.queue(name + "-leased", arguments=arguments)
    channel.put(name + "-leased", b"1", b"2")
    wait_for_end(other, name + "-leased")
    assert channel.settle(queue) == []
    assert channel.count(queue) == 0


def test_its_bindings_go_with_it(channel: Channel, other: Client, name: str) -> None:
    channel.queue(name, arguments={"x-expires": 100})
    channel.call("queue.bind", queue=name, exchange="amq.direct", routing_key=name)
    wait_for_end(other, name)
    channel.publish("amq.direct", name, b"nobody", mandatory=True)
    assert channel.expect("basic.return").reply_code == 312


def test_what_was_handed_out_can_still_be_acknowledged(channel: Channel, other: Client, name: str) -> None:
    channel.queue(name, arguments={"x-expires": 200})
    channel.put(name, b"held")
    held = channel.get(name, no_ack=False)
    assert held
    wait_for_end(other, name)
    channel.ack(held.delivery_tag)
    channel.queue("", exclusive=True)


def test_a_queue_declared_anew_has_a_lease_of_its_own(channel: Channel, name: str, queue: str) -> None:
    leased = channel.queue(name + "-leased", arguments={"x-expires": 300})
    channel.call("queue.delete", queue=leased)
    channel.queue(leased)
    wait_for(channel, queue, 700)
    assert channel.count(leased) == 0
    channel.call("queue.delete", queue=leased)
