"""/api/bindings."""

from typing import Any
from urllib.parse import quote

from flowmq.management.api.queues import table, text
from flowmq.management.listing import listing
from flowmq.management.web import NO_CONTENT, Answer, Call, not_found, route

BETWEEN = "/api/bindings/{vhost}/e/{source}/{kind}/{destination}"
KINDS = {"q": "queue", "e": "exchange"}


def ends(call: Call) -> dict[str, Any]:
    kind = KINDS.get(call.path("kind"))
    if kind is None:
        raise not_found()
    return {"source": call.exchange("source"), "destination": call.path("destination"), "destination_type": kind}


@route("GET", "/api/bindings", "/api/bindings/{vhost}")
async def list_bindings(call: Call) -> Any:
    """Bindings."""
    return await listing(call, "binding.list", vhosts=await call.visible())


@route("GET", BETWEEN)
async def bindings_between(call: Call) -> Any:
    """Bindings from an exchange (e) to a queue (q) or an exchange (e)."""
    return await listing(call, "binding.list", vhosts=await call.vhost_of_bindings(), **ends(call))


@route("POST", BETWEEN)
async def bind(call: Call) -> Answer:
    """Bind."""
    vhost, given = await call.vhost(), await call.body()
    made = await call.ask(
        "binding.add",
        vhost=vhost,
        **ends(call),
        routing_key=text(given, "routing_key", ""),
        arguments=table(given, "arguments"),
        user=call.caller.acts_as,
    )
    # Relative, as tools take it apart.
    where = (call.path("destination"), made["properties_key"])
    return Answer(201, headers={"Location": "/".join(quote(part, safe="") for part in where)})


@route("GET", f"{BETWEEN}/{{properties}}")
async def show_binding(call: Call) -> Any:
    """One binding."""
    vhost = await call.vhost(to_use=False)
    return await call.ask("binding.show", vhost=vhost, **ends(call), properties_key=call.path("properties"))


@route("DELETE", f"{BETWEEN}/{{properties}}")
async def unbind(call: Call) -> Answer:
    """Delete one binding."""
    vhost = await call.vhost()
    await call.ask(
        "binding.delete", vhost=vhost, **ends(call), properties_key=call.path("properties"), user=call.caller.acts_as
    )
    return NO_CONTENT
