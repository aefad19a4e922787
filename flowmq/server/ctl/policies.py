"""Verbs about policies and operator policies: each of them in two kinds."""

import json
from collections.abc import Callable
from typing import Any

import click

from flowmq.server.ctl.codes import Failed
from flowmq.server.ctl.listings import check_vhost
from flowmq.server.ctl.verbs import Asked, verb

PRIORITY = click.option("--priority", type=int, default=0, metavar="N", help="The highest one that matches counts.")
APPLY_TO = click.option("--apply-to", default="all", metavar="WHAT", help="all, queues, exchanges, ...")
COLUMNS = ("vhost", "name", "pattern", "apply-to", "definition", "priority")
KINDS = (
    ("policy", "policies", "policy", False),
    ("operator_policy", "operator_policies", "operator policy override", True),
)


def register(one: str, many: str, what: str, operator: bool) -> None:
    @verb(
        *(f"set_{one}", "name pattern definition", PRIORITY, APPLY_TO),
        vhost=True,
        examples=f"""set_{one} short "^tmp\\." '{{"max-length": 1000}}' --apply-to queues --priority 1""",
    )
    def set_policy(asked: Asked, name: str, pattern: str, definition: str, priority: int, apply_to: str) -> None:
        asked.output.say(
            f'Setting {what} "{name}" for pattern "{pattern}" to "{definition}" with priority "{priority}" '
            f'for vhost "{asked.vhost}" ...'
        )
        arguments: dict[str, Any] = {"priority": priority, "apply_to": apply_to, "operator": operator}
        asked.call(
            "policy.set", name=name, vhost=asked.vhost, pattern=pattern, definition=parsed(definition), **arguments
        )

    @verb(f"clear_{one}", "name", vhost=True)
    def clear_policy(asked: Asked, name: str) -> None:
        asked.output.say(f'Clearing {what} "{name}" on vhost "{asked.vhost}" ...')
        asked.call("policy.delete", name=name, vhost=asked.vhost, operator=operator)

    @verb(f"list_{many}", vhost=True)
    def list_policies(asked: Asked) -> None:
        listed = f"{what}s" if operator else "policies"
        asked.output.say(f'Listing {listed} for vhost "{asked.vhost}" ...')
        check_vhost(asked)
        rows = asked.call("policy.list", vhosts=[asked.vhost], operator=operator) or []
        if asked.output.form != "json":
            rows = [{**row, "definition": json.dumps(row["definition"], separators=(",", ":"))} for row in rows]
        asked.output.show(rows, COLUMNS)

    documented(set_policy, f"Set {a(what)}: a pattern of names, and as JSON what those are to do.")
    documented(clear_policy, f"Delete {a(what)}.")
    documented(list_policies, f"All of kind {what} in a virtual host.")


def documented(run: Callable[..., None], text: str) -> None:
    run.__doc__ = text


def a(what: str) -> str:
    return f"an {what}" if what[0] in "aeiou" else f"a {what}"


def parsed(definition: str) -> dict[str, Any]:
    try:
        value = json.loads(definition)
    except ValueError as error:
        raise Failed(f"JSON decoding error: {error}") from None
    if not isinstance(value, dict):
        raise Failed("the definition must be a JSON object")
    return value


for kind in KINDS:
    register(*kind)
