"""Health checks: 200 {"status": "ok"}, or 503 with the reason."""

import asyncio
import time
from typing import Any

from flowmq.management.login import MANAGEMENT
from flowmq.management.web import Answer, Call, bad_request, not_found, route

CHECKS = "/api/health/checks"
OK = {"status": "ok"}
SECONDS = {"days": 86400, "weeks": 7 * 86400, "months": 31 * 86400, "years": 366 * 86400}
ALIVENESS = "aliveness-test"


def failed(reason: str, **more: Any) -> Answer:
    return Answer(503, {"status": "failed", "reason": reason, **more})


@route("GET", f"{CHECKS}/alarms", f"{CHECKS}/local-alarms")
async def alarms(call: Call) -> Any:
    """Is no alarm in force?"""
    status = await call.ask("node.status")
    if status["alarms"]:
        found = [{"node": status["name"], "resource": name} for name in status["alarms"]]
        return failed("There are alarms in effect in the cluster", alarms=found)
    return OK


@route("GET", f"{CHECKS}/port-listener/{{port}}")
async def port_listener(call: Call) -> Any:
    """Is there a listener on that port?"""
    if not (call.path("port").isascii() and call.path("port").isdigit()):
        raise bad_request("Invalid port")
    port = int(call.path("port"))
    ports = [one["port"] for one in await call.ask("node.listeners")]
    return {**OK, "port": port} if port in ports else failed("No active listener", missing=port, ports=ports)


@route("GET", f"{CHECKS}/protocol-listener/{{protocol}}")
async def protocol_listener(call: Call) -> Any:
    """Is there a listener for that protocol?"""
    wanted = {"amqp091": "amqp", "amqps": "amqp/ssl"}.get(call.path("protocol"), call.path("protocol"))
    protocols = [one["protocol"] for one in await call.ask("node.listeners")]
    if wanted in protocols:
        return {**OK, "protocol": call.path("protocol")}
    return failed("No active listener", missing=call.path("protocol"), protocols=protocols)


@route("GET", f"{CHECKS}/virtual-hosts")
async def virtual_hosts(call: Call) -> Any:
    """Do all virtual hosts run? They do for as long as the journal can be written."""
    journal = (await call.ask("node.status"))["journal"]
    if journal is not None and (journal["failed"] or journal["damaged"]):
        queues = journal["damaged_queues"]
        return failed("The journal has failed or is damaged: see the broker's log", damaged_queues=queues)
    return OK


@route("GET", f"{CHECKS}/certificate-expiration/{{within:\\d+}}/{{unit}}")
async def certificate_expiration(call: Call) -> Any:
    """Does no certificate expire within that time?"""
    unit = SECONDS.get(call.path("unit"))
    if unit is None:
        raise bad_request(f"unit: {call.path('unit')!r} is none of {', '.join(SECONDS)}")
    until = time.time() + int(call.path("within")) * unit
    expiring = [one for one in await call.ask("node.certificates") if one["not_after"] < until]
    return failed("Certificates expiring", expired=expiring) if expiring else OK


@route("GET", "/api/healthchecks/node", "/api/healthchecks/node/{node}")
async def old_check(call: Call) -> Any:
    """What was asked before there were the checks above."""
    name = (await call.ask("node.status"))["name"]
    if call.request.match_info.get("node", name) != name:
        raise not_found()
    return OK


@route("GET", f"{CHECKS}/is-in-service", f"{CHECKS}/ready-to-serve-clients", tag=MANAGEMENT)
async def in_service(call: Call) -> Any:
    """Does it take clients?"""
    status = await call.ask("node.status")
    return failed("The broker is stopping") if status["draining"] else OK


@route("GET", f"{CHECKS}/node-is-quorum-critical", f"{CHECKS}/node-is-mirror-sync-critical")
async def critical(call: Call) -> Any:
    """May this node stop? No other one needs it."""
    await call.ask("node.ping")
    return {**OK, "reason": "single node cluster"}


@route(
    "GET",
    f"{CHECKS}/below-node-connection-limit",
    f"{CHECKS}/metadata-store/initialized",
    f"{CHECKS}/metadata-store/initialized/with-data",
)
async def of_clusters(call: Call) -> Any:
    """What a single node always is."""
    await call.ask("node.ping")
    return OK


@route("GET", f"{CHECKS}/reached-target-cluster-size", "/api/health/live", tag=None)
async def live(call: Call) -> Any:
    """Does the broker answer? Nobody needs to log in for this."""
    await asyncio.wait_for(call.ask("node.ping"), 10)
    return OK


@route("GET", "/api/health/ready", tag=None)
async def ready(call: Call) -> Any:
    """Does it take clients, and their messages? Nobody needs to log in for this."""
    status = await asyncio.wait_for(call.ask("node.status"), 10)
    reasons = ["stopping"] if status["draining"] else []
    reasons += [f"{name} alarm" for name in status["alarms"]]
    return failed(", ".join(reasons)) if reasons else OK


@route("GET", "/api/aliveness-test/{vhost}")
async def aliveness(call: Call) -> Any:
    """Declare a queue, publish a message to it, take it out again."""
    vhost = await call.vhost()
    where = {"vhost": vhost, "user": call.caller.acts_as}
    await call.ask("queue.declare", **where, name=ALIVENESS, durable=False)
    await call.ask("message.publish", **where, exchange="", routing_key=ALIVENESS, payload="test_message")
    found = await call.ask("message.get", **where, name=ALIVENESS, ackmode="ack_requeue_false")
    return OK if found else failed("the message did not come back")
