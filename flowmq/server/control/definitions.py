"""Definitions as one object, sent and received in pieces over the control socket."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from flowmq.broker.definition_entries import METADATA
from flowmq.server.control.client import ControlConnection
from flowmq.server.control.registry import bad_request

ENTRIES_AT_A_TIME = 200

Progress = Callable[[int, int], None]  # how many entries of how many are sent


def pieces(definitions: object) -> Iterator[tuple[str, list[Any]]]:
    """Sections, and some of their entries at a time; what else is in the file is left out."""
    if not isinstance(definitions, Mapping):
        raise bad_request("definitions are one JSON object")
    for section, entries in definitions.items():
        if section in METADATA:
            continue
        if not isinstance(entries, list):
            raise bad_request(f"{section}: expected a list")
        for at in range(0, max(len(entries), 1), ENTRIES_AT_A_TIME):
            yield section, entries[at : at + ENTRIES_AT_A_TIME]


def not_shown(sent: int, of: int) -> None:
    """Nobody wants to know."""


def import_definitions(
    control: ControlConnection,
    definitions: Any,
    *,
    vhost: str | None = None,
    progress: Progress = not_shown,
    **how: bool,
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """What becomes of the entries that are not the same already, and counts of all."""
    upload = control.call("definitions.begin", vhost=vhost)
    whole = sum(len(entries) for _, entries in pieces(definitions))
    sent = 0
    for section, entries in pieces(definitions):
        control.call("definitions.add", upload=upload, section=section, entries=entries)
        sent += len(entries)
        progress(sent, whole)
    return control.listing("definitions.import", upload=upload, **how)


def export_definitions(
    control: ControlConnection, *, vhost: str | None = None, for_rabbitmq: bool = False
) -> dict[str, Any]:
    rows, definitions = control.listing("definitions.export", vhost=vhost, for_rabbitmq=for_rabbitmq)
    for section, entry in rows:
        definitions[section].append(entry)
    return dict(definitions)


def told(summary: dict[str, Any]) -> str:
    """The counts, on one line."""
    words = {"add": "added", "change": "changed", "delete": "deleted", "same": "the same", "leave": "left as they were"}
    counts = [f"{summary[name]} {word}" for name, word in words.items() if summary[name]]
    wrong = [f"{summary['error']} wrong"] if summary["error"] else []
    return ", ".join(counts + wrong) or "nothing in them"
