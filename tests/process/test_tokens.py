"""Log-in with tokens: which are believed, what they allow, how they end, and where their keys come from."""

import base64
import hashlib
import hmac
import json
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.support.broker import ROOT, STOP_SECONDS, Broker, command, environment
from tests.support.channel import Channel
from tests.support.tokens import AUDIENCE, Issuer, jwks, write_jwks
from tests.support.wire import Client, connect

pytestmark = pytest.mark.flowmq_only
OwnBroker = Callable[..., Broker]
ALL = "configure:*/* write:*/*/* read:*/*/*"
ISSUER = "https://login.example.org/"


@pytest.fixture(scope="module")
def issuer() -> Issuer:
    return Issuer()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, issuer: Issuer) -> Iterator[Broker]:
    directory = tmp_path_factory.mktemp("broker")
    file = write_jwks(directory / "jwks.json", issuer, Issuer("rsa", "RS256"))
    started = Broker(directory / "data", oauth(jwks_file=str(file), issuer=ISSUER))
    try:
        yield started
        started.stop()
    finally:
        started.kill()


def oauth(**settings: str) -> dict[str, str]:
    return {f"FLOWMQ_OAUTH__{name.upper()}": value for name, value in {"audience": AUDIENCE, **settings}.items()}


def token_of(issuer: Issuer, scope: Any = ALL, **claims: Any) -> str:
    return issuer.token(scope, **{"iss": ISSUER, **claims})


def is_believed(broker: Broker, token: str, user: str = "") -> bool:
    with Client(broker.peer) as client:
        client.start()
        client.start_ok(user, token)
        return client.expect("connection.tune", "connection.close").name == "connection.tune"


def log_in(broker: Broker, token: str) -> Client:
    return connect(broker.peer, user="", password=token)


def test_a_token_opens_a_connection_as_its_own_user(shared: Broker, issuer: Issuer) -> None:
    client = connect(shared.peer, user="somebody else", password=token_of(issuer, sub="ann"))
    shared.log.wait_for("opened: user 'ann', vhost '/'")
    channel = client.channel()
    channel.put(channel.queue(exclusive=True), b"by token", properties={"user_id": "ann"})
    client.close()
    connect(shared.peer).close()  # users with passwords are there as before


def encoded(part: Any) -> str:
    octets = part if isinstance(part, bytes) else json.dumps(part).encode()
    return base64.urlsafe_b64encode(octets).rstrip(b"=").decode()


def by_hand(header: dict[str, Any], claims: dict[str, Any], key: bytes = b"") -> str:
    """A token that no library makes: signed with nothing, or with what everybody knows."""
    signed = f"{encoded(header)}.{encoded(claims)}"
    return f"{signed}.{encoded(hmac.new(key, signed.encode(), hashlib.sha256).digest()) if key else ''}"


def good_claims() -> dict[str, Any]:
    return {"sub": "eve", "aud": AUDIENCE, "iss": ISSUER, "exp": int(time.time()) + 600, "scope": ALL}


REFUSED: list[tuple[str, Callable[[Issuer], str], str]] = [
    ("expired", lambda by: token_of(by, seconds=-1), "Signature has expired"),
    ("of another audience", lambda by: token_of(by, aud="others"), "Audience doesn't match"),
    ("without an audience", lambda by: token_of(by, aud=None), 'missing the "aud" claim'),
    ("of another issuer", lambda by: token_of(by, iss="https://evil.example"), "Invalid issuer"),
    ("without an issuer", lambda by: token_of(by, iss=None), 'missing the "iss" claim'),
    ("without an end", lambda by: token_of(by, exp=None), 'missing the "exp" claim'),
    ("with an end that is none", lambda by: token_of(by, exp="soon"), "integer"),
    ("not valid yet", lambda by: token_of(by, nbf=int(time.time()) + 600), "not yet valid"),
    ("of nobody", lambda by: token_of(by, sub=None), "sub and client_id are missing"),
    ("of somebody who is no text", lambda by: token_of(by, sub=5), "Subject must be a string"),
    ("signed by somebody else", lambda _: token_of(Issuer()), "Signature verification failed"),
    ("signed with an unknown key", lambda _: token_of(Issuer("unknown")), "the key 'unknown', which is not known"),
    ("with another body", lambda by: spoiled(token_of(by)), "Signature verification failed"),
    ("with no signature", lambda _: by_hand({"alg": "none", "kid": "first"}, good_claims()), "the token is refused: "),
    (
        "signed with the public key as if it were a secret",
        lambda by: by_hand({"alg": "HS256", "kid": "first"}, good_claims(), by.public_pem),
        "the token is refused: The specified alg value is not allowed",
    ),
    ("with a wrong header", lambda _: "eyJ.e.e", "the token cannot be read: "),
    ("with a key that is no text", lambda _: by_hand({"alg": "ES256", "kid": [1]}, {}), "the token cannot be read: "),
    ("nested too deep", lambda _: encoded(b'{"a":' + b"[" * 5000) + ".e.e", "the token cannot be read: "),
]


def spoiled(token: str) -> str:
    header, _, signature = token.split(".")
    return ".".join([header, encoded(good_claims()), signature])


@pytest.mark.parametrize(("make", "reason"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_what_is_not_believed(shared: Broker, issuer: Issuer, make: Callable[[Issuer], str], reason: str) -> None:
    name = f"user-{time.monotonic_ns()}"
    assert not is_believed(shared, make(issuer), name)
    shared.log.wait_for(f"log-in of user '{name}' refused: .*{re.escape(reason)}")


BELIEVED: list[dict[str, Any]] = [
    {"aud": [AUDIENCE, "others"]},
    {"headers": {}},  # no key is named: all are tried
    {"sub": None, "client_id": "a service"},
    {"scope": ["read:*/*", "write:*/*"]},
    {"scope": None},  # the log-in is right; there is nowhere to go with it
    {"nbf": int(time.time()) - 5, "iat": int(time.time())},
    {"padding": "x" * 9000},  # longer than a frame may be for others at this point
]


@pytest.mark.parametrize("claims", BELIEVED, ids=[" ".join(claims) for claims in BELIEVED])
def test_what_is_believed(shared: Broker, issuer: Issuer, claims: dict[str, Any]) -> None:
    assert is_believed(shared, token_of(issuer, **{"scope": ALL, **claims}))


def may(channel: Channel, name: str, **fields: Any) -> bool:
    """Whether that is allowed; a refusal takes a channel of its own."""
    other = channel.client.channel()
    other.send(name, **fields)
    answer = other.client.next_method(other.number)
    if answer.name == "channel.close":
        assert answer.reply_code == 403, str(answer)
        other.client.send(other.number, "channel.close-ok")
        return False
    other.close()
    return True


def test_scopes_are_permissions(shared: Broker, issuer: Issuer, name: str) -> None:
    scopes = f"configure:%2F/{name}* read:%2F/{name} write:*/amq.topic/eu.* tag:impersonator other:thing"
    channel = log_in(shared, token_of(issuer, scopes)).channel()
    assert may(channel, "queue.declare", queue=name)
    assert not may(channel, "queue.declare", queue=f"x{name}")
    assert may(channel, "basic.get", queue=name)
    assert may(channel, "queue.declare", queue=f"{name}-other")
    assert not may(channel, "basic.get", queue=f"{name}-other")
    assert not may(channel, "exchange.bind", source="amq.topic", destination="amq.topic", routing_key="a")
    channel.call("confirm.select")
    channel.publish("amq.topic", "eu.new", properties={"user_id": "somebody else"})  # by the tag
    channel.wait_for_confirms(1)
    channel.publish("amq.topic", "us.new")
    channel.expect_close(403)
    for queue in (name, f"{name}-other"):
        channel.client.channel().call("queue.delete", queue=queue)
    channel.client.close()


@pytest.mark.parametrize("scopes", ["", "tag:administrator", "read:elsewhere/*"])
def test_a_virtual_host_that_no_scope_names_is_closed(shared: Broker, issuer: Issuer, scopes: str) -> None:
    with Client(shared.peer) as client:
        client.start()
        client.start_ok("", token_of(issuer, scopes))
        client.tune()
        client.send(0, "connection.open", virtual_host="/")
        client.expect_close(530, "NOT_ALLOWED - access to vhost '/' refused for user 'ann'")


def test_the_end_of_the_token_is_the_end_of_the_connection(shared: Broker, issuer: Issuer) -> None:
    client = log_in(shared, token_of(issuer, seconds=2))
    client.channel()
    client.expect_close(320, "CONNECTION_FORCED - credential expired")


def renew(client: Client, token: str) -> None:
    client.send(0, "connection.update-secret", new_secret=token, reason="it ends soon")


def test_a_newer_token_keeps_the_connection_and_counts_at_once(shared: Broker, issuer: Issuer, name: str) -> None:
    client = log_in(shared, token_of(issuer, f"configure:*/* write:*/* read:*/{name}*", seconds=2))
    channel = client.channel()
    queue = channel.queue(name, exclusive=True)
    channel.consume(queue)
    renew(client, token_of(issuer, "configure:*/* write:*/*"))
    client.expect("connection.update-secret-ok")
    assert channel.expect("basic.cancel").consumer_tag  # what may not be read any more is not delivered either
    assert not may(channel, "basic.get", queue=queue)
    time.sleep(2.5)  # the first one has ended by then
    channel.put(queue, b"still here")
    client.close()


@pytest.mark.parametrize("wrong", ["of somebody else", "expired", "a password"])
def test_a_newer_secret_that_is_not_believed_ends_the_connection(shared: Broker, issuer: Issuer, wrong: str) -> None:
    tokens = {
        "of somebody else": token_of(issuer, sub="bob"),
        "expired": token_of(issuer, seconds=-1),
        "a password": "guest",
    }
    client = log_in(shared, token_of(issuer))
    renew(client, tokens[wrong])
    client.expect_close(530, "NOT_ALLOWED - New secret was refused by one of the backends")


def test_a_user_with_a_password_does_not_become_one_with_a_token(shared: Broker, issuer: Issuer) -> None:
    client = connect(shared.peer)
    renew(client, token_of(issuer, sub="guest"))
    client.expect_close(530, "NOT_ALLOWED - New secret was refused by one of the backends")


def test_other_claims_prefixes_and_algorithms(own_broker: OwnBroker, tmp_path: Path) -> None:
    rsa, ecdsa = Issuer("rsa", "RS256"), Issuer("ec")
    broker = own_broker(
        **oauth(
            jwks_file=str(write_jwks(tmp_path / "jwks.json", rsa, ecdsa)),
            scope_prefix="messages.",
            scope_claims="scope,roles",
            user_claims="email",
            algorithms="RS256",
        )
    )
    roles = {"roles": ["messages.configure:*/*", "messages.write:*/*"], "email": "ann@example.org"}
    client = log_in(broker, rsa.token("messages.read:*/* write:*/nothing", **roles))
    channel = client.channel()
    channel.put(channel.queue(exclusive=True), b"in")
    client.close()
    broker.log.wait_for("opened: user 'ann@example.org'")
    assert not is_believed(broker, ecdsa.token(ALL, **roles))
    broker.stop()


def test_a_file_of_keys_is_read_again_at_sighup(own_broker: OwnBroker, tmp_path: Path, issuer: Issuer) -> None:
    file = write_jwks(tmp_path / "jwks.json", issuer)
    newer = Issuer("newer")
    broker = own_broker(**oauth(jwks_file=str(file)))
    assert is_believed(broker, issuer.token(ALL))
    assert not is_believed(broker, newer.token(ALL))
    write_jwks(file, newer)
    reload(broker, "SIGHUP received: policies changed: 0")
    assert is_believed(broker, newer.token(ALL))
    assert not is_believed(broker, issuer.token(ALL))
    file.write_text("{}")
    reload(broker, f"nothing is changed: oauth.jwks_file: {file}: no JWKS")
    assert is_believed(broker, newer.token(ALL))
    broker.stop()


def reload(broker: Broker, line: str) -> None:
    broker.process.send_signal(signal.SIGHUP)
    broker.log.wait_for(re.escape(line))


class KeyServer(ThreadingHTTPServer):
    """Answers with `document`, as soon as `may_answer`."""

    daemon_threads = True

    def __init__(self, document: bytes) -> None:
        super().__init__(("127.0.0.1", 0), KeyHandler)
        self.document = document
        self.may_answer = threading.Event()
        self.may_answer.set()
        self.asked = 0
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def handle_error(self, *_: object) -> None:
        """A client that has read enough leaves in the middle."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/keys"


class KeyHandler(BaseHTTPRequestHandler):
    server: KeyServer

    def do_GET(self) -> None:
        self.server.asked += 1
        self.server.may_answer.wait(30)
        if self.server.document.startswith(b"http"):
            self.send_response(302)
            self.send_header("Location", self.server.document.decode())
            self.end_headers()
            return
        self.send_response(200)
        self.end_headers()
        self.wfile.write(self.server.document)

    def log_message(self, *_: object) -> None:
        """Nothing of it belongs among what tests say."""


@pytest.fixture
def key_server(issuer: Issuer) -> Iterator[KeyServer]:
    serving = KeyServer(jwks(issuer))
    yield serving
    serving.shutdown()
    serving.server_close()


def test_keys_from_a_url_while_others_go_on(own_broker: OwnBroker, issuer: Issuer, key_server: KeyServer) -> None:
    """A token waits for the keys; nobody else does."""
    key_server.may_answer.clear()
    broker = own_broker(**oauth(jwks_url=key_server.url))
    with Client(broker.peer) as waiting, Client(broker.peer) as leaving:
        for client in (waiting, leaving):
            client.start()
            client.start_ok("", issuer.token(ALL))
        leaving.drop()
        connect(broker.peer).close()
        key_server.may_answer.set()
        waiting.expect("connection.tune")
    assert is_believed(broker, issuer.token(ALL))
    assert not is_believed(broker, Issuer("unknown").token(ALL))  # it has been asked too recently for that
    assert key_server.asked == 1
    broker.stop()


WRONG_ANSWERS = [
    (b"nonsense", "no JWKS"),
    (b'{"keys": [{"kty": "oct", "k": "c2VjcmV0"}]}', "no key in it can be used"),
    (b'{"keys": [{"kty": "EC", "kid": "half"}]}', "no key in it can be used"),
    (b"x" * ((1 << 20) + 1), "more than 1048576 octets"),
    (b"http://192.0.2.1/keys", "the answer is 302 Found"),
]


def test_a_url_without_keys_lets_nobody_in(own_broker: OwnBroker, issuer: Issuer, key_server: KeyServer) -> None:
    key_server.document = b""
    broker = own_broker(**oauth(jwks_url=key_server.url))
    for document, complaint in WRONG_ANSWERS:
        key_server.document = document
        broker.process.send_signal(signal.SIGHUP)
        broker.log.wait_for(f"error oauth.jwks_url: {key_server.url}: .*{complaint}")
        assert not is_believed(broker, issuer.token(ALL))
    key_server.document = jwks(issuer)
    broker.process.send_signal(signal.SIGHUP)
    broker.log.wait_for(f"info oauth.jwks_url: {key_server.url}: keys: 1")
    assert is_believed(broker, issuer.token(ALL))
    broker.stop()


def test_stopping_does_not_wait_for_a_url(own_broker: OwnBroker, key_server: KeyServer) -> None:
    key_server.may_answer.clear()
    broker = own_broker(**oauth(jwks_url=key_server.url))
    began = time.monotonic()
    broker.terminate()
    assert broker.wait() == 0
    assert time.monotonic() - began < 8
    key_server.may_answer.set()


def test_no_start_without_the_file_of_keys(tmp_path: Path) -> None:
    ended = subprocess.run(
        command("serve", "--listen", "127.0.0.1:0", "--data-dir", str(tmp_path / "data")),
        cwd=ROOT,
        env=environment(oauth(jwks_file="/nowhere/keys.json")),
        capture_output=True,
        text=True,
        timeout=STOP_SECONDS,
        check=False,
    )
    assert ended.returncode == 1
    assert "oauth.jwks_file: /nowhere/keys.json: No such file or directory" in ended.stderr
    assert "Traceback" not in ended.stderr
