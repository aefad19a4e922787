"""Verbs about runtime parameters, and about shovels, which are some."""

import json
from typing import Any

from flowmq.server.ctl.codes import DATA, Failed
from flowmq.server.ctl.listings import check_vhost
from flowmq.server.ctl.verbs import Asked, verb

SHOVEL_COLUMNS = (
    *("name", "vhost", "type", "state", "reason", "src_uri", "src_queue", "src_exchange", "dest_uri", "dest_queue"),
    *("dest_exchange", "remaining", "forwarded", "timestamp"),
)
NO_SUCH_SHOVEL = {"not_found": DATA}


def parsed(value: str) -> Any:
    try:
        return json.loads(value)
    except ValueError as error:
        raise Failed(f"JSON decoding error: {error}", DATA) from None


def with_text(asked: Asked, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Values as JSON, in what is no JSON itself."""
    if asked.output.form == "json":
        return rows
    return [{**row, "value": json.dumps(row["value"], separators=(",", ":"))} for row in rows]


@verb(
    *("set_parameter", "component-name name value"),
    vhost=True,
    examples="""set_parameter shovel move '{"src-uri": "amqp://", "src-queue": "a", "dest-uri": "amqp://elsewhere", """
    """"dest-queue": "b"}'""",
)
def set_parameter(asked: Asked, component_name: str, name: str, value: str) -> None:
    """Set a runtime parameter; the value is JSON. The component "shovel" is the only one."""
    given = parsed(value)
    asked.output.say(
        f'Setting runtime parameter "{name}" for component "{component_name}" in vhost "{asked.vhost}" ...'
    )
    asked.call("parameter.set", component=component_name, name=name, vhost=asked.vhost, value=given)


@verb("clear_parameter", "component-name name", vhost=True)
def clear_parameter(asked: Asked, component_name: str, name: str) -> None:
    """Clear a runtime parameter."""
    asked.output.say(
        f'Clearing runtime parameter "{name}" for component "{component_name}" on vhost "{asked.vhost}" ...'
    )
    asked.call("parameter.delete", component=component_name, name=name, vhost=asked.vhost)


@verb("list_parameters", vhost=True)
def list_parameters(asked: Asked) -> None:
    """All runtime parameters of a virtual host, without passwords."""
    asked.output.say(f'Listing runtime parameters for vhost "{asked.vhost}" ...')
    check_vhost(asked)
    rows = asked.call("parameter.list", vhosts=[asked.vhost]) or []
    asked.output.show(with_text(asked, rows), ("component", "name", "value"))


@verb("set_global_parameter", "name value", examples="""set_global_parameter site '{"owner": "ann"}'""")
def set_global_parameter(asked: Asked, name: str, value: str) -> None:
    """Set a parameter of the whole broker: any JSON, which is kept and told again."""
    given = parsed(value)
    asked.output.say(f'Setting global runtime parameter "{name}" to "{value}" ...')
    asked.call("global_parameter.set", name=name, value=given)


@verb("clear_global_parameter", "name")
def clear_global_parameter(asked: Asked, name: str) -> None:
    """Clear a parameter of the whole broker."""
    asked.output.say(f'Clearing global runtime parameter "{name}" ...')
    asked.call("global_parameter.delete", name=name)


@verb("list_global_parameters")
def list_global_parameters(asked: Asked) -> None:
    """All parameters of the whole broker."""
    asked.output.say("Listing global runtime parameters ...")
    asked.output.show(with_text(asked, asked.call("global_parameter.list") or []), ("name", "value"))


# ------------------------------------------------------------------------------------------------------------ shovels


@verb("shovel_status")
def shovel_status(asked: Asked) -> None:
    """All shovels and how they are."""
    asked.output.say("Shovel status:")
    asked.output.show(asked.rows("shovel.list"), SHOVEL_COLUMNS)


@verb("restart_shovel", "name", vhost=True, codes=NO_SUCH_SHOVEL)
def restart_shovel(asked: Asked, name: str) -> None:
    """Start a shovel anew."""
    asked.output.say(f"Restarting dynamic Shovel {name} in virtual host {asked.vhost} ...")
    asked.call("shovel.restart", name=name, vhost=asked.vhost)


@verb("delete_shovel", "name", vhost=True, codes=NO_SUCH_SHOVEL)
def delete_shovel(asked: Asked, name: str) -> None:
    """Delete a shovel, with its parameter."""
    asked.output.say(f"Deleting shovel {name} in vhost {asked.vhost} ...")
    asked.call("shovel.delete", name=name, vhost=asked.vhost)
