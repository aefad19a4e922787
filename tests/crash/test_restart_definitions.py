"""What a restart keeps of queues, exchanges and bindings: all that was durable and answered for, and nothing else."""

import pytest

from tests.crash.conftest import AGAINST_RABBITMQ, Lasting
from tests.support.wire import Channel

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240 if AGAINST_RABBITMQ else 60)]

OURS = ("x-consistent-hash", "x-modulus-hash", "x-random", "x-local-random")
KINDS = ("direct", "topic", "fanout", "headers", *(() if AGAINST_RABBITMQ else OURS))


def exchange(channel: Channel, name: str, kind: str = "direct", **fields: object) -> None:
    channel.call("exchange.declare", exchange=name, type=kind, **{"durable": True, **fields})


def bind(channel: Channel, source: str, queue: str, key: str = "", arguments: dict[str, object] | None = None) -> None:
    channel.call("queue.bind", exchange=source, queue=queue, routing_key=key, arguments=arguments or {})


def reaches(channel: Channel, source: str, key: str = "", headers: dict[str, object] | None = None) -> bool:
    """Whether a message finds a queue this way. Afterwards it is there."""
    if not channel.confirmed:
        channel.call("confirm.select")
    channel.publish(source, key, b"x", {"headers": headers} if headers else None, mandatory=True)
    returned = channel.expect("basic.return", "basic.ack").name == "basic.return"
    if returned:
        channel.expect("basic.ack")
    channel.confirmed += 1
    return not returned


def missing(lasting: Lasting, kind: str, name: str) -> bool:
    channel = lasting.client.channel()
    channel.send(f"{kind}.declare", passive=True, **{kind: name})
    if channel.expect(f"{kind}.declare-ok", "channel.close").name == "channel.close":
        channel.send("channel.close-ok")
        return True
    return False


def refusal(lasting: Lasting, method: str, **fields: object) -> str:
    channel = lasting.client.channel()
    channel.send(method, **fields)
    return str(channel.expect_close(406).reply_text)


def test_queues_and_exchanges_are_what_they_were(lasting: Lasting) -> None:
    lasting.channel.queue("q", durable=True)
    for kind in KINDS:
        exchange(lasting.channel, f"x-{kind}", kind)
    exchange(lasting.channel, "x-internal", internal=True)
    channel = lasting.restart()
    names = [
        ("queue", "q"),
        *(("exchange", f"x-{kind}") for kind in (*KINDS, "internal")),
    ]
    assert not [name for kind, name in names if missing(lasting, kind, name)]
    channel.queue("q", durable=True)
    for kind in KINDS:
        exchange(channel, f"x-{kind}", kind)
    exchange(channel, "x-internal", internal=True)
    assert "inequivalent arg 'durable'" in refusal(lasting, "queue.declare", queue="q")
    other_type = {"exchange": "x-topic", "type": "direct", "durable": True}
    assert "inequivalent arg 'type'" in refusal(lasting, "exchange.declare", **other_type)


@pytest.mark.parametrize("kind", ["direct", "topic", "fanout"])
def test_bindings_route_as_before(lasting: Lasting, kind: str) -> None:
    channel = lasting.channel
    exchange(channel, "x", kind)
    channel.queue("q", durable=True)
    bind(channel, "x", "q", "a.*")
    channel = lasting.restart()
    assert reaches(channel, "x", "a.*")
    assert reaches(channel, "x", "a.b") == (kind != "direct")
    assert reaches(channel, "x", "b") == (kind == "fanout")


def test_headers_bindings_keep_their_arguments(lasting: Lasting) -> None:
    channel = lasting.channel
    channel.queue("all", durable=True)
    channel.queue("any", durable=True)
    bind(channel, "amq.headers", "all", "", {"x-match": "all", "size": 10, "colour": "red"})
    bind(channel, "amq.match", "any", "", {"x-match": "any", "size": 10, "colour": "red"})
    channel = lasting.restart()
    assert reaches(channel, "amq.headers", headers={"size": 10, "colour": "red"})
    assert not reaches(channel, "amq.headers", headers={"size": 10})
    assert reaches(channel, "amq.match", headers={"size": 10})
    assert not reaches(channel, "amq.match", headers={"size": 11})


def test_bindings_differing_in_arguments_alone_are_kept_apart(lasting: Lasting) -> None:
    channel = lasting.channel
    channel.queue("q", durable=True)
    for size in (1, 2, 3):
        bind(channel, "amq.headers", "q", "", {"size": size})
    channel.call("queue.unbind", exchange="amq.headers", queue="q", arguments={"size": 2})
    channel = lasting.restart()
    assert [size for size in (1, 2, 3) if reaches(channel, "amq.headers", headers={"size": size})] == [1, 3]


def test_exchange_bindings(lasting: Lasting) -> None:
    channel = lasting.channel
    exchange(channel, "source", "topic")
    exchange(channel, "middle", "fanout")
    channel.queue("q", durable=True)
    bind(channel, "middle", "q")
    for key in ("kept", "taken"):
        channel.call("exchange.bind", source="source", destination="middle", routing_key=key)
    channel.call("exchange.unbind", source="source", destination="middle", routing_key="taken")
    channel = lasting.restart()
    assert reaches(channel, "source", "kept")
    assert not reaches(channel, "source", "taken")


def test_alternate_exchange(lasting: Lasting) -> None:
    channel = lasting.channel
    exchange(channel, "stray", "fanout")
    exchange(channel, "x", "direct", arguments={"alternate-exchange": "stray"})
    channel.queue("q", durable=True)
    bind(channel, "stray", "q")
    channel = lasting.restart()
    assert reaches(channel, "x", "nowhere")
    assert channel.count("q") == 1
    assert "inequivalent arg 'alternate-exchange'" in refusal(
        lasting, "exchange.declare", exchange="x", type="direct", durable=True
    )


def test_unbind(lasting: Lasting) -> None:
    channel = lasting.channel
    channel.queue("q", durable=True)
    for key in ("kept", "taken"):
        bind(channel, "amq.direct", "q", key)
    channel.call("queue.unbind", exchange="amq.direct", queue="q", routing_key="taken")
    channel = lasting.restart()
    assert reaches(channel, "amq.direct", "kept")
    assert not reaches(channel, "amq.direct", "taken")


def test_deleted_queue_stays_away_with_its_messages_and_bindings(lasting: Lasting) -> None:
    channel = lasting.channel
    for name in ("q", "again"):
        channel.queue(name, durable=True)
        bind(channel, "amq.direct", name, name)
        channel.put(name, b"old", properties={"delivery_mode": 2})
        channel.call("queue.delete", queue=name)
    channel.queue("again", durable=True)
    channel.put("again", b"new", properties={"delivery_mode": 2})
    channel = lasting.restart()
    assert missing(lasting, "queue", "q")
    assert channel.drain("again") == [b"new"]
    assert not reaches(channel, "amq.direct", "again")
    channel.queue("q", durable=True)
    assert channel.count("q") == 0
    assert not reaches(channel, "amq.direct", "q")


def test_deleted_exchange_stays_away_with_its_bindings(lasting: Lasting) -> None:
    channel = lasting.channel
    channel.queue("q", durable=True)
    for name in ("x", "kept"):
        exchange(channel, name)
        bind(channel, name, "q", "k")
    channel.call("exchange.delete", exchange="x")
    channel = lasting.restart()
    assert missing(lasting, "exchange", "x")
    assert reaches(channel, "kept", "k")
    exchange(channel, "x")
    assert not reaches(channel, "x", "k")


def test_what_was_auto_deleted_stays_away(lasting: Lasting) -> None:
    channel = lasting.channel
    exchange(channel, "x", auto_delete=True)
    for name in ("q", "unused"):
        channel.queue(name, durable=True, auto_delete=True)
    bind(channel, "x", "q", "k")
    channel.consume("q", "tag")
    channel.call("basic.cancel", consumer_tag="tag")
    assert missing(lasting, "queue", "q")
    assert missing(lasting, "exchange", "x")
    lasting.restart()
    assert missing(lasting, "queue", "q")
    assert missing(lasting, "exchange", "x")
    assert not missing(lasting, "queue", "unused"), "one that never had a consumer stays"


def test_what_was_not_durable_is_gone(lasting: Lasting) -> None:
    channel = lasting.channel
    channel.queue("transient")
    channel.queue("exclusive", durable=True, exclusive=True)
    exchange(channel, "passing", durable=False)
    channel.queue("q", durable=True)
    bind(channel, "passing", "q", "k")
    bind(channel, "amq.direct", "transient", "k")
    channel = lasting.restart()
    assert missing(lasting, "queue", "transient")
    assert missing(lasting, "queue", "exclusive")
    assert missing(lasting, "exchange", "passing")
    assert not missing(lasting, "queue", "q")
    channel.queue("transient")
    exchange(channel, "passing", durable=False)
    assert not reaches(channel, "passing", "k")
    assert not reaches(channel, "amq.direct", "k")


def test_nothing_changes_over_idle_restarts(killed: Lasting) -> None:
    channel = killed.channel
    channel.queue("q", durable=True)
    bind(channel, "amq.topic", "q", "a.#")
    channel.put("q", b"1", properties={"delivery_mode": 2})
    for _ in range(3):
        killed.restart()
    assert killed.channel.drain("q") == [b"1"]
    assert reaches(killed.channel, "amq.topic", "a.b.c")


HASHED_ARGUMENTS: list[dict[str, object]] = [{}, {"hash-header": "h"}, {"x-hash-on": "h", "x-algorithm": "jump"}]


@pytest.mark.flowmq_only
@pytest.mark.parametrize("arguments", HASHED_ARGUMENTS)
def test_hashed_keys_keep_their_queues(lasting: Lasting, arguments: dict[str, object]) -> None:
    """Also when the bindings are made anew in another order."""
    queues = [f"q{number}" for number in range(4)]

    def declare(channel: Channel, order: list[str]) -> None:
        exchange(channel, "x", "x-consistent-hash", arguments=arguments)
        for queue in order:
            bind(channel, "x", channel.queue(queue, durable=True), "2")

    def found(channel: Channel) -> list[list[bytes]]:
        channel.call("confirm.select")
        for number in range(100):
            channel.publish("x", f"user.{number}", b"%d" % number, {"headers": {"h": number}, "delivery_mode": 2})
        channel.wait_for_confirms(100)
        return [channel.drain(queue) for queue in queues]

    declare(lasting.channel, queues)
    before = found(lasting.channel)
    assert sum(map(len, before)) == 100
    assert all(before)
    channel = lasting.restart()
    assert found(channel) == before
    channel.call("exchange.delete", exchange="x")
    declare(channel, queues[::-1])
    assert found(channel) == before
