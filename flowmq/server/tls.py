"""What the broker shows to TLS clients, and what it asks of them: contexts made of the settings and their files.

Built as a whole and replaced as a whole, so that a reload with a wrong file changes nothing; connections keep what they
were made with. Handshakes are the listeners' affair.
"""

import ssl
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from flowmq.server.config import Settings, SettingsError
from flowmq.server.listener_settings import TLSHost, TLSSettings

VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
VERIFY_MODES = {"none": ssl.CERT_NONE, "optional": ssl.CERT_OPTIONAL, "required": ssl.CERT_REQUIRED}
# Of the settings, what a reload takes over.
RELOADED_TLS = (
    *("tls.certificate", "tls.key", "tls.client_ca", "tls.client_certificates", "tls.version_min", "tls.ciphers"),
    "tls_hosts",
)
# OpenSSL's words, and what an operator makes of them.
EXPLANATIONS = {
    "TLSV1_ALERT_UNKNOWN_CA": "the client does not trust the broker's certificate",
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": "the client does not accept the broker's certificate",
    "SSLV3_ALERT_BAD_CERTIFICATE": "the client does not accept the broker's certificate",
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": "the client says that the broker's certificate has expired",
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": "the client has shown no certificate, and tls.client_certificates is required",
    "UNSUPPORTED_PROTOCOL": "the client's version of TLS is older than tls.version_min",
    "NO_SHARED_CIPHER": "the client knows none of the broker's ciphers",
}


class EncryptedKey(Exception):
    """A key that cannot be read without a password."""


def server_context(settings: Settings) -> ssl.SSLContext:
    """For all TLS listeners. A client that names a host of tls_hosts gets that one's certificate."""
    tls = settings.tls
    default = new_context(tls, "tls", tls.certificate, tls.key)
    if settings.tls_hosts:
        default.sni_callback = Hosts(tls, settings.tls_hosts)
    return default


def new_context(tls: TLSSettings, where: str, certificate: str, key: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE | ssl.OP_NO_COMPRESSION
    context.minimum_version = VERSIONS[tls.version_min]
    context.verify_mode = VERIFY_MODES[tls.client_certificates]
    load_certificate(context, where, certificate, key)
    if tls.client_ca:
        load_client_ca(context, tls.client_ca)
    if tls.ciphers:
        try:
            context.set_ciphers(tls.ciphers)
        except ssl.SSLError as error:
            raise SettingsError(f"tls.ciphers = {tls.ciphers!r}: OpenSSL knows none of them") from error
    return context


def load_certificate(context: ssl.SSLContext, where: str, certificate: str, key: str) -> None:
    def no_password() -> str:
        raise EncryptedKey

    for setting, path in (("certificate", certificate), ("key", key)):
        if path:
            read(f"{where}.{setting}", path)
    try:
        context.load_cert_chain(certificate, key or None, no_password)
    except EncryptedKey:
        raise SettingsError(f"{where}.key: {key or certificate}: it is encrypted: decrypt it (openssl pkey)") from None
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            text = f"{where}.key: {key or certificate}: it does not belong to the certificate {certificate}"
        else:
            text = f"{where}.certificate: {certificate}: no PEM certificate with a key{f' in {key}' if key else ''}"
        raise SettingsError(text) from error


def load_client_ca(context: ssl.SSLContext, path: str) -> None:
    read("tls.client_ca", path)
    try:
        context.load_verify_locations(path)
    except ssl.SSLError as error:
        raise SettingsError(f"tls.client_ca: {path}: no PEM certificate in it") from error


def read(setting: str, path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise SettingsError(f"{setting}: {path}: {error.strerror}") from error


class Hosts:
    """Server name indication: which certificate for which name. `*.example.org` stands for one label in front."""

    def __init__(self, tls: TLSSettings, hosts: Iterable[TLSHost]) -> None:
        self.contexts = {
            host.name.casefold(): new_context(tls, f"tls_hosts {host.name!r}", host.certificate, host.key)
            for host in hosts
        }

    def __call__(self, connection: Any, name: str | None, _default: ssl.SSLContext) -> None:
        if name is None:
            return
        folded = name.casefold()
        context = self.contexts.get(folded) or self.contexts.get(f"*.{folded.partition('.')[2]}")
        if context is not None:
            connection.context = context


def certificates(settings: Settings) -> list[str]:
    """A line for each certificate in use, and whether it is still good. They have been loaded already."""
    return [f"{where}: {described(read(where, path))}" for where, path in in_use(settings)]


def expirations(settings: Settings) -> Iterator[dict[str, object]]:
    """The same for programs: where each is set, and until when it is good, in seconds since 1970."""
    from cryptography import x509

    for where, path in in_use(settings):
        ends = x509.load_pem_x509_certificate(read(where, path)).not_valid_after_utc
        yield {"name": where, "path": path, "not_after": int(ends.timestamp())}


def in_use(settings: Settings) -> list[tuple[str, str]]:
    """Where each certificate is set, and its file."""
    hosts = [(f"tls_hosts {host.name!r}", host.certificate) for host in settings.tls_hosts]
    return [("tls.certificate", settings.tls.certificate), *hosts]


def described(pem: bytes) -> str:
    # Only here: where there is no TLS, it takes no memory.
    from cryptography import x509

    certificate = x509.load_pem_x509_certificate(pem)
    ends = certificate.not_valid_after_utc
    expired = " (EXPIRED: clients will refuse it)" if ends < datetime.now(UTC) else ""
    return f"{certificate.subject.rfc4514_string() or 'no subject'}, valid until {ends:%Y-%m-%d}{expired}"


def why(error: BaseException) -> str:
    """Why a handshake failed, in one line."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the client's certificate is refused: {error.verify_message}"
    if isinstance(error, ssl.SSLError) and error.reason:
        return EXPLANATIONS.get(error.reason, error.reason.lower().replace("_", " "))
    if isinstance(error, ConnectionError):
        return "the client closed its socket"
    return str(error) or type(error).__name__
