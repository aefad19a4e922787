"""What a client certificate is called: expected are the names that RabbitMQ 3.10 gives to the same certificates."""

import ipaddress
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from flowmq.server.certificate_names import NoName, client_name
from tests.support.certificates import Authority, names


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("certificates"))


def der(path: Path) -> bytes:
    return x509.load_pem_x509_certificate(path.read_bytes()).public_bytes(Encoding.DER)


SEVERAL_IN_ONE = x509.Name(
    [
        x509.RelativeDistinguishedName(
            [
                x509.NameAttribute(NameOID.COMMON_NAME, "a"),
                x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, "b"),
            ]
        ),
        x509.RelativeDistinguishedName([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "o")]),
    ]
)
EVERY_KIND = names(
    (NameOID.EMAIL_ADDRESS, "a@b.c"),
    (NameOID.COMMON_NAME, "m"),
    (NameOID.USER_ID, "uid1"),
    (NameOID.DOMAIN_COMPONENT, "example"),
    (NameOID.SURNAME, "Sur"),
    (NameOID.GIVEN_NAME, "Giv"),
    (NameOID.TITLE, "T"),
    (NameOID.SERIAL_NUMBER, "123"),
    (NameOID.STREET_ADDRESS, "St"),
    (NameOID.STATE_OR_PROVINCE_NAME, "BY"),
    (NameOID.LOCALITY_NAME, "M"),
    (NameOID.ORGANIZATIONAL_UNIT_NAME, "OU"),
    (NameOID.PSEUDONYM, "ps"),
    (NameOID.DN_QUALIFIER, "dnq"),
)
DISTINGUISHED = [
    (
        names((NameOID.COUNTRY_NAME, "DE"), (NameOID.ORGANIZATION_NAME, "Acme"), (NameOID.COMMON_NAME, "orders")),
        "CN=orders,O=Acme,C=DE",
    ),
    (
        names((NameOID.ORGANIZATION_NAME, 'Acme, Inc. "x" <y>; #1+2=3\\'), (NameOID.COMMON_NAME, "#ord ers ")),
        r"CN=\#ord ers\ ,O=Acme\, Inc. \"x\" \<y\>\; #1\+2=3\\",
    ),
    (names((NameOID.COMMON_NAME, "Müller ü")), r"CN=M\C3\BCller \C3\BC"),
    (names((NameOID.COMMON_NAME, "one"), (NameOID.COMMON_NAME, "two")), "CN=two,CN=one"),
    (SEVERAL_IN_ONE, "O=o,CN=a+OU=b"),
    (
        EVERY_KIND,
        "2.5.4.46=dnq,PSEUDONYM=ps,OU=OU,L=M,ST=BY,2.5.4.9=St,SERIALNUMBER=123,TITLE=T,GIVENNAME=Giv,SN=Sur,"
        "DC=example,UID=uid1,CN=m,EMAILADDRESS=a@b.c",
    ),
]


@pytest.mark.parametrize(("subject", "expected"), DISTINGUISHED)
def test_distinguished_names(authority: Authority, subject: x509.Name, expected: str) -> None:
    assert client_name(der(authority.sign(subject).certificate), "distinguished_name") == expected


def test_common_names(authority: Authority) -> None:
    two = names((NameOID.COMMON_NAME, "one"), (NameOID.COMMON_NAME, "two"))
    assert client_name(der(authority.sign(two).certificate), "common_name") == "one,two"
    assert client_name(der(authority.sign("Müller ü").certificate), "common_name") == "Müller ü"


def test_alternative_names(authority: Authority) -> None:
    alternatives = [
        x509.DNSName("orders.example.org"),
        x509.DNSName("second.example.org"),
        x509.RFC822Name("orders@example.org"),
        x509.UniformResourceIdentifier("urn:example:orders"),
        x509.IPAddress(ipaddress.ip_address("192.0.2.7")),
    ]
    certificate = der(authority.sign("another", *alternatives).certificate)
    found = [client_name(certificate, f"san_{kind}") for kind in ("dns", "email", "uri", "ip")]
    assert found == ["orders.example.org", "orders@example.org", "urn:example:orders", "192.0.2.7"]


def test_what_is_not_there_is_no_name(authority: Authority) -> None:
    plain = der(authority.sign("plain").certificate)
    other = der(authority.sign(names((NameOID.ORGANIZATION_NAME, "o")), x509.DNSName("a.example")).certificate)
    for certificate, source in ((plain, "san_dns"), (other, "san_ip"), (other, "common_name"), (b"junk", "san_dns")):
        with pytest.raises(NoName):
            client_name(certificate, source)
