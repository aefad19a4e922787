"""flowmq user, vhost and permission: asks the running broker, or changes the directory of one that does not run.

A password is never an argument: other users of the machine could read it there.
"""

import functools
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import click

from flowmq.broker.passwords import hashed
from flowmq.broker.permissions import AccessError
from flowmq.server.config import Settings, load_settings
from flowmq.server.control import place
from flowmq.server.control.client import ControlConnection, NoBroker
from flowmq.server.control.registry import ControlError
from flowmq.storage.layout import StorageError

ALL = {"configure": ".*", "write": ".*", "read": ".*"}
SETTINGS = (
    click.option("--config", "config_path", metavar="FILE", help="The broker's settings file."),
    click.option("--data-dir", metavar="DIR", help="The broker's data directory (storage.data_dir)."),
)
PASSWORD = (
    click.option("--password-stdin", is_flag=True, help="Read the password from standard input: its first line."),
    click.option("--password-hash", metavar="HASH", help="A hash made elsewhere: argon2id, or RabbitMQ's in base64."),
    click.option("--hashing-algorithm", metavar="NAME", default="", help="Of that hash, such as argon2id."),
)
VHOST = click.option("--vhost", "-p", metavar="NAME", default="/", show_default=True, help="The virtual host.")
FORMAT = click.option("--format", "form", type=click.Choice(["table", "json"]), default="table", show_default=True)


class Asked(Protocol):
    """Whoever does it."""

    def call(self, command: str, **arguments: Any) -> Any: ...


@contextmanager
def asked_of(settings: Settings) -> Iterator[Asked]:
    path = place.socket_path(settings.control.socket, settings.storage.data_dir)
    try:
        connection = ControlConnection(path)
    except NoBroker as error:
        reason = str(error)
    else:
        with connection:
            yield connection
        return
    # Only this needs the broker's compiled modules.
    from flowmq.server.offline import offline

    try:
        with offline(settings) as directory:
            click.echo(f"flowmq: no broker runs on {settings.storage.data_dir}: working on the directory", err=True)
            yield directory
    except StorageError as error:
        raise StorageError(f"{error} ({reason})") from error


def with_settings(function: Callable[..., None]) -> Callable[..., None]:
    """The command gets the settings that tell where the broker is."""

    @functools.wraps(function)
    def run(config_path: str | None, data_dir: str | None, **arguments: Any) -> None:
        flags = {} if data_dir is None else {"storage.data_dir": data_dir}
        try:
            function(load_settings(config_path, os.environ, flags), **arguments)
        except (ControlError, AccessError) as error:
            raise click.ClickException(str(error)) from error

    return with_options(*SETTINGS)(run)


def with_options(*options: Callable[[Any], Any]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    def add(function: Callable[..., None]) -> Callable[..., None]:
        return functools.reduce(lambda decorated, option: option(decorated), reversed(options), function)

    return add


# --------------------------------------------------------------------------------------------- in and out


def new_password(password_stdin: bool) -> str:
    if password_stdin:
        line = sys.stdin.readline()
        return line[:-1] if line.endswith("\n") else line
    if not sys.stdin.isatty():
        raise click.UsageError("no terminal to ask for the password at: use --password-stdin or --password-hash")
    password: str = click.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
    return password


def secret(password_stdin: bool, password_hash: str | None, hashing_algorithm: str) -> dict[str, str]:
    """As the commands take it."""
    if password_hash is None:
        return {"password": new_password(password_stdin)}
    if password_stdin:
        raise click.UsageError("--password-stdin and --password-hash exclude each other")
    return {"password_hash": password_hash, "hashing_algorithm": hashing_algorithm}


def show(rows: Sequence[Mapping[str, Any]], columns: Sequence[str], form: str) -> None:
    chosen = [{column: row[column] for column in columns} for row in rows]
    text = json.dumps(chosen, indent=2) if form == "json" else as_table(chosen, columns)
    # Names may hold any octets: they leave as escapes, never as a failure to print.
    click.echo(text.encode("utf-8", "backslashreplace").decode())


def as_table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> str:
    cells = [list(columns)] + [[cell(row[column]) for column in columns] for row in rows]
    widths = [max(len(line[at]) for line in cells) for at in range(len(columns))]
    return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in cells)


def cell(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(value)
    text = ("no", "yes")[value] if isinstance(value, bool) else str(value)
    return text if text.isprintable() else repr(text)


# --------------------------------------------------------------------------------------------------------- users


@click.group("user")
def user() -> None:
    """Who may log in.

    \b
    flowmq user add ann --permit /              asks for a password; ann may do everything in "/"
    flowmq user add --password-stdin robot < secret.txt
    flowmq user password ann
    flowmq user delete guest
    flowmq user list
    """


@user.command("add")
@click.argument("name")
@click.option("--tag", "tags", multiple=True, metavar="TAG", help="Such as administrator or impersonator; repeatable.")
@click.option("--permit", "permitted", multiple=True, metavar="VHOST", help="Allow everything there; repeatable.")
@with_options(*PASSWORD)
@with_settings
def add_user(settings: Settings, name: str, tags: Sequence[str], permitted: Sequence[str], **password: Any) -> None:
    """Make a user. Without --permit they may do nothing yet: see flowmq permission set."""
    given = secret(**password)
    with asked_of(settings) as other:
        other.call("user.add", name=name, tags=list(tags), **given)
        for vhost in permitted:
            other.call("permission.set", user=name, vhost=vhost, **ALL)


@user.command("delete")
@click.argument("name")
@with_settings
def delete_user(settings: Settings, name: str) -> None:
    """Delete a user with all permissions; open connections are closed."""
    with asked_of(settings) as other:
        other.call("user.delete", name=name)


@user.command("list")
@FORMAT
@with_settings
def list_users(settings: Settings, form: str) -> None:
    """All users. Those that are "configured" come from the configuration file."""
    with asked_of(settings) as other:
        show(other.call("user.list") or [], ("name", "tags", "hashing_algorithm", "configured"), form)


@user.command("password")
@click.argument("name")
@with_options(*PASSWORD)
@with_settings
def change_password(settings: Settings, name: str, **password: Any) -> None:
    """Change a user's password. Open connections stay open."""
    given = secret(**password)
    with asked_of(settings) as other:
        other.call("user.set_password", name=name, **given)


@user.command("tags")
@click.argument("name")
@click.argument("tags", nargs=-1)
@with_settings
def set_tags(settings: Settings, name: str, tags: Sequence[str]) -> None:
    """Give a user these tags, in place of all others."""
    with asked_of(settings) as other:
        other.call("user.set_tags", name=name, tags=list(tags))


@user.command("hash")
@click.option("--password-stdin", is_flag=True, help="Read the password from standard input: its first line.")
def make_hash(password_stdin: bool) -> None:
    """Print the hash of a password, for password_hash in a configuration file."""
    try:
        click.echo(hashed(new_password(password_stdin)).value)
    except AccessError as error:
        raise click.ClickException(str(error)) from error


# -------------------------------------------------------------------------------------------------- virtual hosts


@click.group("vhost")
def vhost() -> None:
    """Virtual hosts.

    \b
    flowmq vhost add orders --description "what customers want"
    flowmq permission set ann ".*" ".*" ".*" --vhost orders
    flowmq vhost delete orders                  with everything in it
    """


@vhost.command("add")
@click.argument("name")
@click.option("--description", default="", metavar="TEXT")
@click.option("--tag", "tags", multiple=True, metavar="TAG", help="Any word; repeatable.")
@with_settings
def add_vhost(settings: Settings, name: str, description: str, tags: Sequence[str]) -> None:
    """Make a virtual host, in which nobody may do anything yet."""
    with asked_of(settings) as other:
        other.call("vhost.add", name=name, description=description, tags=list(tags))


@vhost.command("delete")
@click.argument("name")
@with_settings
def delete_vhost(settings: Settings, name: str) -> None:
    """Delete a virtual host and all that is in it, messages included; its connections are closed."""
    with asked_of(settings) as other:
        other.call("vhost.delete", name=name)


@vhost.command("list")
@FORMAT
@with_settings
def list_vhosts(settings: Settings, form: str) -> None:
    """All virtual hosts."""
    with asked_of(settings) as other:
        show(other.call("vhost.list") or [], ("name", "description", "tags"), form)


# ---------------------------------------------------------------------------------------------------- permissions


@click.group("permission")
def permission() -> None:
    """What users may do, by regular expressions on the names of queues, exchanges and topics.

    \b
    flowmq permission set ann "" "^orders$" "^orders-"        may publish to one exchange, read some queues
    flowmq permission set-topic ann amq.topic "^{username}\\." ".*"
    flowmq permission list --user ann
    flowmq permission clear ann
    """


@permission.command("set")
@click.argument("name")
@click.argument("configure")
@click.argument("write")
@click.argument("read")
@VHOST
@with_settings
def set_permission(settings: Settings, name: str, vhost: str, **patterns: str) -> None:
    """What a user may configure, write and read in a virtual host. "" allows nothing, ".*" everything."""
    with asked_of(settings) as other:
        other.call("permission.set", user=name, vhost=vhost, **patterns)


@permission.command("clear")
@click.argument("name")
@VHOST
@with_settings
def clear_permission(settings: Settings, name: str, vhost: str) -> None:
    """Keep a user out of a virtual host."""
    with asked_of(settings) as other:
        other.call("permission.clear", user=name, vhost=vhost)


@permission.command("list")
@click.option("--vhost", "-p", metavar="NAME", help="Only in this virtual host.")
@click.option("--user", metavar="NAME", help="Only of this user.")
@FORMAT
@with_settings
def list_permissions(settings: Settings, vhost: str | None, user: str | None, form: str) -> None:
    """All permissions."""
    with asked_of(settings) as other:
        rows = other.call("permission.list", vhost=vhost, user=user) or []
    show(rows, ("user", "vhost", "configure", "write", "read"), form)


@permission.command("set-topic")
@click.argument("name")
@click.argument("exchange")
@click.argument("write")
@click.argument("read")
@VHOST
@with_settings
def set_topic_permission(settings: Settings, name: str, exchange: str, vhost: str, **patterns: str) -> None:
    """To which routing keys of a topic exchange a user may publish (write) and bind (read)."""
    with asked_of(settings) as other:
        other.call("topic_permission.set", user=name, vhost=vhost, exchange=exchange, **patterns)


@permission.command("clear-topic")
@click.argument("name")
@click.option("--exchange", metavar="NAME", help="Only for this exchange.")
@VHOST
@with_settings
def clear_topic_permission(settings: Settings, name: str, exchange: str | None, vhost: str) -> None:
    """Allow all routing keys again."""
    with asked_of(settings) as other:
        other.call("topic_permission.clear", user=name, vhost=vhost, exchange=exchange)


@permission.command("list-topics")
@click.option("--vhost", "-p", metavar="NAME", help="Only in this virtual host.")
@click.option("--user", metavar="NAME", help="Only of this user.")
@FORMAT
@with_settings
def list_topic_permissions(settings: Settings, vhost: str | None, user: str | None, form: str) -> None:
    """All topic permissions."""
    with asked_of(settings) as other:
        rows = other.call("topic_permission.list", vhost=vhost, user=user) or []
    show(rows, ("user", "vhost", "exchange", "write", "read"), form)


GROUPS = (user, vhost, permission)
