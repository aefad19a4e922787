"""Clients that ask for too much, hold too much or leave at the worst moment: the broker stays small, quick and whole.

Floods of connections and broken frames are in test_crowd.py.
"""

import socket
import struct
from collections.abc import Callable
from itertools import pairwise

import pytest

from flowmq.server.control import place
from flowmq.server.control.client import ControlConnection
from tests.support import codec
from tests.support.broker import Broker, resident_bytes
from tests.support.codec import BODY, HEADER
from tests.support.wire import Client, connect, plain

pytestmark = pytest.mark.flowmq_only
OwnBroker = Callable[..., Broker]
MEGABYTE = 1 << 20


def memory_limit(octets: int) -> dict[str, str]:
    return {"FLOWMQ_LIMITS__MEMORY_BYTES_MAX": str(octets)}


def fill(client: Client, queue: str) -> None:
    """Publish until the broker says that it is blocked."""
    channel = client.channel()
    for _ in range(30):
        channel.publish("", queue, b"x" * 100_000)
    client.expect("connection.blocked")


def test_a_long_chain_of_auto_delete_exchanges_goes_with_its_queue(own_broker: OwnBroker) -> None:
    broker = own_broker()
    channel = connect(broker.peer).channel()
    names = [f"link {number}" for number in range(600)]
    for name in names:
        channel.call("exchange.declare", exchange=name, type="fanout", durable=True, auto_delete=True)
    queue = channel.queue("end of the chain", durable=True)
    for source, destination in pairwise(names):
        channel.call("exchange.bind", source=source, destination=destination)
    channel.call("queue.bind", queue=queue, exchange=names[-1])
    channel.call("queue.delete", queue=queue)
    channel.send("exchange.declare", exchange=names[0], type="fanout", passive=True)
    channel.expect_close(404)
    channel.client.close()
    broker.stop()
    again = broker.again()
    channel = connect(again.peer).channel()
    channel.send("queue.declare", queue=queue, passive=True)
    channel.expect_close(404)
    channel.client.close()
    again.stop()


def test_few_octets_cannot_ask_for_all_memory(own_broker: OwnBroker) -> None:
    broker = own_broker()
    client = connect(broker.peer)
    channel = client.channel()
    queue = channel.queue()
    channel.put(queue, b"x" * (2 * MEGABYTE))
    before = resident_bytes(broker.pid)
    rounds = 200
    again_and_again = b"".join(
        codec.method_frame(channel.number, "basic.get", queue=queue)
        + codec.method_frame(channel.number, "basic.nack", delivery_tag=tag, requeue=True)
        for tag in range(1, rounds + 1)
    )
    client.write(again_and_again)
    highest = before
    for tag in range(1, rounds + 1):
        assert channel.expect("basic.get-ok").delivery_tag == tag
        highest = max(highest, resident_bytes(broker.pid))
    assert highest - before < 100 * MEGABYTE  # of the 400 that were asked for in one write
    client.close()
    broker.stop()


def begin_large_messages(client: Client, count: int, body_bytes: int) -> list[int]:
    """Publish so many messages on channels of their own, but only their headers."""
    numbers = [client.channel().number for _ in range(count)]
    for number in numbers:
        header = struct.pack(">HHQH", 60, 0, body_bytes, 0)
        client.write(
            codec.method_frame(number, "basic.publish", routing_key="nowhere") + codec.frame(HEADER, number, header)
        )
    return numbers


def send_bodies_until_blocked(client: Client, numbers: list[int], rounds: int) -> None:
    """A megabyte to each; once the broker does not read any more, what it said is there to be read."""
    client.socket.settimeout(1)
    try:
        for _ in range(rounds):
            for number in numbers:
                for _ in range(16):
                    client.write(codec.frame(BODY, number, b"x" * 65536))
    except TimeoutError:
        pass
    client.socket.settimeout(30)


def test_bodies_alone_raise_the_memory_alarm(own_broker: OwnBroker) -> None:
    broker = own_broker(**memory_limit(20 * MEGABYTE))
    client = connect(broker.peer)
    numbers = begin_large_messages(client, 10, 100 * MEGABYTE)
    send_bodies_until_blocked(client, numbers, rounds=20)
    client.expect("connection.blocked")
    assert resident_bytes(broker.pid) < 120 * MEGABYTE
    client.drop()
    broker.stop()


def test_half_messages_of_a_client_that_left_during_the_alarm_are_given_back(own_broker: OwnBroker) -> None:
    broker = own_broker(**memory_limit(20 * MEGABYTE))
    # What it sent is in front of its goodbye, and is not read: only a heartbeat to it shows that nobody is there.
    client = connect(broker.peer, heartbeat=2)
    send_bodies_until_blocked(client, begin_large_messages(client, 10, 100 * MEGABYTE), rounds=20)
    client.expect("connection.blocked")
    client.drop()
    broker.log.wait_for("memory alarm cleared")
    working = connect(broker.peer).channel()
    working.put(working.queue(), b"there is room again")
    working.client.close()
    broker.stop()


def test_a_blocked_publisher_does_not_hold_up_the_end(own_broker: OwnBroker) -> None:
    broker = own_broker(**memory_limit(MEGABYTE))
    client = connect(broker.peer)
    fill(client, client.channel().queue(exclusive=True))
    broker.terminate()
    client.expect_close(320)
    assert broker.wait(8) == 0  # well before the end of the time that clients are given
    broker.check_log()


def test_no_delivery_before_consume_ok_when_a_durable_queue_has_just_gone(own_broker: OwnBroker) -> None:
    broker = own_broker()
    client = connect(broker.peer)
    channel = client.channel()
    going, full = channel.queue("going", durable=True, auto_delete=True), channel.queue("full")
    channel.put(full, b"waiting")
    channel.consume(going, "first")
    # In one turn: the queue goes, which is still to be written, and the next consumer starts.
    client.write(
        codec.method_frame(channel.number, "basic.cancel", consumer_tag="first")
        + codec.method_frame(channel.number, "basic.consume", queue=full, consumer_tag="second")
    )
    channel.expect("basic.cancel-ok")
    channel.expect("basic.consume-ok")
    assert channel.expect("basic.deliver").body == b"waiting"
    client.close()
    broker.stop()


def test_closing_in_the_middle_of_held_declares(own_broker: OwnBroker) -> None:
    """Everything behind a durable declare waits for the disk: a client's goodbye, and its disappearance."""
    broker = own_broker()
    polite, rude = connect(broker.peer), connect(broker.peer)
    for name, client in (("polite", polite), ("rude", rude)):
        channel = client.channel()
        declares = [
            codec.method_frame(channel.number, "queue.declare", queue=f"{name} {number}", durable=True)
            for number in range(100)
        ]
        client.write(b"".join(declares) + codec.method_frame(0, "connection.close", reply_code=200, reply_text=""))
    rude.drop()
    for _ in range(100):
        polite.expect("queue.declare-ok", channel=1)
    polite.expect("connection.close-ok")
    working = connect(broker.peer).channel()
    assert working.count("polite 99") == 0
    working.client.close()
    broker.stop()
    again = broker.again()
    channel = connect(again.peer).channel()
    assert channel.count("polite 99") == 0
    channel.client.close()
    again.stop()


def test_somebody_elses_wrong_passwords_do_not_keep_a_user_out(own_broker: OwnBroker) -> None:
    """Each takes a slow hash; those of one address wait for one another, not the user at another address."""
    broker = own_broker()
    with ControlConnection(broker.data_dir / place.NAME) as control:
        control.call("user.add", name="ann", password="secret", tags=[])
        control.call("permission.set", user="ann", vhost="/", configure="", write="", read="")
    tries, flood = 300, []
    for number in range(tries):
        guess = socket.create_connection((broker.peer.host, broker.peer.port), 30, source_address=("127.0.0.2", 0))
        response = plain(f"user {number}", "guess")
        fields = {"client_properties": {}, "mechanism": "PLAIN", "response": response, "locale": "en_US"}
        guess.sendall(codec.PROTOCOL_HEADER + codec.method_frame(0, "connection.start-ok", **fields))
        flood.append(guess)
    connect(broker.peer, user="ann", password="secret").close()
    broker.log.wait_for("opened: user 'ann'")
    before, _, _ = broker.log.text.partition("opened: user 'ann'")
    assert before.count("refused: no such user") < tries
    for guess in flood:
        guess.close()
    broker.stop()


def test_wrong_passwords_from_many_addresses_keep_nobody_out_who_was_there_before(own_broker: OwnBroker) -> None:
    """Nor do they slow down whoever is in."""
    broker = own_broker(FLOWMQ_LIMITS__DEFAULT_USER_LOOPBACK_ONLY="false")
    with ControlConnection(broker.data_dir / place.NAME) as control:
        for name in ("ann", "bob"):
            control.call("user.add", name=name, password="secret", tags=[])
            control.call("permission.set", user=name, vhost="/", configure=".*", write=".*", read=".*")
    neighbour = connect(broker.peer, user="ann", password="secret").channel()
    queue = neighbour.queue(exclusive=True)
    tries, flood = 700, []
    for number in range(tries):
        source = (f"127.1.{number // 250}.{1 + number % 250}", 0)
        guess = socket.create_connection((broker.peer.host, broker.peer.port), 30, source_address=source)
        fields = {"mechanism": "PLAIN", "response": plain(f"user {number}", "guess"), "locale": "en_US"}
        guess.sendall(
            codec.PROTOCOL_HEADER + codec.method_frame(0, "connection.start-ok", client_properties={}, **fields)
        )
        flood.append(guess)
    connect(broker.peer, user="bob", password="secret").close()  # from the address where ann has been
    broker.log.wait_for("opened: user 'bob'")
    before, _, _ = broker.log.text.partition("opened: user 'bob'")
    assert before.count("refused: no such user") < tries // 2, "the checks that came first were first"
    for number in range(100):
        neighbour.put(queue, b"%d" % number)
        method = neighbour.get(queue)
        assert method is not None
        assert method.body == b"%d" % number
    with ControlConnection(broker.data_dir / place.NAME) as control:
        refused = control.call("limit.refused")["log_ins"]
    assert 0 < refused <= tries - 400
    neighbour.client.close()
    for guess in flood:
        guess.close()
    broker.stop()
