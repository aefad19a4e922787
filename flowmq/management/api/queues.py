"""/api/queues: what there is, declaring, deleting, emptying, pausing."""

from typing import Any

from flowmq.management.listing import deliveries, listing, queue_details
from flowmq.management.web import CREATED, NO_CONTENT, Answer, Call, bad_request, route
from flowmq.server.control.registry import ControlError

QUEUE = "/api/queues/{vhost}/{name}"


@route("GET", "/api/queues/detailed")
async def list_queues_in_detail(call: Call) -> Any:
    """Queues, with everything there is to tell."""
    return await listing(call, "queue.list", queue_details(call), vhosts=call.caller.visible)


@route("GET", "/api/queues", "/api/queues/{vhost}")
async def list_queues(call: Call) -> Any:
    """Queues."""
    return await listing(call, "queue.list", queue_details(call), vhosts=await call.visible())


@route("GET", QUEUE)
async def show_queue(call: Call) -> Any:
    """One queue, with its consumers."""
    vhost = await call.vhost(to_use=False)
    row = await call.ask("queue.show", vhost=vhost, name=call.path("name"))
    queue_details(call)(row)
    # Which exchange a message came through is not counted by queue.
    return {**row, "incoming": [], "deliveries": deliveries(call, row["consumer_details"], "channel_details")}


@route("PUT", QUEUE)
async def declare_queue(call: Call) -> Answer:
    """Declare a queue."""
    vhost, given = await call.vhost(), await call.body()
    made = await call.ask(
        "queue.declare",
        vhost=vhost,
        name=call.path("name"),
        durable=truth(given, "durable", False),
        auto_delete=truth(given, "auto_delete", False),
        arguments=table(given, "arguments"),
        user=call.caller.acts_as,
    )
    return CREATED if made["created"] else NO_CONTENT


@route("DELETE", QUEUE)
async def delete_queue(call: Call) -> Answer:
    """Delete a queue; ?if-empty=true and ?if-unused=true only then."""
    vhost = await call.vhost()
    await call.ask(
        "queue.delete",
        vhost=vhost,
        name=call.path("name"),
        if_empty=call.flag("if-empty"),
        if_unused=call.flag("if-unused"),
        user=call.caller.acts_as,
    )
    return NO_CONTENT


@route("DELETE", f"{QUEUE}/contents")
async def purge_queue(call: Call) -> Answer:
    """Drop every ready message of a queue."""
    await call.ask("queue.purge", vhost=await call.vhost(), name=call.path("name"), user=call.caller.acts_as)
    return NO_CONTENT


@route("GET", f"{QUEUE}/bindings")
async def bindings_of_queue(call: Call) -> Any:
    """Bindings to a queue."""
    vhosts = await call.vhost_of_bindings()
    return await listing(call, "binding.list", vhosts=vhosts, destination=call.path("name"), destination_type="queue")


@route("POST", f"{QUEUE}/actions")
async def act_on_queue(call: Call) -> Answer:
    """What RabbitMQ does to mirrored queues; here there is nothing to be done for it."""
    vhost, given = await call.vhost(), await call.body()
    await call.ask("queue.show", vhost=vhost, name=call.path("name"))
    if given.get("action") not in ("sync", "cancel_sync"):
        raise bad_request("action: must be sync or cancel_sync")
    return NO_CONTENT


@route("PUT", f"{QUEUE}/pause", tag="policymaker")
async def pause_queue(call: Call) -> Answer:
    """Consumers get nothing until the queue is resumed."""
    await call.ask("queue.pause", vhost=await call.vhost(), name=call.path("name"))
    return NO_CONTENT


@route("PUT", f"{QUEUE}/resume", tag="policymaker")
async def resume_queue(call: Call) -> Answer:
    """Consumers of a paused queue get messages again."""
    await call.ask("queue.resume", vhost=await call.vhost(), name=call.path("name"))
    return NO_CONTENT


@route("GET", "/api/publishes-refused", "/api/publishes-refused/{vhost}")
async def list_refusals(call: Call) -> Any:
    """Why publishes were refused: how often, by queue, exchange and reason."""
    return await call.ask("queue.refusals", vhosts=await call.visible())


# ------------------------------------------------------------------------------------------- what bodies may hold


def truth(given: dict[str, Any], name: str, default: bool) -> bool:
    """Clients write true, "true", and leave it out."""
    value = given.get(name, default)
    if isinstance(value, str) and value.casefold() in ("true", "false"):
        return value.casefold() == "true"
    if not isinstance(value, bool):
        raise ControlError("bad_request", f"{name}: {value!r} is neither true nor false")
    return value


def table(given: dict[str, Any], name: str) -> dict[str, Any]:
    value = given.get(name)
    if value is None or value == []:
        return {}
    if not isinstance(value, dict):
        raise bad_request(f"{name}: must be an object")
    return value


def text(given: dict[str, Any], name: str, default: str | None = None) -> str:
    value = given.get(name, default)
    if value is None:
        raise bad_request(f"[{{key_missing,{name}}}]")
    if not isinstance(value, str):
        raise bad_request(f"{name}: must be a text")
    return value


def number(given: dict[str, Any], name: str, default: int | None = None) -> int:
    value = given.get(name, default)
    if isinstance(value, str) and value.lstrip("-").isdigit():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise bad_request(f"{name}: must be a number")
    return value
