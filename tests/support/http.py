"""A small HTTP client of the tests' own, for the management API."""

import base64
import http.client
import json
import re
from collections.abc import Callable
from typing import Any, NamedTuple
from urllib.parse import quote

from tests.support.broker import Broker

LISTENING = re.compile(r"HTTP API listener started on 127\.0\.0\.1:(\d+)")
METRICS = re.compile(r"metrics listener started on 127\.0\.0\.1:(\d+)")
WITH_HTTP = {"FLOWMQ_MANAGEMENT__LISTEN": "127.0.0.1:0", "FLOWMQ_METRICS__LISTEN": "127.0.0.1:0"}
SECONDS = 60


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Api:
    """Of one broker, as one user. Parts of a path are given apart, and encoded here."""

    def __init__(self, port: int, user: str = "guest", password: str = "guest") -> None:
        self.port, self.user, self.password = port, user, password

    def as_user(self, user: str, password: str) -> "Api":
        return Api(self.port, user, password)

    def ask(
        self, verb: str, *parts: str, query: str = "", body: Any = None, headers: dict[str, str] | None = None
    ) -> Answer:
        path = "/".join(quote(part, safe="") for part in parts) + (f"?{query}" if query else "")
        return self.ask_encoded(verb, path, None if body is None else json.dumps(body), headers)

    def ask_encoded(self, verb: str, path: str, body: str | None, headers: dict[str, str] | None = None) -> Answer:
        """The path below /api and the body as they are sent."""
        credentials = base64.b64encode(f"{self.user}:{self.password}".encode()).decode()
        sent = {"Authorization": f"Basic {credentials}", "Content-Type": "application/json", **(headers or {})}
        return fetch(self.port, verb, f"/api/{path}", body, sent)

    def get(self, *parts: str, query: str = "") -> Any:
        answer = self.ask("GET", *parts, query=query)
        assert answer.status == 200, (answer.status, answer.body)
        return answer.json

    def put(self, *parts: str, body: Any = None) -> int:
        return self.ask("PUT", *parts, body={} if body is None else body).status

    def delete(self, *parts: str, query: str = "") -> int:
        return self.ask("DELETE", *parts, query=query).status

    def post(self, *parts: str, body: Any = None) -> Any:
        answer = self.ask("POST", *parts, body={} if body is None else body)
        assert answer.status in (200, 201, 204), (answer.status, answer.body)
        return answer.json if answer.body else None


def fetch(port: int, verb: str, path: str, body: str | None = None, headers: dict[str, str] | None = None) -> Answer:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=SECONDS)
    try:
        connection.request(verb, path, body, headers or {})
        response = connection.getresponse()
        return Answer(response.status, {name.lower(): value for name, value in response.getheaders()}, response.read())
    finally:
        connection.close()


def api_of(broker: Broker) -> Api:
    return Api(int(broker.log.wait_for(LISTENING)[1]))


def metrics_port(broker: Broker) -> int:
    return int(broker.log.wait_for(METRICS)[1])


Started = Callable[..., Broker]
