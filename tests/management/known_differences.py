"""Where FlowMQ answers otherwise than RabbitMQ 3.10, each with its reason. Whatever is not here must be the same."""

import re
from typing import NamedTuple


class Difference(NamedTuple):
    """Of keys: two patterns, for the request and for the whole path of the key."""

    request: str
    key: str
    reason: str


# Of a request, the status here.
STATUSES = {
    "GET queues/shop/jobs as viewer:secret": (200, "who may see a queue in lists may see it alone"),
    "GET queues/told as viewer:secret": (200, "likewise"),
    "GET nodes/nothing": (404, "RabbitMQ fails"),
    "GET definitions/nowhere": (404, "as everywhere else"),
    "GET queues?lengths_age=x": (400, "what is no number is refused"),
    "POST bindings/shop/e/orders/q/jobs {'routing_key': 1}": (400, "a routing key is a text"),
    "POST bindings/shop/e/orders/x/jobs {}": (404, "RabbitMQ fails"),
    "POST exchanges/nowhere/orders/publish {'properties': {}, 'payload': 'text', 'payload_encoding': 'string',"
    " 'routing_key': 'a'}": (404, "as everywhere else"),
    "POST exchanges/shop/orders/publish {'routing_key': 'a', 'payload': 'x', 'payload_encoding': 'string'}": (
        *(200, "properties may be left out"),
    ),
    "POST queues/shop/log/get {'count': 5, 'encoding': 'auto', 'ackmode': 'perhaps'}": (400, "RabbitMQ fails"),
    "POST queues/shop/log/get {'count': 1, 'encoding': 'auto', 'requeue': 'true'}": (
        *(200, "what clients of older versions send is understood"),
    ),
    "PUT users/odd {'password': 'x', 'tags': [1]}": (400, "a tag is a text"),
    "DELETE vhost-limits/nowhere/max-queues": (404, "RabbitMQ fails"),
    "POST definitions/shop {'queues': [{'name': 'jobs', 'durable': False, 'auto_delete': False, 'arguments': {}}]}": (
        *(400, "what cannot be is refused as a whole; RabbitMQ leaves it out without a word"),
    ),
}

KEYS = [
    Difference(
        ".*",
        r"(.*\.)?(reductions(_details(\.rate)?)?|garbage_collection(\..*)?|backing_queue_status(\..*)?)",
        "says how an Erlang process fares",
    ),
    Difference(".*", r"(.*\.)?(recoverable_slaves|pending_raft_commands|ra_open_file_metrics(\..*)?)", "of clusters"),
    Difference(".*", r"(.*\.)?metrics_gc_queue_length\..*", "of RabbitMQ's statistics"),
    Difference(".*", r"(.*\.)?(cowboy_opts|ssl_opts|socket_opts\..*|ssl_opts\[\])", "of its web server"),
    Difference("GET nodes/{node}/memory", r"memory\..*", "the parts that an Erlang node's memory has"),
    Difference("GET nodes.*", r"(.*\.)?(config_files|log_files)\[\]", "the log goes to standard error"),
    Difference(".*queues.*", r"(.*\.)?idle_since", "there when nothing has happened since the sample before"),
    Difference(".*(channels|connections).*", r"(.*\.)?idle_since", "of queues alone"),
    Difference(
        ".*(channels|connections).*",
        r"(.*\.)?message_stats\.(ack|redeliver)(_details.*)?",
        "counted by queue: counting by channel too would cost something for every message",
    ),
    Difference(".*queues.*", r"(.*\.)?message(s|_bytes)_persistent", "not counted apart"),
    Difference(
        ".*overview.*",
        r"message_stats\.disk_(reads|writes)(_details.*)?",
        "the journal counts octets and syncs (nodes: io_write_bytes, io_sync_count), not messages",
    ),
    Difference(".*connections.*", r"(.*\.)?ssl_(hash|key_exchange)", "ssl_cipher has both"),
    Difference(
        "GET connections/{connection}", "(ssl|peer_cert)_.*", "null without TLS, as in lists"
    ),
    Difference("GET (extensions|feature-flags)", r"\[\].*", "there are none"),
    Difference(
        "GET (parameters|global-parameters|definitions).*",
        r"((global_)?parameters)?\[\].*",
        "limits are no parameters here, and a cluster's id is none either",
    ),
    Difference("GET definitions/shop", r"(parameters|policies)\[\]\.vhost", "the file is about one virtual host"),
    Difference("GET queues.columns=nothing", r"\[\]", "an empty object; Erlang writes an empty list"),
    Difference("POST queues/shop/log/get.*", r"\[\]\.properties", "an empty object; Erlang writes an empty list"),
    Difference("(PUT|POST).*", r"reason(\[\])*", "always a text; RabbitMQ sends Erlang terms at times"),
]  # fmt: skip


def is_known(difference: str) -> bool:
    """Of what comparison.differences() found about a key."""
    request, _, key = difference.rpartition(" | ")
    return any(re.fullmatch(one.request, request) and re.fullmatch(one.key, key) for one in KEYS)


def unused(differences: set[str]) -> list[Difference]:
    """What is said to differ and does not."""
    pairs = [difference.rpartition(" | ") for difference in differences]
    return [
        one
        for one in KEYS
        if not any(re.fullmatch(one.request, request) and re.fullmatch(one.key, key) for request, _, key in pairs)
    ]
