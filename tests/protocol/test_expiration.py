"""A message's own expiration: what is expired is never delivered."""

from tests.support.broker import until
from tests.support.wire import Channel


def test_nought_is_now_or_never(channel: Channel, queue: str) -> None:
    channel.put(queue, b"never", properties={"expiration": "0"})
    assert channel.get(queue) is None
    channel.consume(queue, no_ack=True)
    channel.publish("", queue, b"now", {"expiration": "0"})
    assert channel.expect("basic.deliver").body == b"now"


def test_expired_messages_go_and_others_stay(channel: Channel, queue: str) -> None:
    channel.put(queue, b"short", properties={"expiration": "50"})
    channel.put(queue, b"long", properties={"expiration": "600000"})
    channel.put(queue, b"for ever")
    until(lambda: channel.count(queue) == 2)
    assert channel.drain(queue) == [b"long", b"for ever"]


def test_expiration_goes_on_counting_while_unacknowledged(channel: Channel, queue: str) -> None:
    channel.put(queue, b"short", properties={"expiration": "1000"})
    held = channel.get(queue, no_ack=False)
    assert held
    channel.put(queue, b"clock", properties={"expiration": "1000"})
    until(lambda: channel.count(queue) == 0)
    channel.send("basic.reject", delivery_tag=held.delivery_tag, requeue=True)
    assert channel.get(queue) is None


def test_expiration_arrives_as_it_was_sent(channel: Channel, queue: str) -> None:
    channel.put(queue, b"x", properties={"expiration": "0600000"})
    message = channel.get(queue)
    assert message
    assert message.properties == {"expiration": "0600000"}
