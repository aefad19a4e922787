"""definitions.*: everything that is declared, as RabbitMQ's definition files have it; told, and taken.

A file crosses the socket in portions of one kind (server/definitions.py), so that the loop is never held by a long
one, and who sends it sees how far it is. What is there and the same is left alone; nothing is deleted.
"""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Literal

from flowmq.amqp.errors import AMQPError
from flowmq.broker.passwords import from_hash
from flowmq.broker.permissions import AccessError, Permission, TopicPermission
from flowmq.broker.policies import OPERATOR_POLICY, POLICY, Policy
from flowmq.broker.policy_keys import PolicyError
from flowmq.broker.vhost import VHost
from flowmq.server.control.commands.exchanges import Bindings, bindings_of, exchanges_of
from flowmq.server.control.commands.policies import row as policy_row
from flowmq.server.control.commands.queues import queues_of
from flowmq.server.control.registry import (
    NOT_FOUND,
    Arguments,
    ControlError,
    as_control_error,
    bad_request,
    command,
    not_found,
)
from flowmq.server.control.values import plain, table
from flowmq.server.control.views import BINDING_VIEW

if TYPE_CHECKING:
    from flowmq.server.node import Node

Object = dict[str, Any]
NEW, CHANGED, SAME = "new", "changed", "same"
OBJECTS_MAX = 500
EXCHANGE_COLUMNS = ("name", "vhost", "type", "durable", "auto_delete", "internal", "arguments")
OPERATOR_COMPONENT = "operator_policy"
Kind = Literal[
    "vhosts",
    "users",
    "permissions",
    "topic_permissions",
    "parameters",
    "policies",
    "exchanges",
    "queues",
    "bindings",
]


# ----------------------------------------------------------------------------------------------------------- telling


class Which(Arguments):
    vhost: str | None = None


@command("definitions.export", Which)
def export(node: "Node", asked: Which) -> Iterator[Any]:
    """Everything that is declared, or what is in one virtual host: rows of [kind, object]."""
    if asked.vhost is not None and asked.vhost not in node.broker.vhosts:
        raise not_found(f"vhost '{asked.vhost}' not found")
    return exported(node, asked.vhost)


def exported(node: "Node", vhost: str | None) -> Iterator[Any]:
    if vhost is None:
        yield from ((kind, found) for kind, found in access(node))
    vhosts = None if vhost is None else [vhost]
    for host in [host for host in node.broker.vhosts.values() if vhost in (None, host.name)]:
        for policy in host.policies.in_force(POLICY):
            yield "policies", policy_row(policy)
        for policy in host.policies.in_force(OPERATOR_POLICY):
            value = {**policy_row(policy)}
            del value["vhost"], value["name"]
            yield (
                "parameters",
                {"vhost": host.name, "component": OPERATOR_COMPONENT, "name": policy.name, "value": value},
            )
    for found in queues_of(node, vhosts):
        declared = found.declared
        if not declared.exclusive:
            yield (
                "queues",
                {
                    "name": declared.name,
                    "vhost": found.vhost.name,
                    "durable": declared.durable,
                    "auto_delete": declared.auto_delete,
                    "arguments": plain(declared.arguments),
                },
            )
    for found in exchanges_of(node, vhosts):
        declared = found.declared
        if declared.name and not declared.name.startswith("amq."):
            values = {name: plain(getattr(declared, name)) for name in EXCHANGE_COLUMNS if name != "vhost"}
            yield "exchanges", {**values, "vhost": found.vhost.name}
    for host in [host for host in node.broker.vhosts.values() if vhost in (None, host.name)]:
        for binding in bindings_of(host, Bindings()):
            if binding.source and not is_exclusive(host, binding.kind, binding.destination):
                yield "bindings", {name: BINDING_VIEW[name](binding) for name in BINDING_COLUMNS}


BINDING_COLUMNS = ("source", "vhost", "destination", "destination_type", "routing_key", "arguments")


def is_exclusive(host: VHost, kind: str, name: str) -> bool:
    queue = host.queues.get(name) if kind == "queue" else None
    return queue is not None and queue.exclusive


def access(node: "Node") -> Iterator[tuple[str, Object]]:
    """Users that the configuration file sets are its business."""
    for user in list(node.broker.users):
        if not user.is_configured:
            yield (
                "users",
                {
                    "name": user.name,
                    "password_hash": user.password.value,
                    "hashing_algorithm": user.password.algorithm,
                    "tags": list(user.tags),
                    "limits": {},
                },
            )
    for host in list(node.broker.vhosts.values()):
        described = {"description": host.description, "tags": list(host.tags)}
        yield "vhosts", {"name": host.name, **described, "metadata": described}
    for user in list(node.broker.users):
        for vhost, permission in list(user.permissions.items()):
            patterns = {name: getattr(permission, name) for name in ("configure", "write", "read")}
            yield "permissions", {"user": user.name, "vhost": vhost, **patterns}
        for vhost, topics in list(user.topic_permissions.items()):
            for exchange, topic in list(topics.items()):
                patterns = {"exchange": exchange, "write": topic.write, "read": topic.read}
                yield "topic_permissions", {"user": user.name, "vhost": vhost, **patterns}


# ------------------------------------------------------------------------------------------------------------ taking


class Portion(Arguments, kw_only=True):
    """Objects of one kind, each as it stands in a file; those before which others must be come later."""

    kind: Kind
    objects: list[dict[str, Any]]
    dry_run: bool = False


@command("definitions.apply", Portion)
def apply(node: "Node", asked: Portion) -> list[dict[str, Any]]:
    """Make these objects be there; says of each whether it is new, changed, the same, or what is wrong with it."""
    if len(asked.objects) > OBJECTS_MAX:
        raise bad_request(f"objects: at most {OBJECTS_MAX} at a time")
    return [applied(node, asked, found) for found in asked.objects]


def applied(node: "Node", asked: Portion, found: Object) -> dict[str, Any]:
    told = {"kind": asked.kind, "name": title(found)}
    try:
        state = KINDS[asked.kind](node, found, asked.dry_run)
    except (KeyError, TypeError, ValueError, AMQPError, AccessError, PolicyError, ControlError) as error:
        known = as_control_error(error)
        reason = known.reason if known is not None else f"{type(error).__name__}: {error}"
        return {**told, "error": reason}
    return {**told, "state": state}


def title(found: Object) -> str:
    if "source" in found:
        return f"{found.get('source')} -> {found.get('destination')} in {found.get('vhost')}"
    name = found.get("name", found.get("user"))
    return f"{name} in {found['vhost']}" if "vhost" in found else str(name)


def host_of(node: "Node", found: Object, *, dry_run: bool) -> VHost | None:
    """None when it would have been made before this, were it no dry run."""
    host = node.broker.vhosts.get(found["vhost"])
    if host is None and not dry_run:
        raise ControlError(NOT_FOUND, f"vhost '{found['vhost']}' not found")
    return host


def apply_vhost(node: "Node", found: Object, dry_run: bool) -> str:
    metadata = found.get("metadata") or {}
    description = found.get("description") or metadata.get("description") or ""
    tags = found.get("tags") or metadata.get("tags") or []
    host = node.broker.vhosts.get(found["name"])
    if host is None:
        if not dry_run:
            node.broker.create_vhost(found["name"], description=description, tags=tags)
        return NEW
    if (description, tuple(tags)) == (host.description, host.tags) or not (description or tags):
        return SAME
    if not dry_run:
        node.broker.describe_vhost(found["name"], description=description, tags=tags)
    return CHANGED


def apply_user(node: "Node", found: Object, dry_run: bool) -> str:
    name, users = found["name"], node.broker.users
    tags = found.get("tags", [])
    tags = [tag for tag in tags.split(",") if tag] if isinstance(tags, str) else tags
    password = from_hash(found.get("password_hash") or "", found.get("hashing_algorithm") or "")
    if name not in users:
        if not dry_run:
            users.add(name, password, tags)
        return NEW
    user = users.user(name)
    if user.password == password and user.tags == tuple(tags):
        return SAME
    if not dry_run:
        users.set_password(name, password)
        users.set_tags(name, tags)
    return CHANGED


def apply_permission(node: "Node", found: Object, dry_run: bool) -> str:
    permission = Permission(found["configure"], found["write"], found["read"])
    user = node.broker.users.by_name.get(found["user"])
    before = None if user is None else user.permissions.get(found["vhost"])
    if before != permission and not dry_run:
        node.broker.set_permission(found["user"], found["vhost"], permission)
    return state_of(before, permission)


def apply_topic_permission(node: "Node", found: Object, dry_run: bool) -> str:
    permission = TopicPermission(found["write"], found["read"])
    user = node.broker.users.by_name.get(found["user"])
    before = None if user is None else user.topic_permissions.get(found["vhost"], {}).get(found["exchange"])
    if before != permission and not dry_run:
        node.broker.set_topic_permission(found["user"], found["vhost"], found["exchange"], permission)
    return state_of(before, permission)


def state_of(before: object, after: object) -> str:
    if before is None:
        return NEW
    return SAME if before == after else CHANGED


def apply_policy(node: "Node", found: Object, dry_run: bool, *, operator: bool = False) -> str:
    policy = Policy(
        found["name"],
        found["pattern"],
        found["definition"],
        vhost=found["vhost"],
        apply_to=found.get("apply-to", "all"),
        priority=found.get("priority", 0),
        operator=operator,
    )
    host = host_of(node, found, dry_run=dry_run)
    before = None if host is None else host.policies.get(policy.name, policy.kind)
    if host is not None and before != policy and not dry_run:
        host.policies.set(policy)
    return state_of(before, policy)


def apply_parameter(node: "Node", found: Object, dry_run: bool) -> str:
    if found["component"] != OPERATOR_COMPONENT:
        raise bad_request(f"parameters of {found['component']} are not supported")
    value = {**found["value"], "vhost": found["vhost"], "name": found["name"]}
    return apply_policy(node, value, dry_run, operator=True)


def apply_exchange(node: "Node", found: Object, dry_run: bool) -> str:
    host = host_of(node, found, dry_run=dry_run)
    existing = None if host is None else host.declared_exchanges.get(found["name"])
    if host is None or (dry_run and existing is None):
        return NEW
    host.declare_exchange(
        found["name"],
        found["type"],
        durable=found.get("durable", True),
        auto_delete=found.get("auto_delete", False),
        internal=found.get("internal", False),
        arguments=table(found.get("arguments") or {}),
    )
    return NEW if existing is None else SAME


def apply_queue(node: "Node", found: Object, dry_run: bool) -> str:
    host = host_of(node, found, dry_run=dry_run)
    existing = None if host is None else host.queues.get(found["name"])
    if host is None or (dry_run and existing is None):
        return NEW
    host.declare_queue(
        found["name"],
        None,
        durable=found.get("durable", True),
        exclusive=False,
        auto_delete=found.get("auto_delete", False),
        arguments=table(found.get("arguments") or {}),
    )
    return NEW if existing is None else SAME


def apply_binding(node: "Node", found: Object, dry_run: bool) -> str:
    host = host_of(node, found, dry_run=dry_run)
    arguments = table(found.get("arguments") or {})
    key, kind = found.get("routing_key", ""), found.get("destination_type", "queue")
    if host is None:
        return NEW
    wanted = Bindings(source=found["source"], destination=found["destination"], destination_type=kind)
    same = [one for one in bindings_of(host, wanted) if one.key == key]
    if any(BINDING_VIEW["arguments"](one) == plain(arguments) for one in same):
        return SAME
    if dry_run:
        return NEW
    if kind == "exchange":
        host.bind_exchange(found["destination"], found["source"], key, arguments)
    else:
        host.bind_queue(host.queue(found["destination"], None), found["source"], key, arguments)
    return NEW


KINDS: dict[str, Callable[["Node", Object, bool], str]] = {
    "vhosts": apply_vhost,
    "users": apply_user,
    "permissions": apply_permission,
    "topic_permissions": apply_topic_permission,
    "parameters": apply_parameter,
    "policies": apply_policy,
    "exchanges": apply_exchange,
    "queues": apply_queue,
    "bindings": apply_binding,
}
