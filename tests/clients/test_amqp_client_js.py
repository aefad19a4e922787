"""@cloudamqp/amqp-client, the library for browsers, over WebSocket and secure WebSocket, in a process of Node."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.clients.node import installed, run
from tests.support.broker import Broker
from tests.support.certificates import Authority
from tests.support.tls import tls_settings

pytestmark = [pytest.mark.clients, pytest.mark.flowmq_only, pytest.mark.timeout(180)]
OwnBroker = Callable[..., Broker]
SCRIPT = Path(__file__).with_name("amqp_client_program.js")
SIZES = [0, 1, 1000, 65536, 3_000_000]


@pytest.mark.parametrize("scheme", ["ws", "wss"])
def test_it_publishes_consumes_and_is_refused(own_broker: OwnBroker, tmp_path: Path, scheme: str) -> None:
    packages = installed("@cloudamqp/amqp-client@4.1.1", "ws@8.18.0")
    authority = Authority(tmp_path)
    key = "LISTEN" if scheme == "ws" else "LISTEN_TLS"
    broker = own_broker(**tls_settings(authority.for_server()), **{f"FLOWMQ_WEBSOCKET__{key}": "127.0.0.1:0"})
    port = broker.log.wait_for(r"WebSocket listener started on 127\.0\.0\.1:(\d+)")[1]
    task = json.dumps({"url": f"{scheme}://localhost:{port}/", "sizes": SIZES})
    output = json.loads(run(SCRIPT, packages, task, NODE_EXTRA_CA_CERTS=str(authority.path)))
    assert output["got"] == [[size, "text/plain", size] for size in SIZES]
    assert output["bodies"] == [str(number) for number in range(100)]
    assert "404" in output["refusal"]
    broker.stop()
