"""The verbs of flowmq ctl that need no more than a row: the command behind each, its arguments, and what is shown."""

from collections.abc import Mapping
from typing import Any, NamedTuple


class Verb(NamedTuple):
    """`columns` are shown of rows, and others may be named; without any, an answer is shown as names and values."""

    command: str
    help: str
    positional: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    fixed: Mapping[str, Any] = {}
    vhost: str = ""  # ONE or SOME: what the command calls it; "" where there is none
    options: Mapping[str, Any] = {}  # --name: its type, a flag when it is bool
    chooses: bool = False  # does the command take the columns to tell?


QUEUE_OPTIONS = {"if_empty": bool, "if_unused": bool}
POLICY = ("name", "pattern", "definition")
POLICY_OPTIONS = {"priority": int, "apply_to": str}
POLICY_COLUMNS = ("vhost", "name", "pattern", "apply-to", "definition", "priority")
PATTERNS = ("configure", "write", "read")
BINDING_COLUMNS = ("source", "destination", "destination_type", "routing_key", "arguments")
CONNECTION_COLUMNS = ("user", "peer_host", "peer_port", "state")
CHANNEL_COLUMNS = ("name", "user", "consumer_count", "messages_unacknowledged")
CONSUMER_COLUMNS = ("queue", "channel_details", "consumer_tag", "ack_required", "prefetch_count", "active", "arguments")
UNACKED_COLUMNS = ("queue", "delivery_tag", "consumer_tag", "connection", "age_ms", "delivery_count")
MOVE_OPTIONS = {"limit": int, "per_second": int, "routing_key": str, "body": str}
ONE, SOME = "vhost", "vhosts"
OPERATOR = {"operator": True}

VERBS: dict[str, Verb] = {
    "list_queues": Verb("queue.list", "Queues.", columns=("name", "messages"), vhost=SOME, chooses=True),
    "list_exchanges": Verb("exchange.list", "Exchanges.", columns=("name", "type"), vhost=SOME, chooses=True),
    "list_bindings": Verb("binding.list", "Bindings.", columns=BINDING_COLUMNS, vhost=SOME, chooses=True),
    "list_connections": Verb("connection.list", "Connections.", columns=CONNECTION_COLUMNS, chooses=True),
    "list_channels": Verb("channel.list", "Channels.", columns=CHANNEL_COLUMNS, chooses=True),
    "list_consumers": Verb("consumer.list", "Consumers.", columns=CONSUMER_COLUMNS, vhost=SOME, chooses=True),
    "list_users": Verb("user.list", "Users.", columns=("name", "tags")),
    "list_vhosts": Verb("vhost.list", "Virtual hosts.", columns=("name",)),
    "list_permissions": Verb("permission.list", "Permissions.", columns=("user", *PATTERNS), vhost=ONE),
    "list_user_permissions": Verb("permission.list", "What a user may do.", ("user",), ("vhost", *PATTERNS)),
    "list_topic_permissions": Verb(
        "topic_permission.list", "Topic permissions.", columns=("user", "exchange", "write", "read"), vhost=ONE
    ),
    "list_policies": Verb("policy.list", "Policies.", columns=POLICY_COLUMNS, vhost=SOME),
    "list_operator_policies": Verb(
        "policy.list", "Operator policies.", columns=POLICY_COLUMNS, fixed=OPERATOR, vhost=SOME
    ),
    "list_unacked": Verb("message.unacked", "Messages that consumers hold.", columns=UNACKED_COLUMNS, vhost=ONE),
    "list_refused_publishes": Verb(
        "queue.refusals", "Why publishes were refused.", columns=("queue", "exchange", "reason", "count"), vhost=SOME
    ),
    "listeners": Verb("node.listeners", "Where the broker listens.", columns=("protocol", "ip_address", "port")),
    "status": Verb("node.status", "The broker process."),
    "ping": Verb("node.ping", "Does the broker answer?"),
    "stop": Verb("node.stop", "End the broker, as SIGTERM does."),
    "set_log_level": Verb("node.set_log_level", "How much is logged from now on.", ("level",)),
    "delete_user": Verb("user.delete", "Delete a user.", ("name",)),
    "add_vhost": Verb("vhost.add", "Add a virtual host.", ("name",), options={"description": str}),
    "delete_vhost": Verb("vhost.delete", "Delete a virtual host and everything in it.", ("name",)),
    "set_permissions": Verb("permission.set", "What a user may do.", ("user", *PATTERNS), vhost=ONE),
    "clear_permissions": Verb("permission.clear", "Take a user's permissions away.", ("user",), vhost=ONE),
    "set_topic_permissions": Verb(
        "topic_permission.set",
        "To which topics a user may publish and bind.",
        ("user", "exchange", "write", "read"),
        vhost=ONE,
    ),
    "clear_topic_permissions": Verb(
        "topic_permission.clear", "Take a user's topic permissions away.", ("user",), vhost=ONE
    ),
    "set_policy": Verb("policy.set", "Set a policy.", POLICY, vhost=ONE, options=POLICY_OPTIONS),
    "clear_policy": Verb("policy.delete", "Delete a policy.", ("name",), vhost=ONE),
    "set_operator_policy": Verb(
        "policy.set", "Set an operator policy.", POLICY, fixed=OPERATOR, vhost=ONE, options=POLICY_OPTIONS
    ),
    "clear_operator_policy": Verb("policy.delete", "Delete an operator policy.", ("name",), fixed=OPERATOR, vhost=ONE),
    "purge_queue": Verb("queue.purge", "Drop every ready message.", ("name",), vhost=ONE),
    "delete_queue": Verb("queue.delete", "Delete a queue.", ("name",), vhost=ONE, options=QUEUE_OPTIONS),
    "pause_queue": Verb("queue.pause", "Consumers get nothing until it is resumed.", ("name",), vhost=ONE),
    "resume_queue": Verb("queue.resume", "Consumers get messages again.", ("name",), vhost=ONE),
    "close_connection": Verb("connection.close", "Close a connection.", ("name", "reason")),
    "move_messages": Verb(
        "message.move", "Move messages to another queue.", ("name", "to_queue"), vhost=ONE, options=MOVE_OPTIONS
    ),
    "replay_dead_letters": Verb(
        "message.move",
        "Move dead letters back to where they came from.",
        ("name",),
        fixed={"back": True},
        vhost=ONE,
        options=MOVE_OPTIONS,
    ),
}
