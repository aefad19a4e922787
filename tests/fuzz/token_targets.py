"""Targets for what comes with tokens: tokens of any octets, claims that were signed whatever they say, sets of keys."""

import base64
import contextlib
import json
import logging
import tempfile
import time
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any, cast

import jwt

from flowmq.broker.permissions import CONFIGURE, EXCHANGE, QUEUE, READ, WRITE, Access
from flowmq.broker.scopes import TokenUser
from flowmq.server.config import SettingsError
from flowmq.server.oauth_settings import OAuthSettings
from flowmq.server.signing_keys import parse_keys
from flowmq.server.tokens import Tokens
from tests.support.tokens import AUDIENCE, Issuer, jwks, write_jwks

SCOPES = "read:%2F/a* write:*/b/c.* configure:x/* tag:management read:/// write:a/b/c/d tag: read:*****/*a*b*c"


@cache
def issuer() -> Issuer:
    return Issuer()


@cache
def tokens() -> Tokens:
    logging.getLogger("flowmq").propagate = False
    file = write_jwks(Path(tempfile.mkdtemp(prefix="flowmq-fuzz-")) / "jwks.json", issuer())
    settings = OAuthSettings(audience=AUDIENCE, jwks_file=str(file), scope_claims=["scope", "other"])
    return Tokens(settings, cast("Any", None))  # without a URL nothing is fetched, and no loop needed


def judge(token: str) -> None:
    """It is refused with one line, or is somebody of whom everything can be asked."""
    answers: list[Any] = []
    if not tokens().takes(token):
        return
    assert tokens().log_in(token, answers.append) is None
    (found,) = answers
    assert isinstance(found, str | TokenUser)
    if isinstance(found, str):
        return
    for vhost in ("/", "x", "", "\udcff"):
        access = Access(found, vhost, "client")
        for permission in (CONFIGURE, WRITE, READ):
            for name in ("", "abc", "\udcff", "a" * 255):
                access.allows(permission, QUEUE, name)
                access.allows(permission, EXCHANGE, name)
                access.allows_topic(permission if permission != CONFIGURE else READ, name, "a.b.c")


def encoded(octets: bytes) -> str:
    return base64.urlsafe_b64encode(octets).decode().rstrip("=")


def signed(header: bytes, payload: bytes) -> str:
    parts = f"{encoded(header)}.{encoded(payload)}"
    return f"{parts}.{encoded(jwt.get_algorithm_by_name('ES256').sign(parts.encode(), issuer().key))}"


def token(octets: bytes) -> None:
    """As they are; as a header; as claims; and both under a signature that is right."""
    judge(octets.decode("utf-8", "surrogateescape"))
    judge(f"eyJ{octets.decode('latin-1')}")
    header, _, payload = octets.partition(b"\n")
    judge(signed(header, payload))
    judge(signed(json.dumps({"alg": "ES256", "kid": issuer().key_id}).encode(), octets))


def claims(**others: Any) -> bytes:
    every = {"sub": "ann", "aud": AUDIENCE, "exp": int(time.time()) + 600, "scope": SCOPES}
    return json.dumps({**every, **others}).encode()


def token_seeds() -> Iterable[bytes]:
    yield claims()
    for odd in (
        {"scope": ["read:*/*", 1, None, {}]}, {"other": "read:%/%ff", "scope": 5}, {"sub": 7, "client_id": "bob"},
        {"exp": 1e400}, {"exp": "1"}, {"exp": -1}, {"exp": 10**400}, {"exp": None}, {"nbf": "x"}, {"iat": []},
        {"aud": [AUDIENCE, 1]}, {"aud": {}}, {"sub": "\ud800"}, {"scope": "read:\ud800/*"}, {"sub": "x" * 300},
        {"scope": "read:*/" + "*a" * 100}, {"scope": "tag:" + "a" * 300}, {"iss": 1}, {"jti": []},
    ):  # fmt: skip
        yield claims(**odd)
    for header in (
        b'{"alg": "ES256"}', b'{"alg": "ES256", "kid": []}', b'{"alg": "ES256", "crit": ["x"]}', b'{"alg": "none"}',
        b'{"alg": "ES256", "b64": false}', b'{"alg": []}', b'{"alg": "ES256", "kid": "first", "x": ' + b"[" * 3000,
    ):  # fmt: skip
        yield header + b"\n" + claims()
    yield issuer().token(SCOPES).encode()
    yield b"eyJ" + b"." * 2
    yield b"[" * 5000
    yield b'{"a":' * 5000


def keys(octets: bytes) -> None:
    with contextlib.suppress(SettingsError):
        for key in parse_keys(octets, "fuzz"):
            with contextlib.suppress(jwt.PyJWTError, TypeError, ValueError):
                jwt.decode(issuer().token(SCOPES), key, algorithms=["ES256", "RS256"], audience=AUDIENCE)


def key_seeds() -> Iterable[bytes]:
    yield jwks(issuer(), Issuer("second", "RS256"))
    one = issuer().jwk
    for odd in (
        {"kty": "OKP", "crv": "Ed25519", "x": one["x"]}, {"kty": "RSA", "n": "", "e": "AQAB"}, {"crv": "P-521"},
        {"kty": 5}, {"kid": []}, {"alg": "HS256"}, {"alg": {}}, {"x": 5}, {"use": []}, {"n": "AQAB", "e": "AA"},
        {"kty": "RSA", "n": "AQ", "e": "AQ", "d": "AQ"}, {"kty": "oct", "k": "AQAB"},
    ):  # fmt: skip
        yield json.dumps({"keys": [{**one, **odd}]}).encode()
    yield from (b'{"keys": {}}', b'{"keys": [1]}', b'{"keys": [null]}', b"[]", b'"keys"', b"{" * 3000)
