"""shovel.*: how shovels are, for whoever looks; and what their process asks and tells."""

import datetime
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from flowmq.broker.amqp_uri import without_credentials
from flowmq.broker.shovels import PROTOCOL, SHOVEL, read_shovel
from flowmq.server.control.commands.exchanges import hosts_of
from flowmq.server.control.commands.policies import host_named
from flowmq.server.control.registry import Arguments, Nothing, bad_request, command, not_found
from flowmq.server.control.views import NODE_NAME
from flowmq.server.shovels import STATES, Told

if TYPE_CHECKING:
    from flowmq.server.node import Node

# Of a shovel's value, what is told of it.
ENDS = ("src-queue", "src-exchange", "src-exchange-key", "dest-queue", "dest-exchange", "dest-exchange-key")


class Listed(Arguments):
    vhosts: list[str] | None = None


class ShovelName(Arguments):
    name: str
    vhost: str = "/"


class Wanted(Arguments):
    after: int = 0


class Current(ShovelName, kw_only=True):
    revision: int


class TicketAsked(Current, kw_only=True):
    to_vhost: str


class Report(Arguments):
    rows: list[dict[str, Any]]


def row(node: "Node", vhost: str, name: str) -> dict[str, Any]:
    """As RabbitMQ's plugin tells it, and what it does not have: moved."""
    told, value = node.shovels.told[vhost, name], node.broker.parameters.by_name[vhost, SHOVEL, name]
    known = value if isinstance(value, dict) else {}
    since = datetime.datetime.fromtimestamp(told.since, datetime.UTC)
    return {
        "node": NODE_NAME,
        "timestamp": f"{since:%Y-%m-%d %H:%M:%S}",
        "name": name,
        "vhost": vhost,
        "type": "dynamic",
        "state": told.state,
        **({"reason": told.reason} if told.reason else {}),
        "src_uri": told.src_uri or first_uri(known.get("src-uri")),
        "dest_uri": told.dest_uri or first_uri(known.get("dest-uri")),
        "src_protocol": PROTOCOL,
        "dest_protocol": PROTOCOL,
        **{key.replace("-", "_"): known[key] for key in ENDS if isinstance(known.get(key), str)},
        "ack_mode": known.get("ack-mode", "on-confirm"),
        "remaining": "unlimited" if told.remaining is None else told.remaining,
        "pending": told.pending,
        "forwarded": told.moved,
        "set_by": node.broker.parameters.users[vhost, SHOVEL, name] or "",
    }


def first_uri(given: Any) -> str:
    """Before any was connected to."""
    one = given[0] if isinstance(given, list) and given else given
    return without_credentials(one) if isinstance(one, str) else ""


def check_there(node: "Node", asked: ShovelName) -> None:
    host_named(node, asked.vhost)
    if (asked.vhost, asked.name) not in node.shovels.told:
        raise not_found(f"no shovel '{asked.name}' in vhost '{asked.vhost}'")


@command("shovel.list", Listed)
def list_shovels(node: "Node", asked: Listed) -> Iterator[Any]:
    """Shovels and how they are."""
    vhosts = {host.name for host in hosts_of(node, asked.vhosts)}
    for vhost, name in list(node.shovels.told):
        if vhost in vhosts and (vhost, name) in node.shovels.told:
            yield row(node, vhost, name)


@command("shovel.show", ShovelName)
def show_shovel(node: "Node", asked: ShovelName) -> dict[str, Any]:
    """One shovel."""
    check_there(node, asked)
    return row(node, asked.vhost, asked.name)


@command("shovel.restart", ShovelName)
def restart_shovel(node: "Node", asked: ShovelName) -> None:
    """Start it from the beginning: it connects anew."""
    check_there(node, asked)
    node.shovels.restart(asked.vhost, asked.name)


@command("shovel.delete", ShovelName)
def delete_shovel(node: "Node", asked: ShovelName) -> None:
    """Delete it: its parameter is cleared."""
    check_there(node, asked)
    node.broker.parameters.clear(asked.vhost, SHOVEL, asked.name)


@command("shovel.totals", Nothing)
def totals(node: "Node", asked: Nothing) -> dict[str, Any]:
    """How many there are in each state, and how many messages each has moved."""
    states = dict.fromkeys(STATES, 0)
    for told in node.shovels.told.values():
        states[told.state] += 1
    moved = [[vhost, name, told.moved] for (vhost, name), told in node.shovels.told.items()]
    return {"states": states, "moved": moved}


# ------------------------------------------------------------------------------------------------- for their process


@command("shovel.wanted", Wanted)
async def wanted(node: "Node", asked: Wanted) -> dict[str, Any]:
    """All that are to run, with their passwords; answered once that is something else than it was."""
    await node.shovels.changed(asked.after)
    hosts = node.settings.shovels.hosts
    shovels = node.shovels.wanted()
    return {"generation": node.shovels.generation, "node": NODE_NAME, "hosts": hosts, "shovels": shovels}


@command("shovel.ticket", TicketAsked)
async def ticket(node: "Node", asked: TicketAsked) -> dict[str, Any]:
    """Where this broker can be entered once, as the user who has set the shovel."""
    if node.shovels.current(asked.vhost, asked.name, asked.revision) is None:
        raise not_found("the shovel is not there any more, or another one now")
    value = node.broker.parameters.by_name[asked.vhost, SHOVEL, asked.name]
    if asked.to_vhost not in read_shovel(value).vhosts_here:
        raise bad_request(f"the shovel has no URI of this broker's vhost '{asked.to_vhost}'")
    return await node.shovels.ticket(asked.vhost, asked.name, asked.to_vhost)


@command("shovel.report", Report)
def report(node: "Node", asked: Report) -> None:
    """How shovels are; `moved` are the messages since the last report."""
    for given in asked.rows:
        told = node.shovels.current(given["vhost"], given["name"], given["revision"])
        if told is not None:
            take(told, given)


def take(told: Told, given: dict[str, Any]) -> None:
    if given["state"] not in STATES:
        raise bad_request(f"there is no state '{given['state']}'")
    told.turn(given["state"], given["reason"])
    told.src_uri, told.dest_uri = given["src_uri"], given["dest_uri"]
    told.remaining, told.pending = given["remaining"], given["pending"]
    told.moved += given["moved"]


@command("shovel.finished", Current)
def finished(node: "Node", asked: Current) -> None:
    """It has moved what it was to move."""
    node.shovels.finished(asked.vhost, asked.name, asked.revision)
