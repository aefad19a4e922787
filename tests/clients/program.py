"""The program of the documentation, as data: what every client library declares, sends and must get back."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.support.peer import Peer
from tests.support.wire import connect

EXCHANGES = {"orders": "direct", "sensors": "topic", "notifications": "fanout"}
QUEUE = "order-processing"
BINDING_KEY = "eu.new"
BODY = b'{"order": 4711, "customer": "M\xc3\xbcller"}'
PROPERTIES: dict[str, Any] = {
    "delivery_mode": 2,
    "content_type": "application/json",
    "headers": {"tenant": "eu", "attempt": 1, "urgent": True, "trace": {"id": "abc", "hops": [1, 2, 3]}},
    "priority": 5,
    "correlation_id": "correlation-1",
    "reply_to": "replies",
    "expiration": "60000",
    "message_id": "message-1",
    "app_id": "shop",
}


@contextmanager
def tidy(peer: Peer) -> Iterator[None]:
    """Nothing of the program before it and nothing after it: the broker is shared."""
    _delete_all(peer)
    yield
    _delete_all(peer)


def _delete_all(peer: Peer) -> None:
    with connect(peer) as client:
        channel = client.channel()
        channel.call("queue.delete", queue=QUEUE)
        for exchange in EXCHANGES:
            channel.call("exchange.delete", exchange=exchange)
        client.close()
