"""The flowmq command: reads the command line, gathers the settings, hands over to the process.

Whatever the operator did wrong is one line on standard error and exit code 2.
"""

import os
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn, TypeVar, get_args, get_type_hints

import click

from flowmq import __version__
from flowmq.server.config import LogSettings, Settings, SettingsError, load_settings, to_toml

EXIT_USAGE = 2
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


@flowmq.command("serve")
@setting_options
def serve(config_path: str | None, data_dir: str | None, listen: Sequence[str], log_level: str | None) -> int:
    """Run the broker until SIGTERM or SIGINT."""
    settings = effective_settings(config_path, data_dir, listen, log_level)
    # Only this command needs the broker and its compiled modules.
    from flowmq.server.process import serve as serve_until_stopped

    return serve_until_stopped(settings)


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


def show_help_if_alone(context: click.Context) -> None:
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


def effective_settings(
    config_path: str | None, data_dir: str | None, listen: Sequence[str], log_level: str | None
) -> Settings:
    flags = {"storage.data_dir": data_dir, "amqp.listen": list(listen) or None, "log.level": log_level}
    return load_settings(config_path, os.environ, {name: value for name, value in flags.items() if value is not None})


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    try:
        code = flowmq.main(arguments, prog_name="flowmq", standalone_mode=False)
    except click.Abort:
        sys.exit(EXIT_INTERRUPTED)
    except (click.ClickException, SettingsError) as error:
        message = error.format_message() if isinstance(error, click.ClickException) else str(error)
        click.echo(f"flowmq: {' '.join(message.split())}", err=True)
        sys.exit(EXIT_USAGE)
    sys.exit(code or 0)
