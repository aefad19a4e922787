"""Policies of the configuration file: at the start, and again at SIGHUP."""

import re
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.broker import ROOT, STOP_SECONDS, Broker, command, environment
from tests.support.wire import Channel, Client, connect

pytestmark = pytest.mark.flowmq_only
OwnBroker = Callable[..., Broker]
UNROUTED = """
[[policies]]
name = "unrouted"
pattern = "^orders"
apply-to = "exchanges"
definition = { alternate-exchange = "amq.fanout" }
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "flowmq.toml"
    path.write_text("")
    return path


def reload(broker: Broker, line: str) -> None:
    broker.process.send_signal(signal.SIGHUP)
    broker.log.wait_for(re.escape(f"SIGHUP received: {line}"))


def reaches_the_alternate(channel: Channel, queue: str) -> bool:
    """Whether a message that nobody asked for goes on to where the policy says."""
    channel.publish("orders", "nobody asks for this", b"lost?")
    channel.wait_for_confirms(1)
    return channel.drain(queue) == [b"lost?"]


def prepared(broker: Broker) -> tuple[Channel, str]:
    channel = connect(broker.peer).confirming()
    channel.call("exchange.declare", exchange="orders", type="direct", durable=True)
    queue = channel.queue(exclusive=True)
    channel.call("queue.bind", queue=queue, exchange="amq.fanout")
    return channel, queue


def test_policies_count_from_the_start(own_broker: OwnBroker, file: Path) -> None:
    file.write_text(UNROUTED)
    broker = own_broker("--config", str(file))
    channel, queue = prepared(broker)
    assert reaches_the_alternate(channel, queue)
    channel.client.close()
    broker.stop()


def test_sighup_takes_over_what_the_file_says_now(own_broker: OwnBroker, file: Path) -> None:
    broker = own_broker("--config", str(file))
    channel, queue = prepared(broker)
    assert not reaches_the_alternate(channel, queue)
    file.write_text(UNROUTED)
    reload(broker, "policy 'unrouted' in vhost '/' added")
    assert reaches_the_alternate(channel, queue)
    file.write_text(UNROUTED.replace("^orders", "^other"))
    reload(broker, "policy 'unrouted' in vhost '/' changed")
    assert not reaches_the_alternate(channel, queue)
    file.write_text(UNROUTED + '[[operator_policies]]\nname = "o"\npattern = ""\ndefinition = { max-length = 5 }\n')
    reload(broker, "operator policy 'o' in vhost '/' added")
    assert reaches_the_alternate(channel, queue)
    file.write_text("")
    reload(broker, "policy 'unrouted' in vhost '/' removed")
    assert not reaches_the_alternate(channel, queue)
    reload(broker, "policies changed: 0")
    channel.client.close()
    broker.stop()


@pytest.mark.parametrize(
    ("wrong", "complaint"),
    [
        (UNROUTED.replace("^orders", "["), "policies: policy 'unrouted': pattern '[': missing ]"),
        (
            UNROUTED.replace("alternate-", "alternat-"),
            "policies: policy 'unrouted': unknown key 'alternat-exchange'; did",
        ),
        ("[amqp\n", "not TOML: "),
    ],
)
def test_a_wrong_file_changes_nothing_and_the_log_says_why(
    own_broker: OwnBroker, file: Path, wrong: str, complaint: str
) -> None:
    file.write_text(UNROUTED)
    broker = own_broker("--config", str(file))
    channel, queue = prepared(broker)
    file.write_text(wrong)
    reload(broker, f"nothing is changed: {file}: {complaint}")
    assert reaches_the_alternate(channel, queue)
    channel.client.close()
    broker.stop()


def test_an_unknown_virtual_host_changes_nothing_either(own_broker: OwnBroker, file: Path) -> None:
    file.write_text(UNROUTED)
    broker = own_broker("--config", str(file))
    channel, queue = prepared(broker)
    file.write_text(UNROUTED.replace("^orders", "^other") + UNROUTED.replace("name =", 'vhost = "v"\nname ='))
    reload(broker, "nothing is changed: policy 'unrouted' in vhost 'v': there is no such vhost")
    assert reaches_the_alternate(channel, queue)
    channel.client.close()
    broker.stop()


def test_other_settings_count_from_the_next_start_on(own_broker: OwnBroker, file: Path) -> None:
    broker = own_broker("--config", str(file))
    file.write_text("[amqp]\nheartbeat = 7\n")
    reload(broker, "amqp.heartbeat is different now; it counts from the next start on")
    with Client(broker.peer) as client:
        client.start()
        client.start_ok()
        assert client.expect("connection.tune").heartbeat == 60
    broker.stop()


def test_no_start_with_a_policy_for_an_unknown_virtual_host(file: Path, tmp_path: Path) -> None:
    file.write_text(UNROUTED.replace("name =", 'vhost = "elsewhere"\nname ='))
    arguments = command("serve", "--listen", "127.0.0.1:0", "--data-dir", str(tmp_path / "data"), "--config", str(file))
    ended = subprocess.run(
        arguments, cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=STOP_SECONDS, check=False
    )
    assert ended.returncode == 1
    assert "policy 'unrouted' in vhost 'elsewhere': there is no such vhost" in ended.stderr
    assert "Traceback" not in ended.stderr
