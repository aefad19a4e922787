"""Publisher confirms: every publish is answered once, whatever became of it."""

from tests.support import codec
from tests.support.wire import Channel, Client


def confirmed(channel: Channel, count: int) -> set[int]:
    """The numbers acknowledged until there are this many; none of them twice."""
    seen: set[int] = set()
    while len(seen) < count:
        ack = channel.expect("basic.ack")
        first = min(set(range(1, ack.delivery_tag + 1)) - seen) if ack.multiple else ack.delivery_tag
        numbers = set(range(first, ack.delivery_tag + 1)) - seen if ack.multiple else {ack.delivery_tag}
        assert numbers, f"{ack} confirms nothing new"
        assert not (ack.delivery_tag in seen and not ack.multiple), f"{ack} came twice"
        seen |= numbers
    assert seen == set(range(1, count + 1))
    return seen


def test_numbers_start_at_one_with_confirm_select(channel: Channel, queue: str) -> None:
    channel.publish("", queue, b"not counted")
    channel.call("confirm.select")
    channel.publish("", queue, b"1")
    ack = channel.expect("basic.ack")
    assert ack.delivery_tag == 1
    channel.call("confirm.select")  # selecting again starts nothing anew
    channel.publish("", queue, b"2")
    assert channel.expect("basic.ack").delivery_tag == 2


def test_select_nowait(channel: Channel, queue: str) -> None:
    channel.send("confirm.select", nowait=True)
    channel.publish("", queue, b"1")
    assert channel.expect("basic.ack").delivery_tag == 1


def test_every_publish_is_confirmed_routable_or_not(channel: Channel, queue: str, name: str) -> None:
    channel.call("confirm.select")
    for number in range(100):
        channel.publish("", queue if number % 3 else f"{name}-nobody", b"x")
    confirmed(channel, 100)


def test_publishes_in_one_write_are_confirmed(channel: Channel, queue: str) -> None:
    channel.call("confirm.select")
    publish = codec.method_frame(channel.number, "basic.publish", exchange="", routing_key=queue)
    channel.client.write((publish + channel.content(b"x" * 100)) * 5000)
    confirmed(channel, 5000)
    assert channel.count(queue) == 5000


def test_persistent_messages_to_durable_queues_are_confirmed(channel: Channel, name: str) -> None:
    channel.queue(name, durable=True)
    channel.call("confirm.select")
    for _ in range(20):
        channel.publish("", name, b"x", {"delivery_mode": 2})
    confirmed(channel, 20)
    assert channel.call("queue.delete", queue=name).message_count == 20


def test_confirm_comes_once_for_many_queues(channel: Channel, name: str) -> None:
    channel.call("exchange.declare", exchange=name, type="fanout", auto_delete=True)
    queues = [channel.queue(exclusive=True) for _ in range(5)]
    for queue in queues:
        channel.call("queue.bind", queue=queue, exchange=name)
    channel.call("confirm.select")
    for _ in range(10):
        channel.publish(name, "", b"x")
    confirmed(channel, 10)
    assert [channel.count(queue) for queue in queues] == [10] * 5


def test_refused_publish_is_neither_acked_nor_nacked(channel: Channel, name: str) -> None:
    channel.call("confirm.select")
    channel.publish(f"{name}-no-exchange", "k", b"x")
    channel.expect_close(404, None, (60, 40))


def test_confirm_mode_is_the_channels_own(client: Client, channel: Channel, queue: str) -> None:
    channel.call("confirm.select")
    second = client.channel()
    second.publish("", queue, b"x")
    assert second.settle(queue) == []


def test_confirms_do_not_wait_for_consumers(channel: Channel, queue: str) -> None:
    """Taking responsibility is the broker's part; a consumer that never acknowledges holds up nobody."""
    channel.consume(queue, "tag")
    channel.call("confirm.select")
    for _ in range(3):
        channel.publish("", queue, b"x")
    kinds = [channel.expect("basic.ack", "basic.deliver") for _ in range(4)]
    assert any(method.name == "basic.ack" for method in kinds)


def test_refusing_queue_nacks(channel: Channel, name: str) -> None:
    channel.queue(name, exclusive=True, arguments={"x-max-length": 2, "x-overflow": "reject-publish"})
    channel.call("confirm.select")
    answers: dict[int, str] = {}
    for number in range(1, 5):
        channel.publish("", name, b"%d" % number)
        answer = channel.expect("basic.ack", "basic.nack")
        answers[answer.delivery_tag] = answer.name
    assert answers == {1: "basic.ack", 2: "basic.ack", 3: "basic.nack", 4: "basic.nack"}
    assert channel.drain(name) == [b"1", b"2"]
