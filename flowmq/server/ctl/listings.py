"""list_*: rows of the broker's listings, under RabbitMQ's names of columns."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from flowmq.server.ctl.codes import USAGE, Failed
from flowmq.server.ctl.verbs import VERBS, Asked, Verb

Row = dict[str, Any]


class Listing(NamedTuple):
    verb: str
    command: str
    says: str
    default: str  # columns
    columns: str  # all of them
    other: dict[str, Callable[[Row], Any]]  # those that the broker's rows have under another name
    vhost: bool = True


QUEUE_COLUMNS = """
    name vhost type durable auto_delete exclusive arguments node state policy operator_policy
    effective_policy_definition messages messages_ready messages_unacknowledged messages_delayed messages_ram
    messages_paged_out message_bytes message_bytes_ready message_bytes_unacknowledged message_bytes_ram
    message_bytes_paged_out consumers consumer_capacity consumer_utilisation exclusive_consumer_tag
    single_active_consumer_tag memory dead_letters publishes_refused
"""
CONNECTION_COLUMNS = """
    name node user vhost state channels peer_host peer_port host port protocol auth_mechanism ssl ssl_protocol
    ssl_cipher timeout frame_max channel_max client_properties connected_at recv_oct send_oct
    user_provided_name
"""
CHANNEL_COLUMNS = """
    name number node vhost user state consumer_count prefetch_count global_prefetch_count messages_unacknowledged
    messages_unconfirmed messages_uncommitted acks_uncommitted confirm transactional
"""
CONSUMER_COLUMNS = (
    "queue channel_details consumer_tag ack_required exclusive prefetch_count priority active activity_status arguments"
)


def tags(row: Row) -> str:
    return f"[{', '.join(row['tags'])}]"


LISTINGS = (
    Listing(
        *("list_queues", "queue.list", "Listing queues for vhost {vhost} ..."),
        *("name messages", QUEUE_COLUMNS),
        {"pid": lambda row: row["name"], "slave_pids": lambda row: ""},
    ),
    Listing(
        *("list_exchanges", "exchange.list", "Listing exchanges for vhost {vhost} ..."),
        *("name type", "name vhost type durable auto_delete internal arguments policy bindings"),
        {},
    ),
    Listing(
        *("list_bindings", "binding.list", "Listing bindings for vhost {vhost}..."),
        "source_name source_kind destination_name destination_kind routing_key arguments",
        "vhost routing_key arguments properties_key",
        {
            "source_name": lambda row: row["source"],
            "source_kind": lambda row: "exchange",
            "destination_name": lambda row: row["destination"],
            "destination_kind": lambda row: row["destination_type"],
        },
    ),
    Listing(
        *("list_connections", "connection.list", "Listing connections ..."),
        *("user peer_host peer_port state", CONNECTION_COLUMNS),
        {"pid": lambda row: row["name"]},
        vhost=False,
    ),
    Listing(
        *("list_channels", "channel.list", "Listing channels ..."),
        *("pid user consumer_count messages_unacknowledged", CHANNEL_COLUMNS),
        {"pid": lambda row: row["name"], "connection": lambda row: row["connection_details"]["name"]},
        vhost=False,
    ),
    Listing(
        *("list_consumers", "consumer.list", "Listing consumers in vhost {vhost} ..."),
        "queue_name channel_pid consumer_tag ack_required prefetch_count active arguments",
        CONSUMER_COLUMNS,
        {
            "queue_name": lambda row: row["queue"]["name"],
            "channel_pid": lambda row: row["channel_details"]["name"],
        },
    ),
)


def chosen(asked: Sequence[str], default: str, known: Sequence[str]) -> list[str]:
    """Columns, given one by one or with commas."""
    columns = [column for word in asked for column in word.split(",") if column] or default.split()
    unknown = [column for column in columns if column not in known]
    if unknown:
        raise Failed(f"Info key(s) {', '.join(unknown)} are not supported: known are {', '.join(known)}", USAGE)
    return columns


def lister(listing: Listing) -> Callable[..., None]:
    known = [*listing.columns.split(), *listing.other]

    def run(asked: Asked, columns: Sequence[str]) -> None:
        wanted = chosen(columns, listing.default, known)
        asked.output.say(listing.says.format(vhost=asked.vhost))
        vhosts = [asked.vhost] if listing.vhost else None
        needed = [] if set(wanted) & set(listing.other) else wanted
        rows = asked.rows(listing.command, vhosts=vhosts, columns=needed)
        if listing.vhost:
            check_vhost(asked)
        named = (
            ({**row, **{name: of(row) for name, of in listing.other.items()}} for row in rows) if not needed else rows
        )
        asked.output.show(named, wanted)

    run.__doc__ = f"List what there is, with these columns. Known are {', '.join(known)}."
    return run


def check_vhost(asked: Asked) -> None:
    """A listing of a virtual host that is not there would only be empty."""
    names = [row["name"] for row in asked.call("vhost.list") or []]
    if asked.vhost not in names:
        raise Failed(f"Virtual host '{asked.vhost}' does not exist")


for listing in LISTINGS:
    VERBS[listing.verb] = Verb(
        listing.verb,
        "[columns...]",
        (),
        listing.vhost,
        {},
        f"{listing.verb}\n{listing.verb} {listing.default} --formatter json",
        lister(listing),
    )
