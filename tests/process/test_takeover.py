"""A client that comes back for its exclusive queue while its old connection is dead, and nobody has noticed."""

import ctypes
import socket
import struct
from collections.abc import Callable

import pytest

from tests.support import codec
from tests.support.broker import Broker
from tests.support.peer import Peer
from tests.support.wire import CAPABILITIES, Client, plain

pytestmark = pytest.mark.flowmq_only
SO_ATTACH_FILTER = 26
LOCKED = "RESOURCE_LOCKED - cannot obtain exclusive access to locked queue 'mine' in vhost '/'."


def named(peer: Peer, user: str = "guest", **properties: str) -> Client:
    client = Client(peer)
    client.start()
    client.send(
        0,
        "connection.start-ok",
        client_properties={"capabilities": CAPABILITIES, **properties},
        mechanism="PLAIN",
        response=plain(user, user),
        locale="en_US",
    )
    client.tune()
    client.open()
    return client


def unplug(client: Client) -> None:
    """Its socket takes no segment any more and acknowledges none, as when the cable is pulled."""
    drop_all = ctypes.create_string_buffer(struct.pack("=HBBI", 0x06, 0, 0, 0))  # BPF: ret 0
    program = struct.pack("@HP", 1, ctypes.addressof(drop_all))
    client.socket.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, program)


@pytest.mark.parametrize(
    "properties", [{"connection_name": "worker 7"}, {"takeover_token": "t", "connection_name": "worker 7"}]
)
def test_the_queue_of_a_dead_connection_is_free(own_broker: Callable[..., Broker], properties: dict[str, str]) -> None:
    broker = own_broker()
    with named(broker.peer, **properties) as old, named(broker.peer, **properties) as new:
        channel = old.channel()
        channel.queue("mine", exclusive=True)
        channel.queue("other", exclusive=True)
        channel.put("mine", b"x")
        unplug(old)
        channel = new.channel()
        assert channel.call("queue.declare", queue="mine", exclusive=True).message_count == 0
        channel.send("queue.declare", queue="other", passive=True)
        channel.expect_close(404)
    broker.log.wait_for("nothing is acknowledged any more, and its client has come back")
    broker.log.wait_for("ended: taken over by a new connection of the same client")
    broker.stop()


def test_what_is_sent_behind_the_declaration_waits_for_it(own_broker: Callable[..., Broker]) -> None:
    broker = own_broker()
    with named(broker.peer, connection_name="a") as old, named(broker.peer, connection_name="a") as new:
        old.channel().queue("mine", exclusive=True)
        unplug(old)
        channel = new.channel()
        channel.send("queue.declare", queue="mine", exclusive=True)
        channel.send("basic.consume", queue="mine", consumer_tag="t")
        channel.publish("", "mine", b"x")
        channel.expect("queue.declare-ok")
        channel.expect("basic.consume-ok")
        assert channel.expect("basic.deliver").body == b"x"
    broker.stop()


def test_declarations_before_and_behind_it_keep_their_order(own_broker: Callable[..., Broker]) -> None:
    broker = own_broker()
    with named(broker.peer, connection_name="a") as old, named(broker.peer, connection_name="a") as new:
        old.channel().queue("mine", exclusive=True)
        unplug(old)
        channel = new.channel()
        for fields in (
            {"queue": "a", "durable": True},
            {"queue": "mine", "exclusive": True},
            {"queue": "b", "durable": True},
        ):
            channel.send("queue.declare", **fields)
        channel.send("basic.get", queue="mine")
        channel.send("queue.delete", queue="mine")
        assert [channel.expect("queue.declare-ok").queue for _ in range(3)] == ["a", "mine", "b"]
        channel.expect("basic.get-empty")
        channel.expect("queue.delete-ok")
    broker.stop()


def test_a_connection_that_ends_meanwhile_frees_it_too(own_broker: Callable[..., Broker]) -> None:
    broker = own_broker()
    with named(broker.peer, connection_name="a") as new:
        old = named(broker.peer, connection_name="a")
        old.channel().queue("mine", exclusive=True)
        unplug(old)
        channel = new.channel()
        channel.send("queue.declare", queue="mine", exclusive=True)
        old.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        old.drop()
        channel.expect("queue.declare-ok")
    broker.stop()
    assert "nothing is acknowledged" not in broker.log.text


@pytest.mark.parametrize("reading", [True, False])
def test_a_living_connection_keeps_its_queue(own_broker: Callable[..., Broker], reading: bool) -> None:
    """Also one that does not read: then there is no room in its socket, which its system still says."""
    broker = own_broker()
    with named(broker.peer, connection_name="a") as old, named(broker.peer, connection_name="a") as new:
        channel = old.channel()
        channel.queue("mine", exclusive=True)
        if not reading:
            channel.consume("mine", no_ack=True)
            feeder = old.channel()
            for _ in range(100):
                feeder.publish("", "mine", bytes(100_000))
        channel = new.channel()
        channel.send("queue.declare", queue="mine", exclusive=True)
        assert channel.expect_close(405).reply_text.startswith(LOCKED)
        new.channel()
        if reading:
            assert old.channel().count("mine") == 0
    broker.stop()


@pytest.mark.parametrize(
    ("old_name", "new_name", "user"),
    [
        ({}, {}, "guest"),
        ({"connection_name": "a"}, {"connection_name": "b"}, "guest"),
        ({"connection_name": "a", "takeover_token": "t"}, {"connection_name": "a", "takeover_token": "u"}, "guest"),
        ({"connection_name": "t"}, {"takeover_token": "t"}, "guest"),
        ({"connection_name": ""}, {"connection_name": ""}, "guest"),
        ({"connection_name": "a"}, {"connection_name": "a"}, "ann"),
    ],
)
def test_only_the_same_user_by_the_same_name_asks(
    own_broker: Callable[..., Broker],
    tmp_path_factory: pytest.TempPathFactory,
    old_name: dict[str, str],
    new_name: dict[str, str],
    user: str,
) -> None:
    file = tmp_path_factory.mktemp("settings") / "flowmq.toml"
    file.write_text("".join(f"[[users]]\nname = '{name}'\npassword = '{name}'\n" for name in ("guest", "ann")))
    broker = own_broker("--config", str(file))
    with named(broker.peer, **old_name) as old, named(broker.peer, user, **new_name) as new:
        old.channel().queue("mine", exclusive=True)
        unplug(old)
        channel = new.channel()
        channel.send("queue.declare", queue="mine", exclusive=True)
        assert channel.expect_close(405).reply_text.startswith(LOCKED)
    broker.stop()


def test_a_declaration_that_is_not_exclusive_asks_nobody(own_broker: Callable[..., Broker]) -> None:
    broker = own_broker()
    with named(broker.peer, connection_name="a") as old, named(broker.peer, connection_name="a") as new:
        old.channel().queue("mine", exclusive=True)
        unplug(old)
        for fields in ({"passive": True}, {}):
            channel = new.channel()
            channel.send("queue.declare", queue="mine", **fields)
            channel.expect_close(405)
    broker.stop()


def test_whoever_waits_may_go_away(own_broker: Callable[..., Broker]) -> None:
    broker = own_broker()
    with named(broker.peer, connection_name="a") as old:
        old.channel().queue("mine", exclusive=True)
        unplug(old)
        with named(broker.peer, connection_name="a") as new:
            new.write(
                codec.method_frame(1, "channel.open")
                + codec.method_frame(1, "queue.declare", queue="mine", exclusive=True)
            )
            new.expect("channel.open-ok", channel=1)
        broker.log.wait_for("ended: taken over by a new connection of the same client")
        with named(broker.peer, connection_name="a") as again:
            again.channel().queue("mine", exclusive=True)
    broker.stop()
