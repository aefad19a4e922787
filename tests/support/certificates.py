"""Certificates for tests: an authority of the test's own, and what it signs, as files."""

import ipaddress
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

DAY = timedelta(days=1)


class Files(NamedTuple):
    certificate: Path
    key: Path


def names(*parts: tuple[x509.ObjectIdentifier, str]) -> x509.Name:
    return x509.Name([x509.NameAttribute(kind, value) for kind, value in parts])


class Authority:
    """Signs for servers and clients alike; its own certificate is in the file `path`."""

    def __init__(self, directory: Path, name: str = "authority") -> None:
        self.directory = directory
        self.path = directory / f"{name}.pem"
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.subject = names((NameOID.COMMON_NAME, name))
        self.count = 0
        builder = self._builder(self.subject, self.key.public_key(), 30)
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        self._write(self.path, builder.sign(self.key, hashes.SHA256()))

    def _builder(self, subject: x509.Name, public_key: ec.EllipticCurvePublicKey, days: int) -> x509.CertificateBuilder:
        now = datetime.now(UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.subject)
            .public_key(public_key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - 10 * DAY)
            .not_valid_after(now + days * DAY)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), critical=False)
        )

    def _write(self, path: Path, certificate: x509.Certificate) -> None:
        path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))

    def sign(
        self,
        subject: str | x509.Name,
        *alternatives: x509.GeneralName,
        days: int = 20,
        password: bytes | None = None,
    ) -> Files:
        """A certificate and its key. A subject that is text is the common name."""
        self.count += 1
        certificate, key_file = (self.directory / f"{self.path.stem}-{self.count}{end}" for end in (".pem", ".key"))
        key = ec.generate_private_key(ec.SECP256R1())
        name = names((NameOID.COMMON_NAME, subject)) if isinstance(subject, str) else subject
        builder = self._builder(name, key.public_key(), days)
        if alternatives:
            builder = builder.add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        self._write(certificate, builder.sign(self.key, hashes.SHA256()))
        encryption = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
        key_file.write_bytes(
            key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)
        )
        return Files(certificate, key_file)

    def for_server(self, *hosts: str, days: int = 20) -> Files:
        """For these names; for this machine when none is given."""
        alternatives: list[x509.GeneralName] = [x509.DNSName(host) for host in hosts or ("localhost",)]
        if not hosts:
            alternatives.append(x509.IPAddress(ipaddress.ip_address("127.0.0.1")))
        return self.sign(hosts[0] if hosts else "localhost", *alternatives, days=days)

    def client_context(self, files: Files | None = None) -> ssl.SSLContext:
        """For a client that trusts this authority, with a certificate of its own perhaps."""
        context = ssl.create_default_context(cafile=str(self.path))
        if files is not None:
            context.load_cert_chain(*files)
        return context
