"""export_definitions, import_definitions."""

import json
import sys
from pathlib import Path
from typing import Any

import click

from flowmq.server.control.definitions import export_definitions as exported
from flowmq.server.control.definitions import import_definitions as imported
from flowmq.server.control.definitions import told
from flowmq.server.ctl.codes import CANNOT_CREATE, DATA, Failed
from flowmq.server.ctl.verbs import Asked, verb

ROWS = ("action", "what", "details")
STDIO = "-"


@verb(
    *("export_definitions", "file"),
    click.option("--for-rabbitmq", is_flag=True, help="Without hashes of passwords that RabbitMQ does not know."),
    vhost=True,
    examples="export_definitions /tmp/definitions.json\nexport_definitions - -p orders | jq .queues",
)
def export_definitions(asked: Asked, file: str, for_rabbitmq: bool) -> None:
    """Write all definitions, or those of the virtual host -p, to a file as JSON; "-" is standard output."""
    if file != STDIO:
        asked.output.say(f'Exporting definitions in JSON to a file at "{file}" ...')
    with asked.errors():
        definitions = exported(asked.control, vhost=asked.given_vhost, for_rabbitmq=for_rabbitmq)
    text = json.dumps(definitions, indent=None if file == STDIO else 1)
    if file == STDIO:
        click.echo(text)
        return
    try:
        Path(file).write_text(text + "\n", "utf-8")
    except OSError as error:
        raise Failed(f"{file}: {error.strerror}", CANNOT_CREATE) from error


@verb(
    *("import_definitions", "[file]"),
    click.option("--dry-run", is_flag=True, help="Tell what would change, and change nothing."),
    click.option("--best-effort", is_flag=True, help="Leave out what cannot be, instead of refusing all of it."),
    click.option("--delete-missing", is_flag=True, help="Delete what is not in the file, of the sections that it has."),
    vhost=True,
    examples="import_definitions /tmp/definitions.json --dry-run\nimport_definitions < /tmp/definitions.json",
)
def import_definitions(asked: Asked, file: str | None, **how: bool) -> None:
    """Import definitions, RabbitMQ's included, from a file or standard input: all of them or none."""
    where = "standard input" if file in (None, STDIO) else f'a file at "{file}"'
    asked.output.say(f"Importing definitions in JSON from {where} ...")
    definitions = read(file)
    with asked.errors():
        rows, summary = imported(asked.control, definitions, vhost=asked.given_vhost, progress=progress, **how)
    changes = [row for row in rows if row["action"] != "same"]
    if how["dry_run"]:
        asked.output.show(changes, ROWS)
    else:
        asked.output.say(told(summary))
    for row in rows:
        for warning in row["warnings"]:
            click.echo(f"Warning: {row['what']}: {warning}".encode("utf-8", "backslashreplace").decode(), err=True)
    wrong = [f"{row['what']}: {row['details']}" for row in rows if row["action"] == "error"]
    if wrong:
        end = "the rest is imported" if summary["applied"] else "nothing is changed"
        raise Failed("\n  ".join([f"{len(wrong)} of the definitions cannot be; {end}", *wrong]), DATA)


def read(file: str | None) -> Any:
    try:
        return json.loads(sys.stdin.read() if file in (None, STDIO) else Path(str(file)).read_text("utf-8"))
    except OSError as error:
        raise Failed(f"{file}: {error.strerror}", DATA) from error
    except ValueError as error:
        raise Failed(f"{file or 'standard input'}: not JSON: {error}", DATA) from error


def progress(sent: int, of: int) -> None:
    """On a terminal, of what takes long."""
    if of >= 5000 and sys.stderr.isatty():
        click.echo(f"\r{sent} of {of} sent" + ("\n" if sent == of else ""), err=True, nl=False)
