"""/api/shovels: how shovels are, as RabbitMQ's plugin tells it; they are set as parameters."""

from typing import Any

from flowmq.management.listing import paged
from flowmq.management.login import MONITORING, POLICYMAKER
from flowmq.management.web import NO_CONTENT, Answer, Call, not_authorised, route

SHOVELS = "/api/shovels"
ONE = f"{SHOVELS}/vhost/{{vhost}}/{{name}}"


def check_may_see(call: Call) -> None:
    if not call.caller.may(MONITORING) and not call.caller.may(POLICYMAKER):
        raise not_authorised("Not monitor user")


@route("GET", SHOVELS, f"{SHOVELS}/{{vhost}}")
async def list_shovels(call: Call) -> Any:
    """Shovels and how they are; for the tags monitoring and policymaker."""
    check_may_see(call)
    return paged(call, await call.ask("shovel.list", vhosts=await call.visible()))


@route("GET", ONE)
async def show_shovel(call: Call) -> Any:
    """One shovel."""
    check_may_see(call)
    return await call.ask("shovel.show", vhost=await call.vhost(to_use=False), name=call.path("name"))


@route("DELETE", ONE, tag=POLICYMAKER)
async def delete_shovel(call: Call) -> Answer:
    """Delete a shovel, with its parameter."""
    await call.ask("shovel.delete", vhost=await call.vhost(), name=call.path("name"))
    return NO_CONTENT


@route("DELETE", f"{ONE}/restart", tag=POLICYMAKER)
async def restart_shovel(call: Call) -> Answer:
    """Start a shovel anew; RabbitMQ has this verb for it."""
    await call.ask("shovel.restart", vhost=await call.vhost(), name=call.path("name"))
    return NO_CONTENT
