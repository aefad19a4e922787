"""Verbs about limits of virtual hosts and users."""

import json
from collections.abc import Iterator
from typing import Any

import click

from flowmq.server.ctl.codes import NO_USER, UNAVAILABLE
from flowmq.server.ctl.listings import check_vhost
from flowmq.server.ctl.policies import parsed
from flowmq.server.ctl.verbs import Asked, verb

NO_SUCH_USER = {"not_found": NO_USER}
COLUMNS = {"vhost": ("vhost", "limits"), "user": ("user", "limits")}


def limits_of(asked: Asked, of: str, owner: str | None) -> Iterator[dict[str, Any]]:
    for row in asked.call("limit.list", of=of) or []:
        if owner in (None, row["name"]):
            limits = row["limits"] if asked.output.form == "json" else json.dumps(row["limits"], separators=(",", ":"))
            yield {of: row["name"], "limits": limits}


def set_all(asked: Asked, of: str, owner: str, definition: str) -> None:
    for name, value in parsed(definition).items():
        asked.call("limit.set", of=of, name=owner, limit=name, value=value)


def clear(asked: Asked, of: str, owner: str, limit: str) -> None:
    names = [limit]
    if limit == "all":
        names = [
            name for row in asked.call("limit.list", of=of) or [] if row["name"] == owner for name in row["limits"]
        ]
    for name in names:
        asked.call("limit.clear", of=of, name=owner, limit=name)


@verb("set_vhost_limits", "definition", vhost=True, examples="set_vhost_limits -p orders '{\"max-queues\": 1000}'")
def set_vhost_limits(asked: Asked, definition: str) -> None:
    """How many connections and queues a virtual host may have, as JSON; -1 is no limit."""
    asked.output.say(f'Setting vhost limits to "{definition}" for vhost "{asked.vhost}" ...')
    check_vhost(asked)
    set_all(asked, "vhost", asked.vhost, definition)


@verb("clear_vhost_limits", vhost=True)
def clear_vhost_limits(asked: Asked) -> None:
    """No limits of its own for a virtual host."""
    asked.output.say(f'Clearing vhost "{asked.vhost}" limits ...')
    check_vhost(asked)
    clear(asked, "vhost", asked.vhost, "all")


@verb("list_vhost_limits", "", click.option("--global", "everywhere", is_flag=True, help="Of all of them."), vhost=True)
def list_vhost_limits(asked: Asked, everywhere: bool) -> None:
    """The limits of a virtual host, or with --global of all."""
    asked.output.say("Listing limits for " + ("all vhosts ..." if everywhere else f'vhost "{asked.vhost}" ...'))
    if not everywhere:
        check_vhost(asked)
    asked.output.show(limits_of(asked, "vhost", None if everywhere else asked.vhost), COLUMNS["vhost"])


@verb(
    *("set_user_limits", "username definition"),
    codes=NO_SUCH_USER,
    examples='set_user_limits ann \'{"max-connections": 5, "max-channels": 50}\'',
)
def set_user_limits(asked: Asked, username: str, definition: str) -> None:
    """How many connections and channels a user may have, as JSON; -1 is no limit."""
    asked.output.say(f'Setting user limits to "{definition}" for user "{username}" ...')
    set_all(asked, "user", username, definition)


@verb("clear_user_limits", "username limit", codes={**NO_SUCH_USER, "bad_request": UNAVAILABLE})
def clear_user_limits(asked: Asked, username: str, limit: str) -> None:
    """No such limit for a user; "all" is every one."""
    asked.output.say(f'Clearing user limits of user "{username}" ...')
    clear(asked, "user", username, limit)


@verb("list_user_limits", "", click.option("--user", metavar="NAME", help="Only of this user."))
def list_user_limits(asked: Asked, user: str | None) -> None:
    """The limits of users."""
    asked.output.say("Listing limits for " + ("all users ..." if user is None else f'user "{user}" ...'))
    asked.output.show(limits_of(asked, "user", user), COLUMNS["user"])
