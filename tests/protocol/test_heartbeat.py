"""Heartbeats: sent when nothing else was, missed at the connection's peril, any octet counting as one."""

import socket
import time

import pytest

from tests.support import codec
from tests.support.codec import HEARTBEAT
from tests.support.peer import Peer
from tests.support.wire import Channel, Client, Frame, connect

GETS, BODY_BYTES = 200, 100_000
PULSE = codec.frame(HEARTBEAT, 0, b"")


def test_heartbeats_are_sent_while_nothing_else_is(peer: Peer) -> None:
    with connect(peer, heartbeat=1) as client:
        for _ in range(3):
            assert client.read_frame() == Frame(HEARTBEAT, 0, b"")
            client.write(PULSE)
        client.close()


def test_silent_client_is_let_go_without_a_word(peer: Peer) -> None:
    with connect(peer, heartbeat=1) as client:
        rest = client.read_until_eof()
        assert rest.replace(PULSE, b"") == b""
        assert rest


def test_any_octet_counts_as_a_heartbeat(peer: Peer) -> None:
    """One octet of a method with every pulse of the server: far longer than the limit, and never let go."""
    with connect(peer, heartbeat=1) as client:
        pieces = codec.method_frame(1, "channel.open")
        for at in range(len(pieces)):
            client.write(pieces[at : at + 1])
            if at < 8:
                assert client.read_frame().kind == HEARTBEAT
        client.expect("channel.open-ok", channel=1)
        client.close()


def test_no_heartbeats_when_turned_off(peer: Peer) -> None:
    with connect(peer, heartbeat=0, timeout=2.5) as quiet, connect(peer, heartbeat=1) as lively:
        for _ in range(4):
            assert lively.read_frame().kind == HEARTBEAT
            lively.write(PULSE)
        with pytest.raises(TimeoutError):
            quiet.read_frame()
        quiet.socket.settimeout(30)
        quiet.close()


def ask_for_much(client: Client, name: str) -> Channel:
    """More than the broker's buffers and those of both sockets take. What it gets is to be acknowledged."""
    client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)
    channel = client.channel()
    channel.queue(name)
    for _ in range(GETS):
        channel.publish("", name, bytes(BODY_BYTES))
    client.write(codec.method_frame(channel.number, "basic.get", queue=name) * GETS)
    return channel


def write_until(client: Client, octets: bytes, ends: float) -> None:
    while time.monotonic() < ends:
        client.write(octets)
        time.sleep(0.1)


@pytest.mark.flowmq_only
def test_who_asks_and_takes_nothing_is_let_go_whatever_it_sends(peer: Peer, name: str) -> None:
    with connect(peer) as observer:
        watching = observer.channel()
        with connect(peer, heartbeat=1) as client:
            ask_for_much(client, name)
            ends = time.monotonic() + 20
            with pytest.raises((BrokenPipeError, ConnectionResetError)):
                write_until(client, PULSE, ends)
            # What it had been given is back, and nothing is missing.
            while watching.call("queue.declare", queue=name, passive=True).message_count < GETS:
                assert time.monotonic() < ends
                time.sleep(0.05)
        watching.call("queue.delete", queue=name)
        observer.close()


@pytest.mark.flowmq_only
def test_who_takes_little_by_little_is_not_let_go(peer: Peer, name: str) -> None:
    with connect(peer, heartbeat=1) as client:
        channel = ask_for_much(client, name)
        for number in range(GETS):
            assert channel.expect("basic.get-ok").delivery_tag == number + 1
            if number < 45:
                time.sleep(0.1)
        channel.call("queue.delete", queue=name)
        client.close()


def test_pulse_in_the_middle_of_a_content(client: Client, name: str) -> None:
    channel = client.channel()
    channel.queue(name, exclusive=True)
    publish = codec.method_frame(channel.number, "basic.publish", exchange="", routing_key=name)
    content = codec.content_frames(channel.number, b"x" * 100, {}, 58)
    cut = content.index(b"\xce") + 1
    client.write(publish + PULSE + content[:cut] + PULSE + content[cut:] + PULSE)
    assert channel.drain(name) == [b"x" * 100]
