"""report: what whoever is asked for help wants to see, in one text. No passwords: parameters, which may hold some, are
not in it."""

import copy
from typing import Any

from flowmq.server.ctl.codes import USAGE, Failed
from flowmq.server.ctl.output import TABLE
from flowmq.server.ctl.verbs import VERBS, Asked, verb

# Verbs, and what they are asked besides.
OF_THE_BROKER: tuple[tuple[str, dict[str, Any]], ...] = (
    ("status", {}),
    ("memory_breakdown", {}),
    ("environment", {}),
    ("list_connections", {"columns": ["name,user,vhost,state,channels,ssl,timeout,recv_oct,send_oct"]}),
    ("list_channels", {"columns": ["name,user,vhost,consumer_count,prefetch_count,messages_unacknowledged,confirm"]}),
    ("list_vhosts", {"columns": ()}),
    ("list_users", {}),
    ("list_vhost_limits", {"everywhere": True}),
    ("list_user_limits", {"user": None}),
    ("shovel_status", {}),
)
OF_A_VHOST: tuple[tuple[str, dict[str, Any]], ...] = (
    ("list_queues", {"columns": ["name,type,arguments,policy,messages_ready,messages_unacknowledged,consumers"]}),
    ("list_exchanges", {"columns": ()}),
    ("list_bindings", {"columns": ()}),
    ("list_consumers", {"columns": ()}),
    ("list_permissions", {}),
    ("list_topic_permissions", {}),
    ("list_policies", {}),
    ("list_operator_policies", {}),
    ("list_refused_publishes", {}),
)


@verb("report", examples="report >report.txt")
def report(asked: Asked) -> None:
    """All that the other verbs show, for whoever is asked for help; without passwords."""
    if asked.output.form != TABLE:
        raise Failed("a report is for people: it has one form only", USAGE)
    for name, more in OF_THE_BROKER:
        part(asked, name, more)
    for row in list(asked.rows("vhost.list")):
        of_vhost = copy.copy(asked)
        of_vhost.given_vhost = row["name"]
        for name, more in OF_A_VHOST:
            part(of_vhost, name, more)
    asked.output.tell("End of the report.")


def part(asked: Asked, name: str, more: dict[str, Any]) -> None:
    VERBS[name].run(asked, **more)
    asked.output.tell("")
