"""How often a message may fail before its queue gives it up, on every type of queue, and what its headers say of it.

Failing is a reject with requeue, or the loss of the channel that held it: then only the oldest message of each consumer
counts, which may be what its consumer died of. Coming back by nack or recover is no failure.
"""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.support.codec import Method
from tests.support.wire import Channel, Client

pytestmark = pytest.mark.newer
KINDS = ({"durable": False}, {"durable": True}, {"durable": True, "type": "quorum"})
Declare = Callable[..., str]


@pytest.fixture(params=KINDS, ids=["transient", "durable", "quorum"])
def declare(request: pytest.FixtureRequest, channel: Channel, name: str) -> Iterator[Declare]:
    """Makes the queue of the test with more arguments; deleted at its end, and where its dead letters are parked."""
    kind = dict(request.param)

    def made(**arguments: Any) -> str:
        arguments = {f"x-{key.replace('_', '-')}": value for key, value in arguments.items()}
        if "type" in kind:
            arguments["x-queue-type"] = kind["type"]
        return channel.queue(name, durable=kind["durable"], arguments=arguments)

    yield made
    with_fresh_channel = channel.client.channel()
    for queue in (name, f"{name}.dead"):
        with_fresh_channel.call("queue.delete", queue=queue)


def get(channel: Channel, queue: str) -> Method:
    message = channel.get(queue, no_ack=False)
    assert message is not None
    return message


def counts(message: Method) -> tuple[Any, Any]:
    headers = message.properties.get("headers", {})
    return headers.get("x-delivery-count"), headers.get("x-acquired-count")


def reject(channel: Channel, message: Method) -> None:
    channel.send("basic.reject", delivery_tag=message.delivery_tag, requeue=True)


def test_rejected_as_often_as_the_limit_and_once_more(channel: Channel, declare: Declare) -> None:
    queue = declare(delivery_limit=2)
    channel.put(queue, b"m")
    seen = []
    for _ in range(3):
        message = get(channel, queue)
        seen.append((counts(message), message.redelivered))
        reject(channel, message)
    assert seen == [((None, None), False), ((1, 1), True), ((2, 2), True)]
    assert channel.get(queue) is None


def test_a_limit_of_zero_allows_one_delivery(channel: Channel, declare: Declare) -> None:
    queue = declare(delivery_limit=0)
    channel.put(queue, b"m")
    reject(channel, get(channel, queue))
    assert channel.get(queue) is None
    assert channel.get(f"{queue}.dead") is not None


@pytest.mark.parametrize("way", ["nack", "recover"])
def test_what_comes_back_otherwise_has_not_failed(channel: Channel, declare: Declare, way: str) -> None:
    queue = declare(delivery_limit=0)
    channel.put(queue, b"m")
    for turn in range(5):
        message = get(channel, queue)
        assert counts(message) == ((0, turn) if turn else (None, None))
        if way == "nack":
            channel.send("basic.nack", delivery_tag=message.delivery_tag, requeue=True)
        else:
            channel.call("basic.recover", requeue=True)
    assert channel.count(queue) == 1


@pytest.mark.parametrize("lost", ["channel", "connection"])
def test_of_what_is_lost_with_a_channel_the_oldest_of_each_consumer_has_failed(
    channel: Channel, other: Client, declare: Declare, lost: str
) -> None:
    queue = declare(delivery_limit=5)
    holder = other.channel()
    holder.call("basic.qos", prefetch_count=2)
    holder.consume(queue, "first")
    holder.consume(queue, "second")
    channel.put(queue, b"1", b"2", b"3", b"4")
    held: dict[str, list[bytes]] = {"first": [], "second": []}
    for _ in range(4):
        delivery = holder.expect("basic.deliver")
        held[delivery.consumer_tag].append(delivery.body)
    assert [len(bodies) for bodies in held.values()] == [2, 2]
    if lost == "channel":
        holder.close()
    else:
        other.close()
    messages = [get(channel, queue) for _ in range(4)]
    oldest = {bodies[0] for bodies in held.values()}
    assert [(message.body, counts(message)) for message in messages] == [
        (body, (int(body in oldest), 1)) for body in (b"1", b"2", b"3", b"4")
    ]
    assert all(message.redelivered for message in messages)


def test_a_consumer_that_dies_again_and_again_does_not_get_the_message_for_ever(
    channel: Channel, other: Client, declare: Declare
) -> None:
    queue = declare(delivery_limit=2)
    channel.put(queue, b"deadly", b"harmless")
    for turn in range(3):
        victim = other.channel()
        victim.call("basic.qos", prefetch_count=1)
        victim.consume(queue)
        assert (turn, victim.expect("basic.deliver").body) == (turn, b"deadly")
        victim.close()
    assert channel.drain(queue) == [b"harmless"]


def test_over_the_limit_it_is_dead_lettered(channel: Channel, declare: Declare, names: Iterator[str]) -> None:
    dead = channel.queue(next(names), exclusive=True)
    queue = declare(delivery_limit=1, dead_letter_exchange="", dead_letter_routing_key=dead)
    channel.put(queue, b"m", properties={"headers": {"kept": 1}})
    for _ in range(2):
        reject(channel, get(channel, queue))
    message = get(channel, dead)
    headers = message.properties["headers"]
    (death,) = headers["x-death"]
    assert (death["reason"], death["queue"], death["count"]) == ("delivery_limit", queue, 1)
    assert headers["x-first-death-reason"] == headers["x-last-death-reason"] == "delivery_limit"
    assert headers["kept"] == 1
    assert counts(message) == (None, None), "in this queue it was not delivered before"
    assert (message.body, message.redelivered) == (b"m", False)


def test_without_a_dead_letter_exchange_it_is_parked(channel: Channel, declare: Declare) -> None:
    queue = declare(delivery_limit=1)
    channel.put(queue, b"1", b"2", properties={"delivery_mode": 2})
    for body in (b"1", b"2"):
        for _ in range(2):
            message = get(channel, queue)
            assert message.body == body
            reject(channel, message)
    parked = f"{queue}.dead"
    assert channel.count(parked) == 2
    message = get(channel, parked)
    (death,) = message.properties["headers"]["x-death"]
    assert (message.body, death["reason"], death["queue"]) == (b"1", "delivery_limit", queue)
    assert channel.drain(parked) == [b"2"]


def test_only_what_is_over_the_limit_is_parked(channel: Channel, declare: Declare) -> None:
    queue = declare(delivery_limit=1, max_length=1)
    channel.put(queue, b"1", b"2")
    channel.send("basic.reject", delivery_tag=get(channel, queue).delivery_tag, requeue=False)
    assert channel.count(queue) == 0
    channel.client.send(channel.number, "queue.declare", queue=f"{queue}.dead", passive=True)
    channel.expect_close(404)


def test_minus_one_is_no_limit(channel: Channel, declare: Declare) -> None:
    queue = declare(delivery_limit=-1)
    channel.put(queue, b"m")
    for _ in range(30):
        reject(channel, get(channel, queue))
    assert channel.count(queue) == 1


def test_a_quorum_queue_has_no_limit_of_its_own_and_counts_all_the_same(channel: Channel, name: str) -> None:
    queue = channel.queue(name, durable=True, arguments={"x-queue-type": "quorum"})
    channel.put(queue, b"m")
    for turn in range(25):
        message = get(channel, queue)
        assert counts(message) == ((turn, turn) if turn else (None, None))
        reject(channel, message)
    channel.call("queue.delete", queue=queue)


def test_without_a_limit_a_classic_queue_says_nothing(channel: Channel, queue: str) -> None:
    channel.put(queue, b"m", properties={"headers": {"x-delivery-count": 7}})
    reject(channel, get(channel, queue))
    message = get(channel, queue)
    assert message.properties["headers"] == {"x-delivery-count": 7}, "the publisher's own header is left alone"


def test_a_header_of_the_publisher_does_not_count(channel: Channel, declare: Declare) -> None:
    queue = declare(delivery_limit=1)
    channel.put(queue, b"m", properties={"headers": {"x-delivery-count": 100}})
    reject(channel, get(channel, queue))
    message = get(channel, queue)
    assert counts(message) == (1, 1)


def test_within_a_transaction_a_failure_counts_with_the_commit(channel: Channel, declare: Declare) -> None:
    queue = declare(delivery_limit=0)
    channel.put(queue, b"m")
    tx = channel.client.channel()
    tx.call("tx.select")
    reject(tx, get(tx, queue))
    tx.call("tx.rollback")
    tx.call("tx.commit")
    assert channel.count(queue) == 0
    message_tag = 1
    tx.send("basic.reject", delivery_tag=message_tag, requeue=True)
    tx.call("tx.commit")
    assert channel.count(queue) == 0
    assert channel.drain(f"{queue}.dead") == [b"m"]
