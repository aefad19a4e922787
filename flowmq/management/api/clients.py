"""/api/connections, /api/channels, /api/consumers."""

from typing import Any

from flowmq.management.listing import channel_details, connection_details, deliveries, listing
from flowmq.management.login import ADMINISTRATOR, MONITORING
from flowmq.management.web import NO_CONTENT, Answer, Call, not_authorised, route

CLOSED = "Closed via management plugin"


def own(call: Call) -> dict[str, Any]:
    """Without the tag monitoring, only one's own."""
    return {} if call.caller.may(MONITORING) else {"user": call.caller.name}


@route("GET", "/api/connections", "/api/vhosts/{vhost}/connections")
async def list_connections(call: Call) -> Any:
    """Connections."""
    vhosts = await call.visible()
    return await listing(call, "connection.list", connection_details(call), vhosts=vhosts, **own(call))


@route("GET", "/api/connections/username/{user}")
async def connections_of_user(call: Call) -> Any:
    """Connections of one user."""
    if call.path("user") != call.caller.name and not call.caller.may(MONITORING):
        raise not_authorised()
    return await listing(call, "connection.list", connection_details(call), user=call.path("user"))


@route("DELETE", "/api/connections/username/{user}", tag=ADMINISTRATOR)
async def close_connections_of_user(call: Call) -> Answer:
    """Close every connection of a user."""
    await call.ask("connection.close_all", user=call.path("user"), reason=reason(call))
    return NO_CONTENT


def reason(call: Call) -> str:
    return call.request.headers.get("X-Reason") or CLOSED


async def connection(call: Call) -> dict[str, Any]:
    found: dict[str, Any] = await call.ask("connection.show", name=call.path("name"))
    if found["user"] != call.caller.name and not call.caller.may(MONITORING):
        raise not_authorised()
    return found


@route("GET", "/api/connections/{name}")
async def show_connection(call: Call) -> Any:
    """One connection."""
    row = await connection(call)
    connection_details(call)(row)
    return row


@route("DELETE", "/api/connections/{name}")
async def close_connection(call: Call) -> Answer:
    """Close a connection; the header X-Reason is told to its client."""
    found = await connection(call)
    if found["user"] != call.caller.name and not call.caller.may(ADMINISTRATOR):
        raise not_authorised()
    await call.ask("connection.close", name=call.path("name"), reason=reason(call))
    return NO_CONTENT


@route("GET", "/api/connections/{name}/channels")
async def channels_of_connection(call: Call) -> Any:
    """Channels of one connection."""
    await connection(call)
    return await listing(call, "channel.list", channel_details(call), connection=call.path("name"))


@route("GET", "/api/channels", "/api/vhosts/{vhost}/channels")
async def list_channels(call: Call) -> Any:
    """Channels."""
    vhosts = await call.visible()
    return await listing(call, "channel.list", channel_details(call), vhosts=vhosts, **own(call))


@route("GET", "/api/channels/{name}")
async def show_channel(call: Call) -> Any:
    """One channel, with its consumers."""
    row = await call.ask("channel.show", name=call.path("name"))
    if row["user"] != call.caller.name and not call.caller.may(MONITORING):
        raise not_authorised()
    channel_details(call)(row)
    consumers = await call.ask("consumer.list", vhosts=[row["vhost"]])
    row["consumer_details"] = [one for one in consumers if one["channel_details"]["name"] == row["name"]]
    row["deliveries"] = deliveries(call, row["consumer_details"], "queue")
    return {**row, "publishes": []}


@route("GET", "/api/consumers", "/api/consumers/{vhost}")
async def list_consumers(call: Call) -> Any:
    """Consumers."""
    return await listing(call, "consumer.list", vhosts=await call.visible())
