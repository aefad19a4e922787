"""/api/parameters and /api/global-parameters: what came with definitions can be seen and deleted.

None can be set: nothing in FlowMQ acts on one, and what is taken must work.
"""

from typing import Any

from flowmq.management.listing import paged
from flowmq.management.login import ADMINISTRATOR, POLICYMAKER
from flowmq.management.web import NO_CONTENT, Answer, Call, bad_request, route

PARAMETERS, GLOBAL_PARAMETERS = "/api/parameters", "/api/global-parameters"
ONE = f"{PARAMETERS}/{{component}}/{{vhost}}/{{name}}"
ONE_GLOBAL = f"{GLOBAL_PARAMETERS}/{{name}}"
UNUSED = "FlowMQ has no shovels, federation or other users of parameters yet: none can be set"


@route("GET", PARAMETERS, tag=POLICYMAKER)
async def list_parameters(call: Call) -> Any:
    """Parameters that came with definitions."""
    return paged(call, await call.ask("parameter.list", vhosts=await call.visible()))


@route("GET", f"{PARAMETERS}/{{component}}", f"{PARAMETERS}/{{component}}/{{vhost}}", tag=POLICYMAKER)
async def list_parameters_of_component(call: Call) -> Any:
    """Those of one component."""
    return paged(call, await call.ask("parameter.list", vhosts=await call.visible(), component=call.path("component")))


@route("GET", ONE, tag=POLICYMAKER)
async def show_parameter(call: Call) -> Any:
    """One parameter."""
    vhost = await call.vhost(to_use=False)
    return await call.ask("parameter.show", vhost=vhost, component=call.path("component"), name=call.path("name"))


@route("PUT", ONE, tag=POLICYMAKER)
async def set_parameter(call: Call) -> Answer:
    """Always refused."""
    await call.vhost()
    raise bad_request(UNUSED)


@route("DELETE", ONE, tag=POLICYMAKER)
async def delete_parameter(call: Call) -> Answer:
    """Delete a parameter."""
    vhost = await call.vhost()
    await call.ask("parameter.delete", vhost=vhost, component=call.path("component"), name=call.path("name"))
    return NO_CONTENT


@route("GET", GLOBAL_PARAMETERS, tag=POLICYMAKER)
async def list_global_parameters(call: Call) -> Any:
    """Parameters of the whole broker that came with definitions."""
    return paged(call, await call.ask("global_parameter.list"))


@route("GET", ONE_GLOBAL, tag=POLICYMAKER)
async def show_global_parameter(call: Call) -> Any:
    """One of them."""
    return await call.ask("global_parameter.show", name=call.path("name"))


@route("PUT", ONE_GLOBAL, tag=ADMINISTRATOR)
async def set_global_parameter(call: Call) -> Answer:
    """Always refused."""
    raise bad_request(UNUSED)


@route("DELETE", ONE_GLOBAL, tag=ADMINISTRATOR)
async def delete_global_parameter(call: Call) -> Answer:
    """Delete one of them."""
    await call.ask("global_parameter.delete", name=call.path("name"))
    return NO_CONTENT
