"""The settings of what lies between a client's socket and its AMQP: TLS. Part of the settings; see config.py.

What belongs together is checked here when all settings are known. Files are not looked at: that is tls.py's.
"""

from typing import Annotated, Literal

from msgspec import Meta, Struct, field

Text = Annotated[str, Meta(min_length=1)]


class TLSSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    listen: list[str] = field(default_factory=list)
    certificate: str = ""
    key: str = ""
    client_ca: str = ""
    client_certificates: Literal["none", "optional", "required"] = "none"
    version_min: Literal["1.2", "1.3"] = "1.2"
    ciphers: str = ""


class TLSHost(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A certificate for clients that ask for this name."""

    name: Text
    certificate: Text
    key: str = ""


def contradiction(amqp_listen: list[str], tls: TLSSettings) -> str | None:
    """What cannot be together, as a line for the operator."""
    if not amqp_listen and not tls.listen:
        return "amqp.listen and tls.listen are empty: at least one HOST:PORT is needed"
    if tls.listen and not tls.certificate:
        return "tls.listen is given, and no tls.certificate"
    if tls.client_certificates != "none" and not tls.client_ca:
        return f"tls.client_certificates is '{tls.client_certificates}', and there is no tls.client_ca to check them by"
    return None


def check_hosts(hosts: list[TLSHost]) -> None:
    names = [host.name.casefold() for host in hosts]
    repeated = next((name for name in names if names.count(name) > 1), None)
    if repeated is not None:
        raise ValueError(f"{repeated!r} is given twice")
