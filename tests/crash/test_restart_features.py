"""What a restart keeps of what queues and exchanges do beyond keeping messages: times, orders, counts, memories."""

import time
from typing import Any

import pytest

from tests.crash.conftest import Lasting
from tests.support.broker import until
from tests.support.codec import Method
from tests.support.wire import Channel

pytestmark = [pytest.mark.slow, pytest.mark.flowmq_only, pytest.mark.timeout(60)]
PERSISTENT = {"delivery_mode": 2}
LONG_MS = 3_600_000
LATER_MS = 4000  # longer than a restart takes
SOON_MS = 300  # over when the broker is back


def declare(channel: Channel, name: str = "q", **arguments: Any) -> str:
    arguments = {f"x-{key.replace('_', '-')}": value for key, value in arguments.items()}
    return channel.queue(name, durable=True, arguments=arguments)


def declare_exchange(channel: Channel, name: str, type: str, **arguments: Any) -> str:
    arguments = {f"x-{key.replace('_', '-')}": value for key, value in arguments.items()}
    channel.call("exchange.declare", exchange=name, type=type, durable=True, arguments=arguments)
    return name


def put(channel: Channel, queue: str, *bodies: bytes, exchange: str = "", **properties: Any) -> None:
    through = channel.client.confirming()
    for body in bodies:
        through.publish(exchange, queue, body, {**PERSISTENT, **properties})
    through.wait_for_confirms(len(bodies))


def get(channel: Channel, queue: str = "q", *, no_ack: bool = False) -> Method:
    message = channel.get(queue, no_ack=no_ack)
    assert message is not None
    return message


def send_back(channel: Channel, message: Method, way: str = "reject") -> None:
    channel.send(f"basic.{way}", delivery_tag=message.delivery_tag, requeue=True)


def counts(message: Method) -> tuple[Any, Any]:
    headers = message.properties.get("headers", {})
    return headers.get("x-delivery-count"), headers.get("x-acquired-count")


def wait_until_empty(channel: Channel, queue: str) -> None:
    until(lambda: channel.count(queue) == 0)


# ----------------------------------------------------------------------------------------------- order and limits


def test_priorities_keep_their_order(lasting: Lasting) -> None:
    declare(lasting.channel, max_priority=5)
    for body, priority in ((b"a0", 0), (b"b5", 5), (b"c2", 2), (b"d5", 5), (b"e9", 9), (b"f2", 2), (b"g0", 0)):
        put(lasting.channel, "q", body, priority=priority)
    held = get(lasting.channel)
    assert held.body == b"b5"
    channel = lasting.restart()
    put(channel, "q", b"h5", priority=5)
    assert channel.count("q") == 8
    assert channel.drain("q") == [b"b5", b"d5", b"e9", b"h5", b"c2", b"f2", b"a0", b"g0"]


def test_a_limit_holds_after_it(lasting: Lasting) -> None:
    declare(lasting.channel, max_length=3)
    put(lasting.channel, "q", b"1", b"2", b"3", b"4")
    channel = lasting.restart()
    assert channel.count("q") == 3
    put(channel, "q", b"5")
    assert channel.drain("q") == [b"3", b"4", b"5"]


def test_refusing_goes_on(lasting: Lasting) -> None:
    declare(lasting.channel, max_length=1, overflow="reject-publish")
    put(lasting.channel, "q", b"1")
    channel = lasting.restart()
    channel.call("confirm.select")
    channel.publish("", "q", b"2", PERSISTENT)
    channel.expect("basic.nack")
    assert channel.drain("q") == [b"1"]


# -------------------------------------------------------------------------------------------------------- time


@pytest.mark.parametrize("by", ["queue", "message"])
def test_time_to_live_goes_on_while_the_broker_is_down(lasting: Lasting, by: str) -> None:
    declare(lasting.channel, "dead")
    dead = {"dead_letter_exchange": "", "dead_letter_routing_key": "dead"}
    declare(lasting.channel, **dead, **({"message_ttl": SOON_MS} if by == "queue" else {}))
    begun = time.time()
    put(lasting.channel, "q", b"m", **({} if by == "queue" else {"expiration": str(SOON_MS)}))
    channel = lasting.restart()
    until(lambda: channel.count("dead") == 1)
    (death,) = get(channel, "dead").properties["headers"]["x-death"]
    assert (death["queue"], death["reason"]) == ("q", "expired")
    assert time.time() - begun >= SOON_MS / 1000


def test_time_to_live_is_not_begun_anew(lasting: Lasting) -> None:
    declare(lasting.channel, message_ttl=LATER_MS)
    begun = time.monotonic()
    put(lasting.channel, "q", b"m")
    channel = lasting.restart()
    restarted = time.monotonic()
    wait_until_empty(channel, "q")
    over = time.monotonic()
    assert over - begun >= LATER_MS / 1000 - 0.01
    assert over - restarted < LATER_MS / 1000, "it has counted from the restart"


def test_a_delayed_message_comes_in_its_time(lasting: Lasting) -> None:
    declare_exchange(lasting.channel, "x", "x-delayed-message", delayed_type="direct")
    declare(lasting.channel)
    lasting.channel.call("queue.bind", queue="q", exchange="x", routing_key="k")
    begun = time.monotonic()
    for body, delay in ((b"late", LATER_MS), (b"overdue", SOON_MS), (b"first", 1), (b"last", LATER_MS + 50)):
        put(lasting.channel, "k", body, exchange="x", headers={"x-delay": delay})
    put(lasting.channel, "k", b"much later", exchange="x", headers={"x-delay": LONG_MS})
    channel = lasting.restart()
    channel.consume("q", no_ack=True)
    deliveries = [channel.expect("basic.deliver") for _ in range(2)]
    assert [delivery.body for delivery in deliveries] == [b"first", b"overdue"]
    deliveries += [channel.expect("basic.deliver") for _ in range(2)]
    assert time.monotonic() - begun >= (LATER_MS + 50) / 1000 - 0.01
    assert [delivery.body for delivery in deliveries[2:]] == [b"late", b"last"]
    assert [delivery.properties["headers"]["x-delay"] for delivery in deliveries] == [
        -1,
        -SOON_MS,
        -LATER_MS,
        -LATER_MS - 50,
    ]
    assert channel.settle("q") == []


def test_a_delayed_message_is_lost_with_its_exchange_and_without_its_persistence(lasting: Lasting) -> None:
    declare_exchange(lasting.channel, "x", "x-delayed-message", delayed_type="fanout")
    declare(lasting.channel)
    lasting.channel.call("queue.bind", queue="q", exchange="x")
    put(lasting.channel, "", b"deleted", exchange="x", headers={"x-delay": SOON_MS})
    lasting.channel.call("exchange.delete", exchange="x")
    declare_exchange(lasting.channel, "x", "x-delayed-message", delayed_type="fanout")
    lasting.channel.call("queue.bind", queue="q", exchange="x")
    put(lasting.channel, "", b"transient", exchange="x", headers={"x-delay": SOON_MS}, delivery_mode=1)
    put(lasting.channel, "", b"persistent", exchange="x", headers={"x-delay": SOON_MS + 1})
    channel = lasting.restart()
    channel.consume("q", no_ack=True)
    assert channel.expect("basic.deliver").body == b"persistent"
    assert channel.settle("q") == []


# ---------------------------------------------------------------------------------------------- returns and deaths


def test_delivery_counts_go_on(lasting: Lasting) -> None:
    declare(lasting.channel, delivery_limit=2)
    put(lasting.channel, "q", b"m")
    send_back(lasting.channel, get(lasting.channel))
    message = get(lasting.channel)
    assert counts(message) == (1, 1)
    send_back(lasting.channel, message, "nack")
    lasting.sync()
    channel = lasting.restart()
    message = get(channel)
    assert (counts(message), message.redelivered) == ((1, 2), True)
    send_back(channel, message)
    message = get(channel)
    assert counts(message) == (2, 3)
    send_back(channel, message)
    assert channel.count("q") == 0
    lasting.sync()
    channel = lasting.restart()
    (death,) = get(channel, "q.dead").properties["headers"]["x-death"]
    assert (death["queue"], death["reason"]) == ("q", "delivery_limit")


def test_retries_wait_on(lasting: Lasting) -> None:
    declare(lasting.channel, delayed_retry_type="all", delayed_retry_min=LATER_MS)
    declare(lasting.channel, "soon", delayed_retry_type="all", delayed_retry_min=SOON_MS)
    begun = time.monotonic()
    for queue in ("q", "soon"):
        put(lasting.channel, queue, b"1", b"2")
        send_back(lasting.channel, get(lasting.channel, queue))
    lasting.sync()
    channel = lasting.restart()
    until(lambda: channel.count("soon") == 2)
    assert channel.drain("soon") == [b"1", b"2"]
    assert channel.drain("q") == [b"2"]
    until(lambda: channel.count("q") == 1)
    assert time.monotonic() - begun >= LATER_MS / 1000 - 0.01
    assert channel.drain("q") == [b"1"]


def test_deaths_are_counted_on(lasting: Lasting) -> None:
    """The pattern of a queue to retry from: rejected here, expired there, and again, with a restart at every place."""
    declare(lasting.channel, dead_letter_exchange="", dead_letter_routing_key="wait")
    declare(lasting.channel, "wait", message_ttl=50, dead_letter_exchange="", dead_letter_routing_key="q")
    put(lasting.channel, "q", b"m", headers={"own": 1}, expiration="600000")
    channel = lasting.channel
    for turn in range(1, 4):
        until(lambda: lasting.channel.count("q") == 1)
        message = get(channel)
        headers = message.properties["headers"]
        if turn > 1:
            deaths = [(death["queue"], death["reason"], death["count"]) for death in headers["x-death"]]
            assert deaths == [("wait", "expired", turn - 1), ("q", "rejected", turn - 1)]
            assert (headers["x-first-death-queue"], headers["x-last-death-queue"]) == ("q", "wait")
            assert headers["x-death"][1]["original-expiration"] == "600000"
        assert headers["own"] == 1
        channel.send("basic.reject", delivery_tag=message.delivery_tag, requeue=False)
        lasting.sync()
        channel = lasting.restart()


def test_a_circle_without_a_rejection_is_seen_after_a_restart(lasting: Lasting) -> None:
    declare(lasting.channel, "a", message_ttl=SOON_MS, dead_letter_exchange="", dead_letter_routing_key="b")
    declare(lasting.channel, "b", message_ttl=LATER_MS, dead_letter_exchange="", dead_letter_routing_key="a")
    put(lasting.channel, "a", b"m")
    until(lambda: lasting.channel.count("b") == 1)
    channel = lasting.restart()
    assert channel.count("b") == 1
    wait_until_empty(channel, "b")
    assert channel.count("a") == 0


# ------------------------------------------------------------------------------------------------------ memories


@pytest.mark.parametrize("where", ["exchange", "queue"])
def test_what_was_seen_stays_seen(lasting: Lasting, where: str) -> None:
    channel = lasting.channel
    arguments: dict[str, Any] = {"message_deduplication": True, "cache_size": 2}
    declare_exchange(channel, "x", "fanout", **(arguments if where == "exchange" else {}))
    declare(channel, **(arguments if where == "queue" else {}))
    channel.call("queue.bind", queue="q", exchange="x")

    def publish(value: str) -> None:
        put(lasting.channel, "", value.encode(), exchange="x", headers={"x-deduplication-header": value})

    for value in ("a", "b", "c"):
        publish(value)
    assert channel.drain("q") == [b"a", b"b", b"c"]
    channel = lasting.restart()
    for value in ("b", "c", "a", "b"):
        publish(value)
    assert channel.drain("q") == [b"a", b"b"]
    channel = lasting.restart()
    for value in ("a", "b", "c"):
        publish(value)
    assert channel.drain("q") == [b"c"]


def test_what_was_seen_is_forgotten_in_time(lasting: Lasting) -> None:
    declare(lasting.channel, message_deduplication=True, cache_ttl=SOON_MS)
    header = {"x-deduplication-header": 1}
    put(lasting.channel, "q", b"1", headers=header)
    channel = lasting.restart()

    def is_taken() -> bool:
        put(channel, "q", b"2", headers=header)
        return channel.count("q") == 2

    until(is_taken)
    assert channel.drain("q") == [b"1", b"2"]


def test_a_history_is_remembered(lasting: Lasting) -> None:
    declare_exchange(lasting.channel, "x", "x-recent-history", recent_history_length=3)
    put(lasting.channel, "k", b"1", b"2", b"3", b"4", exchange="x")
    channel = lasting.restart()
    put(channel, "k", b"5", exchange="x")
    declare(channel)
    channel.call("queue.bind", queue="q", exchange="x")
    assert channel.drain("q") == [b"3", b"4", b"5"]


def test_a_history_is_not_repeated_to_who_was_bound_before(lasting: Lasting) -> None:
    declare_exchange(lasting.channel, "x", "x-recent-history")
    declare(lasting.channel)
    lasting.channel.call("queue.bind", queue="q", exchange="x")
    put(lasting.channel, "", b"1", exchange="x")
    channel = lasting.restart()
    assert channel.drain("q") == [b"1"]


def test_memories_go_with_what_they_belong_to(lasting: Lasting) -> None:
    channel = lasting.channel
    for _ in range(3):
        declare_exchange(channel, "x", "x-recent-history")
        declare(channel, message_deduplication=True)
        channel.call("queue.bind", queue="q", exchange="x")
        assert channel.count("q") == 0
        put(channel, "", b"1", exchange="x", headers={"x-deduplication-header": "a"})
        assert channel.count("q") == 1
        channel.call("queue.delete", queue="q")
        channel.call("exchange.delete", exchange="x")
        channel = lasting.restart()


def test_a_single_active_consumer_is_chosen_anew(lasting: Lasting) -> None:
    declare(lasting.channel, single_active_consumer=True)
    lasting.channel.consume("q", "before")
    put(lasting.channel, "q", b"1", b"2")
    assert [lasting.channel.expect("basic.deliver").body for _ in range(2)] == [b"1", b"2"]
    channel = lasting.restart()
    other = channel.client.channel()
    channel.consume("q", "first")
    other.consume("q", "second")
    put(channel, "q", b"3")
    deliveries = [channel.expect("basic.deliver") for _ in range(3)]
    assert [(delivery.body, delivery.redelivered) for delivery in deliveries] == [
        (b"1", True),
        (b"2", True),
        (b"3", False),
    ]
    assert other.settle("q") == []


def test_blind_keys_are_kept_for_a_death_after_a_restart(lasting: Lasting) -> None:
    """In memory, and in the journal behind what is in memory."""
    declare_exchange(lasting.channel, "graveyard", "direct")
    declare(lasting.channel, dead_letter_exchange="graveyard")
    declare(lasting.channel, "blind")
    lasting.channel.call("queue.bind", queue="blind", exchange="graveyard", routing_key="b")
    put(lasting.channel, "q", b"m", headers={"BCC": ["b"]})
    channel = lasting.restart()
    message = get(channel)
    assert message.properties["headers"] == {}
    channel.send("basic.reject", delivery_tag=message.delivery_tag, requeue=False)
    until(lambda: channel.count("blind") == 1)
    channel = lasting.restart()
    assert "BCC" not in get(channel, "blind").properties["headers"]
