"""Valid sessions, made at random: what a client might send after its handshake, frame by frame."""

import random
from typing import Any

from tests.support import codec
from tests.support.codec import HEARTBEAT, Typed
from tests.support.wire import plain

CHANNELS = (1, 2, 9)
QUEUES = ("fuzz-a", "fuzz-b", "fuzz-c")
EXCHANGES = {
    "fuzz-direct": "direct",
    "fuzz-topic": "topic",
    "fuzz-headers": "headers",
    "fuzz-fanout": "fanout",
    "fuzz-hash": "x-consistent-hash",
    "fuzz-random": "x-random",
}
HASHED = {"hash-header": "n"}
KEYS = ("a", "a.b", "a.*", "#", "", "fuzz-a", "fuzz-b")
WEIGHTS = ("1", "2", "3000")
HEADERS: dict[str, Any] = {
    "a": 1,
    "b": "two",
    "n": {"deep": [1, {"deeper": None}]},
    "t": Typed("T", 5),
    "d": 1.5,
    "x": b"\0",
}


def handshake(user: str, password: str) -> list[bytes]:
    """Header to connection.open in one go; a client may write ahead."""
    start_ok = codec.method_frame(
        0,
        "connection.start-ok",
        client_properties={"product": "fuzz", "capabilities": {"authentication_failure_close": True}},
        mechanism="PLAIN",
        response=plain(user, password),
        locale="en_US",
    )
    tune_ok = codec.method_frame(0, "connection.tune-ok", channel_max=2047, frame_max=131072, heartbeat=0)
    return [
        codec.PROTOCOL_HEADER,
        start_ok,
        tune_ok,
        codec.method_frame(0, "connection.open", virtual_host="/"),
    ]


def opening() -> list[bytes]:
    frames = [codec.method_frame(number, "channel.open") for number in CHANNELS]
    frames += [codec.method_frame(1, "queue.declare", queue=queue, exclusive=True) for queue in QUEUES]
    for exchange, kind in EXCHANGES.items():
        arguments = HASHED if kind == "x-consistent-hash" else {}
        fields = {"exchange": exchange, "type": kind, "auto_delete": True, "arguments": arguments}
        frames.append(codec.method_frame(1, "exchange.declare", **fields))
    return frames


def _publish(dice: random.Random, number: int) -> list[bytes]:
    exchange = dice.choice(["", *EXCHANGES])
    body = dice.randbytes(dice.choice([0, 1, 10, 100, 5000]))
    properties: dict[str, Any] = {"headers": HEADERS} if dice.random() < 0.5 else {}
    properties |= {"delivery_mode": dice.choice([1, 2])} if dice.random() < 0.5 else {}
    properties |= {"reply_to": "amq.rabbitmq.reply-to"} if dice.random() < 0.02 else {}
    mandatory, key = dice.random() < 0.3, dice.choice(KEYS)
    method = codec.method_frame(number, "basic.publish", exchange=exchange, routing_key=key, mandatory=mandatory)
    return [method, codec.content_frames(number, body, properties, dice.choice([64, 1024, 131072]))]


def _bind(dice: random.Random, number: int) -> list[bytes]:
    name = dice.choice(["queue.bind", "queue.unbind"])
    arguments = {"x-match": dice.choice(["any", "all", "all-with-x"]), **HEADERS} if dice.random() < 0.5 else {}
    exchange = dice.choice(list(EXCHANGES))
    fields = {"queue": dice.choice(QUEUES), "exchange": exchange, "routing_key": _binding_key(dice, exchange)}
    return [codec.method_frame(number, name, arguments=arguments, **fields)]


def _bind_exchanges(dice: random.Random, number: int) -> list[bytes]:
    name = dice.choice(["exchange.bind", "exchange.unbind"])
    source, destination = dice.choice(list(EXCHANGES)), dice.choice(list(EXCHANGES))
    key = _binding_key(dice, source)
    return [codec.method_frame(number, name, source=source, destination=destination, routing_key=key)]


def _binding_key(dice: random.Random, exchange: str) -> str:
    return dice.choice(WEIGHTS if EXCHANGES[exchange] == "x-consistent-hash" else KEYS)


def _simple(dice: random.Random, number: int) -> list[bytes]:
    tag = dice.choice((0, 0, 0, 0, 1, 2, 5))
    several = (
        tag == 0 or dice.random() < 0.5
    )  # nought and several is never wrong, and sessions should go on for a while
    choices: list[tuple[str, dict[str, Any]]] = [
        ("basic.consume", {"queue": dice.choice(QUEUES), "no_ack": dice.random() < 0.5}),
        ("basic.consume", {"queue": "amq.rabbitmq.reply-to", "no_ack": True}),
        ("basic.get", {"queue": dice.choice(QUEUES)}),
        ("basic.ack", {"delivery_tag": tag, "multiple": several}),
        ("basic.nack", {"delivery_tag": tag, "multiple": several, "requeue": dice.random() < 0.5}),
        ("basic.reject", {"delivery_tag": dice.randrange(1, 6), "requeue": dice.random() < 0.5}),
        ("basic.qos", {"prefetch_count": tag, "global_": dice.random() < 0.5}),
        ("basic.recover", {"requeue": True}),
        ("queue.purge", {"queue": dice.choice(QUEUES)}),
        ("queue.delete", {"queue": dice.choice(QUEUES)}),
        ("queue.declare", {"queue": dice.choice(QUEUES), "exclusive": True}),
        ("exchange.delete", {"exchange": dice.choice(list(EXCHANGES))}),
        ("confirm.select", {}),
        ("tx.select", {}),
        ("tx.commit", {}),
        ("tx.rollback", {}),
        ("channel.close", {"reply_code": 200, "reply_text": "bye"}),
        ("channel.close-ok", {}),
        ("channel.open", {}),
    ]
    name, fields = dice.choice(choices)
    return [codec.method_frame(number, name, **fields)]


def session(dice: random.Random) -> list[bytes]:
    """Frames of a session: legal ones each, though not always in a legal order."""
    frames = opening()
    for _ in range(dice.randrange(5, 60)):
        step = dice.choices((_publish, _bind, _bind_exchanges, _simple), (5, 2, 1, 4))[0]
        frames += step(dice, dice.choice(CHANNELS))
        if dice.random() < 0.05:
            frames.append(codec.frame(HEARTBEAT, 0, b""))
    return frames
