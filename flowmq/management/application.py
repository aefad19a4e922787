"""The HTTP application: who asks is found out first, what is asked is found in the table of routes, errors become
statuses in one place."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from flowmq.management import api, openapi
from flowmq.management.listing import in_columns
from flowmq.management.login import LogIns, TooMany
from flowmq.management.sampler import Sampler
from flowmq.management.web import ROUTES, Call, Refused, Route, refusal, refused, response
from flowmq.server.control.client import AsyncControlConnection, NoBroker
from flowmq.server.control.registry import ControlError

BODY_BYTES_MAX = 256 * 1024 * 1024  # definitions of 100 000 objects are large
LONG_LISTS_MAX = 8  # at a time
REALM = 'realm="FlowMQ Management"'
log = logging.getLogger("flowmq.management")

assert all((api.__doc__, openapi.__doc__)), "imported for the routes that they register"


class Management:
    """What all requests share."""

    def __init__(self, control: AsyncControlConnection, sampler: Sampler) -> None:
        self.control = control
        self.sampler = sampler
        self.log_ins = LogIns(control)
        self.long_lists = asyncio.Semaphore(LONG_LISTS_MAX)

    def application(self) -> web.Application:
        made = web.Application(client_max_size=BODY_BYTES_MAX, middlewares=[errors])
        for one in ROUTES:
            handler = self._handler(one)
            for path in (one.path, f"{one.path}/"):  # some clients end some paths so
                made.router.add_route(one.verb, path, handler)
                if one.verb == "GET":
                    made.router.add_route("HEAD", path, handler)
        made.router.add_route("GET", "/", redirected)
        return made

    def _handler(self, one: Route) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def handle(request: web.Request) -> web.StreamResponse:
            if is_of_another_page(request):
                return refusal(403, "forbidden", "what a page from elsewhere asks for is not done")
            if one.tag is None:
                return await answered(one, Call(self, request, NOBODY))
            address = request.remote or ""
            try:
                caller = await self.log_ins.caller(request.headers.get("Authorization", ""), address)
            except TooMany:
                return refusal(429, "too_many_requests", "Too many log-ins failed lately", {"Retry-After": "30"})
            if caller is None:
                headers = {"WWW-Authenticate": challenge(request)}
                return refusal(401, "not_authorized", "Login failed", headers)
            if not caller.may(one.tag):
                return refusal(401, "not_authorised", TAG_REASONS.get(one.tag, "Not management user"))
            return await answered(one, Call(self, request, caller))

        return handle


async def answered(one: Route, call: Call) -> web.StreamResponse:
    value = await one.handler(call)
    return response(in_columns(call, value) if one.verb == "GET" else value)


def is_of_another_page(request: web.Request) -> bool:
    """A browser that knows a user's password sends it along with whatever a page of anybody's has it ask for."""
    origin = request.headers.get("Origin")
    changes = request.method not in ("GET", "HEAD")
    return changes and origin is not None and origin.partition("://")[2] != request.headers.get("Host", "")


def challenge(request: web.Request) -> str:
    """How to log in, as the one who asks has tried."""
    scheme = request.headers.get("Authorization", "").partition(" ")[0]
    return f'Bearer {REALM}, error="invalid_token"' if scheme.casefold() == "bearer" else f"Basic {REALM}"


TAG_REASONS = {
    "administrator": "Not administrator user",
    "monitoring": "Not monitor user",
    "policymaker": "Not policymaker user",
}
NOBODY: Any = None


async def redirected(request: web.Request) -> web.StreamResponse:
    raise web.HTTPFound("/api/openapi.json")


@web.middleware
async def errors(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    try:
        return await handler(request)
    except Refused as error:
        return refusal(error.status, error.error, error.reason)
    except ControlError as error:
        return refused(error)
    except NoBroker:
        return refusal(503, "service_unavailable", "the broker does not answer")
    except web.HTTPNotFound:
        return refusal(404, "Object Not Found", "Not Found")
    except web.HTTPMethodNotAllowed as error:
        headers = {"Allow": ",".join(sorted(error.allowed_methods))}
        if request.method == "OPTIONS":
            return web.Response(headers=headers)
        return refusal(405, "Method Not Allowed", "Method Not Allowed", headers)
    except web.HTTPRequestEntityTooLarge:
        return refusal(413, "request_entity_too_large", f"at most {BODY_BYTES_MAX} octets")
    except web.HTTPException:
        raise
    except Exception as error:
        log.error("%s %s: internal error", request.method, request.path, exc_info=error)
        return refusal(500, "internal_server_error", "internal error, see the broker's log")
