"""Ways to log in other than a password: a client certificate, and none at all; and which are offered where."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID

from tests.support.broker import Broker
from tests.support.certificates import Authority, Files, names
from tests.support.peer import Peer
from tests.support.tls import tls_peer, tls_settings
from tests.support.wire import Client

pytestmark = pytest.mark.flowmq_only
OwnBroker = Callable[..., Broker]
REFUSED = "ACCESS_REFUSED - Login was refused using authentication mechanism {}. For details see the broker logfile."


def offered(peer: Peer) -> list[bytes]:
    with Client(peer) as client:
        mechanisms: bytes = client.start().mechanisms
        return mechanisms.split(b" ")


def logged_in(peer: Peer, mechanism: str, response: bytes = b"") -> bool:
    """Whether that opens a connection; else the refusal must be the usual one."""
    with Client(peer) as client:
        client.start()
        client.start_ok(mechanism=mechanism, response=response)
        answer = client.expect("connection.tune", "connection.close")
        if answer.name == "connection.close":
            assert (answer.reply_code, answer.reply_text) == (403, REFUSED.format(mechanism))
            return False
        client.keep([answer])
        client.tune()
        client.open()
        channel = client.channel()
        channel.put(channel.queue(exclusive=True), b"in")
        client.close()
    return True


def external(authority: Authority, server: Files, **others: str) -> dict[str, str]:
    return tls_settings(
        server,
        mechanisms="EXTERNAL,PLAIN",
        client_certificates="optional",
        client_ca=str(authority.path),
        **others,
    )


def user_file(directory: Path, *users: str) -> str:
    """As TOML's literal strings: a distinguished name may have backslashes."""
    file = directory / "flowmq.toml"
    file.write_text("".join(f"[[users]]\nname = '{user}'\npassword = 'nobody knows'\n" for user in users))
    return str(file)


SUBJECT = names(
    (NameOID.COUNTRY_NAME, "DE"), (NameOID.ORGANIZATION_NAME, "Acme, Inc."), (NameOID.COMMON_NAME, "orders")
)
ALTERNATIVES: list[x509.GeneralName] = [
    x509.DNSName("orders.example.org"),
    x509.DNSName("second.example.org"),
]
NAMES = [  # of the other sources: unit/test_certificate_names.py
    ("distinguished_name", r"CN=orders,O=Acme\, Inc.,C=DE"),
    ("san_dns", "orders.example.org"),
]


@pytest.mark.parametrize(("source", "user"), NAMES)
def test_the_certificate_says_who_it_is(
    own_broker: OwnBroker, authority: Authority, server: Files, tmp_path: Path, source: str, user: str
) -> None:
    broker = own_broker("--config", user_file(tmp_path, user), **external(authority, server, external_name=source))
    known = tls_peer(broker, authority.client_context(authority.sign(SUBJECT, *ALTERNATIVES)))
    assert offered(known) == [b"EXTERNAL", b"PLAIN"]
    assert logged_in(known, "EXTERNAL")
    assert logged_in(known, "EXTERNAL", b"somebody else")  # what is said besides means nothing
    broker.log.wait_for(rf"opened: user '{user}'".replace("\\", r"\\"))
    assert not logged_in(tls_peer(broker, authority.client_context(authority.sign("stranger"))), "EXTERNAL")
    broker.stop()


def test_who_has_no_certificate_is_not_offered_it_and_cannot_use_it(
    own_broker: OwnBroker, authority: Authority, server: Files
) -> None:
    broker = own_broker(**external(authority, server))
    without = tls_peer(broker, authority.client_context())
    assert offered(without) == [b"PLAIN"]
    with Client(without) as client:
        client.start()
        client.start_ok(mechanism="EXTERNAL", response=b"")
        client.expect_close(503)
    assert offered(broker.peer) == [b"PLAIN", b"AMQPLAIN"]
    broker.stop()


def test_a_certificate_of_an_unknown_user_or_without_the_name_is_refused(
    own_broker: OwnBroker, authority: Authority, server: Files
) -> None:
    broker = own_broker(**external(authority, server, external_name="san_dns"))
    nameless = tls_peer(broker, authority.client_context(authority.sign("guest")))
    assert not logged_in(nameless, "EXTERNAL")
    broker.log.wait_for("log-in of user '' refused: the client's certificate has no san dns")
    unknown = authority.sign("guest", x509.DNSName("unknown.example.org"))
    assert not logged_in(tls_peer(broker, authority.client_context(unknown)), "EXTERNAL")
    broker.log.wait_for("log-in of user 'unknown.example.org' refused: no such user")
    broker.stop()


def test_the_default_user_stays_on_this_machine(own_broker: OwnBroker, authority: Authority, server: Files) -> None:
    settings = external(authority, server, external_name="common_name", proxy_protocol_from="127.0.0.1/32")
    broker = own_broker(**settings)
    peer = tls_peer(broker, authority.client_context(authority.sign("guest")))
    assert not logged_in(replace(peer, greeting=b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n"), "EXTERNAL")
    broker.log.wait_for("log-in of user 'guest' refused: this user can only connect from the broker's own machine")
    assert logged_in(replace(peer, greeting=b"PROXY UNKNOWN\r\n"), "EXTERNAL")
    broker.stop()


def test_anonymous_only_where_it_is_switched_on(own_broker: OwnBroker, tmp_path: Path) -> None:
    broker = own_broker(
        "--config",
        user_file(tmp_path, "visitors"),
        FLOWMQ_AMQP__MECHANISMS="ANONYMOUS",
        FLOWMQ_AMQP__ANONYMOUS_USER="visitors",
        FLOWMQ_WEBSOCKET__LISTEN="127.0.0.1:0",
    )
    assert offered(broker.peer) == [b"ANONYMOUS"]
    assert logged_in(broker.peer, "ANONYMOUS", b"whoever")
    broker.log.wait_for("opened: user 'visitors'")
    port = int(broker.log.wait_for(r"WebSocket listener started on 127\.0\.0\.1:(\d+)")[1])
    assert offered(replace(broker.peer, port=port, websocket=True)) == [b"PLAIN", b"AMQPLAIN"]
    with Client(broker.peer) as client:
        client.start()
        client.start_ok()
        assert client.expect("connection.close").reply_text == (
            "COMMAND_INVALID - unknown authentication mechanism 'PLAIN'"
        )
    broker.stop()


def test_anonymous_as_a_user_who_is_not_there(own_broker: OwnBroker) -> None:
    broker = own_broker(FLOWMQ_AMQP__MECHANISMS="PLAIN,ANONYMOUS", FLOWMQ_AMQP__ANONYMOUS_USER="nobody")
    assert not logged_in(broker.peer, "ANONYMOUS")
    broker.log.wait_for("log-in of user 'nobody' refused: no such user")
    broker.stop()
