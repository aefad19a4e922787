"""flowmq ctl as click commands: one for each verb of the table."""

import os
from collections.abc import Callable
from typing import Any

import click

from flowmq.server.config import SettingsError, load_settings
from flowmq.server.ctl import (
    access,
    broker,
    definitions,
    diagnostics,
    limits,
    listings,
    messages,
    parameters,
    policies,
    report,
)
from flowmq.server.ctl.codes import CONFIGURATION, USAGE, Failed
from flowmq.server.ctl.output import FORMATS, TABLE, Output
from flowmq.server.ctl.verbs import VERBS, Asked, Verb, arguments_of, check_node

MODULES = (
    access,
    broker,
    definitions,
    diagnostics,
    limits,
    listings,
    messages,
    parameters,
    policies,
    report,
)  # imported for the verbs that they register
COMMON: tuple[Callable[[], click.Option], ...] = (
    lambda: click.Option(["--config", "config_path"], metavar="FILE", help="The broker's settings file."),
    lambda: click.Option(["--data-dir"], metavar="DIR", help="The broker's data directory (storage.data_dir)."),
    lambda: click.Option(["-q", "--quiet"], is_flag=True, help="Rows and errors only."),
    lambda: click.Option(["-s", "--silent"], is_flag=True, help="Nor the names of columns."),
    lambda: click.Option(["--formatter", "--format", "form"], type=click.Choice(FORMATS), help="How rows look."),
    lambda: click.Option(["--no-table-headers"], is_flag=True, help="No names of columns."),
    lambda: click.Option(["-t", "--timeout"], type=click.FloatRange(0), metavar="SECONDS", help="0 waits for ever."),
    lambda: click.Option(["-n", "--node"], metavar="NAME", help="A node of this machine; there is one only."),
    lambda: click.Option(["-l", "--longnames"], is_flag=True, hidden=True),
)
VHOST = ["-p", "--vhost"]


class Ctl(click.Group):
    def invoke(self, context: click.Context) -> Any:
        try:
            return super().invoke(context)
        except click.ClickException as error:
            usage = error.ctx.get_usage() if isinstance(error, click.UsageError) and error.ctx else ""
            click.echo(f"Error: {error.format_message()}" + (f"\n\n{usage}" if usage else ""), err=True)
            context.exit(USAGE)
        except (Failed, SettingsError) as error:
            click.echo(f"Error: {error}".encode("utf-8", "backslashreplace").decode(), err=True)
            context.exit(error.code if isinstance(error, Failed) else CONFIGURATION)

    def list_commands(self, context: click.Context) -> list[str]:
        return sorted(VERBS)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        found = VERBS.get(name)
        return None if found is None else made(found)


def made(verb: Verb) -> click.Command:
    def run(**given: Any) -> None:
        context = click.get_current_context()
        outer = context.parent.params if context.parent is not None else {}
        common = {name: given.pop(name, None) or outer.get(name) for name in outer}
        check_node(common["node"])
        flags = {} if common["data_dir"] is None else {"storage.data_dir": common["data_dir"]}
        output = Output(
            common["form"] or TABLE,
            quiet=bool(common["quiet"]),
            silent=bool(common["silent"]),
            headers=not common["no_table_headers"],
        )
        asked = Asked(
            load_settings(common["config_path"], os.environ, flags), output, common["vhost"], common["timeout"], verb
        )
        verb.run(asked, **given)

    doc = (verb.run.__doc__ or "").strip()
    examples = "\n\n\b\nExamples:\n" + "\n".join(f"  flowmq ctl {line}" for line in verb.examples.splitlines())
    params: list[click.Parameter] = [*arguments_of(verb.words)]
    holder: Any = type("Holder", (), {"__click_params__": []})
    for option in verb.options:
        option(holder)
    params += reversed(holder.__click_params__)
    params += [option() for option in COMMON]
    params.append(click.Option(VHOST, metavar="NAME", help="The virtual host.", hidden=not verb.vhost))
    return click.Command(verb.name, params=params, callback=run, help=doc + (examples if verb.examples else ""))


ctl = Ctl(
    "ctl",
    params=[*(option() for option in COMMON), click.Option(VHOST, metavar="NAME", help="The virtual host.")],
    help="""The verbs of rabbitmqctl and rabbitmq-diagnostics, for the broker of this machine.

    \b
    flowmq ctl status
    flowmq ctl list_queues name messages consumers -p orders
    flowmq ctl list_connections user peer_host state --formatter json
    flowmq ctl set_policy short "^tmp\\." '{"max-length": 1000}' --apply-to queues
    flowmq ctl export_definitions /tmp/definitions.json

    \b
    Exit codes: 0 done, 64 asked wrongly, 65 what was given is wrong, 67 no such user, 69 no broker or it says no,
    70 it is there already, 75 no answer in time, 77 not allowed.
    """,
)
