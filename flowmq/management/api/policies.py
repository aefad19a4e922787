"""/api/policies and /api/operator-policies."""

from typing import Any

from flowmq.management.api.queues import number, table, text
from flowmq.management.listing import paged
from flowmq.management.login import ADMINISTRATOR, POLICYMAKER
from flowmq.management.web import CREATED, NO_CONTENT, Answer, Call, bad_request, route

POLICIES, OPERATOR_POLICIES = "/api/policies", "/api/operator-policies"


async def list_them(call: Call, *, operator: bool) -> Any:
    return paged(call, await call.ask("policy.list", vhosts=await call.visible(), operator=operator))


async def set_one(call: Call, *, operator: bool) -> Answer:
    vhost, given = await call.vhost(), await call.body()
    if "definition" not in given:
        raise bad_request("[{key_missing,definition}]")
    made = await call.ask(
        "policy.set",
        vhost=vhost,
        name=call.path("name"),
        pattern=text(given, "pattern"),
        definition=table(given, "definition"),
        priority=number(given, "priority", 0),
        apply_to=text(given, "apply-to", "all"),
        operator=operator,
    )
    return CREATED if made["created"] else NO_CONTENT


@route("GET", POLICIES, f"{POLICIES}/{{vhost}}")
async def list_policies(call: Call) -> Any:
    """Policies."""
    return await list_them(call, operator=False)


@route("GET", f"{POLICIES}/{{vhost}}/{{name}}")
async def show_policy(call: Call) -> Any:
    """One policy."""
    return await call.ask("policy.show", vhost=await call.vhost(to_use=False), name=call.path("name"))


@route("PUT", f"{POLICIES}/{{vhost}}/{{name}}", tag=POLICYMAKER)
async def set_policy(call: Call) -> Answer:
    """Set a policy."""
    return await set_one(call, operator=False)


@route("DELETE", f"{POLICIES}/{{vhost}}/{{name}}", tag=POLICYMAKER)
async def delete_policy(call: Call) -> Answer:
    """Delete a policy."""
    await call.ask("policy.delete", vhost=await call.vhost(), name=call.path("name"))
    return NO_CONTENT


@route("GET", OPERATOR_POLICIES, f"{OPERATOR_POLICIES}/{{vhost}}")
async def list_operator_policies(call: Call) -> Any:
    """Operator policies."""
    return await list_them(call, operator=True)


@route("GET", f"{OPERATOR_POLICIES}/{{vhost}}/{{name}}")
async def show_operator_policy(call: Call) -> Any:
    """One operator policy."""
    vhost = await call.vhost(to_use=False)
    return await call.ask("policy.show", vhost=vhost, name=call.path("name"), operator=True)


@route("PUT", f"{OPERATOR_POLICIES}/{{vhost}}/{{name}}", tag=ADMINISTRATOR)
async def set_operator_policy(call: Call) -> Answer:
    """Set an operator policy."""
    return await set_one(call, operator=True)


@route("DELETE", f"{OPERATOR_POLICIES}/{{vhost}}/{{name}}", tag=ADMINISTRATOR)
async def delete_operator_policy(call: Call) -> Answer:
    """Delete an operator policy."""
    await call.ask("policy.delete", vhost=await call.vhost(), name=call.path("name"), operator=True)
    return NO_CONTENT
