"""A content header is one frame: who agreed on smaller ones than a message needs is told so, and the message stays."""

from collections.abc import Iterator

import pytest

from tests.support.codec import Method
from tests.unit.support_plane import Client, Plane

FRAME_MAX = 4096
FITS = FRAME_MAX - 8
SERVED_OTHERWISE = b"small"


@pytest.fixture
def plane() -> Iterator[Plane]:
    with Plane() as plane:
        yield plane


@pytest.fixture
def publisher(plane: Plane) -> Client:
    publisher = plane.client(1)
    publisher.call(1, "queue.declare", queue="q")
    return publisher


def publish(publisher: Client, header_bytes: int, body: bytes = b"large") -> None:
    """With a header of exactly that size: class, weight, body size and flags, then a table of one text."""
    fixed = 2 + 2 + 8 + 2 + 4 + 1 + len("text") + 1 + 4
    publisher.publish(1, "q", body, headers={"text": "x" * (header_bytes - fixed)})


def closed(client: Client, queue: str = "q") -> bool:
    """Has it been told, and nothing else?"""
    [close] = client.received()
    assert (close.name, close.reply_code) == ("connection.close", 506)
    assert close.reply_text == (
        f"RESOURCE_ERROR - the next message of queue '{queue}' has a header of {FITS + 1} octets, and no more than "
        f"{FITS} fit into a frame of this connection: agree on a larger frame_max"
    )
    return True


def consume(client: Client, **fields: object) -> list[Method]:
    client.send(1, "basic.consume", queue="q", **fields)
    return client.received()


@pytest.mark.parametrize("no_ack", [False, True])
@pytest.mark.parametrize("waits", [False, True])
def test_a_consumer_is_told_and_the_next_one_gets_it(
    plane: Plane, publisher: Client, no_ack: bool, waits: bool
) -> None:
    """Whether it waits in the queue or is published while the consumer waits."""
    small, large = plane.client(1, frame_max=FRAME_MAX), plane.client(1)
    if waits:
        publish(publisher, FITS + 1)
        small.send(1, "basic.consume", queue="q", no_ack=no_ack)
        plane.loop.run()
    else:
        consume(small, no_ack=no_ack)
        publish(publisher, FITS + 1)
    answers = [method for method in small.received() if method.name != "basic.consume-ok"]
    assert [method.name for method in answers] == ["connection.close"]
    queue = plane.queue("q")
    assert (queue.message_count, queue.unacked_count, queue.consumer_count) == (1, 0, 0)
    [_, delivery] = consume(large)
    assert (delivery.body, delivery.redelivered) == (b"large", False)


def test_the_text_says_what_to_do(plane: Plane, publisher: Client) -> None:
    small = plane.client(1, frame_max=FRAME_MAX)
    consume(small)
    publish(publisher, FITS + 1)
    assert closed(small)


def test_what_fits_exactly_is_delivered(plane: Plane, publisher: Client) -> None:
    small = plane.client(1, frame_max=FRAME_MAX)
    consume(small)
    publish(publisher, FITS)
    [delivery] = small.received()
    assert (delivery.name, len(delivery.header)) == ("basic.deliver", FITS)


def test_another_consumer_that_waits_gets_it_at_once(plane: Plane, publisher: Client) -> None:
    small, large = plane.client(1, frame_max=FRAME_MAX), plane.client(1)
    consume(small)
    consume(large)
    publish(publisher, FITS + 1)
    publish(publisher, 100, SERVED_OTHERWISE)
    assert [method.body for method in large.received()] == [b"large", SERVED_OTHERWISE]
    assert closed(small)


@pytest.mark.parametrize("no_ack", [False, True])
def test_who_gets_it_is_told_and_it_stays(plane: Plane, publisher: Client, no_ack: bool) -> None:
    small = plane.client(1, frame_max=FRAME_MAX)
    publish(publisher, FITS + 1)
    small.send(1, "basic.get", queue="q", no_ack=no_ack)
    assert closed(small)
    assert plane.queue("q").message_count == 1
    publisher.send(1, "basic.get", queue="q", no_ack=True)
    [got] = publisher.received()
    assert (got.body, got.redelivered) == (b"large", False)


def test_a_priority_keeps_its_place(plane: Plane, publisher: Client) -> None:
    publisher.call(1, "queue.declare", queue="p", arguments={"x-max-priority": 5})
    small = plane.client(1, frame_max=FRAME_MAX)
    publisher.publish(1, "p", b"later", priority=1)
    publisher.publish(1, "p", b"first", priority=4, headers={"text": "x" * 5000})
    small.send(1, "basic.get", queue="p")
    assert small.received()[0].name == "connection.close"
    publisher.send(1, "basic.get", queue="p", no_ack=True)
    publisher.send(1, "basic.get", queue="p", no_ack=True)
    assert [method.body for method in publisher.received()] == [b"first", b"later"]
