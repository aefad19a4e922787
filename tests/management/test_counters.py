"""What channels and consumers have counted, and requests without a body."""

from typing import Any

import pytest

from tests.support.http import Api, fetch
from tests.support.wire import Channel

pytestmark = pytest.mark.flowmq_only


def test_deliveries_by_channel_and_by_queue(api: Api, amqp: Channel, name: str) -> None:
    amqp.queue(name)
    amqp.consume(name, "first")
    amqp.consume(name, "second", no_ack=True)
    amqp.put(name, b"1", b"2", b"3", b"4")
    amqp.ask("basic.cancel", consumer_tag="second")
    [by_channel] = api.get("queues", "/", name)["deliveries"]
    assert (by_channel["stats"]["deliver"], by_channel["stats"]["deliver_get"]) == (2, 2)
    assert by_channel["stats"]["deliver_details"].keys() == {"rate"}
    channel = api.get("channels", by_channel["channel_details"]["name"])
    assert [(one["queue"]["name"], one["stats"]["deliver"]) for one in channel["deliveries"]] == [(name, 2)]
    # What cancelled consumers were sent still counts for the channel.
    counted = {kind: channel["message_stats"][kind] for kind in ("deliver", "deliver_no_ack", "deliver_get", "get")}
    assert counted == {"deliver": 2, "deliver_no_ack": 2, "deliver_get": 4, "get": 0}


def test_what_a_channel_published_got_and_was_returned(api: Api, amqp: Channel, name: str) -> None:
    amqp.call("confirm.select")
    amqp.queue(name)
    amqp.publish("", name, b"kept")
    amqp.publish("", "nobody has this", b"dropped")
    amqp.wait_for_confirms(2)
    amqp.publish("", "nobody has this", b"returned", mandatory=True)
    amqp.expect("basic.return")
    amqp.wait_for_confirms(1)
    assert amqp.get(name, no_ack=False) is not None
    assert amqp.get(name) is None
    [stats] = [one["message_stats"] for one in api.get("channels") if one["message_stats"]["return_unroutable"]]
    counted = {kind: count for kind, count in stats.items() if not kind.endswith("_details") and count}
    once = {"return_unroutable": 1, "drop_unroutable": 1, "get": 1, "get_empty": 1, "deliver_get": 1}
    assert counted == {"publish": 3, "confirm": 3, **once}


def test_the_timestamp_of_the_message_that_is_next(api: Api, amqp: Channel, name: str) -> None:
    def head() -> Any:
        return api.get("queues", "/", name)["head_message_timestamp"]

    before = {"content_type": "text/plain", "content_encoding": "utf-8", "headers": {"n": 1}, "delivery_mode": 2}
    before |= {"priority": 3, "correlation_id": "c", "reply_to": "r", "expiration": "600000", "message_id": "m"}
    everything: dict[str, Any] = {**before, "type": "t", "app_id": "a"}
    amqp.queue(name)
    assert head() is None
    amqp.put(name, b"first", properties={"timestamp": 1_700_000_001})
    amqp.put(name, b"second", properties={**everything, "timestamp": 1_700_000_002})
    amqp.put(name, b"third", properties=everything)
    assert head() == 1_700_000_001
    first = amqp.get(name, no_ack=False)
    assert first is not None
    assert head() == 1_700_000_002
    amqp.send("basic.reject", delivery_tag=first.delivery_tag, requeue=True)
    assert amqp.count(name) == 3
    assert head() == 1_700_000_001  # it is back in its place
    assert amqp.get(name) is not None
    assert amqp.get(name) is not None
    assert head() is None  # the third has none


def test_the_timestamp_of_the_one_with_the_highest_priority(api: Api, amqp: Channel, name: str) -> None:
    amqp.queue(name, arguments={"x-max-priority": 5})
    assert api.get("queues", "/", name)["head_message_timestamp"] is None
    amqp.put(name, b"low", properties={"timestamp": 1, "priority": 1})
    amqp.put(name, b"high", properties={"timestamp": 2, "priority": 4})
    assert api.get("queues", "/", name)["head_message_timestamp"] == 2


def test_head_and_options(api: Api, name: str) -> None:
    for number in range(300):  # more than one piece
        api.put("queues", "/", f"{name}-{number}")
    for path in ("queues", "overview"):
        answer = api.ask("HEAD", path)
        assert (answer.status, answer.body) == (200, b"")
    allowed = fetch(api.port, "OPTIONS", "/api/queues")
    assert (allowed.status, allowed.headers["allow"]) == (200, "GET,HEAD")
    for number in range(300):
        api.delete("queues", "/", f"{name}-{number}")
