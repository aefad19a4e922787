"""Heartbeats: sent when nothing else was, missed at the connection's peril, any octet counting as one."""

import pytest

from tests.support import codec
from tests.support.codec import HEARTBEAT
from tests.support.peer import Peer
from tests.support.wire import Client, Frame, connect

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


def test_pulse_in_the_middle_of_a_content(client: Client, name: str) -> None:
    channel = client.channel()
    channel.queue(name, exclusive=True)
    publish = codec.method_frame(channel.number, "basic.publish", exchange="", routing_key=name)
    content = codec.content_frames(channel.number, b"x" * 100, {}, 58)
    cut = content.index(b"\xce") + 1
    client.write(publish + PULSE + content[:cut] + PULSE + content[cut:] + PULSE)
    assert channel.drain(name) == [b"x" * 100]
