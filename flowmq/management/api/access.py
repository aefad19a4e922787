"""/api/users, /api/permissions, /api/topic-permissions, /api/vhosts, /api/whoami."""

from collections.abc import Iterable
from typing import Any

from flowmq.management.api.queues import text
from flowmq.management.listing import add_stats, paged
from flowmq.management.login import ADMINISTRATOR
from flowmq.management.web import CREATED, NO_CONTENT, Answer, Call, bad_request, not_found, route
from flowmq.server.control.registry import ControlError

PERMISSION = "/api/permissions/{vhost}/{user}"
TOPIC_PERMISSION = "/api/topic-permissions/{vhost}/{user}"


def changed(call: Call, answer: Answer) -> Answer:
    """What was remembered of log-ins may not be so any more."""
    call.management.log_ins.forget()
    return answer


# ------------------------------------------------------------------------------------------------------------- users


@route("GET", "/api/whoami")
async def who_am_i(call: Call) -> Any:
    """The user who asks."""
    return {"name": call.caller.name, "tags": list(call.caller.given_tags), "is_internal_user": call.caller.is_kept}


def user_row(found: dict[str, Any], limits: dict[str, int]) -> dict[str, Any]:
    return {
        "name": found["name"],
        "password_hash": found.get("password_hash", ""),
        "hashing_algorithm": found.get("hashing_algorithm", ""),
        "tags": found["tags"],
        "limits": limits,
    }


async def user_rows(call: Call, names: Iterable[str]) -> list[dict[str, Any]]:
    limits = {row["name"]: row["limits"] for row in await call.ask("limit.list", of="user")}
    return [user_row(await call.ask("user.get", name=name), limits.get(name, {})) for name in names]


@route("GET", "/api/users", tag=ADMINISTRATOR)
async def list_users(call: Call) -> Any:
    """Users."""
    names = [user["name"] for user in await call.ask("user.list")]
    return paged(call, await user_rows(call, names))


@route("GET", "/api/users/without-permissions", tag=ADMINISTRATOR)
async def users_without_permissions(call: Call) -> Any:
    """Users who may use no virtual host."""
    permitted = {permission["user"] for permission in await call.ask("permission.list")}
    names = (user["name"] for user in await call.ask("user.list"))
    return await user_rows(call, [name for name in names if name not in permitted])


@route("POST", "/api/users/bulk-delete", tag=ADMINISTRATOR)
async def delete_users(call: Call) -> Answer:
    """Delete several users."""
    names = (await call.body()).get("users")
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise bad_request("users: must be a list of names")
    missing = set(names) - {user["name"] for user in await call.ask("user.list")}
    if missing:
        raise bad_request(f"no_such_user: {', '.join(sorted(missing))}")
    for name in names:
        await call.ask("user.delete", name=name)
    return changed(call, NO_CONTENT)


@route("GET", "/api/users/{user}", tag=ADMINISTRATOR)
async def show_user(call: Call) -> Any:
    """One user."""
    return (await user_rows(call, [call.path("user")]))[0]


def tags_of(given: dict[str, Any]) -> list[str]:
    """A list, or a text with commas."""
    tags = given.get("tags", given.get("administrator"))
    if tags is None:
        raise bad_request("[{key_missing,tags}]")
    if isinstance(tags, str):
        tags = tags.split(",")
    if not isinstance(tags, list) or not all(isinstance(tag, str) for tag in tags):
        raise bad_request("tags: must be a list of texts, or a text with commas")
    return [tag.strip() for tag in tags if tag.strip()]


def password_of(given: dict[str, Any]) -> dict[str, Any]:
    """As the broker is told of it; an empty one is a hash that nothing fits."""
    if isinstance(given.get("password"), str) and given["password"]:
        return {"password": given["password"]}
    value = given.get("password_hash", given.get("password"))
    if value is None:
        return {"password_hash": ""}
    if not isinstance(value, str):
        raise bad_request("password_hash: must be a text")
    return {"password_hash": value, "hashing_algorithm": text(given, "hashing_algorithm", "")}


@route("PUT", "/api/users/{user}", tag=ADMINISTRATOR)
async def put_user(call: Call) -> Answer:
    """Add a user, or change the password and the tags of one."""
    name, given = call.path("user"), await call.body()
    tags, password = tags_of(given), password_of(given)
    if name not in {user["name"] for user in await call.ask("user.list")}:
        await call.ask("user.add", name=name, tags=tags, **password)
        return CREATED
    if "password" in given or "password_hash" in given:
        await call.ask("user.set_password", name=name, **password)
    await call.ask("user.set_tags", name=name, tags=tags)
    return changed(call, NO_CONTENT)


@route("DELETE", "/api/users/{user}", tag=ADMINISTRATOR)
async def delete_user(call: Call) -> Answer:
    """Delete a user."""
    await call.ask("user.delete", name=call.path("user"))
    return changed(call, NO_CONTENT)


@route("GET", "/api/users/{user}/permissions", tag=ADMINISTRATOR)
async def permissions_of_user(call: Call) -> Any:
    """What a user may do, by virtual host."""
    return await call.ask("permission.list", user=call.path("user"))


@route("GET", "/api/users/{user}/topic-permissions", tag=ADMINISTRATOR)
async def topic_permissions_of_user(call: Call) -> Any:
    """To which topics a user may publish and bind, by virtual host."""
    return await call.ask("topic_permission.list", user=call.path("user"))


# ------------------------------------------------------------------------------------------------------- permissions


@route("GET", "/api/permissions", tag=ADMINISTRATOR)
async def list_permissions(call: Call) -> Any:
    """Permissions."""
    return paged(call, await call.ask("permission.list"))


@route("GET", "/api/vhosts/{vhost}/permissions", "/api/permissions/{vhost}", tag=ADMINISTRATOR)
async def permissions_in_vhost(call: Call) -> Any:
    """Permissions in a virtual host."""
    return await call.ask("permission.list", vhost=call.path("vhost"))


async def ask_of_somebody(call: Call, command: str, **arguments: Any) -> Any:
    """What RabbitMQ answers with 400 when there is no such user or virtual host."""
    try:
        return await call.ask(command, **arguments)
    except ControlError as error:
        raise bad_request("vhost_or_user_not_found") if error.code == "not_found" else error from None


async def the_only(call: Call, command: str) -> Any:
    found = await call.ask(command, vhost=call.path("vhost"), user=call.path("user"))
    if not found:
        raise not_found()
    return found


@route("GET", PERMISSION, tag=ADMINISTRATOR)
async def show_permission(call: Call) -> Any:
    """What a user may do in a virtual host."""
    return (await the_only(call, "permission.list"))[0]


@route("PUT", PERMISSION, tag=ADMINISTRATOR)
async def set_permission(call: Call) -> Answer:
    """Say what a user may do in a virtual host."""
    given = await call.body()
    before = await ask_of_somebody(call, "permission.list", vhost=call.path("vhost"), user=call.path("user"))
    patterns = {name: text(given, name) for name in ("configure", "write", "read")}
    await call.ask("permission.set", vhost=call.path("vhost"), user=call.path("user"), **patterns)
    return changed(call, NO_CONTENT if before else CREATED)


@route("DELETE", PERMISSION, tag=ADMINISTRATOR)
async def clear_permission(call: Call) -> Answer:
    """Take a user's permissions in a virtual host away."""
    await the_only(call, "permission.list")
    await call.ask("permission.clear", vhost=call.path("vhost"), user=call.path("user"))
    return changed(call, NO_CONTENT)


@route("GET", "/api/topic-permissions", tag=ADMINISTRATOR)
async def list_topic_permissions(call: Call) -> Any:
    """Topic permissions."""
    return paged(call, await call.ask("topic_permission.list"))


@route("GET", "/api/vhosts/{vhost}/topic-permissions", "/api/topic-permissions/{vhost}", tag=ADMINISTRATOR)
async def topic_permissions_in_vhost(call: Call) -> Any:
    """Topic permissions in a virtual host."""
    return await call.ask("topic_permission.list", vhost=call.path("vhost"))


@route("GET", TOPIC_PERMISSION, tag=ADMINISTRATOR)
async def show_topic_permissions(call: Call) -> Any:
    """To which topics a user may publish and bind in a virtual host."""
    return await the_only(call, "topic_permission.list")


@route("PUT", TOPIC_PERMISSION, tag=ADMINISTRATOR)
async def set_topic_permission(call: Call) -> Answer:
    """Say to which topics of an exchange a user may publish and bind."""
    given = await call.body()
    where = {"vhost": call.path("vhost"), "user": call.path("user")}
    exchange = text(given, "exchange")
    before = await ask_of_somebody(call, "topic_permission.list", **where)
    await call.ask(
        "topic_permission.set", **where, exchange=exchange, write=text(given, "write"), read=text(given, "read")
    )
    existed = any(permission["exchange"] == exchange for permission in before)
    return changed(call, NO_CONTENT if existed else CREATED)


@route("DELETE", TOPIC_PERMISSION, f"{TOPIC_PERMISSION}/{{exchange}}", tag=ADMINISTRATOR)
async def clear_topic_permission(call: Call) -> Answer:
    """Take topic permissions away: for one exchange, or all in a virtual host."""
    exchange = call.request.match_info.get("exchange")
    await the_only(call, "topic_permission.list")
    await call.ask("topic_permission.clear", vhost=call.path("vhost"), user=call.path("user"), exchange=exchange)
    return changed(call, NO_CONTENT)


# ----------------------------------------------------------------------------------------------------- virtual hosts

MESSAGE_STATS = (
    *("publish", "confirm", "return_unroutable", "drop_unroutable", "deliver", "deliver_no_ack", "get", "get_no_ack"),
    *("get_empty", "redeliver", "ack"),
)


def message_stats(total: dict[str, int]) -> dict[str, Any]:
    stats: dict[str, Any] = {name: total[name] for name in MESSAGE_STATS}
    stats["deliver_get"] = sum(total[name] for name in ("deliver", "deliver_no_ack", "get", "get_no_ack"))
    stats["publish"] = total["publish_in"]
    return stats


def vhost_row(call: Call, host: dict[str, Any], total: dict[str, Any], node: str) -> dict[str, Any]:
    name = host["name"]
    row = {
        "name": name,
        "description": host["description"],
        "tags": host["tags"],
        "metadata": {"description": host["description"], "tags": host["tags"]},
        "default_queue_type": host["default_queue_type"],
        "tracing": False,
        "protected_from_deletion": False,
        "cluster_state": {node: "running"},
        "messages": total["ready"] + total["unacked"],
        "messages_ready": total["ready"],
        "messages_unacknowledged": total["unacked"],
        "recv_oct": total["recv_oct"],
        "send_oct": total["send_oct"],
        "message_stats": message_stats(total),
    }
    for length in ("messages", "messages_ready", "messages_unacknowledged", "recv_oct", "send_oct"):
        row[f"{length}_details"] = call.sampler.vhosts.details(name, length)
    add_stats(call, row, call.sampler.vhosts, name)
    return row


async def vhost_rows(call: Call) -> list[dict[str, Any]]:
    totals = (await call.ask("node.totals"))["vhosts"]
    hosts, status = await call.ask("vhost.list"), await call.ask("node.status")
    return [
        vhost_row(call, host, totals[host["name"]], status["name"])
        for host in hosts
        if host["name"] in totals and call.caller.sees(host["name"])
    ]


@route("GET", "/api/vhosts")
async def list_vhosts(call: Call) -> Any:
    """Virtual hosts."""
    return paged(call, await vhost_rows(call))


@route("GET", "/api/vhosts/{vhost}")
async def show_vhost(call: Call) -> Any:
    """One virtual host."""
    name = await call.vhost(to_use=False)
    return next(row for row in await vhost_rows(call) if row["name"] == name)


@route("PUT", "/api/vhosts/{vhost}", tag=ADMINISTRATOR)
async def put_vhost(call: Call) -> Answer:
    """Add a virtual host, or describe one anew."""
    name, given = call.path("vhost"), await call.body()
    if given.get("tracing") in (True, "true"):
        raise bad_request("tracing is not supported")
    kind = text(given, "default_queue_type", "") or None
    kind = None if kind == "undefined" else kind
    tags = tags_of(given) if given.get("tags") else []
    known = {host["name"]: host for host in await call.ask("vhost.list")}
    if name not in known:
        await call.ask(
            "vhost.add", name=name, description=text(given, "description", ""), tags=tags, default_queue_type=kind
        )
        if call.caller.is_kept:
            await call.ask("permission.set", vhost=name, user=call.caller.name, configure=".*", write=".*", read=".*")
        return changed(call, CREATED)
    if "description" in given or "tags" in given or kind:
        if "description" not in given and "tags" not in given:
            tags = known[name]["tags"]
        description = text(given, "description", known[name]["description"])
        await call.ask("vhost.describe", name=name, description=description, tags=tags, default_queue_type=kind)
    return NO_CONTENT


@route("DELETE", "/api/vhosts/{vhost}", tag=ADMINISTRATOR)
async def delete_vhost(call: Call) -> Answer:
    """Delete a virtual host and everything in it."""
    await call.ask("vhost.delete", name=call.path("vhost"))
    return changed(call, NO_CONTENT)


@route("POST", "/api/vhosts/{vhost}/start/{node}", tag=ADMINISTRATOR)
async def start_vhost(call: Call) -> Answer:
    """They all run for as long as the broker does."""
    await call.vhost(to_use=False)
    return NO_CONTENT
