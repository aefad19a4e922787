"""basic.get: one message at a time, with how many are left."""

from tests.support.wire import Channel, Client


def test_get_from_an_empty_queue(channel: Channel, queue: str) -> None:
    assert channel.get(queue) is None


def test_get_tells_how_many_are_left(channel: Channel, queue: str) -> None:
    channel.put(queue, b"1", b"2", b"3")
    left = []
    while (message := channel.get(queue)) is not None:
        left.append((message.body, message.message_count, message.redelivered))
    assert left == [(b"1", 2, False), (b"2", 1, False), (b"3", 0, False)]


def test_get_with_acknowledgement(client: Client, channel: Channel, queue: str) -> None:
    channel.put(queue, b"1", b"2")
    second = client.channel()
    first = second.get(queue, no_ack=False)
    assert first
    other = channel.get(queue, no_ack=False)
    assert other
    assert (first.delivery_tag, other.delivery_tag) == (1, 1)
    second.close()
    again = channel.get(queue, no_ack=False)
    assert again
    assert (again.body, again.redelivered, again.delivery_tag) == (b"1", True, 2)
    channel.ack(2, multiple=True)
    assert channel.get(queue) is None


def test_get_from_nothing_is_refused(channel: Channel, name: str) -> None:
    channel.send("basic.get", queue=name)
    channel.expect_close(404, f"NOT_FOUND - no queue '{name}' in vhost '/'", (60, 70))


def test_get_beside_a_consumer_with_full_credit(channel: Channel, queue: str) -> None:
    channel.call("basic.qos", prefetch_count=1)
    channel.consume(queue, "tag")
    channel.put(queue, b"1", b"2")
    assert channel.expect("basic.deliver").body == b"1"
    message = channel.get(queue)
    assert message
    assert message.body == b"2"
