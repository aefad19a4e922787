"""Connections on real sockets: reads and writes cut anywhere, pauses, and all the ways in which a socket ends.

The event loop is the tests' own: a round is what `turn` does, so that nothing here depends on who is faster.
"""

import gc
import os
import random
import select
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from flowmq._busy_poll import look_again, set_busy_poll
from flowmq._channel import Channel
from flowmq._connection import Connection
from flowmq._peer import flush
from flowmq._sockets import SocketTransport
from flowmq.server.entry import Entry
from flowmq.server.session import Session
from tests.support import codec
from tests.support.codec import Method
from tests.unit.support_plane import Plane, Timer, decode, handshake_octets, publish_frames

SMALL = 4608  # octets of a socket's buffer, the least that Linux has
HEARTBEAT = b"\x08\x00\x00\x00\x00\x00\x00\xce"
NO_LINGER = struct.pack("ii", 1, 0)  # close() resets the connection


class Client:
    """One end of a connection over TCP; the other is the broker's."""

    def __init__(self, house: "House", **buffers: int) -> None:
        self.house = house
        self.socket = socket.socket()
        house.stack.enter_context(self.socket)
        if "receive" in buffers:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffers["receive"])
        self.socket.connect(house.listening.getsockname())
        self.socket.setblocking(False)
        accepted, peer = house.listening.accept()
        if "send" in buffers:
            accepted.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffers["send"])
        self.session = Session(house.plane.node, Entry(handshake_seconds=10.0, mechanisms=["PLAIN"]))
        self.connection = self.session.connection
        house.sockets.begin(accepted, self.connection, peer)
        self.accepted = accepted
        self.unsent = b""
        self.received = b""
        self.has_ended = False

    def send(self, octets: bytes) -> None:
        self.unsent += octets
        self.push()

    def push(self) -> None:
        while self.unsent:
            try:
                count = self.socket.send(self.unsent)
            except BlockingIOError:
                return
            self.unsent = self.unsent[count:]

    def pull(self, count: int = 1 << 20) -> bool:
        """Read once, at most so many octets. False when there is nothing."""
        try:
            octets = self.socket.recv(count)
        except BlockingIOError:
            return False
        self.received += octets
        self.has_ended = self.has_ended or not octets
        return bool(octets)

    def until(self, is_done: Callable[[], Any], count: int = 1 << 20) -> None:
        """Turn by turn, reading and sending what there is to."""
        while not is_done():
            self.push()
            self.pull(count)
            self.house.turn()

    def methods(self, count: int) -> list[Method]:
        """The next so many, whole."""
        found: list[Method] = []
        while len(found) < count:
            self.pull()
            self.house.turn()
            end = whole(self.received)
            if end:
                octets, self.received = self.received[:end], self.received[end:]
                found += decode(octets)
        assert len(found) == count, [str(method) for method in found]
        return found

    def open(self) -> "Client":
        self.send(handshake_octets() + codec.method_frame(1, "channel.open"))
        assert [method.name for method in self.methods(4)][-1] == "channel.open-ok"
        return self

    def call(self, name: str, **fields: Any) -> Method:
        self.send(codec.method_frame(1, name, **fields))
        (method,) = self.methods(1)
        assert method.name == f"{name}-ok"
        return method

    def reset(self) -> None:
        """As a process that is killed with something unread, or a machine that has forgotten the connection."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_LINGER)
        self.socket.close()


def whole(octets: bytes) -> int:
    """Where the last whole method ends, its content included; 0: not one is."""
    at = end = 0
    missing = 0
    while len(octets) - at >= 8:
        kind, _, size = struct.unpack_from(">BHI", octets, at)
        if len(octets) - at < size + 8:
            break
        if kind == codec.METHOD and struct.unpack_from(">HH", octets, at + 7) in [(60, 50), (60, 60), (60, 71)]:
            missing = 1  # its header
        elif kind == codec.HEADER:
            missing = struct.unpack_from(">Q", octets, at + 11)[0]
        elif kind == codec.BODY:
            missing -= size
        at += size + 8
        if missing == 0:
            end = at
    return end


class House:
    def __init__(self, stack: ExitStack, **limits: Any) -> None:
        self.stack = stack
        self.plane = stack.enter_context(Plane(**limits))
        self.sockets = self.plane.node.sockets
        self.listening = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=512))
        self.errors: list[dict[str, Any]] = []
        self.plane.loop.call_exception_handler = self.errors.append  # type: ignore[attr-defined]

    def turn(self) -> None:
        self.sockets.on_readable()  # type: ignore[attr-defined]
        self.plane.loop.run()

    def is_asked(self, seconds: float = 0.0) -> bool:
        """Would an event loop call now?"""
        return bool(select.select([self.sockets.fileno()], [], [], seconds)[0])

    def settle(self) -> None:
        self.plane.loop.run()
        while self.is_asked():
            self.turn()


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as opened:
        yield opened


@pytest.fixture
def house(stack: ExitStack) -> House:
    made = House(stack)
    stack.callback(made.settle)
    return made


def test_questions_are_answered(house: House) -> None:
    client = Client(house).open()
    assert client.call("queue.declare", queue="q").queue == "q"
    assert client.connection.reads
    assert client.connection.writes
    assert client.connection.sent_bytes > 0


@pytest.mark.parametrize("seed", range(6))
def test_whatever_fits_into_one_write_everything_arrives_in_order(stack: ExitStack, seed: int) -> None:
    """Bodies of all sizes, those too that are sent from where they lie, to a client that reads a little at a time."""
    house = House(stack, outgoing_bytes_max=3_000_000)
    draw = random.Random(seed)
    publisher, consumer = Client(house).open(), Client(house, receive=SMALL, send=SMALL).open()
    publisher.call("queue.declare", queue="q")
    consumer.call("basic.consume", queue="q", consumer_tag="c", no_ack=True)
    sizes = [draw.choice([0, 1, 100, 5_000, 32_768, 40_000, 200_000]) for _ in range(60)]
    bodies = [draw.randbytes(size) for size in sizes]
    for body in bodies:
        publisher.send(publish_frames(1, "q", body))
    publisher.until(lambda: not publisher.unsent)
    house.settle()
    assert consumer.connection.outgoing_bytes, "nothing had to wait: the test tests nothing"
    octets = sum(sizes)
    consumer.until(lambda: len(consumer.received) >= octets and whole(consumer.received) == len(consumer.received),
                   draw.choice([700, 5_000, 100_000]))  # fmt: skip
    assert [method.body for method in decode(consumer.received)] == bodies
    assert consumer.connection.outgoing_bytes == 0
    assert not house.is_asked()


def test_a_client_that_does_not_read_is_told_nothing_more_and_goes_on_when_it_does(stack: ExitStack) -> None:
    house = House(stack, outgoing_bytes_max=100_000)
    publisher, consumer = Client(house).open(), Client(house, receive=SMALL, send=SMALL).open()
    publisher.call("queue.declare", queue="q")
    consumer.call("basic.consume", queue="q", consumer_tag="c", no_ack=True)
    for number in range(2000):
        publisher.send(publish_frames(1, "q", b"%08d" % number + b"x" * 1000))
    publisher.until(lambda: not publisher.unsent)
    house.settle()
    assert house.plane.queue("q").message_count > 1000
    assert consumer.connection.paused
    assert consumer.connection.outgoing_bytes < 800_000
    consumer.until(lambda: len(consumer.received) >= 2000 * 1008 and whole(consumer.received) == len(consumer.received))
    assert [method.body[:8] for method in decode(consumer.received)] == [b"%08d" % number for number in range(2000)]
    assert not consumer.connection.paused


def test_who_is_not_read_costs_nothing_and_is_read_again(house: House) -> None:
    client = Client(house).open()
    client.connection.stop_reading()
    client.send(codec.method_frame(1, "basic.qos", prefetch_count=1))
    house.settle()
    assert not house.is_asked(), "an event loop would spin"
    client.connection.resume_reading()
    assert [method.name for method in client.methods(1)] == ["basic.qos-ok"]


@pytest.mark.parametrize("is_reset", [False, True])
def test_the_end_of_who_is_not_read_is_seen_when_it_is_read_again(house: House, is_reset: bool) -> None:
    client = Client(house).open()
    client.connection.stop_reading()
    if is_reset:
        client.reset()
    else:
        client.socket.shutdown(socket.SHUT_RDWR)
    house.settle()
    assert not house.is_asked(), "an event loop would spin"
    assert client.connection.transport is not None
    client.connection.resume_reading()
    house.settle()
    assert client.connection.transport is None
    assert client.accepted.fileno() == -1


def test_what_was_sent_before_the_end_is_read(house: House) -> None:
    client = Client(house).open()
    client.call("queue.declare", queue="q")
    client.send(publish_frames(1, "q", b"last words"))
    client.socket.close()
    house.settle()
    assert client.connection.transport is None
    assert house.plane.queue("q").message_count == 1


def test_what_was_sent_before_a_reset_is_read_although_its_answers_cannot_be_written(house: House) -> None:
    """Publishes that arrived are not lost because a confirm finds nobody."""
    client = Client(house).open()
    client.call("queue.declare", queue="q")
    client.send(publish_frames(1, "q", b"last words"))
    assert select.select([client.accepted], [], [], 10)[0]
    client.reset()
    gone = select.poll()
    gone.register(client.accepted, 0)
    assert gone.poll(10_000), "the reset has not come"
    client.connection.send_octets(HEARTBEAT)
    flush()
    assert client.connection.transport is not None
    house.settle()
    assert client.connection.transport is None
    assert house.plane.queue("q").message_count == 1


def test_closed_by_the_client_with_much_still_to_be_written(stack: ExitStack) -> None:
    house = House(stack, outgoing_bytes_max=1_000_000)
    client = Client(house, receive=SMALL, send=SMALL).open()
    client.call("queue.declare", queue="q")
    client.call("basic.consume", queue="q", consumer_tag="c", no_ack=True)
    client.send(publish_frames(1, "q", b"x" * 400_000) + codec.method_frame(0, "connection.close", reply_code=200))
    client.until(lambda: client.has_ended)
    assert [method.name for method in decode(client.received)] == ["basic.deliver", "connection.close-ok"]
    assert client.connection.transport is None
    assert client.accepted.fileno() == -1
    assert len(house.sockets) == 0


def test_a_client_that_closes_and_never_reads_what_is_left_has_its_time(
    stack: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    house = House(stack, outgoing_bytes_max=1_000_000)
    client = Client(house, receive=SMALL, send=SMALL).open()
    client.call("queue.declare", queue="q")
    client.call("basic.consume", queue="q", consumer_tag="c", no_ack=True)
    asked: list[tuple[float, Callable[[], None]]] = []
    monkeypatch.setattr(house.plane.loop, "call_later", lambda *what: asked.append(what) or Timer())
    client.send(publish_frames(1, "q", b"x" * 400_000) + codec.method_frame(0, "connection.close", reply_code=200))
    house.settle()
    assert client.connection.outgoing_bytes
    ((seconds, give_up),) = asked
    assert 10 <= seconds <= 60
    give_up()
    house.settle()
    assert client.connection.transport is None
    assert client.accepted.fileno() == -1


def test_the_answer_to_a_farewell_is_written_although_there_was_no_room_for_it(stack: ExitStack) -> None:
    house = House(stack, outgoing_bytes_max=1_000_000)
    client = Client(house, receive=SMALL, send=SMALL).open()
    client.call("queue.declare", queue="q")
    client.call("basic.consume", queue="q", consumer_tag="c", no_ack=True)
    client.send(publish_frames(1, "q", b"x" * 400_000))
    client.until(lambda: client.connection.paused)
    client.send(codec.method_frame(0, "connection.close", reply_code=200))
    client.until(lambda: client.has_ended)
    assert [method.name for method in decode(client.received)] == ["basic.deliver", "connection.close-ok"]
    house.settle()
    assert client.connection.transport is None


def half_closed_and_owed_something(house: House) -> Client:
    client = Client(house, receive=SMALL, send=SMALL).open()
    client.call("queue.declare", queue="q")
    client.call("basic.consume", queue="q", consumer_tag="c", no_ack=True)
    client.send(publish_frames(1, "q", b"x" * 100_000))
    client.until(lambda: not client.unsent and client.connection.outgoing_bytes)
    client.socket.shutdown(socket.SHUT_WR)
    return client


def test_who_has_ended_its_side_gets_what_was_on_its_way_and_nothing_more(stack: ExitStack) -> None:
    house = House(stack)
    client, other = half_closed_and_owed_something(house), Client(house).open()
    house.settle()
    other.send(publish_frames(1, "q", b"for others"))
    house.settle()
    assert house.plane.queue("q").message_count == 1
    client.until(lambda: client.has_ended)
    assert [method.body for method in decode(client.received)] == [b"x" * 100_000]
    house.settle()
    assert client.connection.transport is None


def test_who_has_ended_its_side_and_never_reads_has_its_time(stack: ExitStack, monkeypatch: pytest.MonkeyPatch) -> None:
    house = House(stack)
    client = half_closed_and_owed_something(house)
    asked: list[tuple[float, Callable[[], None]]] = []
    monkeypatch.setattr(house.plane.loop, "call_later", lambda *what: asked.append(what) or Timer())
    house.settle()
    assert client.connection.transport is not None
    ((seconds, give_up),) = asked
    assert 10 <= seconds <= 60
    give_up()
    house.settle()
    assert client.connection.transport is None
    assert client.accepted.fileno() == -1


def test_aborted_with_much_still_to_be_written(stack: ExitStack) -> None:
    house = House(stack, outgoing_bytes_max=1_000_000)
    client = Client(house, receive=SMALL, send=SMALL).open()
    client.call("queue.declare", queue="q")
    client.call("basic.consume", queue="q", consumer_tag="c", no_ack=True)
    client.send(publish_frames(1, "q", b"x" * 400_000))
    house.settle()
    assert client.connection.outgoing_bytes
    client.session.abort()
    house.settle()
    assert client.connection.transport is None
    assert client.accepted.fileno() == -1


@pytest.fixture
def no_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def alive() -> list[str]:
    """What there is of connections, garbage that nobody has collected included."""
    kinds = (Session, Connection, Channel, SocketTransport)
    return sorted(type(found).__name__ for found in gc.get_objects() if isinstance(found, kinds))


@pytest.mark.usefixtures("no_collector")
@pytest.mark.parametrize("by", ["itself", "a reset", "the client's farewell", "the broker"])
def test_nothing_of_an_ended_connection_waits_for_a_collector(house: House, by: str) -> None:
    before = alive()
    client = Client(house).open()
    client.call("queue.declare", queue="q", exclusive=True)
    client.call("basic.consume", queue="q", consumer_tag="c")
    client.send(publish_frames(1, "q", b"unacknowledged"))
    house.settle()
    assert alive() != before
    match by:
        case "itself":
            client.socket.close()
        case "a reset":
            client.reset()
        case "the client's farewell":
            client.send(codec.method_frame(0, "connection.close", reply_code=200))
        case "the broker":
            client.session.abort()
    house.settle()
    assert client.connection.transport is None
    del client.session, client.connection
    assert alive() == before


@pytest.mark.parametrize("pending", [False, True])
def test_ended_by_what_another_one_sends_in_the_same_round(stack: ExitStack, pending: bool) -> None:
    """Its own event of that round comes after its end, when nothing else holds it any more."""
    house = House(stack)
    deleting, client = Client(house).open(), Client(house, receive=SMALL, send=SMALL).open()
    client.call("queue.declare", queue="q", exclusive=True)
    client.call("basic.consume", queue="q", consumer_tag="c", no_ack=True)
    if pending:
        client.send(publish_frames(1, "q", b"x" * 100_000))
        client.until(lambda: not client.unsent and client.connection.outgoing_bytes)
        house.settle()
    connection, accepted = client.connection, client.accepted

    def delete_user(*_: object) -> None:
        session = connection.session
        session.evict("its user is gone")
        gc.collect()

    deleting.session.method = delete_user  # type: ignore[method-assign]
    deleting.send(codec.method_frame(1, "basic.qos", prefetch_count=1))
    assert select.select([deleting.accepted], [], [], 10)[0]
    client.send(publish_frames(1, "q", b"never read"))
    assert select.select([accepted], [], [], 10)[0]
    reads = connection.reads
    del client.connection, client.session
    house.settle()
    assert connection.reads == reads
    assert connection.transport is None
    assert accepted.fileno() == -1
    assert len(house.sockets) == 1
    assert not house.errors


def test_a_descriptor_that_is_used_again_at_once_is_the_next_connection(house: House) -> None:
    for number in range(20):
        client = Client(house).open()
        descriptor = client.accepted.fileno()
        client.send(codec.method_frame(1, "basic.qos", prefetch_count=number))
        client.session.abort()
        client.session.abort()
        house.settle()
        assert client.accepted.fileno() == -1
        following = Client(house).open()
        assert descriptor in (following.accepted.fileno(), following.socket.fileno())
        following.call("basic.qos", prefetch_count=1)
        following.socket.close()
        client.socket.close()
        house.settle()
    assert len(house.sockets) == 0


def test_reset_says_so(house: House, caplog: pytest.LogCaptureFixture) -> None:
    client = Client(house).open()
    caplog.set_level("INFO", "flowmq")
    client.reset()
    house.settle()
    assert client.connection.transport is None
    assert "Connection reset by peer" in caplog.text


def fail(*_: object) -> None:
    raise RuntimeError("ours")


def test_an_error_of_ours_ends_one_connection_alone(house: House) -> None:
    client, other = Client(house).open(), Client(house).open()
    client.session.method = fail  # type: ignore[method-assign]
    client.session.failed = fail  # type: ignore[method-assign]
    client.send(codec.method_frame(1, "basic.qos", prefetch_count=1))
    house.settle()
    assert [str(found["exception"]) for found in house.errors] == ["ours"]
    assert client.connection.transport is None
    other.call("basic.qos", prefetch_count=1)


def test_an_error_of_ours_at_the_beginning_ends_that_connection_alone(house: House) -> None:
    other = Client(house).open()
    house.plane.node.session_began = fail  # type: ignore[method-assign]
    client = Client(house)
    house.settle()
    assert [str(found["exception"]) for found in house.errors] == ["ours"]
    assert client.accepted.fileno() == -1
    assert len(house.sockets) == 1
    other.call("basic.qos", prefetch_count=1)


def test_more_sockets_than_a_round_can_tell_of(house: House) -> None:
    clients = [Client(house).open() for _ in range(300)]
    for client in clients:
        client.send(codec.method_frame(1, "basic.qos", prefetch_count=1))
    house.settle()
    for client in clients:
        assert [method.name for method in client.methods(1)] == ["basic.qos-ok"]


def test_a_flood_is_one_read_of_each_round(house: House) -> None:
    """Whoever sends more than a read takes is read once before all others are."""
    flooding, quiet = Client(house).open(), Client(house).open()
    flooding.call("queue.declare", queue="q")
    flooding.send(publish_frames(1, "q", b"x" * 1000) * 2000)
    quiet.send(codec.method_frame(1, "basic.qos", prefetch_count=1))
    assert select.select([quiet.accepted], [], [], 10)[0]
    reads = flooding.connection.reads
    house.turn()
    assert flooding.connection.reads <= reads + 1
    assert quiet.pull()
    flooding.until(lambda: not flooding.unsent)
    house.settle()
    assert house.plane.queue("q").message_count == 2000


def test_rounds_get_smaller_where_many_flood_and_all_have_their_turn(house: House) -> None:
    flooding = [Client(house).open() for _ in range(60)]
    flooding[0].call("queue.declare", queue="q", arguments={"x-max-length": 10})
    flood = publish_frames(1, "q", b"x" * 1000) * 1000
    received = [client.connection.received_bytes for client in flooding]
    for client in flooding:
        client.send(flood)
    rounds = []
    for _ in range(40):
        before = sum(client.connection.received_bytes for client in flooding)
        reads = [client.connection.reads for client in flooding]
        house.turn()
        rounds.append(sum(client.connection.received_bytes for client in flooding) - before)
    assert rounds[0] > 2_000_000, "nobody floods: the test tests nothing"
    assert max(rounds[6:]) <= 1_100_000
    assert min(reads) > max(reads) - 5, "the last in line get less than others"
    for client, before in zip(flooding, received, strict=True):
        client.until(lambda client=client, before=before: client.connection.received_bytes == before + len(flood))  # type: ignore[misc]
    flooding[0].call("basic.qos", prefetch_count=1)


def test_a_look_deals_with_what_comes_and_ends_in_silence(house: House) -> None:
    client = Client(house).open()
    client.send(codec.method_frame(1, "basic.qos", prefetch_count=1))
    assert select.select([client.accepted], [], [], 10)[0]
    house.sockets.look(10**9)
    house.plane.loop.run()
    assert client.pull()
    assert [method.name for method in decode(client.received)] == ["basic.qos-ok"]
    house.sockets.look(10**9)  # returns long before: else the test is over its time


def stream(client: Client, reads: int, each: bytes) -> None:
    """So many reads of a broker that does not sleep."""
    for _ in range(reads):
        client.send(each)
        assert select.select([client.accepted], [], [], 10)[0]
        client.house.sockets.look(10**9)


RESTLESS = 500  # reads, after a rest that did not help
ENOUGH_READS = 50  # for a client to be seen as one that only sends
ONE = publish_frames(1, "q", b"one")


def resting(house: House) -> Client:
    """A client that is read after a rest, and has sent a lot meanwhile each time."""
    client = Client(house).open()
    client.call("queue.declare", queue="q")
    while not house.sockets.resting:
        stream(client, 1, ONE)
    stream(client, ENOUGH_READS, ONE * 10)
    assert house.sockets.resting
    return client


def test_rests_end_when_they_gather_little(house: House) -> None:
    client = resting(house)
    stream(client, 1, ONE)
    assert not house.sockets.resting
    stream(client, RESTLESS, ONE)
    assert not house.sockets.resting, "and do not begin again at once"


def test_who_looks_anyway_is_not_forestalled(house: House) -> None:
    client = resting(house)
    set_busy_poll(house.plane.loop.call_soon, 3600 * 10**9, house.sockets.look)
    try:
        stream(client, ENOUGH_READS, ONE * 10)
        assert look_again in [callback for callback, _ in house.plane.loop.soon]
        before = house.plane.queue("q").message_count
        client.send(ONE * 10)
        assert select.select([client.accepted], [], [], 10)[0]
        house.sockets.on_readable()  # type: ignore[attr-defined]
        assert house.plane.queue("q").message_count == before
        look_again()
        assert house.plane.queue("q").message_count == before + 10
    finally:
        set_busy_poll(house.plane.loop.call_soon, 0)
        house.plane.loop.soon.clear()


def test_rests_end_when_somebody_asks(house: House) -> None:
    other = Client(house).open()
    client = resting(house)
    client.send(ONE * 10)
    stream(other, 1, codec.method_frame(1, "basic.qos", prefetch_count=1))
    assert not house.sockets.resting
    assert [method.name for method in other.methods(1)] == ["basic.qos-ok"]


def test_who_sends_much_at_once_is_not_waited_for(house: House) -> None:
    client = Client(house).open()
    client.call("queue.declare", queue="q")
    for _ in range(2 * ENOUGH_READS):
        stream(client, 1, ONE * 100)
        assert not house.sockets.resting


def test_nor_is_who_gets_confirms(house: House) -> None:
    client = Client(house).open()
    client.call("queue.declare", queue="q")
    client.call("confirm.select")
    for _ in range(2 * ENOUGH_READS):
        stream(client, 1, ONE)
        assert not house.sockets.resting


def test_names_of_both_ends(house: House) -> None:
    client = Client(house)
    transport = client.connection.transport
    assert transport is not None
    assert transport.get_extra_info("peername") == client.socket.getsockname()
    assert transport.get_extra_info("sockname") == client.socket.getpeername()
    assert transport.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    assert transport.get_extra_info("ssl_object") is None
    assert transport.get_extra_info("ssl_object", 1) == 1


def test_a_socket_that_the_kernel_does_not_watch_any_more_ends(house: House) -> None:
    """Nobody would ever look at it again. Here its descriptor is closed; the kernel may as well have no room for it."""
    client, neighbour = Client(house).open(), Client(house).open()
    client.connection.stop_reading()
    client.send(codec.method_frame(1, "basic.qos", prefetch_count=1))
    house.settle()  # it is not watched while it is not read
    os.close(client.accepted.detach())
    client.connection.resume_reading()
    assert client.connection.transport is not None, "nothing ends in the middle of what led to it"
    house.settle()
    assert client.connection.transport is None
    assert client.session not in house.plane.node.sessions
    neighbour.call("basic.qos", prefetch_count=1)
    assert house.errors == []


def test_a_socket_that_cannot_be_used_is_an_ended_connection(house: House) -> None:
    session = Session(house.plane.node, Entry(handshake_seconds=10.0, mechanisms=["PLAIN"]))
    unusable = socket.socket(socket.AF_UNIX)  # has no TCP_NODELAY
    house.sockets.begin(unusable, session.connection, "?")
    house.plane.loop.run()
    assert unusable.fileno() == -1
    assert session not in house.plane.node.sessions
