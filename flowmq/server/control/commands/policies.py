"""policy.*: policies and operator policies. A change is answered when it has come to everything that it concerns."""

import asyncio
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from flowmq.broker.policies import OPERATOR_POLICY, POLICY, Policy
from flowmq.broker.vhost import VHost
from flowmq.server.control.commands.exchanges import hosts_of
from flowmq.server.control.registry import Arguments, command, not_found

if TYPE_CHECKING:
    from flowmq.server.node import Node


class Policies(Arguments):
    vhosts: list[str] | None = None
    operator: bool = False


class PolicyName(Arguments):
    name: str
    vhost: str = "/"
    operator: bool = False


class SetPolicy(PolicyName, kw_only=True):
    pattern: str
    definition: dict[str, Any]
    apply_to: str = "all"
    priority: int = 0


def kind_of(operator: bool) -> str:
    return OPERATOR_POLICY if operator else POLICY


def row(policy: Policy) -> dict[str, Any]:
    return {
        "vhost": policy.vhost,
        "name": policy.name,
        "pattern": policy.pattern,
        "apply-to": policy.apply_to,
        "definition": dict(policy.definition),
        "priority": policy.priority,
    }


def host_named(node: "Node", name: str) -> VHost:
    host = node.broker.vhosts.get(name)
    if host is None:
        raise not_found(f"vhost '{name}' not found")
    return host


@command("policy.list", Policies)
def list_policies(node: "Node", asked: Policies) -> Iterator[Any]:
    """Policies, or operator policies."""
    for host in hosts_of(node, asked.vhosts):
        for policy in host.policies.in_force(kind_of(asked.operator)):
            yield row(policy)


@command("policy.show", PolicyName)
def show_policy(node: "Node", asked: PolicyName) -> dict[str, Any]:
    """One policy."""
    policy = host_named(node, asked.vhost).policies.get(asked.name, kind_of(asked.operator))
    if policy is None:
        raise not_found(f"no policy '{asked.name}' in vhost '{asked.vhost}'")
    return row(policy)


async def finished(host: VHost) -> None:
    """Others do it, a little in each turn."""
    while host.policies.unfinished:
        await asyncio.sleep(0)


@command("policy.set", SetPolicy)
async def set_policy(node: "Node", asked: SetPolicy) -> dict[str, bool]:
    """Set a policy; says whether it is a new one."""
    host = host_named(node, asked.vhost)
    existed = host.policies.get(asked.name, kind_of(asked.operator)) is not None
    host.policies.set(
        Policy(
            asked.name,
            asked.pattern,
            asked.definition,
            vhost=asked.vhost,
            apply_to=asked.apply_to,
            priority=asked.priority,
            operator=asked.operator,
        )
    )
    await finished(host)
    return {"created": not existed}


@command("policy.delete", PolicyName)
async def delete_policy(node: "Node", asked: PolicyName) -> None:
    """Delete a policy."""
    host = host_named(node, asked.vhost)
    if not host.policies.delete(asked.name, kind_of(asked.operator)):
        raise not_found(f"no policy '{asked.name}' in vhost '{asked.vhost}'")
    await finished(host)
