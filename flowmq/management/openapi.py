"""An OpenAPI 3.1 description of the HTTP API, made from the table of routes."""

import re
from typing import Any

from flowmq import __version__
from flowmq.management.web import ROUTES, Call, Route, route

PARAMETER = re.compile(r"\{(\w+)(?::[^{}]*)?\}")
LISTS = ("columns", "sort", "sort_reverse", "page", "page_size", "name", "use_regex")
STATUSES = {"GET": "200", "POST": "200", "PUT": "204", "DELETE": "204"}
ERROR = {"$ref": "#/components/schemas/Error"}


def plain_path(path: str) -> str:
    return PARAMETER.sub(r"{\1}", path)


def parameters(one: Route) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for name, pattern in re.findall(r"\{(\w+)(?::([^{}]*))?\}", one.path):
        schema = {"type": "integer", "minimum": 0} if pattern else {"type": "string", "minLength": 1}
        found.append({"name": name, "in": "path", "required": True, "schema": schema})
    if one.verb == "GET":
        names = LISTS if one.handler.__name__.startswith("list_") else ("columns",)
        found += [{"name": name, "in": "query", "schema": {"type": "string"}} for name in names]
    return found


def answers(one: Route) -> dict[str, Any]:
    json: dict[str, Any] = {"application/json": {"schema": {}}}
    error = {"application/json": {"schema": ERROR}}
    found: dict[str, Any] = {STATUSES[one.verb]: {"description": "Done"}}
    if STATUSES[one.verb] == "200":
        found["200"]["content"] = json
    if one.verb in ("PUT", "POST"):
        found["201"] = {"description": "It is new"}
        found["204"] = {"description": "Done"}
    found["400"] = {"description": "What was asked cannot be", "content": error}
    found["404"] = {"description": "There is no such thing", "content": error}
    if one.verb != "GET":
        found["403"] = {"description": "A web page from elsewhere asks for it", "content": error}
    found["413"] = {"description": "Too large", "content": error}
    if one.tag is not None:
        found["401"] = {"description": "Log-in failed, or the user may not", "content": error}
        found["429"] = {"description": "Too many log-ins failed lately", "content": error}
    found["503"] = {"description": "It failed, or cannot be for the moment", "content": json}
    return found


def operation(one: Route) -> dict[str, Any]:
    made: dict[str, Any] = {
        "summary": one.summary,
        "tags": [one.path.split("/")[2]],
        "parameters": parameters(one),
        "responses": answers(one),
        "security": [] if one.tag is None else [{"basic": []}, {"bearer": []}],
    }
    if one.verb in ("PUT", "POST"):
        made["requestBody"] = {"content": {"application/json": {"schema": {"type": "object"}}}}
    if one.tag is not None:
        made["x-tag"] = one.tag
    return made


def description() -> dict[str, Any]:
    paths: dict[str, Any] = {}
    for number, one in enumerate(ROUTES):
        made = operation(one)
        made["operationId"] = f"{one.handler.__name__}_{number}"  # one handler may stand at several paths
        paths.setdefault(plain_path(one.path), {})[one.verb.lower()] = made
    return {
        "openapi": "3.1.0",
        "info": {"title": "FlowMQ HTTP API", "version": __version__},
        "paths": paths,
        "components": {
            "securitySchemes": {
                "basic": {"type": "http", "scheme": "basic"},
                "bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
            },
            "schemas": {
                "Error": {
                    "type": "object",
                    "required": ["error", "reason"],
                    "properties": {"error": {"type": "string"}, "reason": {"type": "string"}},
                }
            },
        },
    }


@route("GET", "/api/openapi.json", tag=None)
async def openapi(call: Call) -> Any:
    """This description."""
    return description()
