"""All that a broker has been told, as entries of definitions; RabbitMQ reads the file that is made of them.

Left out: what the configuration file says, exclusive queues, and what every virtual host has.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from flowmq import __version__
from flowmq._queue import Queue
from flowmq.broker.definition_access import PermissionEntry, TopicPermissionEntry, UserEntry, VHostEntry
from flowmq.broker.definition_entries import Entry
from flowmq.broker.definition_limits import VHostLimitsEntry
from flowmq.broker.definition_policies import GlobalParameterEntry, OperatorPolicyEntry, ParameterEntry, PolicyEntry
from flowmq.broker.definition_topology import EXCHANGE, QUEUE, BindingEntry, ExchangeEntry, QueueEntry
from flowmq.broker.exchanges import PREDECLARED
from flowmq.broker.limits import VHOST_LIMITS
from flowmq.broker.names import text
from flowmq.broker.passwords import RABBITMQ_HASHES
from flowmq.broker.policies import OPERATOR_POLICY, POLICY
from flowmq.broker.shovels import shown

if TYPE_CHECKING:
    from flowmq.broker.broker import Broker
    from flowmq.broker.users import User
    from flowmq.broker.vhost import VHost

RABBITMQ_VERSION = "3.10.0"  # whose format it is
SECTION_OF = {kind.SECTION: ParameterEntry.SECTION for kind in (OperatorPolicyEntry, VHostLimitsEntry)}
SECTIONS = (
    *("users", "vhosts", "permissions", "topic_permissions", "parameters", "global_parameters", "policies"),
    *("queues", "exchanges", "bindings"),
)
SECTIONS_OF_A_VHOST = ("parameters", "policies", "queues", "exchanges", "bindings")


def header(vhost: str | None) -> dict[str, Any]:
    """What a file says of itself, and its sections, empty."""
    said = {
        "rabbit_version": RABBITMQ_VERSION,
        "rabbitmq_version": RABBITMQ_VERSION,
        "product_name": "FlowMQ",
        "product_version": __version__,
    }
    sections: tuple[str, ...] = SECTIONS if vhost is None else SECTIONS_OF_A_VHOST
    return {**said, **{section: [] for section in sections}}


def exported(
    broker: "Broker", vhost: str | None, *, for_rabbitmq: bool, with_passwords: bool = True
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Sections and what stands in them. `for_rabbitmq`: without hashes of passwords that it does not know;
    `with_passwords`: those in the URIs of shovels."""
    for entry in entries_of(broker, vhost):
        if for_rabbitmq and isinstance(entry, UserEntry) and entry.hashing_algorithm not in ("", *RABBITMQ_HASHES):
            entry.password_hash = entry.hashing_algorithm = ""
        if not with_passwords and isinstance(entry, ParameterEntry):
            entry.value = shown(entry.value)
        yield SECTION_OF.get(entry.SECTION, entry.SECTION), entry.as_entry(with_vhost=vhost is None)


def entries_of(broker: "Broker", vhost: str | None = None, *, durable_only: bool = False) -> Iterator[Entry]:
    """Of everything, or of one virtual host. What changes while this is iterated over may be in it or not."""
    if vhost is not None:
        yield from entries_in(broker, broker.existing_vhost(vhost), durable_only=durable_only)
        return
    users = [user for user in broker.users if not user.is_configured]
    yield from (found for user in users if (found := UserEntry(name=user.name).found(broker)) is not None)
    hosts = list(broker.vhosts.values())
    for host in hosts:
        yield VHostEntry.of(host)
    for user in users:
        yield from permissions_of(user)
    for name, value in list(broker.parameters.globals.items()):
        yield GlobalParameterEntry(name=name, value=value)
    for host in hosts:
        yield from entries_in(broker, host, durable_only=durable_only)


def permissions_of(user: "User") -> Iterator[Entry]:
    for vhost, granted in list(user.permissions.items()):
        yield PermissionEntry(
            user=user.name, vhost=vhost, configure=granted.configure, write=granted.write, read=granted.read
        )
    for vhost, exchanges in list(user.topic_permissions.items()):
        for exchange, topic in list(exchanges.items()):
            yield TopicPermissionEntry(
                user=user.name, vhost=vhost, exchange=exchange, write=topic.write, read=topic.read
            )


def entries_in(broker: "Broker", host: "VHost", *, durable_only: bool) -> Iterator[Entry]:
    for component, name, value in broker.parameters.of_vhost(host.name):
        yield ParameterEntry(vhost=host.name, component=component, name=name, value=value)
    limits = broker.limits.all(VHOST_LIMITS).get(host.name)
    if limits:
        yield VHostLimitsEntry(vhost=host.name, value=limits)
    for policy in list(host.policies.sets[POLICY].stored.values()):
        yield PolicyEntry.of(policy)
    for policy in list(host.policies.sets[OPERATOR_POLICY].stored.values()):
        yield OperatorPolicyEntry.of(policy)
    exchanges = [declared for declared in host.declared_exchanges.values() if declared.name]
    for declared in exchanges:
        if declared.name not in PREDECLARED and (declared.durable or not durable_only):
            yield ExchangeEntry.of(host.name, declared)
    for queue in list(host.queues.values()):
        if queue.owner is None and (queue.durable or not durable_only):
            yield QueueEntry.of(queue)
    for declared in exchanges:
        source = declared.exchange
        for target in source.targets():
            kind, name = (QUEUE if isinstance(target, Queue) else EXCHANGE), text(target.name)
            if not is_told(host, kind, name, durable_only=durable_only):
                continue
            for key, match in source.bindings_to(target):
                yield BindingEntry.of(host.name, declared.name, kind, name, text(key), match)


def is_told(host: "VHost", kind: str, name: str, *, durable_only: bool) -> bool:
    """Not a binding to what somebody has to themselves, or to what is gone."""
    if kind == EXCHANGE:
        exchange = host.declared_exchanges.get(name)
        return exchange is not None and (exchange.durable or not durable_only)
    queue = host.queues.get(name)
    return queue is not None and queue.owner is None and (queue.durable or not durable_only)
