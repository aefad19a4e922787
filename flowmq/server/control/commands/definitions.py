"""definitions.*: all that the broker has been told, out and in.

Many of them come in pieces, each of them little work: definitions.begin, any number of definitions.add, then
definitions.import with what begin has answered. Few of them are an argument of definitions.import.
"""

from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING, Any

from flowmq.broker.definition_export import exported, header
from flowmq.broker.definition_import import Import, Options
from flowmq.server.control.registry import Arguments, bad_request, command
from flowmq.server.definitions import steps_of

if TYPE_CHECKING:
    from flowmq.server.node import Node


class Export(Arguments):
    vhost: str | None = None
    for_rabbitmq: bool = False
    with_passwords: bool = True  # those in the URIs of shovels


class Begin(Arguments):
    vhost: str | None = None


class Add(Arguments):
    upload: str
    section: str
    entries: list[Any]


class ImportAsked(Arguments):
    upload: str | None = None
    definitions: dict[str, Any] | None = None
    vhost: str | None = None
    dry_run: bool = False
    best_effort: bool = False
    delete_missing: bool = False


@command("definitions.export", Export)
def export(node: "Node", asked: Export) -> Generator[Any, None, dict[str, Any]]:
    """Rows are [section, entry]; the end is the file without them."""
    if asked.vhost is not None:
        node.broker.existing_vhost(asked.vhost)
    return rows_of(node, asked)


def rows_of(node: "Node", asked: Export) -> Generator[Any, None, dict[str, Any]]:
    how = {"for_rabbitmq": asked.for_rabbitmq, "with_passwords": asked.with_passwords}
    for section, entry in exported(node.broker, asked.vhost, **how):
        yield [section, entry]
    return header(asked.vhost)


@command("definitions.begin", Begin)
def begin(node: "Node", asked: Begin) -> str:
    """Begin to send an import; what it is called in what follows."""
    if asked.vhost is not None:
        node.broker.existing_vhost(asked.vhost)
    return node.uploads.begin(Import(node.broker, Options(vhost=asked.vhost)))


@command("definitions.add", Add)
def add(node: "Node", asked: Add) -> None:
    """Some entries of one section; none only say that the section is there."""
    node.uploads.get(asked.upload).stage(asked.section, asked.entries)


@command("definitions.import", ImportAsked)
async def import_definitions(node: "Node", asked: ImportAsked) -> Iterator[Any]:
    """Rows say what changes, and what is wrong; the end counts them and says whether it was done.

    Nothing is changed when anything is wrong, unless the best is to be made of it; nothing is deleted unless asked.
    """
    if (asked.upload is None) == (asked.definitions is None):
        raise bad_request("either an upload or definitions are needed")
    if asked.upload is None:
        if asked.vhost is not None:
            node.broker.existing_vhost(asked.vhost)
        made = Import(node.broker, Options(vhost=asked.vhost))
    else:
        made = node.uploads.take(asked.upload)
    made.options = Options(
        vhost=made.options.vhost,
        dry_run=asked.dry_run,
        best_effort=asked.best_effort,
        delete_missing=asked.delete_missing,
    )
    async with node.uploads.turn:
        await node.in_steps(steps_of(made, asked.definitions))
    return results(made)


def results(made: Import) -> Generator[Any, None, dict[str, Any]]:
    for result in made.results:
        yield result.as_row()
    return made.summary()
