"""Dead letters: which messages go, where, in which order, and what their headers say of it."""

import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import pytest

from tests.support import codec
from tests.support.broker import until
from tests.support.channel import check_close
from tests.support.codec import Method, Typed
from tests.support.wire import Channel, Client


def source(channel: Channel, name: str, exchange: str = "", routing_key: str | None = None, **arguments: Any) -> str:
    """A queue whose dead go to that exchange, under that key or their own."""
    keyed = {} if routing_key is None else {"x-dead-letter-routing-key": routing_key}
    more = {key.replace("_", "-"): value for key, value in arguments.items()}
    return channel.queue(name, exclusive=True, arguments={"x-dead-letter-exchange": exchange, **keyed, **more})


def exchange(channel: Channel, name: str, kind: str = "direct", **arguments: Any) -> str:
    channel.call("exchange.declare", exchange=name, type=kind, auto_delete=True, arguments=arguments)
    return name


def reject(channel: Channel, queue: str, count: int = 1) -> None:
    for _ in range(count):
        message = channel.get(queue, no_ack=False)
        assert message, "nothing to reject"
        channel.send("basic.reject", delivery_tag=message.delivery_tag, requeue=False)


def arrival(channel: Channel, queue: str) -> Method:
    until(lambda: channel.count(queue) > 0)
    message = channel.get(queue)
    assert message
    return message


def headers_of(message: Method) -> dict[str, Any]:
    headers = message.properties["headers"]
    assert isinstance(headers, dict)
    return headers


def deaths(message: Method) -> list[tuple[str, str, int]]:
    """(queue, reason, count), the latest first."""
    return [(death["queue"], death["reason"], death["count"]) for death in headers_of(message)["x-death"]]


# ----------------------------------------------------------------------------------------------------------- reasons


def by_reject(channel: Channel, queue: str) -> None:
    channel.put(queue, b"x")
    reject(channel, queue)


def by_nack(channel: Channel, queue: str) -> None:
    channel.put(queue, b"x")
    assert channel.get(queue, no_ack=False)
    channel.send("basic.nack", delivery_tag=0, multiple=True, requeue=False)


def by_ttl(channel: Channel, queue: str) -> None:
    channel.put(queue, b"x")


def by_expiration(channel: Channel, queue: str) -> None:
    channel.put(queue, b"x", properties={"expiration": "0"})


def by_length(channel: Channel, queue: str) -> None:
    channel.put(queue, b"x", b"y")


def by_failing(channel: Channel, queue: str) -> None:
    channel.put(queue, b"x")
    for _ in range(2):
        message = channel.get(queue, no_ack=False)
        assert message
        channel.send("basic.reject", delivery_tag=message.delivery_tag, requeue=True)


own = pytest.mark.flowmq_only
# RabbitMQ 3.10 turns the older ones of three deaths or more around each time; 4.x has the latest first.
in_order = pytest.mark.newer
REASONS: list[Any] = [
    (by_reject, {}, "rejected"),
    (by_nack, {}, "rejected"),
    (by_ttl, {"x_message_ttl": 20}, "expired"),
    (by_ttl, {"x_message_ttl": 0}, "expired"),
    (by_expiration, {}, "expired"),
    (by_length, {"x_max_length": 1}, "maxlen"),
    (by_length, {"x_max_length_bytes": 1}, "maxlen"),
    (by_ttl, {"x_max_length": 0, "x_overflow": "reject-publish-dlx"}, "maxlen"),
    pytest.param(by_failing, {"x_delivery_limit": 1}, "delivery_limit", marks=own),
]


@pytest.mark.parametrize(("kill", "arguments", "reason"), REASONS)
def test_every_reason(
    channel: Channel,
    name: str,
    queue: str,
    kill: Callable[[Channel, str], None],
    arguments: dict[str, Any],
    reason: str,
) -> None:
    dying = source(channel, name + "-source", routing_key=queue, **arguments)
    if arguments.get("x_overflow"):
        channel.publish("", dying, b"x")
    else:
        kill(channel, dying)
    message = arrival(channel, queue)
    assert message.body == b"x"
    assert deaths(message) == [(dying, reason, 1)]
    headers = headers_of(message)
    assert (headers["x-first-death-queue"], headers["x-first-death-reason"]) == (dying, reason)
    assert headers["x-first-death-exchange"] == ""


@pytest.mark.parametrize("how", ["ack", "purge", "delete", "no_ack"])
def test_what_is_no_death(channel: Channel, name: str, queue: str, how: str) -> None:
    dying = source(channel, name + "-source", routing_key=queue)
    channel.put(dying, b"x")
    if how == "ack":
        held = channel.get(dying, no_ack=False)
        assert held
        channel.ack(held.delivery_tag)
    elif how == "no_ack":
        assert channel.get(dying)
    else:
        channel.call(f"queue.{how}", queue=dying)
    assert channel.settle(queue) == []
    assert channel.count(queue) == 0


# ----------------------------------------------------------------------------------------------- exactly what is said

PROPERTIES: list[Any] = [
    ({}, {}, []),
    ({"expiration": "0100"}, {"original-expiration": "0100"}, []),
    ({"headers": {"CC": ["second", "third"]}}, {}, ["second", "third"]),
    ({"headers": {"CC": ["second"], "BCC": ["hidden"]}}, {}, ["second"]),
    ({"headers": {"x": [1, {"y": 2}]}, "app_id": "me", "delivery_mode": 2, "priority": 3}, {}, []),
]


@pytest.mark.parametrize(("properties", "more", "further_keys"), PROPERTIES)
def test_a_death_octet_for_octet(
    channel: Channel, name: str, queue: str, properties: dict[str, Any], more: dict[str, Any], further_keys: list[str]
) -> None:
    dying = source(channel, name + "-source", "amq.fanout")
    channel.call("queue.bind", queue=queue, exchange="amq.fanout")
    channel.call("queue.bind", queue=dying, exchange="amq.direct", routing_key=name)
    before = int(time.time())
    channel.publish("amq.direct", name, b"x", properties)
    until(lambda: channel.count(dying) == 1 or channel.count(queue) == 1)
    if channel.count(dying):
        reject(channel, dying)
    message = arrival(channel, queue)
    death = headers_of(message)["x-death"][0]
    assert before - 1 <= death["time"] <= int(time.time())
    said = {
        "count": Typed("l", 1),
        "reason": "expired" if "expiration" in properties and death["reason"] == "expired" else "rejected",
        "queue": dying,
        "time": Typed("T", death["time"]),
        "exchange": "amq.direct",
        "routing-keys": [name, *further_keys],
        **more,
    }
    assert codec.table_fields({"x-death": [said]}) in message.header
    kept = {key: value for key, value in properties.items() if key not in ("headers", "expiration")}
    assert {key: value for key, value in message.properties.items() if key != "headers"} == kept
    own_headers = {key: value for key, value in properties.get("headers", {}).items() if key != "BCC"}
    assert {key: value for key, value in headers_of(message).items() if not key.startswith("x-")} == {
        key: value for key, value in own_headers.items() if not key.startswith("x-")
    }


def test_the_same_death_again_is_counted(channel: Channel, name: str, queue: str) -> None:
    """Round and round by reject: one entry, its count and nothing else changes."""
    dying = source(channel, name + "-source", routing_key=name + "-source")
    channel.call("queue.bind", queue=dying, exchange="amq.direct", routing_key=name)
    channel.publish("amq.direct", name, b"x", {"expiration": "60000"})
    first_time = None
    for count in range(1, 6):
        until(lambda: channel.count(dying) == 1)
        message = channel.get(dying, no_ack=False)
        assert message
        if count > 1:
            assert deaths(message) == [(dying, "rejected", count - 1)]
            (death,) = headers_of(message)["x-death"]
            first_time = first_time or death["time"]
            assert (death["time"], death["exchange"], death["routing-keys"]) == (first_time, "amq.direct", [name])
            assert death["original-expiration"] == "60000"
            assert "expiration" not in message.properties
            assert headers_of(message)["x-first-death-exchange"] == "amq.direct"
        channel.send("basic.reject", delivery_tag=message.delivery_tag, requeue=False)


def test_the_latest_death_comes_first(channel: Channel, name: str, queue: str) -> None:
    """Two queues that dead-letter to each other, with a reject in between so that it goes on."""
    first = source(channel, name + "-first", routing_key=name + "-second")
    second = source(channel, name + "-second", routing_key=name + "-first", x_message_ttl=10)
    channel.put(first, b"x")
    reject(channel, first)
    until(lambda: channel.count(first) == 1)
    message = channel.get(first, no_ack=False)
    assert message
    assert deaths(message) == [(second, "expired", 1), (first, "rejected", 1)]
    channel.send("basic.reject", delivery_tag=message.delivery_tag, requeue=False)
    until(lambda: channel.count(first) == 1)
    message = channel.get(first, no_ack=False)
    assert message
    assert deaths(message) == [(second, "expired", 2), (first, "rejected", 2)]
    headers = headers_of(message)
    assert (headers["x-first-death-queue"], headers["x-first-death-reason"]) == (first, "rejected")


def test_every_reason_has_an_entry_of_its_own(channel: Channel, name: str, queue: str) -> None:
    dying = source(channel, name + "-source", "amq.headers", x_max_length=1)
    back = {"x-match": "all-with-x", "x-first-death-reason": "rejected"}
    channel.call("queue.bind", queue=dying, exchange="amq.headers", arguments={**back, "round": name})
    channel.call("queue.bind", queue=queue, exchange="amq.headers", arguments={**back, "round": name})
    channel.put(dying, b"x", properties={"headers": {"round": name}})
    reject(channel, dying)
    until(lambda: channel.count(dying) == 1)
    assert deaths(arrival(channel, queue)) == [(dying, "rejected", 1)]
    channel.put(dying, b"y")
    assert deaths(arrival(channel, queue)) == [(dying, "maxlen", 1), (dying, "rejected", 1)]
    assert channel.drain(dying) == [b"y"]


@pytest.mark.newer
def test_first_and_last_death(channel: Channel, name: str, queue: str) -> None:
    last = source(channel, name + "-last", routing_key=queue)
    first = source(channel, name + "-first", "amq.direct", name + "-key", x_message_ttl=10)
    channel.call("queue.bind", queue=last, exchange="amq.direct", routing_key=name + "-key")
    channel.put(first, b"x")
    until(lambda: channel.count(last) == 1)
    message = channel.get(last, no_ack=False)
    assert message
    expected = {
        "x-first-death-queue": first,
        "x-first-death-reason": "expired",
        "x-first-death-exchange": "",
        "x-last-death-queue": first,
        "x-last-death-reason": "expired",
        "x-last-death-exchange": "",
    }
    assert {key: value for key, value in headers_of(message).items() if key != "x-death"} == expected
    channel.send("basic.reject", delivery_tag=message.delivery_tag, requeue=False)
    message = arrival(channel, queue)
    expected.update(
        {
            "x-last-death-queue": last,
            "x-last-death-reason": "rejected",
            "x-last-death-exchange": "amq.direct",
        }
    )
    assert {key: value for key, value in headers_of(message).items() if key != "x-death"} == expected


@pytest.mark.newer
@pytest.mark.parametrize(
    "claimed",
    [
        [{"queue": "q", "reason": "expired", "count": Typed("l", 7)}],
        "not even an array",
        [1, 2],
        [],
    ],
)
def test_what_a_client_says_of_deaths_counts_for_nothing(
    channel: Channel, name: str, queue: str, claimed: object
) -> None:
    """It passes through until there is something true to say."""
    dying = source(channel, name + "-source", routing_key=queue)
    claims = {"x-death": claimed, "x-first-death-queue": "q", "x-last-death-reason": "boredom", "x": 1}
    channel.put(dying, b"x", properties={"headers": claims})
    held = channel.get(dying, no_ack=False)
    assert held
    assert held.header.endswith(codec.encode_properties({"headers": claims})[2:])
    channel.send("basic.reject", delivery_tag=held.delivery_tag, requeue=False)
    message = arrival(channel, queue)
    assert deaths(message) == [(dying, "rejected", 1)]
    headers = headers_of(message)
    assert (headers["x-first-death-queue"], headers["x-last-death-reason"], headers["x"]) == (dying, "rejected", 1)


@pytest.mark.newer
def test_a_client_cannot_claim_a_cycle(channel: Channel, name: str, queue: str) -> None:
    dying = source(channel, name + "-source", routing_key=queue, x_message_ttl=10)
    claimed = [{"queue": queue, "reason": "expired", "count": Typed("l", 1)}]
    channel.put(dying, b"x", properties={"headers": {"x-death": claimed}})
    assert deaths(arrival(channel, queue)) == [(dying, "expired", 1)]


# ------------------------------------------------------------------------------------------------------ routing keys

# dead letter routing key, CC, keys under which it arrives, CC as it arrives
KEYS: list[Any] = [
    (None, None, ["own"], None),
    (None, ["cc"], ["own", "cc"], ["cc"]),
    ("set", None, ["set"], None),
    ("set", ["cc"], ["set"], None),
    ("", ["cc"], [""], None),
    ("own", ["cc"], ["own"], None),
]


@pytest.mark.parametrize(("routing_key", "selected", "arrives", "selected_then"), KEYS)
def test_under_which_keys_it_arrives(
    channel: Channel,
    name: str,
    names: Any,
    routing_key: str | None,
    selected: list[str] | None,
    arrives: list[str],
    selected_then: list[str] | None,
) -> None:
    graveyard = exchange(channel, name)
    bound = {key: channel.queue(exclusive=True) for key in ("own", "cc", "set", "", "other")}
    for key, queue in bound.items():
        channel.call("queue.bind", queue=queue, exchange=graveyard, routing_key=key)
    first = exchange(channel, next(names))
    dying = source(channel, next(names), graveyard, routing_key, x_message_ttl=0)
    channel.call("queue.bind", queue=dying, exchange=first, routing_key="own")
    headers = {} if selected is None else {"headers": {"CC": selected}}
    channel.publish(first, "own", b"x", headers)
    for key in arrives:
        message = arrival(channel, bound[key])
        assert (message.exchange, message.routing_key) == (graveyard, arrives[0])
        assert headers_of(message).get("CC") == selected_then
        assert headers_of(message)["x-death"][0]["routing-keys"] == ["own", *(selected or [])]
    assert [key for key, queue in bound.items() if channel.count(queue)] == []


def test_blind_keys_are_not_said(channel: Channel, name: str, queue: str) -> None:
    dying = source(channel, name + "-source", routing_key=queue)
    channel.publish("", name + "-nobody", b"x", {"headers": {"BCC": [dying]}})
    until(lambda: channel.count(dying) == 1)
    reject(channel, dying)
    message = arrival(channel, queue)
    assert headers_of(message)["x-death"][0]["routing-keys"] == [name + "-nobody"]
    assert "BCC" not in headers_of(message)


def test_a_dead_letter_goes_by_the_blind_keys_too(channel: Channel, name: str, names: Iterator[str]) -> None:
    """Also the one after it. Nobody sees them; with a routing key of its own nothing but that counts."""
    graveyard, second, last = next(names), next(names), next(names)
    for exchange in (graveyard, second, last):
        channel.call("exchange.declare", exchange=exchange, type="direct", auto_delete=True)
    dying = source(channel, name + "-source", graveyard)
    blind = source(channel, name + "-blind", second)
    strict = source(channel, name + "-strict", last, "own")
    ends = {key: channel.queue(next(names), exclusive=True) for key in ("b", "c", "k", "own")}
    channel.call("queue.bind", queue=blind, exchange=graveyard, routing_key="b")
    channel.call("queue.bind", queue=strict, exchange=second, routing_key="b")
    channel.call("queue.bind", queue=ends["c"], exchange=second, routing_key="c")
    for key in ("b", "k", "own"):
        channel.call("queue.bind", queue=ends[key], exchange=last, routing_key=key)
    channel.publish("", dying, b"x", {"headers": {"CC": ["c"], "BCC": ["b", "k"]}, "delivery_mode": 2})
    for queue in (dying, blind, strict):
        until(lambda queue=queue: channel.count(queue) == 1)  # type: ignore[misc]
        message = channel.get(queue, no_ack=False)
        assert message is not None
        assert headers_of(message).get("CC") == ["c"]
        assert "BCC" not in headers_of(message)
        channel.send("basic.reject", delivery_tag=message.delivery_tag, requeue=False)
    for key in ("c", "own"):
        assert "BCC" not in headers_of(arrival(channel, ends[key]))
    assert [channel.count(ends[key]) for key in ("b", "k")] == [0, 0]


# --------------------------------------------------------------------------------------------------- what leads where


def test_a_missing_exchange_takes_them_out_of_the_world(channel: Channel, name: str, queue: str) -> None:
    dying = source(channel, name + "-source", name + "-exchange")
    channel.put(dying, b"1")
    reject(channel, dying)
    channel.call("exchange.declare", exchange=name + "-exchange", type="fanout", auto_delete=True)
    channel.call("queue.bind", queue=queue, exchange=name + "-exchange")
    channel.put(dying, b"2")
    reject(channel, dying)
    assert arrival(channel, queue).body == b"2"
    channel.call("exchange.delete", exchange=name + "-exchange")
    channel.put(dying, b"3")
    reject(channel, dying)
    channel.call("exchange.declare", exchange=name + "-exchange", type="direct", auto_delete=True)
    channel.call("queue.bind", queue=queue, exchange=name + "-exchange", routing_key=dying)
    channel.put(dying, b"4")
    reject(channel, dying)
    assert arrival(channel, queue).body == b"4"
    assert (channel.count(dying), channel.count(queue)) == (0, 0)


def test_an_alternate_exchange_takes_what_is_not_routed(channel: Channel, name: str, queue: str) -> None:
    alternate = exchange(channel, name + "-alternate", "fanout")
    channel.call("queue.bind", queue=queue, exchange=alternate)
    graveyard = exchange(channel, name + "-graveyard", **{"alternate-exchange": alternate})
    dying = source(channel, name + "-source", graveyard, "nobody")
    channel.put(dying, b"x")
    reject(channel, dying)
    message = arrival(channel, queue)
    assert (message.exchange, message.routing_key) == (graveyard, "nobody")


def test_a_headers_exchange_sees_the_headers_of_the_dead(channel: Channel, name: str, names: Any) -> None:
    graveyard = exchange(channel, next(names), "headers")
    bindings: list[tuple[dict[str, Any], bool]] = [
        ({"x-match": "all", "colour": "red"}, True),
        ({"x-match": "all", "colour": "blue"}, False),
        ({"x-match": "all-with-x", "x-first-death-reason": "rejected"}, True),
        ({"x-match": "all-with-x", "x-first-death-reason": "expired"}, False),
    ]
    queues = []
    for arguments, _ in bindings:
        queues.append(channel.queue(exclusive=True))
        channel.call("queue.bind", queue=queues[-1], exchange=graveyard, arguments=arguments)
    dying = source(channel, next(names), graveyard)
    channel.put(dying, b"x", properties={"headers": {"colour": "red"}})
    reject(channel, dying)
    for queue, (_, matches) in zip(queues, bindings, strict=True):
        if matches:
            assert arrival(channel, queue).body == b"x"
    assert [channel.count(queue) for queue in queues] == [0, 0, 0, 0]


def test_a_topic_exchange_and_many_queues(channel: Channel, name: str, names: Any) -> None:
    graveyard = exchange(channel, next(names), "topic")
    queues = [channel.queue(exclusive=True) for _ in range(10)]
    for queue in queues:
        channel.call("queue.bind", queue=queue, exchange=graveyard, routing_key="dead.#")
    dying = source(channel, next(names), graveyard, "dead.letter")
    channel.put(dying, *(b"%d" % number for number in range(20)))
    reject(channel, dying, 20)
    for queue in queues:
        until(lambda queue=queue: channel.count(queue) == 20)  # type: ignore[misc]
        assert channel.drain(queue) == [b"%d" % number for number in range(20)]


def test_delivery_mode_is_kept(channel: Channel, name: str, queue: str) -> None:
    dying = source(channel, name + "-source", routing_key=queue)
    for mode in (1, 2):
        channel.put(dying, b"x", properties={"delivery_mode": mode})
        reject(channel, dying)
        assert arrival(channel, queue).properties["delivery_mode"] == mode
    channel.put(dying, b"x")
    reject(channel, dying)
    assert "delivery_mode" not in arrival(channel, queue).properties


def test_large_bodies_go_whole(channel: Channel, name: str, queue: str) -> None:
    body = bytes(range(256)) * 2000
    dying = source(channel, name + "-source", routing_key=queue)
    channel.put(dying, body)
    reject(channel, dying)
    assert arrival(channel, queue).body == body


def test_rejected_in_their_order(channel: Channel, name: str, queue: str) -> None:
    bodies = [b"%d" % number for number in range(1000)]
    dying = source(channel, name + "-source", routing_key=queue)
    channel.put(dying, *bodies)
    channel.consume(dying, "tag")
    for _ in bodies:
        channel.expect("basic.deliver")
    channel.send("basic.nack", delivery_tag=1000, multiple=True, requeue=False)
    until(lambda: channel.count(queue) == 1000)
    assert channel.drain(queue) == bodies


def test_rejecting_counts_when_a_transaction_commits(client: Client, channel: Channel, name: str, queue: str) -> None:
    dying = source(channel, name + "-source", routing_key=queue)
    channel.put(dying, b"1", b"2")
    transaction = client.channel()
    transaction.call("tx.select")
    held = transaction.get(dying, no_ack=False)
    assert held
    transaction.send("basic.reject", delivery_tag=held.delivery_tag, requeue=False)
    assert transaction.settle(queue) == []
    assert channel.count(queue) == 0
    transaction.call("tx.rollback")
    assert channel.count(queue) == 0
    transaction.send("basic.reject", delivery_tag=held.delivery_tag, requeue=False)
    transaction.call("tx.commit")
    assert arrival(channel, queue).body == b"1"


# ------------------------------------------------------------------------------------------------------------- cycles


def test_an_automatic_cycle_ends(channel: Channel, name: str) -> None:
    """It expires here, would come here again, and was rejected nowhere."""
    dying = source(channel, name, routing_key=name, x_message_ttl=20)
    channel.put(dying, b"x")
    until(lambda: channel.count(dying) == 0)
    assert channel.settle(dying) == []
    assert channel.count(dying) == 0


@in_order
def test_an_automatic_cycle_of_three_ends_where_it_began(channel: Channel, name: str, queue: str) -> None:
    """Of the last death's two targets the one that is no cycle still gets it."""
    graveyard = exchange(channel, name, "fanout")
    first = source(channel, name + "-1", routing_key=name + "-2", x_message_ttl=10)
    source(channel, name + "-2", routing_key=name + "-3", x_message_ttl=10)
    source(channel, name + "-3", graveyard, x_message_ttl=10)
    for bound in (first, queue):
        channel.call("queue.bind", queue=bound, exchange=graveyard)
    channel.put(first, b"x")
    message = arrival(channel, queue)
    assert deaths(message) == [(f"{name}-{number}", "expired", 1) for number in (3, 2, 1)]
    assert channel.settle(queue) == []
    assert [channel.count(f"{name}-{number}") for number in (1, 2, 3)] == [0, 0, 0]


def test_by_length_a_cycle_ends_too(channel: Channel, name: str) -> None:
    dying = source(channel, name, routing_key=name, x_max_length=1)
    channel.put(dying, b"1", b"2")
    assert channel.drain(dying) == [b"2"]


def test_rejecting_keeps_it_going(channel: Channel, name: str) -> None:
    dying = source(channel, name, routing_key=name)
    channel.put(dying, b"x")
    for _ in range(19):
        reject(channel, dying)
        until(lambda: channel.count(dying) == 1)
    message = channel.get(dying)
    assert message
    assert deaths(message) == [(dying, "rejected", 19)]


@pytest.mark.parametrize("rejected_in", ["first", "second"])
def test_a_reject_anywhere_in_between_lets_it_go_on(channel: Channel, name: str, rejected_in: str) -> None:
    """One of two queues in a circle rejects, the other lets expire; it comes back each time."""
    queues = {which: f"{name}-{which}" for which in ("first", "second")}
    for which, other in (("first", "second"), ("second", "first")):
        ttl = {} if which == rejected_in else {"x_message_ttl": 10}
        source(channel, queues[which], routing_key=queues[other], **ttl)
    channel.put(queues["first"], b"x")
    for _ in range(3):
        until(lambda: channel.count(queues[rejected_in]) == 1)
        reject(channel, queues[rejected_in])
    until(lambda: channel.count(queues[rejected_in]) == 1)
    message = channel.get(queues[rejected_in])
    assert message
    counted = {(queue, reason): number for queue, reason, number in deaths(message)}
    assert counted[queues[rejected_in], "rejected"] == 3


@in_order
def test_an_old_reject_does_not_help_a_newer_cycle(channel: Channel, name: str, queue: str) -> None:
    """Rejected once, then twice through the same queue by expiry alone."""
    start = source(channel, name + "-start", routing_key=name + "-a")
    source(channel, name + "-a", routing_key=name + "-b", x_message_ttl=10)
    source(channel, name + "-b", routing_key=name + "-a", x_message_ttl=10)
    channel.put(start, b"x")
    reject(channel, start)
    channel.put(queue, b"clock", properties={"expiration": "300"})
    until(lambda: channel.count(queue) == 0)
    assert [channel.count(name + end) for end in ("-start", "-a", "-b")] == [0, 0, 0]


# ------------------------------------------------------------------------------------------------------------- chains


def test_into_a_queue_that_refuses(channel: Channel, name: str) -> None:
    full = channel.queue(name + "-full", exclusive=True, arguments={"x-max-length": 1, "x-overflow": "reject-publish"})
    dying = source(channel, name + "-source", routing_key=full)
    channel.put(dying, b"1", b"2", b"3")
    reject(channel, dying, 3)
    assert channel.settle(dying) == []
    until(lambda: channel.count(full) == 1)
    assert channel.drain(full) == [b"1"]


def test_into_a_queue_that_refuses_and_dead_letters(channel: Channel, name: str, queue: str) -> None:
    arguments = {"x_max_length": 1, "x_overflow": "reject-publish-dlx"}
    full = source(channel, name + "-full", routing_key=queue, **arguments)
    dying = source(channel, name + "-source", routing_key=full)
    channel.put(dying, b"1", b"2", b"3")
    reject(channel, dying, 3)
    until(lambda: channel.count(queue) == 2)
    messages = [arrival(channel, queue) for _ in range(2)]
    assert [message.body for message in messages] == [b"2", b"3"]
    assert deaths(messages[0]) == [(full, "maxlen", 1), (dying, "rejected", 1)]
    assert channel.drain(full) == [b"1"]


@in_order
def test_a_chain_of_a_thousand_queues(channel: Channel, name: str) -> None:
    """Through each of them by its limit at once; the headers of so many deaths are what makes it long."""
    links = 1000
    short = name[-4:]
    for number in range(links):
        source(channel, f"{short}{number}", routing_key=f"{short}{number + 1}", x_max_length=0)
    channel.queue(f"{short}{links}", exclusive=True)
    channel.put(f"{short}0", b"1", b"2", b"3")
    until(lambda: channel.count(f"{short}{links}") == 3)
    for body in (b"1", b"2", b"3"):
        message = channel.get(f"{short}{links}")
        assert message
        assert message.body == body
        assert deaths(message) == [(f"{short}{number}", "maxlen", 1) for number in reversed(range(links))]


@in_order
def test_through_a_chain_by_time(channel: Channel, name: str) -> None:
    """Every retry of a back-off made of queues: 10, 20, 40, 80 ms."""
    for number in range(4):
        source(channel, f"{name}-{number}", routing_key=f"{name}-{number + 1}", x_message_ttl=10 * 2**number)
    channel.queue(f"{name}-4", exclusive=True)
    channel.consume(f"{name}-4", no_ack=True)
    begun = time.monotonic()
    channel.publish("", f"{name}-0", b"x", {"delivery_mode": 2})
    message = channel.expect("basic.deliver")
    assert time.monotonic() - begun >= 0.148
    assert deaths(message) == [(f"{name}-{number}", "expired", 1) for number in (3, 2, 1, 0)]


def test_a_consumer_gets_dead_letters_as_they_come(channel: Channel, name: str, queue: str) -> None:
    dying = source(channel, name + "-source", "amq.direct", name)
    channel.call("queue.bind", queue=queue, exchange="amq.direct", routing_key=name)
    channel.consume(queue, "tag", no_ack=True)
    channel.put(dying, b"1", b"2")
    reject(channel, dying, 1)
    assert channel.expect("basic.deliver").body == b"1"
    channel.call("basic.cancel", consumer_tag="tag")
    reject(channel, dying, 1)
    assert arrival(channel, queue).body == b"2"


def test_the_queue_they_go_to_is_deleted_meanwhile(channel: Channel, name: str) -> None:
    target = channel.queue(name + "-target", exclusive=True)
    dying = source(channel, name + "-source", routing_key=target)
    channel.put(dying, *(b"%d" % number for number in range(10)))
    reject(channel, dying, 5)
    channel.call("queue.delete", queue=target)
    reject(channel, dying, 1)
    channel.queue(target, exclusive=True)
    reject(channel, dying, 4)
    until(lambda: channel.count(target) == 4)
    assert channel.drain(target) == [b"6", b"7", b"8", b"9"]


def test_a_key_without_an_exchange_is_refused(channel: Channel, name: str) -> None:
    channel.send("queue.declare", queue=name, arguments={"x-dead-letter-routing-key": "k"})
    close = channel.expect("channel.close")
    reason = f"invalid arg 'x-dead-letter-routing-key' for queue '{name}' in vhost '/': routing_key_but_no_dlx_defined"
    check_close(close, 406, f"PRECONDITION_FAILED - {reason}")
    channel.send("channel.close-ok")


@pytest.mark.flowmq_only
def test_hundreds_of_deaths_still_fit_a_frame(channel: Channel, name: str) -> None:
    """The oldest are forgotten then."""
    queues = [f"{name}-{number}-".ljust(250, "x") for number in range(260)]
    for queue, target in pairwise(queues):
        arguments = {"x-message-ttl": 0, "x-dead-letter-exchange": "", "x-dead-letter-routing-key": target}
        channel.send("queue.declare", queue=queue, exclusive=True, arguments=arguments)
    for _ in queues[1:]:
        channel.expect("queue.declare-ok")
    channel.queue(queues[-1], exclusive=True)
    channel.publish("", queues[0], b"x")
    message = arrival(channel, queues[-1])
    assert len(message.header) < channel.client.frame_max
    told = deaths(message)
    assert 100 < len(told) < 259
    assert told == [(queue, "expired", 1) for queue in reversed(queues[:-1])][: len(told)]
    assert headers_of(message)["x-first-death-queue"] == queues[0]
