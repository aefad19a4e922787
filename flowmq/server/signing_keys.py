"""The keys that tokens are signed with: a JWKS, from a file or fetched from a URL.

A file is read at the start and at SIGHUP. A URL is asked at the start, every hour, at SIGHUP, and when a token names a
key that is not known, though for that not more often than every 30 seconds. While it does not answer, the keys that are
there stay in use.
"""

import asyncio
import json
import logging
import ssl
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path

import jwt

from flowmq.server.config import SettingsError
from flowmq.server.oauth_settings import OAuthSettings

FETCH_SECONDS_MAX = 10.0
FETCHES_APART_SECONDS = 30.0
FETCH_EVERY_SECONDS = 3600.0
JWKS_BYTES_MAX = 1 << 20
TRIED_MAX = 8  # keys, for a token that names none
log = logging.getLogger("flowmq")


class NoKeys(SettingsError):
    """Where they should be there are none; the message is one line for the operator."""


def parse_keys(document: bytes, where: str) -> list[jwt.PyJWK]:
    """Those for signatures that others can check: a shared secret is none."""
    try:
        entries = json.loads(document)["keys"]
        usable = [entry for entry in entries if entry.get("use", "sig") == "sig" and entry.get("kty") != "oct"]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise NoKeys(f"{where}: no JWKS: {error!r}") from error
    keys = []
    for entry in usable:
        try:
            keys.append(jwt.PyJWK(entry))
        except jwt.PyJWTError as error:
            log.warning("%s: the key %r is left out: %s", where, entry.get("kid"), error)
    if not keys:
        raise NoKeys(f"{where}: no key in it can be used")
    return keys


def read_keys(settings: OAuthSettings) -> list[jwt.PyJWK]:
    try:
        return parse_keys(Path(settings.jwks_file).read_bytes(), f"oauth.jwks_file: {settings.jwks_file}")
    except OSError as error:
        raise NoKeys(f"oauth.jwks_file: {settings.jwks_file}: {error.strerror}") from error


async def fetch_keys(settings: OAuthSettings) -> list[jwt.PyJWK]:
    # Only here: where keys come from a file, it takes no memory.
    import aiohttp

    where = f"oauth.jwks_url: {settings.jwks_url}"
    document = bytearray()
    try:
        context = ssl.create_default_context(cafile=settings.jwks_ca or None)
        timeout = aiohttp.ClientTimeout(total=FETCH_SECONDS_MAX)
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            # A redirection could lead to where the settings may not.
            session.get(settings.jwks_url, ssl=context, allow_redirects=False) as answer,
        ):
            if answer.status != HTTPStatus.OK:
                raise NoKeys(f"{where}: the answer is {answer.status} {answer.reason}")
            async for part in answer.content.iter_chunked(65536):
                document += part
                if len(document) > JWKS_BYTES_MAX:
                    raise NoKeys(f"{where}: more than {JWKS_BYTES_MAX} octets")
    except TimeoutError as error:
        raise NoKeys(f"{where}: no answer within {FETCH_SECONDS_MAX:.0f} s") from error
    except (OSError, aiohttp.ClientError) as error:
        raise NoKeys(f"{where}: {error}") from error
    return parse_keys(bytes(document), where)


class SigningKeys:
    def __init__(self, settings: OAuthSettings, loop: asyncio.AbstractEventLoop) -> None:
        self.settings = settings
        self.loop = loop
        self.keys = read_keys(settings) if settings.jwks_file else []
        self.fetching: asyncio.Task[None] | None = None
        self.next_fetch = 0.0  # not before, in the loop's time
        self.timer: asyncio.TimerHandle | None = None
        self.waiting: list[Callable[[], None]] = []
        if settings.jwks_url:
            self._fetch()

    def stop(self) -> None:
        if self.timer is not None:
            self.timer.cancel()
        if self.fetching is not None:
            self.fetching.cancel()

    def read_again(self) -> list[jwt.PyJWK]:
        """The file's keys, without using them yet. A URL is asked again beside that."""
        if self.settings.jwks_url:
            self._fetch()
            return self.keys
        return read_keys(self.settings)

    def take_over(self, keys: list[jwt.PyJWK]) -> None:
        self.keys = keys

    def find(self, key_id: str | None) -> list[jwt.PyJWK]:
        """Those that can have signed it."""
        if key_id is None:
            return self.keys[:TRIED_MAX]
        return [key for key in self.keys if key.key_id == key_id]

    def when_fetched(self, callback: Callable[[], None]) -> Callable[[], None] | None:
        """Calls back once the keys are as new as they can be, perhaps at once; else what is returned gives it up."""
        if self.fetching is None and self.settings.jwks_url and self.loop.time() >= self.next_fetch:
            self._fetch()
        if self.fetching is None:
            callback()
            return None
        self.waiting.append(callback)
        return lambda: self._forget(callback)

    def _forget(self, callback: Callable[[], None]) -> None:
        self.waiting = [kept for kept in self.waiting if kept is not callback]

    def _fetch(self) -> None:
        if self.timer is not None:
            self.timer.cancel()
        self.timer = self.loop.call_later(FETCH_EVERY_SECONDS, self._fetch)
        self.next_fetch = self.loop.time() + FETCHES_APART_SECONDS
        if self.fetching is None:
            self.fetching = self.loop.create_task(self._fetch_all())

    async def _fetch_all(self) -> None:
        try:
            self.keys = await fetch_keys(self.settings)
            log.info("oauth.jwks_url: %s: keys: %d", self.settings.jwks_url, len(self.keys))
        except NoKeys as error:
            log.error("%s; keys that are there still: %d", error, len(self.keys))
        finally:
            self.fetching = None
        waiting, self.waiting = self.waiting, []
        for callback in waiting:
            callback()
