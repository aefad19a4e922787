"""The settings of log-ins with tokens. Part of those in config.py."""

from typing import Literal
from urllib.parse import urlsplit

from msgspec import Struct, field

Algorithm = Literal["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]
ON_THIS_MACHINE = {"localhost", "127.0.0.1", "::1"}


class OAuthSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    jwks_file: str = ""
    jwks_url: str = ""
    jwks_ca: str = ""
    audience: str = ""
    issuer: str = ""
    scope_prefix: str = ""
    scope_claims: list[str] = field(default_factory=lambda: ["scope"])
    user_claims: list[str] = field(default_factory=lambda: ["sub", "client_id"])
    algorithms: list[Algorithm] = field(default_factory=lambda: ["RS256", "ES256", "EdDSA"])

    @property
    def is_used(self) -> bool:
        return bool(self.jwks_file or self.jwks_url)


def check_url(url: str) -> None:
    parts = urlsplit(url)
    if url and not (parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in ON_THIS_MACHINE)):
        raise ValueError("an https URL is needed (http for this machine only): keys must not be changed on the way")


def contradiction_of_oauth(oauth: OAuthSettings) -> str | None:
    """What cannot be together, as a line for the operator."""
    if oauth.jwks_file and oauth.jwks_url:
        return "oauth.jwks_file and oauth.jwks_url are both given: one of them is needed"
    if oauth.is_used and not oauth.audience:
        return "oauth.audience is missing: it says which tokens are meant for this broker"
    if oauth.audience and not oauth.is_used:
        return "oauth.audience is given, and neither oauth.jwks_file nor oauth.jwks_url says who signs the tokens"
    return None
