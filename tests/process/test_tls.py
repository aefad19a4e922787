"""TLS listeners: who gets in, with which certificate, and what a reload changes. Abuse is in test_tls_abuse.py."""

import re
import signal
import socket
import ssl
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography import x509

from tests.support import codec
from tests.support.broker import ROOT, STOP_SECONDS, Broker, command, environment, resident_bytes
from tests.support.certificates import Authority, Files
from tests.support.peer import Peer
from tests.support.tls import LISTENING, tls_peer, tls_settings
from tests.support.wire import Client, connect

pytestmark = pytest.mark.flowmq_only
OwnBroker = Callable[..., Broker]
SHUTDOWN = "CONNECTION_FORCED - broker forced connection closure with reason 'shutdown'"


def shown_names(peer: Peer) -> list[str]:
    """The names in the certificate that the broker shows to a client that asks for `server_name`."""
    assert peer.tls
    plain = socket.create_connection((peer.host, peer.port), 30)
    with peer.tls.wrap_socket(plain, server_hostname=peer.server_name) as secured:
        shown = secured.getpeercert(binary_form=True)
    assert shown
    names = x509.load_der_x509_certificate(shown).extensions.get_extension_for_class(x509.SubjectAlternativeName)
    return names.value.get_values_for_type(x509.DNSName)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_messages_of_all_sizes_go_through_tls(
    own_broker: OwnBroker, authority: Authority, server: Files, version: ssl.TLSVersion
) -> None:
    broker = own_broker(**tls_settings(server))
    context = authority.client_context()
    context.minimum_version = context.maximum_version = version
    client = connect(tls_peer(broker, context))
    channel = client.channel()
    queue = channel.queue(exclusive=True)
    bodies = [bytes([size % 251]) * size for size in (0, 1, 100, 16384, 65536, 131064, 1_000_000, 5_000_000)]
    for body in bodies:
        channel.put(queue, body)
    assert channel.drain(queue) == bodies
    client.close()
    broker.stop()


def test_many_messages_in_one_write_come_back_in_order(
    own_broker: OwnBroker, authority: Authority, server: Files
) -> None:
    broker = own_broker(**tls_settings(server))
    client = connect(tls_peer(broker, authority.client_context()))
    channel = client.channel()
    queue = channel.queue(exclusive=True)
    channel.consume(queue, no_ack=True)
    for round_ in range(5):
        messages = [channel.content(b"%d/%d" % (round_, number)) for number in range(2000)]
        publish = codec.method_frame(channel.number, "basic.publish", routing_key=queue)
        client.write(b"".join(publish + message for message in messages))
        for number in range(2000):
            assert channel.expect("basic.deliver").body == b"%d/%d" % (round_, number)
    client.close()
    broker.stop()


def test_a_client_older_than_the_least_version_is_refused(
    own_broker: OwnBroker, authority: Authority, server: Files
) -> None:
    broker = own_broker(**tls_settings(server, version_min="1.3"))
    old = authority.client_context()
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises(ssl.SSLError):
        Client(tls_peer(broker, old))
    broker.log.wait_for("TLS handshake failed: the client's version of TLS is older than tls.version_min")
    connect(tls_peer(broker, authority.client_context())).close()
    broker.stop()


def test_a_client_that_knows_none_of_the_ciphers_is_refused(
    own_broker: OwnBroker, authority: Authority, server: Files
) -> None:
    broker = own_broker(**tls_settings(server, ciphers="ECDHE-ECDSA-AES256-GCM-SHA384"))
    context = authority.client_context()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("ECDHE-ECDSA-AES128-GCM-SHA256")
    with pytest.raises(ssl.SSLError):
        Client(tls_peer(broker, context))
    broker.log.wait_for("TLS handshake failed: the client knows none of the broker's ciphers")
    context.set_ciphers("ECDHE-ECDSA-AES256-GCM-SHA384")
    connect(tls_peer(broker, context)).close()
    broker.stop()


def test_a_client_that_does_not_trust_the_broker_leaves_a_line(
    own_broker: OwnBroker, server: Files, tmp_path: Path
) -> None:
    broker = own_broker(**tls_settings(server))
    with pytest.raises(ssl.SSLCertVerificationError):
        Client(tls_peer(broker, Authority(tmp_path, "another").client_context()))
    broker.log.wait_for("TLS handshake failed: the client does not trust the broker's certificate")
    broker.stop()


def greeted(peer: Peer) -> bool:
    """Whether AMQP is spoken with this client. In TLS 1.3 a refusal only comes with the first read."""
    try:
        with Client(peer) as client:
            client.start()
    except (OSError, AssertionError):
        return False
    return True


@pytest.mark.parametrize(
    ("demand", "without", "stranger"), [("none", True, True), ("optional", True, False), ("required", False, False)]
)
def test_client_certificates(
    own_broker: OwnBroker,
    authority: Authority,
    server: Files,
    tmp_path: Path,
    demand: str,
    without: bool,
    stranger: bool,
) -> None:
    broker = own_broker(**tls_settings(server, client_certificates=demand, client_ca=str(authority.path)))
    other = Authority(tmp_path, "another")
    assert greeted(tls_peer(broker, authority.client_context())) is without
    assert greeted(tls_peer(broker, authority.client_context(authority.sign("ann")))) is True
    assert greeted(tls_peer(broker, authority.client_context(other.sign("eve")))) is stranger
    if not without:
        broker.log.wait_for("the client has shown no certificate, and tls.client_certificates is required")
    if not stranger:
        broker.log.wait_for("TLS handshake failed: the client's certificate is refused: unable to get local issuer")
    broker.stop()


def test_an_expired_client_certificate_is_refused(own_broker: OwnBroker, authority: Authority, server: Files) -> None:
    broker = own_broker(**tls_settings(server, client_certificates="required", client_ca=str(authority.path)))
    assert not greeted(tls_peer(broker, authority.client_context(authority.sign("ann", days=-1))))
    broker.log.wait_for("TLS handshake failed: the client's certificate is refused: certificate has expired")
    broker.stop()


def host(name: str, files: Files) -> str:
    return f'[[tls_hosts]]\nname = "{name}"\ncertificate = "{files.certificate}"\nkey = "{files.key}"\n'


def test_a_client_gets_the_certificate_of_the_name_it_asks_for(
    own_broker: OwnBroker, authority: Authority, server: Files, tmp_path: Path
) -> None:
    file = tmp_path / "flowmq.toml"
    eu, any_us = authority.for_server("eu.example.org"), authority.for_server("*.us.example.org")
    file.write_text(host("eu.example.org", eu) + host("*.us.example.org", any_us))
    broker = own_broker("--config", str(file), **tls_settings(server))
    context = authority.client_context()
    assert shown_names(tls_peer(broker, context, "eu.example.org")) == ["eu.example.org"]
    assert shown_names(tls_peer(broker, context, "EU.Example.org")) == ["eu.example.org"]
    assert shown_names(tls_peer(broker, context, "east.us.example.org")) == ["*.us.example.org"]
    context.check_hostname = False
    for name in ("localhost", "us.example.org", "a.b.us.example.org", "example.org"):
        assert shown_names(tls_peer(broker, context, name)) == ["localhost"]
    connect(tls_peer(broker, context, "eu.example.org")).close()
    broker.stop()


def reload(broker: Broker, line: str) -> None:
    broker.process.send_signal(signal.SIGHUP)
    broker.log.wait_for(re.escape(line))


def test_sighup_takes_a_new_certificate_and_leaves_connections_alone(
    own_broker: OwnBroker, authority: Authority, tmp_path: Path
) -> None:
    files = Files(tmp_path / "server.pem", tmp_path / "server.key")

    def put(made: Files) -> None:
        for source, target in zip(made, files, strict=True):
            target.write_bytes(source.read_bytes())

    put(authority.for_server("localhost", "before"))
    broker = own_broker(**tls_settings(files))
    peer = tls_peer(broker, authority.client_context())
    early = connect(peer)
    assert shown_names(peer) == ["localhost", "before"]

    put(authority.for_server("localhost", "after"))
    reload(broker, "SIGHUP received: policies changed: 0")
    assert shown_names(peer) == ["localhost", "after"]

    files.key.write_bytes(authority.for_server().key.read_bytes())
    reload(broker, f"nothing is changed: tls.key: {files.key}: it does not belong to the certificate")
    files.certificate.write_text("nonsense")
    reload(broker, f"nothing is changed: tls.certificate: {files.certificate}: no PEM certificate")
    files.certificate.unlink()
    reload(broker, f"nothing is changed: tls.certificate: {files.certificate}: No such file")
    assert shown_names(peer) == ["localhost", "after"]

    channel = early.channel()
    channel.put(channel.queue(exclusive=True), b"still here")
    early.close()
    broker.stop()


def test_sighup_takes_over_what_is_asked_of_clients(
    own_broker: OwnBroker, authority: Authority, server: Files, tmp_path: Path
) -> None:
    file = tmp_path / "flowmq.toml"
    file.write_text("")
    broker = own_broker("--config", str(file), **tls_settings(server))
    peer = tls_peer(broker, authority.client_context())
    assert greeted(peer)
    file.write_text(f'[tls]\nclient_certificates = "required"\nclient_ca = "{authority.path}"\n')
    reload(broker, "SIGHUP received: policies changed: 0")
    assert not greeted(peer)
    assert greeted(tls_peer(broker, authority.client_context(authority.sign("ann"))))
    broker.stop()


def test_no_start_with_wrong_files(server: Files, tmp_path: Path) -> None:
    """What else can be wrong with them: unit/test_tls.py."""
    ended = subprocess.run(
        command("serve", "--listen", "127.0.0.1:0", "--data-dir", str(tmp_path / "data")),
        cwd=ROOT,
        env=environment(tls_settings(server, certificate="/nowhere/no.pem")),
        capture_output=True,
        text=True,
        timeout=STOP_SECONDS,
        check=False,
    )
    assert ended.returncode == 1
    assert "tls.certificate: /nowhere/no.pem: No such file or directory" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_an_expired_certificate_is_said_at_the_start(own_broker: OwnBroker, authority: Authority) -> None:
    broker = own_broker(**tls_settings(authority.for_server(days=-1)))
    broker.log.wait_for(r"warning tls.certificate: CN=localhost, valid until [-\d]+ \(EXPIRED")
    broker.stop()


def test_a_broker_may_listen_for_tls_alone(authority: Authority, server: Files, tmp_path: Path) -> None:
    file = tmp_path / "flowmq.toml"
    file.write_text("[amqp]\nlisten = []\n")
    process = subprocess.Popen(
        command("serve", "--config", str(file), "--data-dir", str(tmp_path / "data")),
        cwd=ROOT,
        env=environment(tls_settings(server)),
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr
    try:
        lines = iter(process.stderr.readline, "")
        port = next(int(found[1]) for line in lines if (found := LISTENING.search(line)))
        connect(Peer("127.0.0.1", port, tls=authority.client_context())).close()
    finally:
        process.terminate()
        _, rest = process.communicate(timeout=STOP_SECONDS)
    assert process.returncode == 0
    assert "AMQP listener" not in rest


def test_stopping_says_goodbye_to_tls_clients(own_broker: OwnBroker, authority: Authority, server: Files) -> None:
    broker = own_broker(**tls_settings(server))
    peer = tls_peer(broker, authority.client_context())
    clients = [connect(peer) for _ in range(3)]
    on_the_way_in = socket.create_connection((peer.host, peer.port), 30)
    broker.terminate()
    for client in clients:
        client.expect_close(320, SHUTDOWN)
    assert broker.wait() == 0
    assert on_the_way_in.recv(1) == b""
    broker.check_log()


def test_a_tls_client_that_does_not_read_gets_it_all_later(
    own_broker: OwnBroker, authority: Authority, server: Files
) -> None:
    broker = own_broker(**tls_settings(server))
    peer = tls_peer(broker, authority.client_context())
    lazy, busy = connect(peer), connect(peer)
    channel = lazy.channel()
    queue = channel.queue(durable=True)
    channel.consume(queue, no_ack=True)
    writer = busy.channel()
    size, count = 200_000, 500
    before = resident_bytes(broker.pid)
    for number in range(count):
        writer.put(queue, b"%06d" % number + b"x" * size)
    assert resident_bytes(broker.pid) - before < 40 << 20  # of 95 MiB: most of it is on disk only
    for number in range(count):
        assert channel.expect("basic.deliver").body[:6] == b"%06d" % number
    lazy.close()
    busy.close()
    broker.stop()


@pytest.mark.parametrize("politely", [True, False])
def test_a_tls_client_that_leaves_gives_everything_back(
    own_broker: OwnBroker, authority: Authority, server: Files, politely: bool
) -> None:
    broker = own_broker(**tls_settings(server))
    client = connect(tls_peer(broker, authority.client_context()))
    channel = client.channel()
    channel.queue("of that client", exclusive=True)
    secured: socket.socket = client.socket
    if politely:
        assert isinstance(secured, ssl.SSLSocket)
        secured = secured.unwrap()  # waits for the broker's own goodbye
    secured.close()
    broker.log.wait_for("ended: the client closed its socket without a word")
    plain = connect(broker.peer)
    other = plain.channel()
    other.send("queue.declare", queue="of that client", passive=True)
    other.expect_close(404)
    plain.close()
    broker.stop()
