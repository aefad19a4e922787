"""Users, virtual hosts and permissions: what was answered is there after a kill, and what was deleted is not."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from flowmq.server.control import frames
from tests.support.accounts import FlowMQAccounts
from tests.support.broker import Broker
from tests.support.peer import Peer
from tests.support.wire import Client, connect

pytestmark = pytest.mark.flowmq_only
ODD = "v/é \U0001f600"


class Lives:
    def __init__(self, directory: Path) -> None:
        self.broker = Broker(directory)
        self.accounts = FlowMQAccounts(directory)

    def restart(self, end: str) -> None:
        getattr(self.broker, end)()
        self.broker = self.broker.again()
        self.accounts = FlowMQAccounts(self.broker.data_dir)

    def peer(self, user: str, password: str, vhost: str = "/") -> Peer:
        return replace(self.broker.peer, user=user, password=password, vhost=vhost)

    def listed(self, command: str) -> list[dict[str, object]]:
        return self.accounts.control.call(command) or []


@pytest.fixture
def lives(tmp_path: Path) -> Iterator[Lives]:
    made = Lives(tmp_path / "data")
    yield made
    made.broker.kill()


def is_refused(peer: Peer) -> bool:
    with Client(peer) as client:
        client.start()
        client.start_ok()
        return client.receive().name == "connection.close"


@pytest.mark.parametrize("end", ["kill", "stop"])
def test_what_was_answered_is_there_again(lives: Lives, end: str) -> None:
    lives.accounts.add_vhost(ODD)
    lives.accounts.add_user("ann", "secret", "monitoring", "impersonator")
    lives.accounts.permit("ann", ODD, "^q", "^q|^amq", "^q")
    lives.accounts.permit_topics("ann", ODD, "amq.topic", "^{username}", "")
    with connect(lives.peer("ann", "secret", ODD)) as client:
        client.channel().queue("q", durable=True)
        lives.accounts.permit("ann", ODD, "^q", "^q|^amq", "^q")
    lives.restart(end)
    with connect(lives.peer("ann", "secret", ODD)) as client:
        channel = client.channel()
        assert channel.count("q") == 0
        channel.publish("amq.topic", "ann.x", b"x", {"user_id": "bob"})
        channel.call("basic.qos", prefetch_count=1)
        channel.publish("amq.topic", "bob.x", b"x")
        channel.expect_close(403)
        channel = client.channel()
        channel.send("queue.declare", queue="other")
        channel.expect_close(403)


@pytest.mark.parametrize("end", ["kill", "stop"])
def test_what_was_changed_or_deleted_stays_so(lives: Lives, end: str) -> None:
    for name in ("ann", "bob"):
        lives.accounts.add_user(name, "secret")
        lives.accounts.permit(name, "/")
    lives.accounts.add_vhost("gone")
    lives.accounts.permit("ann", "gone")
    lives.accounts.permit_topics("ann", "gone", "amq.topic", "", "")
    with connect(lives.peer("ann", "secret", "gone")) as client:
        client.channel().queue("q", durable=True)
    lives.accounts.delete_vhost("gone")
    lives.accounts.set_password("ann", "newer")
    lives.accounts.set_tags("ann", "monitoring")
    lives.accounts.delete_user("bob")
    lives.restart(end)
    assert is_refused(lives.peer("ann", "secret"))
    assert is_refused(lives.peer("bob", "secret"))
    connect(lives.peer("ann", "newer")).close()
    assert [vhost["name"] for vhost in lives.listed("vhost.list")] == ["/"]
    assert [(row["user"], row["vhost"]) for row in lives.listed("permission.list")] == [("guest", "/"), ("ann", "/")]
    assert lives.listed("topic_permission.list") == []
    lives.accounts.add_vhost("gone")
    lives.accounts.permit("ann", "gone")
    with connect(lives.peer("ann", "newer", "gone")) as client:
        channel = client.channel()
        channel.send("queue.declare", queue="q", passive=True)
        channel.expect_close(404)


def test_guest_and_the_first_virtual_host_do_not_come_back(lives: Lives) -> None:
    lives.accounts.add_user("ann", "secret")
    lives.accounts.add_vhost("v")
    lives.accounts.permit("ann", "v")
    lives.accounts.delete_user("guest")
    lives.accounts.delete_vhost("/")
    for end in ("kill", "stop"):
        lives.restart(end)
        assert is_refused(lives.broker.peer)
        assert [user["name"] for user in lives.listed("user.list")] == ["ann"]
        assert [vhost["name"] for vhost in lives.listed("vhost.list")] == ["v"]
        connect(lives.peer("ann", "secret", "v")).close()


def test_a_virtual_host_that_was_being_deleted_is_there_or_not_but_never_in_the_way(lives: Lives) -> None:
    """Killed in the middle: the answer never came, so that either is right."""
    lives.accounts.add_vhost("v")
    lives.accounts.permit("guest", "v")
    with connect(lives.broker.peer, vhost="v") as client:
        channel = client.channel()
        for number in range(300):
            channel.send("queue.declare", queue=str(number), durable=True, nowait=True)
        channel.queue("last", durable=True)
        control = lives.accounts.control
        control.socket.sendall(frames.encode([1, "vhost.delete", {"name": "v"}]))
        # Comes first, before any queue is deleted.
        client.expect_close(320)
    lives.restart("kill")
    left = [vhost["name"] for vhost in lives.listed("vhost.list")]
    if "v" in left:
        lives.accounts.delete_vhost("v")
    lives.accounts.add_vhost("v")
    lives.accounts.permit("guest", "v")
    with connect(lives.broker.peer, vhost="v") as client:
        channel = client.channel()
        channel.send("queue.declare", queue="last", passive=True)
        channel.expect_close(404)


def test_a_user_of_the_file_keeps_what_was_permitted_at_run_time(
    own_broker: Callable[..., Broker], tmp_path: Path
) -> None:
    file = tmp_path / "flowmq.toml"
    file.write_text("[[users]]\nname = 'ann'\npassword = 'x'\n")
    broker = own_broker("--config", str(file))
    accounts = FlowMQAccounts(broker.data_dir)
    accounts.add_vhost("v")
    accounts.permit("ann", "v")
    broker.kill()
    again = broker.again()
    try:
        connect(replace(again.peer, user="ann", password="x", vhost="v")).close()
        again.stop()
    finally:
        again.kill()
