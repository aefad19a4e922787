"""The limits before the log-in count from accept on, whatever a listener puts before AMQP."""

import socket
from collections.abc import Callable
from dataclasses import replace

import pytest

from flowmq.server.control import place
from flowmq.server.control.client import ControlConnection
from tests.support.broker import Broker, until
from tests.support.certificates import Authority, Files
from tests.support.peer import Peer
from tests.support.tls import tls_peer, tls_settings
from tests.support.wire import Client, connect

pytestmark = pytest.mark.flowmq_only
OwnBroker = Callable[..., Broker]
HEADER = b"PROXY UNKNOWN\r\n"
DOORS = ("plain", "TLS", "PROXY", "WebSocket", "secure WebSocket")


class House:
    """A broker with one of the doors, and who comes in through it."""

    def __init__(self, own_broker: OwnBroker, door: str, authority: Authority, server: Files, **settings: str) -> None:
        self.broker = own_broker(
            **tls_settings(server),
            FLOWMQ_AMQP__PROXY_PROTOCOL_FROM="127.0.0.0/8" if door == "PROXY" else "",
            FLOWMQ_WEBSOCKET__LISTEN="127.0.0.1:0",
            FLOWMQ_WEBSOCKET__LISTEN_TLS="127.0.0.1:0",
            FLOWMQ_LIMITS__DEFAULT_USER_LOOPBACK_ONLY="false",
            **settings,
        )
        self.peer = self._peer(door, authority)

    def _peer(self, door: str, authority: Authority) -> Peer:
        plain = self.broker.peer
        secured = tls_peer(self.broker, authority.client_context())
        if door == "PROXY":
            return replace(plain, greeting=HEADER)
        if "WebSocket" in door:
            title = f"AMQP over {door}"
            port = int(self.broker.log.wait_for(title + r" listener started on 127\.0\.0\.1:(\d+)")[1])
            return replace(secured if "secure" in door else plain, port=port, websocket=True)
        return secured if door == "TLS" else plain

    def knock(self) -> socket.socket:
        """Somebody who says nothing."""
        return socket.create_connection((self.peer.host, self.peer.port), 30)

    def refused(self) -> dict[str, int]:
        with ControlConnection(self.broker.data_dir / place.NAME) as control:
            found: dict[str, int] = control.call("limit.refused")
        return found

    def lets_in_all(self, count: int) -> bool:
        """So many at once."""
        clients: list[Client] = []
        try:
            for _ in range(count):
                clients.append(Client(self.peer))
                clients[-1].start()
        except (AssertionError, OSError):
            return False
        finally:
            for client in clients:
                client.drop()
        return True

    def lets_in(self) -> bool:
        try:
            connect(self.peer).close()
        except (AssertionError, OSError):
            return False
        return True


@pytest.mark.parametrize("door", DOORS)
def test_clients_that_say_nothing_take_up_the_handshakes(
    own_broker: OwnBroker, authority: Authority, server: Files, door: str
) -> None:
    house = House(own_broker, door, authority, server, FLOWMQ_LIMITS__HANDSHAKES_MAX="5")
    opened = [connect(house.peer) for _ in range(8)]  # do not count
    silent = [house.knock() for _ in range(5)]
    with house.knock() as one_too_many:
        assert one_too_many.recv(1) == b""
    assert house.refused() == {"handshakes": 1}
    silent.pop().close()
    until(house.lets_in)
    for client in silent:
        client.close()
    # None of them counts any more.
    until(lambda: house.lets_in_all(5))
    for client in opened:
        client.close()
    house.broker.stop()


@pytest.mark.parametrize("door", ["TLS", "PROXY", "WebSocket"])
def test_who_comes_too_fast_waits_or_is_turned_away(
    own_broker: OwnBroker, authority: Authority, server: Files, door: str
) -> None:
    pace = {"FLOWMQ_LIMITS__ACCEPTS_PER_SECOND_MAX": "2", "FLOWMQ_AMQP__HANDSHAKE_TIMEOUT": "2"}
    house = House(own_broker, door, authority, server, **pace)
    silent = [house.knock() for _ in range(20)]
    # A second's worth at once, those of two seconds wait: the others are closed at once.
    until(lambda: house.refused().get("accept_rate", 0) >= 20 - 2 * (1 + 2) - 1)
    until(house.lets_in)
    for client in silent:
        client.close()
    house.broker.stop()
