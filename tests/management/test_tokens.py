"""The HTTP API with a token in the place of a password: what its scopes allow, its end, and wrong ones."""

import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.broker import Broker
from tests.support.http import WITH_HTTP, Answer, Api, api_of, fetch
from tests.support.tokens import AUDIENCE, Issuer, write_jwks

pytestmark = pytest.mark.flowmq_only
EVERYTHING = "p.configure:*/* p.write:*/*/* p.read:*/*/*"
OF_JOBS = "p.tag:management p.configure:%2F/jobs* p.write:%2F/jobs* p.read:%2F/jobs*"
PUBLISH = {"properties": {}, "payload": "text", "payload_encoding": "string"}
TAKE = {"count": 1, "encoding": "auto", "ackmode": "ack_requeue_false"}


@pytest.fixture(scope="module")
def issuer() -> Issuer:
    return Issuer()


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory, issuer: Issuer) -> Iterator[Broker]:
    directory = tmp_path_factory.mktemp("tokens")
    oauth = {
        "FLOWMQ_OAUTH__JWKS_FILE": str(write_jwks(directory / "jwks.json", issuer)),
        "FLOWMQ_OAUTH__AUDIENCE": AUDIENCE,
        "FLOWMQ_OAUTH__SCOPE_PREFIX": "p.",
    }
    started = Broker(directory / "data", {**WITH_HTTP, **oauth})
    try:
        yield started
        started.stop()
        assert "eyJ" not in started.log.text
    finally:
        started.kill()


@pytest.fixture(scope="module")
def port(broker: Broker) -> int:
    return api_of(broker).port


class Bearer(Api):
    """As the one whom a token names."""

    def __init__(self, port: int, token: str) -> None:
        super().__init__(port)
        self.token = token

    def ask(self, verb: str, *parts: str, headers: dict[str, str] | None = None, **more: Any) -> Answer:
        return super().ask(verb, *parts, headers={**(headers or {}), "Authorization": f"Bearer {self.token}"}, **more)


def test_an_administrator_by_token(port: int, issuer: Issuer, name: str) -> None:
    api = Bearer(port, issuer.token(f"p.tag:administrator {EVERYTHING}"))
    assert api.get("whoami") == {"name": "ann", "tags": ["administrator"], "is_internal_user": False}
    assert api.put("vhosts", name) == 201
    assert api.put("queues", name, "jobs", body={"durable": True}) == 201
    assert api.post("exchanges", name, "amq.default", "publish", body={**PUBLISH, "routing_key": "jobs"})["routed"]
    assert [one["payload"] for one in api.post("queues", name, "jobs", "get", body=TAKE)] == ["text"]
    assert "ann" not in {user["name"] for user in api.get("users")}
    assert api.delete("vhosts", name) == 204


def test_scopes_are_permissions(port: int, issuer: Issuer) -> None:
    api = Bearer(port, issuer.token(OF_JOBS))
    assert {host["name"] for host in api.get("vhosts")} == {"/"}
    assert api.put("queues", "/", "jobs.a") == 201
    refused = api.ask("PUT", "queues", "/", "others", body={})
    assert (refused.status, refused.json["error"]) == (401, "not_authorised")
    assert "configure access to queue 'others' in vhost '/' refused for user 'ann'" in refused.json["reason"]
    sent = {**PUBLISH, "routing_key": "jobs.a"}
    assert api.ask("POST", "exchanges", "/", "amq.direct", "publish", body=sent).status == 400
    for path, reason in ((("users",), "Not administrator user"), (("nodes",), "Not monitor user")):
        answer = api.ask("GET", *path)
        assert (answer.status, answer.json["reason"]) == (401, reason)
    assert api.delete("queues", "/", "jobs.a") == 204


def test_without_a_tag_nothing_is_told(port: int, issuer: Issuer) -> None:
    answer = Bearer(port, issuer.token(EVERYTHING)).ask("GET", "overview")
    assert (answer.status, answer.json) == (401, {"error": "not_authorised", "reason": "Not management user"})


def test_a_token_ends(port: int, issuer: Issuer) -> None:
    token = issuer.token(f"p.tag:management {EVERYTHING}", seconds=2)
    api = Bearer(port, token)
    assert api.get("whoami")["name"] == "ann"
    ends_at = time.time() + 30
    while (answer := api.ask("GET", "whoami")).status == 200:
        assert time.time() < ends_at, "it is good for ever"
    assert (answer.status, answer.json) == (401, {"error": "not_authorized", "reason": "Login failed"})


def test_wrong_ones(port: int, issuer: Issuer, broker: Broker) -> None:
    wrong = {
        "of another": Issuer().token("p.tag:administrator"),
        "for others": issuer.token("p.tag:administrator", aud="others"),
        "over": issuer.token("p.tag:administrator", seconds=-100),
        "no token": "eyJhbGciOiJub25lIn0.e30.",
        "no token at all": "secret",
    }
    for token in wrong.values():
        answer = Bearer(port, token).ask("GET", "overview")
        assert (answer.status, answer.json["error"]) == (401, "not_authorized")
        assert answer.headers["www-authenticate"] == 'Bearer realm="FlowMQ Management", error="invalid_token"'
    broker.log.wait_for("log-in of user '' refused: the token is refused: Audience doesn't match")


def test_a_token_in_the_place_of_a_password(port: int, issuer: Issuer) -> None:
    token = issuer.token(f"p.tag:management {EVERYTHING}")
    api = Api(port, "whoever", token)
    assert api.get("whoami")["name"] == "ann"
    assert api.put("queues", "/", "by-password") == 201
    assert api.delete("queues", "/", "by-password") == 204


def test_the_same_wrong_one_over_and_over(port: int) -> None:
    bearer = Bearer(port, Issuer().token("p.tag:administrator"))
    statuses = [bearer.ask("GET", "overview").status for _ in range(12)]
    assert statuses == [401] * 10 + [429] * 2
    assert Api(port).ask("GET", "overview").status == 200


def test_the_description_names_both_ways(port: int) -> None:
    described = fetch(port, "GET", "/api/openapi.json").json
    assert described["components"]["securitySchemes"]["bearer"]["scheme"] == "bearer"
    assert described["paths"]["/api/overview"]["get"]["security"] == [{"basic": []}, {"bearer": []}]


def test_a_shovel_is_nobody_else_whose_name_a_token_has(port: int, issuer: Issuer, name: str) -> None:
    admin = Api(port)
    assert admin.put("users", "ann", body={"password": "secret", "tags": ""}) == 201
    assert admin.put("permissions", "/", "ann", body={"configure": ".*", "write": ".*", "read": ".*"}) == 201
    by_token = Bearer(port, issuer.token(f"p.tag:policymaker {EVERYTHING}"))
    assert by_token.get("whoami")["name"] == "ann"
    value = {"src-uri": "amqp://", "src-queue": "a", "dest-uri": "amqp://127.0.0.1:1", "dest-queue": "b"}
    refused = by_token.ask("PUT", "parameters", "shovel", "/", name, body={"value": value})
    assert refused.status == 400
    assert "is not kept by this broker" in refused.json["reason"]
    elsewhere = {**value, "src-uri": "amqp://127.0.0.1:1"}
    assert by_token.put("parameters", "shovel", "/", name, body={"value": elsewhere}) == 201
    assert by_token.delete("parameters", "shovel", "/", name) == 204
    assert admin.delete("users", "ann") == 204
