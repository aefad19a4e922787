"""Headers of dead letters where a table is not as it should be, or large: what tests over TCP do not send."""

import struct
from typing import Any

import pytest

from tests.support import codec
from tests.unit.support_plane import Client, Plane

HEADERS_FLAG, EXPIRATION_FLAG = 0x2000, 0x0100


def dying(plane: Plane, arguments: dict[str, Any] | None = None) -> Client:
    """A client with a queue `q` where every message dies at once, and `dead`, where it goes."""
    client = plane.client(1)
    client.call(1, "queue.declare", queue="dead")
    arguments = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "dead", **(arguments or {})}
    client.call(1, "queue.declare", queue="q", arguments={"x-max-length": 0, **arguments})
    return client


def dead_letter(client: Client) -> codec.Method:
    client.send(1, "basic.get", queue="dead", no_ack=True)
    (method,) = client.received()
    assert method.name == "basic.get-ok"
    return method


def publish_with_table(client: Client, table: bytes, *, behind: bytes = b"", more_flags: int = 0) -> None:
    properties = struct.pack(">HI", HEADERS_FLAG | more_flags, len(table)) + table + behind
    frames = codec.method_frame(1, "basic.publish", exchange="", routing_key="q")
    client.feed(frames + codec.content_frames(1, b"body", properties))


@pytest.mark.parametrize(
    "tail",
    [b"\x01", b"\x01b", b"\x01bI\0", b"\x01b?\0", b"\x01bS\xff\xff\xff\xff", b"\xff"],
    ids=["no name", "no type", "half a number", "unknown type", "too long a text", "too long a name"],
)
def test_what_is_behind_a_field_that_cannot_be_read_is_left_out(tail: bytes) -> None:
    with Plane() as plane:
        client = dying(plane)
        publish_with_table(client, b"\x01aI\0\0\0\7" + tail)
        headers = dead_letter(client).properties["headers"]
        assert headers["a"] == 7
        assert [death["queue"] for death in headers["x-death"]] == ["q"]
        assert list(headers)[1:] == [
            "x-death",
            *(f"x-first-death-{what}" for what in ("queue", "reason", "exchange")),
            *(f"x-last-death-{what}" for what in ("queue", "reason", "exchange")),
        ]


def test_headers_larger_than_what_is_kept_for_writing_them() -> None:
    with Plane() as plane:
        client = dying(plane)
        for _ in range(2):
            client.publish(1, "q", b"body", headers={"large": "x" * 100_000, "after": 1})
            headers = dead_letter(client).properties["headers"]
            assert (len(headers["large"]), headers["after"], headers["x-death"][0]["count"]) == (100_000, 1, 1)


def test_every_property_but_the_expiration_goes_on() -> None:
    properties = {
        "content_type": "t",
        "content_encoding": "e",
        "headers": {"a": 1},
        "delivery_mode": 2,
        "priority": 3,
        "correlation_id": "c",
        "reply_to": "r",
        "message_id": "m",
        "timestamp": 4,
        "type": "y",
        "user_id": "guest",
        "app_id": "p",
        "cluster_id": "l",
    }
    for left_out in (None, *properties):
        given = {name: value for name, value in properties.items() if name != left_out}
        with Plane() as plane:
            client = dying(plane)
            client.publish(1, "q", b"body", **given, expiration="60000")
            method = dead_letter(client)
            headers = method.properties.pop("headers")
            assert {**method.properties, "headers": given.get("headers", {})} == {"headers": {}, **given}
            assert headers["x-death"][0]["original-expiration"] == "60000"
            assert headers.get("a") == given.get("headers", {}).get("a")
            assert method.body == b"body"
