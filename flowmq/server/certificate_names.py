"""The user's name in a client certificate: its subject, or one of its alternative names. Written as RabbitMQ does."""

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any

NAMES = {
    "2.5.4.4": "SN",
    "2.5.4.5": "SERIALNUMBER",
    "2.5.4.9": "2.5.4.9",
    "2.5.4.12": "TITLE",
    "2.5.4.42": "GIVENNAME",
    "2.5.4.43": "INITIALS",
    "2.5.4.44": "GENERATIONQUALIFIER",
    "2.5.4.65": "PSEUDONYM",
    "1.2.840.113549.1.9.1": "EMAILADDRESS",
}


NOT_ASCII = re.compile(r"[^ -~]")


class NoName(Exception):
    """The certificate does not hold what was asked for; why, in one line."""


def client_name(certificate: bytes, source: str) -> str:
    """`certificate` in DER form; `source` is tls.external_name."""
    # Only here: where there is no TLS, it takes no memory.
    from cryptography import x509

    try:
        name = SOURCES[source](x509.load_der_x509_certificate(certificate))
    except (ValueError, x509.ExtensionNotFound) as error:
        raise NoName(f"the client's certificate cannot be understood: {error}") from error
    if not name:
        raise NoName(f"the client's certificate has no {source.replace('_', ' ')}")
    return name


@lru_cache(maxsize=1024)
def summary(certificate: bytes) -> tuple[str, str, str]:
    """Subject, issuer, and from when until when it is good."""
    from cryptography import x509

    found = x509.load_der_x509_certificate(certificate)
    valid = (f"{at:%Y-%m-%dT%H:%M:%SZ}" for at in (found.not_valid_before_utc, found.not_valid_after_utc))
    return written(found.subject), written(found.issuer), " - ".join(valid)


def distinguished_name(certificate: Any) -> str:
    return written(certificate.subject)


def written(name: Any) -> str:
    from cryptography.x509 import ObjectIdentifier

    overrides = {ObjectIdentifier(dotted): known for dotted, known in NAMES.items()}
    text: str = name.rfc4514_string(overrides)
    return NOT_ASCII.sub(lambda found: "".join(f"\\{octet:02X}" for octet in found[0].encode()), text)


def common_name(certificate: Any) -> str:
    from cryptography.x509.oid import NameOID

    return ",".join(str(part.value) for part in certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME))


def alternative_name(kind: str) -> Callable[[Any], str]:
    """The first of that kind."""

    def first(certificate: Any) -> str:
        from cryptography import x509

        try:
            names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        except x509.ExtensionNotFound:
            return ""
        found = names.get_values_for_type(getattr(x509, kind))
        return str(found[0]) if found else ""

    return first


SOURCES: dict[str, Callable[[Any], str]] = {
    "distinguished_name": distinguished_name,
    "common_name": common_name,
    "san_dns": alternative_name("DNSName"),
    "san_email": alternative_name("RFC822Name"),
    "san_uri": alternative_name("UniformResourceIdentifier"),
    "san_ip": alternative_name("IPAddress"),
}
