"""Verbs about users, virtual hosts and what users may do."""

import sys
from collections.abc import Sequence
from typing import Any

import click

from flowmq.broker.passwords import rabbitmq_hashed
from flowmq.server.ctl.codes import DATA, NO_USER, USAGE, Failed
from flowmq.server.ctl.listings import check_vhost, chosen, tags
from flowmq.server.ctl.verbs import Asked, verb

NO_SUCH_USER = {"not_found": NO_USER}
PRE_HASHED = click.option("--pre-hashed-password", is_flag=True, help="What is given is a hash, in base64.")
DESCRIPTION = click.option("--description", default="", metavar="TEXT")
TAGS = click.option("--tags", "given_tags", default="", metavar="TAG,TAG")
QUEUE_TYPE = click.option("--default-queue-type", metavar="TYPE", help="classic or quorum")


def secret(password: str | None) -> str:
    """Behind the user's name, where others of this machine may see it, or on standard input."""
    if password is not None:
        return password
    if sys.stdin.isatty():
        given: str = click.prompt("Password", hide_input=True, err=True)
        return given
    return sys.stdin.readline().rstrip("\n")


def password_of(password: str | None, pre_hashed_password: bool) -> dict[str, str]:
    return {"password_hash" if pre_hashed_password else "password": secret(password)}


@verb("add_user", "username [password]", PRE_HASHED, examples="add_user ann < password.txt\nadd_user ann 's3cret'")
def add_user(asked: Asked, username: str, password: str | None, pre_hashed_password: bool) -> None:
    """Make a user, who may do nothing yet. Without a password it is read from standard input."""
    asked.output.say(f'Adding user "{username}" ...')
    asked.call("user.add", name=username, **password_of(password, pre_hashed_password))
    asked.output.say("Done. Don't forget to grant the user permissions to some virtual hosts: set_permissions.")


@verb("delete_user", "username", codes=NO_SUCH_USER)
def delete_user(asked: Asked, username: str) -> None:
    """Delete a user with all permissions; open connections are closed."""
    asked.output.say(f'Deleting user "{username}" ...')
    asked.call("user.delete", name=username)


@verb("change_password", "username [password]", PRE_HASHED, codes=NO_SUCH_USER)
def change_password(asked: Asked, username: str, password: str | None, pre_hashed_password: bool) -> None:
    """Change a user's password. Without one it is read from standard input."""
    asked.output.say(f'Changing password for user "{username}" ...')
    asked.call("user.set_password", name=username, **password_of(password, pre_hashed_password))


@verb("clear_password", "username", codes=NO_SUCH_USER)
def clear_password(asked: Asked, username: str) -> None:
    """Let nobody log in as this user with a password."""
    asked.output.say(f'Clearing password for user "{username}" ...')
    asked.call("user.set_password", name=username, password_hash="")


@verb("set_user_tags", "username [tags...]", codes=NO_SUCH_USER, examples="set_user_tags ann administrator monitoring")
def set_user_tags(asked: Asked, username: str, tags: Sequence[str]) -> None:
    """Give a user these tags, in place of all others."""
    asked.output.say(f'Setting tags for user "{username}" to [{", ".join(tags)}] ...')
    asked.call("user.set_tags", name=username, tags=list(tags))


@verb("list_users")
def list_users(asked: Asked) -> None:
    """All users and their tags."""
    asked.output.say("Listing users ...")
    rows = asked.call("user.list") or []
    as_text = asked.output.form != "json"
    asked.output.show(
        [{"user": row["name"], "tags": tags(row) if as_text else row["tags"]} for row in rows], ("user", "tags")
    )


@verb("authenticate_user", "username [password]")
def authenticate_user(asked: Asked, username: str, password: str | None) -> None:
    """Is this the user's password? Without one it is read from standard input."""
    asked.output.say(f'Authenticating user "{username}" ...')
    if asked.call("user.authenticate", name=username, password=secret(password)) is None:
        raise Failed(f'failed to authenticate user "{username}": invalid credentials', DATA)
    asked.output.tell("Success", result="ok")


@verb("hash_password", "[password]")
def hash_password(asked: Asked, password: str | None) -> None:
    """Print RabbitMQ's hash of a password. For FlowMQ's own kind of hash see flowmq user hash."""
    given = secret(password)
    if not given:
        raise Failed("the password is empty", USAGE)
    asked.output.tell(rabbitmq_hashed(given).value)


# -------------------------------------------------------------------------------------------------- virtual hosts


@verb(
    *("add_vhost", "vhost-name", DESCRIPTION, TAGS, QUEUE_TYPE),
    examples="add_vhost orders --description 'what customers want'",
)
def add_vhost(asked: Asked, vhost_name: str, description: str, given_tags: str, default_queue_type: str | None) -> None:
    """Make a virtual host. One that is there already stays as it is."""
    asked.output.say(f'Adding vhost "{vhost_name}" ...')
    if vhost_name not in [row["name"] for row in asked.call("vhost.list")]:
        tag_list = [tag for tag in given_tags.split(",") if tag]
        kind = default_queue_type
        asked.call("vhost.add", name=vhost_name, description=description, tags=tag_list, default_queue_type=kind)


@verb("update_vhost_metadata", "vhost-name", DESCRIPTION, TAGS, QUEUE_TYPE)
def update_vhost_metadata(
    asked: Asked, vhost_name: str, description: str, given_tags: str, default_queue_type: str | None
) -> None:
    """Give a virtual host this description and these tags."""
    asked.output.say(f'Updating metadata of vhost "{vhost_name}" ...')
    tag_list = [tag for tag in given_tags.split(",") if tag]
    kind = default_queue_type
    asked.call("vhost.describe", name=vhost_name, description=description, tags=tag_list, default_queue_type=kind)


@verb("delete_vhost", "vhost-name", codes={"not_found": DATA})
def delete_vhost(asked: Asked, vhost_name: str) -> None:
    """Delete a virtual host and all that is in it, messages included."""
    asked.output.say(f'Deleting vhost "{vhost_name}" ...')
    asked.call("vhost.delete", name=vhost_name)


@verb("list_vhosts", "[columns...]")
def list_vhosts(asked: Asked, columns: Sequence[str]) -> None:
    """All virtual hosts. Columns: name, description, tags."""
    wanted = chosen(columns, "name", ("name", "description", "tags"))
    asked.output.say("Listing vhosts ...")
    asked.output.show(asked.call("vhost.list") or [], wanted)


# ---------------------------------------------------------------------------------------------------- permissions


@verb(
    *("set_permissions", "username configure write read"),
    vhost=True,
    codes=NO_SUCH_USER,
    examples="set_permissions -p orders ann '^ann-' '.*' '.*'",
)
def set_permissions(asked: Asked, username: str, **patterns: str) -> None:
    """What a user may configure, write and read, by patterns of names."""
    asked.output.say(f'Setting permissions for user "{username}" in vhost "{asked.vhost}" ...')
    check_vhost(asked)
    asked.call("permission.set", user=username, vhost=asked.vhost, **patterns)


@verb("clear_permissions", "username", vhost=True, codes=NO_SUCH_USER)
def clear_permissions(asked: Asked, username: str) -> None:
    """Keep a user out of a virtual host."""
    asked.output.say(f'Clearing permissions for user "{username}" in vhost "{asked.vhost}" ...')
    check_vhost(asked)
    asked.call("permission.clear", user=username, vhost=asked.vhost)


@verb("list_permissions", vhost=True)
def list_permissions(asked: Asked) -> None:
    """Who may do what in a virtual host."""
    asked.output.say(f'Listing permissions for vhost "{asked.vhost}" ...')
    rows = asked.call("permission.list", vhost=asked.vhost) or []
    asked.output.show(rows, ("user", "configure", "write", "read"))


@verb("list_user_permissions", "username", codes=NO_SUCH_USER)
def list_user_permissions(asked: Asked, username: str) -> None:
    """What a user may do, and where."""
    asked.output.say(f'Listing permissions for user "{username}" ...')
    rows = asked.call("permission.list", user=username) or []
    asked.output.show(rows, ("vhost", "configure", "write", "read"))


@verb("set_topic_permissions", "username exchange write read", vhost=True, codes=NO_SUCH_USER)
def set_topic_permissions(asked: Asked, username: str, exchange: str, **patterns: str) -> None:
    """To which routing keys of a topic exchange a user may publish (write) and bind (read)."""
    asked.output.say(f'Setting topic permissions on "{exchange}" for user "{username}" in vhost "{asked.vhost}" ...')
    check_vhost(asked)
    asked.call("topic_permission.set", user=username, vhost=asked.vhost, exchange=exchange, **patterns)


@verb("clear_topic_permissions", "username [exchange]", vhost=True, codes=NO_SUCH_USER)
def clear_topic_permissions(asked: Asked, username: str, exchange: str | None) -> None:
    """Allow a user all routing keys again, of one exchange or of all."""
    asked.output.say(f'Clearing topic permissions for user "{username}" in vhost "{asked.vhost}" ...')
    check_vhost(asked)
    asked.call("topic_permission.clear", user=username, vhost=asked.vhost, exchange=exchange)


def show_topic_permissions(asked: Asked, first: str, **of: Any) -> None:
    rows = asked.call("topic_permission.list", **of) or []
    asked.output.show(rows, (first, "exchange", "write", "read"))


@verb("list_topic_permissions", vhost=True)
def list_topic_permissions(asked: Asked) -> None:
    """All topic permissions in a virtual host."""
    asked.output.say(f'Listing topic permissions for vhost "{asked.vhost}" ...')
    show_topic_permissions(asked, "user", vhost=asked.vhost)


@verb("list_user_topic_permissions", "username", codes=NO_SUCH_USER)
def list_user_topic_permissions(asked: Asked, username: str) -> None:
    """All topic permissions of a user."""
    asked.output.say(f'Listing topic permissions for user "{username}" ...')
    show_topic_permissions(asked, "vhost", user=username)
