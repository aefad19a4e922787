"""An issuer of tokens for tests: keys, their JWKS, and what it signs."""

import json
import time
from pathlib import Path
from typing import Any

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

AUDIENCE = "messages"


class Issuer:
    def __init__(self, key_id: str = "first", algorithm: str = "ES256") -> None:
        self.key_id, self.algorithm = key_id, algorithm
        self.key: Any = (
            ec.generate_private_key(ec.SECP256R1())
            if algorithm == "ES256"
            else rsa.generate_private_key(public_exponent=65537, key_size=2048)
        )

    @property
    def jwk(self) -> dict[str, Any]:
        algorithm: Any = jwt.get_algorithm_by_name(self.algorithm)
        public = algorithm.to_jwk(self.key.public_key(), as_dict=True)
        return {**public, "kid": self.key_id, "use": "sig", "alg": self.algorithm}

    @property
    def public_pem(self) -> bytes:
        return bytes(
            self.key.public_key().public_bytes(
                serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
            )
        )

    def token(
        self, scope: Any = "", *, seconds: float = 600, headers: dict[str, Any] | None = None, **claims: Any
    ) -> str:
        """Claims that are None are left out."""
        every = {"sub": "ann", "aud": AUDIENCE, "exp": int(time.time() + seconds), "scope": scope, **claims}
        given = {name: value for name, value in every.items() if value is not None}
        header = {"kid": self.key_id} if headers is None else headers
        return jwt.encode(given, self.key, self.algorithm, headers=header)


def jwks(*issuers: Issuer) -> bytes:
    return json.dumps({"keys": [issuer.jwk for issuer in issuers]}).encode()


def write_jwks(path: Path, *issuers: Issuer) -> Path:
    path.write_bytes(jwks(*issuers))
    return path
