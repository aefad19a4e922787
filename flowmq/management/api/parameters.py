"""/api/parameters and /api/global-parameters. Passwords in the URIs of shovels are not shown, but for those of one
parameter to an administrator: Terraform compares what it has set with that."""

from typing import Any

from flowmq.management.listing import paged
from flowmq.management.login import ADMINISTRATOR, POLICYMAKER
from flowmq.management.web import CREATED, NO_CONTENT, Answer, Call, bad_request, route

PARAMETERS, GLOBAL_PARAMETERS = "/api/parameters", "/api/global-parameters"
ONE = f"{PARAMETERS}/{{component}}/{{vhost}}/{{name}}"
ONE_GLOBAL = f"{GLOBAL_PARAMETERS}/{{name}}"
DEPTH_MAX = 64


async def value_of(call: Call) -> Any:
    given = await call.body()
    if "value" not in given:
        raise bad_request("[{key_missing,value}]")
    check_depth(given["value"], 1)
    return given["value"]


def check_depth(value: Any, depth: int) -> None:
    if depth > DEPTH_MAX:
        raise bad_request(f"the value is nested deeper than {DEPTH_MAX}")
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        check_depth(inner, depth + 1)


@route("GET", PARAMETERS, tag=POLICYMAKER)
async def list_parameters(call: Call) -> Any:
    """Parameters of virtual hosts."""
    return paged(call, await call.ask("parameter.list", vhosts=await call.visible()))


@route("GET", f"{PARAMETERS}/{{component}}", f"{PARAMETERS}/{{component}}/{{vhost}}", tag=POLICYMAKER)
async def list_parameters_of_component(call: Call) -> Any:
    """Those of one component."""
    return paged(call, await call.ask("parameter.list", vhosts=await call.visible(), component=call.path("component")))


@route("GET", ONE, tag=POLICYMAKER)
async def show_parameter(call: Call) -> Any:
    """One parameter."""
    vhost = await call.vhost(to_use=False)
    return await call.ask(
        "parameter.show",
        vhost=vhost,
        component=call.path("component"),
        name=call.path("name"),
        with_passwords=call.caller.may(ADMINISTRATOR),
    )


@route("PUT", ONE, tag=POLICYMAKER)
async def set_parameter(call: Call) -> Answer:
    """Set a parameter; the component `shovel` is the only one."""
    vhost, value = await call.vhost(), await value_of(call)
    made = await call.ask(
        "parameter.set",
        vhost=vhost,
        component=call.path("component"),
        name=call.path("name"),
        value=value,
        user=call.caller.name,
        is_kept=call.caller.is_kept,
    )
    return CREATED if made["created"] else NO_CONTENT


@route("DELETE", ONE, tag=POLICYMAKER)
async def delete_parameter(call: Call) -> Answer:
    """Delete a parameter."""
    vhost = await call.vhost()
    await call.ask("parameter.delete", vhost=vhost, component=call.path("component"), name=call.path("name"))
    return NO_CONTENT


@route("GET", GLOBAL_PARAMETERS, tag=POLICYMAKER)
async def list_global_parameters(call: Call) -> Any:
    """Parameters of the whole broker."""
    return paged(call, await call.ask("global_parameter.list"))


@route("GET", ONE_GLOBAL, tag=POLICYMAKER)
async def show_global_parameter(call: Call) -> Any:
    """One of them."""
    return await call.ask("global_parameter.show", name=call.path("name"))


@route("PUT", ONE_GLOBAL, tag=ADMINISTRATOR)
async def set_global_parameter(call: Call) -> Answer:
    """Set one of them: any value, which is kept and told again."""
    made = await call.ask("global_parameter.set", name=call.path("name"), value=await value_of(call))
    return CREATED if made["created"] else NO_CONTENT


@route("DELETE", ONE_GLOBAL, tag=ADMINISTRATOR)
async def delete_global_parameter(call: Call) -> Answer:
    """Delete one of them."""
    await call.ask("global_parameter.delete", name=call.path("name"))
    return NO_CONTENT
