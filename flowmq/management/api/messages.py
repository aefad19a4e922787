"""Single messages: published, taken, browsed, unacknowledged, delayed."""

from typing import Any

from flowmq.management.api.queues import QUEUE, number, table, text
from flowmq.management.web import NO_CONTENT, Answer, Call, bad_request, route
from flowmq.server.control.registry import ControlError

HEADER = "header."
DELAYED = "/api/exchanges/{vhost}/{exchange}/delayed"


@route("POST", "/api/exchanges/{vhost}/{exchange}/publish")
async def publish(call: Call) -> Any:
    """Publish a message; says whether it reached a queue."""
    vhost, given = await call.vhost(), await call.body()
    encoding = text(given, "payload_encoding")
    if encoding not in ("string", "base64"):
        raise bad_request(f"payload_encoding: {encoding!r} is neither string nor base64")
    try:
        return await call.ask(
            "message.publish",
            vhost=vhost,
            exchange=call.exchange(),
            routing_key=text(given, "routing_key"),
            payload=text(given, "payload"),
            payload_encoding=encoding,
            properties=table(given, "properties"),
            user=call.caller.acts_as,
        )
    except ControlError as error:
        # RabbitMQ publishes before it looks: whatever is wrong there is a wrong request.
        raise bad_request(error.reason) if error.code in OF_A_PUBLISH else error from None


@route("POST", f"{QUEUE}/get")
async def get(call: Call) -> Any:
    """Take messages out of a queue, and put them back or not, as `ackmode` says."""
    vhost, given = await call.vhost(), await call.body()
    if "ackmode" not in given and "requeue" in given:  # what old clients send
        given["ackmode"] = "ack_requeue_true" if given["requeue"] in (True, "true") else "ack_requeue_false"
    encoding = text(given, "encoding")
    if encoding not in ("auto", "base64"):
        raise bad_request(f"encoding: {encoding!r} is neither auto nor base64")
    truncate = number(given, "truncate") if given.get("truncate") is not None else None
    return list(
        await call.ask(
            "message.get",
            vhost=vhost,
            name=call.path("name"),
            count=number(given, "count"),
            ackmode=text(given, "ackmode"),
            encoding=encoding,
            truncate=truncate,
            user=call.caller.acts_as,
        )
    )


@route("GET", f"{QUEUE}/messages")
async def browse(call: Call) -> Any:
    """Look at ready messages without taking them; filters: key=, body= (regular expressions), header.NAME=VALUE."""
    headers = {
        name.removeprefix(HEADER): value for name, value in call.request.query.items() if name.startswith(HEADER)
    }
    return await call.ask(
        "message.browse",
        vhost=await call.vhost(),
        name=call.path("name"),
        user=call.caller.acts_as,
        after=call.number("after"),
        limit=call.number("limit", 100, 1),
        routing_key=call.query("key"),
        body=call.query("body"),
        headers=headers,
        truncate=call.number("truncate", 50_000),
    )


@route("GET", f"{QUEUE}/unacked")
async def unacked(call: Call) -> Any:
    """Messages of a queue that consumers hold: who, and since when."""
    vhost, name = await call.vhost(to_use=False), call.path("name")
    await call.ask("queue.show", vhost=vhost, name=name)
    return await call.ask("message.unacked", vhost=vhost, name=name, limit=call.number("limit", 1000, 1))


OF_A_PUBLISH = ("not_found", "access_refused")
MOVE_ARGUMENTS = ("routing_key", "body")


@route("POST", f"{QUEUE}/move")
async def move(call: Call) -> Any:
    """Move messages elsewhere: to an exchange and key, to a queue, or dead letters back to where they came from."""
    vhost, given = await call.vhost(), await call.body()
    return await call.ask(
        "message.move",
        vhost=vhost,
        name=call.path("name"),
        user=call.caller.acts_as,
        to_queue=given.get("to_queue"),
        to_exchange=given.get("to_exchange"),
        to_routing_key=given.get("to_routing_key"),
        back=bool(given.get("back", False)),
        limit=number(given, "limit", 0),
        per_second=number(given, "per_second", 0),
        headers=table(given, "headers"),
        **{name: text(given, name, "") for name in MOVE_ARGUMENTS},
    )


@route("POST", f"{QUEUE}/replay")
async def replay(call: Call) -> Any:
    """Move dead letters back to where they came from."""
    vhost, given = await call.vhost(), await call.body()
    return await call.ask(
        "message.move",
        vhost=vhost,
        name=call.path("name"),
        user=call.caller.acts_as,
        back=True,
        limit=number(given, "limit", 0),
        per_second=number(given, "per_second", 0),
        headers=table(given, "headers"),
        **{name: text(given, name, "") for name in MOVE_ARGUMENTS},
    )


@route("GET", DELAYED)
async def list_delayed(call: Call) -> Any:
    """Messages that wait in a delaying exchange."""
    return await call.ask(
        "delayed.list",
        vhost=await call.vhost(),
        exchange=call.exchange(),
        user=call.caller.acts_as,
        after=call.number("after"),
        limit=call.number("limit", 100, 1),
        truncate=call.number("truncate", 50_000),
    )


@route("DELETE", f"{DELAYED}/{{sequence:\\d+}}")
async def cancel_delayed(call: Call) -> Answer:
    """Drop a message that waits."""
    vhost = await call.vhost()
    await call.ask(
        "delayed.cancel",
        vhost=vhost,
        exchange=call.exchange(),
        sequence=int(call.path("sequence")),
        user=call.caller.acts_as,
    )
    return NO_CONTENT


@route("POST", f"{DELAYED}/{{sequence:\\d+}}/release")
async def release_delayed(call: Call) -> Answer:
    """Let a message go on before its time."""
    vhost = await call.vhost()
    await call.ask(
        "delayed.release",
        vhost=vhost,
        exchange=call.exchange(),
        sequence=int(call.path("sequence")),
        user=call.caller.acts_as,
    )
    return NO_CONTENT
