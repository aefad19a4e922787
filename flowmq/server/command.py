"""The flowmq command: reads the command line, gathers the settings, hands over to the process.

Whatever the operator did wrong is one line on standard error and exit code 2. Exit code 1 is a damaged journal.
"""

import json
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, NoReturn, TypeVar, get_args, get_type_hints

import click

from flowmq import __version__
from flowmq.server.access_command import GROUPS
from flowmq.server.config import LogSettings, Settings, SettingsError, load_settings, to_toml
from flowmq.server.ctl.command import ctl
from flowmq.storage.layout import DataDir, StorageError

EXIT_DAMAGED = 1
EXIT_USAGE = 2
STANDARD_FILES = ("stdin", "stdout", "stderr")
EXIT_INTERRUPTED = 130
LEVELS = get_args(get_type_hints(LogSettings)["level"])

SETTING_OPTIONS = [
    click.option("--config", "config_path", metavar="FILE", help="Settings file, in TOML."),
    click.option("--data-dir", metavar="DIR", help="Where durable data lives (storage.data_dir)."),
    click.option(
        "--listen", multiple=True, metavar="HOST:PORT", help="Where clients connect; repeatable (amqp.listen)."
    ),
    click.option("--log-level", type=click.Choice(LEVELS), help="How much to log (log.level)."),
]

Command = TypeVar("Command", bound=Callable[..., Any])


def setting_options(command: Command) -> Command:
    for option in reversed(SETTING_OPTIONS):
        command = option(command)
    return command


@click.group(invoke_without_command=True)
@click.version_option(__version__, prog_name="flowmq", message="%(prog)s %(version)s")
@click.pass_context
def flowmq(context: click.Context) -> None:
    """FlowMQ, a message broker for AMQP 0-9-1."""
    show_help_if_alone(context)


for group in (*GROUPS, ctl):
    flowmq.add_command(group)


@flowmq.command("serve")
@setting_options
def serve(config_path: str | None, data_dir: str | None, listen: Sequence[str], log_level: str | None) -> int:
    """Run the broker until SIGTERM or SIGINT."""
    read_settings = partial(effective_settings, config_path, data_dir, listen, log_level)
    settings = read_settings()
    # Only this command needs the broker and its compiled modules.
    from flowmq.server.process import serve as serve_until_stopped

    return serve_until_stopped(settings, read_settings)


@flowmq.group("config", invoke_without_command=True)
@click.pass_context
def config(context: click.Context) -> None:
    """Look at the settings."""
    show_help_if_alone(context)


@config.command("show")
@setting_options
def show(config_path: str | None, data_dir: str | None, listen: Sequence[str], log_level: str | None) -> None:
    """Print the settings in effect as TOML, without the passwords."""
    click.echo(to_toml(effective_settings(config_path, data_dir, listen, log_level)), nl=False)


@flowmq.command("inspect")
@click.argument("data_dir")
@click.option("--verify", is_flag=True, help="Go on behind what is corrupt, and list all of it.")
@click.option("--queue", "queue_name", metavar="NAME|ID", help="The messages of one queue.")
@click.option("--record", "position", metavar="SEGMENT:OFFSET", help="One record; the segment in hexadecimal digits.")
@click.option("--json", "as_json", is_flag=True, help="JSON instead of text.")
def inspect(data_dir: str, verify: bool, queue_name: str | None, position: str | None, as_json: bool) -> int:
    """Look at a journal: segments, definitions, queues. Changes nothing.

    \b
    Exit codes: 0 the journal is sound, 1 it is corrupt, 2 it cannot be looked at.
    """
    from flowmq.storage import inspect as journal

    directory = DataDir.open(data_dir)
    if position is not None:
        record = journal.record_at(directory, *parse_position(position))
        print_found(record, (f"{name}: {value}" for name, value in record.items()), as_json)
        return 0
    try:
        replay = journal.read_journal(directory, skip_corrupt=verify)
    except journal.CorruptJournal as error:
        click.echo(f"flowmq: {error}", err=True)
        return EXIT_DAMAGED
    found = journal.overview(directory, replay)
    if queue_name is not None:
        queue = journal.find_queue(found["queues"], queue_name)
        messages = journal.queue_messages(replay, queue)
        print_found({**queue, "message_list": messages}, journal.queue_text(queue, messages), as_json)
    else:
        print_found(found, journal.as_text(found), as_json)
    return EXIT_DAMAGED if found["faults"] else 0


@flowmq.command("recover")
@click.argument("data_dir")
@click.option("--skip-corrupt", is_flag=True, help="Give up what cannot be read. Without it, only tell what that is.")
@click.option("--dry-run", is_flag=True, help="Change nothing, whatever else is asked.")
def recover(data_dir: str, skip_corrupt: bool, dry_run: bool) -> int:
    """Make a corrupt journal usable, without what is corrupt. Keeps the damaged files in journal/corrupt-N/.

    \b
    Exit codes: 0 the journal is sound now, 1 it is corrupt still, 2 the directory cannot be used.
    """
    from flowmq.storage import inspect as journal
    from flowmq.storage import recover as recovery

    with DataDir.open(data_dir) as directory:
        directory.lock()
        replay = journal.read_journal(directory, skip_corrupt=True)
        if not replay.skipped:
            click.echo("the journal is sound: nothing to recover")
            return 0
        for gap in replay.skipped:
            click.echo(journal.fault_line(gap._asdict()))
        click.echo(f"readable without that: {sum(queue.count for queue in replay.queues().values())} messages")
        if dry_run or not skip_corrupt:
            click.echo("nothing was changed; --skip-corrupt goes on without what is corrupt")
            return EXIT_DAMAGED
        click.echo(f"recovered; the damaged files are kept in {recovery.recover(directory)}")
        return 0


def parse_position(text: str) -> tuple[int, int]:
    segment, _, offset = text.partition(":")
    try:
        return int(segment, 16), int(offset)
    except ValueError:
        raise click.BadParameter(f"{text!r} is not SEGMENT:OFFSET, such as 1f:64", param_hint="--record") from None


def print_found(found: object, lines: Iterable[str], as_json: bool) -> None:
    # Names may hold any octets: they leave as escapes, never as a failure to print.
    text = json.dumps(found, indent=2, default=repr) if as_json else "\n".join(lines)
    click.echo(text.encode("utf-8", "backslashreplace").decode())


def show_help_if_alone(context: click.Context) -> None:
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


def effective_settings(
    config_path: str | None, data_dir: str | None, listen: Sequence[str], log_level: str | None
) -> Settings:
    flags = {"storage.data_dir": data_dir, "amqp.listen": list(listen) or None, "log.level": log_level}
    return load_settings(config_path, os.environ, {name: value for name, value in flags.items() if value is not None})


def open_standard_files() -> None:
    """Whoever starts us may have closed them: then the next file would be one of them, and lines would go into it."""
    for descriptor, name in enumerate(STANDARD_FILES):
        try:
            os.fstat(descriptor)
        except OSError:
            opened = os.open(os.devnull, os.O_RDWR)  # the lowest that is free is this one
            setattr(sys, name, os.fdopen(opened, "w" if descriptor else "r", closefd=False))


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    open_standard_files()
    try:
        code = flowmq.main(arguments, prog_name="flowmq", standalone_mode=False)
    except click.Abort:
        sys.exit(EXIT_INTERRUPTED)
    except (click.ClickException, SettingsError, StorageError) as error:
        message = error.format_message() if isinstance(error, click.ClickException) else str(error)
        click.echo(f"flowmq: {' '.join(message.split())}", err=True)
        sys.exit(EXIT_USAGE)
    sys.exit(code or 0)
