"""/api/vhost-limits and /api/user-limits."""

from typing import Any

from flowmq.management.api.access import ask_of_somebody
from flowmq.management.api.queues import number
from flowmq.management.login import ADMINISTRATOR
from flowmq.management.web import NO_CONTENT, Answer, Call, not_found, route

VHOST_LIMITS, USER_LIMITS = "/api/vhost-limits", "/api/user-limits"


async def limits(call: Call, of: str) -> list[dict[str, Any]]:
    return [{of: row["name"], "value": row["limits"]} for row in await call.ask("limit.list", of=of)]


async def of_one(call: Call, of: str) -> list[dict[str, Any]]:
    return [row for row in await limits(call, of) if row[of] == call.path("owner")]


async def set_one(call: Call, of: str) -> Answer:
    value = number(await call.body(), "value")
    ask = ask_of_somebody if of == "user" else Call.ask
    await ask(call, "limit.set", of=of, name=call.path("owner"), limit=call.path("name"), value=value)
    return NO_CONTENT


async def clear_one(call: Call, of: str) -> Answer:
    await call.ask("limit.clear", of=of, name=call.path("owner"), limit=call.path("name"))
    return NO_CONTENT


@route("GET", VHOST_LIMITS)
async def list_vhost_limits(call: Call) -> Any:
    """What was set for virtual hosts."""
    return [row for row in await limits(call, "vhost") if call.caller.sees(row["vhost"])]


@route("GET", f"{VHOST_LIMITS}/{{owner}}", tag=ADMINISTRATOR)
async def show_vhost_limits(call: Call) -> Any:
    """What was set for one virtual host."""
    if call.path("owner") not in {host["name"] for host in await call.ask("vhost.list")}:
        raise not_found()
    return await of_one(call, "vhost")


@route("PUT", f"{VHOST_LIMITS}/{{owner}}/{{name}}", tag=ADMINISTRATOR)
async def set_vhost_limit(call: Call) -> Answer:
    """Set max-connections or max-queues of a virtual host."""
    return await set_one(call, "vhost")


@route("DELETE", f"{VHOST_LIMITS}/{{owner}}/{{name}}", tag=ADMINISTRATOR)
async def clear_vhost_limit(call: Call) -> Answer:
    """What the settings say counts again."""
    return await clear_one(call, "vhost")


@route("GET", USER_LIMITS, tag=ADMINISTRATOR)
async def list_user_limits(call: Call) -> Any:
    """What was set for users."""
    return await limits(call, "user")


@route("GET", f"{USER_LIMITS}/{{owner}}", tag=ADMINISTRATOR)
async def show_user_limits(call: Call) -> Any:
    """What was set for one user."""
    return await of_one(call, "user")


@route("PUT", f"{USER_LIMITS}/{{owner}}/{{name}}", tag=ADMINISTRATOR)
async def set_user_limit(call: Call) -> Answer:
    """Set max-connections or max-channels of a user."""
    return await set_one(call, "user")


@route("DELETE", f"{USER_LIMITS}/{{owner}}/{{name}}", tag=ADMINISTRATOR)
async def clear_user_limit(call: Call) -> Answer:
    """What the settings say counts again."""
    return await clear_one(call, "user")
