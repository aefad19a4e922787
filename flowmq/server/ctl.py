"""flowmq ctl: asks the running broker what people ask rabbitmqctl and rabbitmq-diagnostics, with the same verbs.

A verb is a row of the table VERBS (ctl_verbs.py); what needs more than that is a function below. Users, virtual hosts
and permissions have commands of their own as well (access_command.py), which also work without a broker.
"""

import csv
import io
import json
import os
import socket
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from flowmq.server.access_command import as_table, new_password
from flowmq.server.config import load_settings
from flowmq.server.control import place
from flowmq.server.control.client import ControlConnection, NoBroker
from flowmq.server.control.definitions import export_definitions as exported
from flowmq.server.control.definitions import import_definitions as imported
from flowmq.server.control.definitions import told
from flowmq.server.control.registry import ControlError
from flowmq.server.ctl_verbs import SOME, VERBS, Verb

FORMATS = ("table", "json", "csv")
AWAIT_SECONDS = 300.0
FAILED = 1
PROGRESS_FROM = 5000  # entries
Row = Mapping[str, Any]


@dataclass
class Context:
    """What the options before the verb say."""

    socket_path: str
    vhost: str
    form: str
    quiet: bool

    def connect(self) -> ControlConnection:
        return ControlConnection(Path(self.socket_path))

    def call(self, command: str, **arguments: Any) -> Any:
        with self.connect() as control:
            return control.call(command, **arguments)


# ----------------------------------------------------------------------------------------------------- one of the table


def made(name: str, verb: Verb) -> click.Command:
    parameters: list[click.Parameter] = [click.Argument([one]) for one in verb.positional]
    if verb.columns:
        parameters.append(click.Argument(["columns"], nargs=-1))
    for option, kind in verb.options.items():
        written = f"--{option.replace('_', '-')}"
        parameters.append(click.Option([written, option], is_flag=kind is bool, type=kind, default=None))
    if verb.vhost:
        parameters.append(click.Option(["--vhost", "-p", "vhost"], help="The virtual host."))

    def run(**given: Any) -> None:
        context = click.get_current_context().find_object(Context)
        assert context is not None
        done(context, verb, given)

    return click.Command(name, params=parameters, callback=run, help=verb.help)


def done(context: Context, verb: Verb, given: dict[str, Any]) -> None:
    columns = given.pop("columns", ()) or verb.columns
    vhost = given.pop("vhost", None) or context.vhost
    arguments = {name: value for name, value in given.items() if value is not None and value is not False}
    if "definition" in arguments:
        arguments["definition"] = json_object(arguments["definition"])
    if verb.vhost:
        arguments[verb.vhost] = [vhost] if verb.vhost == SOME else vhost
    if verb.chooses:
        arguments["columns"] = list(columns)
    answer = context.call(verb.command, **verb.fixed, **arguments)
    if verb.columns:
        show_rows(context, answer, columns)
    elif isinstance(answer, dict):
        show_values(context, answer)
    elif answer is not None:
        click.echo(printable(answer))


def json_object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError as error:
        raise click.UsageError(f"{text!r}: not JSON: {error}") from None
    if not isinstance(value, dict):
        raise click.UsageError(f"{text!r}: not a JSON object")
    return value


# --------------------------------------------------------------------------------------------------------- showing


def show_rows(context: Context, rows: Sequence[Row], columns: Sequence[str]) -> None:
    unknown = [column for column in columns if rows and column not in rows[0]]
    if unknown:
        raise click.UsageError(f"there is no column {unknown[0]}")
    if context.form == "json":
        click.echo(printable(json.dumps([{column: row[column] for column in columns} for row in rows], indent=2)))
        return
    cells = [{column: cell(row[column]) for column in columns} for row in rows]
    if context.form == "csv":
        click.echo(printable(as_csv(cells, columns, with_head=not context.quiet)), nl=False)
    elif context.quiet:
        click.echo(printable("\n".join("\t".join(row.values()) for row in cells)), nl=bool(cells))
    else:
        click.echo(printable(as_table(cells, columns)))


def cell(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict) and "name" in value:
        value = value["name"]
    text = value if isinstance(value, str) else json.dumps(value)
    return text if text.isprintable() else repr(text)


def as_csv(rows: Iterable[Row], columns: Sequence[str], *, with_head: bool) -> str:
    output = io.StringIO()
    writer = csv.writer(output, lineterminator="\n")
    if with_head:
        writer.writerow(columns)
    writer.writerows([row[column] for column in columns] for row in rows)
    return output.getvalue()


def show_values(context: Context, values: Row) -> None:
    if context.form == "json":
        click.echo(printable(json.dumps(values, indent=2)))
    else:
        rows = [{"name": name, "value": cell(value)} for name, value in values.items()]
        if context.form == "csv":
            click.echo(printable(as_csv(rows, ("name", "value"), with_head=not context.quiet)), nl=False)
        else:
            click.echo(printable("\n".join(f"{row['name']}: {row['value']}" for row in rows)))


def printable(text: Any) -> str:
    """Names may hold any octets: they leave as escapes, never as a failure to print."""
    return str(text).encode("utf-8", "backslashreplace").decode()


# ------------------------------------------------------------------------------------------------ what needs more


def of_context(function: Callable[..., None]) -> Callable[..., None]:
    return click.pass_obj(function)


PASSWORD_HELP = "Without PASSWORD it is asked for, or read from standard input: others can see the arguments."


def password_or_asked(given: str | None) -> str:
    return given if given is not None else new_password(not sys.stdin.isatty())


@click.command("add_user", help=f"Add a user. {PASSWORD_HELP}")
@click.argument("name")
@click.argument("password", required=False)
@of_context
def add_user(context: Context, name: str, password: str | None) -> None:
    context.call("user.add", name=name, password=password_or_asked(password))


@click.command("change_password", help=f"Change a user's password. {PASSWORD_HELP}")
@click.argument("name")
@click.argument("password", required=False)
@of_context
def change_password(context: Context, name: str, password: str | None) -> None:
    context.call("user.set_password", name=name, password=password_or_asked(password))


@click.command("authenticate_user", help=f"Is this the user's password? {PASSWORD_HELP}")
@click.argument("name")
@click.argument("password", required=False)
@of_context
def authenticate_user(context: Context, name: str, password: str | None) -> None:
    if context.call("user.authenticate", name=name, password=password_or_asked(password)) is None:
        raise click.ClickException(f"user '{name}' does not log in with that password")
    click.echo("Success")


@click.command("set_user_tags", help="Give a user these tags, in place of all others.")
@click.argument("name")
@click.argument("tags", nargs=-1)
@of_context
def set_user_tags(context: Context, name: str, tags: tuple[str, ...]) -> None:
    context.call("user.set_tags", name=name, tags=list(tags))


@click.command("close_all_connections", help="Close every connection, or those of a virtual host or user.")
@click.option("--vhost", "-p")
@click.option("--user")
@click.argument("reason")
@of_context
def close_all_connections(context: Context, vhost: str | None, user: str | None, reason: str) -> None:
    closed = context.call("connection.close_all", vhost=vhost, user=user, reason=reason)
    click.echo(f"closed: {len(closed)}")


@click.command("await_startup", help="Wait until the broker has started.")
@click.option("--timeout", type=float, default=AWAIT_SECONDS, show_default=True, help="Seconds.")
@of_context
def await_startup(context: Context, timeout: float) -> None:
    deadline = time.monotonic() + timeout
    while True:
        try:
            context.call("node.ping")
            return
        except NoBroker as error:
            if time.monotonic() > deadline:
                raise click.ClickException(str(error)) from error
        time.sleep(0.1)


@click.command("check_running", help="Exit code 0 when the broker takes clients.")
@of_context
def check_running(context: Context) -> None:
    if context.call("node.status")["draining"]:
        raise click.ClickException("the broker is stopping")


@click.command("check_local_alarms", help="Exit code 0 when no alarm is in force.")
@of_context
def check_local_alarms(context: Context) -> None:
    alarms = context.call("node.status")["alarms"]
    if alarms:
        raise click.ClickException(f"alarms in force: {', '.join(alarms)}")


@click.command("check_port_connectivity", help="Exit code 0 when every listener takes a connection.")
@of_context
def check_port_connectivity(context: Context) -> None:
    for listener in context.call("node.listeners"):
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(listener["ip_address"], listener["ip_address"])
        try:
            socket.create_connection((host, listener["port"]), 10).close()
        except OSError as error:
            raise click.ClickException(f"{listener['protocol']} on {host}:{listener['port']}: {error}") from error


@click.command("environment", help="The settings that the running broker was given.")
@of_context
def environment(context: Context) -> None:
    click.echo(printable(context.call("node.environment")), nl=False)


@click.command("export_definitions", help="Write everything that is declared to a file; - is standard output.")
@click.option("--vhost", "-p", help="Only what is in this virtual host.")
@click.option("--for-rabbitmq", is_flag=True, help="Without hashes of passwords that RabbitMQ does not know.")
@click.argument("file", type=click.File("w"))
@of_context
def export_definitions(context: Context, vhost: str | None, for_rabbitmq: bool, file: Any) -> None:
    with context.connect() as control:
        definitions = exported(control, vhost=vhost, for_rabbitmq=for_rabbitmq)
    json.dump(definitions, file, indent=1)
    file.write("\n")


@click.command("import_definitions", help="Make what a file says be there, or nothing of it; - is standard input.")
@click.option("--vhost", "-p", help="All of it in this virtual host.")
@click.option("--dry-run", is_flag=True, help="Only tell what would change.")
@click.option("--best-effort", is_flag=True, help="Leave out what cannot be, instead of refusing all of it.")
@click.option("--delete-missing", is_flag=True, help="Delete what is not in the file, of the sections that it has.")
@click.argument("file", type=click.File("rb"))
@of_context
def import_definitions(context: Context, vhost: str | None, file: Any, **how: bool) -> None:
    try:
        definitions = json.load(file)
    except ValueError as error:
        raise click.ClickException(f"{file.name}: not JSON: {error}") from error
    with context.connect() as control:
        rows, summary = imported(control, definitions, vhost=vhost, progress=progress, **how)
    for row in rows:
        if row["action"] == "error":
            click.echo(printable(f"error: {row['what']}: {row['details']}"), err=True)
        elif row["action"] != "same" and how["dry_run"]:
            details = f" ({row['details']})" if row["details"] else ""
            click.echo(printable(f"{row['action']}: {row['what']}{details}"))
        for warning in row["warnings"]:
            click.echo(printable(f"warning: {row['what']}: {warning}"), err=True)
    click.echo(told(summary))
    if summary["error"]:
        raise SystemExit(FAILED)


def progress(sent: int, of: int) -> None:
    """On a terminal, of what takes long."""
    if of >= PROGRESS_FROM and sys.stderr.isatty():
        click.echo(f"\r{sent} of {of} sent" + ("\n" if sent == of else ""), err=True, nl=False)


OTHERS = (
    *(add_user, change_password, authenticate_user, set_user_tags, close_all_connections, await_startup),
    *(check_running, check_local_alarms, check_port_connectivity, environment, export_definitions, import_definitions),
)


# ----------------------------------------------------------------------------------------------------------- the group


class Verbs(click.Group):
    """Errors of the broker are one line, as those of the command line are."""

    def invoke(self, context: click.Context) -> Any:
        try:
            return super().invoke(context)
        except (ControlError, NoBroker) as error:
            raise click.ClickException(str(error)) from error


@click.group("ctl", cls=Verbs)
@click.option("--config", "config_path", metavar="FILE", help="The broker's settings file.")
@click.option("--data-dir", metavar="DIR", help="The broker's data directory (storage.data_dir).")
@click.option("--vhost", "-p", default="/", show_default=True, metavar="NAME", help="The virtual host.")
@click.option("--format", "--formatter", "form", type=click.Choice(FORMATS), default="table", show_default=True)
@click.option("--quiet", "-q", "--silent", "-s", is_flag=True, help="Rows only, with tabs between columns.")
@click.pass_context
def ctl(
    context: click.Context, config_path: str | None, data_dir: str | None, vhost: str, form: str, quiet: bool
) -> None:
    """Look at a running broker and tell it what to do, with the verbs of rabbitmqctl.

    \b
    flowmq ctl list_queues name messages consumers
    flowmq ctl --format json list_connections
    flowmq ctl -p orders purge_queue jobs
    flowmq ctl export_definitions definitions.json
    """
    flags = {} if data_dir is None else {"storage.data_dir": data_dir}
    settings = load_settings(config_path, os.environ, flags)
    path = place.socket_path(settings.control.socket, settings.storage.data_dir)
    context.obj = Context(str(path), vhost, form, quiet)


for verb_name, one in VERBS.items():
    ctl.add_command(made(verb_name, one))
for other in OTHERS:
    ctl.add_command(other)
