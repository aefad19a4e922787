"""Plays spoiled sessions against a broker and judges its answers.

Every round has dice of its own, made from the seed and its number: a failure names both, and the round alone can be
played again with `python -m tests.fuzz --seed SEED --first NUMBER --rounds 1`.
"""

import contextlib
import random
import socket
import struct
import time
from dataclasses import dataclass, field

from tests.fuzz.mutations import mutate, pieces
from tests.fuzz.odd import odd_session
from tests.fuzz.sessions import handshake, session
from tests.support import codec
from tests.support.broker import Broker
from tests.support.peer import Peer
from tests.support.wire import Channel, connect

HANG_SECONDS = 20.0
CONNECTION_CODES = {320, 402, 403, 501, 502, 503, 504, 505, 506, 530, 540}
CHANNEL_CODES = {311, 312, 313, 403, 404, 405, 406}
NEIGHBOUR_EVERY = 25


@dataclass
class Outcome:
    """What came back in one round: the methods, and whether the handshake was got through."""

    methods: list[codec.Method] = field(default_factory=list)

    @property
    def closes(self) -> list[tuple[str, int]]:
        return [(m.name, m.reply_code) for m in self.methods if m.name in ("connection.close", "channel.close")]

    @property
    def opened(self) -> bool:
        return any(method.name == "connection.open-ok" for method in self.methods)


def parse_answer(data: bytes) -> Outcome:
    """Whatever a broker sends must be frames to the last octet, but for the header it may answer a header with."""
    outcome, at = Outcome(), 0
    if data[:4] == b"AMQP":
        assert data == codec.PROTOCOL_HEADER, f"{data!r} in answer to a wrong header"
        return outcome
    while at < len(data):
        kind, channel, size = struct.unpack_from(">BHI", data, at)
        end = at + 7 + size
        if end >= len(data):
            break  # the socket ended within a frame: a reset may do that
        assert data[end] == codec.END, f"frame ends in {data[end]:#x}"
        assert kind in (codec.METHOD, codec.HEADER, codec.BODY, codec.HEARTBEAT), kind
        if kind == codec.METHOD:
            outcome.methods.append(codec.decode_method(data[at + 7 : end], channel))
        at = end + 1
    return outcome


def judge(outcome: Outcome) -> None:
    for name, code in outcome.closes:
        allowed = CONNECTION_CODES if name == "connection.close" else CHANNEL_CODES
        assert code in allowed, f"{name} with {code}"
    closed = [index for index, method in enumerate(outcome.methods) if method.name == "connection.close"]
    assert len(closed) <= 1, "closed twice"
    assert not closed or closed[0] == len(outcome.methods) - 1, "methods after connection.close"


def exchange_bytes(peer: Peer, writes: list[bytes]) -> bytes:
    """Write all, say that nothing more will come, and read until the broker closes. Not closing is hanging."""
    with socket.create_connection((peer.host, peer.port), HANG_SECONDS) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        answer = b""
        try:
            for data in writes:
                connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
        except TimeoutError:
            raise AssertionError("the broker stopped reading") from None
        except OSError:
            pass  # it has closed already, as it may; what it said first is still to be read
        with contextlib.suppress(ConnectionError):  # closed with octets of ours unread, which comes out as a reset
            while data := connection.recv(1 << 18):
                answer += data
        return answer


def frames_of_round(peer: Peer, dice: random.Random) -> list[bytes]:
    """Mostly a spoiled or an odd session after a sound handshake; else the handshake is spoiled, or all is noise."""
    greeting = handshake(peer.user, peer.password)
    kind = dice.random()
    if kind < 0.30:
        return greeting + odd_session(dice)
    if kind < 0.35:
        return greeting + mutate(odd_session(dice), dice)
    if kind < 0.75:
        return greeting + mutate(session(dice), dice)
    if kind < 0.90:
        return mutate(greeting, dice) + session(dice)[:20]
    if kind < 0.95:
        return [*greeting, dice.randbytes(dice.randrange(1, 2000))]
    return [dice.randbytes(dice.randrange(1, 2000))]


class Neighbour:
    """A session that does nothing wrong, and to which nothing may happen."""

    def __init__(self, peer: Peer) -> None:
        self.client = connect(peer)
        self.channel: Channel = self.client.channel()
        self.queue = self.channel.queue(exclusive=True)
        self.channel.consume(self.queue, no_ack=True)
        self.turn = 0

    def works(self) -> None:
        self.turn += 1
        body = b"turn %d" % self.turn
        self.channel.publish("", self.queue, body)
        assert self.channel.expect("basic.deliver").body == body


@dataclass
class Tally:
    rounds: int = 0
    opened: int = 0
    closed: dict[tuple[str, int], int] = field(default_factory=dict)

    def add(self, outcome: Outcome) -> None:
        self.rounds += 1
        self.opened += outcome.opened
        for close in outcome.closes:
            self.closed[close] = self.closed.get(close, 0) + 1

    def __str__(self) -> str:
        closes = ", ".join(f"{name} {code}: {count}" for (name, code), count in sorted(self.closed.items()))
        return f"{self.rounds} sessions, {self.opened} through the handshake; {closes}"


def play(broker: Broker, seed: int, first: int = 0, rounds: int | None = None, seconds: float | None = None) -> Tally:
    """Rounds until their number or the time is used up. A failure names the round."""
    tally, neighbour = Tally(), Neighbour(broker.peer)
    ends_at = time.monotonic() + seconds if seconds is not None else None
    number = first
    while (rounds is None or number < first + rounds) and (ends_at is None or time.monotonic() < ends_at):
        dice = random.Random(f"{seed}/{number}")
        try:
            frames = frames_of_round(broker.peer, dice)
            outcome = parse_answer(exchange_bytes(broker.peer, pieces(b"".join(frames), dice)))
            judge(outcome)
            if number % NEIGHBOUR_EVERY == 0:
                neighbour.works()
            assert broker.process.poll() is None, "the broker died"
        except Exception as error:
            raise AssertionError(f"seed {seed}, round {number}: {error!r}\n{broker.log.text[-3000:]}") from error
        tally.add(outcome)
        number += 1
    neighbour.works()
    neighbour.client.close()
    broker.check_log()
    return tally
