"""Sessions that are sound in form and odd in meaning: arguments, names and properties that nobody sane would choose.

What the mutations of octets hardly ever bring about: a known argument with a value of another type or at the edge of
its own, on queues and exchanges that do everything there is to do.
"""

import random
from decimal import Decimal
from typing import Any

from tests.support import codec
from tests.support.codec import Typed


def words(text: str) -> list[str]:
    return text.split()


QUEUE_ARGUMENTS = words(
    "x-queue-type x-message-deduplication x-cache-size x-cache-ttl x-deduplication-header x-expires x-message-ttl "
    "x-dead-letter-exchange x-dead-letter-routing-key x-dead-letter-strategy x-max-length x-max-length-bytes "
    "x-max-priority x-overflow x-single-active-consumer x-delivery-limit x-delayed-retry-type x-delayed-retry-min "
    "x-delayed-retry-max x-consumer-timeout x-max-in-memory-length x-queue-mode x-queue-version "
    "x-quorum-initial-group-size x-queue-leader-locator x-max-age unknown"
)
EXCHANGE_ARGUMENTS = words(
    "alternate-exchange hash-header x-hash-on hash-property x-algorithm x-delayed-type x-recent-history-length "
    "x-message-deduplication x-cache-size x-cache-ttl x-deduplication-header"
)
CONSUMER_ARGUMENTS = words("x-priority x-consumer-timeout x-cancel-on-ha-failover x-stream-offset")
KINDS = words(
    "direct fanout topic headers x-consistent-hash x-modulus-hash x-random x-local-random x-delayed-message "
    "x-recent-history"
)
WORDS = words(
    "quorum classic stream lazy default drop-head reject-publish reject-publish-dlx at-least-once at-most-once all "
    "failed returned disabled message_id correlation_id timestamp direct topic headers fanout x-delayed-message odd-a"
)
ODD_TEXTS = ("", " ", "a" * 255, "\udcff\udcfe", "\0", "\n", "ä" * 100, "{username}", "a.#.*.b", "." * 255, "#." * 127)
NUMBERS = (0, 1, 2, 3, 100, 255, 256, -1, 2**31 - 1, -(2**31), 2**32, 2**63 - 1, -(2**63))
OTHERS: tuple[Any, ...] = (
    None,
    True,
    False,
    1.5,
    float("nan"),
    float("inf"),
    b"\0\xff",
    Decimal("-1.25"),
    Typed("T", 0),
    Typed("T", 2**64 - 1),
    Typed("b", -128),
    Typed("B", 255),
    Typed("u", 65535),
    Typed("i", 2**32 - 1),
    Typed("f", 0.5),
    Typed("D", Decimal("1E-255")),
    Typed("S", "x" * 5000),
    {},
    [],
    {"": {}},
    [[], {"a": [None]}],
)
NAMES = ("odd-a", "odd-b", "odd-c")
EXPIRATIONS = ("0", "1", "-1", "", "1.5", " 1", "00", "4294967296", str(2**63), "9" * 255, "x")


def nested(depth: int) -> Any:
    value: Any = None
    for level in range(depth):
        value = [value] if level % 2 else {"n": value}
    return value


def odd_value(dice: random.Random) -> Any:
    kind = dice.random()
    if kind < 0.4:
        return dice.choice(NUMBERS)
    if kind < 0.7:
        return dice.choice(WORDS)
    if kind < 0.8:
        return dice.choice(ODD_TEXTS)
    if kind < 0.82:
        return nested(dice.choice((5, 60, 64, 65, 90)))
    return dice.choice(OTHERS)


def odd_arguments(dice: random.Random, known: list[str]) -> dict[str, Any]:
    return {name: odd_value(dice) for name in dice.sample(known, min(len(known), dice.choice((0, 0, 1, 1, 2, 4))))}


def odd_name(dice: random.Random, names: tuple[str, ...] = NAMES) -> str:
    return dice.choice(names) if dice.random() < 0.9 else dice.choice(("", "amq.x", *ODD_TEXTS))


def bits(dice: random.Random, *names: str) -> dict[str, bool]:
    return {name: dice.random() < 0.15 for name in names}


def declare_queue(dice: random.Random, number: int) -> list[bytes]:
    fields = {
        "queue": odd_name(dice),
        "durable": dice.random() < 0.3,
        "arguments": odd_arguments(dice, QUEUE_ARGUMENTS),
        **bits(dice, "passive", "exclusive", "auto_delete", "nowait"),
    }
    return [codec.method_frame(number, "queue.declare", **fields)]


def declare_exchange(dice: random.Random, number: int) -> list[bytes]:
    fields = {
        "exchange": odd_name(dice),
        "type": dice.choice(KINDS) if dice.random() < 0.95 else dice.choice(ODD_TEXTS),
        "durable": dice.random() < 0.3,
        "arguments": odd_arguments(dice, EXCHANGE_ARGUMENTS),
        **bits(dice, "passive", "internal", "auto_delete", "nowait"),
    }
    return [codec.method_frame(number, "exchange.declare", **fields)]


def bind(dice: random.Random, number: int) -> list[bytes]:
    arguments = {"x-match": odd_value(dice)} if dice.random() < 0.3 else {}
    arguments |= {"h": odd_value(dice)} if dice.random() < 0.5 else {}
    key = dice.choice(("1", "7", "#", "*", "k", "", *ODD_TEXTS))
    if dice.random() < 0.6:
        name, fields = (
            dice.choice(("queue.bind", "queue.unbind")),
            {"queue": odd_name(dice), "exchange": odd_name(dice)},
        )
    else:
        name = dice.choice(("exchange.bind", "exchange.unbind"))
        fields = {"source": odd_name(dice), "destination": odd_name(dice)}
    return [codec.method_frame(number, name, routing_key=key, arguments=arguments, **fields)]


HEADER_NAMES = words(
    "CC BCC x-delay x-death x-deduplication-header x-delivery-count x-acquired-count x-recent-history-no-store "
    "x-first-death-queue x-last-death-reason h n"
)


def odd_death(dice: random.Random) -> Any:
    """x-death nearly as the broker would write it."""
    entry = {
        "count": dice.choice((1, 2**63 - 1, odd_value(dice))),
        "reason": dice.choice(("rejected", "expired", odd_value(dice))),
        "queue": dice.choice((*NAMES, odd_value(dice))),
        "exchange": odd_name(dice),
        "routing-keys": dice.choice((["k"], [], [1, None], odd_value(dice))),
        "time": Typed("T", 1),
    }
    for name in dice.sample(sorted(entry), dice.choice((0, 0, 1, 3))):
        del entry[name]
    return dice.choice(([entry], [entry] * 40, entry, [entry, None]))


def odd_header(dice: random.Random, name: str) -> Any:
    if name == "x-death" and dice.random() < 0.7:
        return odd_death(dice)
    if name in ("CC", "BCC") and dice.random() < 0.7:
        return [dice.choice((*NAMES, "k", "", 1, None)) for _ in range(dice.choice((0, 1, 3, 200)))]
    return odd_value(dice)


def publish(dice: random.Random, number: int) -> list[bytes]:
    properties: dict[str, Any] = {}
    if dice.random() < 0.7:
        names = dice.sample(HEADER_NAMES, dice.choice((1, 1, 2, 3)))
        properties["headers"] = {name: odd_header(dice, name) for name in names}
    if dice.random() < 0.3:
        properties["expiration"] = dice.choice(EXPIRATIONS) if dice.random() < 0.2 else dice.choice(("0", "1", "1000"))
    for name, values in (
        ("priority", (0, 1, 9, 255)),
        ("delivery_mode", (0, 1, 2, 255)),
        ("timestamp", (0, 2**64 - 1)),
    ):
        if dice.random() < 0.3:
            properties[name] = dice.choice(values)
    if dice.random() < 0.1:
        properties[dice.choice(("user_id", "reply_to", "message_id", "type"))] = dice.choice(("guest", *ODD_TEXTS))
    fields = {"exchange": dice.choice((*NAMES, "")), "routing_key": odd_name(dice), **bits(dice, "mandatory")}
    body = b"x" * dice.choice((0, 0, 1, 1000))
    return [
        codec.method_frame(number, "basic.publish", **fields),
        codec.content_frames(number, body, properties, dice.choice((64, 131072))),
    ]


def use(dice: random.Random, number: int) -> list[bytes]:
    queue, tag = odd_name(dice), dice.choice((0, 0, 1, 2, 3, 2**64 - 1))
    several = {"multiple": tag == 0 or dice.random() < 0.5}
    choices: list[tuple[str, dict[str, Any]]] = [
        ("basic.get", {"queue": queue, "no_ack": dice.random() < 0.5}),
        ("basic.get", {"queue": queue}),
        ("basic.consume", {"queue": queue, "arguments": odd_arguments(dice, CONSUMER_ARGUMENTS), "no_ack": tag > 1}),
        ("basic.consume", {"queue": queue, "consumer_tag": odd_name(dice), **bits(dice, "exclusive", "nowait")}),
        ("basic.cancel", {"consumer_tag": odd_name(dice), **bits(dice, "nowait")}),
        ("basic.ack", {"delivery_tag": tag, **several}),
        ("basic.nack", {"delivery_tag": tag, "requeue": dice.random() < 0.5, **several}),
        ("basic.recover", {"requeue": dice.random() < 0.9}),
        ("basic.qos", {"prefetch_count": dice.choice((0, 1, 65535)), **bits(dice, "global_")}),
        ("queue.purge", {"queue": queue}),
        ("queue.delete", {"queue": queue, **bits(dice, "if_unused", "if_empty")}),
        ("exchange.delete", {"exchange": odd_name(dice), **bits(dice, "if_unused")}),
        ("confirm.select", {}),
        ("tx.select", {}),
        ("tx.commit", {}),
        ("tx.rollback", {}),
        ("channel.flow", {"active": dice.random() < 0.9}),
        ("connection.update-secret", {"new_secret": "guest", "reason": "y"}),
    ]
    weights = [3, 3, 2, 2, 1, 3, 4, 2, 1, 1, 1, 1, 1, 0.2, 1, 1, 0.3, 0.1]
    name, fields = dice.choices(choices, weights)[0]
    return [codec.method_frame(0 if name.startswith("connection") else number, name, **fields)]


def odd_session(dice: random.Random) -> list[bytes]:
    """On many channels, so that what is refused on one does not end the rest."""
    channels = list(range(1, 60))
    frames = [codec.method_frame(number, "channel.open") for number in channels]
    for _ in range(dice.randrange(10, 120)):
        step = dice.choices((declare_queue, declare_exchange, bind, publish, use), (4, 3, 4, 8, 6))[0]
        frames += step(dice, dice.choice(channels))
    return frames
