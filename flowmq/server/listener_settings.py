"""The settings of what lies between a client's socket and its AMQP: TLS, WebSockets. Part of those in config.py.

What belongs together is checked here when all settings are known. Files are not looked at: that is tls.py's.
"""

from typing import TYPE_CHECKING, Annotated, Literal

from msgspec import Meta, Struct, field

if TYPE_CHECKING:
    from flowmq.server.config import AMQPSettings, Settings

Text = Annotated[str, Meta(min_length=1)]
Mechanism = Literal["PLAIN", "AMQPLAIN", "EXTERNAL", "ANONYMOUS"]
PASSWORD_MECHANISMS: list[Mechanism] = ["PLAIN", "AMQPLAIN"]


class TLSSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    listen: list[str] = field(default_factory=list)
    certificate: str = ""
    key: str = ""
    client_ca: str = ""
    client_certificates: Literal["none", "optional", "required"] = "none"
    version_min: Literal["1.2", "1.3"] = "1.2"
    ciphers: str = ""
    mechanisms: list[Mechanism] = field(default_factory=PASSWORD_MECHANISMS.copy)
    external_name: Literal["distinguished_name", "common_name", "san_dns", "san_email", "san_uri", "san_ip"] = (
        "distinguished_name"
    )
    proxy_protocol_from: list[str] = field(default_factory=list)


class TLSHost(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A certificate for clients that ask for this name."""

    name: Text
    certificate: Text
    key: str = ""


class WebSocketSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    listen: list[str] = field(default_factory=list)
    listen_tls: list[str] = field(default_factory=list)
    origins: list[str] = field(default_factory=list)
    mechanisms: list[Mechanism] = field(default_factory=PASSWORD_MECHANISMS.copy)
    frame_bytes_max: Annotated[int, Meta(ge=16384, le=536870912)] = 16777216
    proxy_protocol_from: list[str] = field(default_factory=list)


def contradiction(settings: "Settings") -> str | None:
    """What cannot be together, as a line for the operator."""
    amqp, tls, websocket = settings.amqp, settings.tls, settings.websocket
    if not (amqp.listen or tls.listen or websocket.listen or websocket.listen_tls):
        return "amqp.listen is empty, and so are tls.listen and those of websocket: at least one HOST:PORT is needed"
    for setting, addresses in (("tls.listen", tls.listen), ("websocket.listen_tls", websocket.listen_tls)):
        if addresses and not tls.certificate:
            return f"{setting} is given, and no tls.certificate"
    if tls.client_certificates != "none" and not tls.client_ca:
        return f"tls.client_certificates is '{tls.client_certificates}', and there is no tls.client_ca to check them by"
    return contradiction_of_mechanisms(amqp, tls, websocket)


def contradiction_of_mechanisms(amqp: "AMQPSettings", tls: TLSSettings, websocket: WebSocketSettings) -> str | None:
    for section, mechanisms in (
        ("amqp", amqp.mechanisms),
        ("tls", tls.mechanisms),
        ("websocket", websocket.mechanisms),
    ):
        if not mechanisms:
            return f"{section}.mechanisms is empty: nobody can log in"
        if "ANONYMOUS" in mechanisms and not amqp.anonymous_user:
            return f"{section}.mechanisms has ANONYMOUS, and no amqp.anonymous_user says who that is"
        if "EXTERNAL" in mechanisms and (section == "amqp" or tls.client_certificates == "none"):
            return f"{section}.mechanisms has EXTERNAL, which needs TLS and tls.client_certificates"
    return None


def check_hosts(hosts: list[TLSHost]) -> None:
    names = [host.name.casefold() for host in hosts]
    repeated = next((name for name in names if names.count(name) > 1), None)
    if repeated is not None:
        raise ValueError(f"{repeated!r} is given twice")
