"""The requests that are put to both FlowMQ and RabbitMQ: a table, in the order in which they are made.

A request is a verb, a path below /api, and a body. `{node}`, `{connection}`, `{channel}` and `{binding}` in a path
stand for names that each broker chooses itself.
"""

from typing import Any, NamedTuple


class Request(NamedTuple):
    verb: str
    path: str
    body: Any = None
    user: str = "guest:guest"

    @property
    def title(self) -> str:
        parts = [self.verb, self.path]
        if self.body is not None:
            parts.append(self.body if isinstance(self.body, str) else repr(self.body))
        if self.user != Request._field_defaults["user"]:
            parts.append(f"as {self.user}")
        return " ".join(parts)


def get(path: str, user: str = "guest:guest") -> Request:
    return Request("GET", path, user=user)


def put(path: str, user: str = "guest:guest", **body: Any) -> Request:
    return Request("PUT", path, body, user)


def post(path: str, user: str = "guest:guest", **body: Any) -> Request:
    return Request("POST", path, body, user)


def delete(path: str, user: str = "guest:guest") -> Request:
    return Request("DELETE", path, user=user)


def gets(*paths: str, user: str = "guest:guest") -> list[Request]:
    return [get(path, user) for path in paths]


NOBODY, WRONG = "nobody:nothing", "guest:wrong"
VIEWER, MANAGER, PLAIN = "viewer:secret", "manager:secret", "plain:secret"
EVERYTHING = {"configure": ".*", "write": ".*", "read": ".*"}
TAKE = {"count": 5, "encoding": "auto"}
PUBLISH = {"properties": {}, "payload": "text", "payload_encoding": "string"}

SET_UP = [
    put("vhosts/shop"),
    put("vhosts/shop"),
    put("vhosts/told", description="with words", tags="one,two"),
    *[put(f"users/{name}", password="secret", tags=tag) for name, tag in
      (("viewer", "monitoring"), ("manager", "management"), ("plain", ""), ("maker", "policymaker"))],
    put("users/viewer", password="secret", tags="monitoring"),
    put("users/hashed", password_hash="", tags=["management"]),
    put("users/hashed", password_hash="kI3GCqW5JLMJa4iX1lo7X4D6XbYqlLgxIs30+P6tENUV2POR", tags="management"),
    *[put(f"permissions/{vhost}/guest", **EVERYTHING) for vhost in ("shop", "told")],
    put("permissions/shop/guest", **EVERYTHING),
    put("permissions/shop/manager", configure="^mine", write="^mine", read=".*"),
    put("permissions/shop/plain", **EVERYTHING),
    put("topic-permissions/shop/manager", exchange="amq.topic", write="^a", read="^b"),
    put("topic-permissions/shop/manager", exchange="amq.topic", write="^a", read="^b"),
    put("queues/shop/jobs", durable=True, auto_delete=False, arguments={"x-max-length": 1000}),
    put("queues/shop/jobs", durable=True, auto_delete=False, arguments={"x-max-length": 1000}),
    put("queues/shop/log", durable="true", auto_delete="false"),
    put("queues/shop/quiet", durable=True),
    put("queues/shop/single", durable=True, arguments={"x-single-active-consumer": True}),
    put("queues/shop/gone", auto_delete=True),
    put("queues/shop/mine.first", user=MANAGER, durable=True),
    put("exchanges/shop/orders", type="topic", durable=True, auto_delete=False, internal=False, arguments={}),
    put("exchanges/shop/orders", type="topic", durable=True, auto_delete=False, internal=False, arguments={}),
    put("exchanges/shop/spare", type="fanout"),
    put("exchanges/shop/guarded", type="direct", durable=True, internal=True,
        arguments={"alternate-exchange": "spare"}),
    post("bindings/shop/e/orders/q/jobs", routing_key="new.*"),
    post("bindings/shop/e/orders/q/jobs", routing_key="new.*"),
    post("bindings/shop/e/orders/q/log", routing_key="#", arguments={"note": 1}),
    post("bindings/shop/e/orders/e/spare", routing_key=""),
    post("bindings/shop/e/amq.headers/q/log", arguments={"x-match": "all", "kind": "a"}),
    put("policies/shop/short", pattern="^log$", definition={"max-length": 100}, priority=1, **{"apply-to": "queues"}),
    put("policies/shop/short", pattern="^log$", definition={"max-length": 100}, priority=2, **{"apply-to": "queues"}),
    put("policies/shop/alternate", pattern="^orders$", definition={"alternate-exchange": "spare"},
        **{"apply-to": "exchanges"}),
    put("operator-policies/shop/cap", pattern="^log$", definition={"max-length": 50, "expires": 3600000},
        **{"apply-to": "queues"}),
    put("vhost-limits/shop/max-connections", value=100),
    put("vhost-limits/shop/max-queues", value=200),
    put("user-limits/viewer/max-connections", value=10),
    put("cluster-name", name="ours"),
    post("exchanges/shop/orders/publish", **PUBLISH, routing_key="new.one"),
    post("exchanges/shop/orders/publish", properties={"delivery_mode": 2, "headers": {"n": 1}, "priority": 3},
         routing_key="new.two", payload="AAEC", payload_encoding="base64"),
    post("exchanges/shop/amq.direct/publish", **PUBLISH, routing_key="nowhere"),
    post("queues/shop/log/get", **TAKE, ackmode="ack_requeue_true"),
    post("queues/shop/log/get", **TAKE, ackmode="reject_requeue_true", truncate=2),
    post("queues/shop/log/get", count=1, encoding="base64", ackmode="ack_requeue_false"),
    post("queues/shop/quiet/get", **TAKE, ackmode="ack_requeue_true"),
]  # fmt: skip

LOOKS = [
    *gets("overview", "nodes", "nodes/{node}", "cluster-name", "whoami", "extensions", "nodes/{node}/memory"),
    *gets("queues", "queues/shop", "queues/shop/jobs", "queues/shop/log", "queues/shop/quiet", "queues/shop/single"),
    *gets("queues/shop/jobs/bindings", "queues?page=1&page_size=2", "queues/shop?page=1&page_size=100&name=o"),
    *gets("queues?page=1&use_regex=true&pagination=false&name=%5Ejobs%24&page_size=100"),
    *gets("queues?columns=name,messages,message_stats.publish_details.rate", "queues?sort=messages&sort_reverse=true"),
    *gets("queues?disable_stats=true&enable_queue_totals=true"),
    *gets("queues/shop/jobs?lengths_age=60&lengths_incr=5&msg_rates_age=60&msg_rates_incr=5"),
    *gets("overview?lengths_age=60&lengths_incr=5&msg_rates_age=60&msg_rates_incr=5"),
    *gets("exchanges", "exchanges/shop", "exchanges/shop/orders", "exchanges/shop/amq.default"),
    *gets("exchanges/shop/guarded"),
    *gets("exchanges/shop/orders/bindings/source", "exchanges/shop/spare/bindings/destination"),
    *gets("bindings", "bindings/shop", "bindings/shop/e/orders/q/jobs", "bindings/shop/e/orders/e/spare"),
    *gets("bindings/shop/e/orders/q/log/{binding}", "bindings/shop/e/amq.default/q/jobs"),
    *gets("vhosts", "vhosts/shop", "vhosts/told", "vhosts/shop/permissions", "vhosts/shop/topic-permissions"),
    *gets("vhosts/shop/connections", "vhosts/shop/channels"),
    *gets("users", "users/", "users/viewer", "users/hashed", "users/without-permissions", "users/manager/permissions"),
    *gets("users/manager/topic-permissions"),
    *gets("permissions", "permissions/shop/manager", "topic-permissions", "topic-permissions/shop/manager"),
    *gets("policies", "policies/shop", "policies/shop/short", "operator-policies", "operator-policies/shop"),
    *gets("operator-policies/shop/cap"),
    *gets("parameters", "parameters/shovel", "parameters/federation-upstream/shop", "global-parameters"),
    *gets("vhost-limits", "vhost-limits/shop", "user-limits", "user-limits/viewer"),
    *gets("connections", "connections/{connection}", "connections/{connection}/channels", "connections/username/guest"),
    *gets("channels", "channels/{channel}", "consumers", "consumers/shop"),
    *gets("connections?page=1&page_size=1", "channels?page=1&page_size=1", "exchanges?page=1&page_size=2"),
    *gets("definitions", "definitions/shop", "feature-flags", "auth/attempts/{node}", "rebalance/queues"),
    *gets("health/checks/alarms", "health/checks/local-alarms", "health/checks/virtual-hosts"),
    *gets("health/checks/node-is-quorum-critical", "health/checks/node-is-mirror-sync-critical"),
    *gets("health/checks/certificate-expiration/1/days", "health/checks/certificate-expiration/1/fortnights"),
    *gets("health/checks/port-listener/1", "health/checks/port-listener/none", "health/checks/protocol-listener/amqp"),
    *gets("health/checks/protocol-listener/amqp091", "health/checks/protocol-listener/mqtt"),
    *gets("aliveness-test/shop", "auth", "healthchecks/node"),
]  # fmt: skip

# Who may, and who may not.
ACCESS = [
    *[get("overview", user) for user in (NOBODY, WRONG, PLAIN, MANAGER, VIEWER)],
    *[get("whoami", user) for user in (MANAGER, PLAIN)],
    *[get("nodes", user) for user in (MANAGER, VIEWER)],
    *[get("users", user) for user in (MANAGER, VIEWER)],
    *[get("queues", user) for user in (MANAGER, VIEWER)],
    *[get("queues/shop/jobs", user) for user in (MANAGER, VIEWER)],
    *[get("queues/told", user) for user in (MANAGER, VIEWER)],
    *[get("connections", user) for user in (MANAGER, VIEWER)],
    *[get(path, MANAGER) for path in ("vhosts", "definitions", "policies", "parameters", "permissions")],
    put("users/plain", user=VIEWER, password="x", tags=""),
    put("vhosts/other", user=VIEWER),
    put("policies/shop/x", user=MANAGER, pattern="", definition={"max-length": 1}),
    put("queues/shop/others", user=MANAGER, durable=True),
    put("queues/shop/others", user=VIEWER, durable=True),
    post("queues/shop/jobs/get", user=VIEWER, **TAKE, ackmode="ack_requeue_true"),
    post("exchanges/shop/orders/publish", user=MANAGER, **PUBLISH, routing_key="a"),
    delete("queues/shop/jobs", user=MANAGER),
    delete("queues/shop/jobs/contents", user=VIEWER),
    delete("connections/{connection}", user=MANAGER),
]

ERRORS = [
    *gets("queues/nowhere", "queues/shop/nothing", "exchanges/shop/nothing", "bindings/shop/e/nothing/q/jobs"),
    *gets("bindings/shop/e/orders/q/nothing", "bindings/shop/e/orders/q/jobs/nothing", "vhosts/nothing"),
    *gets("users/nothing", "users/nothing/permissions", "permissions/shop/viewer", "permissions/shop/nothing"),
    *gets("policies/shop/nothing", "policies/nowhere", "connections/nothing", "channels/nothing", "nodes/nothing"),
    *gets("consumers/nowhere", "parameters/shovel/shop/nothing", "global-parameters/nothing", "nothing"),
    *gets("vhost-limits/nowhere", "definitions/nowhere", "aliveness-test/nowhere", "exchanges/nowhere"),
    *gets("queues?page=0", "queues?page=x", "queues?page=1000000", "queues?page=1&page_size=501"),
    *gets("queues?page=1&page_size=0", "queues?sort=nothing", "queues?columns=nothing"),
    *gets("queues?lengths_age=x", "queues?page=1&use_regex=true&name=%2A"),
    *gets("queues/nothing/x/bindings", "auth/attempts/nothing", "healthchecks/node/nothing"),
    *gets("bindings/nowhere/e/orders/q/jobs", "bindings/nowhere/e/orders/e/spare"),
    *gets("queues/shop/nothing/bindings", "exchanges/shop/nothing/bindings/source"),
    *gets("exchanges/shop/nothing/bindings/destination", "exchanges/nowhere/orders/bindings/source"),
    *gets("exchanges/nowhere/orders/bindings/destination"),
    put("cluster-name"),
    put("cluster-name", user=MANAGER, name="theirs"),
    put("queues/shop/jobs", durable=False),
    put("queues/shop/jobs", durable=True, arguments={"x-max-length": 1}),
    put("queues/shop/odd", durable="perhaps"),
    put("queues/shop/odd", arguments={"x-max-length": "many"}),
    put("queues/shop/odd", arguments={"x-message-ttl": -1}),
    put("queues/shop/odd", arguments=[1]),
    put("queues/nowhere/odd"),
    put("queues/shop/amq.odd"),
    Request("PUT", "queues/shop/odd", "not JSON"),
    Request("PUT", "queues/shop/odd", "[]"),
    Request("PUT", "queues/shop/even", ""),
    delete("queues/shop/nothing"),
    delete("queues/shop/jobs?if-empty=true"),
    delete("queues/shop/jobs?if-unused=true"),
    delete("queues/shop/nothing/contents"),
    put("exchanges/shop/orders", type="fanout", durable=True),
    put("exchanges/shop/odd", type="unknown"),
    put("exchanges/shop/odd"),
    put("exchanges/shop/amq.direct", type="direct", durable=True),
    put("exchanges/shop/amq.new", type="direct"),
    delete("exchanges/shop/nothing"),
    delete("exchanges/shop/amq.direct"),
    delete("exchanges/shop/amq.default"),
    delete("exchanges/shop/orders?if-unused=true"),
    post("bindings/shop/e/nothing/q/jobs", routing_key="a"),
    post("bindings/shop/e/orders/q/nothing", routing_key="a"),
    post("bindings/shop/e/orders/q/jobs", routing_key=1),
    post("bindings/shop/e/amq.default/q/jobs", routing_key="a"),
    post("bindings/shop/e/orders/q/jobs"),
    post("bindings/shop/e/orders/x/jobs"),
    delete("bindings/shop/e/orders/q/jobs/nothing"),
    post("exchanges/shop/nothing/publish", **PUBLISH, routing_key="a"),
    post("exchanges/nowhere/orders/publish", **PUBLISH, routing_key="a"),
    post("exchanges/shop/guarded/publish", **PUBLISH, routing_key="a"),
    post("exchanges/shop/orders/publish", **PUBLISH),
    post("exchanges/shop/orders/publish", properties={}, routing_key="a", payload="x"),
    post("exchanges/shop/orders/publish", properties={}, routing_key="a", payload="?", payload_encoding="base64"),
    post("exchanges/shop/orders/publish", properties={}, routing_key="a", payload="x", payload_encoding="gzip"),
    post("exchanges/shop/orders/publish", routing_key="a", payload="x", payload_encoding="string"),
    post("exchanges/shop/orders/publish", **{**PUBLISH, "properties": {"delivery_mode": "x"}}, routing_key="new.a"),
    post("exchanges/shop/orders/publish", **{**PUBLISH, "properties": {"nothing": "x"}}, routing_key="new.b"),
    post("queues/shop/nothing/get", **TAKE, ackmode="ack_requeue_true"),
    post("queues/shop/log/get", **TAKE),
    post("queues/shop/log/get", **TAKE, ackmode="perhaps"),
    post("queues/shop/log/get", count=1, encoding="x", ackmode="ack_requeue_true"),
    post("queues/shop/log/get", encoding="auto", ackmode="ack_requeue_true"),
    post("queues/shop/log/get", count="x", encoding="auto", ackmode="ack_requeue_true"),
    post("queues/shop/log/get", count=1, encoding="auto", requeue="true"),
    put("users/odd", tags=""),
    put("users/odd", password="x"),
    put("users/odd", password_hash="x", tags=""),
    put("users/odd", password="x", tags=[1]),
    delete("users/nothing"),
    post("users/bulk-delete", users=["odd", "nothing"]),
    post("users/bulk-delete"),
    put("permissions/shop/nothing", **EVERYTHING),
    put("permissions/nowhere/guest", **EVERYTHING),
    put("permissions/shop/plain", configure="(", write="", read=""),
    put("permissions/shop/plain", configure="", write=""),
    delete("permissions/shop/nothing"),
    delete("permissions/shop/viewer"),
    put("topic-permissions/shop/nothing", exchange="x", write="", read=""),
    put("topic-permissions/shop/plain", write="", read=""),
    put("topic-permissions/shop/plain", exchange="x", write="(", read=""),
    delete("topic-permissions/shop/viewer"),
    put("policies/shop/odd", pattern="("),
    put("policies/shop/odd", pattern="(", definition={"max-length": 1}),
    put("policies/shop/odd", definition={"max-length": 1}),
    put("policies/shop/odd", pattern="", definition={}),
    put("policies/shop/odd", pattern="", definition={"nothing": 1}),
    put("policies/shop/odd", pattern="", definition={"max-length": "x"}),
    put("policies/shop/odd", pattern="", definition={"max-length": 1}, priority="x"),
    put("policies/shop/odd", pattern="", definition={"max-length": 1}, **{"apply-to": "nothing"}),
    put("policies/nowhere/odd", pattern="", definition={"max-length": 1}),
    put("operator-policies/shop/odd", pattern="", definition={"alternate-exchange": "x"}),
    delete("policies/shop/nothing"),
    delete("policies/nowhere/nothing"),
    delete("operator-policies/shop/nothing"),
    put("vhost-limits/shop/nothing", value=1),
    put("vhost-limits/shop/max-queues", value="x"),
    put("vhost-limits/shop/max-queues"),
    put("vhost-limits/nowhere/max-queues", value=1),
    put("user-limits/nothing/max-connections", value=1),
    put("user-limits/viewer/nothing", value=1),
    delete("vhost-limits/told/max-queues"),
    delete("vhost-limits/nowhere/max-queues"),
    delete("user-limits/viewer/max-channels"),
    delete("vhosts/nothing"),
    delete("connections/nothing"),
    delete("connections/username/nothing"),
    delete("parameters/shovel/shop/nothing"),
    delete("global-parameters/nothing"),
    Request("POST", "definitions", "not JSON"),
    post("definitions", queues=[{"name": "odd"}]),
    post("definitions", vhosts=[{"name": "told"}], queues=[]),
    post("definitions/shop", queues=[{"name": "imported", "durable": True, "auto_delete": False, "arguments": {}}]),
    post("definitions/shop", queues=[{"name": "jobs", "durable": False, "auto_delete": False, "arguments": {}}]),
    post("definitions/nowhere", queues=[]),
    Request("POST", "overview", "{}"),
    Request("PUT", "queues", "{}"),
    Request("DELETE", "nodes"),
    Request("HEAD", "queues"),
    Request("OPTIONS", "queues"),
    post("rebalance/queues"),
    post("queues/shop/jobs/actions", action="sync"),
    post("queues/shop/jobs/actions", action="nothing"),
]  # fmt: skip

TAKE_DOWN = [
    delete("bindings/shop/e/orders/q/jobs/new.%2A"),
    delete("bindings/shop/e/orders/e/spare/~"),
    delete("queues/shop/log/contents"),
    delete("queues/shop/quiet?if-empty=true&if-unused=true"),
    delete("queues/shop/log"),
    delete("exchanges/shop/spare"),
    delete("policies/shop/short"),
    delete("operator-policies/shop/cap"),
    delete("vhost-limits/shop/max-queues"),
    delete("user-limits/viewer/max-connections"),
    delete("topic-permissions/shop/manager"),
    delete("permissions/shop/manager"),
    delete("connections/{connection}"),
    delete("users/viewer"),
    post("users/bulk-delete", users=["manager", "maker"]),
    delete("vhosts/shop"),
]
