"""What is wrong with the files of TLS is one line; and how long certificates are good."""

import re
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest

from flowmq.server import tls
from flowmq.server.config import Settings, SettingsError
from flowmq.server.listener_settings import TLSSettings
from tests.support.certificates import Authority, Files


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def server(authority: Authority) -> Files:
    return authority.for_server()


def settings(files: Files, **others: str) -> Settings:
    given = {"certificate": str(files.certificate), "key": str(files.key), **others}
    return Settings(tls=TLSSettings(**given))  # type: ignore[arg-type]


def encrypted(authority: Authority, _: Path) -> dict[str, str]:
    files = authority.sign("localhost", password=b"secret")
    return {"certificate": str(files.certificate), "key": str(files.key)}


WRONG: list[tuple[Callable[[Authority, Path], dict[str, str]], str]] = [
    (
        lambda _, empty: {"certificate": str(empty.with_name("no.pem"))},
        "tls.certificate: .*: No such file or directory",
    ),
    (lambda _, empty: {"certificate": str(empty.parent)}, "tls.certificate: .*: Is a directory"),
    (lambda _, empty: {"certificate": str(empty)}, "tls.certificate: .*empty.pem: no PEM certificate with a key in"),
    (lambda _, empty: {"key": str(empty)}, "tls.certificate: .*: no PEM certificate with a key in"),
    (lambda _, empty: {"key": ""}, "tls.certificate: .*: no PEM certificate with a key$"),
    (
        lambda authority, _: {"key": str(authority.for_server().key)},
        "tls.key: .*: it does not belong to the certificate",
    ),
    (encrypted, "tls.key: .*: it is encrypted"),
    (lambda _, empty: {"client_ca": str(empty)}, "tls.client_ca: .*empty.pem: no PEM certificate in it"),
    (lambda _, empty: {"ciphers": "nonsense"}, "tls.ciphers = 'nonsense': OpenSSL knows none of them"),
]


@pytest.mark.parametrize(("make", "complaint"), WRONG, ids=[row[1] for row in WRONG])
def test_wrong_files(
    authority: Authority,
    server: Files,
    tmp_path: Path,
    make: Callable[[Authority, Path], dict[str, str]],
    complaint: str,
) -> None:
    empty = tmp_path / "empty.pem"
    empty.write_text("")
    with pytest.raises(SettingsError) as error:
        tls.server_context(settings(server, **make(authority, empty)))
    assert re.search(complaint, str(error.value)), error.value


def test_what_every_context_has(server: Files) -> None:
    context = tls.server_context(settings(server))
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    assert context.options & ssl.OP_NO_RENEGOTIATION
    assert context.options & ssl.OP_NO_COMPRESSION
    assert context.verify_mode == ssl.CERT_NONE


def test_certificates_are_described(authority: Authority, server: Files) -> None:
    [good] = tls.certificates(settings(server))
    assert re.fullmatch(r"tls\.certificate: CN=localhost, valid until \d{4}-\d\d-\d\d", good)
    [over] = tls.certificates(settings(authority.for_server(days=-1)))
    assert over.endswith("(EXPIRED: clients will refuse it)")


def test_why_a_handshake_failed() -> None:
    unknown = ssl.SSLError(1, "[SSL: TLSV1_ALERT_UNKNOWN_CA] tlsv1 alert unknown ca")
    unknown.reason = "TLSV1_ALERT_UNKNOWN_CA"
    assert tls.why(unknown) == "the client does not trust the broker's certificate"
    other = ssl.SSLError(1, "[SSL: DECRYPTION_FAILED] decryption failed")
    other.reason = "DECRYPTION_FAILED"
    assert tls.why(other) == "decryption failed"
    assert tls.why(ConnectionResetError()) == "the client closed its socket"
