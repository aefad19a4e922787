"""/api/exchanges."""

from typing import Any

from flowmq.management.api.queues import table, text, truth
from flowmq.management.listing import exchange_details, listing
from flowmq.management.web import CREATED, NO_CONTENT, Answer, Call, route

EXCHANGE = "/api/exchanges/{vhost}/{exchange}"


@route("GET", "/api/exchanges", "/api/exchanges/{vhost}")
async def list_exchanges(call: Call) -> Any:
    """Exchanges."""
    return await listing(call, "exchange.list", exchange_details(call), vhosts=await call.visible())


@route("GET", EXCHANGE)
async def show_exchange(call: Call) -> Any:
    """One exchange."""
    row = await call.ask("exchange.show", vhost=await call.vhost(to_use=False), name=call.exchange())
    exchange_details(call)(row)
    return {**row, "incoming": [], "outgoing": []}


@route("PUT", EXCHANGE)
async def declare_exchange(call: Call) -> Answer:
    """Declare an exchange."""
    vhost, given = await call.vhost(), await call.body()
    made = await call.ask(
        "exchange.declare",
        vhost=vhost,
        name=call.exchange(),
        type=text(given, "type", "direct"),
        durable=truth(given, "durable", False),
        auto_delete=truth(given, "auto_delete", False),
        internal=truth(given, "internal", False),
        arguments=table(given, "arguments"),
        user=call.caller.acts_as,
    )
    return CREATED if made["created"] else NO_CONTENT


@route("DELETE", EXCHANGE)
async def delete_exchange(call: Call) -> Answer:
    """Delete an exchange; ?if-unused=true only then."""
    vhost = await call.vhost()
    await call.ask(
        "exchange.delete", vhost=vhost, name=call.exchange(), if_unused=call.flag("if-unused"), user=call.caller.acts_as
    )
    return NO_CONTENT


@route("GET", f"{EXCHANGE}/bindings/source")
async def bindings_from_exchange(call: Call) -> Any:
    """Bindings from an exchange."""
    return await listing(call, "binding.list", vhosts=await call.vhost_of_bindings(), source=call.exchange())


@route("GET", f"{EXCHANGE}/bindings/destination")
async def bindings_to_exchange(call: Call) -> Any:
    """Bindings to an exchange."""
    vhosts, exchange = await call.vhost_of_bindings(), call.exchange()
    return await listing(call, "binding.list", vhosts=vhosts, destination=exchange, destination_type="exchange")
