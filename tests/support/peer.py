"""Where the broker under test is: an address with credentials, and which product answers there."""

from dataclasses import dataclass
from ssl import SSLContext
from urllib.parse import unquote, urlsplit


@dataclass(frozen=True)
class Peer:
    host: str
    port: int
    user: str = "guest"
    password: str = "guest"
    vhost: str = "/"
    pid: int | None = None
    is_flowmq: bool = True
    tls: SSLContext | None = None
    server_name: str = "localhost"  # what a TLS client asks for
    websocket: bool = False
    greeting: bytes = b""  # sent before anything else, such as a PROXY header

    @property
    def url(self) -> str:
        return f"amqp://{self.user}:{self.password}@{self.host}:{self.port}/%2F"


def peer_from_url(url: str, is_flowmq: bool) -> Peer:
    parts = urlsplit(url)
    vhost = unquote(parts.path[1:]) or "/"
    return Peer(
        parts.hostname or "127.0.0.1",
        parts.port or 5672,
        unquote(parts.username or "guest"),
        unquote(parts.password or "guest"),
        vhost,
        None,
        is_flowmq,
    )
