"""What an import is about to do is written down before it is done, and crossed out when it is done.

Clients use what is there already while the rest is still being made, and are told that their messages are safe: after a
crash an import must not be undone, so it is finished. One that was not written down whole has changed nothing yet, and
is forgotten.
"""

import json
import secrets
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any

from flowmq.broker.broker import PROMISE
from flowmq.broker.definition_entries import Entry
from flowmq.broker.definition_export import SECTION_OF
from flowmq.broker.definitions import Definitions

if TYPE_CHECKING:
    from flowmq.broker.broker import Broker

WHOLE = "whole"  # what is written last
ENTRIES_AT_A_TIME = 50
DELETED_AT_A_TIME = 20


class Promise:
    def __init__(self, definitions: Definitions) -> None:
        self.definitions = definitions
        self.number = secrets.token_hex(8)
        self.parts: list[str] = []

    def given(self, changes: Iterable[tuple[Entry, bool]]) -> Iterator[None]:
        """Entries, and whether they are to be deleted."""
        rest = iter(changes)
        while some := list(islice(rest, ENTRIES_AT_A_TIME)):
            told = [[SECTION_OF.get(entry.SECTION, entry.SECTION), entry.as_entry(), gone] for entry, gone in some]
            self._put(str(len(self.parts)), json.dumps(told))
            yield
        self._put(WHOLE, str(len(self.parts)))

    def _put(self, part: str, value: str) -> None:
        self.definitions.put(PROMISE, (self.number, part), value)
        self.parts.append(part)

    def kept(self) -> Iterator[None]:
        """Crossed out at once; what stood there goes bit by bit."""
        for at, part in enumerate(reversed(self.parts)):
            self.definitions.delete(PROMISE, (self.number, part))
            if at % DELETED_AT_A_TIME == 0:
                yield


def unkept(broker: "Broker") -> list[tuple[str, dict[str, Any], bool]]:
    """Sections, entries, and whether they are to be deleted."""
    whole = [parts for parts in broker.promises.values() if WHOLE in parts]
    return [
        (section, entry, gone)
        for parts in whole
        for at in range(int(parts[WHOLE]))
        for section, entry, gone in json.loads(parts[str(at)])
    ]


def forget(broker: "Broker") -> None:
    for number, parts in broker.promises.items():
        for part in parts:
            broker.definitions.delete(PROMISE, (number, part))
    broker.promises.clear()
