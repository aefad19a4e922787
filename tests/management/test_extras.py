"""What goes beyond the peers: looking without touching, moving, delayed messages, pausing, refusals."""

import pytest

from tests.support.broker import until
from tests.support.http import Api
from tests.support.wire import Channel

pytestmark = pytest.mark.flowmq_only


def test_browsing_changes_nothing(api: Api, amqp: Channel, name: str) -> None:
    amqp.queue(name, exclusive=True)
    for number in range(5):
        amqp.put(name, b"body %d" % number, properties={"headers": {"parity": "odd" if number % 2 else "even"}})
    first = api.get("queues", "/", name, "messages", query="limit=2")
    assert [message["payload"] for message in first] == ["body 0", "body 1"]
    rest = api.get("queues", "/", name, "messages", query=f"after={first[-1]['sequence']}")
    assert [message["payload"] for message in rest] == ["body 2", "body 3", "body 4"]
    odd = api.get("queues", "/", name, "messages", query="header.parity=odd")
    assert [message["payload"] for message in odd] == ["body 1", "body 3"]
    assert [message["payload"] for message in api.get("queues", "/", name, "messages", query="body=4%24")] == ["body 4"]
    assert api.ask("GET", "queues", "/", name, "messages", query="body=(").status == 400
    got = amqp.get(name, no_ack=False)
    assert got is not None
    assert not got.redelivered


def test_unacknowledged_messages_are_seen(api: Api, amqp: Channel, name: str) -> None:
    amqp.queue(name, exclusive=True)
    amqp.put(name, b"abc")
    got = amqp.get(name, no_ack=False)
    assert got is not None
    [held] = api.get("queues", "/", name, "unacked")
    assert (held["delivery_tag"], held["body_bytes"], held["user"]) == (got.delivery_tag, 3, "guest")
    assert held["age_ms"] >= 0


def test_a_paused_queue_delivers_nothing_until_it_is_resumed(api: Api, amqp: Channel, name: str) -> None:
    amqp.queue(name, exclusive=True)
    amqp.consume(name, no_ack=True)
    assert api.put("queues", "/", name, "pause") == 204
    amqp.put(name, b"x")
    shown = api.get("queues", "/", name)
    assert (shown["state"], shown["messages_ready"]) == ("paused", 1)
    assert api.put("queues", "/", name, "resume") == 204
    assert amqp.expect("basic.deliver").body == b"x"


def test_why_publishes_were_refused(api: Api, amqp: Channel, name: str) -> None:
    amqp.queue(name, exclusive=True, arguments={"x-max-length": 1, "x-overflow": "reject-publish"})
    for _ in range(3):
        amqp.publish("", name, b"x")
    amqp.settle(name)
    [refusal] = [row for row in api.get("publishes-refused", "/") if row["queue"] == name]
    assert refusal == {"vhost": "/", "queue": name, "exchange": "", "reason": "max-length", "count": 2}


def test_dead_letters_go_back_to_where_they_came_from(api: Api, amqp: Channel, name: str) -> None:
    dead = f"{name}-dead"
    amqp.queue(dead, exclusive=True)
    amqp.queue(name, exclusive=True, arguments={"x-dead-letter-exchange": "", "x-dead-letter-routing-key": dead})
    for number in range(3):
        amqp.put(name, b"%d" % number)
        got = amqp.get(name, no_ack=False)
        assert got is not None
        amqp.send("basic.reject", delivery_tag=got.delivery_tag, requeue=False)
    amqp.settle(name)
    assert api.post("queues", "/", dead, "replay", body={"body": "[02]", "limit": 2})["moved"] == 2
    back = [amqp.get(name, no_ack=True) for _ in range(2)]
    assert [message.body for message in back] == [b"0", b"2"]
    assert all(message.properties["headers"]["x-replay-count"] == 1 for message in back)
    assert all("x-death" not in message.properties["headers"] for message in back)
    assert api.get("queues", "/", dead)["messages"] == 1


def test_moving_to_another_queue_loses_nothing(api: Api, amqp: Channel, name: str) -> None:
    other = f"{name}-other"
    amqp.queue(name, exclusive=True)
    amqp.queue(other, exclusive=True, arguments={"x-max-length": 2, "x-overflow": "reject-publish"})
    for number in range(4):
        amqp.put(name, b"%d" % number)
    counts = api.post("queues", "/", name, "move", body={"to_queue": other})
    assert counts == {"moved": 2, "without_a_way": 0, "refused": 2}
    assert sorted(message["payload"] for message in api.get("queues", "/", name, "messages")) == ["2", "3"]
    assert api.post("queues", "/", name, "move", body={"to_queue": "nowhere"})["without_a_way"] == 2
    assert api.ask("POST", "queues", "/", name, "move", body={}).status == 400


def test_delayed_messages_are_listed_released_and_cancelled(api: Api, amqp: Channel, name: str) -> None:
    api.put("exchanges", "/", name, body={"type": "x-delayed-message", "arguments": {"x-delayed-type": "fanout"}})
    amqp.queue(name, exclusive=True)
    amqp.call("queue.bind", queue=name, exchange=name, routing_key="")
    for number in range(3):
        amqp.publish(name, "", b"%d" % number, {"headers": {"x-delay": 3_600_000}})
    amqp.settle(name)
    waiting = api.get("exchanges", "/", name, "delayed")
    assert [message["payload"] for message in waiting] == ["0", "1", "2"]
    assert all(message["due_at"] > 0 for message in waiting)
    first, second = (str(message["sequence"]) for message in waiting[:2])
    assert api.ask("POST", "exchanges", "/", name, "delayed", first, "release").status == 204
    assert api.delete("exchanges", "/", name, "delayed", second) == 204
    assert api.delete("exchanges", "/", name, "delayed", second) == 404
    until(lambda: api.get("queues", "/", name)["messages"] == 1)
    assert [message["payload"] for message in api.get("exchanges", "/", name, "delayed")] == ["2"]
    api.delete("exchanges", "/", name)
