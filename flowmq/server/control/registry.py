"""The one table of what can be asked over the control socket.

    class Purge(Arguments):
        vhost: str = "/"
        name: str

    @command("queue.purge", Purge)
    def purge(node: Node, asked: Purge) -> dict[str, int]:
        \"""Drop every ready message.\"""

A command is called on the event loop and returns at once: a value, or an iterator of rows. Rows are taken from it a
little at a time, with other work of the broker in between, so it must bear that things change while it lists; it may
yield SKIPPED for what is not to be told, so that looking for something gives others a turn too. A command that cannot
answer at once is a coroutine function. What a command changes durably is on disk before it is answered.

An error is a ControlError, or one of AMQP's.
"""

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from flowmq.amqp.errors import AccessRefused, AMQPError, NotFound, PreconditionFailed
from flowmq.broker.definition_entries import DefinitionError
from flowmq.broker.parameters import ParameterError
from flowmq.broker.permissions import AccessError, AlreadyThere, NoSuchUser, NoSuchVHost
from flowmq.broker.policy_keys import PolicyError

if TYPE_CHECKING:
    from flowmq.server.node import Node

SKIPPED: Any = None  # what a listing yields instead of a row
BEARER = "Bearer"  # and a blank before a token, where else a user's name stands
NOT_FOUND, BAD_REQUEST, INTERNAL = "not_found", "bad_request", "internal_error"


class ControlError(Exception):
    """What was asked cannot be done. `code` is for programs, the text is for people."""

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(reason)
        self.code, self.reason = code, reason


def not_found(reason: str) -> ControlError:
    return ControlError(NOT_FOUND, reason)


def bad_request(reason: str) -> ControlError:
    return ControlError(BAD_REQUEST, reason)


class Arguments(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What a command takes; names and types are checked before it is called."""


class Nothing(Arguments):
    """No arguments."""


class Command(NamedTuple):
    name: str
    arguments: type[Arguments]
    run: Callable[["Node", Any], Any]

    @property
    def help(self) -> str:
        return inspect.getdoc(self.run) or ""


COMMANDS: dict[str, Command] = {}

Run = Callable[["Node", Any], Any]


def command(name: str, arguments: type[Arguments] = Nothing) -> Callable[[Run], Run]:
    def register(run: Run) -> Run:
        if name in COMMANDS:
            raise ValueError(f"the command {name!r} is there already")
        COMMANDS[name] = Command(name, arguments, run)
        return run

    return register


def find(name: object) -> Command:
    found = COMMANDS.get(name) if isinstance(name, str) else None
    if found is None:
        raise bad_request(f"there is no command {name!r}")
    return found


def arguments_of(found: Command, given: object) -> Arguments:
    try:
        return msgspec.convert(given, found.arguments)
    except msgspec.ValidationError as error:
        raise bad_request(f"{found.name}: {error}") from error


# Errors of the model, as programs know them.
CODES: tuple[tuple[type[Exception], str], ...] = (
    (NotFound, NOT_FOUND),
    (PreconditionFailed, "precondition_failed"),
    (AccessRefused, "access_refused"),
    (AMQPError, BAD_REQUEST),
    (PolicyError, BAD_REQUEST),
    (DefinitionError, BAD_REQUEST),
    (ParameterError, BAD_REQUEST),
    (NoSuchUser, NOT_FOUND),
    (NoSuchVHost, NOT_FOUND),
    (AlreadyThere, "already_there"),
    (AccessError, BAD_REQUEST),
)


def as_control_error(error: Exception) -> ControlError | None:
    """None for what nobody foresaw."""
    if isinstance(error, ControlError):
        return error
    for kind, code in CODES:
        if isinstance(error, kind):
            return ControlError(code, error.reply_text() if isinstance(error, AMQPError) else str(error))
    return None
