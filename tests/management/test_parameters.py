"""Parameters come with definitions, can be seen and deleted, and cannot be set."""

import pytest

from tests.support.http import Api

pytestmark = pytest.mark.flowmq_only

VALUE = {"src-uri": "amqp://", "src-queue": "here", "dest-uri": "amqp://elsewhere", "dest-queue": "there"}


def test_parameters(api: Api, name: str) -> None:
    parameter = {"vhost": "/", "component": "shovel", "name": name, "value": VALUE}
    assert api.ask("POST", "definitions", body={"parameters": [parameter]}).status == 204
    assert parameter in api.get("parameters")
    assert parameter in api.get("parameters", "shovel")
    assert parameter in api.get("parameters", "shovel", "/")
    assert parameter not in api.get("parameters", "federation-upstream")
    assert api.get("parameters", "shovel", "/", name) == parameter
    refused = api.ask("PUT", "parameters", "shovel", "/", name, body={"value": VALUE})
    assert refused.status == 400
    assert "no shovels" in refused.json["reason"]
    assert api.delete("parameters", "shovel", "/", name) == 204
    assert api.delete("parameters", "shovel", "/", name) == 404
    assert api.ask("GET", "parameters", "shovel", "/", name).status == 404


def test_global_parameters(api: Api, name: str) -> None:
    parameter = {"name": name, "value": "some name"}
    assert api.ask("POST", "definitions", body={"global_parameters": [parameter]}).status == 204
    assert parameter in api.get("global-parameters")
    assert api.get("global-parameters", name) == parameter
    assert api.ask("PUT", "global-parameters", name, body={"value": 1}).status == 400
    assert api.delete("global-parameters", name) == 204
    assert api.ask("GET", "global-parameters", name).status == 404


def test_who_may(api: Api, name: str) -> None:
    assert api.put("users", name, body={"password": "secret", "tags": "management"}) == 201
    assert api.as_user(name, "secret").ask("GET", "parameters").status == 401
    assert api.delete("users", name) == 204
