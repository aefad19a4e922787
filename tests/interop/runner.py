"""Puts the libraries through everything and collects what came of it."""

import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.crash.rabbitmq import free_ports
from tests.interop.languages import Library
from tests.interop.programs import Outcome, Program
from tests.support.broker import Broker
from tests.support.certificates import Authority
from tests.support.http import WITH_HTTP, api_of, metrics_port
from tests.support.peer import Peer
from tests.support.tls import LISTENING, tls_settings
from tests.support.wire import connect

BEHAVIOURS = (
    "connect",
    "direct-exchange",
    "topic-exchange",
    "fanout-exchange",
    "headers-exchange",
    "durable-queue",
    "every-property",
    "mandatory-return",
    "confirm-single",
    "confirm-batch",
    "manual-ack",
    "nack",
    "reject",
    "prefetch",
    "cancel-notify",
    "direct-reply-to",
    "reply-queue",
    "dead-letters",
    "large-body",
    "empty-body",
    "header-types",
    "transactions",
    "declare-406",
    "passive-404",
    "heartbeat",
)
# Of what asks the HTTP API: how many things it looks at.
SAID_AT_LEAST = {
    "rabbit-hole": 159,
    "Hop": 76,
    "Flower": 8,
    "Prometheus": 184,
    "Spring Boot": 9,
    "Telegraf": 9,
    "Datadog": 8,
    "Datadog-check": 90,
    "rabbitmqadmin": 71,
    "KEDA": 22,
    "Terraform": 213,
    "testcontainers-java": 19,
    "testcontainers-python": 3,
}
TASKS = ("task", "retry", "dead-letter")
EXCHANGE = "interop.parcels"
# No fraction among the headers: pika cannot write one, and reads 0.5 as 0.
# The negative number needs 64 bits: streadway/amqp reads one octet, and bunny 32 bits, as unsigned.
# No truth value in the list: bunny drops it.
PARCEL: dict[str, Any] = {
    "body": bytes(range(256)).hex(),
    "content_type": "application/octet-stream",
    "content_encoding": "identity",
    "headers": {
        "text": "Grüße",
        "small": 42,
        "large": 5_000_000_000,
        "negative": -5_000_000_000,
        "yes": True,
        "nothing": None,
        "nested": {"inner": "value", "deeper": {"level": 2}},
        "list": ["one", 2, "three"],
    },
    "delivery_mode": 2,
    "priority": 7,
    "correlation_id": "correlation-1",
    "reply_to": "replies",
    "expiration": "3600000",
    "message_id": "message-1",
    "timestamp": 1_700_000_000,
    "type": "parcel",
    "user_id": "guest",
}
Results = dict[str, dict[str, Outcome]]  # by library, then by behaviour
AT_ONCE = 2
GIVEN_UP = "ended: missed heartbeats"


@contextmanager
def broker(authority: Authority) -> Iterator[Broker]:
    """Its port is settled beforehand: it must be the same after a restart."""
    with tempfile.TemporaryDirectory(prefix="flowmq-interop-") as directory:
        (port,) = free_ports(1)
        tls = tls_settings(authority.for_server())
        started = Broker(Path(directory), tls, "--listen", f"127.0.0.1:{port}")
        started.port = port
        try:
            yield started
        finally:
            started.kill()


def side_by_side(
    libraries: tuple[Library, ...], mode: str, expected: tuple[str, ...], url: str, *arguments: str
) -> Results:
    """Every program on its own, a few at once; their names of queues differ."""

    def run(library: Library) -> dict[str, Outcome]:
        return Program(library, mode, url, *arguments).outcomes(expected)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        return dict(zip((library.name for library in libraries), pool.map(run, libraries), strict=True))


def over_tls(libraries: tuple[Library, ...], running: Broker, trusted: Authority, another: Authority) -> Results:
    """Each gets a certificate that it can check, and must not trust the broker by another authority."""
    port = running.log.wait_for(LISTENING)[1]
    url = running.peer.url.replace("amqp://", "amqps://").replace(f"127.0.0.1:{running.port}", f"localhost:{port}")
    return side_by_side(libraries, "tls", ("tls",), url, str(trusted.path), str(another.path))


def exchange_parcels(libraries: tuple[Library, ...], peer: Peer) -> Results:
    """Each library publishes one message to a queue per library; each library takes all of its queue."""
    names = [library.name for library in libraries]
    with connect(peer) as client:
        channel = client.channel()
        channel.call("exchange.declare", exchange=EXCHANGE, type="fanout")
        for name in names:
            channel.call("queue.declare", queue=f"{EXCHANGE}.{name}")
            channel.call("queue.bind", queue=f"{EXCHANGE}.{name}", exchange=EXCHANGE, routing_key="")

        def publish(library: Library) -> str:
            return Program(library, "publish", peer.url).finish()

        def consume(library: Library) -> tuple[str, dict[str, dict[str, Any]]]:
            program = Program(library, "consume", peer.url, f"{EXCHANGE}.{library.name}", str(len(published)))
            return program.finish(), program.parcels()

        with ThreadPoolExecutor(AT_ONCE) as pool:
            failed = dict(zip(names, pool.map(publish, libraries), strict=True))
            published = [name for name in names if not failed[name]]
            received = dict(zip(names, pool.map(consume, libraries), strict=True))
        for name in names:
            channel.call("queue.delete", queue=f"{EXCHANGE}.{name}")
        channel.call("exchange.delete", exchange=EXCHANGE)
        client.close()
    results: Results = {}
    for consumer in names:
        wrong, parcels = received[consumer]
        results[consumer] = {
            f"from {publisher}": Outcome("FAIL", failed[publisher])
            if failed[publisher]
            else judge(publisher, parcels.get(publisher), wrong)
            for publisher in names
        }
    return results


def judge(publisher: str, parcel: dict[str, Any] | None, wrong: str) -> Outcome:
    if parcel is None:
        return Outcome("FAIL", wrong or "it did not come")
    expected = {**PARCEL, "app_id": publisher}
    differing = [
        f"{name} is {parcel.get(name)!r}, not {expected.get(name)!r}"
        for name in sorted({*expected, *parcel})
        if not same(parcel.get(name), expected.get(name))
    ]
    return Outcome("FAIL", "; ".join(differing)) if differing else Outcome("ok")


def same(got: Any, expected: Any) -> bool:
    """As JSON: a number may be written with a fraction or without, but true is not 1."""
    if isinstance(got, dict) and isinstance(expected, dict):
        return got.keys() == expected.keys() and all(same(got[name], expected[name]) for name in expected)
    if isinstance(got, list) and isinstance(expected, list):
        return len(got) == len(expected) and all(map(same, got, expected))
    return isinstance(got, bool) == isinstance(expected, bool) and bool(got == expected)


def management(tools: tuple[Library, ...]) -> Results:
    """Programs that ask the HTTP API, of a broker with something in it."""
    if not tools:
        return {}
    with tempfile.TemporaryDirectory(prefix="flowmq-interop-") as directory:
        started = Broker(Path(directory), WITH_HTTP)
        try:
            http = api_of(started)
            http.put("vhosts", "watched")  # Flower does not find queues in "/"
            urls = (
                f"http://guest:guest@127.0.0.1:{http.port}",
                f"{started.peer.url.removesuffix('%2F')}watched",
                f"http://127.0.0.1:{metrics_port(started)}/metrics",
            )
            results: Results = {}
            for tool in tools:  # one after the other: some close the connections that they find
                with connect(started.peer) as client:
                    channel = client.channel()
                    channel.queue("busy", exclusive=True)
                    channel.consume("busy")
                    channel.put("busy", b"one", b"two")
                    results[tool.name] = Program(tool, "management", *urls).everything(SAID_AT_LEAST[tool.name])
            started.stop()
            return results
        finally:
            started.kill()


def pause(libraries: tuple[Library, ...], running: Broker) -> Results:
    """All stand still until the broker has given each of them up; then each must notice."""
    programs = [Program(library, "pause", running.peer.url) for library in libraries]
    ready = [program for program in programs if program.wait_until_ready()]
    given_up = sum(GIVEN_UP in line for line in running.log.lines)
    for program in ready:
        program.stop()
    try:
        running.log.wait_for_count(GIVEN_UP, given_up + len(ready))
    finally:
        for program in ready:
            program.go_on()
    return {program.library.name: program.outcomes(("paused-client",)) for program in programs}


def restart(libraries: tuple[Library, ...], running: Broker) -> tuple[Results, Broker]:
    """All have had a message each when the broker goes; the libraries that recover must get another one after it."""
    programs = [Program(library, "recover", running.peer.url) for library in libraries]
    for program in programs:
        program.wait_until_ready()
    running.stop()
    port = running.port
    again = running.again()
    again.port = port
    for program in programs:
        program.tell("restarted")
    return {program.library.name: program.outcomes(("recovery",)) for program in programs}, again
