"""Passwords as they are kept: argon2id for those set here, RabbitMQ's salted hashes for those that come from there.

Pure functions, and slow ones: argon2id takes tens of milliseconds on purpose. Who calls it for a log-in does so in a
thread (server/authentication.py).
"""

import base64
import binascii
import hashlib
import re
import secrets
from functools import lru_cache
from hmac import compare_digest
from typing import NamedTuple

from argon2 import PasswordHasher, Type
from argon2.exceptions import InvalidHashError, VerificationError

from flowmq.broker.names import octets
from flowmq.broker.permissions import AccessError

ARGON2ID, PLAIN, NONE = "argon2id", "plain", "none"
RABBITMQ_SHA256, RABBITMQ_SHA512 = "rabbit_password_hashing_sha256", "rabbit_password_hashing_sha512"
RABBITMQ_HASHES = {RABBITMQ_SHA256: hashlib.sha256, RABBITMQ_SHA512: hashlib.sha512}
RABBITMQ_SALT_BYTES = 4
PASSWORD_BYTES_MAX = 4096
# What a hash from elsewhere may ask of us: a log-in must not cost gigabytes or minutes.
ARGON2_MEMORY_KIB_MAX, ARGON2_TIME_MAX, ARGON2_LANES_MAX = 262_144, 16, 16
# OWASP's second recommendation: 19 MiB, two passes, one lane; some 20 ms.
HASHER = PasswordHasher(time_cost=2, memory_cost=19_456, parallelism=1, type=Type.ID)
ARGON2_FORM = re.compile(r"\$argon2id\$v=19\$m=(\d+),t=(\d+),p=(\d+)\$[A-Za-z0-9+/]{11,}\$[A-Za-z0-9+/]{16,}")


class Password(NamedTuple):
    """What is known of a user's password."""

    algorithm: str
    value: str

    @property
    def is_slow(self) -> bool:
        return self.algorithm == ARGON2ID

    def __repr__(self) -> str:
        return f"Password({self.algorithm!r})"


NO_PASSWORD = Password(NONE, "")  # nobody can log in with it


def hashed(password: str) -> Password:
    check_password(password)
    return Password(ARGON2ID, HASHER.hash(octets(password)))


def plain(password: str) -> Password:
    """Of the configuration file: it stands there as it is, so that hashing it here would protect nothing."""
    return Password(PLAIN, password)


def rabbitmq_hashed(password: str, algorithm: str = RABBITMQ_SHA256) -> Password:
    salt = secrets.token_bytes(RABBITMQ_SALT_BYTES)
    digest = RABBITMQ_HASHES[algorithm](salt + octets(password)).digest()
    return Password(algorithm, base64.b64encode(salt + digest).decode("ascii"))


def check_password(password: str) -> None:
    if not password:
        raise AccessError("the password is empty")
    if len(octets(password)) > PASSWORD_BYTES_MAX:
        raise AccessError(f"a password is at most {PASSWORD_BYTES_MAX} octets long")


def from_hash(value: str, algorithm: str = "") -> Password:
    """A hash that was made elsewhere. No algorithm is argon2id or RabbitMQ's default, as the value looks."""
    if not value:
        return NO_PASSWORD
    algorithm = algorithm or (ARGON2ID if value.startswith("$argon2") else RABBITMQ_SHA256)
    if algorithm == ARGON2ID:
        check_argon2(value)
    elif algorithm in RABBITMQ_HASHES:
        check_rabbitmq(value, algorithm)
    else:
        known = ", ".join((ARGON2ID, *RABBITMQ_HASHES))
        raise AccessError(f"hashing algorithm {algorithm!r} is not supported: use one of {known}")
    return Password(algorithm, value)


def check_argon2(value: str) -> None:
    form = ARGON2_FORM.fullmatch(value)
    if form is None:
        raise AccessError("the password hash is none of argon2id, version 19")
    memory, time, lanes = (int(number) for number in form.groups())
    if memory > ARGON2_MEMORY_KIB_MAX or not 0 < time <= ARGON2_TIME_MAX or not 0 < lanes <= ARGON2_LANES_MAX:
        raise AccessError(
            f"the password hash asks for too much: at most m={ARGON2_MEMORY_KIB_MAX}, t={ARGON2_TIME_MAX}, "
            f"p={ARGON2_LANES_MAX}"
        )


def check_rabbitmq(value: str, algorithm: str) -> None:
    try:
        decoded = base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        decoded = b""
    if len(decoded) != RABBITMQ_SALT_BYTES + RABBITMQ_HASHES[algorithm]().digest_size:
        raise AccessError(f"the password hash is none of {algorithm}: base64 of a salt of 4 octets and the digest")


def verified(known: Password, password: str) -> bool:
    """Takes as long for a wrong password as for the right one."""
    if known.algorithm == PLAIN:
        return compare_digest(octets(known.value), octets(password))
    if known.algorithm in RABBITMQ_HASHES:
        salt, digest = salt_and_digest(known.value)
        return compare_digest(digest, RABBITMQ_HASHES[known.algorithm](salt + octets(password)).digest())
    if known.algorithm == ARGON2ID:
        try:
            return HASHER.verify(known.value, octets(password))
        except (VerificationError, InvalidHashError):
            return False
    return False


@lru_cache(maxsize=256)
def salt_and_digest(value: str) -> tuple[bytes, bytes]:
    decoded = base64.b64decode(value)
    return decoded[:RABBITMQ_SALT_BYTES], decoded[RABBITMQ_SALT_BYTES:]


def waste_time(password: str) -> bool:
    """What checking an argon2id hash takes: so long must a log-in take that fails for any other reason."""
    verified(DUMMY, password)
    return False


# A hash of nothing anybody knows, of the usual cost.
DUMMY = Password(
    ARGON2ID,
    "$argon2id$v=19$m=19456,t=2,p=1$"
    + base64.b64encode(secrets.token_bytes(16)).decode("ascii").rstrip("=")
    + "$"
    + base64.b64encode(secrets.token_bytes(32)).decode("ascii").rstrip("="),
)
