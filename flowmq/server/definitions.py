"""Definitions in and out: imports that are being sent, the one at the start, and one that a crash has interrupted."""

import asyncio
import gc
import json
import logging
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flowmq.broker.definition_entries import DefinitionError
from flowmq.broker.definition_import import Import, Options, finish
from flowmq.broker.definition_promises import forget, unkept
from flowmq.server.control.definitions import told

if TYPE_CHECKING:
    from flowmq.broker.broker import Broker

UPLOADS_MAX = 16
UPLOAD_SECONDS = 600.0  # without a sign of life
FROZEN_FROM = 1000  # entries
ERRORS_SHOWN = 10
log = logging.getLogger("flowmq")


class DefinitionsRefused(Exception):
    """The file of the setting cannot be used; the message is for the operator."""


class Uploads:
    """Imports that are being sent piece by piece. One whose sender has gone is dropped after a while."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.turn = asyncio.Lock()  # one import at a time is done
        self.by_token: dict[str, Import] = {}
        self.timers: dict[str, asyncio.TimerHandle] = {}

    def begin(self, made: Import) -> str:
        if len(self.by_token) >= UPLOADS_MAX:
            raise DefinitionError(f"{UPLOADS_MAX} imports are being sent already")
        token = secrets.token_hex(8)
        self.by_token[token] = made
        self._watch(token)
        return token

    def get(self, token: str) -> Import:
        made = self.by_token.get(token)
        if made is None:
            raise DefinitionError("there is no such import; it may have been dropped: it took too long to come")
        self._watch(token)
        return made

    def take(self, token: str) -> Import:
        """It is whole."""
        made = self.get(token)
        self.drop(token)
        return made

    def drop(self, token: str) -> None:
        self.by_token.pop(token, None)
        timer = self.timers.pop(token, None)
        if timer is not None:
            timer.cancel()

    def _watch(self, token: str) -> None:
        timer = self.timers.pop(token, None)
        if timer is not None:
            timer.cancel()
        self.timers[token] = self.loop.call_later(UPLOAD_SECONDS, self.drop, token)


def steps_of(made: Import, definitions: dict[str, Any] | None) -> Iterator[None]:
    """All of an import. What has come to stay is not for the collector to look at, again and again."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield from made.stage_all(definitions or {})
        count = len(made.entries)
        yield from made.steps()
        yield from made.forget()
    finally:
        if was_enabled:
            gc.enable()
    if count >= FROZEN_FROM and made.applied:
        gc.freeze()


# ------------------------------------------------------------------------------------------------------ at the start


def finish_interrupted(broker: "Broker") -> None:
    promised = unkept(broker)
    if promised:
        counts = finish(broker, promised).summary()
        log.warning("an import of definitions was interrupted: it is finished now (%s)", told(counts))
    forget(broker)


def import_at_start(broker: "Broker", path: str, *, best_effort: bool) -> None:
    made = Import(broker, Options(best_effort=best_effort))
    try:
        definitions = json.loads(Path(path).read_text("utf-8"))
        if not isinstance(definitions, dict):
            raise DefinitionError("definitions are one JSON object")
        for _ in steps_of(made, definitions):
            pass
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise DefinitionsRefused(f"{path}: {reason}") from error
    wrong = [f"{result.what}: {result.details}" for result in made.results if result.action == "error"]
    for result in made.results:
        for warning in result.warnings:
            log.warning("%s: %s: %s", path, result.what, warning)
    for line in wrong[:ERRORS_SHOWN]:
        log.error("%s: %s", path, line)
    if wrong and not best_effort:
        raise DefinitionsRefused(f"{path}: {len(wrong)} of the definitions cannot be: nothing is imported")
    log.info("definitions of %s: %s", path, told(made.summary()))
