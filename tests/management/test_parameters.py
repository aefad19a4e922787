"""Parameters: who may set what, how they are told, and that they outlive the process and come with definitions."""

import json
from collections.abc import Callable

import pytest

from flowmq.server.control import place
from flowmq.server.control.client import ControlConnection
from flowmq.server.control.registry import ControlError
from tests.management.test_ctl import Ctl
from tests.support.broker import Broker
from tests.support.http import Api

pytestmark = pytest.mark.flowmq_only

# Nobody answers there.
VALUE = {"src-uri": "amqp://", "src-queue": "here", "dest-uri": "amqp://u:secret@127.0.0.1:1", "dest-queue": "there"}
SHOWN = {**VALUE, "dest-uri": "amqp://u:***@127.0.0.1:1"}


def test_a_parameter_is_set_told_without_passwords_and_deleted(api: Api, name: str) -> None:
    assert api.put("parameters", "shovel", "/", name, body={"value": VALUE}) == 201
    assert api.put("parameters", "shovel", "/", name, body={"value": VALUE}) == 204
    shown = {"vhost": "/", "component": "shovel", "name": name, "value": SHOWN}
    assert shown in api.get("parameters")
    assert shown in api.get("parameters", "shovel")
    assert shown in api.get("parameters", "shovel", "/")
    assert shown not in api.get("parameters", "federation-upstream")
    # Who may export it all may read one: Terraform compares it with what it has set.
    assert api.get("parameters", "shovel", "/", name) == {**shown, "value": VALUE}
    # Exports have all of it: they are for being imported.
    exported = api.get("definitions")["parameters"]
    assert {**shown, "value": VALUE} in exported
    assert api.delete("parameters", "shovel", "/", name) == 204
    assert api.delete("parameters", "shovel", "/", name) == 404
    assert api.ask("GET", "parameters", "shovel", "/", name).status == 404


@pytest.mark.parametrize(
    ("component", "body", "reason"),
    [
        ("federation-upstream", {"value": {"uri": "amqp://elsewhere"}}, "'federation-upstream' are not supported"),
        ("anything", {"value": 1}, "'anything' are not supported"),
        ("shovel", {}, "key_missing"),
        ("shovel", {"value": None}, "is an object with keys"),
        ("shovel", {"value": {**VALUE, "dest-address": "x"}}, "a shovel has no key 'dest-address'"),
        ("shovel", {"value": {**VALUE, "dest-uri": SHOWN["dest-uri"]}}, "give the password"),
        ("shovel", {"value": {**VALUE, "src-uri": "amqp:///nowhere"}}, 'may not connect to vhost "nowhere"'),
    ],
)
def test_what_cannot_be_set_is_refused(api: Api, name: str, component: str, body: object, reason: str) -> None:
    refused = api.ask("PUT", "parameters", component, "/", name, body=body)
    assert refused.status == 400
    assert reason in refused.json["reason"]
    assert "secret" not in refused.json["reason"]
    assert api.ask("GET", "parameters", component, "/", name).status == 404


def test_global_parameters(api: Api, name: str) -> None:
    assert api.put("global-parameters", name, body={"value": {"any": ["thing"]}}) == 201
    assert api.put("global-parameters", name, body={"value": "some name"}) == 204
    assert {"name": name, "value": "some name"} in api.get("global-parameters")
    assert api.get("global-parameters", name) == {"name": name, "value": "some name"}
    assert {"name": name, "value": "some name"} in api.get("definitions")["global_parameters"]
    assert api.put("global-parameters", name, body={}) == 400
    deep: list[object] = []
    for _ in range(100):
        deep = [deep]
    assert api.put("global-parameters", name, body={"value": deep}) == 400
    assert api.delete("global-parameters", name) == 204
    assert api.ask("GET", "global-parameters", name).status == 404


@pytest.mark.parametrize(
    ("tags", "may_set", "may_set_global"),
    [("management", 401, 401), ("monitoring", 401, 401), ("policymaker", 201, 401), ("administrator", 201, 201)],
)
def test_who_may(api: Api, name: str, tags: str, may_set: int, may_set_global: int) -> None:
    assert api.put("users", name, body={"password": "secret", "tags": tags}) == 201
    assert api.put("permissions", "/", name, body={"configure": "", "write": "", "read": ""}) == 201
    user = api.as_user(name, "secret")
    assert user.put("parameters", "shovel", "/", name, body={"value": VALUE}) == may_set
    assert user.ask("GET", "parameters").status == (200 if may_set == 201 else 401)
    assert user.put("global-parameters", name, body={"value": 1}) == may_set_global
    assert api.put("vhosts", name) == 201
    # Not in virtual hosts of others, and no shovel into them.
    assert user.put("parameters", "shovel", name, name, body={"value": VALUE}) == 401
    if may_set == 201:
        into = {**VALUE, "dest-uri": f"amqp:///{name}"}
        assert user.put("parameters", "shovel", "/", name, body={"value": into}) == 400
        parameters = user.get("definitions", "/")["parameters"]
        shown = VALUE if tags == "administrator" else SHOWN
        assert {"component": "shovel", "name": name, "value": shown} in parameters
        assert user.get("parameters", "shovel", "/", name)["value"] == shown
        assert api.delete("parameters", "shovel", "/", name) == 204
    if may_set_global == 201:
        assert api.delete("global-parameters", name) == 204
    assert api.delete("users", name) == 204
    assert api.delete("vhosts", name) == 204


def test_they_go_with_their_virtual_host(api: Api, name: str) -> None:
    assert api.put("vhosts", name) == 201
    assert api.put("parameters", "shovel", name, "s", body={"value": VALUE}) == 201
    assert [found["name"] for found in api.get("shovels", name)] == ["s"]
    assert api.delete("vhosts", name) == 204
    assert not [found for found in api.get("parameters") if found["vhost"] == name]
    assert not [found for found in api.get("shovels") if found["vhost"] == name]


def test_definitions_bring_them(api: Api, name: str) -> None:
    upstream = {"vhost": "/", "component": "federation-upstream", "name": name, "value": {"uri": "amqp://a:b@c"}}
    shovel = {"vhost": "/", "component": "shovel", "name": name, "value": VALUE}
    assert api.ask("POST", "definitions", body={"parameters": [upstream, shovel]}).status == 204
    assert {**upstream, "value": {"uri": "amqp://a:***@c"}} in api.get("parameters")
    assert upstream in api.get("definitions")["parameters"]
    assert api.get("shovels", "vhost", "/", name)["name"] == name
    wrong = {**shovel, "value": {**VALUE, "src-protocol": "amqp10"}}
    refused = api.ask("POST", "definitions", body={"parameters": [wrong]})
    assert refused.status == 400
    assert "AMQP 1.0 is not supported" in refused.json["reason"]
    for component in ("federation-upstream", "shovel"):
        assert api.delete("parameters", component, "/", name) == 204


def test_verbs(managed: Broker, api: Api, name: str) -> None:
    ctl = Ctl(managed.data_dir)
    assert ctl.run("set_parameter", "shovel", name, json.dumps(VALUE))[0] == 0
    code, output, _ = ctl.run("list_parameters", "--formatter", "json")
    assert code == 0
    assert {"component": "shovel", "name": name, "value": SHOWN} in json.loads(output)
    assert "secret" not in ctl.run("list_parameters")[1]
    assert ctl.run("set_parameter", "federation-upstream", name, "{}")[0] == 69
    assert ctl.run("set_parameter", "shovel", name, "{")[0] == 65
    code, output, _ = ctl.run("shovel_status", "--formatter", "json")
    assert name in [row["name"] for row in json.loads(output)]
    assert ctl.run("restart_shovel", name)[0] == 0
    assert ctl.run("delete_shovel", name)[0] == 0
    assert ctl.run("delete_shovel", name)[0] == 65
    assert ctl.run("restart_shovel", name)[0] == 65
    assert ctl.run("set_parameter", "shovel", name, json.dumps(VALUE))[0] == 0
    assert ctl.run("clear_parameter", "shovel", name)[0] == 0
    assert ctl.run("set_global_parameter", name, '{"a": 1}')[0] == 0
    assert f'{name}\t{{"a":1}}' in ctl.run("list_global_parameters")[1]
    assert ctl.run("clear_global_parameter", name)[0] == 0
    assert ctl.run("clear_global_parameter", name)[0] == 69


def test_they_outlive_the_process(own_broker: Callable[..., Broker]) -> None:
    broker = own_broker()
    with ControlConnection(broker.data_dir / place.NAME) as control:
        control.call("parameter.set", component="shovel", name="kept", value=VALUE, user="guest")
        control.call("parameter.set", component="shovel", name="gone", value=VALUE)
        control.call("parameter.delete", component="shovel", name="gone")
        control.call("global_parameter.set", name="kept", value=[1, 2])
    broker.kill()
    again = broker.again()
    try:
        with ControlConnection(again.data_dir / place.NAME) as control:
            (shovel,) = control.call("shovel.list")
            assert (shovel["name"], shovel["set_by"]) == ("kept", "guest")
            assert control.call("global_parameter.show", name="kept")["value"] == [1, 2]
            with pytest.raises(ControlError):
                control.call("parameter.show", component="shovel", name="gone")
        again.stop()
    finally:
        again.kill()
