"""Settling deliveries: ack, nack, reject, recover; what goes back goes back to its place."""

import pytest

from tests.protocol.test_consume import numbered, take
from tests.support.wire import Channel, Client


def test_acknowledging_out_of_order_and_several_at_once(channel: Channel, queue: str) -> None:
    channel.put(queue, *numbered(10))
    channel.consume(queue, "tag")
    take(channel, 10)
    for tag in (7, 3, 5):
        channel.ack(tag)
    channel.ack(6, multiple=True)
    channel.call("basic.cancel", consumer_tag="tag")
    channel.call("basic.recover", requeue=True)
    assert channel.drain(queue) == [b"7", b"8", b"9"]


def test_zero_and_multiple_acknowledges_all(channel: Channel, queue: str) -> None:
    channel.put(queue, *numbered(4))
    channel.consume(queue, "tag")
    take(channel, 4)
    channel.ack(0, multiple=True)
    channel.call("basic.cancel", consumer_tag="tag")
    channel.call("basic.recover", requeue=True)
    assert channel.drain(queue) == []
    channel.ack(0, multiple=True)  # nothing outstanding: nothing wrong
    assert channel.count(queue) == 0


@pytest.mark.parametrize("method", ["basic.ack", "basic.nack", "basic.reject"])
@pytest.mark.parametrize("twice", [False, True])
def test_unknown_delivery_tag(channel: Channel, queue: str, method: str, twice: bool) -> None:
    channel.put(queue, b"1")
    assert channel.get(queue, no_ack=False)
    if twice:
        channel.ack(1)
    tag = 1 if twice else 99
    channel.send(method, delivery_tag=tag)
    channel.expect_close(406, f"PRECONDITION_FAILED - unknown delivery tag {tag}")


def test_multiple_beyond_the_last_tag_is_unknown(channel: Channel, queue: str) -> None:
    channel.put(queue, b"1")
    assert channel.get(queue, no_ack=False)
    channel.ack(5, multiple=True)
    channel.expect_close(406, "PRECONDITION_FAILED - unknown delivery tag 5", (60, 80))


def test_no_ack_deliveries_cannot_be_acknowledged(channel: Channel, queue: str) -> None:
    channel.put(queue, b"1")
    assert channel.get(queue, no_ack=True)
    channel.ack(1)
    channel.expect_close(406, "PRECONDITION_FAILED - unknown delivery tag 1", (60, 80))


def test_requeued_message_returns_to_its_place(channel: Channel, queue: str) -> None:
    channel.put(queue, *numbered(4))
    held = [channel.get(queue, no_ack=False) for _ in range(3)]
    assert all(held)
    channel.send("basic.reject", delivery_tag=2, requeue=True)
    again = channel.get(queue, no_ack=False)
    assert again
    assert (again.body, again.redelivered) == (b"1", True)
    last = channel.get(queue, no_ack=False)
    assert last
    assert (last.body, last.redelivered) == (b"3", False)
    channel.send("basic.nack", delivery_tag=0, multiple=True, requeue=True)
    assert channel.drain(queue) == numbered(4)


def test_returns_in_any_order_keep_the_queues_order(channel: Channel, queue: str) -> None:
    channel.put(queue, *numbered(10))
    for _ in range(8):
        channel.get(queue, no_ack=False)
    for tag in (5, 2, 8, 1, 7):
        channel.send("basic.reject", delivery_tag=tag, requeue=True)
    channel.put(queue, b"10")
    assert channel.drain(queue) == [b"0", b"1", b"4", b"6", b"7", b"8", b"9", b"10"]


def test_rejected_without_requeue_is_gone(channel: Channel, queue: str) -> None:
    channel.put(queue, *numbered(4))
    for _ in range(3):
        channel.get(queue, no_ack=False)
    channel.send("basic.reject", delivery_tag=2, requeue=False)
    channel.send("basic.nack", delivery_tag=3, multiple=True, requeue=False)
    assert channel.drain(queue) == [b"3"]


def test_nack_multiple_requeues_all_up_to_the_tag(channel: Channel, queue: str) -> None:
    channel.put(queue, *numbered(5))
    for _ in range(5):
        channel.get(queue, no_ack=False)
    channel.send("basic.nack", delivery_tag=3, multiple=True, requeue=True)
    assert channel.drain(queue) == numbered(3)


def test_requeue_goes_to_another_consumer(client: Client, channel: Channel, queue: str) -> None:
    second = client.channel()
    channel.consume(queue, "one")
    channel.put(queue, b"1")
    delivered = channel.expect("basic.deliver")
    channel.call("basic.cancel", consumer_tag="one")
    second.consume(queue, "two")
    channel.send("basic.reject", delivery_tag=delivered.delivery_tag, requeue=True)
    again = second.expect("basic.deliver")
    assert (again.body, again.redelivered) == (b"1", True)


@pytest.mark.parametrize("method", ["basic.recover", "basic.recover-async"])
def test_recover_returns_everything_unacknowledged(channel: Channel, queue: str, method: str) -> None:
    channel.consume(queue)
    channel.put(queue, *numbered(3))
    take(channel, 3)
    channel.ack(2)
    channel.send(method, requeue=True)
    if method == "basic.recover":
        seen = [channel.expect("basic.recover-ok", "basic.deliver") for _ in range(3)]
        again = [method for method in seen if method.name == "basic.deliver"]
    else:
        again = take(channel, 2)
    assert [(m.body, m.redelivered, m.delivery_tag) for m in again] == [(b"0", True, 4), (b"2", True, 5)]
