"""What a restart keeps, case by case: contents, order and marks of messages, settlements, and what must be gone."""

from decimal import Decimal
from typing import Any

import pytest

from tests.crash.conftest import AGAINST_RABBITMQ, Lasting
from tests.support import codec
from tests.support.broker import until
from tests.support.codec import Typed
from tests.support.wire import Channel

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240 if AGAINST_RABBITMQ else 60)]
PERSISTENT = {"delivery_mode": 2}
HEADERS = {
    "text": "äöü",
    "octets": b"\0\xff",
    "number": -5,
    "long": 2**40,
    "float": 0.5,
    "decimal": Decimal("1.25"),
    "true": True,
    "nothing": None,
    "time": Typed("T", 1_700_000_000),
    "list": [1, "two", {"three": 3}],
    "table": {"inner": {"most": "x" * 300}},
}
ALL_PROPERTIES = {
    "content_type": "text/plain",
    "content_encoding": "utf-8",
    "headers": HEADERS,
    "delivery_mode": 2,
    "priority": 7,
    "correlation_id": "c" * 255,
    "reply_to": "answers",
    "expiration": "86400000",
    "message_id": "m-1",
    "timestamp": 1_700_000_000,
    "type": "kind",
    "user_id": "guest",
    "app_id": "tests",
    "cluster_id": "cluster",
}
BODY_SIZES = (0, 1, 4096, 131064, 131065, 1 << 20)


def put(channel: Channel, queue: str, *bodies: bytes) -> None:
    channel.put(queue, *bodies, properties=PERSISTENT)


def contents(channel: Channel, queue: str) -> list[tuple[bytes, bool]]:
    """Bodies and marks of all that is in the queue. RabbitMQ's marks are left out: after a kill it sets them all."""
    found = []
    while (message := channel.get(queue)) is not None:
        found.append((message.body, message.redelivered and not AGAINST_RABBITMQ))
    return found


def unseen(*bodies: bytes) -> list[tuple[bytes, bool]]:
    return [(body, False) for body in bodies]


# ------------------------------------------------------------------------------------------------------- contents


@pytest.mark.parametrize("properties", [PERSISTENT, ALL_PROPERTIES], ids=["one", "all"])
def test_body_and_properties_come_back_octet_for_octet(lasting: Lasting, properties: dict[str, Any]) -> None:
    bodies = [bytes([number]) * size for number, size in enumerate(BODY_SIZES)]
    lasting.channel.queue("q", durable=True)
    lasting.channel.put("q", *bodies, properties=properties)
    channel = lasting.restart()
    for body in bodies:
        message = channel.get("q")
        assert message
        assert message.body == body
        assert message.header[12:] == codec.encode_properties(properties)
    assert channel.get("q") is None


def test_exchange_and_routing_key_come_back(lasting: Lasting) -> None:
    keys = ["", "a.b", "k" * 255, b"\xff\xfe".decode("utf-8", "surrogateescape")]
    channel = lasting.channel
    channel.call("exchange.declare", exchange="x", type="fanout", durable=True)
    channel.queue("q", durable=True)
    channel.call("queue.bind", queue="q", exchange="x")
    channel.call("confirm.select")
    for key in keys:
        channel.publish("x", key, b"", PERSISTENT)
    channel.wait_for_confirms(len(keys))
    channel = lasting.restart()
    for key in keys:
        message = channel.get("q")
        assert message
        assert (message.exchange, message.routing_key) == ("x", key)


def test_order_is_kept_over_many_restarts(killed: Lasting) -> None:
    bodies = [b"%d" % number for number in range(300)]
    killed.channel.queue("q", durable=True)
    for first in range(0, 300, 100):
        put(killed.channel, "q", *bodies[first : first + 100])
        killed.restart()
    assert contents(killed.channel, "q") == unseen(*bodies)


def test_messages_of_many_queues_stay_apart(killed: Lasting) -> None:
    names = [f"q-{number}" for number in range(200)]
    for name in names:
        killed.channel.queue(name, durable=True)
    for name in names:
        put(killed.channel, name, name.encode())
    channel = killed.restart()
    for name in names:
        assert contents(channel, name) == unseen(name.encode())


@pytest.mark.flowmq_only
def test_one_message_in_many_queues_is_settled_in_each_alone(lasting: Lasting) -> None:
    channel = lasting.channel
    names = ["a", "b", "c"]
    for name in names:
        channel.queue(name, durable=True)
        channel.call("queue.bind", queue=name, exchange="amq.fanout")
    channel.call("confirm.select")
    channel.publish("amq.fanout", "", b"once" * 10_000, PERSISTENT)
    channel.wait_for_confirms(1)
    assert channel.get("a")
    lasting.sync()
    for expected in (["b", "c"], ["c"], []):
        channel = lasting.restart()
        assert [name for name in names if channel.count(name)] == expected
        if expected:
            message = channel.get(expected[0])
            assert message
            assert message.body == b"once" * 10_000
            lasting.sync()


def test_transient_messages_are_forgotten(lasting: Lasting) -> None:
    lasting.channel.queue("q", durable=True)
    lasting.channel.put("q", b"transient")
    put(lasting.channel, "q", b"persistent")
    lasting.channel.put("q", b"transient", properties={"delivery_mode": 1})
    assert contents(lasting.restart(), "q") == unseen(b"persistent")


# ------------------------------------------------------------------------------------- settlements, order and marks


@pytest.mark.flowmq_only
def test_marks_and_order_after_requeue(lasting: Lasting) -> None:
    channel = lasting.channel
    channel.queue("q", durable=True)
    bodies = [b"%d" % number for number in range(10)]
    put(channel, "q", *bodies)
    taken = [channel.get("q", no_ack=False) for _ in range(5)]
    for message in (taken[1], taken[3]):
        assert message
        channel.send("basic.nack", delivery_tag=message.delivery_tag, requeue=True)
    lasting.sync()
    channel = lasting.restart()
    assert contents(channel, "q") == [(body, int(body) < 5) for body in bodies]


@pytest.mark.flowmq_only
def test_mark_stays_over_two_restarts(killed: Lasting) -> None:
    killed.channel.queue("q", durable=True)
    put(killed.channel, "q", b"1", b"2")
    assert killed.channel.get("q", no_ack=False)
    killed.sync()
    killed.restart()
    assert contents(killed.restart(), "q") == [(b"1", True), (b"2", False)]


@pytest.mark.flowmq_only
def test_mark_of_a_connection_that_ended_before(killed: Lasting) -> None:
    killed.channel.queue("q", durable=True)
    put(killed.channel, "q", b"1", b"2")
    assert killed.channel.get("q", no_ack=False)
    killed.reconnect()
    killed.sync()
    assert contents(killed.restart(), "q") == [(b"1", True), (b"2", False)]


@pytest.mark.parametrize("settle", ["basic.ack", "basic.reject", "basic.nack"])
@pytest.mark.flowmq_only
def test_settled_messages_stay_away(lasting: Lasting, settle: str) -> None:
    """A call answered behind the settlement vouches for it."""
    channel = lasting.channel
    channel.queue("q", durable=True)
    put(channel, "q", *[b"%d" % number for number in range(10)])
    for _ in range(10):
        message = channel.get("q", no_ack=False)
        assert message
        if int(message.body) % 2:
            channel.send(settle, delivery_tag=message.delivery_tag)
    channel.call("basic.qos", prefetch_count=1)
    assert contents(lasting.restart(), "q") == [(b"%d" % number, True) for number in range(0, 10, 2)]


@pytest.mark.flowmq_only
def test_messages_taken_without_ack_stay_away(lasting: Lasting) -> None:
    channel = lasting.channel
    channel.queue("q", durable=True)
    put(channel, "q", b"1", b"2", b"3")
    assert channel.get("q")
    channel.call("basic.qos", prefetch_count=1)
    assert contents(lasting.restart(), "q") == unseen(b"2", b"3")


def test_purge(lasting: Lasting) -> None:
    lasting.channel.queue("q", durable=True)
    put(lasting.channel, "q", b"1", b"2")
    assert lasting.channel.call("queue.purge", queue="q").message_count == 2
    put(lasting.channel, "q", b"3")
    assert contents(lasting.restart(), "q") == unseen(b"3")


def test_purge_alone(lasting: Lasting) -> None:
    lasting.channel.queue("q", durable=True)
    put(lasting.channel, "q", b"1", b"2")
    lasting.channel.call("queue.purge", queue="q")
    assert contents(lasting.restart(), "q") == []


def test_expiration_goes_on(lasting: Lasting) -> None:
    channel = lasting.channel
    channel.queue("q", durable=True)
    for expiration in ("86400000", "2000"):
        channel.put("q", expiration.encode(), properties={**PERSISTENT, "expiration": expiration})
    channel = lasting.restart()
    message = channel.get("q")
    assert message
    assert (message.body, message.properties["expiration"]) == (b"86400000", "86400000")
    until(lambda: channel.count("q") == 0)


def test_expired_while_the_broker_was_away(lasting: Lasting) -> None:
    channel = lasting.channel
    channel.queue("q", durable=True)
    channel.put("q", b"short", properties={**PERSISTENT, "expiration": "1"})
    put(channel, "q", b"long")
    assert contents(lasting.restart(), "q") == unseen(b"long")


# --------------------------------------------------------------------------------------------------- transactions


def test_transactions_are_kept_whole_or_not_at_all(lasting: Lasting) -> None:
    channel = lasting.channel
    for name in ("a", "b"):
        channel.queue(name, durable=True)
    channel.call("tx.select")
    for name in ("a", "b"):
        channel.publish("", name, b"committed", PERSISTENT)
    channel.call("tx.commit")
    channel.publish("", "a", b"rolled back", PERSISTENT)
    channel.call("tx.rollback")
    channel.publish("", "b", b"left open", PERSISTENT)
    channel.call("basic.qos", prefetch_count=1)
    channel = lasting.restart()
    assert contents(channel, "a") == contents(channel, "b") == unseen(b"committed")


@pytest.mark.flowmq_only
def test_committed_ack_is_final(lasting: Lasting) -> None:
    channel = lasting.channel
    channel.queue("q", durable=True)
    put(channel, "q", b"1", b"2")
    channel.call("tx.select")
    for _ in range(2):
        message = channel.get("q", no_ack=False)
        assert message
        if message.body == b"1":
            channel.ack(message.delivery_tag)
    channel.call("tx.commit")
    assert contents(lasting.restart(), "q") == [(b"2", True)]
