"""/api/definitions: everything that is declared, out and in."""

from typing import Any

from flowmq.management.login import ADMINISTRATOR, POLICYMAKER
from flowmq.management.web import NO_CONTENT, Answer, Call, bad_request, route
from flowmq.server.definitions import BadDefinitions, Summary, assembled, checked, in_portions


async def exported(call: Call, vhost: str | None) -> Any:
    return assembled(await call.ask("definitions.export", vhost=vhost), vhost)


async def imported(call: Call, vhost: str | None) -> Any:
    try:
        definitions = checked(await call.body(), "definitions")
    except BadDefinitions as error:
        raise bad_request(str(error)) from None
    summary, dry_run = Summary(), call.flag("dry_run")
    for kind, objects in in_portions(definitions, vhost):
        summary.note(await call.ask("definitions.apply", kind=kind, objects=objects, dry_run=dry_run))
    call.management.log_ins.forget()
    told = {"counts": summary.counts, "errors": summary.errors}
    if dry_run:
        return {**told, "changes": summary.changes}
    if summary.errors:
        return Answer(400, {"error": "bad_request", "reason": summary.first_errors, **told})
    return NO_CONTENT


@route("GET", "/api/definitions", tag=ADMINISTRATOR)
async def export_definitions(call: Call) -> Any:
    """Everything that is declared."""
    return await exported(call, None)


@route("GET", "/api/definitions/{vhost}", tag=POLICYMAKER)
async def export_vhost(call: Call) -> Any:
    """Everything that is declared in a virtual host."""
    return await exported(call, await call.vhost())


@route("POST", "/api/definitions", tag=ADMINISTRATOR)
async def import_definitions(call: Call) -> Any:
    """Declare all of this; ?dry_run=true only tells what would change."""
    return await imported(call, None)


@route("POST", "/api/definitions/{vhost}", tag=ADMINISTRATOR)
async def import_vhost(call: Call) -> Any:
    """Declare all of this in a virtual host."""
    return await imported(call, await call.vhost())
