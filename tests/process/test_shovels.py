"""Shovels move messages between brokers, say how they are, and lose nothing whoever of them is killed."""

import contextlib
import os
import shutil
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from flowmq.server.control.registry import ControlError
from tests.crash.rabbitmq import SERVER, RabbitMQ, free_ports
from tests.support import codec
from tests.support.broker import Broker, children
from tests.support.certificates import Authority
from tests.support.http import Api
from tests.support.peer import Peer
from tests.support.shovels import Shovel, count, drained, fill, until, wait_for_count
from tests.support.tls import tls_settings
from tests.support.wire import connect

pytestmark = pytest.mark.flowmq_only

Start = Callable[..., Broker]
WITHOUT_PIKA = "import sys\n\nsys.modules['pika'] = None\n"
BODIES = [b"message %d" % number for number in range(3000)]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """Where the shovels of most tests are."""
    yield from running(Broker(tmp_path_factory.mktemp("home")))


@pytest.fixture(scope="module")
def away(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """The broker at the other end."""
    yield from running(Broker(tmp_path_factory.mktemp("away")))


def running(broker: Broker) -> Iterator[Broker]:
    try:
        yield broker
        broker.stop()
    finally:
        broker.kill()


# -------------------------------------------------------------------------------------------------------- what moves


def test_messages_move_there_and_back_octet_for_octet(home: Broker, away: Broker, name: str) -> None:
    headers = {"float": 1.5, "octet": codec.Typed("B", 200), "no text": codec.Typed("S", b"\xff"), "in": {"a": [None]}}
    fill(home.peer, name, [b"x" * 300_000, b""], headers=headers, correlation_id=b"\xff\xfe", expiration="9999999")
    there = Shovel(home, f"{name}-there", src_uri="amqp://", src_queue=name, dest_uri=away.peer.url, dest_queue=name)
    wait_for_count(away.peer, name, 2)
    there.delete()
    back = Shovel(home, f"{name}-back", src_uri=away.peer.url, src_queue=name, dest_uri="amqp://", dest_queue=name)
    wait_for_count(home.peer, name, 2)
    back.wait_for("running")
    until(lambda: back.status["forwarded"] == 2)
    back.delete()
    with connect(home.peer) as client:
        first, second = (client.channel().get(name) for _ in range(2))
    assert first is not None
    assert second is not None
    assert (first.body, second.body) == (b"x" * 300_000, b"")
    sent = {"headers": headers, "delivery_mode": 2, "correlation_id": b"\xff\xfe", "expiration": "9999999"}
    assert first.header[12:] == second.header[12:] == codec.encode_properties(sent)


def test_what_is_published_while_it_runs_moves_too(home: Broker, away: Broker, name: str) -> None:
    fill(home.peer, name, [b"before"])
    shovel = Shovel(home, name, src_uri="amqp://", src_queue=name, dest_uri=away.peer.url, dest_queue=name)
    wait_for_count(away.peer, name, 1)
    fill(home.peer, name, [b"while"])
    wait_for_count(away.peer, name, 2)
    assert drained(away.peer, name) == [b"before", b"while"]
    shovel.delete()


def test_from_an_exchange_to_an_exchange(home: Broker, away: Broker, name: str) -> None:
    with connect(home.peer) as here, connect(away.peer) as there:
        source, destination = here.channel(), there.channel()
        source.call("exchange.declare", exchange=name, type="topic", auto_delete=True)
        destination.call("exchange.declare", exchange=name, type="direct", auto_delete=True)
        queue = destination.queue(exclusive=True)
        destination.call("queue.bind", queue=queue, exchange=name, routing_key=b"a.\xff")
        shovel = Shovel(
            *(home, name),
            src_uri="amqp://",
            src_exchange=name,
            src_exchange_key="a.*",
            dest_uri=away.peer.url,
            dest_exchange=name,
        )
        shovel.wait_for("running")
        source.publish(name, b"a.\xff", b"wanted")
        source.publish(name, "b", b"not wanted")
        until(lambda: destination.count(queue) == 1)
        message = destination.get(queue)
        assert message is not None
        assert (message.exchange, message.body) == (name, b"wanted")
        shovel.delete()


def test_it_adds_to_messages_what_it_is_told(home: Broker, away: Broker, name: str) -> None:
    fill(home.peer, name, [b"x"], headers={"mine": 1})
    fill(away.peer, f"{name}-to", [])
    shovel = Shovel(
        *(home, name),
        src_uri="amqp://",
        src_queue=name,
        src_delete_after=1,
        dest_uri=away.peer.url,
        dest_exchange="",
        dest_exchange_key=f"{name}-to",
        dest_add_forward_headers=True,
        dest_add_timestamp_header=True,
        dest_publish_properties={"app_id": "shovel"},
    )
    shovel.wait_until_gone()
    with connect(away.peer) as client:
        message = client.channel().get(f"{name}-to")
    assert message is not None
    headers = message.properties["headers"]
    (way,) = headers["x-shovelled"]
    assert message.properties["app_id"] == "shovel"
    assert headers["mine"] == 1
    assert headers["x-shovelled-timestamp"] > 0
    assert way["shovel-name"] == name
    assert way["src-queue"] == name
    assert way["dest-uri"] == away.peer.url.replace("guest:guest@", "")


@pytest.mark.parametrize(("after", "moved"), [("queue-length", 5), (3, 3), (0, 0)])
def test_it_deletes_itself(home: Broker, away: Broker, name: str, after: object, moved: int) -> None:
    bodies = BODIES[:5]
    fill(home.peer, name, bodies)
    shovel = Shovel(
        *(home, name),
        src_uri="amqp://",
        src_queue=name,
        src_delete_after=after,
        dest_uri=away.peer.url,
        dest_queue=name,
    )
    shovel.wait_until_gone()
    assert drained(away.peer, name) == bodies[:moved]
    wait_for_count(home.peer, name, 5 - moved)
    assert drained(home.peer, name) == bodies[moved:]


@pytest.mark.parametrize("mode", ["on-publish", "no-ack"])
def test_other_ways_to_acknowledge(home: Broker, away: Broker, name: str, mode: str) -> None:
    fill(home.peer, name, BODIES[:500])
    shovel = Shovel(
        *(home, name),
        src_uri="amqp://",
        src_queue=name,
        ack_mode=mode,
        src_prefetch_count=10,
        dest_uri=away.peer.url,
        dest_queue=name,
    )
    wait_for_count(away.peer, name, 500)
    assert drained(away.peer, name) == BODIES[:500]
    shovel.delete()


# ------------------------------------------------------------------------------------------------------ how it is


def test_what_the_destination_refuses_stays_until_it_takes_it(home: Broker, away: Broker, name: str) -> None:
    fill(home.peer, name, BODIES[:50])
    with connect(away.peer) as client:
        arguments = {"x-max-length": 10, "x-overflow": "reject-publish"}
        client.channel().queue(name, durable=True, arguments=arguments)
    shovel = Shovel(home, name, src_uri="amqp://", src_queue=name, dest_uri=away.peer.url, dest_queue=name)
    shovel.wait_for("blocked", "the destination refuses messages")
    taken: list[bytes] = []

    def all_taken() -> bool:
        taken.extend(drained(away.peer, name))
        return len(set(taken)) == 50

    until(all_taken)
    assert sorted(taken) == sorted(BODIES[:50])
    shovel.wait_for("running")
    shovel.delete()


def test_a_destination_that_holds_publishes_back(home: Broker, own_broker: Start, name: str) -> None:
    short = own_broker(FLOWMQ_LIMITS__DISK_FREE_BYTES_MIN=str(2**60))
    fill(home.peer, name, BODIES[:5])
    shovel = Shovel(home, name, src_uri="amqp://", src_queue=name, dest_uri=short.peer.url, dest_queue=name)
    shovel.wait_for("blocked", "the destination holds publishes back: low on disk")
    shovel.delete()
    wait_for_count(home.peer, name, 5)
    short.stop()


def test_a_queue_that_goes_swallows_nothing(home: Broker, away: Broker, name: str) -> None:
    fill(home.peer, name, [b"before"])
    shovel = Shovel(home, name, src_uri="amqp://", src_queue=name, dest_uri=away.peer.url, dest_queue=name)
    wait_for_count(away.peer, name, 1)
    with connect(away.peer) as client:
        client.channel().call("queue.delete", queue=name)
    fill(home.peer, name, [b"behind"])
    wait_for_count(away.peer, name, 1)
    assert drained(away.peer, name) == [b"behind"]
    with connect(home.peer) as client:
        client.channel().call("queue.delete", queue=name)
    # It makes its queue again.
    wait_for_count(home.peer, name, 0)
    fill(home.peer, name, [b"again"])
    wait_for_count(away.peer, name, 1)
    shovel.delete()


def test_a_wrong_password_is_told_and_not_shown(home: Broker, away: Broker, name: str) -> None:
    wrong = away.peer.url.replace("guest:guest", "guest:opensesame")
    shovel = Shovel(home, name, src_uri="amqp://", src_queue=name, dest_uri=wrong, dest_queue=name)
    status = shovel.wait_for("terminated", "destination: 403 ACCESS_REFUSED - Login was refused")
    assert status["dest_uri"] == away.peer.url.replace("guest:guest@", "")
    home.log.wait_for(f"shovel '{name}' in vhost '/': destination: 403")
    right = Shovel(home, name, src_uri="amqp://", src_queue=name, dest_uri=away.peer.url, dest_queue=name)
    right.wait_for("running")
    assert "opensesame" not in home.log.text
    right.delete()


def test_who_does_not_answer_is_told(home: Broker, name: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        uri = f"amqp://127.0.0.1:{silent.getsockname()[1]}?connection_timeout=200"
        shovel = Shovel(home, name, src_uri=uri, src_queue=name, dest_uri="amqp://", dest_queue=name, reconnect_delay=0)
        shovel.wait_for("terminated", "source: no answer within 0.2 s")
    shovel.restart()
    shovel.wait_for("terminated", "source: Connection refused")
    shovel.delete()


def test_it_can_be_deleted_while_it_connects(own_broker: Start) -> None:
    broker = own_broker()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        uri = f"amqp://127.0.0.1:{silent.getsockname()[1]}"
        shovel = Shovel(broker, "s", src_uri=uri, src_queue="a", dest_uri="amqp://", dest_queue="b")
        accepted, _ = silent.accept()
        with accepted:
            assert accepted.recv(8) == codec.PROTOCOL_HEADER
            shovel.delete()
            until(lambda: not children(broker.pid))
    broker.stop()


def test_it_tries_other_uris(home: Broker, away: Broker, name: str) -> None:
    (nobody,) = free_ports(1)
    fill(home.peer, name, [b"x"])
    uris = [f"amqp://127.0.0.1:{nobody}", away.peer.url, f"amqp://127.0.0.1:{nobody}/x"]
    shovel = Shovel(home, name, src_uri="amqp://", src_queue=name, dest_uri=uris, dest_queue=name, reconnect_delay=0)
    wait_for_count(away.peer, name, 1)
    shovel.delete()


def test_it_may_here_what_its_user_may(home: Broker, name: str) -> None:
    fill(home.peer, name, [b"x"])
    fill(home.peer, f"{name}-to", [])
    shovel = Shovel(home, name, src_uri="amqp://127.0.0.1:1", src_queue="x", dest_uri="amqp://", dest_queue="y")
    shovel.call("user.add", name=name, password="secret", tags=["policymaker"])
    shovel.call("permission.set", user=name, vhost="/", configure="", write="", read="")
    shovel = Shovel(
        *(home, name, name),
        src_uri="amqp://",
        src_queue=name,
        reconnect_delay=0.1,
        dest_uri="amqp://",
        dest_exchange="",
        dest_exchange_key=f"{name}-to",
    )
    shovel.wait_for("terminated", f"read access to queue '{name}' in vhost '/' refused for user '{name}'")
    shovel.call("permission.set", user=name, vhost="/", configure="", write="amq.default", read=name)
    wait_for_count(home.peer, f"{name}-to", 1)
    assert shovel.status["set_by"] == name
    shovel.call("user.delete", name=name)
    shovel.wait_for("terminated", "Login was refused")
    home.log.wait_for(f"there is no user '{name}', who has set the shovel")
    shovel.delete()


def test_the_way_in_takes_nothing_but_tickets(home: Broker, name: str) -> None:
    shovel = Shovel(home, name, src_uri="amqp://", src_queue=name, dest_uri="amqp://", dest_queue=f"{name}-to")
    revision = next(one["revision"] for one in shovel.call("shovel.wanted", after=0)["shovels"] if one["name"] == name)
    ticket = shovel.call("shovel.ticket", name=name, revision=revision, to_vhost="/")
    door = Peer(ticket["host"], ticket["port"], ticket["user"], ticket["password"])
    with pytest.raises(AssertionError, match="ACCESS_REFUSED"):
        connect(Peer(door.host, door.port, "guest", "guest"))
    with pytest.raises(AssertionError, match="ACCESS_REFUSED"):
        connect(Peer(home.peer.host, home.peer.port, door.user, door.password))
    with connect(door) as client:
        client.channel()
    with pytest.raises(AssertionError, match="ACCESS_REFUSED"):
        connect(door)
    shovel.delete()


def test_where_the_settings_say_it_may_not_go(own_broker: Start) -> None:
    broker = own_broker()
    (port,) = free_ports(1)
    uri = f"amqp://127.0.0.1:{port}"
    shovel = Shovel(broker, "s", src_uri=uri, src_queue="a", dest_uri="amqp://", dest_queue="b")
    broker.stop()
    strict = Broker(broker.data_dir, {"FLOWMQ_SHOVELS__HOSTS": f"127.0.0.1:{port + 1}"})
    try:
        shovel.broker = strict
        shovel.wait_for("terminated", f"shovels.hosts does not allow shovels to connect to 127.0.0.1:{port}")
        with pytest.raises(ControlError, match=r"shovels\.hosts does not allow"):
            Shovel(strict, "other", src_uri=uri, src_queue="a", dest_uri="amqp://", dest_queue="b")
        strict.stop()
    finally:
        strict.kill()


def test_without_the_library(own_broker: Start, tmp_path: Path) -> None:
    broker = own_broker()
    value = {"src_uri": "amqp://", "src_queue": "a", "dest_uri": "amqp://", "dest_queue": "b"}
    shovel = Shovel(broker, "s", **value)
    shovel.wait_for("running")
    broker.stop()
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    (hidden / "sitecustomize.py").write_text(WITHOUT_PIKA)
    without = Broker(broker.data_dir, {"PYTHONPATH": str(hidden)})
    try:
        shovel.broker = without
        shovel.wait_for("terminated", "pip install 'flowmq[shovel]'")
        assert not children(without.pid)
        with pytest.raises(ControlError, match=r"pip install 'flowmq\[shovel\]'"):
            Shovel(without, "other", **value)
        without.stop()
    finally:
        without.kill()


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


def test_over_tls(home: Broker, own_broker: Start, authority: Authority, tmp_path: Path, name: str) -> None:
    files = authority.for_server()
    secured = own_broker(**tls_settings(files))
    fill(home.peer, name, BODIES[:5])
    port = int(secured.log.wait_for(r"AMQPS listener started on 127\.0\.0\.1:(\d+)")[1])
    uri = f"amqps://guest:guest@127.0.0.1:{port}/%2F?cacertfile="
    wrong = Authority(tmp_path, "another")
    shovel = Shovel(home, name, src_uri="amqp://", src_queue=name, dest_uri=f"{uri}{wrong.path}", dest_queue=name)
    shovel.wait_for("terminated", "certificate verify failed")
    shovel = Shovel(home, name, src_uri="amqp://", src_queue=name, dest_uri=f"{uri}/nothing", dest_queue=name)
    shovel.wait_for("terminated", "cannot be read: No such file or directory")
    shovel = Shovel(home, name, src_uri="amqp://", src_queue=name, dest_uri=f"{uri}{authority.path}", dest_queue=name)
    wait_for_count(secured.peer, name, 5)
    shovel.delete()
    secured.stop()


def test_with_a_client_certificate(
    home: Broker, own_broker: Start, authority: Authority, tmp_path: Path, name: str
) -> None:
    files, own = authority.for_server("inner.example.org"), authority.sign("mover")
    users = tmp_path / "flowmq.toml"
    everything = "{ vhost = '/', configure = '.*', write = '.*', read = '.*' }"
    users.write_text(f"[[users]]\nname = 'mover'\npassword = 'nobody knows'\npermissions = [{everything}]\n")
    others = {"mechanisms": "EXTERNAL", "client_certificates": "required", "client_ca": str(authority.path)}
    secured = own_broker("--config", str(users), **tls_settings(files, external_name="common_name", **others))
    port = int(secured.log.wait_for(r"AMQPS listener started on 127\.0\.0\.1:(\d+)")[1])
    fill(home.peer, name, BODIES[:5])
    options = f"cacertfile={authority.path}&certfile={own.certificate}&keyfile={own.key}&auth_mechanism=external"
    uri = f"amqps://127.0.0.1:{port}?{options}"
    shovel = Shovel(home, name, src_uri="amqp://", src_queue=name, dest_uri=uri, dest_queue=name)
    shovel.wait_for("terminated", "certificate verify failed: IP address mismatch")
    uri += "&server_name_indication=inner.example.org"
    shovel = Shovel(home, name, src_uri="amqp://", src_queue=name, dest_uri=uri, dest_queue=name)
    shovel.wait_for("running")
    until(lambda: shovel.status["forwarded"] == 5)
    secured.log.wait_for("opened: user 'mover'")
    shovel.delete()
    secured.stop()


# ------------------------------------------------------------------------------------------------- when one is killed


def process_of(home: Broker) -> int:
    """The process of the shovels; there is no other child without HTTP."""
    (pid,) = children(home.pid)
    return pid


def fixed(own_broker: Start) -> tuple[Broker, Peer]:
    """A broker with a port that it has again after a restart."""
    (port,) = free_ports(1)
    return own_broker("--listen", f"127.0.0.1:{port}"), Peer("127.0.0.1", port)


@pytest.mark.slow
@pytest.mark.parametrize("killed", ["home and source", "destination", "process", "source"])
def test_whoever_is_killed_nothing_is_lost(own_broker: Start, killed: str) -> None:
    (home, here), (away, there) = fixed(own_broker), fixed(own_broker)
    started = [home, away]
    source, destination = (there, here) if killed == "source" else (here, there)
    fill(source, "jobs", BODIES)
    uris = ("amqp://", there.url) if source is here else (there.url, "amqp://")
    Shovel(
        *(home, "s"),
        src_uri=uris[0],
        src_queue="jobs",
        src_prefetch_count=10,
        dest_uri=uris[1],
        dest_queue="done",
        reconnect_delay=0.5,
    )
    try:
        wait_for_count(destination, "done", 500)
        if killed == "process":
            os.kill(process_of(home), signal.SIGKILL)
        else:
            at = 0 if killed.startswith("home") else 1
            of_home = process_of(home)
            started[at].kill()
            if at == 0:
                until(lambda: not Path(f"/proc/{of_home}").exists())
            started[at] = started[at].again()
        arrived: set[bytes] = set()

        def all_there() -> bool:
            arrived.update(drained(destination, "done"))
            return len(arrived) == len(BODIES)

        until(all_there)
        assert arrived == set(BODIES)
        until(lambda: count(source, "jobs") == 0)
        for broker in started:
            broker.stop()
    finally:
        for broker in started:
            broker.kill()


def test_the_process_is_there_as_long_as_there_are_shovels(own_broker: Start) -> None:
    broker = own_broker()
    assert not children(broker.pid)
    shovel = Shovel(broker, "s", src_uri="amqp://", src_queue="a", dest_uri="amqp://", dest_queue="b")
    shovel.wait_for("running")
    # If memory ends it goes before the broker does.
    scores = [int(Path(f"/proc/{pid}/oom_score_adj").read_text()) for pid in (process_of(broker), broker.pid)]
    assert scores[0] > scores[1]
    os.kill(process_of(broker), signal.SIGKILL)
    broker.log.wait_for("the shovel process ended with code -9")
    shovel.wait_for("running")
    shovel.delete()
    until(lambda: not children(broker.pid))
    broker.stop()


# ------------------------------------------------------------------------------------------------------ with RabbitMQ


@pytest.mark.skipif(
    "FLOWMQ_TEST_RABBITMQ" not in os.environ or not shutil.which(str(SERVER)),
    reason="FLOWMQ_TEST_RABBITMQ=1 starts a RabbitMQ to exchange messages with",
)
@pytest.mark.timeout(300)
def test_to_rabbitmq_and_back(own_broker: Start, tmp_path: Path) -> None:
    home, node = own_broker(), RabbitMQ(tmp_path / "rabbitmq")
    try:
        theirs = node.peer
        fill(home.peer, "out", BODIES, headers={"float": 1.5})
        there = Shovel(home, "there", src_uri="amqp://", src_queue="out", dest_uri=theirs.url, dest_queue="inn")
        wait_for_count(theirs, "inn", 500)
        node.kill()
        there.wait_for("terminated")
        node = RabbitMQ(tmp_path / "rabbitmq", node.name)
        again = Shovel(home, "there", src_uri="amqp://", src_queue="out", dest_uri=node.peer.url, dest_queue="inn")
        until(lambda: count(home.peer, "out") == 0 and again.status["pending"] == 0)
        again.delete()
        back = Shovel(
            *(home, "back"),
            src_uri=node.peer.url,
            src_queue="inn",
            src_delete_after="queue-length",
            dest_uri="amqp://",
            dest_queue="home",
        )
        back.wait_until_gone()
        # What was under way when it was deleted has gone back.
        assert set(drained(home.peer, "home") + drained(home.peer, "out")) == set(BODIES)
        home.stop()
    finally:
        node.kill()


@pytest.mark.skipif(
    "FLOWMQ_TEST_RABBITMQ" not in os.environ or not shutil.which(str(SERVER)),
    reason="FLOWMQ_TEST_RABBITMQ=1 starts a RabbitMQ whose shovels move messages here",
)
@pytest.mark.timeout(300)
def test_shovels_of_rabbitmq(own_broker: Start, tmp_path: Path) -> None:
    """The same values do there what they do here."""
    here = own_broker()
    plugins = ("rabbitmq_management", "rabbitmq_shovel", "rabbitmq_shovel_management")
    node = RabbitMQ(tmp_path / "rabbitmq", plugins=plugins)
    try:
        theirs = Api(node.management_port)
        fill(node.peer, "a", BODIES)
        forwarded = {"dest-add-forward-headers": True, "dest-add-timestamp-header": True}
        value = {"src-uri": "amqp://", "src-queue": "a", "dest-uri": here.peer.url, "dest-queue": "b", **forwarded}
        until(lambda: theirs.put("parameters", "shovel", "/", "s", body={"value": value}) in (201, 204))
        wait_for_count(here.peer, "b", len(BODIES))
        by_theirs = headers_of_next(here.peer, "b")
        assert theirs.delete("parameters", "shovel", "/", "s") == 204
        ours = Shovel(here, "s", **{key.replace("-", "_"): given for key, given in value.items()})
        drained(here.peer, "b")
        fill(here.peer, "a", [b"x"])
        wait_for_count(here.peer, "b", 1)
        by_ours = headers_of_next(here.peer, "b")
        ours.delete()
        assert by_ours.keys() == by_theirs.keys()
        assert [*by_ours["x-shovelled"][0]] == [*by_theirs["x-shovelled"][0]]
        fill(here.peer, "c", BODIES)
        back = {"src-uri": here.peer.url, "src-queue": "c", "dest-uri": "amqp://", "dest-queue": "d"}
        assert theirs.put("parameters", "shovel", "/", "t", body={"value": back}) == 201
        wait_for_count(node.peer, "d", len(BODIES))
        here.stop()
    finally:
        node.kill()


def headers_of_next(peer: Peer, queue: str) -> dict[str, Any]:
    with connect(peer) as client:
        message = client.channel().get(queue)
    assert message is not None
    found: dict[str, Any] = message.properties["headers"]
    return found


def test_many_that_begin_together_come_in_through_one_door(own_broker: Start) -> None:
    broker = own_broker()
    names = [f"many-{number}" for number in range(20)]
    shovels = [Shovel(broker, n, src_uri="amqp://", src_queue=n, dest_uri="amqp://", dest_queue="there") for n in names]
    for shovel in shovels:
        shovel.wait_for("running")
    assert len(listening_ports(broker.pid)) == 2  # of clients, and of shovels
    for shovel in shovels:
        shovel.delete()
    until(lambda: len(listening_ports(broker.pid)) == 1)
    broker.stop()


def listening_ports(pid: int) -> set[int]:
    """By /proc: the sockets in state LISTEN that this process has open."""
    opened = set()
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            opened.add(os.readlink(link))
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return {int(row[1].partition(":")[2], 16) for row in rows if row[3] == "0A" and f"socket:[{row[9]}]" in opened}
