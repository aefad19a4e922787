"""A channel that holds more than one turn gives back ends: others are served meanwhile, nothing is lost or moved."""

import contextlib
from collections.abc import Callable

import pytest

from tests.support import codec
from tests.support.broker import Broker, until
from tests.support.peer import Peer
from tests.support.wire import Channel, Client, connect

pytestmark = [pytest.mark.slow, pytest.mark.flowmq_only]
HELD = 60_000
BODIES = [b"%d" % number for number in range(HELD)]
ATTEMPTS = 20


def fill(channel: Channel) -> None:
    channel.queue("source", durable=True)
    through = channel.client.confirming()
    publish = codec.method_frame(through.number, "basic.publish", exchange="", routing_key="source")
    channel.client.write(b"".join(publish + through.content(body, {"delivery_mode": 2}) for body in BODIES))
    through.wait_for_confirms(HELD)


def hold_all(peer: Peer, observer: Channel) -> Client:
    """A client that was given every message and has acknowledged none."""
    client = connect(peer)
    client.channel().send("basic.consume", queue="source")
    client.socket.settimeout(0.1)
    while observer.count("source"):
        with contextlib.suppress(TimeoutError):
            while client.socket.recv(1 << 20):
                pass
    return client


def some_are_back(observer: Channel) -> bool:
    """Is there a moment at which some have come back and others not? Only if the broker answers meanwhile."""
    while not (back := observer.count("source")):
        pass
    until(lambda: observer.count("source") == HELD)
    return back < HELD


def test_others_are_answered_meanwhile_and_all_are_in_their_places(own_broker: Callable[..., Broker]) -> None:
    broker = own_broker()
    observer = connect(broker.peer).channel()
    fill(observer)
    for _ in range(ATTEMPTS):
        client = hold_all(broker.peer, observer)
        client.drop()
        if some_are_back(observer):
            break
    else:
        pytest.fail(f"of {ATTEMPTS} times nobody was ever answered before all was back")
    observer.ask("basic.consume", queue="source", no_ack=True)
    again = [observer.expect("basic.deliver") for _ in BODIES]
    assert [delivery.body for delivery in again] == BODIES
    assert all(delivery.redelivered for delivery in again)
    observer.client.drop()
    broker.stop()


@pytest.mark.parametrize("end", ["kill", "stop"])
def test_the_broker_ends_meanwhile(own_broker: Callable[..., Broker], end: str) -> None:
    broker = own_broker()
    observer = connect(broker.peer).channel()
    fill(observer)
    hold_all(broker.peer, observer).drop()
    until(lambda: observer.count("source") > 0)
    observer.client.drop()
    getattr(broker, end)()
    broker = broker.again()
    try:
        channel = connect(broker.peer).channel()
        assert channel.count("source") == HELD
        channel.ask("basic.consume", queue="source", no_ack=True)
        again = [channel.expect("basic.deliver") for _ in BODIES]
        assert [delivery.body for delivery in again] == BODIES
        assert all(delivery.redelivered for delivery in again)
        channel.client.drop()
        broker.stop()
    finally:
        broker.kill()
