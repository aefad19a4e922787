"""What channels and consumers have counted, and requests without a body."""

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
