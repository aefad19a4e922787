"""x-max-length and x-max-length-bytes: what is kept, what goes, and what publishers are told."""

from typing import Any

import pytest

from tests.support.broker import until
from tests.support.wire import Channel, Client

REJECT = {"x-overflow": "reject-publish"}
REJECT_AND_DEAD_LETTER = {"x-overflow": "reject-publish-dlx"}


def limited(channel: Channel, name: str, length: int | None = None, octets: int | None = None, **more: Any) -> str:
    limits = {"x-max-length": length, "x-max-length-bytes": octets}
    arguments = {key: value for key, value in limits.items() if value is not None}
    arguments.update({key.replace("_", "-"): value for key, value in more.items()})
    return channel.queue(name + "-limited", exclusive=True, arguments=arguments)


def dead_lettered_to(queue: str) -> dict[str, str]:
    return {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": queue}


def answers(channel: Channel, queue: str, bodies: list[bytes], exchange: str = "") -> str:
    """One letter for each publish: A acknowledged, N refused."""
    said = ""
    for body in bodies:
        channel.publish(exchange, queue, body)
        answer = channel.expect("basic.ack", "basic.nack")
        said += "A" if answer.name == "basic.ack" else "N"
    return said


# --------------------------------------------------------------------------------------------------------- drop-head

# length, octets, bodies, what stays, what goes
DROPS: list[Any] = [
    (3, None, ["1", "2", "3"], ["1", "2", "3"], []),
    (3, None, ["1", "2", "3", "4", "5"], ["3", "4", "5"], ["1", "2"]),
    (1, None, ["1", "2", "3"], ["3"], ["1", "2"]),
    (0, None, ["1", "2"], [], ["1", "2"]),
    (None, 10, ["aaaa", "bbbb", "cc"], ["aaaa", "bbbb", "cc"], []),
    (None, 10, ["aaaa", "bbbb", "ccc"], ["bbbb", "ccc"], ["aaaa"]),
    (None, 10, ["aaaa", "bbbb", "c" * 10], ["c" * 10], ["aaaa", "bbbb"]),
    (None, 10, ["aaaa", "c" * 11], [], ["aaaa", "c" * 11]),
    (None, 10, ["", "", "", "aaaaaaaaaa", ""], ["", "", "", "aaaaaaaaaa", ""], []),
    (None, 0, ["", "a", ""], [""], ["", "a"]),
    (2, 10, ["aaaaa", "bbbbb", "c"], ["bbbbb", "c"], ["aaaaa"]),
    (5, 3, ["a", "b", "c", "d"], ["b", "c", "d"], ["a"]),
]


@pytest.mark.parametrize(("length", "octets", "bodies", "stay", "go"), DROPS)
@pytest.mark.parametrize("overflow", [{}, {"x-overflow": "drop-head"}])
def test_the_oldest_go(
    channel: Channel,
    name: str,
    queue: str,
    length: int | None,
    octets: int | None,
    bodies: list[str],
    stay: list[str],
    go: list[str],
    overflow: dict[str, str],
) -> None:
    limited_queue = limited(channel, name, length, octets, **dead_lettered_to(queue), **overflow)
    channel.call("confirm.select")
    assert answers(channel, limited_queue, [body.encode() for body in bodies]) == "A" * len(bodies)
    assert channel.count(limited_queue) == len(stay)
    until(lambda: channel.count(queue) == len(go))
    assert channel.drain(limited_queue) == [body.encode() for body in stay]
    assert channel.drain(queue) == [body.encode() for body in go]


def test_a_ready_consumer_comes_before_the_limit(channel: Channel, name: str) -> None:
    queue = limited(channel, name, 0)
    channel.consume(queue, no_ack=True)
    channel.put(queue, b"1", b"2", b"3")
    assert [channel.expect("basic.deliver").body for _ in range(3)] == [b"1", b"2", b"3"]


def test_the_unacknowledged_do_not_count(channel: Channel, name: str) -> None:
    queue = limited(channel, name, 2)
    channel.put(queue, b"1", b"2")
    for _ in range(2):
        assert channel.get(queue, no_ack=False)
    channel.put(queue, b"3", b"4")
    assert channel.drain(queue) == [b"3", b"4"]


@pytest.mark.parametrize("how", ["reject", "nack multiple", "recover", "close"])
def test_what_comes_back_over_the_limit_goes(client: Client, channel: Channel, name: str, queue: str, how: str) -> None:
    limited_queue = limited(channel, name, 2, **dead_lettered_to(queue))
    holder = client.channel()
    channel.put(limited_queue, b"1", b"2")
    for _ in range(2):
        assert holder.get(limited_queue, no_ack=False)
    channel.put(limited_queue, b"3", b"4")
    if how == "reject":
        for tag in (1, 2):
            holder.send("basic.reject", delivery_tag=tag, requeue=True)
    elif how == "nack multiple":
        holder.send("basic.nack", delivery_tag=2, multiple=True, requeue=True)
    elif how == "recover":
        holder.call("basic.recover", requeue=True)
    else:
        holder.close()
    until(lambda: channel.count(queue) == 2)
    assert channel.drain(queue) == [b"1", b"2"]
    assert channel.drain(limited_queue) == [b"3", b"4"]


# ---------------------------------------------------------------------------------------------------- reject-publish

REFUSALS: list[Any] = [
    (2, None, ["1", "2", "3", "4"], "AANN"),
    (0, None, ["1"], "N"),
    (None, 10, ["aaaa", "bbbb", "ccc", "cc", "", "d"], "AANAAN"),
    (None, 10, ["a" * 11, "b" * 10], "NA"),
    (3, 4, ["aa", "bb", "c", "", ""], "AANAN"),
]


@pytest.mark.parametrize("overflow", [REJECT, REJECT_AND_DEAD_LETTER], ids=["reject", "reject-dlx"])
@pytest.mark.parametrize(("length", "octets", "bodies", "expected"), REFUSALS)
def test_the_newest_is_refused(
    channel: Channel,
    name: str,
    length: int | None,
    octets: int | None,
    bodies: list[str],
    expected: str,
    overflow: dict[str, str],
) -> None:
    queue = limited(channel, name, length, octets, **overflow)
    channel.call("confirm.select")
    assert answers(channel, queue, [body.encode() for body in bodies]) == expected
    kept = [body.encode() for body, answer in zip(bodies, expected, strict=True) if answer == "A"]
    assert channel.drain(queue) == kept


@pytest.mark.parametrize("overflow", [REJECT, REJECT_AND_DEAD_LETTER], ids=["reject", "reject-dlx"])
def test_where_the_refused_go(channel: Channel, name: str, queue: str, overflow: dict[str, str]) -> None:
    limited_queue = limited(channel, name, 1, **overflow, **dead_lettered_to(queue))
    channel.call("confirm.select")
    assert answers(channel, limited_queue, [b"1", b"2", b"3"]) == "ANN"
    expected = [b"2", b"3"] if overflow == REJECT_AND_DEAD_LETTER else []
    until(lambda: channel.count(queue) == len(expected))
    messages = [channel.get(queue) for _ in expected]
    assert [message.body for message in messages if message] == expected
    for message in messages:
        assert message
        assert message.properties["headers"]["x-death"][0]["reason"] == "maxlen"
    assert channel.drain(limited_queue) == [b"1"]


def test_refused_without_confirms_is_silent(channel: Channel, name: str) -> None:
    queue = limited(channel, name, 1, **REJECT)
    for body in (b"1", b"2", b"3"):
        channel.publish("", queue, body, mandatory=True)
    assert channel.settle(queue) == []
    assert channel.drain(queue) == [b"1"]


def test_a_consumer_makes_room(channel: Channel, name: str) -> None:
    queue = limited(channel, name, 1, **REJECT)
    channel.call("confirm.select")
    assert answers(channel, queue, [b"1", b"2"]) == "AN"
    channel.consume(queue, "tag", no_ack=True)
    assert channel.expect("basic.deliver").body == b"1"
    channel.publish("", queue, b"3")
    assert {channel.expect("basic.ack", "basic.deliver").name for _ in range(2)} == {"basic.ack", "basic.deliver"}


def test_a_limit_of_nought_refuses_before_any_consumer(channel: Channel, name: str) -> None:
    queue = limited(channel, name, 0, **REJECT)
    channel.consume(queue, "tag", no_ack=True)
    channel.call("confirm.select")
    assert answers(channel, queue, [b"1"]) == "N"
    assert channel.settle(queue) == []


def test_one_full_queue_of_two_refuses_and_the_other_keeps(channel: Channel, name: str, queue: str) -> None:
    full = limited(channel, name, 1, **REJECT)
    channel.call("exchange.declare", exchange=name, type="fanout", auto_delete=True)
    for bound in (full, queue):
        channel.call("queue.bind", queue=bound, exchange=name)
    channel.call("confirm.select")
    assert answers(channel, "", [b"1", b"2"], name) == "AN"
    assert channel.drain(full) == [b"1"]
    assert channel.drain(queue) == [b"1", b"2"]


def test_what_comes_back_may_be_over_the_limit(channel: Channel, name: str) -> None:
    queue = limited(channel, name, 2, **REJECT)
    channel.put(queue, b"1", b"2")
    for _ in range(2):
        assert channel.get(queue, no_ack=False)
    channel.put(queue, b"3", b"4")
    channel.send("basic.nack", delivery_tag=2, multiple=True, requeue=True)
    until(lambda: channel.count(queue) == 4)
    channel.call("confirm.select")
    assert answers(channel, queue, [b"5"]) == "N"
    assert channel.drain(queue) == [b"1", b"2", b"3", b"4"]


@pytest.mark.parametrize("durable", [False, True])
def test_refused_in_a_transaction(client: Client, channel: Channel, name: str, queue: str, durable: bool) -> None:
    full = channel.queue(name + "-full", durable=durable, arguments={"x-max-length": 1, **REJECT})
    transaction = client.channel()
    transaction.call("tx.select")
    for body in (b"1", b"2"):
        transaction.publish("", full, body, {"delivery_mode": 2})
        transaction.publish("", queue, body)
    transaction.send("tx.commit")
    transaction.expect_close(406, "PRECONDITION_FAILED - partial tx completion", (90, 20))
    assert channel.drain(full) == [b"1"]
    assert channel.drain(queue) == [b"1", b"2"]
    channel.call("queue.delete", queue=full)


def test_many_at_once_are_answered_one_by_one(channel: Channel, name: str) -> None:
    queue = limited(channel, name, 50, **REJECT)
    channel.call("confirm.select")
    for number in range(100):
        channel.publish("", queue, b"%d" % number)
    said: dict[int, str] = {}
    while len(said) < 100:
        answer = channel.expect("basic.ack", "basic.nack")
        first = 1 if answer.multiple else answer.delivery_tag
        said.update({number: answer.name for number in range(first, answer.delivery_tag + 1) if number not in said})
    assert [said[number] for number in range(1, 101)] == ["basic.ack"] * 50 + ["basic.nack"] * 50
    assert channel.drain(queue) == [b"%d" % number for number in range(50)]


# -------------------------------------------------------------------------------------------------------- among others


def test_purge_makes_room(channel: Channel, name: str) -> None:
    queue = limited(channel, name, 1, 5, **REJECT)
    channel.call("confirm.select")
    assert answers(channel, queue, [b"12345", b""]) == "AN"
    assert channel.call("queue.purge", queue=queue).message_count == 1
    assert answers(channel, queue, [b"54321", b""]) == "AN"


def test_expiry_makes_room(channel: Channel, name: str) -> None:
    queue = limited(channel, name, 1, 5, **REJECT)
    channel.put(queue, b"12345", properties={"expiration": "50"})
    until(lambda: channel.count(queue) == 0)
    channel.call("confirm.select")
    assert answers(channel, queue, [b"54321", b""]) == "AN"


@pytest.mark.flowmq_only
def test_with_priorities_the_least_important_go(channel: Channel, name: str, queue: str) -> None:
    """RabbitMQ drops the most important ones."""
    limited_queue = limited(channel, name, 3, **dead_lettered_to(queue), x_max_priority=9)
    for number, priority in enumerate((5, 1, 9, 1, 5, 0)):
        channel.put(limited_queue, b"%d" % number, properties={"priority": priority})
    until(lambda: channel.count(queue) == 3)
    assert channel.drain(queue) == [b"1", b"3", b"5"]
    assert channel.drain(limited_queue) == [b"2", b"0", b"4"]
