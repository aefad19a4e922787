"""What reads octets that others wrote, each as a function of octets that a fuzzer may call a million times.

A target returns for any octets at all, or raises: what it may refuse it refuses with the error of its own, which is
caught here, and whatever it accepts must pass the check behind it. Seeds are sound octets to begin from. What was once
found lies in findings/TARGET/ and is tried before anything else.
"""

import asyncio
import contextlib
import logging
import random
import tempfile
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from typing import NamedTuple

from flowmq.amqp.errors import AMQPError
from flowmq.amqp.method import decode_method
from flowmq.amqp.properties import decode_content_header
from flowmq.amqp.sasl import parse_amqplain, parse_plain
from flowmq.amqp.tables import decode_table, encode_table
from flowmq.broker.publishing import expiration_ms, sender_selected_keys
from flowmq.server.config import SettingsError, load_settings, to_toml
from flowmq.server.control import frames as control_frames
from flowmq.server.listener_settings import WebSocketSettings
from flowmq.server.proxy_protocol import SIGNATURE, WrongHeader, read_header
from flowmq.server.websocket import WebSocketTransport
from flowmq.storage import inspect
from flowmq.storage.layout import FORMAT_TEXT, DataDir, StorageError, segment_name
from tests.fuzz.odd import odd_session
from tests.fuzz.runner import judge, parse_answer
from tests.fuzz.sessions import HEADERS, handshake, session
from tests.fuzz.token_targets import key_seeds, keys, token, token_seeds
from tests.support import codec, journal_writer, websocket
from tests.unit.support_plane import Client, Plane

FINDINGS = Path(__file__).parent / "findings"
EXAMPLE_SETTINGS = b"""
[amqp]
listen = ["0.0.0.0:5672", "[::]:5672"]
heartbeat = 30
proxy_protocol_from = ["10.0.0.0/8"]
[limits]
disk_free_share_min = 0.5
on_alarm = "nack"
[[users]]
name = "a"
password = "b"
[[policies]]
name = "p"
pattern = "^a"
definition = { max-length = 5, overflow = "drop-head" }
"""


class Target(NamedTuple):
    run: Callable[[bytes], None]
    seeds: Callable[[], Iterable[bytes]]


# ----------------------------------------------------------------------------------------------- values of AMQP


def tables(octets: bytes) -> None:
    with contextlib.suppress(AMQPError):
        table = decode_table(octets)
        written = encode_table(table)
        assert encode_table(decode_table(written[4:])) == written, "a table is not written as it was read"
    with contextlib.suppress(AMQPError):
        sender_selected_keys(octets)


def methods(octets: bytes) -> None:
    """Class, method, and the arguments."""
    class_id, method_id = int.from_bytes(octets[:2]), int.from_bytes(octets[2:4])
    with contextlib.suppress(AMQPError):
        written = decode_method(class_id, method_id, octets[4:]).encode()
        assert decode_method(class_id, method_id, written[4:]).encode() == written, "a method is not written as read"


def properties(octets: bytes) -> None:
    with contextlib.suppress(AMQPError):
        written = decode_content_header(octets).encode()
        assert decode_content_header(written).encode() == written, "a header is not written as it was read"
    with contextlib.suppress(AMQPError):
        assert expiration_ms(octets[:255]) >= 0


def sasl(octets: bytes) -> None:
    for parse in (parse_plain, parse_amqplain):
        with contextlib.suppress(AMQPError):
            user, password = parse(octets)
            assert isinstance(user, str)
            assert isinstance(password, str)


def table_seeds() -> Iterable[bytes]:
    yield codec.table_fields(HEADERS)
    yield codec.table_fields({"CC": ["a", "b"], "BCC": ["c"], "x-death": [{"count": 1, "queue": "q"}]})


def method_seeds() -> Iterable[bytes]:
    for data in session(random.Random(1))[:60]:
        if data[0] == codec.METHOD:
            yield data[7 : -1 if len(data) == 8 + int.from_bytes(data[3:7]) else 7 + int.from_bytes(data[3:7])]


def property_seeds() -> Iterable[bytes]:
    values = {"headers": HEADERS, "expiration": "100", "priority": 5, "timestamp": 1, "user_id": "guest"}
    yield codec.content_frames(1, b"", values)[7:-1]


def sasl_seeds() -> Iterable[bytes]:
    yield b"\0guest\0guest"
    yield codec.table_fields({"LOGIN": "guest", "PASSWORD": "guest"})


# ------------------------------------------------------------------------------------------------- ways in, control


class CutShort(Exception):
    """The octets end where more are asked for."""


def proxy(octets: bytes) -> None:
    at = 0

    async def read_exactly(count: int) -> bytes:
        nonlocal at
        if len(octets) - at < count:
            raise CutShort
        at += count
        return octets[at - count : at]

    reading = read_header(read_exactly)
    try:
        reading.send(None)  # type: ignore[attr-defined]  # it never waits, so no loop is needed
    except (CutShort, WrongHeader, StopIteration):
        return
    raise AssertionError("it waits for something")


def proxy_seeds() -> Iterable[bytes]:
    yield b"PROXY TCP4 192.0.2.1 198.51.100.2 4000 5672\r\n"
    yield b"PROXY TCP6 2001:db8::1 2001:db8::2 4000 5672\r\n"
    yield b"PROXY UNKNOWN\r\n"
    yield SIGNATURE + bytes.fromhex("2111000c c0000201 c6336402 0fa01628")
    yield SIGNATURE + bytes.fromhex("21210024") + bytes(32) + bytes.fromhex("0fa01628")
    yield SIGNATURE + bytes.fromhex("20000000")


def control(octets: bytes) -> None:
    """Frames of the control socket: only the broker's own operator writes them, but it must outlive their programs."""
    with contextlib.suppress(ValueError):
        control_frames.length(octets[:4].ljust(4, b"\0"), control_frames.REQUEST_BYTES_MAX)
    with contextlib.suppress(ValueError, TypeError):
        control_frames.decode(octets[4:])


def control_seeds() -> Iterable[bytes]:
    yield control_frames.encode([1, "queue.list", {"vhost": "/"}])


# -------------------------------------------------------------------------------------------------------- settings


@cache
def scratch() -> Path:
    return Path(tempfile.mkdtemp(prefix="flowmq-fuzz-"))


def settings(octets: bytes) -> None:
    path = scratch() / "settings.toml"
    path.write_bytes(octets)
    with contextlib.suppress(SettingsError):
        to_toml(load_settings(str(path), {}, {}))
    text = octets.decode("utf-8", "surrogateescape").replace("\0", "")
    with contextlib.suppress(SettingsError):
        names = ("FLOWMQ_AMQP__LISTEN", "FLOWMQ_AMQP__HEARTBEAT", "FLOWMQ_LIMITS__DISK_FREE_SHARE_MIN")
        to_toml(load_settings(None, {names[len(text) % len(names)]: text}, {}))


# --------------------------------------------------------------------------------------------------------- journal


def journal(octets: bytes) -> None:
    """One segment of these octets: read as a start reads it, and again as somebody who wants all that can be saved."""
    directory = scratch() / "data"
    if not directory.exists():
        (directory / "journal").mkdir(parents=True)
        (directory / "FORMAT").write_text(FORMAT_TEXT)
    (directory / "journal" / segment_name(1)).write_bytes(octets)
    for skip_corrupt in (False, True):
        with contextlib.suppress(StorageError):
            found = DataDir.open(directory)
            replay = inspect.read_journal(found, skip_corrupt=skip_corrupt)
            overview = inspect.overview(found, replay)
            for queue in overview["queues"]:
                inspect.queue_messages(replay, queue)
            "".join(inspect.as_text(overview))


def sample_records() -> list[journal_writer.Record]:
    """Every kind."""
    return [
        (journal_writer.DEFINITION, bytes.fromhex("93 a5 7175657565 92 a1 2f a1 71 81 a2 6964 01")),
        journal_writer.message(1, 0, b"body"),
        journal_writer.message(1, 1, b"body" * 100),
        journal_writer.settled(1, 0),
        journal_writer.delivered(1, 1),
        journal_writer.returned(1, 1, 1),
        journal_writer.aside(1, 1, 2, 1000),
        journal_writer.state(1, 2, 1, [(0, 0)]),
    ]


def journal_seeds() -> Iterable[bytes]:
    for count in (1, 3, 8):
        segment = journal_writer.Segment(1)
        segment.batch(1, sample_records()[:count])
        yield bytes(segment.octets)


def records(octets: bytes) -> None:
    """Checksums stop nearly everything that `journal` is given: here they are right, and the payloads may be anything.

    A kind, the length of the payload in two octets, the payload; and so on.
    """
    found: list[journal_writer.Record] = []
    at = 0
    while at + 3 <= len(octets) and len(found) < 20:
        end = at + 3 + int.from_bytes(octets[at + 1 : at + 3])
        found.append((octets[at], octets[at + 3 : end]))
        at = end
    segment = journal_writer.Segment(1, size=1 << 17)
    with contextlib.suppress(ValueError):  # more than fits
        segment.batch(1, found[: len(found) // 2])
        segment.batch(2, found[len(found) // 2 :])
    journal(bytes(segment.octets))


def record_seeds() -> Iterable[bytes]:
    yield b"".join(bytes([kind]) + len(payload).to_bytes(2) + payload for kind, payload in sample_records())


# ---------------------------------------------------------------------------------------------- whole connections


class Errors(logging.Handler):
    """An error in the log is one: whatever clients do is at most a warning."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.records: list[logging.LogRecord] = []
        logging.getLogger("flowmq").addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)

    def check(self) -> None:
        found, self.records = self.records, []
        for record in found:
            raise AssertionError(record.getMessage()) from (record.exc_info or (None, None))[1]


@cache
def errors() -> Errors:
    return Errors()


def connection(octets: bytes) -> None:
    """From the first octet on, beside a neighbour who must not notice; nothing may be left of it."""
    with Plane() as plane:
        neighbour = plane.client(1)
        neighbour.call(1, "queue.declare", queue="neighbour")
        client = plane.connect()
        client.feed(octets)
        judge(parse_answer(client.take()))
        if client.connection.transport is not None:
            client.lose()
        check_neighbour(neighbour)
        errors().check()
        remove_everything(plane)


def check_neighbour(neighbour: Client) -> None:
    assert neighbour.call(1, "queue.declare", queue="own", exclusive=True).queue == "own"
    neighbour.publish(1, "own", b"still there")
    neighbour.send(1, "basic.get", queue="own", no_ack=True)
    assert [method.body for method in neighbour.received()] == [b"still there"]


def remove_everything(plane: Plane) -> None:
    for vhost in plane.node.broker.vhosts.values():
        for queue in list(vhost.queues.values()):
            vhost.delete_queue(queue)
        for exchange in list(vhost.declared_exchanges.values()):
            if exchange.name and not exchange.name.startswith("amq."):
                vhost.remove_exchange(exchange)
    plane.loop.run()


def connection_seeds() -> Iterable[bytes]:
    greeting = b"".join(handshake("guest", "guest"))
    for number in range(8):
        yield greeting + b"".join(session(random.Random(number)))
        yield greeting + b"".join(odd_session(random.Random(number)))


# ------------------------------------------------------------------------------------------------------- WebSocket


class Below(asyncio.Transport):
    """The socket under a WebSocket."""

    def __init__(self) -> None:
        super().__init__({"peername": ("127.0.0.1", 1), "sockname": ("127.0.0.1", 2)})
        self.closed = False

    def write(self, data: object) -> None:
        """Behind its end a transport drops what is written."""

    def close(self) -> None:
        self.closed = True

    abort = close

    def is_closing(self) -> bool:
        return self.closed

    def pause_reading(self) -> None:
        """The fuzzer has nothing more to send."""

    resume_reading = pause_reading

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Nothing is kept."""

    def get_write_buffer_size(self) -> int:
        return 0


class Taker:
    """In place of a session and its connection: takes what comes."""

    was_open = True

    def __init__(self) -> None:
        self.connection = self
        self.room = bytearray(1000)

    def connection_made(self, transport: object) -> None:
        """Nothing to say."""

    connection_lost = pause_writing = resume_writing = buffer_updated = connection_made

    def get_buffer(self, _: int) -> bytearray:
        return self.room


def web(octets: bytes) -> None:
    async def talk() -> None:
        deadline = asyncio.get_running_loop().time() + 10
        transport = WebSocketTransport(WebSocketSettings(), "fuzz", deadline, Taker, lambda: None)  # type: ignore[arg-type]
        below = Below()
        transport.connection_made(below)
        for at in range(0, len(octets), 997):
            if not below.closed:
                transport.data_received(octets[at : at + 997])
        if not below.closed:
            transport.eof_received()
        transport.connection_lost(None)

    asyncio.run(talk())
    errors().check()


def web_seeds() -> Iterable[bytes]:
    opened = websocket.request()
    yield (
        opened + websocket.frame(websocket.BINARY, codec.PROTOCOL_HEADER) + websocket.frame(websocket.CLOSE, b"\3\xe8")
    )
    parts = websocket.frame(websocket.BINARY, b"AM", final=False) + websocket.frame(websocket.PING, b"ping")
    yield opened + parts + websocket.frame(websocket.CONTINUATION, b"QP" * 70) + websocket.frame(websocket.TEXT, b"x")
    yield websocket.request(subprotocol=None, origin="http://example.org")


TARGETS = {
    "tables": Target(tables, table_seeds),
    "methods": Target(methods, method_seeds),
    "properties": Target(properties, property_seeds),
    "sasl": Target(sasl, sasl_seeds),
    "proxy": Target(proxy, proxy_seeds),
    "control": Target(control, control_seeds),
    "token": Target(token, token_seeds),
    "keys": Target(keys, key_seeds),
    "settings": Target(settings, lambda: [EXAMPLE_SETTINGS]),
    "journal": Target(journal, journal_seeds),
    "records": Target(records, record_seeds),
    "websocket": Target(web, web_seeds),
    "connection": Target(connection, connection_seeds),
}


def findings(name: str) -> list[Path]:
    return sorted((FINDINGS / name).glob("*"))


def corpus(name: str) -> list[bytes]:
    """What a run begins from: the seeds, and what was found before."""
    return [*TARGETS[name].seeds(), *(path.read_bytes() for path in findings(name))]
