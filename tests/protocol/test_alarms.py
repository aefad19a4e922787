"""While an alarm is in force publishes are held back, and nothing else is: on the very connection that publishes."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.broker import Broker, until
from tests.support.wire import Channel, connect

pytestmark = pytest.mark.flowmq_only  # the limits are settings of FlowMQ's
OwnBroker = Callable[..., Broker]
LIMIT = 1 << 20
BODY = b"x" * (16 << 10)
NOT_FULL = {"FLOWMQ_LIMITS__MEMORY_BYTES_MAX": str(LIMIT)}


def fill(channel: Channel, queue: str) -> tuple[int, int]:
    """Publish until the broker says that it is blocked: how many are in the queue then, and how many held"""
    client = channel.client
    aside = client.channel()
    channel.call("confirm.select")
    for number in range(1, 1000):
        channel.publish("", queue, BODY)
        count = aside.count(queue)
        if client.pending(0):
            assert client.expect("connection.blocked").reason == "low on memory"
            channel.take_pending()
            return count, number - count
        channel.wait_for_confirms(1)
    raise AssertionError("never blocked")


class Filled:
    """A broker whose memory is full of one queue, and the connection that filled it, on which it still publishes."""

    def __init__(self, broker: Broker) -> None:
        self.broker = broker
        self.client = connect(broker.peer)
        self.channel = self.client.channel()
        self.queue = self.channel.queue()
        self.count, held = fill(self.channel, self.queue)
        self.held = [BODY] * held  # before anything that a test publishes
        self.published = self.count + held
        self.aside = self.client.channel()

    def now_there(self, count: int) -> bool:
        """Have so many of those that were held come to the queue?"""
        return self.aside.count(self.queue) == len(self.held) + count

    def drain(self) -> None:
        with connect(self.broker.peer) as consumer:
            channel = consumer.channel()
            for _ in range(self.count):
                assert channel.get(self.queue)
            self.client.expect("connection.unblocked")
            consumer.close()

    def end(self) -> None:
        self.client.close()
        self.broker.stop()


@pytest.fixture
def filled(own_broker: OwnBroker) -> Filled:
    return Filled(own_broker(**NOT_FULL))


def test_everything_but_publishes_goes_on_on_the_same_channel(filled: Filled) -> None:
    channel, work = filled.channel, filled.aside.queue()
    for number in range(5):
        channel.publish("", filled.queue, b"held %d" % number)
    # The answers come behind whatever the publishes had led to.
    assert channel.call("queue.declare", queue="new one", exclusive=True).queue == "new one"
    channel.call("exchange.declare", exchange="new exchange", type="fanout", auto_delete=True)
    channel.call("queue.bind", queue="new one", exchange="new exchange")
    channel.call("basic.qos", prefetch_count=2)
    tag = channel.consume(filled.queue)
    first, second = channel.expect("basic.deliver"), channel.expect("basic.deliver")
    channel.ack(first.delivery_tag)
    third = channel.expect("basic.deliver")  # in place of the one that was acknowledged
    channel.call("basic.cancel", consumer_tag=tag)
    channel.send("basic.nack", delivery_tag=second.delivery_tag, requeue=True)
    channel.send("basic.reject", delivery_tag=third.delivery_tag, requeue=True)
    assert channel.count(filled.queue) == filled.count - 1
    assert channel.get(work) is None
    assert channel.call("queue.delete", queue=work).message_count == 0
    other = filled.client.channel()
    other.close()
    filled.count -= 1
    filled.drain()
    until(lambda: filled.now_there(5))
    assert filled.aside.drain(filled.queue) == filled.held + [b"held %d" % number for number in range(5)]
    filled.end()


def test_held_publishes_are_confirmed_in_order_once_they_are_in_their_queues(filled: Filled) -> None:
    channel = filled.channel
    for number in range(3):
        channel.publish("", filled.queue, b"%d" % number)
    channel.publish("", "nowhere", b"3", mandatory=True)
    assert filled.aside.count(filled.queue) == filled.count
    filled.drain()
    returned = []
    confirmed = 0
    while confirmed < filled.published + 4:
        method = channel.expect("basic.ack", "basic.return")
        if method.name == "basic.return":
            returned.append(method.body)
        else:
            confirmed = method.delivery_tag
    assert returned == [b"3"]
    assert filled.aside.drain(filled.queue) == [*filled.held, b"0", b"1", b"2"]
    filled.end()


def test_what_was_held_goes_on_although_its_channel_or_connection_has_ended(filled: Filled) -> None:
    channel = filled.channel
    channel.publish("", filled.queue, b"of a channel that was closed")
    channel.close()
    with connect(filled.broker.peer) as other:
        writer = other.channel()
        writer.publish("", filled.queue, b"of a connection that was closed")
        other.expect("connection.blocked")
        other.close()
    with connect(filled.broker.peer) as other:
        writer = other.channel()
        writer.publish("", filled.queue, b"of a connection that was lost")
        writer.count(filled.queue)
    filled.drain()
    until(lambda: filled.now_there(3))
    assert sorted(filled.aside.drain(filled.queue)[len(filled.held) :]) == [
        b"of a channel that was closed",
        b"of a connection that was closed",
        b"of a connection that was lost",
    ]
    filled.end()


def test_a_queue_that_goes_takes_what_was_held_for_it_along(filled: Filled) -> None:
    channel = filled.channel
    going = filled.aside.queue()
    channel.publish("", going, b"held for a queue that goes")
    channel.publish("", filled.queue, b"held")
    channel.call("queue.delete", queue=going)
    filled.drain()
    until(lambda: filled.now_there(1))
    filled.end()


def test_held_publishes_keep_the_bindings_they_were_published_by(filled: Filled) -> None:
    channel = filled.channel
    channel.call("exchange.declare", exchange="held", type="fanout", auto_delete=True)
    bound = channel.queue(exclusive=True)
    channel.call("queue.bind", queue=bound, exchange="held")
    channel.publish("held", "", b"while it was bound")
    channel.call("queue.unbind", queue=bound, exchange="held")
    filled.drain()
    until(lambda: filled.aside.count(bound) == 1)
    filled.end()


def test_direct_replies_are_not_held_back(own_broker: OwnBroker) -> None:
    broker = own_broker(**NOT_FULL)
    asker, responder = connect(broker.peer), connect(broker.peer)
    asking, answering = asker.channel(), responder.channel()
    work, queue = answering.queue(), answering.queue()
    asking.consume("amq.rabbitmq.reply-to", no_ack=True)
    asking.publish("", work, b"?", {"reply_to": "amq.rabbitmq.reply-to"})
    until(lambda: answering.count(work) == 1)
    question = answering.get(work)
    assert question is not None
    fill(responder.channel(), queue)
    answering.publish("", question.properties["reply_to"], b"!")
    assert asking.expect("basic.deliver").body == b"!"
    asker.close()
    responder.close()
    broker.stop()


def test_what_is_above_the_buffer_is_refused_when_that_is_set(own_broker: OwnBroker) -> None:
    broker = own_broker(**NOT_FULL, FLOWMQ_LIMITS__ON_ALARM="nack", FLOWMQ_LIMITS__HELD_BYTES_MAX="40000")
    filled = Filled(broker)
    channel = filled.channel
    last = filled.published
    for _ in range(10 - len(filled.held)):
        channel.publish("", filled.queue, BODY)
        last += 1
    # Three fit; the others are refused while the alarm lasts, each at once.
    refused = [channel.expect("basic.nack").delivery_tag for _ in range(7)]
    assert refused == list(range(last - 6, last + 1))
    filled.drain()
    while channel.expect("basic.ack").delivery_tag < last - 7:
        pass
    assert filled.aside.count(filled.queue) == 3
    filled.end()


def test_a_transaction_is_committed_when_there_is_room(own_broker: OwnBroker) -> None:
    broker = own_broker(**NOT_FULL)
    filled = Filled(broker)
    with connect(broker.peer) as client:
        channel = client.channel()
        channel.call("tx.select")
        channel.publish("", filled.queue, b"staged")
        client.expect("connection.blocked")
        channel.send("tx.commit")
        assert filled.aside.count(filled.queue) == filled.count
        filled.drain()
        client.expect("connection.unblocked")
        channel.expect("tx.commit-ok")
        assert filled.now_there(1)
        client.close()
    filled.end()


def test_held_persistent_messages_are_kept_when_the_broker_stops(own_broker: OwnBroker) -> None:
    broker = own_broker(**NOT_FULL)
    filled = Filled(broker)
    durable = filled.aside.queue("durable", durable=True)
    filled.channel.publish("", durable, b"held", {"delivery_mode": 2})
    filled.aside.count(durable)
    broker.terminate()
    filled.client.expect_close(320)
    assert broker.wait() == 0
    broker.check_log()
    again = broker.again()
    channel = connect(again.peer).channel()
    assert channel.drain(durable) == [b"held"]
    channel.client.close()
    again.stop()


def free_bytes(path: Path) -> int:
    found = os.statvfs(path)
    return found.f_bavail * found.f_frsize


MARGIN = 1 << 30


@pytest.fixture
def roomy(tmp_path: Path) -> Path:
    if free_bytes(tmp_path) < 6 * MARGIN:
        pytest.skip("less than 6 GiB of disk are free here")
    return tmp_path


def test_the_disk_alarm_comes_and_goes_with_the_room(own_broker: OwnBroker, roomy: Path) -> None:
    broker = own_broker(FLOWMQ_LIMITS__DISK_FREE_BYTES_MIN=str(free_bytes(roomy) - 2 * MARGIN))
    client = connect(broker.peer)
    channel = client.channel()
    queue = channel.queue()
    channel.put(queue, b"before")
    filler = roomy / "filler"
    with filler.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, 4 * MARGIN)
    broker.log.wait_for("disk alarm")
    channel.publish("", queue, b"held")
    assert client.expect("connection.blocked").reason == "low on disk"
    assert channel.drain(queue) == [b"before"]
    filler.unlink()
    broker.log.wait_for("disk alarm cleared")
    client.expect("connection.unblocked")
    until(lambda: channel.count(queue) == 1)
    client.close()
    broker.stop()


def test_both_alarms_at_once(own_broker: OwnBroker) -> None:
    broker = own_broker(**NOT_FULL, FLOWMQ_LIMITS__DISK_FREE_SHARE_MIN="0.999999")
    broker.log.wait_for("disk alarm: ")
    client = connect(broker.peer)
    channel = client.channel()
    channel.publish("", "nowhere", b"")
    assert client.expect("connection.blocked").reason == "low on disk"
    # One message that takes all memory before it is whole; its sender is not read any more.
    channel.publish("", "nowhere", b"x" * (2 * LIMIT))
    broker.log.wait_for("memory alarm: ")
    with connect(broker.peer) as other:
        other.channel().publish("", "nowhere", b"")
        assert other.expect("connection.blocked").reason == "low on memory & disk"
    client.drop()
    broker.stop()
