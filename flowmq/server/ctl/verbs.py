"""What a verb is: a name, its words and options, and a function that asks the broker and shows the answer.

    @verb("delete_queue", "queue", IF_EMPTY, vhost=True)
    def delete_queue(asked: Asked, queue: str, if_empty: bool) -> None:
        \"""Delete a queue and its messages.\"""

The words are "needed [optional] [all-the-rest...]". Options that every verb has may stand before or behind it.
"""

import re
import socket
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import click

from flowmq.server.config import Settings
from flowmq.server.control import place
from flowmq.server.control.client import ControlConnection, NoBroker
from flowmq.server.control.registry import BAD_REQUEST, INTERNAL, NOT_FOUND, ControlError
from flowmq.server.ctl.codes import NO_HOST, NOT_ALLOWED, SOFTWARE, TIMEOUT, UNAVAILABLE, Failed
from flowmq.server.ctl.output import Output

CODES = {
    NOT_FOUND: UNAVAILABLE,
    BAD_REQUEST: UNAVAILABLE,
    INTERNAL: SOFTWARE,
    "already_there": SOFTWARE,
    "access_refused": NOT_ALLOWED,
}


class Asked:
    """What a verb is asked to do, and with what it can do it."""

    def __init__(
        self, settings: Settings, output: Output, vhost: str | None, timeout_seconds: float | None, verb: "Verb"
    ) -> None:
        self.settings, self.output, self.verb = settings, output, verb
        self.given_vhost, self.timeout_seconds = vhost, timeout_seconds

    @property
    def vhost(self) -> str:
        return "/" if self.given_vhost is None else self.given_vhost

    @property
    def path(self) -> Path:
        return place.socket_path(self.settings.control.socket, self.settings.storage.data_dir)

    @cached_property
    def control(self) -> ControlConnection:
        connection = ControlConnection(self.path)
        connection.socket.settimeout(self.timeout_seconds or None)
        return connection

    def call(self, command: str, **arguments: Any) -> Any:
        with self.errors():
            return self.control.call(command, **arguments)

    def rows(self, command: str, **arguments: Any) -> Iterator[dict[str, Any]]:
        with self.errors():
            yield from self.control.rows(command, **arguments)

    def errors(self) -> "Errors":
        return Errors(self)


class Errors:
    """What went wrong between us and the broker, as the end of the verb."""

    def __init__(self, asked: Asked) -> None:
        self.asked = asked

    def __enter__(self) -> None:
        """Nothing has gone wrong yet."""

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, ControlError):
            code = self.asked.verb.codes.get(error.code, CODES.get(error.code, UNAVAILABLE))
            raise Failed(error.reason, code) from error
        if isinstance(error, NoBroker):
            raise Failed(str(error)) from error
        if isinstance(error, TimeoutError):
            raise Failed(f"no answer within {self.asked.timeout_seconds:g} s", TIMEOUT) from error
        if isinstance(error, OSError):
            raise Failed(f"{self.asked.path}: {error.strerror or error}") from error


class Verb(NamedTuple):
    name: str
    words: str
    options: tuple[Callable[[Any], Any], ...]
    vhost: bool
    codes: dict[str, int]
    examples: str
    run: Callable[..., None]


VERBS: dict[str, Verb] = {}
Run = Callable[..., None]


def verb(
    name: str,
    words: str = "",
    *options: Callable[[Any], Any],
    vhost: bool = False,
    codes: dict[str, int] | None = None,
    examples: str = "",
) -> Callable[[Run], Run]:
    """`codes`: with which code it ends when the broker says such an error; `vhost`: it takes -p."""

    def register(run: Run) -> Run:
        VERBS[name] = Verb(name, words, options, vhost, codes or {}, examples, run)
        return run

    return register


WORD = re.compile(r"(\[)?([\w-]+)(\.\.\.)?\]?")


def arguments_of(words: str) -> list[click.Argument]:
    found = []
    for word in words.split():
        match = WORD.fullmatch(word)
        assert match is not None, word
        optional, name, rest = match.groups()
        found.append(
            click.Argument([name.replace("-", "_")], required=not optional, nargs=-1 if rest else 1, metavar=name)
        )
    return found


def check_node(name: str | None) -> None:
    """rabbitmqctl can reach other machines; this one cannot, and says so."""
    host = (name or "").rpartition("@")[2]
    if name and host not in ("localhost", "127.0.0.1", socket.gethostname(), socket.gethostname().partition(".")[0]):
        raise Failed(f"-n {name}: only the broker of this machine can be asked", NO_HOST)
