"""Definitions: what files may say, what they change, and that all of it happens or nothing."""

import copy
import json
from typing import Any

import pytest

from flowmq.amqp.tables import Table
from flowmq.broker.broker import Broker
from flowmq.broker.definition_entries import DefinitionError
from flowmq.broker.definition_export import exported, header
from flowmq.broker.definition_import import Import, Options, finish
from flowmq.broker.definition_promises import WHOLE, Promise, unkept
from flowmq.broker.definitions import Definitions
from flowmq.broker.passwords import hashed, rabbitmq_hashed
from flowmq.broker.permissions import Permission, TopicPermission
from flowmq.broker.policies import OPERATOR_POLICY, Policy
from flowmq.broker.users import User, Users
from tests.support.definitions import rabbitmq_definitions

VHOST = "v é/x"  # of that file


class Kept(Definitions):
    """What a disk would hold of what is kept by kind and name."""

    def __init__(self) -> None:
        self.items: dict[tuple[str, tuple[str, ...]], Any] = {}

    def put(self, kind: str, name: tuple[str, ...], value: object) -> None:
        self.items[kind, name] = value

    def delete(self, kind: str, name: tuple[str, ...]) -> None:
        del self.items[kind, name]


def new_broker(*configured: User, definitions: Definitions | None = None) -> Broker:
    broker = Broker(
        Users(configured, default_user_loopback_only=True, definitions=definitions), definitions=definitions
    )
    broker.make_first()
    return broker


def imported(broker: Broker, definitions: dict[str, Any], **options: Any) -> Import:
    made = Import(broker, Options(**options))
    for _ in made.stage_all(definitions):
        pass
    for _ in made.steps():
        pass
    return made


def export(broker: Broker, vhost: str | None = None, *, for_rabbitmq: bool = False) -> dict[str, Any]:
    definitions = header(vhost)
    for section, entry in exported(broker, vhost, for_rabbitmq=for_rabbitmq):
        definitions[section].append(entry)
    return copy.deepcopy(definitions)


def actions(made: Import) -> dict[str, str]:
    return {result.what: result.action for result in made.results}


def errors(made: Import) -> dict[str, str]:
    return {result.what: result.details for result in made.results if result.action == "error"}


QUEUE = {"name": "q", "vhost": "/", "durable": True, "auto_delete": False, "arguments": {}}
EXCHANGE = {"name": "x", "vhost": "/", "type": "topic", "durable": True, "auto_delete": False, "arguments": {}}
BINDING = {"source": "x", "vhost": "/", "destination": "q", "destination_type": "queue", "routing_key": "k"}
POLICY = {"name": "p", "vhost": "/", "pattern": "^q", "definition": {"max-length": 1}}


# --------------------------------------------------------------------------------------------- RabbitMQ's own files


def test_a_file_that_rabbitmq_has_exported_is_imported() -> None:
    broker = new_broker()
    made = imported(broker, rabbitmq_definitions())
    assert errors(made) == {}
    assert made.applied

    ann = broker.users.user("ann")
    assert ann.tags == ("administrator", "foo")
    assert ann.password.value == "G3PsKemfMpHMIimI3heBhiqtuL36LR8fCwhwklhU6iRUDNmM"
    assert ann.permission(VHOST) == Permission("^a", ".*", "")
    assert ann.topic_permissions_in(VHOST) == {"amq.topic": TopicPermission("^{username}", ".*")}
    vhost = broker.vhosts[VHOST]
    assert (vhost.description, vhost.tags) == ("desc", ("a", "b"))
    assert broker.limits.all("vhost_limits") == {VHOST: {"max-queues": 100}}
    assert broker.limits.all("user_limits") == {"ann": {"max-connections": 5, "max-channels": 7}}
    assert vhost.policies.get("pol").definition == {"message-ttl": 60000, "ha-mode": "all"}
    assert vhost.policies.get("opol", OPERATOR_POLICY).definition == {"expires": 600000}
    default = broker.vhosts["/"]
    assert default.queues["q1"].settings.max_length == 10
    assert default.queues["qq"].settings.queue_type == "quorum"
    assert not default.queues["transient"].durable
    assert default.declared_exchanges["x1"].alternate_name == "amq.fanout"
    assert default.declared_exchanges["x1"].exchange.binding_count == 3
    headers = default.declared_exchanges["x2"].exchange
    assert headers.routes(b"", b"\x01nI\x00\x00\x00\x05\x01bt\x01\x01fS\x00\x00\x00\x031.5") == [
        default.queues["q1"].queue
    ]
    assert broker.parameters.globals == {"gp": [["a", 1]]}
    assert any("ha-mode" in warning for result in made.results for warning in result.warnings)


def test_what_is_imported_again_is_the_same() -> None:
    broker = new_broker()
    imported(broker, rabbitmq_definitions())
    summary = imported(broker, rabbitmq_definitions(), dry_run=True).summary()
    assert {name for name, count in summary.items() if count} == {"same"}


def test_what_was_exported_is_the_same_in_another_broker() -> None:
    broker, other = new_broker(), new_broker()
    imported(broker, rabbitmq_definitions())
    broker.vhosts["/"].declare_queue("bin\udcff", None, durable=True, arguments=Table({"x-max-priority": 5}))
    text = json.dumps(export(broker))
    assert errors(imported(other, json.loads(text))) == {}
    assert export(other) == export(broker)


def test_one_virtual_host_goes_into_another() -> None:
    broker = new_broker()
    imported(broker, rabbitmq_definitions())
    definitions = export(broker, "/")
    assert "users" not in definitions
    assert all("vhost" not in entry for section in ("queues", "bindings") for entry in definitions[section])
    made = imported(broker, definitions, vhost=VHOST)
    assert errors(made) == {}
    assert set(broker.vhosts[VHOST].queues) == {"q1", "qq", "transient"}
    assert broker.vhosts[VHOST].declared_exchanges["x1"].exchange.binding_count == 3


def test_what_somebody_has_to_themselves_or_everybody_has_is_not_exported() -> None:
    broker = new_broker(User("configured", rabbitmq_hashed("x"), configured_in=frozenset({"/"})))
    vhost = broker.vhosts["/"]
    vhost.bind_queue(vhost.declare_queue("mine", object(), exclusive=True), "amq.topic", "k", Table())
    definitions = export(broker)
    assert [definitions[section] for section in ("queues", "exchanges", "bindings", "users")] == [[], [], [], []]


def test_rabbitmq_gets_no_hashes_that_it_does_not_know() -> None:
    broker = new_broker()
    broker.users.add("slow", hashed("secret"))
    broker.users.add("quick", rabbitmq_hashed("secret"))
    by_name = {user["name"]: user for user in export(broker, for_rabbitmq=True)["users"]}
    assert by_name["slow"]["password_hash"] == ""
    assert by_name["quick"]["hashing_algorithm"] == "rabbit_password_hashing_sha256"
    assert {user["name"]: user["hashing_algorithm"] for user in export(broker)["users"]}["slow"] == "argon2id"


# ------------------------------------------------------------------------------------------------ what is refused

REFUSED = [
    ("queues", {**QUEUE, "vhost": "no"}, "there is no vhost 'no'"),
    ("queues", {**QUEUE, "arguments": {"x-max-length": -1}}, "invalid arg 'x-max-length'"),
    ("queues", {**QUEUE, "arguments": {"n": 2**64}}, "arguments: a field table cannot hold 18446744073709551616"),
    ("queues", {**QUEUE, "name": ""}, "the name of a queue must not be empty"),
    ("queues", {**QUEUE, "name": "x" * 256}, "at most 255 octets"),
    ("queues", {**QUEUE, "name": "\ud800"}, "is not Unicode text"),
    ("queues", {**QUEUE, "durable": "yes"}, "Expected `bool`, got `str` - at `$.durable`"),
    ("queues", {**QUEUE, "colour": 1}, "unknown field `colour`"),
    ("queues", {"name": "q"}, "missing required field `vhost`"),
    ("queues", "q", "expected an object"),
    ("exchanges", {**EXCHANGE, "type": "x-no"}, "unknown exchange type 'x-no'"),
    ("exchanges", {**EXCHANGE, "name": "amq.mine"}, "reserved prefix"),
    ("exchanges", {**EXCHANGE, "name": "amq.topic", "type": "fanout"}, "inequivalent arg 'type'"),
    ("exchanges", {**EXCHANGE, "name": ""}, "must not be empty"),
    ("bindings", {**BINDING, "source": "no"}, "there is no exchange 'no'"),
    ("bindings", {**BINDING, "source": "amq.topic", "destination": "no"}, "there is no queue 'no'"),
    ("bindings", {**BINDING, "source": "", "destination": "before"}, "the default exchange cannot be bound"),
    ("bindings", {**BINDING, "source": "amq.topic", "destination_type": "stone"}, "neither queue nor exchange"),
    ("users", {"name": "u", "hashing_algorithm": "rabbit_password_hashing_md5", "password_hash": "x"}, "not supported"),
    ("users", {"name": "u", "password_hash": "short"}, "none of rabbit_password_hashing_sha256"),
    ("users", {"name": "u", "password": "x"}, "unknown field `password`"),
    ("users", {"name": "u", "tags": ["a b"]}, "is no tag"),
    ("vhosts", {"name": "u", "metadata": {"tags": [1]}}, "a list of texts as tags"),
    ("vhosts", {"name": "u", "metadata": {"description": 1}}, "a text as description"),
    ("permissions", {"user": "no", "vhost": "/", "configure": ""}, "there is no user 'no'"),
    ("permissions", {"user": "guest", "vhost": "/", "configure": "("}, "pattern '('"),
    ("topic_permissions", {"user": "guest", "vhost": "/", "exchange": "x", "read": "("}, "pattern '('"),
    ("policies", {**POLICY, "definition": {"message-tl": 1}}, "did you mean message-ttl?"),
    ("policies", {**POLICY, "definition": 5}, "expected an object"),
    ("policies", {**POLICY, "apply-to": "stones"}, "apply-to"),
    (
        "parameters",
        {"vhost": "/", "component": "vhost-limits", "name": "limits", "value": {"max-x": 1}},
        "unknown limit",
    ),
    ("users", {"name": "u", "limits": {"max-channels": "1"}}, "must be an integer"),
    ("parameters", {"vhost": "/", "component": "mqtt", "name": "x", "value": 1}, "'mqtt' are not supported"),
    ("parameters", {"vhost": "/", "component": "operator_policy", "name": "x", "value": 1}, "expected an object"),
]


@pytest.mark.parametrize(("section", "entry", "reason"), REFUSED)
def test_an_entry_that_cannot_be_is_told_with_its_reason_and_nothing_is_changed(
    section: str, entry: Any, reason: str
) -> None:
    broker = new_broker()
    before = export(broker)
    made = imported(broker, {"vhosts": [{"name": "new"}], "queues": [{**QUEUE, "name": "before"}], section: [entry]})
    [explained] = errors(made).values()
    assert reason in explained
    assert (made.applied, export(broker)) == (False, before)


@pytest.mark.parametrize(
    ("definitions", "reason"),
    [
        ({"queue": []}, "there is no section 'queue'"),
        ({"operator_policies": []}, "there is no section"),
        ({"queues": {}}, "queues: expected a list"),
    ],
)
def test_a_file_that_is_none_is_refused(definitions: dict[str, Any], reason: str) -> None:
    with pytest.raises(DefinitionError, match=reason):
        imported(new_broker(), definitions)


def test_users_are_not_part_of_a_virtual_host() -> None:
    with pytest.raises(DefinitionError, match="not part of the definitions of one virtual host"):
        imported(new_broker(), {"users": [{"name": "u"}]}, vhost="/")


def test_the_best_is_made_of_a_file_if_that_is_asked() -> None:
    broker = new_broker()
    definitions = {
        "queues": [QUEUE, {**QUEUE, "name": "bad", "arguments": {"x-max-length": -1}}],
        "bindings": [
            {**BINDING, "source": "amq.topic"},
            {**BINDING, "source": "amq.topic", "destination": "bad"},
        ],
    }
    made = imported(broker, definitions, best_effort=True)
    assert made.applied
    assert set(broker.vhosts["/"].queues) == {"q"}
    assert made.summary()["add"] == 2
    assert [reason for what, reason in errors(made).items() if "binding" in what] == ["there is no queue 'bad'"]


def test_a_queue_that_is_there_cannot_become_another() -> None:
    broker = new_broker()
    imported(broker, {"queues": [QUEUE]})
    made = imported(broker, {"queues": [{**QUEUE, "arguments": {"x-max-length": 5}}]})
    assert "inequivalent arg 'x-max-length'" in errors(made)["queue 'q' in vhost '/'"]


def test_an_entry_that_stands_there_twice_is_refused() -> None:
    assert errors(imported(new_broker(), {"queues": [QUEUE, QUEUE]})) == {"queue 'q'": "it stands there twice"}


def test_what_the_configuration_file_says_is_left_as_it_is() -> None:
    broker = new_broker(User("ann", rabbitmq_hashed("x"), configured_in=frozenset({"/"})))
    broker.configure_policies([Policy("p", "^q", {"max-length": 7})])
    definitions = {
        "users": [{"name": "ann", "password_hash": ""}],
        "permissions": [{"user": "ann", "vhost": "/", "configure": "x"}],
        "policies": [POLICY],
    }
    made = imported(broker, definitions)
    assert set(actions(made).values()) == {"leave"}
    assert broker.vhosts["/"].policies.get("p").definition == {"max-length": 7}


# --------------------------------------------------------------------------------------------------- what changes


def test_a_dry_run_tells_the_difference_and_changes_nothing() -> None:
    broker = new_broker()
    imported(broker, {"queues": [QUEUE], "policies": [POLICY]})
    before = export(broker)
    definitions = {
        "policies": [{**POLICY, "priority": 3}],
        "queues": [{**QUEUE, "name": "other"}],
        "vhosts": [{"name": "/", "description": "new"}],
        "exchanges": [],
    }
    made = imported(broker, definitions, dry_run=True, delete_missing=True)
    assert {(result.what, result.action, result.details) for result in made.results} == {
        ("policy 'p' in vhost '/'", "change", "priority"),
        ("queue 'other' in vhost '/'", "add", ""),
        ("queue 'q' in vhost '/'", "delete", ""),
        ("vhost '/'", "change", "description"),
    }
    assert (made.applied, export(broker)) == (False, before)


def test_nothing_is_deleted_unless_asked() -> None:
    broker = new_broker()
    imported(broker, rabbitmq_definitions())
    before = export(broker)
    imported(
        broker, {**{section: [] for section in ("queues", "users", "vhosts", "bindings")}, "exchanges": [EXCHANGE]}
    )
    assert [one for one in export(broker)["exchanges"] if one["name"] != "x"] == before["exchanges"]
    assert {**export(broker), "exchanges": []} == {**before, "exchanges": []}


def test_what_the_file_does_not_have_is_deleted_if_asked_and_only_of_its_sections() -> None:
    broker = new_broker()
    imported(broker, rabbitmq_definitions())
    definitions = {
        "users": [{"name": "guest", "password_hash": broker.users.user("guest").password.value}],
        "vhosts": [{"name": "/"}],
        "queues": [QUEUE],
        "exchanges": [],
        "bindings": [],
    }
    assert errors(imported(broker, definitions, delete_missing=True)) == {}
    assert [user.name for user in broker.users] == ["guest"]
    assert list(broker.vhosts) == ["/"]
    assert set(broker.vhosts["/"].queues) == {"q", "transient"}  # what is not durable is none of it
    assert not [one for one in export(broker)["exchanges"] if one["durable"]]
    assert broker.parameters.globals  # the file has no section of them


def test_limits_are_those_of_the_file_and_no_others() -> None:
    broker = new_broker()
    imported(broker, rabbitmq_definitions())
    value = {"component": "vhost-limits", "name": "limits", "vhost": VHOST, "value": {"max-connections": 3}}
    user = {"name": "guest", "password_hash": broker.users.user("guest").password.value, "tags": ["administrator"]}
    made = imported(broker, {"parameters": [value], "users": [{**user, "limits": {"max-channels": 9}}]})
    assert {result.details for result in made.results} == {"limits"}
    assert broker.limits.all("vhost_limits") == {VHOST: {"max-connections": 3}}
    imported(broker, {"parameters": [], "users": [user]}, delete_missing=True)
    assert broker.limits.all("vhost_limits") == {}
    assert "guest" not in broker.limits.all("user_limits")


def test_a_binding_may_come_from_an_exchange_that_stands_behind_it() -> None:
    broker = new_broker()
    made = imported(broker, {"bindings": [BINDING], "queues": [QUEUE], "exchanges": [EXCHANGE]})
    assert errors(made) == {}
    assert broker.vhosts["/"].declared_exchanges["x"].exchange.binding_count == 1


def test_everything_may_be_in_a_virtual_host_that_is_new_itself() -> None:
    broker = new_broker()
    entries = {"queues": [QUEUE], "exchanges": [EXCHANGE], "bindings": [BINDING], "policies": [POLICY]}
    moved = {section: [{**entry, "vhost": "new"} for entry in values] for section, values in entries.items()}
    made = imported(broker, {"vhosts": [{"name": "new"}], **moved})
    assert errors(made) == {}
    assert broker.vhosts["new"].declared_exchanges["x"].exchange.binding_count == 1


def test_a_virtual_host_of_which_nothing_is_said_stays_as_it_is() -> None:
    broker = new_broker()
    assert imported(broker, {"vhosts": [{"name": "/"}]}).summary()["same"] == 1
    assert broker.vhosts["/"].description == "Default virtual host"


def test_bindings_are_checked_by_the_rules_of_their_exchange_before_anything_is_done() -> None:
    broker = new_broker()
    hashing = {**EXCHANGE, "type": "x-consistent-hash"}
    made = imported(broker, {"bindings": [BINDING], "queues": [QUEUE], "exchanges": [hashing]})
    assert len(errors(made)) == 1
    assert not broker.vhosts["/"].queues


# ----------------------------------------------------------------------------------- changes in between, and crashes


def steps_until_applying(made: Import) -> Any:
    steps = made.steps()
    while not made.done:
        next(steps)
    return steps


def test_what_cannot_be_after_all_takes_the_rest_back() -> None:
    broker = new_broker()
    imported(broker, {"policies": [POLICY]})
    made = Import(broker, Options())
    definitions = {
        "vhosts": [{"name": "new"}],
        "policies": [{**POLICY, "priority": 5}],
        "queues": [{**QUEUE, "name": "used"}, QUEUE],
    }
    for _ in made.stage_all(definitions):
        pass
    steps = steps_until_applying(made)
    vhost = broker.vhosts["/"]
    while "used" not in vhost.queues:
        next(steps)
    # Two clients come in between: one makes another queue of that name, one uses what is there already.
    vhost.declare_queue("q", None, durable=True, arguments=Table({"x-max-length": 7}))
    for _ in steps:
        pass
    assert not made.applied
    assert "inequivalent arg 'x-max-length'" in errors(made)["queue 'q' in vhost '/'"]
    assert list(broker.vhosts) == ["/"]
    assert list(vhost.queues) == ["q"]
    assert vhost.policies.get("p").priority == 0


def test_an_import_that_was_interrupted_has_changed_nothing_or_is_finished() -> None:
    users = [{"name": f"u{number}", "password_hash": ""} for number in range(120)]
    before, after = {"guest", "old"}, {user["name"] for user in users}
    seen = []
    for crash_at in range(500):
        kept = Kept()
        made = Import(new_broker(definitions=kept), Options(delete_missing=True))
        made.broker.users.add("old", rabbitmq_hashed("x"))
        made.stage("users", users)
        is_over = all(number < crash_at for number, _ in enumerate(made.steps()))
        crashed = restored(kept)
        finish(crashed, unkept(crashed))
        seen.append({user.name for user in crashed.users})
        if is_over:
            break
    assert seen[0] == before
    assert seen[-1] == after
    turned = seen.index(after)
    assert seen == [before] * turned + [after] * (len(seen) - turned)
    assert not [name for kind, name in kept.items if kind == "promise"]


def restored(kept: Kept) -> Broker:
    """What a start makes of what is on disk, as far as it is users."""
    broker = Broker(Users(default_user_loopback_only=True))
    for (kind, name), value in kept.items.items():
        if kind == "user":
            broker.users.restore(name[0], value)
        elif kind == "promise":
            broker.restore_promise(*name, value)
    return broker


def test_a_promise_that_was_not_written_down_whole_is_none() -> None:
    kept = Kept()
    broker = new_broker(definitions=kept)
    made = Import(broker, Options())
    made.stage("users", [{"name": f"u{number}"} for number in range(120)])
    promise = Promise(kept)
    steps = promise.given([(entry, False) for entry in made.entries.values()])
    next(steps)
    broker.promises = {
        promise.number: {name[1]: value for (kind, name), value in kept.items.items() if kind == "promise"}
    }
    assert list(broker.promises[promise.number]) == ["0"]
    assert unkept(broker) == []
    for _ in steps:
        pass
    assert ("promise", (promise.number, WHOLE)) in kept.items
    for _ in promise.kept():
        pass
    assert not [name for kind, name in kept.items if kind == "promise"]
