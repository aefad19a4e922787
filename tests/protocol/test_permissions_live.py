"""What changes about users, permissions and virtual hosts counts at once, on connections that are open too."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from flowmq.server.control.registry import ControlError
from tests.support import codec
from tests.support.accounts import Accounts
from tests.support.peer import Peer
from tests.support.wire import Channel, Client, connect

flowmq_only = pytest.mark.flowmq_only  # RabbitMQ's channels remember some of what was allowed


class Place:
    """A virtual host and a user of this test's own, who may do everything there."""

    def __init__(self, accounts: Accounts, peer: Peer, name: str) -> None:
        self.accounts, self.vhost, self.user = accounts, f"v/{name}", f"u-{name}"
        accounts.add_vhost(self.vhost)
        accounts.add_user(self.user, "secret")
        self.permit()
        self.peer = replace(peer, user=self.user, password="secret", vhost=self.vhost)

    def permit(self, configure: str = ".*", write: str = ".*", read: str = ".*") -> None:
        self.accounts.permit(self.user, self.vhost, configure, write, read)

    def refused(self, text: str) -> str:
        return f"ACCESS_REFUSED - {text} in vhost '{self.vhost}' refused for user '{self.user}'"


@pytest.fixture
def place(accounts: Accounts, peer: Peer, name: str) -> Place:
    return Place(accounts, peer, name)


@pytest.fixture
def user(place: Place) -> Iterator[Client]:
    with connect(place.peer) as client:
        yield client


def answered(channel: Channel) -> None:
    """Everything sent before has been dealt with, and the channel is open."""
    channel.call("basic.qos", prefetch_count=1)


# --------------------------------------------------------------------------------------------------- permissions


@flowmq_only
def test_a_publisher_that_loses_its_permission_is_refused_with_the_next_message(place: Place, user: Client) -> None:
    channels = [user.channel(), user.channel()]
    for channel in channels:
        for _ in range(3):
            channel.publish("amq.fanout", "k", b"x")
        answered(channel)
    place.permit(write="^other$")
    for channel in channels:
        channel.publish("amq.fanout", "k", b"x")
        channel.expect_close(403, place.refused("write access to exchange 'amq.fanout'"), (60, 40))
    place.permit()
    channel = user.channel()
    channel.publish("amq.fanout", "k", b"x")
    answered(channel)


@flowmq_only
@pytest.mark.parametrize("warm", [False, True])
def test_a_permission_that_goes_between_method_and_header(place: Place, user: Client, warm: bool) -> None:
    channel = user.channel()
    if warm:
        channel.publish("amq.fanout", "k", b"x")
    answered(channel)
    method = codec.method_frame(channel.number, "basic.publish", exchange="amq.fanout", routing_key="k")
    content = channel.content(b"x")
    user.write(method)
    user.channel()  # its answer shows that the method was read
    place.permit(write="")
    user.write(content)
    channel.expect_close(403, place.refused("write access to exchange 'amq.fanout'"), (60, 40))


@flowmq_only
def test_what_was_allowed_with_its_header_is_published(place: Place, user: Client) -> None:
    channel = user.channel()
    queue = channel.queue("q")
    channel.call("confirm.select")
    user.frame_max = 4096
    method = codec.method_frame(channel.number, "basic.publish", exchange="", routing_key=queue)
    content = channel.content(bytes(4088 + 10))
    last_frame_bytes = 10 + 8
    user.write(method + content[:-last_frame_bytes])
    user.channel()
    place.permit(write="")
    user.write(content[-last_frame_bytes:])
    channel.wait_for_confirms(1)
    assert channel.count(queue) == 1
    channel.publish("", queue, b"x")
    channel.expect_close(403, place.refused("write access to exchange 'amq.default'"))


@flowmq_only
def test_declaring_and_getting_are_refused_as_soon_as_permissions_are_cleared(place: Place, user: Client) -> None:
    channel = user.channel()
    queue = channel.queue("q")
    place.accounts.forbid(place.user, place.vhost)
    channel.send("queue.declare", queue=queue)
    channel.expect_close(403, place.refused("configure access to queue 'q'"))
    channel = user.channel()
    channel.send("basic.get", queue=queue)
    channel.expect_close(403, place.refused("read access to queue 'q'"))


@flowmq_only
def test_a_consumer_that_may_not_read_any_more_is_cancelled(place: Place, user: Client) -> None:
    channel = user.channel()
    for queue in ("a", "b"):
        channel.queue(queue)
        channel.consume(queue, f"of {queue}")
    place.permit(read="^b$")
    assert channel.expect("basic.cancel").consumer_tag == "of a"
    for queue in ("a", "b"):
        channel.put(queue, queue.encode())
    delivered = channel.expect("basic.deliver")
    assert (delivered.consumer_tag, delivered.body) == ("of b", b"b")
    assert channel.count("a") == 1


@flowmq_only
def test_a_topic_permission_counts_for_a_key_that_was_published_before(place: Place, user: Client) -> None:
    channel = user.channel()
    channel.publish("amq.topic", "a.b", b"x")
    answered(channel)
    place.accounts.permit_topics(place.user, place.vhost, "amq.topic", "^c", "")
    channel.publish("amq.topic", "a.b", b"x")
    channel.expect_close(403, place.refused("write access to topic 'a.b' in exchange 'amq.topic'"), (60, 40))
    place.accounts.forget_topics(place.user, place.vhost)
    channel = user.channel()
    channel.publish("amq.topic", "a.b", b"x")
    answered(channel)


@flowmq_only
@pytest.mark.parametrize("client_id", ["one", None, ".*"])
def test_client_id_stands_for_what_the_client_says(place: Place, client_id: str | None) -> None:
    place.accounts.permit_topics(place.user, place.vhost, "amq.topic", "^{client_id}$", "")
    with Client(place.peer) as client:
        client.start()
        properties = {"capabilities": {}} | ({} if client_id is None else {"client_id": client_id})
        response = b"\0" + place.user.encode() + b"\0secret"
        client.send(
            0, "connection.start-ok", client_properties=properties, mechanism="PLAIN", response=response, locale="en_US"
        )
        client.tune()
        client.open()
        channel = client.channel()
        channel.publish("amq.topic", client_id or "{client_id}", b"x")
        answered(channel)
        channel.publish("amq.topic", "two", b"x")
        channel.expect_close(403)


@flowmq_only
def test_a_tag_counts_at_once(place: Place, user: Client) -> None:
    place.accounts.set_tags(place.user, "impersonator")
    channel = user.channel()
    channel.publish("amq.fanout", "k", b"x", {"user_id": "bob"})
    answered(channel)
    place.accounts.set_tags(place.user)
    channel.publish("amq.fanout", "k", b"x", {"user_id": "bob"})
    channel.expect_close(406)


# ---------------------------------------------------------------------------------------------------------- users


def test_the_connections_of_a_deleted_user_are_closed(place: Place, user: Client) -> None:
    place.accounts.delete_user(place.user)
    user.expect_close(320, f"CONNECTION_FORCED - user '{place.user}' is deleted")


def test_a_new_user_of_an_old_name_has_none_of_the_old_rights(place: Place, user: Client) -> None:
    place.accounts.permit_topics(place.user, place.vhost, "amq.topic", "", "")
    place.accounts.delete_user(place.user)
    place.accounts.add_user(place.user, "secret")
    with Client(place.peer) as client:
        client.start()
        client.start_ok()
        client.tune()
        client.send(0, "connection.open", virtual_host=place.vhost)
        client.expect_close(530, f"NOT_ALLOWED - access to vhost '{place.vhost}' refused for user '{place.user}'")
    place.permit()
    with connect(place.peer) as client:
        channel = client.channel()
        channel.publish("amq.topic", "k", b"x")
        answered(channel)


def refused_log_in(peer: Peer, password: str) -> None:
    with Client(peer) as client:
        client.start()
        client.start_ok(peer.user, password)
        assert client.receive().reply_code == 403


def test_a_new_password_counts_for_the_next_log_in(place: Place, user: Client) -> None:
    with connect(place.peer):  # the old one has been remembered
        place.accounts.set_password(place.user, "newer")
    answered(user.channel())
    refused_log_in(place.peer, "secret")
    connect(place.peer, password="newer").close()


# -------------------------------------------------------------------------------------------------- virtual hosts


def test_virtual_hosts_know_nothing_of_each_other(place: Place, accounts: Accounts, peer: Peer, name: str) -> None:
    other = f"{place.vhost}-other"
    accounts.add_vhost(other)
    accounts.permit(place.user, other)
    with connect(place.peer) as one, connect(place.peer, vhost=other) as two:
        channels = [one.channel(), two.channel()]
        for channel in channels:
            channel.queue("q")
            channel.call("exchange.declare", exchange="x", type="fanout")
            channel.call("queue.bind", queue="q", exchange="x")
        channels[0].put("q", b"default exchange")
        channels[0].publish("x", "", b"x")
        channels[0].publish("amq.fanout", "", b"nowhere")
        answered(channels[0])
        assert channels[0].drain("q") == [b"default exchange", b"x"]
        assert channels[1].drain("q") == []
        channels[0].call("queue.delete", queue="q")
        assert channels[1].count("q") == 0
    accounts.delete_vhost(other)


def test_with_a_virtual_host_goes_everything_in_it(place: Place, accounts: Accounts, user: Client) -> None:
    channel = user.channel()
    channel.queue("q", durable=True)
    channel.queue("exclusive", exclusive=True)
    channel.call("exchange.declare", exchange="x", type="fanout", durable=True)
    channel.call("exchange.declare", exchange="y", type="topic", durable=True, arguments={"alternate-exchange": "x"})
    channel.call("exchange.bind", source="x", destination="y")
    channel.call("queue.bind", queue="q", exchange="amq.topic", routing_key="#")
    channel.put("q", *[b"x"] * 10, properties={"delivery_mode": 2})
    channel.consume("exclusive")
    accounts.delete_vhost(place.vhost)
    user.expect_close(320, f"CONNECTION_FORCED - vhost '{place.vhost}' is deleted")
    accounts.add_vhost(place.vhost)
    with Client(place.peer) as client:
        client.start()
        client.start_ok()
        client.tune()
        client.send(0, "connection.open", virtual_host=place.vhost)
        client.expect_close(530, f"NOT_ALLOWED - access to vhost '{place.vhost}' refused for user '{place.user}'")
    place.permit()
    with connect(place.peer) as client:
        for method, fields in (
            ("queue.declare", {"queue": "q", "passive": True}),
            ("exchange.declare", {"exchange": "x", "type": "fanout", "passive": True}),
            ("exchange.declare", {"exchange": "y", "type": "topic", "passive": True}),
        ):
            channel = client.channel()
            channel.send(method, **fields)
            channel.expect_close(404)
        channel = client.channel()
        channel.queue("q", durable=True)
        channel.call("confirm.select")
        channel.publish("amq.topic", "k", b"x")
        channel.wait_for_confirms(1)
        assert channel.count("q") == 0


@pytest.mark.parametrize("odd", ["a/b c", "\u00e9\u4e2d\U0001f600", "'\"\\%2F", "x" * 255, ".*", "\udcff"])
def test_a_virtual_host_may_have_any_name(accounts: Accounts, peer: Peer, odd: str) -> None:
    accounts.add_vhost(odd)
    accounts.permit(peer.user, odd)
    with connect(peer, vhost=odd) as client:
        channel = client.channel()
        channel.queue("q")
        channel.send("queue.declare", queue="none", passive=True)
        text = f"NOT_FOUND - no queue 'none' in vhost '{odd}'"
        channel.expect_close(404, text if len(text) < 255 else None)
    accounts.delete_vhost(odd)


# ------------------------------------------------------------------------------------------- what cannot be done


REFUSED = [
    ("user.add", {"name": "guest", "password": "x"}, "already_there", "user 'guest' is there already"),
    ("user.add", {"name": "", "password": "x"}, "bad_request", "the name of a user must not be empty"),
    ("user.add", {"name": "n" * 256, "password": "x"}, "bad_request", "the name of a user is at most 255 octets long"),
    ("user.add", {"name": "n", "password": ""}, "bad_request", "the password is empty"),
    ("user.add", {"name": "n"}, "bad_request", "either a password or a password hash is needed"),
    ("user.add", {"name": "n", "password": "x", "tags": ["a,b"]}, "bad_request", "'a,b' is no tag: a word without"),
    (
        "user.add",
        {"name": "n", "password_hash": "x", "hashing_algorithm": "rabbit_password_hashing_md5"},
        "bad_request",
        "hashing algorithm 'rabbit_password_hashing_md5' is not supported: use one of argon2id, rabbit_password_hash",
    ),
    ("user.delete", {"name": "nobody"}, "not_found", "there is no user 'nobody'"),
    ("user.set_password", {"name": "nobody", "password": "x"}, "not_found", "there is no user 'nobody'"),
    ("vhost.add", {"name": "/"}, "already_there", "vhost '/' is there already"),
    ("vhost.add", {"name": "v", "description": "\udcff"}, "bad_request", "a description must be text in UTF-8"),
    ("vhost.add", {"name": ""}, "bad_request", "the name of a vhost must not be empty"),
    ("vhost.delete", {"name": "nowhere"}, "not_found", "there is no vhost 'nowhere'"),
    (
        "permission.set",
        {"user": "guest", "vhost": "nowhere", "configure": "", "write": "", "read": ""},
        "not_found",
        "there is no vhost 'nowhere'",
    ),
    (
        "permission.set",
        {"user": "nobody", "configure": "", "write": "", "read": ""},
        "not_found",
        "there is no user 'nobody'",
    ),
    (
        "permission.set",
        {"user": "guest", "configure": "(", "write": "", "read": ""},
        "bad_request",
        "pattern '(': missing )",
    ),
]


@flowmq_only
@pytest.mark.parametrize(("command", "arguments", "code", "reason"), REFUSED)
def test_what_cannot_be_done_is_said(
    accounts: Accounts, command: str, arguments: dict[str, object], code: str, reason: str
) -> None:
    with pytest.raises(ControlError) as refused:
        accounts.control.call(command, **arguments)  # type: ignore[attr-defined]
    assert refused.value.code == code
    assert refused.value.reason.startswith(reason)
