"""/api/definitions: everything that the broker has been told, out and in."""

from typing import Any

from flowmq.management.login import ADMINISTRATOR, POLICYMAKER
from flowmq.management.web import NO_CONTENT, Answer, Call, bad_request, route
from flowmq.server.control.definitions import pieces
from flowmq.server.control.registry import ControlError

ERRORS_SHOWN = 5
HOW = ("dry_run", "best_effort", "delete_missing")


async def exported(call: Call, vhost: str | None) -> Any:
    asked = {"vhost": vhost, "for_rabbitmq": call.flag("for_rabbitmq")}
    # Who cannot import them needs no passwords of others.
    asked["with_passwords"] = call.caller.may(ADMINISTRATOR)
    rows, definitions = await call.control.listing("definitions.export", **asked)
    for section, entry in rows:
        definitions[section].append(entry)
    return definitions


async def imported(call: Call, vhost: str | None) -> Any:
    try:
        parts = list(pieces(await call.body()))
    except ControlError as error:
        raise bad_request(error.reason) from None
    upload = await call.ask("definitions.begin", vhost=vhost)
    for section, entries in parts:
        await call.ask("definitions.add", upload=upload, section=section, entries=entries)
    how = {name: call.flag(name) for name in HOW}
    rows, summary = await call.control.listing("definitions.import", upload=upload, **how)
    call.management.log_ins.forget()
    errors = [row for row in rows if row["action"] == "error"]
    told = {"counts": summary, "errors": errors}
    if how["dry_run"]:
        return {**told, "changes": [row for row in rows if row["action"] not in ("error", "same")]}
    if errors:
        return Answer(400, {"error": "bad_request", "reason": first_of(errors), **told})
    return NO_CONTENT


def first_of(errors: list[dict[str, Any]]) -> str:
    shown = "; ".join(f"{error['what']}: {error['details']}" for error in errors[:ERRORS_SHOWN])
    return shown + (f"; and {len(errors) - ERRORS_SHOWN} more" if len(errors) > ERRORS_SHOWN else "")


@route("GET", "/api/definitions", tag=ADMINISTRATOR)
async def export_definitions(call: Call) -> Any:
    """Everything that the broker has been told."""
    return await exported(call, None)


@route("GET", "/api/definitions/{vhost}", tag=POLICYMAKER)
async def export_vhost(call: Call) -> Any:
    """Everything in a virtual host."""
    return await exported(call, await call.vhost())


@route("POST", "/api/definitions", tag=ADMINISTRATOR)
async def import_definitions(call: Call) -> Any:
    """Make all of this be there, or nothing; ?dry_run=true only tells what would change."""
    return await imported(call, None)


@route("POST", "/api/definitions/{vhost}", tag=ADMINISTRATOR)
async def import_vhost(call: Call) -> Any:
    """Make all of this be there in a virtual host."""
    return await imported(call, await call.vhost())
