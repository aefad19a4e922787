"""HTTPS, its certificate, and what is told of clients that show one."""

import http.client
import signal
import ssl
from pathlib import Path
from typing import Any

import pytest

from tests.support.broker import until
from tests.support.certificates import Authority, Files
from tests.support.http import WITH_HTTP, api_of
from tests.support.peer import Peer
from tests.support.tls import LISTENING
from tests.support.wire import connect

pytestmark = pytest.mark.flowmq_only
HTTPS = r"HTTPS API listener started on 127\.0\.0\.1:(\d+)"


def settings(path: Path, files: Files, more: str = "") -> Path:
    path.write_text(
        f"[tls]\ncertificate = '{files.certificate}'\nkey = '{files.key}'\n{more}"
        "[management]\nlisten_tls = ['127.0.0.1:0']\n"
    )
    return path


def served(port: int, trusted: Authority) -> bytes | None:
    """The certificate that a client gets; None when it does not trust it."""
    context = ssl.create_default_context(cafile=str(trusted.path))
    connection = http.client.HTTPSConnection("localhost", port, context=context, timeout=60)
    try:
        connection.connect()
        shown: bytes | None = connection.sock.getpeercert(binary_form=True)
        connection.request("GET", "/api/health/ready")
        assert connection.getresponse().status == 200
        return shown
    except ssl.SSLCertVerificationError:
        return None
    finally:
        connection.close()


def test_a_certificate_that_was_renewed_in_its_place_or_in_another(own_broker: Any, tmp_path: Path) -> None:
    authority, another = Authority(tmp_path), Authority(tmp_path, "another")
    first, second = authority.for_server(), authority.for_server()
    file = settings(tmp_path / "flowmq.toml", first)
    broker = own_broker("--config", str(file), FLOWMQ_METRICS__LISTEN="127.0.0.1:0")
    port = int(broker.log.wait_for(HTTPS)[1])
    before = served(port, authority)
    assert before is not None
    first.certificate.write_bytes(second.certificate.read_bytes())
    first.key.write_bytes(second.key.read_bytes())
    broker.process.send_signal(signal.SIGHUP)
    until(lambda: served(port, authority) not in (before, None))
    # Another file, of another authority.
    settings(file, another.for_server())
    broker.process.send_signal(signal.SIGHUP)
    until(lambda: served(port, another) is not None)
    assert served(port, authority) is None
    # One that cannot be read changes nothing.
    file.write_text(file.read_text().replace(".pem", ".missing"))
    broker.process.send_signal(signal.SIGHUP)
    broker.log.wait_for("nothing is changed: tls.certificate")
    assert served(port, another) is not None
    broker.stop()


def test_the_certificate_that_a_client_has_shown(own_broker: Any, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    files = authority.for_server()
    broker = own_broker(
        **WITH_HTTP,
        FLOWMQ_TLS__LISTEN="127.0.0.1:0",
        FLOWMQ_TLS__CERTIFICATE=str(files.certificate),
        FLOWMQ_TLS__KEY=str(files.key),
        FLOWMQ_TLS__CLIENT_CA=str(authority.path),
        FLOWMQ_TLS__CLIENT_CERTIFICATES="optional",
    )
    port = int(broker.log.wait_for(LISTENING)[1])
    context = authority.client_context(authority.sign("ann"))
    api = api_of(broker)
    with connect(Peer("127.0.0.1", port, tls=context)), connect(broker.peer):
        found = {one["ssl"]: one for one in api.get("connections")}
        assert (found[True]["peer_cert_subject"], found[True]["peer_cert_issuer"]) == ("CN=ann", "CN=authority")
        starts, _, ends = found[True]["peer_cert_validity"].partition(" - ")
        assert starts < ends
        assert found[True]["ssl_protocol"].startswith("TLSv1.")
        assert [found[False][key] for key in ("peer_cert_subject", "ssl_protocol", "ssl_cipher")] == [None] * 3
    broker.stop()
