"""Files of definitions, as RabbitMQ writes and reads them: put together from rows, and cut into portions.

Whoever sends a file (the command line, the HTTP API, the broker itself at its start) does so by in_portions(); what
comes back for each object is summed up in a Summary.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from flowmq import __version__

# In the order in which they must be there.
KINDS = (
    *("vhosts", "users", "permissions", "topic_permissions", "parameters", "policies"),
    *("exchanges", "queues", "bindings"),
)
IN_VHOST = ("parameters", "policies", "exchanges", "queues", "bindings")
PORTION = 200
ERRORS_SHOWN = 5
RABBITMQ_VERSION = "4.0.5"


class BadDefinitions(ValueError):
    """It is no file of definitions; the message is one line."""


def parsed(octets: bytes | str, where: str) -> dict[str, Any]:
    try:
        value = json.loads(octets)
    except (ValueError, RecursionError) as error:
        raise BadDefinitions(f"{where}: not JSON: {error}") from None
    return checked(value, where)


def checked(value: object, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise BadDefinitions(f"{where}: not a JSON object")
    for kind in KINDS:
        objects = value.get(kind, [])
        if not isinstance(objects, list) or not all(isinstance(found, dict) for found in objects):
            raise BadDefinitions(f"{where}: {kind}: not a list of objects")
    return value


def assembled(rows: Iterable[tuple[str, dict[str, Any]]], vhost: str | None) -> dict[str, Any]:
    """A file; of one virtual host without saying which, so that it can be read into another one."""
    kinds = KINDS if vhost is None else IN_VHOST
    found: dict[str, Any] = {
        "rabbit_version": RABBITMQ_VERSION,
        "rabbitmq_version": RABBITMQ_VERSION,
        "product_name": "FlowMQ",
        "product_version": __version__,
    }
    if vhost is not None:
        found["original_vhost_name"] = vhost
    found.update((kind, []) for kind in kinds)
    if vhost is None:
        found["global_parameters"] = []
    for kind, value in rows:
        found[kind].append(value if vhost is None else {name: part for name, part in value.items() if name != "vhost"})
    return found


def in_portions(definitions: Mapping[str, Any], vhost: str | None) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """(kind, objects); all of them in that virtual host when there is one."""
    for kind in KINDS if vhost is None else IN_VHOST:
        objects = definitions.get(kind) or []
        if vhost is not None:
            objects = [{**found, "vhost": vhost} for found in objects]
        for at in range(0, len(objects), PORTION):
            yield kind, objects[at : at + PORTION]


@dataclass
class Summary:
    counts: dict[str, dict[str, int]] = field(default_factory=dict)  # kind -> new, changed, same, failed
    errors: list[dict[str, str]] = field(default_factory=list)
    changes: list[dict[str, str]] = field(default_factory=list)  # without what is the same

    def note(self, results: Iterable[dict[str, str]]) -> None:
        for result in results:
            state = result.get("state", "failed")
            counts = self.counts.setdefault(result["kind"], {})
            counts[state] = counts.get(state, 0) + 1
            if state == "failed":
                self.errors.append(result)
            elif state != "same":
                self.changes.append(result)

    def total(self, state: str) -> int:
        return sum(counts.get(state, 0) for counts in self.counts.values())

    @property
    def text(self) -> str:
        """In one line."""
        states = ("new", "changed", "same", "failed")
        return ", ".join(f"{self.total(state)} {state}" for state in states)

    @property
    def first_errors(self) -> str:
        shown = [f"{error['kind']}: {error['name']}: {error['error']}" for error in self.errors[:ERRORS_SHOWN]]
        more = len(self.errors) - len(shown)
        return "; ".join(shown) + (f"; and {more} more" if more else "")
