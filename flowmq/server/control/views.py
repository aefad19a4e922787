"""What is told of each kind of object: tables of columns, with the names that RabbitMQ's management API gives them.

A column is a function of the object. Rates and histories are not made here: whoever samples has them.
"""

import base64
import hashlib
import os
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote_plus

from flowmq._channel import Channel
from flowmq._queue import Consumer
from flowmq._tally import EXCHANGE_COUNTERS, QUEUE_COUNTERS, exchange_counts, head_timestamp, queue_counts
from flowmq.amqp.tables import decode_table
from flowmq.broker.arguments import queue_type
from flowmq.broker.exchanges import DeclaredExchange
from flowmq.broker.names import text
from flowmq.broker.policies import Policy
from flowmq.broker.queues import DeclaredQueue
from flowmq.broker.vhost import VHost
from flowmq.server.certificate_names import summary
from flowmq.server.control.counters import CHANNEL_STATS
from flowmq.server.control.values import plain

if TYPE_CHECKING:
    from flowmq.server.session import Session

NODE_NAME = f"flowmq@{socket.gethostname().partition('.')[0]}"
AT_QUEUE = {name: at for at, name in enumerate(QUEUE_COUNTERS)}
AT_EXCHANGE = {name: at for at, name in enumerate(EXCHANGE_COUNTERS)}


class InVHost(NamedTuple):
    """A queue or an exchange, and where it is."""

    vhost: VHost
    declared: Any


# ------------------------------------------------------------------------------------------------------------ queues


def queue_stats(counts: tuple[int, ...]) -> dict[str, int]:
    at = AT_QUEUE
    stats = {name: counts[at[name]] for name in QUEUE_STATS}
    stats["deliver_get"] = stats["deliver"] + stats["deliver_no_ack"] + stats["get"] + stats["get_no_ack"]
    return stats


QUEUE_STATS = ("publish", "deliver", "deliver_no_ack", "get", "get_no_ack", "get_empty", "redeliver", "ack")


def name_of(policy: Policy | None) -> str | None:
    return None if policy is None else policy.name


def policies_of(found: InVHost) -> tuple[Policy | None, Policy | None]:
    return found.vhost.policies.of_queue(found.declared.name, found.declared.settings.queue_type)


def effective_definition(found: InVHost) -> dict[str, Any]:
    policy, operator_policy = policies_of(found)
    definition = dict(policy.definition) if policy else {}
    for key, value in (operator_policy.definition if operator_policy else {}).items():
        ours = definition.get(key)
        smaller = isinstance(ours, int) and isinstance(value, int)
        definition[key] = min(ours, value) if smaller else value
    return definition


def of_queue(function: Callable[[DeclaredQueue], Any]) -> Callable[[InVHost], Any]:
    return lambda found: function(found.declared)


def exclusive_consumer(declared: DeclaredQueue) -> str | None:
    consumers = declared.queue.consumers if declared.queue.is_exclusively_consumed else ()
    return text(consumers[0].tag) if consumers else None


def active_consumer(declared: DeclaredQueue) -> str | None:
    consumers = declared.queue.consumers if declared.queue.single_active else ()
    return next((text(consumer.tag) for consumer in consumers if consumer.active), None)


def active_consumers(declared: DeclaredQueue) -> int:
    consumers = declared.queue.consumer_count
    return min(consumers, 1) if declared.queue.single_active else consumers


def owner(declared: DeclaredQueue) -> dict[str, Any]:
    session: Any = declared.owner
    return {} if session is None else connection_details(session)


def capacity(declared: DeclaredQueue) -> float:
    """Of its consumers, how large a share could take a message now; nobody measures how that was before."""
    consumers = declared.queue.consumers
    able = sum(not one.prefetch_count or one.unacked_count < one.prefetch_count for one in consumers)
    return able / len(consumers) if consumers else 0


def queue_state(declared: DeclaredQueue) -> str:
    if declared.queue.is_damaged:
        return "damaged"
    return "paused" if declared.queue.paused else "running"


QUEUE_VIEW: dict[str, Callable[[InVHost], Any]] = {
    "name": of_queue(lambda declared: declared.name),
    "vhost": of_queue(lambda declared: declared.vhost_name),
    "type": of_queue(lambda declared: queue_type(declared.arguments)),
    "durable": of_queue(lambda declared: declared.durable),
    "auto_delete": of_queue(lambda declared: declared.auto_delete),
    "exclusive": of_queue(lambda declared: declared.exclusive),
    "arguments": of_queue(lambda declared: plain(declared.arguments)),
    "node": lambda found: NODE_NAME,
    "state": of_queue(queue_state),
    "policy": lambda found: name_of(policies_of(found)[0]),
    "operator_policy": lambda found: name_of(policies_of(found)[1]),
    "effective_policy_definition": effective_definition,
    "messages": of_queue(lambda declared: declared.queue.message_count + declared.queue.unacked_count),
    "messages_ready": of_queue(lambda declared: declared.queue.message_count),
    "messages_unacknowledged": of_queue(lambda declared: declared.queue.unacked_count),
    "messages_delayed": of_queue(lambda declared: declared.queue.aside_count),
    "messages_ram": of_queue(lambda declared: declared.queue.message_count - declared.queue.paged_count),
    "messages_ready_ram": of_queue(lambda declared: declared.queue.message_count - declared.queue.paged_count),
    "messages_unacknowledged_ram": of_queue(lambda declared: declared.queue.unacked_count),
    "messages_paged_out": of_queue(lambda declared: declared.queue.paged_count),
    "message_bytes": of_queue(lambda declared: declared.queue.ready_bytes + declared.queue.unacked_bytes),
    "message_bytes_ready": of_queue(lambda declared: declared.queue.ready_bytes),
    "message_bytes_unacknowledged": of_queue(lambda declared: declared.queue.unacked_bytes),
    "message_bytes_ram": of_queue(lambda declared: declared.queue.ready_bytes - declared.queue.paged_bytes),
    "message_bytes_paged_out": of_queue(lambda declared: declared.queue.paged_bytes),
    "head_message_timestamp": of_queue(lambda declared: head_timestamp(declared.queue)),
    "consumers": of_queue(lambda declared: declared.queue.consumer_count),
    "active_consumers": of_queue(active_consumers),
    "consumer_capacity": of_queue(capacity),
    "consumer_utilisation": of_queue(capacity),
    "exclusive_consumer_tag": of_queue(exclusive_consumer),
    "single_active_consumer_tag": of_queue(active_consumer),
    "owner_pid_details": of_queue(owner),
    "memory": of_queue(lambda declared: declared.queue.ready_bytes - declared.queue.paged_bytes),
    "dead_letters": of_queue(lambda declared: declared.queue.buried_counts),
    "publishes_refused": of_queue(lambda declared: declared.queue.refused_count),
    "message_stats": of_queue(lambda declared: queue_stats(queue_counts(declared.queue))),
}


# --------------------------------------------------------------------------------------------------------- exchanges


def exchange_stats(counts: tuple[int, ...]) -> dict[str, int]:
    names = ("publish_in", "publish_out", "confirm", "return_unroutable", "drop_unroutable")
    return {name: counts[AT_EXCHANGE[name]] for name in names}


def of_exchange(function: Callable[[DeclaredExchange], Any]) -> Callable[[InVHost], Any]:
    return lambda found: function(found.declared)


EXCHANGE_VIEW: dict[str, Callable[[InVHost], Any]] = {
    "name": of_exchange(lambda declared: declared.name),
    "vhost": lambda found: found.vhost.name,
    "type": of_exchange(lambda declared: declared.type),
    "durable": of_exchange(lambda declared: declared.durable),
    "auto_delete": of_exchange(lambda declared: declared.auto_delete),
    "internal": of_exchange(lambda declared: declared.internal),
    "arguments": of_exchange(lambda declared: plain(declared.arguments)),
    "policy": lambda found: name_of(found.vhost.policies.of_exchange(found.declared.name)),
    "user_who_performed_action": lambda found: "",
    "bindings": of_exchange(lambda declared: declared.exchange.binding_count),
    "message_stats": of_exchange(lambda declared: exchange_stats(exchange_counts(declared.exchange))),
}


class Binding(NamedTuple):
    vhost: str
    source: str
    destination: str
    kind: str
    key: str
    match: bytes


def properties_key(binding: Binding) -> str:
    """What names one binding among those between the same two objects."""
    key = quote_plus(binding.key.encode("utf-8", "surrogateescape")).replace("~", "%7E")
    if not binding.match:
        return key or "~"
    digest = hashlib.md5(binding.match, usedforsecurity=False).digest()
    return f"{key}~{base64.urlsafe_b64encode(digest).decode().rstrip('=')}"


BINDING_VIEW: dict[str, Callable[[Binding], Any]] = {
    "source": lambda binding: binding.source,
    "vhost": lambda binding: binding.vhost,
    "destination": lambda binding: binding.destination,
    "destination_type": lambda binding: binding.kind,
    "routing_key": lambda binding: binding.key,
    "arguments": lambda binding: plain(decode_table(binding.match)),
    "properties_key": properties_key,
}


# ------------------------------------------------------------------------------- connections, channels, consumers


def endpoints(session: "Session") -> tuple[str, int, str, int]:
    """Peer's host and port, then ours; as the connection's name has them."""
    peer, _, own = session.name.partition(" -> ")
    return *host_and_port(peer), *host_and_port(own)


def host_and_port(name: str) -> tuple[str, int]:
    host, _, port = name.rpartition(":")
    return host.strip("[]"), int(port) if port.isdigit() else 0


def connection_details(session: "Session") -> dict[str, Any]:
    host, port, _, _ = endpoints(session)
    return {"name": session.name, "peer_host": host, "peer_port": port}


def connection_state(session: "Session") -> str:
    if session.connection.closing:
        return "closing"
    if not session.was_open:
        return "opening"
    if not session.connection.is_reading:
        return "blocked" if session in session.node.alarms.blocked else "flow"
    return "running"


def of_transport(session: "Session", name: str) -> Any:
    transport = session.connection.transport
    return None if transport is None else transport.get_extra_info(name)


def is_encrypted(session: "Session") -> bool:
    return of_transport(session, "ssl_object") is not None


def cipher(session: "Session") -> tuple[str | None, str | None]:
    """Protocol and cipher of TLS."""
    found = of_transport(session, "ssl_object")
    names = found.cipher() if found is not None else None
    return (None, None) if not names else (str(found.version()), str(names[0]))


def peer_certificate(session: "Session") -> tuple[str | None, str | None, str | None]:
    """Subject, issuer and validity of what the client has shown."""
    found = of_transport(session, "ssl_object")
    shown = None if found is None else found.getpeercert(binary_form=True)
    return (None, None, None) if not shown else summary(shown)


CONNECTION_VIEW: dict[str, Callable[["Session"], Any]] = {
    "name": lambda session: session.name,
    "node": lambda session: NODE_NAME,
    "user": lambda session: session.user_name,
    "user_who_performed_action": lambda session: session.user_name,
    "vhost": lambda session: "" if session.vhost is None else session.vhost.name,
    "user_provided_name": lambda session: plain(session.client_properties.get("connection_name")) or "",
    "client_properties": lambda session: plain(session.client_properties),
    "state": connection_state,
    "type": lambda session: "network",
    "protocol": lambda session: "AMQP 0-9-1",
    "auth_mechanism": lambda session: session.mechanism,
    "channels": lambda session: len(session.connection.channels),
    "channel_max": lambda session: session.channel_max,
    "frame_max": lambda session: session.frame_max,
    "timeout": lambda session: session.heartbeat_seconds,
    "connected_at": lambda session: session.opened_at_ms,
    "peer_host": lambda session: endpoints(session)[0],
    "peer_port": lambda session: endpoints(session)[1],
    "host": lambda session: endpoints(session)[2],
    "port": lambda session: endpoints(session)[3],
    "recv_oct": lambda session: session.connection.received_bytes,
    "recv_cnt": lambda session: session.connection.reads,
    "send_oct": lambda session: session.connection.sent_bytes,
    "send_cnt": lambda session: session.connection.writes,
    "send_pend": lambda session: session.connection.outgoing_bytes,
    "ssl": is_encrypted,
    "ssl_protocol": lambda session: cipher(session)[0],
    "ssl_cipher": lambda session: cipher(session)[1],
    "peer_cert_subject": lambda session: peer_certificate(session)[0],
    "peer_cert_issuer": lambda session: peer_certificate(session)[1],
    "peer_cert_validity": lambda session: peer_certificate(session)[2],
}


class OpenChannel(NamedTuple):
    session: "Session"
    channel: Channel


def channel_name(session: "Session", channel: Channel) -> str:
    return f"{session.name} ({channel.number})"


def channel_counts(channel: Channel) -> list[int]:
    """As CHANNEL_STATS names them.

    How often acknowledged and redelivered is counted by queues alone: it would cost something per message.
    """
    ledger, got = channel.ledger, channel.get_count + channel.get_no_ack_count
    consumers = list(channel.consumers.values())
    automatic = channel.automatic_before + sum(one.delivered for one in consumers if one.no_ack)
    delivered = channel.next_delivery_tag - 1  # got included
    return [
        channel.published_count,
        0 if ledger is None else ledger.last_sequence - ledger.unconfirmed,
        *(channel.returned_count, channel.dropped_count),
        *(delivered - got - automatic, automatic),
        *(channel.get_count, channel.get_no_ack_count, channel.get_empty_count),
        delivered,
    ]


CHANNEL_VIEW: dict[str, Callable[[OpenChannel], Any]] = {
    "name": lambda found: channel_name(*found),
    "number": lambda found: found.channel.number,
    "node": lambda found: NODE_NAME,
    "vhost": lambda found: CONNECTION_VIEW["vhost"](found.session),
    "user": lambda found: found.session.user_name,
    "user_who_performed_action": lambda found: found.session.user_name,
    "connection_details": lambda found: connection_details(found.session),
    "state": lambda found: "closing" if found.channel.closing else "running",
    "consumer_count": lambda found: len(found.channel.consumers),
    "prefetch_count": lambda found: found.channel.prefetch_count,
    "global_prefetch_count": lambda found: found.channel.global_prefetch_count,
    "messages_unacknowledged": lambda found: found.channel.unacked_count,
    "messages_unconfirmed": lambda found: found.channel.ledger.unconfirmed if found.channel.ledger else 0,
    "messages_uncommitted": lambda found: 0,
    "acks_uncommitted": lambda found: 0,
    "confirm": lambda found: found.channel.confirming,
    "transactional": lambda found: found.channel.transactional,
    "message_stats": lambda found: dict(zip(CHANNEL_STATS, channel_counts(found.channel), strict=True)),
}


class RunningConsumer(NamedTuple):
    vhost: VHost
    declared: DeclaredQueue
    consumer: Consumer


def channel_details(consumer: Consumer) -> dict[str, Any]:
    channel: Any = consumer.outlet
    session: Session = channel.peer.session
    return {
        "name": channel_name(session, channel),
        "number": channel.number,
        "node": NODE_NAME,
        "user": session.user_name,
        "connection_name": session.name,
        **{name: value for name, value in connection_details(session).items() if name != "name"},
    }


def activity(found: RunningConsumer) -> str:
    if found.declared.queue.paused:
        return "paused"
    if found.consumer.active:
        return "up"
    return "waiting" if found.declared.queue.single_active else "starting"


def consumer_timeout_ms(found: RunningConsumer) -> int:
    """For how long it may hold a message; 0 is for ever."""
    return int(found.consumer.timeout_ms or found.declared.settings.consumer_timeout_ms or 0)


CONSUMER_VIEW: dict[str, Callable[[RunningConsumer], Any]] = {
    "consumer_tag": lambda found: text(found.consumer.tag),
    "queue": lambda found: {"name": found.declared.name, "vhost": found.vhost.name},
    "channel_details": lambda found: channel_details(found.consumer),
    "ack_required": lambda found: not found.consumer.no_ack,
    "exclusive": lambda found: found.consumer.exclusive,
    "prefetch_count": lambda found: found.consumer.prefetch_count,
    "consumer_timeout": consumer_timeout_ms,
    "priority": lambda found: found.consumer.priority,
    "active": lambda found: found.consumer.active,
    "activity_status": activity,
    "arguments": lambda found: plain(dict(found.consumer.arguments)),
    "messages_unacknowledged": lambda found: found.consumer.unacked_count,
    "delivered": lambda found: found.consumer.delivered,
}


# ------------------------------------------------------------------------------------------------------- the process


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))
