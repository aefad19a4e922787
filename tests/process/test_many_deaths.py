"""More dead letters at once than a turn deals with: none is lost, doubled or out of order, whatever happens then."""

import random
from collections.abc import Callable
from typing import Any

import pytest

from tests.support import codec
from tests.support.broker import Broker, until
from tests.support.peer import Peer
from tests.support.wire import Channel, connect

pytestmark = [pytest.mark.slow, pytest.mark.flowmq_only]
DEATHS = 9_000  # more than the window of a durable queue, and many turns of dead letters
DEAD_LETTERED = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "dead"}
BODIES = [b"%d" % number for number in range(DEATHS)]


def opened(peer: Peer) -> Channel:
    return connect(peer).channel()


def declared(peer: Peer, durable: bool = True, **more: Any) -> Channel:
    channel = opened(peer)
    channel.queue("dead", durable=durable)
    channel.queue("source", durable=durable, arguments={**DEAD_LETTERED, **more})
    return channel


def fill(channel: Channel, properties: Callable[[], dict[str, Any]]) -> None:
    """In one go, and answered when all are in."""
    through = channel.client.confirming()
    publish = codec.method_frame(through.number, "basic.publish", exchange="", routing_key="source")
    channel.client.write(b"".join(publish + through.content(body, properties()) for body in BODIES))
    through.wait_for_confirms(DEATHS)


def persistent() -> dict[str, Any]:
    return {"delivery_mode": 2}


def hold_all(channel: Channel) -> None:
    channel.consume("source", "tag")
    for _ in BODIES:
        channel.expect("basic.deliver")


def nack_all(channel: Channel) -> None:
    channel.send("basic.nack", delivery_tag=DEATHS, multiple=True, requeue=False)


def bodies(channel: Channel, queue: str) -> list[bytes]:
    """All that a queue has, by a consumer that acknowledges nothing."""
    count = channel.count(queue)
    channel.ask("basic.consume", queue=queue, consumer_tag=queue)
    return [channel.expect("basic.deliver").body for _ in range(count)]


@pytest.mark.parametrize("durable", [False, True])
def test_they_arrive_in_order(own_broker: Callable[..., Broker], durable: bool) -> None:
    broker = own_broker()
    channel = declared(broker.peer, durable)
    fill(channel, persistent)
    hold_all(channel)
    nack_all(channel)
    until(lambda: channel.count("dead") == DEATHS)
    assert bodies(opened(broker.peer), "dead") == BODIES
    channel.client.drop()
    broker.stop()


def test_their_source_is_deleted_meanwhile(own_broker: Callable[..., Broker]) -> None:
    """They have left it already."""
    broker = own_broker()
    channel = declared(broker.peer)
    fill(channel, persistent)
    hold_all(channel)
    channel.call("basic.cancel", consumer_tag="tag")
    nack_all(channel)
    channel.call("queue.delete", queue="source")
    channel.queue("source", durable=True)
    until(lambda: channel.count("dead") == DEATHS)
    assert channel.count("source") == 0
    assert bodies(opened(broker.peer), "dead") == BODIES
    broker.stop()


def test_where_they_go_is_deleted_meanwhile(own_broker: Callable[..., Broker]) -> None:
    """What comes later arrives: the end of them, in order."""
    broker = own_broker()
    channel = declared(broker.peer)
    fill(channel, persistent)
    hold_all(channel)
    other = opened(broker.peer)
    nack_all(channel)
    lost = int(other.call("queue.delete", queue="dead").message_count)
    other.queue("dead", durable=True)
    # One that dies after them tells when they are through.
    channel.put("source", b"last")
    last = channel.expect("basic.deliver")
    channel.send("basic.reject", delivery_tag=last.delivery_tag, requeue=False)
    until(lambda: other.count("dead") > 0)
    seen = bodies_until(other, "dead", b"last")
    assert len(seen) <= DEATHS - lost
    assert seen == BODIES[DEATHS - len(seen) :]
    broker.stop()


def bodies_until(channel: Channel, queue: str, last: bytes) -> list[bytes]:
    channel.ask("basic.consume", queue=queue, consumer_tag=queue)
    seen = []
    while (body := channel.expect("basic.deliver").body) != last:
        seen.append(body)
    return seen


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_the_broker_ends_meanwhile(own_broker: Callable[..., Broker], end: str) -> None:
    """Each is where it was or where it goes, and in order there. A clean end leaves none behind."""
    broker = own_broker()
    channel = declared(broker.peer)
    fill(channel, persistent)
    hold_all(channel)
    channel.call("basic.cancel", consumer_tag="tag")
    nack_all(channel)
    other = opened(broker.peer)
    until(lambda: other.count("dead") > 0)
    if end == "stop":
        broker.stop()
    else:
        broker.kill()
    broker = broker.again()
    try:
        there, still_here = bodies(opened(broker.peer), "dead"), bodies(opened(broker.peer), "source")
        assert there + still_here == BODIES
        assert end == "kill" or not still_here
        broker.stop()
    finally:
        broker.kill()


@pytest.mark.parametrize("durable", [False, True])
@pytest.mark.parametrize("then", ["wait", "purge", "kill"])
def test_lives_of_their_own_behind_the_window(own_broker: Callable[..., Broker], durable: bool, then: str) -> None:
    """Found one by one in the middle of what is on disk. A purge takes those that have not died."""
    if then == "kill" and not durable:
        pytest.skip("nothing would be there afterwards")
    broker = own_broker()
    channel = declared(broker.peer, durable)
    lives = random.Random(7)
    fill(channel, lambda: {"delivery_mode": 2, "expiration": str(lives.randrange(1500, 2500))})
    purged = 0
    if then != "wait":
        until(lambda: channel.count("dead") > DEATHS // 4)
    if then == "purge":
        purged = int(channel.call("queue.purge", queue="source").message_count)
    if then == "kill":
        broker.kill()
        broker = broker.again()
        channel = opened(broker.peer)
    try:
        until(lambda: channel.count("source") == 0 and channel.count("dead") == DEATHS - purged)
        found = bodies(channel, "dead")
        assert len(set(found)) == len(found) == DEATHS - purged
        broker.stop()
    finally:
        broker.kill()
