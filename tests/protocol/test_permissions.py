"""Which method needs which permission on what, and in which order what is wrong is noticed."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, NamedTuple

import pytest

from tests.support.accounts import Accounts
from tests.support.peer import Peer
from tests.support.wire import Channel, Client, connect

VHOST, USER = "permissions é", "permitted"
CONFIGURE, WRITE, READ = "configure", "write", "read"


def refused(peer: Peer, text: str) -> str:
    """RabbitMQ before 4.0 does not say which access."""
    rest = text.partition(" ")[2]
    return f"ACCESS_REFUSED - {text if peer.is_flowmq else rest} in vhost '{VHOST}' refused for user '{USER}'"


@pytest.fixture(scope="module")
def permitted(accounts: Accounts, peer: Peer) -> Iterator[Peer]:
    """Names that begin with c can be configured, with w written, with r read: cwr is all of it."""
    accounts.add_vhost(VHOST)
    accounts.permit(peer.user, VHOST)
    accounts.add_user(USER, "secret")
    accounts.permit(USER, VHOST, "^c", "^.?w|^amq.default$|^topics$", "^.?.?r|^topics$")
    with connect(peer, vhost=VHOST) as client:
        channel = client.channel()
        for name in ("cwr", "-", "c", "-w", "--r"):
            channel.queue(name, durable=True)
            channel.call("exchange.declare", exchange=name, type="fanout", durable=True)
        channel.call("exchange.declare", exchange="topics", type="topic", durable=True)
    yield replace(peer, user=USER, password="secret", vhost=VHOST)
    accounts.delete_user(USER)
    accounts.delete_vhost(VHOST)


class Case(NamedTuple):
    method: str
    fields: dict[str, Any]
    refused: str  # permission and what it is on; empty when it is allowed
    code: int = 403


DLX, AE = "x-dead-letter-exchange", "alternate-exchange"
CASES = [
    Case("exchange.declare", {"exchange": "new", "type": "direct"}, "configure access to exchange 'new'"),
    Case("exchange.declare", {"exchange": "-", "type": "fanout", "durable": True}, "configure access to exchange '-'"),
    Case("exchange.declare", {"exchange": "c", "type": "fanout", "durable": True}, ""),
    Case("exchange.declare", {"exchange": "-", "type": "fanout", "passive": True}, ""),
    Case(
        "exchange.declare",
        {"exchange": "c1", "type": "fanout", "arguments": {AE: "-w"}},
        "read access to exchange 'c1'",
    ),
    Case(
        "exchange.declare",
        {"exchange": "c-r", "type": "fanout", "arguments": {AE: "x"}},
        "write access to exchange 'x'",
    ),
    Case("exchange.declare", {"exchange": "c-r", "type": "fanout", "arguments": {AE: "-w"}}, ""),
    Case("exchange.delete", {"exchange": "-"}, "configure access to exchange '-'"),
    Case("exchange.delete", {"exchange": "none"}, "configure access to exchange 'none'"),
    Case("exchange.delete", {"exchange": "c-none"}, ""),
    Case("queue.declare", {"queue": "new"}, "configure access to queue 'new'"),
    Case("queue.declare", {"queue": "-", "durable": True}, "configure access to queue '-'"),
    Case("queue.declare", {"queue": "c", "durable": True}, ""),
    Case("queue.declare", {"queue": "-", "passive": True}, ""),
    Case("queue.declare", {"queue": "c1", "arguments": {DLX: "-w"}}, "read access to queue 'c1'"),
    Case("queue.declare", {"queue": "c-r", "arguments": {DLX: "x"}}, "write access to exchange 'x'"),
    Case("queue.declare", {"queue": "c-r", "arguments": {DLX: ""}}, ""),
    Case("queue.declare", {"queue": "amq.rabbitmq.reply-to"}, ""),
    Case("queue.delete", {"queue": "-w"}, "configure access to queue '-w'"),
    Case("queue.delete", {"queue": "none"}, "configure access to queue 'none'"),
    Case("queue.purge", {"queue": "c"}, "read access to queue 'c'"),
    Case("queue.purge", {"queue": "--r"}, ""),
    Case("queue.bind", {"queue": "c", "exchange": "--r"}, "write access to queue 'c'"),
    Case("queue.bind", {"queue": "-w", "exchange": "c"}, "read access to exchange 'c'"),
    Case("queue.bind", {"queue": "-w", "exchange": "--r"}, ""),
    Case("queue.bind", {"queue": "none", "exchange": "--r"}, "write access to queue 'none'"),
    Case("queue.unbind", {"queue": "c", "exchange": "--r"}, "write access to queue 'c'"),
    Case("queue.unbind", {"queue": "-w", "exchange": "c"}, "read access to exchange 'c'"),
    Case("queue.unbind", {"queue": "-w", "exchange": "--r"}, ""),
    Case("exchange.bind", {"destination": "c", "source": "--r"}, "write access to exchange 'c'"),
    Case("exchange.bind", {"destination": "-w", "source": "c"}, "read access to exchange 'c'"),
    Case("exchange.bind", {"destination": "-w", "source": "--r"}, ""),
    Case("exchange.unbind", {"destination": "c", "source": "--r"}, "write access to exchange 'c'"),
    Case("exchange.unbind", {"destination": "-w", "source": "c"}, "read access to exchange 'c'"),
    Case("exchange.unbind", {"destination": "-w", "source": "--r"}, ""),
    Case("basic.consume", {"queue": "-w"}, "read access to queue '-w'"),
    Case("basic.consume", {"queue": "none"}, "read access to queue 'none'"),
    Case("basic.consume", {"queue": "--r"}, ""),
    Case("basic.consume", {"queue": "amq.rabbitmq.reply-to", "no_ack": True}, ""),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.method}-{case.fields}")
def test_what_a_method_needs(permitted: Peer, case: Case) -> None:
    with connect(permitted) as client:
        channel = client.channel()
        channel.send(case.method, **case.fields)
        if case.refused:
            channel.expect_close(403, refused(permitted, case.refused))
        else:
            channel.expect(f"{case.method}-ok")
            if case.method.endswith(".declare") and case.fields.get("arguments"):
                kind = case.method.partition(".")[0]
                channel.call(f"{kind}.delete", **{kind: case.fields[kind]})
        # The connection goes on.
        client.channel()


ORDER = [
    (
        "queue.declare",
        {"queue": "amq.new"},
        403,
        "ACCESS_REFUSED - queue name 'amq.new' contains reserved prefix 'amq.*'",
    ),
    ("exchange.declare", {"exchange": "", "type": "direct"}, 403, "operation not permitted on the default exchange"),
    (
        "exchange.delete",
        {"exchange": "amq.direct"},
        403,
        f"deletion of system exchange 'amq.direct' in vhost '{VHOST}' not",
    ),
    ("queue.bind", {"queue": "-w", "exchange": ""}, 403, "operation not permitted on the default exchange"),
    ("queue.bind", {"queue": "-w", "exchange": "r-none"}, 404, f"no exchange 'r-none' in vhost '{VHOST}'"),
    ("queue.declare", {"queue": "none", "passive": True}, 404, f"no queue 'none' in vhost '{VHOST}'"),
    ("basic.get", {"queue": "r-none"}, 404, f"no queue 'r-none' in vhost '{VHOST}'"),
    ("queue.purge", {"queue": "r-none"}, 404, f"no queue 'r-none' in vhost '{VHOST}'"),
    ("queue.delete", {"queue": ""}, 404, "no previously declared queue"),
    ("basic.get", {"queue": "-"}, 403, f"access to queue '-' in vhost '{VHOST}' refused for user '{USER}'"),
    (
        "queue.bind",
        {"queue": "c", "exchange": ""},
        403,
        f"access to queue 'c' in vhost '{VHOST}' refused for user '{USER}'",
    ),
]


@pytest.mark.parametrize(("method", "fields", "code", "text"), ORDER)
def test_what_is_noticed_first(permitted: Peer, method: str, fields: dict[str, Any], code: int, text: str) -> None:
    with connect(permitted) as client:
        channel = client.channel()
        channel.send(method, **fields)
        assert text in channel.expect_close(code).reply_text


def test_a_queue_that_the_server_names_is_asked_for_by_that_name(permitted: Peer) -> None:
    with connect(permitted) as client:
        channel = client.channel()
        channel.send("queue.declare", queue="")
        assert "access to queue 'amq.gen-" in channel.expect_close(403).reply_text


# ------------------------------------------------------------------------------------------------------ publishing

PUBLISHES = [
    ("-w", "", 0),
    ("", "c", 0),  # the default exchange is amq.default
    ("c", "write access to exchange 'c'", 403),
    ("none", "write access to exchange 'none'", 403),
    ("w-none", f"NOT_FOUND - no exchange 'w-none' in vhost '{VHOST}'", 404),
]


@pytest.mark.parametrize(("exchange", "text", "code"), PUBLISHES)
def test_publishing_writes_to_the_exchange(permitted: Peer, exchange: str, text: str, code: int) -> None:
    with connect(permitted) as client:
        channel = client.channel()
        for _ in range(2):
            channel.publish(exchange, "c", b"x")
        if code:
            channel.expect_close(code, refused(permitted, text) if code == 403 else text, (60, 40))
        else:
            channel.call("basic.qos", prefetch_count=1)


def test_one_exchange_that_is_allowed_opens_no_other(permitted: Peer) -> None:
    with connect(permitted) as client:
        channel = client.channel()
        for exchange in ("-w", "cwr", "-w"):
            channel.publish(exchange, "k", b"x")
        channel.call("basic.qos", prefetch_count=1)
        channel.publish("-", "k", b"x")
        channel.expect_close(403, refused(permitted, "write access to exchange '-'"))


# --------------------------------------------------------------------------------------------------------- topics


@pytest.fixture(scope="module")
def topics(accounts: Accounts, permitted: Peer) -> Iterator[Peer]:
    accounts.permit_topics(USER, VHOST, "topics", r"^{username}\.w$", r"^{username}-{vhost}\.r$")
    yield permitted
    accounts.forget_topics(USER, VHOST)


OWN_WRITE, OWN_READ = f"{USER}.w", f"{USER}-{VHOST}.r"


def test_a_topic_permission_is_about_routing_keys_that_are_published(topics: Peer) -> None:
    with connect(topics) as client:
        channel = client.channel()
        channel.publish("topics", OWN_WRITE, b"x")
        channel.publish("-w", "anything else", b"x")
        channel.publish("topics", OWN_WRITE, b"x")
        channel.call("basic.qos", prefetch_count=1)
        channel.publish("topics", "other.w", b"x", {"user_id": "bob", "expiration": "never"})
        channel.expect_close(403, refused(topics, "write access to topic 'other.w' in exchange 'topics'"), (60, 40))


@pytest.mark.flowmq_only  # RabbitMQ 3.10 looks at the routing key alone
@pytest.mark.parametrize("header", ["CC", "BCC"])
def test_further_keys_need_the_permission_too(topics: Peer, header: str) -> None:
    with connect(topics) as client:
        channel = client.channel()
        channel.publish("topics", OWN_WRITE, b"x", {"headers": {header: [OWN_WRITE]}})
        channel.call("basic.qos", prefetch_count=1)
        channel.publish("topics", OWN_WRITE, b"x", {"headers": {header: [OWN_WRITE, "other.w"]}})
        channel.expect_close(403, refused(topics, "write access to topic 'other.w' in exchange 'topics'"), (60, 40))


@pytest.mark.parametrize("method", ["queue.bind", "queue.unbind", "exchange.bind", "exchange.unbind"])
@pytest.mark.parametrize("key", [OWN_READ, "other.r", OWN_WRITE])
def test_a_topic_permission_is_about_routing_keys_that_are_bound(topics: Peer, method: str, key: str) -> None:
    ends = {"queue": "-w", "exchange": "topics"} if method[0] == "q" else {"destination": "-w", "source": "topics"}
    with connect(topics) as client:
        channel = client.channel()
        channel.send(method, routing_key=key, **ends)
        if key == OWN_READ:
            channel.expect(f"{method}-ok")
        else:
            channel.expect_close(403, refused(topics, f"read access to topic '{key}' in exchange 'topics'"))


# -------------------------------------------------------------------------------------------------------- user-id


def test_only_an_impersonator_may_name_another_user(accounts: Accounts, permitted: Peer) -> None:
    text = f"PRECONDITION_FAILED - user_id property set to 'bob' but authenticated user was '{USER}'"
    with connect(permitted) as client:
        channel = client.channel()
        channel.publish("-w", "k", b"x", {"user_id": "bob"})
        channel.expect_close(406, text)
    accounts.set_tags(USER, "impersonator")
    with connect(permitted) as client:
        channel = client.channel()
        channel.publish("-w", "k", b"x", {"user_id": "bob"})
        channel.call("basic.qos", prefetch_count=1)
    accounts.set_tags(USER)


# -------------------------------------------------------------------------------------------------- at the door


def opened(peer: Peer, vhost: str) -> Client:
    client = Client(peer)
    client.start()
    client.start_ok()
    client.tune()
    client.send(0, "connection.open", virtual_host=vhost)
    return client


def test_a_user_without_a_permission_in_a_vhost_does_not_get_in(permitted: Peer) -> None:
    with opened(permitted, "/") as client:
        client.expect_close(530, f"NOT_ALLOWED - access to vhost '/' refused for user '{USER}'", class_id=10)


def test_a_vhost_that_does_not_exist(permitted: Peer) -> None:
    with opened(permitted, "nonesuch") as client:
        client.expect_close(530, "NOT_ALLOWED - vhost nonesuch not found", class_id=10)


def test_the_channel_of_another_user_has_its_own_rights(peer: Peer, permitted: Peer) -> None:
    """What one connection may do is not remembered for the next."""
    with connect(peer, vhost=VHOST) as all_may, connect(permitted) as some_may:
        channels: list[Channel] = [all_may.channel(), some_may.channel()]
        for channel in channels:
            channel.publish("-", "k", b"x")
        channels[0].call("basic.qos", prefetch_count=1)
        channels[1].expect_close(403)
