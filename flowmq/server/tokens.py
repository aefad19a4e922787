"""Log-in with a token (OAuth 2): a JWT in the place of the password. Is it from whom we believe, for us, and valid?

Nothing of a token that fails is told to the client; the log has the reason. Keys come from keys.py; what the scopes
allow stands in broker/scopes.py. The name that a client gives besides means nothing: the token's counts.
"""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import jwt

from flowmq.broker.permissions import AccessError, check_name, checked_tags
from flowmq.broker.scopes import TokenUser, parse_scopes
from flowmq.broker.users import User
from flowmq.server.oauth_settings import OAuthSettings
from flowmq.server.signing_keys import SigningKeys

if TYPE_CHECKING:
    import asyncio

CLOCKS_APART_SECONDS = 10  # by so much the issuer's clock may be ahead of ours
# What the library raises for tokens that are not well-formed, or lie; the last of a header that is nested too deep.
UNREADABLE = (jwt.PyJWTError, TypeError, ValueError, OverflowError, RecursionError)
Answer = Callable[[User | str], None]


class Tokens:
    def __init__(self, settings: OAuthSettings, loop: "asyncio.AbstractEventLoop") -> None:
        self.settings = settings
        self.keys = SigningKeys(settings, loop)

    def takes(self, password: str) -> bool:
        """Does it look like a token? Three parts, of which the first is the beginning of a JSON object in base64."""
        return password.startswith("eyJ") and password.count(".") == 2

    def log_in(self, token: str, answer: Answer) -> Callable[[], None] | None:
        """As authentication.py's: at once, unless the key must be fetched first."""
        try:
            key_id = jwt.get_unverified_header(token).get("kid")
        except UNREADABLE as error:
            answer(f"the token cannot be read: {error}")
            return None
        if self.keys.find(key_id):
            answer(self.user(token, key_id))
            return None
        return self.keys.when_fetched(lambda: answer(self.user(token, key_id)))

    def user_of(self, token: str) -> User | str:
        """Of one that was believed before, whose key is there therefore."""
        try:
            key_id = jwt.get_unverified_header(token).get("kid")
        except UNREADABLE as error:
            return f"the token cannot be read: {error}"
        return self.user(token, key_id)

    def user(self, token: str, key_id: str | None) -> User | str:
        """Who the token says it is, or why it is not believed."""
        keys = self.keys.find(key_id)
        if not keys:
            return f"the token was signed with the key {key_id!r}, which is not known"
        refusal = ""
        for key in keys:
            try:
                return self._user_of(self._verified(token, key))
            except (*UNREADABLE, AccessError) as error:
                refusal = str(error)
                if not isinstance(error, jwt.InvalidSignatureError | jwt.InvalidAlgorithmError):
                    break
        return f"the token is refused: {refusal}"

    def _verified(self, token: str, key: jwt.PyJWK) -> dict[str, Any]:
        issuer = self.settings.issuer
        return jwt.decode(
            token,
            key,
            algorithms=list(self.settings.algorithms),
            audience=self.settings.audience,
            issuer=issuer or None,
            leeway=CLOCKS_APART_SECONDS,
            options={"require": ["exp", "aud", *(["iss"] if issuer else [])]},
        )

    def _user_of(self, claims: dict[str, Any]) -> TokenUser:
        expires_at = float(claims["exp"])
        if expires_at <= time.time():
            raise jwt.ExpiredSignatureError("Signature has expired")
        names = (claims.get(claim) for claim in self.settings.user_claims)
        name = next((name for name in names if isinstance(name, str) and name), "")
        if not name:
            raise AccessError(f"it names nobody: {' and '.join(self.settings.user_claims)} are missing")
        check_name("user", name)
        scopes, tags = parse_scopes(self._scopes(claims), self.settings.scope_prefix)
        return TokenUser(name, scopes, checked_tags(tags), expires_at)

    def _scopes(self, claims: dict[str, Any]) -> list[str]:
        """Of every claim that may hold some: a text with spaces between, or a list."""
        found: list[str] = []
        for claim in self.settings.scope_claims:
            value = claims.get(claim, [])
            if isinstance(value, str):
                found += value.split()
            elif isinstance(value, list):
                found += [scope for scope in value if isinstance(scope, str)]
        return found
