"""pika's BlockingConnection: one mode a run."""

import contextlib
import ssl
import sys
import time
from collections.abc import Callable
from typing import Any

import pika
from pika.exceptions import AMQPConnectionError
from pika_behaviours import BEHAVIOURS, PROPERTIES, Deliveries, connect, logins, only, temporary
from report import BODY, SECONDS, TEXTS, check, parcel, say


def behaviours(url: str) -> None:
    check("connect", lambda: logins(url))
    with connect(url) as connection:

        def run(behaviour: Callable[[Any], None]) -> None:
            channel = connection.channel()
            behaviour(channel)
            if channel.is_open:
                channel.close()

        for name, behaviour in BEHAVIOURS.items():
            check(name, lambda behaviour=behaviour: run(behaviour))
    say("none confirm-batch")  # a BlockingConnection waits for each
    check("heartbeat", lambda: heartbeat(url))


def heartbeat(url: str) -> None:
    with connect(url, heartbeat=1) as idle:
        idle.process_data_events(time_limit=3.5)  # longer than either side would wait for a silent one
        temporary(idle.channel())


def tls(url: str, authority: str, another: str) -> None:
    def trusting(path: str) -> Any:
        return connect(url, ssl_options=pika.SSLOptions(ssl.create_default_context(cafile=path), "localhost"))

    def send() -> None:
        with trusting(authority) as connection:
            channel = connection.channel()
            queue = temporary(channel)
            channel.basic_publish("", queue, b"secret")
            only(channel, queue, b"secret")
        with contextlib.suppress(ssl.SSLCertVerificationError):
            trusting(another)
            raise AssertionError("a broker of an unknown authority is trusted")

    check("tls", send)


def publish(url: str) -> None:
    with connect(url) as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        channel.basic_publish("interop.parcels", "", BODY, PROPERTIES)


def consume(url: str, queue: str, count: str) -> None:
    names = (*TEXTS, "headers", "delivery_mode", "priority", "expiration", "timestamp", "app_id")
    with connect(url) as connection:
        channel = connection.channel()
        deliveries = Deliveries(channel, queue)
        for _ in range(int(count)):
            method, properties, body = deliveries.next()
            parcel(body=body, **{name: getattr(properties, name) for name in names})
            channel.basic_ack(method.delivery_tag)


def pause(url: str) -> None:
    connection = connect(url, heartbeat=1)
    say("ready")

    def notice() -> None:
        deadline = time.monotonic() + 2 * SECONDS
        try:
            while time.monotonic() < deadline:
                connection.process_data_events(time_limit=1)
        except AMQPConnectionError:
            return
        raise AssertionError("it never noticed")

    check("paused-client", notice)


def recover(_url: str) -> None:
    say("none recovery")
    say("ready")


if __name__ == "__main__":
    MODES = {mode.__name__: mode for mode in (behaviours, tls, publish, consume, pause, recover)}
    MODES[sys.argv[1]](*sys.argv[2:])
