"""What a handler of the HTTP API sees, and the table of routes: a path, a verb, who may, a function.

A function returns the value of its answer, which becomes JSON; an Answer when that is not a plain 200. It raises
Refused, or lets the broker's own error pass: one place turns both into RabbitMQ's statuses and texts.
"""

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from flowmq.management.login import MANAGEMENT, Caller
from flowmq.server.control.registry import ControlError

if TYPE_CHECKING:
    from flowmq.management.application import Management

# Of the broker's errors: the status, and what RabbitMQ calls it.
STATUSES = {
    "not_found": (404, "Object Not Found"),
    "access_refused": (401, "not_authorised"),
    "unavailable": (503, "service_unavailable"),
    "internal_error": (500, "internal_server_error"),
}
BAD_REQUEST = (400, "bad_request")
DEFAULT_EXCHANGE = "amq.default"
HEADERS = {"cache-control": "no-cache", "vary": "accept, accept-encoding, origin"}


class Refused(Exception):
    def __init__(self, status: int, error: str, reason: str) -> None:
        super().__init__(reason)
        self.status, self.error, self.reason = status, error, reason


def bad_request(reason: str) -> Refused:
    return Refused(*BAD_REQUEST, reason)


def not_found() -> Refused:
    return Refused(404, "Object Not Found", "Not Found")


def not_authorised(reason: str = "User not authorised to access object") -> Refused:
    return Refused(401, "not_authorised", reason)


@dataclass
class Answer:
    status: int
    value: Any = None
    headers: dict[str, str] = field(default_factory=dict)


CREATED, NO_CONTENT = Answer(201), Answer(204)


class Call:
    """One request, of a user whose tags are sufficient for the route."""

    def __init__(self, management: "Management", request: web.Request, caller: Caller) -> None:
        self.management = management
        self.control = management.control
        self.sampler = management.sampler
        self.request = request
        self.caller = caller

    def path(self, name: str) -> str:
        return self.request.match_info[name]

    def exchange(self, name: str = "exchange") -> str:
        """The default exchange has a name in paths only."""
        given = self.path(name)
        return "" if given == DEFAULT_EXCHANGE else given

    def query(self, name: str, default: str = "") -> str:
        return self.request.query.get(name, default)

    def flag(self, name: str) -> bool:
        return self.query(name).casefold() == "true"

    def number(self, name: str, default: int = 0, lowest: int = 0) -> int:
        given = self.query(name)
        if not given:
            return default
        if not (given.isascii() and given.isdigit()) or int(given) < lowest:
            raise bad_request(f"{name}: {given!r} is not a number of at least {lowest}")
        return int(given)

    async def body(self) -> dict[str, Any]:
        """The JSON object that was sent; nothing is an empty one."""
        try:
            octets = await self.request.read()
        except (ConnectionError, web.RequestPayloadError, HttpProcessingError, RuntimeError) as error:
            # It was cut short, or its chunks are none; the last is what the library says of a closed connection.
            raise Refused(400, "bad_request", f"the body cannot be read: {type(error).__name__}") from None
        if not octets.strip():
            return {}
        try:
            value = json.loads(octets)
        except ValueError as error:
            raise bad_request(f"not JSON: {error}") from None
        except RecursionError:
            raise bad_request("not JSON: nested too deeply") from None
        if not isinstance(value, dict):
            raise bad_request("the body is not a JSON object")
        return value

    async def ask(self, command: str, **arguments: Any) -> Any:
        return await self.control.call(command, **arguments)

    async def vhost(self, *, to_use: bool = True) -> str:
        """The one of the path, which must be there; to use it the user needs permissions there, to see it less."""
        if not await self.has_vhost():
            raise not_found()
        return self._allowed_vhost(to_use=to_use)

    def _allowed_vhost(self, *, to_use: bool) -> str:
        name = self.path("vhost")
        may = name in self.caller.vhosts or (not to_use and self.caller.sees(name))
        if not may:
            raise not_authorised("User not authorised to access virtual host")
        return name

    async def has_vhost(self) -> bool:
        """Whether the virtual host of the path is there."""
        return self.path("vhost") in {found["name"] for found in await self.ask("vhost.list")}

    async def vhost_of_bindings(self) -> list[str]:
        """The one of the path, or none when it is gone: no error, as tools look here whether a binding still is."""
        return [self._allowed_vhost(to_use=False)] if await self.has_vhost() else []

    async def visible(self) -> list[str] | None:
        """The virtual hosts of a list: the one of the path, or all that the user may see; None is every one."""
        if "vhost" in self.request.match_info:
            return [await self.vhost(to_use=False)]
        return self.caller.visible


Handler = Callable[[Call], Awaitable[Any]]


class Route(NamedTuple):
    verb: str
    path: str
    handler: Handler
    tag: str | None  # that the user must have; None: nobody needs to log in

    @property
    def summary(self) -> str:
        return (self.handler.__doc__ or "").strip().partition("\n")[0]


ROUTES: list[Route] = []


def route(verb: str, *paths: str, tag: str | None = MANAGEMENT) -> Callable[[Handler], Handler]:
    def register(handler: Handler) -> Handler:
        ROUTES.extend(Route(verb, path, handler, tag) for path in paths)
        return handler

    return register


# ---------------------------------------------------------------------------------------------------------- answers


def encoded(value: Any) -> bytes:
    try:
        return msgspec.json.encode(value)
    except UnicodeEncodeError:  # a name that is not UTF-8
        return json.dumps(value).encode()


def response(value: Any) -> web.StreamResponse:
    if isinstance(value, web.StreamResponse):
        return value
    answer = value if isinstance(value, Answer) else Answer(200, value)
    headers = {**HEADERS, **answer.headers}
    if answer.status == 204 or (answer.status == 201 and answer.value is None):
        return web.Response(status=answer.status, headers=headers)
    return web.Response(
        status=answer.status, body=encoded(answer.value), content_type="application/json", headers=headers
    )


def refusal(status: int, error: str, reason: str, headers: dict[str, str] | None = None) -> web.StreamResponse:
    return response(Answer(status, {"error": error, "reason": reason}, headers or {}))


def refused(error: ControlError) -> web.StreamResponse:
    status, name = STATUSES.get(error.code, BAD_REQUEST)
    reason = error.reason.removeprefix("PRECONDITION_FAILED - ")
    return refusal(status, name, "Not Found" if status == 404 else reason)
