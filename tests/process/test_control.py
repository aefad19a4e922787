"""The control socket: who may use it, what crosses it, and that a long listing is not noticed by messages."""

import os
import socket
import stat
from pathlib import Path

import pytest

from flowmq.server.control import frames, place
from flowmq.server.control.client import ControlConnection, NoBroker
from flowmq.server.control.registry import ControlError
from tests.support.broker import Broker

pytestmark = pytest.mark.flowmq_only


@pytest.fixture
def path(broker: Broker) -> Path:
    return broker.data_dir / place.NAME


def test_a_ping_is_answered(broker: Broker, path: Path) -> None:
    with ControlConnection(path) as control:
        assert control.call("node.ping")["pid"] == broker.pid


def test_only_its_owner_may_open_the_socket(path: Path) -> None:
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("command", "arguments", "reason"),
    [
        ("no.such", {}, "there is no command 'no.such'"),
        (7, {}, "there is no command 7"),
        ("node.ping", {"colour": 1}, "node.ping: Object contains unknown field `colour`"),
        ("node.ping", [1], "node.ping: Expected `object`, got `array`"),
    ],
)
def test_what_cannot_be_asked_is_an_error_that_says_why(
    path: Path, command: object, arguments: object, reason: str
) -> None:
    with ControlConnection(path) as control:
        with pytest.raises(ControlError) as refused:
            list(control._answers(command, arguments))  # type: ignore[arg-type]
        assert (refused.value.code, refused.value.reason) == ("bad_request", reason)
        assert control.call("node.ping")


@pytest.mark.parametrize("octets", [b"\x00\x00\x00\x01\xc1", b"\x00\x00\x00\x02\x91\x01"])
def test_a_frame_that_is_no_request_is_answered_with_an_error(path: Path, octets: bytes) -> None:
    with ControlConnection(path) as control:
        control.socket.sendall(octets)
        number, kind, value = frames.decode(control._frame())
        assert (number, kind, value["code"]) == (None, "error", "bad_request")


def test_a_frame_longer_than_may_be_ends_the_connection(path: Path) -> None:
    with ControlConnection(path) as control:
        control.socket.sendall(b"\xff\xff\xff\xff")
        assert control.socket.recv(1) == b""


def test_requests_of_one_connection_may_overlap(path: Path) -> None:
    with ControlConnection(path) as control:
        control.socket.sendall(b"".join(frames.encode([number, "node.ping", {}]) for number in range(100)))
        answers = [frames.decode(control._frame()) for _ in range(100)]
        assert sorted(number for number, _, _ in answers) == list(range(100))


def test_a_socket_that_a_killed_broker_left_is_replaced(own_broker) -> None:
    broker = own_broker()
    broker.kill()
    with pytest.raises(NoBroker, match="no broker is running there"):
        ControlConnection(broker.data_dir / place.NAME)
    again = broker.again()
    try:
        with ControlConnection(again.data_dir / place.NAME) as control:
            assert control.call("node.ping")["pid"] == again.pid
        again.stop()
    finally:
        again.kill()
    assert not (broker.data_dir / place.NAME).exists()


def test_a_path_longer_than_a_socket_name_will_do(tmp_path: Path) -> None:
    directory = tmp_path / ("x" * 120)
    directory.mkdir()
    broker = Broker(directory)
    try:
        with ControlConnection(directory / place.NAME) as control:
            assert control.call("node.ping")["pid"] == broker.pid
        broker.stop()
    finally:
        broker.kill()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_others_are_turned_away_whatever_the_mode_of_the_file_is(tmp_path: Path) -> None:
    listening = place.listening(tmp_path / "s", "")
    tmp_path.joinpath("s").chmod(0o666)
    for above in (tmp_path, *tmp_path.parents[:-2]):
        above.chmod(0o755)
    child = os.fork()
    if child == 0:
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)
        made = socket.socket(socket.AF_UNIX)
        made.connect(str(tmp_path / "s"))
        made.recv(1)
        os._exit(0)
    listening.setblocking(True)
    accepted, _ = listening.accept()
    with accepted, listening:
        assert not place.may_connect(accepted, "")
        assert not place.may_connect(accepted, "root")
        assert place.may_connect(accepted, "nogroup")
    os.waitpid(child, 0)
