"""Broken requests for the HTTP API and the metrics, octet by octet as they go over the wire, seeded.

A request is answered with some status, or its connection is closed; never an internal error, of which the log would
have a trace, and whoever comes next is served.

`python -m tests.fuzz.http --seconds N` runs it against a broker of its own.
"""

import argparse
import base64
import random
import re
import socket
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from tests.fuzz.mutations import mutate
from tests.support.broker import Broker
from tests.support.http import LISTENING, METRICS, WITH_HTTP, fetch

CREDENTIALS = base64.b64encode(b"guest:guest").decode()
AUTHORIZATION = f"Authorization: Basic {CREDENTIALS}\r\n"
STATUS = re.compile(rb"HTTP/1\.[01] (\d{3}) ")
READ_SECONDS = 1.0
PATHS = [
    *(
        "/api/overview",
        "/api/queues/%2F",
        "/api/queues?page=1&page_size=2",
        "/api/users",
        "/api/definitions",
        "/metrics",
    ),
    *("/api/queues/%2F/q/get", "/api/exchanges/%2F/amq.default/publish", "/api/permissions/%2F/x", "/api/health/ready"),
    *("/api/queues?name=(x%2Bx%2B)%2By&use_regex=true", "/api/policies/%2F/p", "/metrics/per-object", "/", "*"),
]
BODIES = [
    b"",
    b"{}",
    b"[]",
    b"null",
    b'{"durable": true}',
    b'{"auto_delete": [[[[',
    b"{" * 3000,
    b"[" * 100_000,
    b'"\\ud800"',
    b'{"pattern": "(a+)+$", "definition": {"max-length": 1e400}}',
    b'{"count": -1, "ackmode": "x", "encoding": 5}',
    b'{"password": "", "tags": 5}',
    b"\xff\xfe",
    b'{"vhosts": [{"name": "\\u0000"}], "queues": 5}',
]
HEADS = [
    "",
    "Expect: 100-continue\r\n",
    "Transfer-Encoding: gzip, chunked\r\n",
    "Content-Length: 5\r\nContent-Length: 6\r\n",
    "Content-Length: -1\r\n",
    "Content-Length: 99999999999999999999\r\n",
    "Content-Encoding: gzip\r\n",
    "Host:\r\n",
    "X: \0\r\n",
    "Cookie: " + "a=b; " * 200 + "\r\n",
    "X: " + "y" * 9000 + "\r\n",
    "X:y\r\n" * 300,
    "Upgrade: websocket\r\nConnection: Upgrade\r\n",
    "Authorization: Basic !!!\r\n",
    "Authorization: Bearer eyJ.eyJ.x\r\n",
    "Range: bytes=0-\r\n",
    "Accept-Encoding: deflate\r\n",
    " folded: x\r\n",
    "Connection: close\r\n",
    "Content-Type: multipart/form-data; boundary=x\r\n",
]
VERBS = ["GET", "PUT", "POST", "DELETE", "HEAD", "OPTIONS", "PATCH", "BREW", "get", "CONNECT"]


def chunks(body: bytes, dice: random.Random) -> bytes:
    """Right, most of the time."""
    made = b""
    while body:
        count = dice.randint(1, len(body))
        size = dice.choice(
            [b"%x" % count] * 8 + [b"%X;ext=1" % count, b"-1", b"", b"ffffffffffffffffff", b"0x5", b"%x " % count]
        )
        made += size + b"\r\n" + body[:count] + dice.choice([b"\r\n"] * 8 + [b"\n", b"", b"\r"])
        body = body[count:]
    return made + dice.choice([b"0\r\n\r\n"] * 6 + [b"0\r\nTrailer: x\r\n\r\n", b"0\r\n", b"0", b""])


def request(dice: random.Random) -> bytes:
    verb, path, head, body = (
        dice.choice(VERBS[:4] * 4 + VERBS),
        dice.choice(PATHS),
        dice.choice(HEADS),
        dice.choice(BODIES),
    )
    lines = f"{verb} {path} HTTP/{dice.choice(['1.1'] * 8 + ['1.0', '2.0', '0.9', '9'])}\r\n"
    lines += dice.choice(["Host: x\r\n"] * 8 + [""]) + dice.choice([AUTHORIZATION] * 4 + [""]) + head
    if dice.random() < 0.3:
        return f"{lines}Transfer-Encoding: chunked\r\n\r\n".encode("latin-1") + chunks(body, dice)
    return f"{lines}Content-Length: {len(body)}\r\n\r\n".encode("latin-1") + body


def requests(dice: random.Random) -> bytes:
    """One or some at once; whole, spoiled or cut short."""
    octets = b"".join(request(dice) for _ in range(dice.choice([1, 1, 1, 2, 5])))
    if dice.random() < 0.5:
        octets = b"".join(mutate([octets], dice))
    return octets[: dice.randrange(len(octets) + 1)] if dice.random() < 0.2 else octets


def statuses(port: int, octets: bytes, dice: random.Random) -> Iterator[int]:
    """Of the answers, which may be fewer than the requests."""
    received = b""
    with socket.create_connection(("127.0.0.1", port), 10) as connected:
        connected.settimeout(READ_SECONDS)
        try:
            while octets:
                count = len(octets) if dice.random() < 0.8 else dice.randint(1, len(octets))
                connected.sendall(octets[:count])
                octets = octets[count:]
            connected.shutdown(socket.SHUT_WR)
            while data := connected.recv(1 << 16):
                received += data
        except OSError:
            pass  # it was closed, or waits for more than comes
    for found in STATUS.finditer(received):
        yield int(found[1])


def play(broker: Broker, seed: int, rounds: int | None, seconds: float) -> int:
    ports = [int(broker.log.wait_for(pattern)[1]) for pattern in (LISTENING, METRICS)]
    ends, count = time.monotonic() + seconds, 0
    while (rounds is None or count < rounds) and time.monotonic() < ends:
        dice = random.Random(f"{seed}/{count}")
        octets = requests(dice)
        port = dice.choice([ports[0]] * 4 + [ports[1]])
        for status in statuses(port, octets, dice):
            assert 100 <= status < 600
        count += 1
        if count % 50 == 0:
            check(broker, ports)
    check(broker, ports)
    return count


def check(broker: Broker, ports: list[int]) -> None:
    answer = fetch(ports[0], "GET", "/api/overview", None, {"Authorization": f"Basic {CREDENTIALS}"})
    assert answer.status in (200, 401), answer  # what was sent may have been a good request to delete guest
    assert fetch(ports[1], "GET", "/metrics", None, {}).status == 200
    assert "internal error" not in broker.log.text, broker.log.text
    broker.check_log()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.http", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    with tempfile.TemporaryDirectory() as directory:
        broker = Broker(Path(directory) / "data", WITH_HTTP)
        try:
            print(f"{play(broker, options.seed, None, options.seconds)} rounds")
            broker.stop()
        finally:
            broker.kill()
    return 0


if __name__ == "__main__":
    sys.exit(main())
